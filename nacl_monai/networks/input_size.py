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
        SettingError: If the network fails on this size, or returns no logits, or those of another size;
            or if a network of slices is given patches.

    Example:
        >>> from monai.networks.nets import UNet
        >>> network = UNet(2, in_channels=1, out_channels=2, channels=[4, 8, 8], strides=[2, 2])
        >>> check_input_size(network, 1, [48, 64])
        >>> check_input_size(network, 1, [50, 64])
        Traceback (most recent call last):
        nacl_monai.errors.SettingError: spatial_size: is [50, 64], which the network cannot take; \
choose another, such as [64, 64]
    """
    fault = _fault(network, in_channels, spatial_size)
    if fault is None:
        return
    fitting = _larger_size(network, in_channels, spatial_size)
    size = list(spatial_size)
    key = "spatial_size" if len(size) == 2 else "patch"
    if fitting:
        raise SettingError(
            f"{key}: is {size}, which the network cannot take; choose another, such as {fitting}"
        )
    if len(size) == 3 and _fault(network, in_channels, [64, 64]) is None:
        raise SettingError(
            f"network_def: {type(network).__name__} is a network of slices, and takes no patches; "
            "choose another, or --dims 2"
        )
    raise SettingError(
        f"network_def: takes no images of {key} {size}, nor larger ones ({fault}); correct it, or "
        "choose another network"
    )


def _larger_size(
    network: nn.Module, in_channels: int, spatial_size: Sequence[int]
) -> list[int] | None:
    """The nearest size of round numbers that the network takes; None if there is none."""
    for multiple in (16, 32, 64):
        size = [multiple * math.ceil(n / multiple) for n in spatial_size]
        if _fault(network, in_channels, size) is None:
            return size
    return None


def _fault(network: nn.Module, in_channels: int, spatial_size: Sequence[int]) -> str | None:
    """Why a network gives no logits for an empty image of this size; None if it does."""
    parameter = next(network.parameters(), torch.zeros(1))
    image = torch.zeros(1, in_channels, *spatial_size, dtype=parameter.dtype)
    modes = [(module, module.training) for module in network.modules()]
    try:
        logits = network.eval()(image.to(parameter.device))
    except ImportError:  # no size helps
        raise
    except Exception as error:  # noqa: BLE001 - maps that cannot be joined, or whatever one's own code raises
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.120}"
    finally:
        for module, training in modes:
            module.training = training
    if not isinstance(logits, torch.Tensor):
        return f"it returns a {type(logits).__name__} in evaluation instead of logits"
    if tuple(logits.shape[2:]) != tuple(spatial_size):
        return f"it returns {tuple(logits.shape)} for {tuple(image.shape)}"
    return None
