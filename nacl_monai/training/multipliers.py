"""Multipliers of a loss that are learned on the validation cases."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys

from nacl_monai.losses import LearnedPenalty
from nacl_monai.training.gathering import gathered
from nacl_monai.training.logits import network_logits


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
        self.schedule: dict[str, Any] = {
            "growth": growth,
            "decrease": decrease,
            "interval": interval,
            "largest": largest,
        }

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
