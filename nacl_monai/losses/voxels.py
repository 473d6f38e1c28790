"""What a loss does with the voxels of a batch: check them, and average over those that count."""

from __future__ import annotations

import torch

from nacl_monai.errors import InputError
from nacl_monai.tensors import check_labels, check_outputs, without_channel, without_metadata


def convert_inputs(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels in the shapes and dtypes in which losses are computed.

    Args:
        logits: ``(B, C, *spatial)``. Half precision becomes float32.
        labels: ``(B, 1, *spatial)`` or ``(B, *spatial)``, any dtype.

    Returns:
        Logits ``(B, C, *spatial)`` and labels ``(B, *spatial)``, int64.

    Raises:
        InputError: If there are fewer than two classes, or the shapes do not fit each other.
    """
    check_outputs(logits)
    labels = without_channel(labels, logits).long()
    return at_least_float32(logits), labels


def at_least_float32(logits: torch.Tensor) -> torch.Tensor:
    """Logits without metadata, in float32 if they are in half precision."""
    logits = without_metadata(logits)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def check_inputs(
    logits: torch.Tensor, labels: torch.Tensor, ignore_index: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Like :func:`convert_inputs`, and checks the values of the labels.

    The check of values waits for the device. In a compiled graph the device itself checks instead, and
    raises its own RuntimeError.

    Raises:
        InputError: If the shapes do not fit, or a label is neither a class nor ``ignore_index``.
    """
    converted, indices = convert_inputs(logits, labels)
    if torch.compiler.is_compiling():
        counted = indices if ignore_index is None else indices.where(indices != ignore_index, 0)
        fine = (counted >= 0) & (counted < converted.shape[1])
        fine &= indices == without_channel(labels, logits)  # whole numbers
        torch._assert_async(fine.all(), "labels: hold a value that is no class")
    else:
        check_labels(labels, converted.shape[1], ignore_index)
    return converted, indices


def split_image(labels: torch.Tensor, ndim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Class indices ``(B, 1, *spatial)`` and the image that is stored in further channels.

    Args:
        labels: ``(B, 1 + M, *spatial)``.
        ndim: The number of axes of the logits.

    Raises:
        InputError: If there is no further channel.
    """
    if labels.ndim != ndim or labels.shape[1] < 2:
        raise InputError(
            f"labels: have the shape {tuple(labels.shape)}, but prior 'bilateral' needs the image; "
            "pass (batch, 1 + image channels, *spatial): the class indices, then the image"
        )
    return labels[:, :1], labels[:, 1:]


def voxel_mean(
    values: torch.Tensor, labels: torch.Tensor, ignore_index: int | None
) -> torch.Tensor:
    """The mean of ``values`` over channels and over the voxels that are not ignored.

    It is 0, with zero gradient, if every voxel is ignored: a patch without annotation must not end
    a training with NaN, as the mean of nothing would.

    Args:
        values: ``(B, K, *spatial)``.
        labels: ``(B, *spatial)``, int64.
        ignore_index: Voxels with this label are ignored.
    """
    if ignore_index is None:
        return values.mean()
    counted = (labels != ignore_index).unsqueeze(1)
    total = torch.where(counted, values, 0).sum()
    return total / (counted.sum() * values.shape[1]).clamp_min(1)
