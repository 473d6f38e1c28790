"""Statistics of the logits while an engine runs, in a test and in a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import IterationEvents, default_prepare_batch
from monai.utils.enums import CommonKeys

from nacl_monai.files import atomic_path
from nacl_monai.losses import LearnedPenalty
from nacl_monai.metrics import absolute_logit_sums, maximum_logit_counts
from nacl_monai.runs import EvaluationFolder, RunFolder
from nacl_monai.training.processes import gathered


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


def with_spacing(
    batch: dict[str, torch.Tensor],
    device: torch.device | str | None = None,
    non_blocking: bool = False,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A batch as MONAI's evaluator takes it, whose images know the spacing that labels know.

    A calibrator behind the network may ask for it.
    """
    image, label = default_prepare_batch(batch, device, non_blocking, **options)
    if isinstance(label, MetaTensor):
        image = MetaTensor(image, affine=label.affine)
        image.is_batch = label.is_batch
    return image, label


def summed(numbers: torch.Tensor) -> torch.Tensor:
    """The sum of ``numbers`` over all processes, on the CPU."""
    return torch.as_tensor(idist.all_reduce(numbers.clone())).cpu()


@dataclass(eq=False)
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

    output_dir: str | Path
    classes: Sequence[str]
    ignore_index: int | None = None

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
            with atomic_path(EvaluationFolder(Path(self.output_dir)).logits) as temporary:
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


class Multipliers:
    """Updates the multipliers of a loss after each validation, from the violations of its cases.

    CRaC has such multipliers; for other losses there is nothing to do. They are a part of the loss's
    state, which `Checkpoints` saves, and learn in every process from the cases of all.

    Attach it behind the validation, and before `Checkpoints`.

    Args:
        loss_function: The training's loss; each `LearnedPenalty` in it learns.
        validator: An evaluator of MONAI, whose network returns logits.
        inferer: That of the validator. Its ``spatial_dim``, as of MONAI's ``SliceInferer``, is the axis
            along which the network's slices are stacked: constraints are then measured within
            slices, as in the training. Without one, or with None, they are measured in volumes.
        growth: By what a penalty parameter is multiplied.
        decrease: How much of the violation before is little enough.
        interval: The number of validations from one comparison of violations to the next.
        largest: Beyond which no penalty parameter grows.
    """

    def __init__(
        self,
        loss_function: torch.nn.Module,
        validator: Engine,
        inferer: object = None,
        *,
        growth: float = 1.2,
        decrease: float = 0.9,
        interval: int = 10,
        largest: float = 10.0,
    ) -> None:
        modules = loss_function.modules()
        self.penalties = [module for module in modules if isinstance(module, LearnedPenalty)]
        self.validator = validator
        self.slice_axis: int | None = getattr(inferer, "spatial_dim", None)
        self.schedule: dict[str, Any] = {"growth": growth, "decrease": decrease}
        self.schedule |= {"interval": interval, "largest": largest}

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI, and with its validator."""
        if self.penalties:
            self._start()
            self.validator.add_event_handler(Events.EPOCH_STARTED, self._start)
            self.validator.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._measure)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._update)

    def _start(self) -> None:
        self._measured: list[list[tuple[torch.Tensor, int]]] = [[] for _ in self.penalties]

    def _measure(self, validator: Engine) -> None:
        output: Any = validator.state.output
        logits, labels = (
            as_slices(volume, self.slice_axis)
            for volume in (network_logits(validator), output[CommonKeys.LABEL])
        )
        for penalty, measured in zip(self.penalties, self._measured, strict=True):
            sums, voxels = penalty.measure(logits, labels)
            measured.append((sums.double().cpu(), voxels))

    def _update(self) -> None:
        for penalty, measured in zip(self.penalties, self._measured, strict=True):
            pairs = [pair for of_process in gathered(measured) for pair in of_process]
            if pairs:
                sums = torch.stack([violations for violations, _ in pairs]).sum(0)
                penalty.update(sums, sum(voxels for _, voxels in pairs), **self.schedule)
        self._start()  # an epoch without a validation changes nothing


def as_slices(volume: torch.Tensor, axis: int | None) -> torch.Tensor:
    """Volumes ``(B, C, *spatial)`` as a batch of their slices along a spatial axis; None: as they are.

    Example:
        >>> as_slices(torch.zeros(2, 3, 8, 9, 5), axis=2).shape
        torch.Size([10, 3, 8, 9])
    """
    return volume if axis is None else volume.movedim(2 + axis, 1).flatten(0, 1)
