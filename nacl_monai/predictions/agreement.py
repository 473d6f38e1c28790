"""Whether probabilities are those of the segmentation beside them."""

from __future__ import annotations

import numpy as np
import torch

from nacl_monai.errors import InputError
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.images import read_image
from nacl_monai.predictions.labels import turned
from nacl_monai.predictions.saved import Probabilities

# Half precision may round two probabilities to one.
_TOLERANCE = 1e-3


def check_agreement(predicted: Probabilities, channels: Channels) -> None:
    """Compares the most probable classes with the segmentation, if there is one.

    They differ where one of both is of another prediction, or where the axes were turned unseen.
    Structures that overlap are painted over each other in a segmentation, and are not compared.

    Args:
        predicted: The probabilities.
        channels: What they mean.

    Raises:
        InputError: If more than one voxel in a thousand has another class.
    """
    if predicted.segmentation is None or channels.overlapping:
        return
    image = read_image(predicted.segmentation)
    voxels = turned(image.voxels, image.affine) if predicted.turned else image.voxels
    values = np.array([of[0] for of in channels.values.values()])
    classes = torch.from_numpy(predicted.voxels).max(0).indices.numpy()
    if voxels.shape != classes.shape:
        raise InputError(
            f"{predicted.file}: has another shape than {predicted.segmentation}; predict the case again"
        )
    share = float(np.mean(values[classes] != voxels))
    if share > _TOLERANCE:
        raise InputError(
            f"{predicted.file}: its most probable classes are not those of {predicted.segmentation} in "
            f"{share:.1%} of the voxels; predict the case again, or move the segmentation away"
        )
