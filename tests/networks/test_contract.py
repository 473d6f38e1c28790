"""What holds for every network of the menu; a new one is covered by an entry in `SMALL`."""

from itertools import product

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import BasicUNetPlusPlus, UNet

from nacl_monai.errors import InputError, SettingError
from nacl_monai.losses import DeepSupervisionLoss
from nacl_monai.networks import SingleOutput, check_input_size
from tests.conftest import nightly_but
from tests.networks.conftest import MULTIPLES, NETWORKS, ROOT, THREE_D, build, model_config
from tests.same import same_bits, same_values

LOSSES = ConfigParser.load_config_file(ROOT / "bundles/common/train.yaml")["losses"]
CLASSES = 3
every_network = pytest.mark.parametrize("name", NETWORKS)


def outputs(prediction, image):
    """What a network returns in training, as a list of ``(B, C, *spatial)``."""
    if isinstance(prediction, list):
        return prediction
    return list(prediction.unbind(1)) if prediction.ndim > image.ndim else [prediction]


def test_every_entry_of_the_menu_is_tested():
    """Every entry of the menu is tested here."""
    assert list(model_config()["networks"]) == NETWORKS


@every_network
@pytest.mark.parametrize("in_channels", [1, 4])
def test_evaluation_gives_one_tensor_of_logits(name, in_channels):
    """In evaluation, images of any number of channels become logits of their size."""
    network = build(name, in_channels, CLASSES).eval()

    for size in ((96, 64), (64, 32)):
        logits = network(torch.rand(2, in_channels, *size))
        assert type(logits) is torch.Tensor
        assert logits.shape == (2, CLASSES, *size)


@every_network
def test_training_gives_the_final_output_first(name):
    """In training, outputs have the image's size, and the final one, of evaluation, is first."""
    network = build(name).eval()
    expected = network(torch.ones(2, 1, 32, 64))
    network.training = True  # the outputs of training, with the normalization of evaluation
    image = torch.ones(2, 1, 32, 64)
    heads = outputs(network(image), image)

    assert len(heads) == {"basic_unet_plus_plus": 4, "dynunet": 3}.get(name, 1)
    assert all(head.shape == (2, CLASSES, 32, 64) for head in heads)
    torch.testing.assert_close(heads[0], expected)
    assert not any(torch.allclose(head, expected) for head in heads[1:])


@every_network
def test_gradient_reaches_every_parameter(name):
    """No parameter is left out, which training on many devices would wait for in vain."""
    network = build(name)
    with torch.no_grad():
        for parameter in network.parameters():  # away from gains that start at zero
            parameter.add_(0.1 * torch.randn_like(parameter))
    labels = torch.randint(CLASSES, (2, 1, 32, 64))
    loss = ConfigParser(LOSSES).get_parsed_content("nacl")
    DeepSupervisionLoss(loss)(network(torch.rand(2, 1, 32, 64)), labels).backward()

    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    zero = [key for key, parameter in network.named_parameters() if not parameter.grad.any()]
    assert not without
    assert all(key.endswith("bias") for key in zero), zero  # may be normalized away


# Each network with one loss, and each loss with one network; all others take ten times as long.
PAIRS = [*product(NETWORKS, LOSSES)]
WITH_ONE = [pair for pair in PAIRS if "unet" in pair or "nacl" in pair]


@pytest.mark.parametrize(("name", "choice"), nightly_but(WITH_ONE, PAIRS))
def test_every_loss_is_lowered(name, choice):
    """Steps down its gradient lower any loss: at most 30, as DCA first rises."""
    network = build(name)
    size = (64, 32) if name in MULTIPLES else (32, 48)
    labels = torch.zeros(2, 1, *size, dtype=torch.int64)
    labels[:, :, 8:24, 8:24], labels[:, :, 16:24, 16:40] = 1, 2
    image = labels + 0.1 * torch.randn(labels.shape)
    loss = DeepSupervisionLoss(ConfigParser(LOSSES).get_parsed_content(choice))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    first = loss(network(image), labels).item()
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(network(image), labels)
        if value < first:
            return
        value.backward()
        optimizer.step()
    pytest.fail(f"{value.item()} after 30 steps, {first} before")


@every_network
def test_bfloat16_stays_near_float32(name):
    """Under autocast, a step of training has finite gradients, and logits stay near float32's."""
    network, image = build(name), torch.rand(2, 1, 32, 64)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = network(image)
    loss = DeepSupervisionLoss(ConfigParser(LOSSES).get_parsed_content("nacl"))
    loss(prediction, torch.zeros(2, 1, 32, 64)).backward()
    network.eval()
    expected = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image)

    assert outputs(prediction, image)[0].dtype == logits.dtype == torch.bfloat16
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert (logits - expected).abs().mean() < 0.05 * expected.std() + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", THREE_D)
def test_patches_are_taken_as_slices_are(name):
    """In 3-D, too, outputs of training have the patch's size, the final one is first, and all learn."""
    network = build(name, 2, CLASSES, dims=3)
    image, labels = torch.rand(1, 2, 32, 32, 64), torch.randint(CLASSES, (1, 1, 32, 32, 64))
    prediction = network(image)
    DeepSupervisionLoss(ConfigParser(LOSSES).get_parsed_content("nacl"))(
        prediction, labels
    ).backward()
    heads = outputs(prediction, image)
    logits = network.eval()(image)

    assert logits.shape == (1, CLASSES, *image.shape[2:])
    assert len(heads) == {"basic_unet_plus_plus": 4, "dynunet": 3}.get(name, 1)
    assert all(head.shape == logits.shape for head in heads)
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(THREE_D)))
def test_network_of_slices_refuses_patches(name):
    """In one line, whatever the patch."""
    with pytest.raises(SettingError, match="^network_def: .* is a network of slices"):
        check_input_size(build(name, dims=3), 1, [32, 32, 32])


#: Multiples of 32, of 16, and of neither.
SIZES = [(96, 64), (80, 80), (48, 64), (50, 60), (47, 33), (64, 65)]
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
    same_values(torch.get_rng_state(), random)
    same_bits(network.state_dict(), state, "nothing is done to it")
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
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(adapted.eval()(image), expected[-1])
