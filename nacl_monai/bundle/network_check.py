"""What a network must be for a data set, found before the first batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nacl_monai.errors import InputError


def check_network(
    network: nn.Module, in_channels: int, classes: Sequence[str], spatial_size: Sequence[int]
) -> None:
    """Applies ``network`` to one empty slice and looks at what comes out.

    Raises:
        InputError: It does not take such a slice, or returns another number of channels than there
            are classes, or another size.
    """
    weight = next(network.parameters())
    slice_ = torch.zeros(1, in_channels, *spatial_size, device=weight.device)
    training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(slice_)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"network_def: takes no slice of {in_channels} channel(s) and spatial_size "
            f"{list(spatial_size)} ({reason}); choose another size (a multiple of 16) or network"
        ) from error
    finally:
        network.train(training)
    if not isinstance(logits, torch.Tensor):
        return
    if logits.shape[1] != len(classes):
        raise InputError(
            f"network_def: returns {logits.shape[1]} channels, but there are {len(classes)} classes "
            f"({', '.join(classes)}); set its out_channels to their number"
        )
    if logits.shape[2:] != slice_.shape[2:]:
        raise InputError(
            f"network_def: returns {list(logits.shape[2:])} for slices of {list(spatial_size)}; "
            "choose a spatial_size that is a multiple of 16, or another network"
        )
