"""One progress bar for a whole training or evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import from_engine
from monai.utils.enums import CommonKeys

from nacl_monai.progress import progress_bar

latest_loss = from_engine(CommonKeys.LOSS, first=True)


class Progress:
    """A bar over all iterations, with the epoch, the loss and the latest validation beside it.

    Args:
        description: Shown before the bar.
        unit: Name of an iteration.
        validator: The engine whose metrics are shown, if the bar belongs to a training whose output is
            decollated.
        metrics: Names of the metrics that are shown.
    """

    def __init__(
        self,
        description: str,
        unit: str = "batch",
        validator: Engine | None = None,
        metrics: Sequence[str] = (),
    ) -> None:
        self.description = description
        self.unit = unit
        self.validator = validator
        self.metrics = list(metrics)

    def attach(self, engine: Engine) -> None:
        """Registers the bar with ``engine``; attach it after the handler that validates."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._show)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop)

    def _start(self, engine: Engine) -> None:
        state: Any = engine.state
        left = state.max_epochs * state.epoch_length - state.iteration
        self._bar = progress_bar(description=self.description, unit=self.unit, total=left)

    def _advance(self) -> None:
        self._bar.update()

    def _show(self, engine: Engine) -> None:
        if self.validator is None:
            return
        state: Any = engine.state
        shown = {"epoch": f"{state.epoch}/{state.max_epochs}"}
        if state.output is not None:  # None if the training went on behind the epoch's iterations
            shown["loss"] = f"{latest_loss(state.output):.3f}"
        values = self.validator.state.metrics
        shown |= {name: f"{values[name]:.3f}" for name in self.metrics if name in values}
        self._bar.set_postfix(shown, refresh=False)

    def _close(self) -> None:
        self._bar.close()

    def _stop(self, error: BaseException) -> None:
        self._bar.close()
        raise error
