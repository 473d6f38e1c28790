"""What the handlers share that write one row per case."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.utils import string_list_all_gather


class CaseHandler(ABC):
    """Collects the names of an evaluator's cases and writes once, after the last one.

    Attach it after the metrics that it reads. Under several processes, names are gathered in the
    order in which MONAI gathers its metrics, that of the ranks, and rank 0 alone writes.
    """

    def __init__(self) -> None:
        self._cases: list[str] = []
        self._patients: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``."""
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
        self._cases, self._patients = [], []

    def _collect(self, engine: Engine) -> None:
        self._cases += batch_entries(engine, "case")
        self._patients += batch_entries(engine, "patient", optional=True)

    def _finish(self, engine: Engine) -> None:
        cases, patients = map(string_list_all_gather, (self._cases, self._patients))
        if idist.get_rank() == 0:
            self.write(engine, cases, patients)


def batch_entries(engine: Engine, key: str, optional: bool = False) -> list[str]:
    """The entries ``key`` of ``engine``'s current batch, collated or not.

    An ``optional`` key may be missing from every item; the list is empty then.
    """
    batch: Any = engine.state.batch
    if optional and key not in (batch[0] if isinstance(batch, list) else batch):
        return []
    return [item[key] for item in batch] if isinstance(batch, list) else list(batch[key])
