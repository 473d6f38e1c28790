"""Adapters for training any network: one output in evaluation, and images of its size."""

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


class SingleOutput(nn.Module):
    """Wraps a network that returns a list of outputs, so that evaluation gives the final one only.

    MONAI's ``BasicUNetPlusPlus`` returns a list even in evaluation, which no inferer or metric
    expects. DynUNet needs no wrapper: it stacks its heads in training only, the final one first.

    Args:
        network: Returns a list of logits ``(B, C, *spatial)``, the final ones last.

    Shape:
        In evaluation and in TorchScript, the final logits ``(B, C, *spatial)``. In training all of
        them, the final ones first, as ``nacl_monai.losses.DeepSupervisionLoss`` weights them.

    Example:
        >>> from monai.networks.nets import BasicUNetPlusPlus
        >>> network = SingleOutput(BasicUNetPlusPlus(2, 1, 3, (4, 4, 4, 4, 4, 4), True))
        >>> image = torch.rand(2, 1, 32, 48)
        >>> [list(logits.shape) for logits in network(image)]
        [[2, 3, 32, 48], [2, 3, 32, 48], [2, 3, 32, 48], [2, 3, 32, 48]]
        >>> list(network.eval()(image).shape)
        [2, 3, 32, 48]
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Computes the logits of ``image``, ``(B, channels, *spatial)``."""
        if torch.jit.is_scripting():
            return self.network(image)[-1]  # type: ignore[no-any-return]
        outputs: list[torch.Tensor] = self.network(image)
        return outputs[::-1] if self.training else outputs[-1]
