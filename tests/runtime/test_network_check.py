"""A network with other outputs than there are classes is refused before a batch is drawn."""

import pytest
import torch
from monai.networks.nets import UNet

from nacl_monai.errors import InputError
from nacl_monai.runtime import check_classes

CLASSES = ["background", "left", "right"]
VALUES = [[0], [1], [2]]


def network(out_channels):
    return UNet(2, 1, out_channels, (4, 8, 16), (2, 2), norm="BATCH")


def test_fitting():
    """One that fits passes, and is as it was: no statistics of the empty slice."""
    fitting = network(3).train()
    before = {name: value.clone() for name, value in fitting.state_dict().items()}

    check_classes(fitting, 1, CLASSES, VALUES, [16, 24])

    assert fitting.training
    assert all(torch.equal(before[name], value) for name, value in fitting.state_dict().items())


def test_unfitting():
    """Channels and classes are named."""
    with pytest.raises(InputError, match="returns 4 channels, but there are 3 classes"):
        check_classes(network(4), 1, CLASSES, VALUES, [16, 16])


def test_classes_without_values():
    """A class whose values on disk are not known cannot be learned."""
    with pytest.raises(InputError, match="names 3 .*label_values has the values of 2"):
        check_classes(network(3), 1, CLASSES, VALUES[:2], [16, 16])
