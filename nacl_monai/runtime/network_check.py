"""Whether a network, labels and a configuration speak of the same classes, before the first batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nacl_monai.data import CachedVolumes
from nacl_monai.errors import InputError


@torch.no_grad()
def check_classes(
    network: nn.Module,
    in_channels: int,
    classes: Sequence[str],
    label_values: Sequence[Sequence[int]],
    spatial_size: Sequence[int],
) -> None:
    """Asks ``network`` for the logits of one empty slice; its mode and statistics stay.

    Args:
        network: Takes slices of this size, see `nacl_monai.networks.check_input_size`.
        in_channels: Channels of a slice.
        classes: Names of all classes, background first.
        label_values: For each class, the values on disk that become it.
        spatial_size: Height and width of a slice.

    Raises:
        InputError: It has another number of outputs than there are classes, or these another than
            there are label values.
    """
    if len(label_values) != len(classes):
        raise InputError(
            f"classes: names {len(classes)} ({', '.join(classes)}), but label_values has the values "
            f"of {len(label_values)} classes; set both alike"
        )
    training = network.training
    slice_ = torch.zeros(1, in_channels, *spatial_size, device=next(network.parameters()).device)
    channels = network.eval()(slice_).shape[1]
    network.train(training)
    if channels != len(classes):
        raise InputError(
            f"network_def: returns {channels} channels, but there are {len(classes)} classes "
            f"({', '.join(classes)}); set its out_channels to their number"
        )


def check_labels(volumes: CachedVolumes, classes: Sequence[str]) -> None:
    """Asks the labels of all training ``volumes`` for every one of ``classes``, background first.

    Raises:
        InputError: A class is in none of them, so that nothing could be learned of it.
    """
    found = {int(index) for held in volumes.classes for index in held}
    absent = [name for index, name in enumerate(classes) if index not in found]
    if absent:
        raise InputError(
            f"classes: {', '.join(absent)} in none of the {len(volumes)} training labels; remove it "
            "from classes, label_values and structures, or train on cases that show it"
        )
