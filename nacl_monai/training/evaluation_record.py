"""The record of an evaluation, and its files, which take their place together or not at all.

The measurements of every validation of a training.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluation_files import (
    check_config,
    config_checksum,
    evaluation_record,
    write_evaluation_record,
)
from nacl_monai.files import checksum, read_object, write_text
from nacl_monai.output import check_output, close_output, open_output
from nacl_monai.runs import EvaluationFolder, RunFolder

_COMMAND, _OPTION = "evaluate", "--evaluation_dir"


def open_evaluation(folder: EvaluationFolder, cases: str) -> None:
    """Takes ``folder.aside`` for this process, and empties it of what a killed one has left.

    Args:
        folder: The evaluation's folder, whose place the new one will take.
        cases: The set of the split.

    Raises:
        InputError: If another process writes there, or if the folder holds anything but an evaluation
            of this set.
    """
    check_output(folder.path, _COMMAND, option=_OPTION)
    earlier = _earlier(folder).get("set", cases)
    if earlier != cases:
        raise InputError(
            f"{folder.path}: holds the evaluation of the {earlier} cases; choose another {_OPTION} for "
            f"that of the {cases} cases, or move it away"
        )
    if idist.get_rank() == 0:
        open_output(folder.path, _COMMAND, option=_OPTION)
    idist.barrier()


def _earlier(folder: EvaluationFolder) -> dict[str, Any]:
    """The record of an earlier evaluation; empty if it is damaged, which reports say."""
    with suppress(InputError, OSError):
        return read_object(folder.record, "evaluate the run again")
    return {}


class EvaluationRecord:
    """Writes ``evaluation.json``, and puts a finished evaluation in the place of an earlier one.

    Keys: ``set``, the patients that were evaluated, such as "test"; ``weights``, ``split`` and
    ``config``, the checksums (SHA-256) of their files, and ``calibrator_sha256``, that of the
    calibrator's if there is one; ``settings``, every key that decides a number; ``versions``; and
    ``git_commit`` (None outside a repository).

    All handlers write to ``folder.aside``. When the evaluation is finished, that becomes ``folder``;
    until then an earlier evaluation stays as it is. Make this object before weights, split and
    calibrator are read.

    Args:
        folder: The finished evaluation's folder.
        checkpoint: The file of the weights.
        split_file: The file of the split.
        cases_to_evaluate: The set of the split.
        settings: Keys and values.
        calibrator_file: The file of the calibrator behind the network; it need not be there.

    Raises:
        InputError: If the configuration of the training has changed since the same weights were
            evaluated; and in the end, if a file has changed since, or ``folder`` cannot be replaced.
    """

    def __init__(
        self,
        folder: EvaluationFolder,
        checkpoint: str | Path,
        split_file: str | Path,
        cases_to_evaluate: str,
        settings: Mapping[str, Any],
        calibrator_file: str | Path | None = None,
    ) -> None:
        self.folder = folder
        config = RunFolder(Path(checkpoint).parent).config
        self.files = {"weights": Path(checkpoint), "split": Path(split_file), "config": config}
        if calibrator_file is not None:
            self.files["calibrator_sha256"] = Path(calibrator_file)
        self.set = cases_to_evaluate
        self.record = evaluation_record(self.set, settings, self._checksums())
        earlier = _earlier(folder)
        if earlier.get("weights") == self.record.get("weights"):
            check_config(config, earlier)

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _checksums(self) -> dict[str, str]:
        return {
            name: (config_checksum if name == "config" else checksum)(file)
            for name, file in self.files.items()
            if file.is_file()
        }

    def _finish(self) -> None:
        if idist.get_rank() != 0:
            return
        now = self._checksums()
        for name, file in self.files.items():
            if now.get(name) != self.record.get(name):
                raise InputError(f"{file}: has changed during the evaluation; evaluate again")
        write_evaluation_record(EvaluationFolder(self.folder.aside), self.record)
        close_output(self.folder.path, _COMMAND)
        print(f"evaluated {self.set} cases: {self.folder.path}")


class ValidationTable:
    """Writes ``validation.csv``: one row per validated epoch, one column per metric.

    The file is written anew after every validation. A training that goes on from an earlier epoch
    keeps the rows up to that epoch and replaces the others. They are read once, when this object is
    made, so that whatever happens to the file cannot end a training.

    Args:
        output_dir: Folder of the file.

    Raises:
        InputError: If there is a file that is no such table.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.file = RunFolder(Path(output_dir)).validation
        self._rows = self._read() if idist.get_rank() == 0 and self.file.is_file() else {}

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a validator, whose epoch is that of the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        state: Any = engine.state
        # A metric of several numbers is there twice: number by number, and as a dictionary of all.
        numbers = {k: x for k, x in state.metrics.items() if not isinstance(x, Mapping)}
        row = {"epoch": str(state.epoch), **{name: f"{x:.6f}" for name, x in numbers.items()}}
        earlier = {epoch: kept for epoch, kept in self._rows.items() if epoch < state.epoch}
        self._rows = {**earlier, state.epoch: row}
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self._rows.values())
        write_text(self.file, text.getvalue())

    def _read(self) -> dict[int, dict[str, str]]:
        """The rows of the file by their epochs."""
        try:
            with self.file.open(encoding="utf-8-sig", newline="") as stream:
                return {int(row["epoch"]): row for row in csv.DictReader(stream)}
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise InputError(
                f"{self.file}: is damaged; remove it, and start the training again"
            ) from error
