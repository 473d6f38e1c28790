"""What every validation of a training measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from nacl_monai.files import write_text
from nacl_monai.runs import RunFolder


class ValidationTable:
    """Writes ``validation.csv``: one row per validated epoch, one column per metric.

    The file is written anew after every validation. A training that goes on from an earlier epoch
    keeps the rows up to that epoch and replaces the others.

    Args:
        output_dir: Folder of the file.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.file = RunFolder(Path(output_dir)).validation

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a validator, whose epoch is that of the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        state: Any = engine.state
        # Of a metric with several numbers, Ignite keeps each by its name, and all of them as a mapping.
        numbers = {k: f"{x:.6f}" for k, x in state.metrics.items() if not isinstance(x, Mapping)}
        row = {"epoch": state.epoch, **numbers}
        rows = [earlier for earlier in self._rows() if int(earlier["epoch"]) < state.epoch]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, row])
        write_text(self.file, text.getvalue())

    def _rows(self) -> list[dict[str, str]]:
        if not self.file.is_file():
            return []
        with self.file.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
