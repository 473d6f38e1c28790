"""The points of TensorBoard's curves: their steps, which are iterations, and the terms of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

from nacl_monai.losses import DeepSupervisionLoss
from nacl_monai.training import Position


def last_step(epoch: int, dataloader: Sized) -> int:
    """The step at which ``epoch`` ends: the number of iterations until then.

    Args:
        epoch: Number of the epoch, from 1; 0 stands for the start of the training.
        dataloader: The training's loader; its length is the number of iterations in an epoch.

    Example:
        >>> last_step(3, range(5))
        15
    """
    return epoch * len(dataloader)


def next_step(position: Position, dataloader: Sized) -> int:
    """The first step after ``position``, from which a resumed training writes its curves anew.

    Example:
        >>> next_step(Position(epoch=2, iterations=3), range(5))
        14
    """
    return last_step(position.epoch, dataloader) + position.iterations + 1


def loss_and_terms(
    output: Sequence[Mapping[str, Any]], loss_function: DeepSupervisionLoss
) -> dict[str, Any]:
    """What the curves of an iteration show: the loss, and each of its terms.

    Args:
        output: The output of an iteration of MONAI's trainer, one dictionary per sample.
        loss_function: Remembers the terms of the latest loss.
    """
    return {"loss": output[0]["loss"], **loss_function.latest_terms}
