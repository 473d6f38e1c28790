"""Losses that are none of this package: MONAI's, torch's, one's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.settings import check_option
from nacl_monai.losses.voxels import one_hot
from nacl_monai.tensors import check_labels, without_channel, without_metadata

#: The term's name where a loss is not made of terms.
TERM = "loss"


def _whole(
    logits: torch.Tensor,  # noqa: ARG001
    labels: torch.Tensor,
    ignore_index: int | None,  # noqa: ARG001
) -> torch.Tensor:
    labels = without_metadata(labels)
    return labels if labels.is_floating_point() else labels.long()


def _indices(logits: torch.Tensor, labels: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    indices = without_channel(labels, logits)
    check_labels(indices, logits.shape[1], ignore_index)
    return indices.long()


def _one_hot(logits: torch.Tensor, labels: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    indices = _indices(logits, labels, ignore_index).unsqueeze(1)
    return one_hot(indices, logits.shape[1], ignore_index).to(logits.dtype)


#: How a loss takes its labels.
FORMS: dict[str, Callable[[torch.Tensor, torch.Tensor, int | None], torch.Tensor]] = {
    "whole": _whole,
    "indices": _indices,
    "one_hot": _one_hot,
}


class ForeignLoss(SegmentationLoss):
    r"""A loss from elsewhere, as a loss of this package with one term, ``loss``.

    Any loss that takes ``(logits, labels)`` becomes one by itself as a base of `ComposedLoss` or as the
    loss of `DeepSupervisionLoss`, and every loss of a training is one of these. Name this class only for
    labels in another form than the first::

        loss:
          _target_: nacl_monai.losses.ForeignLoss
          loss: {_target_: torch.nn.CrossEntropyLoss}
          labels: indices

    Args:
        loss: Returns a scalar for logits ``(B, C, *spatial)`` before softmax, in at least float32, and
            labels.
        labels: "whole", as they are, ``(B, 1, *spatial)`` in a training, but whole numbers in int64,
            since 1 − 2 is 255 in bytes; "indices", without the channel, ``(B, *spatial)``, as torch's
            losses take them; or "one_hot", ``(B, C, *spatial)`` in the dtype of the logits.
        ignore_index: A label that is not a class, and that the loss leaves out itself; one-hot, such a
            voxel is of no class.

    Shape:
        logits ``(B, C, *spatial)``; labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.
        Only "whole" hands soft labels on.

    Raises:
        InputError: If there is no such form.

    Example:
        >>> loss = ForeignLoss(nn.CrossEntropyLoss(), labels="indices")
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'loss': tensor(0.6931)}
    """

    def __init__(
        self, loss: nn.Module, labels: str = "whole", ignore_index: int | None = None
    ) -> None:
        check_option("labels", FORMS, labels)
        super().__init__(labels=labels, ignore_index=ignore_index)
        self.loss = loss

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """``loss``."""
        formed = FORMS[self.settings["labels"]](logits, labels, self.settings["ignore_index"])
        loss = self.loss.to(logits.device)  # its class weights, if it has any
        return {TERM: loss(without_metadata(logits), formed)}


def as_segmentation_loss(loss: object) -> SegmentationLoss:
    """``loss``; one from elsewhere within a `ForeignLoss`.

    Raises:
        InputError: If it is not a module.
    """
    if isinstance(loss, SegmentationLoss):
        return loss
    if not isinstance(loss, nn.Module):
        raise InputError(
            f"loss: is {loss!r:.80}, which is not a torch.nn.Module; pass a loss's module"
        )
    return ForeignLoss(loss)
