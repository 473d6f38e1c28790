"""Network, labels and configuration agree on the classes before a batch is drawn."""

import pytest
import torch
from monai.networks.nets import UNet

from nacl_monai.errors import InputError
from nacl_monai.training import check_classes, check_labels

CLASSES = ["background", "left", "right"]
VALUES = [[0], [1], [2]]
STRUCTURES = {"both": [1, 2]}


def network(out_channels):
    return UNet(2, 1, out_channels, (4, 8, 16), (2, 2), norm="BATCH")


def test_network_that_fits_stays_as_it_was():
    """No statistics of the empty slice, and the mode that it had."""
    for training in (True, False):
        fitting = network(3).train(training)
        before = {name: value.clone() for name, value in fitting.state_dict().items()}

        check_classes(fitting, 1, CLASSES, VALUES, STRUCTURES, [16, 24])

        assert fitting.training == training
        assert all(torch.equal(before[name], value) for name, value in fitting.state_dict().items())
        assert all(parameter.grad is None for parameter in fitting.parameters())


@pytest.mark.parametrize("channels", [2, 4])
def test_network_with_other_channels_is_refused(channels):
    """Both numbers and the classes are named."""
    with pytest.raises(InputError, match=f"returns {channels} channels, but there are 3 classes"):
        check_classes(network(channels), 1, CLASSES, VALUES, STRUCTURES, [16, 16])


def test_class_without_values_on_disk_is_refused():
    """It could not be learned."""
    with pytest.raises(InputError, match="names 3 .*label_values has the values of 2"):
        check_classes(network(3), 1, CLASSES, VALUES[:2], STRUCTURES, [16, 16])


def test_structure_of_a_class_that_is_not_there_is_refused():
    """The evaluation would, after the whole training."""
    with pytest.raises(InputError, match=r"structures: both is of the classes \[1, 3\]; .* 0 to 2"):
        check_classes(network(3), 1, CLASSES, VALUES, {"both": [1, 3]}, [16, 16])


class Volumes:
    """What `check_labels` asks of the cached volumes: the classes in each."""

    def __init__(self, *classes):
        self.classes = [torch.tensor(indices) for indices in classes]

    def __len__(self):
        return len(self.classes)


def test_every_class_is_in_some_label():
    """It need not be in all of them."""
    check_labels(Volumes([0, 1], [0, 2]), CLASSES)


def test_classes_that_are_in_no_label_are_refused():
    """All of them are named, with the number of labels that were looked at."""
    with pytest.raises(
        InputError, match=r"classes: left, right in none of the 2 training labels; "
    ):
        check_labels(Volumes([0], [0]), CLASSES)
