"""Whether a network takes images of a size, found out before a training starts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from nacl_monai.errors import InputError


@torch.no_grad()
def check_input_size(network: nn.Module, in_channels: int, spatial_size: Sequence[int]) -> None:
    """Refuses a ``spatial_size`` that ``network`` cannot take, and names the nearest that it can.

    U-Nets halve an image as often as they have strides, and most can only double odd sizes to even
    ones. Which sizes fit is asked of the network itself, with one empty image, and therefore known
    for any network.

    Args:
        network: Returns logits in evaluation mode; its mode, statistics and random state stay.
        in_channels: Channels of an image.
        spatial_size: Height and width (and depth) of an image.

    Raises:
        InputError: The network fails on this size, or returns another.
    """
    if _takes(network, in_channels, spatial_size):
        return
    larger = (
        [multiple * math.ceil(n / multiple) for n in spatial_size] for multiple in (16, 32, 64)
    )
    fitting = next((size for size in larger if _takes(network, in_channels, size)), None)
    remedy = f"choose another, such as {fitting}" if fitting else "choose another network"
    raise InputError(
        f"spatial_size is {list(spatial_size)}, which the network cannot take; {remedy}"
    )


def _takes(network: nn.Module, in_channels: int, spatial_size: Sequence[int]) -> bool:
    parameter = next(network.parameters())
    image = torch.zeros(1, in_channels, *spatial_size, dtype=parameter.dtype)
    training = network.training
    try:
        logits = network.eval()(image.to(parameter.device))
    except (RuntimeError, ValueError):  # sizes that cannot be joined; one voxel, to be normalized
        return False
    finally:
        network.train(training)
    return tuple(logits.shape[2:]) == tuple(spatial_size)
