"""What a run is, where MLflow tracks it: its parameters and its small files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler


class TrackedRun:
    """Logs a run's parameters and files to MLflow when an engine is done.

    MONAI's `MLFlowHandler` logs only numbers of every epoch. An engine that no such handler tracks is
    left alone.

    Args:
        parameters: Returns the parameters, such as `nacl_monai.training.run_parameters`.
        files: What is logged beside them; files that are not there are left out.
    """

    def __init__(
        self, parameters: Callable[[], Mapping[str, Any]], files: Sequence[str | Path]
    ) -> None:
        self.parameters = parameters
        self.files = [Path(file) for file in files]

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``; attach it after those that write the files."""
        engine.add_event_handler(Events.COMPLETED, self._log)

    def _log(self, engine: Engine) -> None:
        for tracker in trackers(engine):
            client, run_id = tracker.client, tracker.cur_run.info.run_id
            # MONAI has logged what the engine says of itself, such as its epochs.
            known = client.get_run(run_id).data.params
            for name, value in self.parameters().items():
                if name not in known:
                    client.log_param(run_id, name, value)
            for file in self.files:
                if file.is_file():
                    client.log_artifact(run_id, str(file))


def trackers(engine: Engine) -> list[Any]:
    """The handlers that log an engine to MLflow; MONAI appends them to those of a configuration."""
    started = engine._event_handlers[Events.STARTED]
    owners = [getattr(handler, "__self__", None) for handler, *_ in started]
    return [owner for owner in owners if isinstance(owner, MLFlowHandler)]
