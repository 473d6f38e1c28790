"""What an evaluation is of, and its files, which take their place together or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from nacl_monai.errors import InputError
from nacl_monai.files import checksum, write_text
from nacl_monai.handlers.run_record import git_commit
from nacl_monai.runs import EvaluationFolder

_PACKAGES = ("nacl-monai", "torch", "monai")


class EvaluationRecord:
    """Writes ``evaluation.json``, and puts a finished evaluation in the place of an earlier one.

    Keys: ``set``, the patients that were evaluated, such as "test"; ``weights`` and ``split``, the
    checksums (SHA-256) of their files; ``settings``, every key that decides a number; ``versions``; and
    ``git_commit`` (None outside a repository).

    All handlers write to ``folder.aside``. When the evaluation is finished, that becomes ``folder``;
    until then an earlier evaluation stays as it is. Make this object before weights and split are read.

    Args:
        folder: Of the finished evaluation.
        checkpoint: The file of the weights.
        split_file: The file of the split.
        cases_to_evaluate: The set of the split.
        settings: Keys and values.

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
    ) -> None:
        self.folder = folder
        self.files = {"weights": Path(checkpoint), "split": Path(split_file)}
        self.set = cases_to_evaluate
        self.record = {
            "set": self.set,
            **self._checksums(),
            "settings": dict(settings),
            "versions": {package: version(package) for package in _PACKAGES},
            "git_commit": git_commit(),
        }

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
        text = json.dumps(self.record, indent=2, ensure_ascii=False, default=str) + "\n"
        write_text(EvaluationFolder(self.folder.aside).record, text)
        _replace(self.folder)
        print(f"evaluated {self.set} cases: {self.folder.path}")


def _replace(folder: EvaluationFolder) -> None:
    """Puts what was written aside in the folder's place."""
    path, old = folder.path.resolve(), folder.replaced
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
