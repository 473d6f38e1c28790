"""An ensemble predicts the mean of its members' probabilities."""

import io
import math

import pytest
import torch
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.posthoc import Ensemble, RegionLogits, Temperature, fit_temperature

IMAGE = torch.randn(2, 1, 4, 5, generator=torch.Generator().manual_seed(0))


def networks(count):
    """Convolutions with weights of their own, and logits of some size."""
    torch.manual_seed(3)
    made = [nn.Conv2d(1, 3, 3, padding=1) for _ in range(count)]
    for network in made:
        network.weight.data *= 9
    return made


@pytest.mark.parametrize("count", [1, 2, 5])
def test_softmax_of_the_outputs_is_the_mean_of_the_probabilities(count):
    """Against the mean in double precision, member by member."""
    members = networks(count)
    expected = sum(torch.softmax(member(IMAGE).double(), 1) for member in members) / count

    found = torch.softmax(Ensemble(members)(IMAGE).double(), 1)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_members_that_are_certain_of_different_classes_are_finite():
    """Each probability is 1 or 0 in single precision; the mean of two is a half."""
    left, right = networks(2)
    for network, bias in ((left, [500.0, 0.0, 0.0]), (right, [0.0, 500.0, 0.0])):
        nn.init.zeros_(network.weight)
        network.bias.data = torch.tensor(bias)

    outputs = Ensemble([left, right])(IMAGE)

    assert outputs.isfinite().all()
    torch.testing.assert_close(outputs.exp()[:, :2], torch.full((2, 2, 4, 5), 0.5))


def test_ensemble_of_none_is_refused():
    """There is no mean of nothing."""
    with pytest.raises(InputError, match="ensemble: has no network"):
        Ensemble([])


def test_scripted_ensemble_with_a_temperature_does_the_same():
    """TorchScript holds it, and its outputs are logits for a temperature."""
    model = nn.Sequential(Ensemble(networks(2)), Temperature(2.0))
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(model), stream)
    stream.seek(0)

    torch.testing.assert_close(torch.jit.load(stream)(IMAGE), model(IMAGE))


def test_mean_of_calibrated_members_is_underconfident_and_a_fit_behind_it_corrects_that():
    """Two independent readers who are right in 4 of 5 voxels and say so; both together know more.

    Where they agree, they are right in 16 of 17 voxels, but their mean says 4 of 5. That is what a
    temperature of 1/2 makes of it: log(4) / log(16).
    """
    members = [torch.nn.Conv2d(2, 2, 1, bias=False) for _ in range(2)]
    for reader, member in enumerate(members):
        member.weight.data.zero_()
        member.weight.data[1, reader] = math.log(4)
    votes, labels = [], []
    for times, first, second in [(16, 1, 1), (4, 1, -1), (4, -1, 1), (1, -1, -1)]:
        for truth in (1, -1):
            votes += [(first * truth, second * truth)] * times
            labels += [(truth + 1) // 2] * times
    image = torch.tensor(votes, dtype=torch.float32).T.reshape(1, 2, 1, 50)

    with torch.no_grad(), RegionLogits("all") as voxels:
        logits = Ensemble(members)(image)
        voxels.add(logits[0, ..., None], torch.tensor(labels).reshape(1, 1, 50, 1), "patient001")
        temperature = fit_temperature(voxels).temperature.item()

    assert logits[0, :, 0, 0].softmax(0)[1].item() == pytest.approx(4 / 5, rel=1e-5)
    assert temperature == pytest.approx(0.5, rel=1e-4)
