"""Checks before the first batch that network, labels and configuration agree on the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import nn

from nacl_monai.data import CachedVolumes
from nacl_monai.data.declared import check_label_classes, check_structures
from nacl_monai.errors import InputError, SettingError


@torch.no_grad()
def check_classes(
    network: nn.Module,
    in_channels: int,
    classes: Sequence[str],
    label_values: Sequence[Sequence[int]],
    structures: Mapping[str, Sequence[int]],
    spatial_size: Sequence[int],
) -> None:
    """Checks what is declared of the classes, and a network's channels by the logits of one empty image.

    The network's state stays as it is.

    Args:
        network: A network that takes images of this size, see `nacl_monai.networks.check_input_size`.
        in_channels: Channels of an image.
        classes: Names of all classes, background first.
        label_values: For each class, the values on disk that become it.
        structures: For each structure, the indices of its classes.
        spatial_size: Height and width of a slice, or height, width and depth of a patch.

    Raises:
        SettingError: If the network's channels or the label values differ in number from the classes,
            or if a structure, of which the evaluation asks later, is of a class that is not there.
    """
    check_label_classes(classes, label_values)
    check_structures(classes, structures)
    training = network.training
    image = torch.zeros(1, in_channels, *spatial_size, device=next(network.parameters()).device)
    channels = network.eval()(image).shape[1]
    network.train(training)
    if channels != len(classes):
        raise SettingError(
            f"network_def: returns {channels} channels, but there are {len(classes)} classes "
            f"({', '.join(classes)}); set its out_channels to their number"
        )


def check_labels(volumes: CachedVolumes, classes: Sequence[str]) -> None:
    """Checks that every class occurs in the training labels.

    Args:
        volumes: All training volumes.
        classes: Names of all classes, background first.

    Raises:
        InputError: If a class occurs in none of them, so that nothing could be learned of it.
    """
    present = set(map(int, chain.from_iterable(volumes.classes)))
    absent = [name for index, name in enumerate(classes) if index not in present]
    if absent:
        raise InputError(
            f"classes: {', '.join(absent)} in none of the {len(volumes)} training labels; remove it "
            "from classes, label_values and structures, or train on cases that show it"
        )
