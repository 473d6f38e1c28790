"""Each method finds what was put into the logits, and says what it did; an ensemble is a mean."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from torch import nn
from torch.nn.functional import cross_entropy

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS
from nacl_monai.posthoc import (
    METHODS,
    OUTPUTS,
    Ensemble,
    RegionLogits,
    Temperature,
    caution,
    fit_method,
    module_of,
)
from nacl_monai.posthoc.voxels import FitVoxels
from tests.posthoc.shipping import scripted


def drawn(temperature, foreground=0.5, voxels=400_000, seed=0, bias=0.0):
    """Logits and labels that are drawn from their softmax, after which the logits are changed.

    They are multiplied, each class by its number if there are several, and biased.

    Voxels of the background are certain and right.
    """
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((3, voxels))
    logits[0, rng.random(voxels) > foreground] += 60
    probs = torch.softmax(torch.from_numpy(logits), 0).numpy()
    labels = (rng.random(voxels) > probs.cumsum(0)).sum(0).clip(max=2)
    changed = np.reshape(temperature, (-1, 1)) * (logits + np.reshape(bias, (-1, 1)))
    return torch.from_numpy(changed)[:, :, None], torch.from_numpy(labels)[None, :, None]


def fitted(*volumes, region="all", method="temperature"):
    """The fit on volumes, each of another patient."""
    with RegionLogits(region) as voxels:
        for number, (logits, labels) in enumerate(volumes):
            voxels.add(logits, labels, f"patient{number}")
        return fit_method(method, voxels)


def slow_nll(volumes, scales, biases=0.0):
    """Cross-entropy, its mean over voxels, then patients."""
    scales, biases = (torch.as_tensor(values).reshape(-1, 1, 1) for values in (scales, biases))
    nll = [cross_entropy((scales * logits + biases)[None], labels) for logits, labels in volumes]
    return np.mean(nll)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5), st.sampled_from([0.5, 0.01]))
def test_no_other_temperature_has_a_smaller_nll(seed, scale, share):
    """An independent search over the mean NLL, from one percent of foreground as from half."""
    sizes = [round((100 + 150 * k) / share) for k in range(3)]
    volumes = [drawn(scale, share, size, seed + k) for k, size in enumerate(sizes)]
    fit = fitted(*volumes)

    found = minimize_scalar(
        lambda log: slow_nll(volumes, np.exp(-log)),
        bounds=(np.log(0.01), np.log(100)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert fit.parameters["temperature"] == pytest.approx(np.exp(found.x), rel=1e-4)
    assert fit.nll == pytest.approx(found.fun, rel=1e-7)
    assert fit.nll_before == pytest.approx(slow_nll(volumes, 1.0), rel=1e-6)
    assert fit.moved == 0


@pytest.mark.parametrize("method", ["temperature", "distance"])
def test_a_fit_without_a_patient_goes_on_from_that_to_all(method, monkeypatch):
    """It finds what a search from the start finds, and makes fewer passes over the voxels."""
    passes = []
    blocks = FitVoxels.blocks
    monkeypatch.setattr(FitVoxels, "blocks", lambda self: passes.append(1) or blocks(self))
    with RegionLogits("all") as voxels:
        for k, scale in enumerate((1.2, 1.5, 1.9, 2.4)):
            logits, labels = drawn(scale, 0.5, 3000, k)
            voxels.add(logits.reshape(3, 50, 60), labels.reshape(1, 50, 60), f"patient{k}")
        all_patients = fit_method(method, voxels)
        counts, found = [], []
        for near in (all_patients, None):
            remaining = voxels.without(["patient2"])
            remaining._known = remaining._known if near else {}
            passes.clear()
            (values,) = (
                fit_method(method, remaining, near).parameters[name]
                for name in all_patients.parameters
                if name.startswith("temperature")
            )
            counts.append(len(passes))
            found.append(values)

    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert counts[0] < counts[1]


def test_fit_names_what_it_saw():
    """The patients, so that none of them is tested; the region, which is part of the method's name."""
    fit = fitted(drawn(2.0, voxels=500), drawn(2.0, voxels=700), region="union")

    assert fit.region == "union"
    assert fit.patients == ("patient0", "patient1")
    assert 0 < fit.voxels < 1200


def uniform(label):
    """A volume with the same logits in every voxel, of which class 0 has the largest."""
    logits = torch.tensor([5.0, 1.0, -1.0])[:, None, None].expand(3, 4, 4)
    return logits, torch.full((1, 4, 4), label)


def test_where_every_voxel_is_right_there_is_no_fit():
    """Colder is always better there, and the coldest would be certain of whatever it is shown."""
    with pytest.raises(InputError, match="temperature: none .* since colder is always better"):
        fitted(uniform(0))


def test_where_the_logits_are_worse_than_chance_the_hottest_is_taken(caplog):
    """Hotter is always better there, and the hottest is nearly uniform; a warning says so."""
    fit = fitted(uniform(2))

    assert fit.parameters == {"temperature": 100.0}
    assert "100, the hottest that is tried, since the logits are worse than" in caplog.text
    assert fit.nll == pytest.approx(np.log(3), abs=0.05)  # the hottest is not infinite
    assert fit.nll < fit.nll_before


AFFINE = ("class_temperatures", "vector")


@pytest.mark.parametrize("method", AFFINE)
def test_no_scales_have_a_smaller_nll(method):
    """An independent search without slopes, patient by patient, ends at the same NLL."""
    volumes = [drawn([0.5, 2.0, 1.0], voxels=200 + 100 * k, seed=k) for k in range(3)]
    fit = fitted(*volumes, method=method)

    def slow(theta):
        scales, biases = np.split(theta, 2)
        return slow_nll(volumes, scales, biases if method == "vector" else 0.0)

    bounds = [(0.01, 100)] * 3 + [(-1, 1)] * 3
    start, options = [1.0] * 3 + [0.0] * 3, {"xtol": 1e-8}
    found = minimize(slow, start, method="Powell", bounds=bounds, options=options)
    assert fit.nll == pytest.approx(found.fun, rel=1e-6)


@pytest.mark.parametrize("method", AFFINE)
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_more_parameters_fit_no_worse_than_one(method, seed, scale):
    """A temperature is among what they can be; every bias stays within its bound."""
    volume = drawn(scale, voxels=300, seed=seed)
    fit, single = fitted(volume, method=method), fitted(volume)

    assert fit.nll <= single.nll + 1e-6
    assert np.abs(fit.parameters.get("biases", 0.0)).max() <= 1


def test_share_of_the_voxels_that_change_their_class():
    """Patients weigh the same, whatever they have of voxels."""
    volumes = [drawn([0.2, 1.0, 5.0], voxels=count, seed=count) for count in (300, 2000)]
    fit = fitted(*volumes, method="class_temperatures")

    temperatures = torch.tensor(fit.parameters["temperatures"])[:, None, None]
    shares = [
        (logits.argmax(0) != (logits / temperatures).argmax(0)).double().mean().item()
        for logits, _ in volumes
    ]
    assert fit.moved == pytest.approx(np.mean(shares), abs=1e-9)
    assert fit.moved > 0.1


@pytest.mark.parametrize(
    "method",
    [name for name, method in METHODS.items() if not (method.sees_image or method.sees_distance)],
)
def test_fit_is_finite_where_nearly_all_is_certain_background(method):
    """One voxel in a hundred is foreground, the others have logits of 60 and are right."""
    fit = fitted(drawn(3.0, foreground=0.01, voxels=50_000), method=method)

    values = np.concatenate([np.atleast_1d(value) for value in fit.parameters.values()])
    assert (np.abs(values) <= 100).all()
    assert fit.nll < fit.nll_before


def test_empty_region_is_refused():
    """No patient has a foreground."""
    logits, labels = drawn(1.0, voxels=10)

    with pytest.raises(InputError, match="region foreground: has no voxel in any patient"):
        fitted((logits, torch.zeros_like(labels)), region="foreground")


@pytest.mark.parametrize("name", METHODS)
def test_label_has_no_say_where_nobody_names_a_region(name):
    """The fit leaves true probabilities as they are; where labels decide, a line warns of it."""
    assert METHODS[name].region == ("all" if METHODS[name].sees_distance else "near")
    assert [region for region in REGIONS if caution(region)] == ["foreground", "union", "boundary"]
    assert "region union: the label decides its voxels" in caution("union")


def test_union_teaches_class_temperatures_that_the_background_is_wrong():
    """Calibrated logits of a rare organ: over all voxels nothing is to be done, over union much is."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 40, 40, 40, generator=generator) * 2
    logits[0] += 3
    labels = (torch.rand(40, 40, 40, generator=generator) < logits.softmax(0)[1]).long()
    found = {
        region: fitted((logits, labels[None]), region=region, method="class_temperatures")
        for region in ("all", "union")
    }

    assert found["all"].parameters["temperatures"] == pytest.approx([1, 1], abs=0.1)  # chance
    assert found["all"].moved < 0.01
    assert found["union"].parameters["temperatures"][0] > 2


PROBS = {
    "softmax": torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).softmax(0),
    "sigmoid": torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).sigmoid(),
}


@pytest.mark.parametrize("activation", OUTPUTS)
def test_first_method_is_by_the_distance_to_the_border(activation):
    """What a command takes where nobody says which; it is made again from its record."""
    outputs = OUTPUTS[activation]
    labels = torch.randint(2, (4, 5), generator=torch.Generator().manual_seed(1))
    labels = labels if activation == "softmax" else torch.stack([labels, labels, 1 - labels])
    with outputs.voxels(["a", "b", "c"], "all", 3.0) as voxels:
        voxels.add(outputs.logits_of(PROBS[activation]), labels, "patient001")
        fit = fit_method(next(iter(outputs.methods)), voxels)

    assert fit.method == "signed_distance"
    record = {"method": fit.method, "parameters": fit.parameters}
    assert repr(module_of(record)) == repr(fit.module)


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"parameters": {"temperature": 1.0}}, KeyError),
        ({"method": "isotonic", "parameters": {}}, KeyError),
        ({"method": "platt", "parameters": {"temperature": 1.0}}, TypeError),
        ({"method": "temperature", "parameters": {"temperature": 0.0}}, InputError),
    ],
)
def test_damaged_record_makes_no_module(record, error):
    """Whoever has read it says where it is from."""
    with pytest.raises(error):
        module_of(record)


IMAGE = torch.randn(2, 1, 4, 5, generator=torch.Generator().manual_seed(0))


def networks(count):
    """Convolutions with weights of their own, and logits of some size."""
    torch.manual_seed(3)
    members = [nn.Conv2d(1, 3, 3, padding=1) for _ in range(count)]
    for network in members:
        network.weight.data *= 9
    return members


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
    torch.testing.assert_close(scripted(model)(IMAGE), model(IMAGE))


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

    logits = Ensemble(members)(image).detach()
    fit = fitted((logits[0, ..., None], torch.tensor(labels).reshape(1, 1, 50, 1)))

    assert logits[0, :, 0, 0].softmax(0)[1].item() == pytest.approx(4 / 5, rel=1e-5)
    assert fit.parameters["temperature"] == pytest.approx(0.5, rel=1e-4)
