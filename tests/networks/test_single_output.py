"""A list of outputs becomes the final one."""

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus

from nacl_monai.networks import SingleOutput


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_evaluation_gives_the_last_output_and_training_all_in_reverse(deep_supervision):
    """Evaluation gives the network's last output, training all of them from the last to the first."""
    network = BasicUNetPlusPlus(2, 1, 3, (4, 4, 4, 4, 4, 4), deep_supervision)
    image = torch.rand(2, 1, 32, 32)
    expected = network(image)

    assert len(expected) == (4 if deep_supervision else 1)
    adapted = SingleOutput(network)
    for ours, theirs in zip(adapted(image), reversed(expected), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(adapted.eval()(image), expected[-1])
