"""What a run is, where MLflow tracks it: its parameters and its small files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.handlers import MLFlowHandler

from nacl_monai.files import checksum, read_object
from nacl_monai.handlers.run_record import git_commit
from nacl_monai.runs import RECORD_REMEDY, RunFolder

#: Definitions of a configuration, and what their parameters are called.
_DEFINITIONS = {"network_def": "network", "loss": "loss"}


class TrackedRun:
    """Logs a run's parameters and files to MLflow when an engine is done.

    MONAI's `MLFlowHandler` logs numbers of every epoch alone. An engine that no such handler tracks is
    left alone.

    Args:
        run: The run's folder, whose ``config.json`` has the parameters, see `run_parameters`.
        files: What is logged beside them; files that are not there are left out.

    Raises:
        InputError: In the end, if ``config.json`` is damaged.
    """

    def __init__(self, run: RunFolder, files: Sequence[str | Path]) -> None:
        self.run = run
        self.files = [Path(file) for file in files]

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``; attach it after those that write the files."""
        engine.add_event_handler(Events.COMPLETED, self._log)

    def _log(self, engine: Engine) -> None:
        for tracker in trackers(engine):
            client, run_id = tracker.client, tracker.cur_run.info.run_id
            # MONAI has logged what the engine says of itself, such as its epochs.
            known = client.get_run(run_id).data.params
            for name, value in run_parameters(self.run).items():
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


def run_parameters(run: RunFolder) -> dict[str, Any]:
    """What a run was trained with, in single values.

    Args:
        run: With or without a ``config.json``.

    Returns:
        Every key of the configuration that is a number, a switch or a word; ``network`` and ``loss``,
        the names of their classes, with their settings, such as ``loss.penalty_weight``; ``git_commit``
        of this package's source; and ``split_sha256``.

    Raises:
        InputError: If ``config.json`` is damaged.
    """
    record = read_object(run.config, RECORD_REMEDY) if run.config.is_file() else {}
    found = {key: value for key, value in record.items() if _is_plain(value)}
    for key, name in _DEFINITIONS.items():
        found |= dict(_settings(name, _definition(record, key)))
    sums = {"split_sha256": checksum(run.split)} if run.split.is_file() else {}
    return {**found, "git_commit": git_commit(), **sums}


def _is_plain(value: Any) -> bool:
    """Whether a value says itself what it is, without a reference or an expression."""
    return isinstance(value, bool | int | float) or (
        isinstance(value, str) and value[:1] not in ("@", "$", "%")
    )


def _definition(record: Mapping[str, Any], key: str) -> Any:
    parser, value = ConfigParser(dict(record)), record.get(key)
    while isinstance(value, str) and value.startswith("@"):
        value = parser.get(value[1:])
    return value


def _settings(name: str, definition: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(definition, Mapping):
        yield name, str(definition["_target_"]).rpartition(".")[2]
        for key, value in definition.items():
            if not key.startswith("_"):
                yield f"{name}.{key}", value
