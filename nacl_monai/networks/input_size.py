"""Checks that a network accepts images of a given size, before a training starts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from nacl_monai.errors import SettingError


@torch.no_grad()
def check_input_size(network: nn.Module, in_channels: int, spatial_size: Sequence[int]) -> None:
    """Refuses a size that ``network`` does not accept, and names a larger one that fits.

    U-Nets halve an image once per stride, and most can only double back to even sizes. The network
    itself is asked, with one empty image, so that the answer is right for any network.

    Args:
        network: Returns logits in evaluation mode. Its mode, statistics and the random state are left
            unchanged.
        in_channels: Channels of an image.
        spatial_size: Height and width of a slice, the key ``spatial_size``; or height, width and depth
            of a patch, the key ``patch``.

    Raises:
        SettingError: If the network fails on this size, or returns logits of another; of a patch, that
            may be since it is a network of slices.

    Example:
        >>> from monai.networks.nets import UNet
        >>> network = UNet(2, in_channels=1, out_channels=2, channels=[4, 8, 8], strides=[2, 2])
        >>> check_input_size(network, 1, [48, 64])
        >>> check_input_size(network, 1, [50, 64])
        Traceback (most recent call last):
        nacl_monai.errors.SettingError: spatial_size: is [50, 64], which the network cannot take; \
choose another, such as [64, 64]
    """
    if _accepts(network, in_channels, spatial_size):
        return
    larger = (
        [multiple * math.ceil(n / multiple) for n in spatial_size] for multiple in (16, 32, 64)
    )
    fitting = next((size for size in larger if _accepts(network, in_channels, size)), None)
    remedy = f"choose another, such as {fitting}" if fitting else "choose another network"
    key = "spatial_size" if len(spatial_size) == 2 else "patch"
    if len(spatial_size) == 3 and not fitting and _accepts(network, in_channels, [64, 64]):
        raise SettingError(
            f"network_def: {type(network).__name__} is a network of slices, and takes no patches; "
            "choose another, or --dims 2"
        )
    raise SettingError(f"{key}: is {list(spatial_size)}, which the network cannot take; {remedy}")


def _accepts(network: nn.Module, in_channels: int, spatial_size: Sequence[int]) -> bool:
    parameter = next(network.parameters())
    image = torch.zeros(1, in_channels, *spatial_size, dtype=parameter.dtype)
    training = network.training
    try:
        logits = network.eval()(image.to(parameter.device))
    except (
        RuntimeError,
        ValueError,
    ):  # maps of sizes that cannot be joined, or of one voxel, which cannot be normalized
        return False
    finally:
        network.train(training)
    return tuple(logits.shape[2:]) == tuple(spatial_size)
