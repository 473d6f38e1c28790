"""What the handlers share that write one row per case."""

from __future__ import annotations

from abc import ABC, abstractmethod

import ignite.distributed as idist
from ignite.engine import Engine, Events

from nacl_monai.training.case_names import case_names
from nacl_monai.training.outputs import batch_entries, image_files
from nacl_monai.training.processes import joined


class CaseHandler(ABC):
    """Collects the names of an evaluator's cases and writes once, after the last one.

    The name of a case is what its batch has under ``case``. Without that key it is that of the file of
    the image, or is a number where nobody knows the file: see `case_names`. The patient, whom reports
    take as the unit of statistics, is what the batch has under ``patient``.

    Attach it after the metrics that it reads. Under several processes, names are gathered in the
    order in which MONAI gathers its metrics, that of the ranks, and only rank 0 writes.
    """

    def __init__(self) -> None:
        self._start()

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, an evaluator of MONAI."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    @abstractmethod
    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:
        """Writes what ``engine`` measured.

        Args:
            engine: The evaluator, after its last case.
            cases: Names, in the order of the metrics' cases.
            patients: Names in the same order; empty where nobody knows whose the cases are.
        """

    def _start(self) -> None:
        self._cases: list[str] = []
        self._files: list[str] = []
        self._patients: list[str] = []

    def _collect(self, engine: Engine) -> None:
        named = batch_entries(engine, "case")
        self._cases += named
        self._files += [] if named else image_files(engine)
        self._patients += batch_entries(engine, "patient")

    def _finish(self, engine: Engine) -> None:
        cases, files, patients = map(joined, (self._cases, self._files, self._patients))
        if idist.get_rank() == 0:
            self.write(engine, cases or case_names(files), patients)
