"""Whether probabilities are those of the segmentation beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nacl_monai.audits.channels import Channels
from nacl_monai.audits.images import read_image
from nacl_monai.audits.labels import turned
from nacl_monai.audits.saved import Probabilities
from nacl_monai.data.faults import check_affine
from nacl_monai.errors import InputError

_TOLERANCE = 0.01


def check_agreement(predicted: Probabilities, channels: Channels) -> None:
    """Compares the most probable classes with the segmentation, if there is one.

    They differ where one of both is of another prediction, or where the axes were turned unseen. Classes
    that the stored precision cannot tell apart are equally probable. The background that both agree on
    counts for nothing: it would hide a lesion. Structures that overlap are painted over each other in a
    segmentation, and are not compared.

    Args:
        predicted: The probabilities.
        channels: What they mean.

    Raises:
        InputError: If another class has more than one in a hundred of the voxels in which either has a
            foreground.
    """
    if predicted.segmentation is None or channels.overlapping:
        return
    image = read_image(predicted.segmentation)
    check_affine(str(predicted.segmentation), image.affine)
    voxels = turned(image.voxels, image.affine) if predicted.turned else image.voxels
    values = np.array([of[0] for of in channels.values.values()])
    largest, classes = (one.numpy() for one in torch.from_numpy(predicted.voxels).max(0))
    if voxels.shape != classes.shape:
        raise InputError(
            f"{predicted.file}: has another shape than {predicted.segmentation}; predict the case again"
        )
    unlike = values[classes] != voxels
    foreground = np.count_nonzero((values[classes] != 0) | (voxels != 0))
    for value, probs in zip(values, predicted.voxels, strict=True):
        unlike &= (voxels != value) | (largest - probs > _step(probs.dtype))
    share = float(np.count_nonzero(unlike)) / max(1, int(foreground))
    if share > _TOLERANCE:
        raise InputError(
            f"{predicted.file}: its most probable classes are not those of {predicted.segmentation} in "
            f"{share:.1%} of the foreground; predict the case again, or move the segmentation away"
        )


def _step(dtype: np.dtype[Any]) -> float:
    """How far apart two equal probabilities may be stored."""
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 1.0
