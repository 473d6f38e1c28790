"""Statistics of the logits while an engine runs, in a test and in a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys

from nacl_monai.files import atomic_path
from nacl_monai.metrics import absolute_logit_sums, maximum_logit_counts
from nacl_monai.runs import EvaluationFolder, RunFolder


def network_logits(engine: Engine) -> torch.Tensor:
    """The logits ``(B, C, *spatial)`` of the current batch; the first of several outputs.

    Call it at MONAI's ``FORWARD_COMPLETED`` or later in the iteration, before postprocessing has
    turned them into probabilities.
    """
    output: Any = engine.state.output
    logits = output[CommonKeys.PRED]
    if not isinstance(logits, torch.Tensor):
        return torch.as_tensor(logits[0])
    return logits[:, 0] if logits.ndim > output[CommonKeys.IMAGE].ndim else logits


def summed(numbers: torch.Tensor) -> torch.Tensor:
    """The sum of ``numbers`` over all processes, on the CPU."""
    return torch.as_tensor(idist.all_reduce(numbers.clone())).cpu()


class LogitProfile:
    """Writes ``logits.npz``: how large the logits are for the voxels of each class (paper, figure 4).

    Arrays: ``classes`` (C,), their names; ``sums`` (C, C), float64: at ``[k, j]`` the sum of
    ``abs(logit j)`` over all voxels with label k; ``counts`` (C,), int64: the number of these voxels.
    Row k of figure 4 is ``sums[k] / counts[k]``.

    Args:
        output_dir: Folder of the file.
        classes: Names of all classes, background first.
        ignore_index: Voxels with this label do not count.
    """

    def __init__(
        self, output_dir: str | Path, classes: Sequence[str], ignore_index: int | None = None
    ) -> None:
        self.file = EvaluationFolder(Path(output_dir)).logits
        self.classes = list(classes)
        self.ignore_index = ignore_index

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, an evaluator of MONAI."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _start(self) -> None:
        # In full, so that a process that sees no case can take part in the sum over all.
        self._sums = torch.zeros(len(self.classes), len(self.classes), dtype=torch.float64)
        self._counts = torch.zeros(len(self.classes), dtype=torch.int64)

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        labels = output[CommonKeys.LABEL]
        sums, counts = absolute_logit_sums(network_logits(engine), labels, self.ignore_index)
        self._sums = self._sums + sums.cpu()
        self._counts = self._counts + counts.cpu()

    def _write(self) -> None:
        sums, counts = summed(self._sums), summed(self._counts)
        if idist.get_rank() == 0:
            with atomic_path(self.file) as temporary:
                np.savez_compressed(
                    temporary, classes=np.array(self.classes), sums=sums, counts=counts
                )


class LogitHistogram:
    """Writes ``logit_histogram.npz``: the largest logits in every epoch (paper, figure 5).

    Arrays: ``epochs`` (E,), int64; ``edges`` (M + 1,), float64; ``counts`` (E, M + 2), int64: voxels of
    all training batches whose largest logit is below ``edges[0]``, in
    ``[edges[m], edges[m + 1])``, and from ``edges[M]`` on. The file is written anew at the end of every
    epoch. The state dictionary holds the epochs so far and the counts of the one that is not complete,
    so that a resumed training goes on with them.

    Args:
        output_dir: Folder of the file.
        ignore_index: Voxels with this label do not count.
    """

    def __init__(self, output_dir: str | Path, ignore_index: int | None = None) -> None:
        self.file = RunFolder(Path(output_dir)).logit_histogram
        self.ignore_index = ignore_index
        self._epochs: list[int] = []
        self._counts: list[torch.Tensor] = []
        self._edges = torch.zeros(0, dtype=torch.float64)
        self._start()

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI."""
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far and their counts; every process is to ask for it."""
        return {
            "epochs": list(self._epochs),
            "counts": list(self._counts),
            "current": summed(self._current),
            "edges": self._edges,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on after the epochs of ``state``."""
        self._epochs, self._counts = list(state["epochs"]), list(state["counts"])
        self._edges = state["edges"]
        if idist.get_rank() == 0:
            self._current = state["current"]

    def _start(self) -> None:
        self._current = torch.zeros((), dtype=torch.int64)

    def _add(self, engine: Engine) -> None:
        counts, self._edges = maximum_logit_counts(
            network_logits(engine), mask=self._labeled(engine)
        )
        # Stays on the network's device until the epoch ends: a GPU need not wait for the sum.
        self._current = self._current.to(counts.device) + counts  # a checkpoint's are on the CPU

    def _labeled(self, engine: Engine) -> torch.Tensor | None:
        """The voxels that count, ``(B, *spatial)``; None for all."""
        if self.ignore_index is None:
            return None
        output: Any = engine.state.output
        # The first channel is the label; the image may follow it, as some losses need it.
        return torch.as_tensor(output[CommonKeys.LABEL][:, 0] != self.ignore_index)

    def _write(self, engine: Engine) -> None:
        self._epochs.append(engine.state.epoch)
        self._counts.append(summed(self._current))
        self._start()
        if idist.get_rank() == 0:
            with atomic_path(self.file) as temporary:
                np.savez_compressed(
                    temporary,
                    epochs=np.array(self._epochs),
                    edges=self._edges,
                    counts=torch.stack(self._counts),
                )
