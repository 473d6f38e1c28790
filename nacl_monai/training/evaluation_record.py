"""What an evaluation is of, and its files, which take their place together or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from nacl_monai.errors import InputError
from nacl_monai.files import check_folder, checksum, unlock_folder, write_text
from nacl_monai.runs import EvaluationFolder
from nacl_monai.training.run_record import git_commit

_PACKAGES = ("nacl-monai", "torch", "monai")
# Hidden files that are nobody's work: of a process that wrote here, and of macOS.
_LEFT = (".lock", ".partial-*", ".DS_Store", "._*")


class EvaluationRecord:
    """Writes ``evaluation.json``, and puts a finished evaluation in the place of an earlier one.

    Keys: ``set``, the patients that were evaluated, such as "test"; ``weights`` and ``split``, the
    checksums (SHA-256) of their files, and ``calibrator_sha256``, that of the calibrator's if there is
    one; ``settings``, every key that decides a number; ``versions``; and ``git_commit`` (None outside a
    repository).

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
        InputError: In the end, if a file has changed since, or if ``folder`` cannot be replaced.
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
        self.files = {"weights": Path(checkpoint), "split": Path(split_file)}
        if calibrator_file is not None:
            self.files["calibrator_sha256"] = Path(calibrator_file)
        self.set = cases_to_evaluate
        self.record = evaluation_record(self.set, settings, self._checksums())

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _checksums(self) -> dict[str, str]:
        return {name: checksum(file) for name, file in self.files.items() if file.is_file()}

    def _finish(self) -> None:
        if idist.get_rank() != 0:
            return
        now = self._checksums()
        for name, file in self.files.items():
            if now.get(name) != self.record.get(name):
                raise InputError(f"{file}: has changed during the evaluation; evaluate again")
        write_evaluation_record(EvaluationFolder(self.folder.aside), self.record)
        take_place(self.folder)
        print(f"evaluated {self.set} cases: {self.folder.path}")


def evaluation_record(
    cases: str, settings: Mapping[str, Any], checksums: Mapping[str, str]
) -> dict[str, Any]:
    """The content of ``evaluation.json``; see `EvaluationRecord`.

    Args:
        cases: What was evaluated, the key ``set``.
        settings: Every key that decides a number.
        checksums: The checksums of what was evaluated.
    """
    return {
        "set": cases,
        **checksums,
        "settings": dict(settings),
        "versions": {package: version(package) for package in _PACKAGES},
        "git_commit": git_commit(),
    }


def write_evaluation_record(folder: EvaluationFolder, record: Mapping[str, Any]) -> None:
    """Writes an `evaluation_record`."""
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n"
    write_text(folder.record, text)


def check_replaceable(
    folder: EvaluationFolder, option: str = "--evaluation_dir", also: Collection[str] = ()
) -> None:
    """Refuses a folder that holds anything but an evaluation.

    Args:
        folder: The folder that a new evaluation is to replace.
        option: The option that chooses another folder, for the message.
        also: Patterns of further names that may be there. Hidden files count, since they would be
            removed, too.

    Raises:
        InputError: If it is no folder, the working directory, or holds something else.
    """
    path = folder.path
    if Path.cwd().is_relative_to(path.resolve()):
        raise InputError(
            f"{path}: is where this command runs, and would be taken away; choose another {option}"
        )
    remedy = f"choose another {option}, or move it away"
    check_folder(path, f"choose another {option}")
    names = {file.name for file in path.glob("*")} - folder.names
    others = sorted(
        name for name in names if not any(fnmatch(name, one) for one in (*also, *_LEFT))
    )
    if others:
        raise InputError(f"{path}: holds {others[0]}, which is not part of an evaluation; {remedy}")


def clear_aside(folder: EvaluationFolder) -> None:
    """Empties ``folder.aside`` of what a killed process has left, and undoes half a replacement."""
    if folder.replaced.is_dir() and not folder.path.exists():
        folder.replaced.rename(folder.path.resolve())  # killed while it was replaced
    EvaluationFolder(folder.aside).remove_files()


def take_place(folder: EvaluationFolder) -> None:
    """Puts what was written aside in the folder's place.

    Raises:
        InputError: If the operating system refuses.
    """
    path, old = folder.path.resolve(), folder.replaced
    unlock_folder(folder.aside)
    try:
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        folder.aside.rename(path)
    except OSError as error:
        raise InputError(
            f"{folder.path}: cannot be replaced ({error.strerror}); the evaluation is in {folder.aside}"
        ) from error
    shutil.rmtree(old, ignore_errors=True)
