"""A size that a network cannot take is refused; a list of outputs becomes the final one."""

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus, UNet

from nacl_monai.errors import InputError
from nacl_monai.networks import SingleOutput, check_input_size
from tests.networks.conftest import MULTIPLES, NETWORKS, build

#: Of slices: the other datasets have multiples of 32, too; and of none.
SIZES = [(224, 224), (240, 240), (48, 64), (50, 60), (47, 33), (224, 225)]
ANY_SIZE = {"unet_authors", "basic_unet_plus_plus", "transunet"}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_fit_or_are_refused_with_one_that_fits(name, size):
    """Multiples of 16 fit most networks; other sizes fit, or are refused with one that fits."""
    network, multiple = build(name).eval(), MULTIPLES.get(name, 16)
    try:
        check_input_size(network, 1, size)
    except InputError as error:
        line = str(error)
    else:
        assert network(torch.rand(1, 1, *size)).shape[2:] == size
        return
    assert name not in ANY_SIZE
    assert any(n % multiple for n in size)
    assert "cannot take; choose another, such as" in line
    fitting = [int(word) for word in line.rpartition("[")[2].rstrip("]").split(",")]
    assert fitting == [-(-n // multiple) * multiple for n in size]
    check_input_size(network, 1, fitting)


def test_check_leaves_no_trace():
    """Mode, weights, statistics and random numbers are as before, on failure too."""
    network = UNet(2, 1, 2, [4, 8], [2], norm="batch", dropout=0.5)
    state, random = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    check_input_size(network, 1, (8, 8))
    with pytest.raises(InputError, match=r"spatial_size: is \[9, 8\], which"):
        check_input_size(network, 1, (9, 8))

    assert network.training
    assert all(module.training for module in network.modules())
    network.model[0].eval()  # frozen, as a pretrained encoder may be
    modes = [module.training for module in network.modules()]
    check_input_size(network, 1, (8, 8))
    assert [module.training for module in network.modules()] == modes
    assert not all(modes)
    network.train()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    check_input_size(network.eval(), 1, (8, 8))
    assert not network.training


class Faulty(torch.nn.Module):
    """Fails, or returns something else than logits."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, image):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result(image)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (TypeError("no such argument\nand more"), "(TypeError: no such argument)"),
        (AssertionError(), "(AssertionError: )"),
        (lambda image: [image, image], "(it returns a list in evaluation instead of logits)"),
        (lambda image: {"logits": image}, "(it returns a dict in evaluation instead of logits)"),
        (lambda image: image[..., ::2], "(it returns (1, 1, 32, 16) for (1, 1, 32, 32))"),
    ],
)
def test_network_that_takes_no_size_is_named_with_the_reason(result, reason):
    """Then it is not the size that is wrong; and a network needs no weights to be asked."""
    with pytest.raises(InputError, match="^network_def: takes no images of") as caught:
        check_input_size(Faulty(result), 1, (32, 32))

    assert f"{reason}; correct it, or choose another network" in str(caught.value)


def test_missing_package_is_no_matter_of_size():
    """It is reported as what it is."""
    with pytest.raises(ImportError):
        check_input_size(Faulty(ImportError("einops")), 1, (32, 32))


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
