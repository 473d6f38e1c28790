"""What every validation of a training measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from nacl_monai.errors import InputError
from nacl_monai.files import write_text
from nacl_monai.runs import RunFolder


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
