"""The record of a training, on disk and in MLflow: commands, versions, machine, time and parameters."""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler

from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluation_files import trained_with
from nacl_monai.files import git_commit, read_object, version_of, write_text
from nacl_monai.runs import RECORD_REMEDY, RunFolder

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_PACKAGES = ("nacl-monai", "torch", "monai", "pytorch-ignite", "numpy")


@dataclass(eq=False)
class RunRecord:
    """Writes ``run.json``: one entry for every time that the training was started.

    Keys: ``seed``; ``finished``, whether the last epoch is done; ``best_epoch``, whose model is kept,
    and ``best_metric``, its validation metric (both None before the first validation);
    ``config_sha256`` and ``max_epochs``, what
    `nacl_monai.evaluations.evaluation_files.trained_with` says of ``config.json``, if there is one;
    ``pretrained``, what the training began with, if with any weights;
    and the list ``sessions``, each with
    ``command``, ``versions``, ``git_commit`` (None outside a repository), ``device``, ``processes``,
    ``started`` (UTC), ``seconds``, ``epochs`` (first and last that it completed, or None),
    ``peak_memory_mib`` of the process, and on a GPU ``peak_gpu_memory_mib``. The file is updated after
    every epoch, so that it records what a killed session did, and when SIGTERM ends a session.

    Args:
        output_dir: Folder of the file.
        seed: The run's seed.
        validator: The engine whose best metric decides which model is kept.
        pretrained: The file of the weights that the training begins with, its checksum, and what was
            loaded; None if it goes on, or begins without.

    Raises:
        InputError: When the training starts, if there is a damaged file.
    """

    output_dir: str | Path
    seed: int
    validator: Engine
    pretrained: Mapping[str, Any] | None = None

    @property
    def file(self) -> Path:
        """The record's file."""
        return RunFolder(Path(self.output_dir)).record

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``; attach it after `Checkpoints`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._update)
        engine.add_event_handler(Events.TERMINATE, self._update, 1)

    def _start(self, engine: Engine) -> None:
        self._began = time.monotonic()
        self._first = engine.state.epoch + 1
        earlier = read_object(self.file, RECORD_REMEDY) if self.file.exists() else {"sessions": []}
        self._earlier: Any = earlier.get("sessions")
        if not isinstance(self._earlier, list):
            raise InputError(f"{self.file}: is damaged; {RECORD_REMEDY}")
        config = RunFolder(self.file.parent).config
        self._config = trained_with(config) if config.is_file() else {}
        self._pretrained = self.pretrained or earlier.get("pretrained")
        self._session: dict[str, Any] = {
            "command": shlex.join(sys.orig_argv),
            "versions": {
                "python": platform.python_version(),
                **{p: version_of(p) for p in _PACKAGES},
            },
            "git_commit": git_commit(),
            "device": str(vars(engine.state).get("device")),
            "processes": idist.get_world_size(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if engine.state.epoch and not self.file.exists():  # removed, since it was damaged
            self._update(engine)

    def _update(self, engine: Engine, incomplete: int = 0) -> None:
        if idist.get_rank() != 0:
            return
        complete = engine.state.epoch - incomplete
        state: Any = engine.state
        session = {
            **self._session,
            "seconds": round(time.monotonic() - self._began, 3),
            "epochs": [self._first, complete] if complete >= self._first else None,
            **_peak_memory(),
        }
        if torch.cuda.is_available():
            session["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
        record = {
            "seed": self.seed,
            "finished": complete >= state.max_epochs,
            **self._best(),
            **self._config,
            **({"pretrained": dict(self._pretrained)} if self._pretrained else {}),
            "sessions": [*self._earlier, session],
        }
        write_text(self.file, json.dumps(record, indent=2) + "\n")

    def _best(self) -> dict[str, int | float | None]:
        state: Any = self.validator.state
        validated = state.best_metric_epoch > 0
        return {
            "best_epoch": state.best_metric_epoch if validated else None,
            "best_metric": round(float(state.best_metric), 6) if validated else None,
        }


def _peak_memory() -> dict[str, int]:
    """The most memory that the process has had, where the operating system counts it."""
    if resource is None:
        return {}
    unit = 1 if sys.platform == "darwin" else 2**10
    return {
        "peak_memory_mib": round(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    }


@dataclass(eq=False)
class TrackedRun:
    """Logs a run's parameters and files to MLflow when an engine is done.

    MONAI's `MLFlowHandler` logs only numbers of every epoch. An engine that no such handler tracks is
    left alone.

    Args:
        parameters: Returns the parameters, such as `nacl_monai.training.run_parameters`.
        files: What is logged beside them; files that are not there are left out.
    """

    parameters: Callable[[], Mapping[str, Any]]
    files: Sequence[str | Path]

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
                if Path(file).is_file():
                    client.log_artifact(run_id, str(file))


def trackers(engine: Engine) -> list[Any]:
    """The handlers that log an engine to MLflow; MONAI appends them to those of a configuration."""
    started = engine._event_handlers[Events.STARTED]
    owners = [getattr(handler, "__self__", None) for handler, *_ in started]
    return [owner for owner in owners if isinstance(owner, MLFlowHandler)]
