"""A network that does not fit its data set is refused before a batch is drawn."""

import pytest
import torch
from monai.networks.nets import UNet

from nacl_monai.bundle import check_network
from nacl_monai.errors import InputError

CLASSES = ["background", "left", "right"]


def network(in_channels=1, out_channels=3):
    return UNet(2, in_channels, out_channels, (4, 8, 16), (2, 2), norm="BATCH")


def test_fitting():
    """One that fits passes, and is as it was: no statistics of the empty slice."""
    fitting = network().train()
    before = {name: value.clone() for name, value in fitting.state_dict().items()}

    check_network(fitting, 1, CLASSES, [16, 24])

    assert fitting.training
    assert all(torch.equal(before[name], value) for name, value in fitting.state_dict().items())


@pytest.mark.parametrize(
    ("chosen", "spatial_size", "message"),
    [
        (network(out_channels=4), [16, 16], "returns 4 channels, but there are 3 classes"),
        (network(in_channels=2), [16, 16], "takes no slice of 1 channel"),
        (network(), [18, 16], r"takes no slice .* spatial_size \[18, 16\]"),
        (torch.nn.Conv2d(1, 3, 3), [16, 16], r"returns \[14, 14\] for slices of \[16, 16\]"),
    ],
)
def test_unfitting(chosen, spatial_size, message):
    """Channels, classes and sizes are named."""
    with pytest.raises(InputError, match=message):
        check_network(chosen, 1, CLASSES, spatial_size)
