"""Each method finds what was put into the logits of structures that may overlap."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import binary_cross_entropy_with_logits

from nacl_monai.errors import InputError
from nacl_monai.posthoc import METHODS, OUTPUTS, SIGMOID_METHODS, StructureLogits, fit_method
from tests.posthoc.shipping import LOGITS

NAMES = ("WT", "TC", "ET")
#: Methods that treat a voxel alike wherever it is.
OF_ONE_PLACE = [name for name, method in SIGMOID_METHODS.items() if not method.sees_distance]


def exact(temperatures, biases=(0.0, 0.0, 0.0), background=0):
    """Logits of which exactly the share that their sigmoid promises is inside, then changed.

    At each of 39 logits there are 40 voxels; the background is far outside, and certain of it.
    """
    share = torch.arange(1, 40, dtype=torch.float64)[:, None].expand(39, 40) / 40
    inside = torch.arange(40)[None] < 40 * share - 0.5
    logits = torch.cat([torch.logit(share).flatten(), torch.full((background,), -60.0)])
    masks = torch.cat([inside.flatten(), torch.zeros(background, dtype=torch.bool)])
    put_in = zip(temperatures, biases, strict=True)
    changed = torch.stack([scale * (logits - bias) for scale, bias in put_in])
    return changed[:, None], masks.expand(len(temperatures), 1, -1)


def drawn(scale, seed=0, voxels=300):
    """Logits of three structures, and masks that are drawn from their sigmoids before scaling."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(2 * rng.standard_normal((3, 1, voxels)) - 0.5)
    masks = torch.from_numpy(rng.random(logits.shape)) < torch.sigmoid(logits)
    return logits * torch.as_tensor(scale).reshape(-1, 1, 1), masks


def fitted(*volumes, method, region="all"):
    """The fit on volumes, each of another patient."""
    with StructureLogits(NAMES, region) as structures:
        for number, volume in enumerate(volumes):
            structures.add(*volume, f"patient{number}")
        return fit_method(method, structures)


def test_each_structure_is_fitted_within_the_margin_of_its_own_prediction():
    """In voxels where nobody says their size."""
    logits = torch.tensor([[[-1.0, 2, -1, -1, -1]], [[-1, -1, -1, -1, 3]]])
    masks = torch.tensor([[[0, 1, 1, 0, 0]], [[0, 0, 0, 1, 1]]])
    for margin, voxels in ((0.0, [1, 1]), (1.0, [3, 2]), (2.0, [4, 3])):
        with OUTPUTS["sigmoid"].voxels(NAMES[:2], "near", margin) as structures:
            structures.add(logits, masks, "patient0")
            assert [problem.count for problem in structures.problems] == voxels


@pytest.mark.parametrize("method", OF_ONE_PLACE)
@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_temperature_that_was_put_in_is_found_from_one_percent(method, temperature):
    """To a thousandth, where one voxel in a hundred is inside, and nearly all others are far outside."""
    volume = exact([temperature] * 3, background=1560 * 49)
    fit = fitted(volume, method=method)

    found = 1 / np.array(fit.parameters["scales"]) if method == "platt" else None
    found = next(iter(fit.parameters.values())) if found is None else found
    np.testing.assert_allclose(found, temperature, rtol=1e-3)
    np.testing.assert_allclose(fit.parameters.get("biases", 0.0), 0.0, atol=1e-3)
    assert fit.nll < fit.nll_before


def slow_nll(volumes, scales, biases):
    """Binary cross-entropy, its mean over voxels, then patients, then structures."""
    losses = [
        binary_cross_entropy_with_logits(scales[k] * logits[k] + biases[k], masks[k].double())
        for logits, masks in volumes
        for k in range(3)
    ]
    return np.mean(losses)


def parameters_of(method, theta):
    """Scales and biases that an independent search tries."""
    if method == "sigmoid_temperature":
        return np.repeat(theta[:1], 3), np.zeros(3)
    return theta[:3], theta[3:] if method == "platt" else np.zeros(3)


@pytest.mark.parametrize("method", OF_ONE_PLACE)
def test_no_parameters_have_a_smaller_loss(method):
    """An independent search over the loss itself, patient by patient, ends at the same NLL."""
    volumes = [drawn([0.5, 2.0, 1.0], seed=k, voxels=100 + 100 * k) for k in range(3)]
    fit = fitted(*volumes, method=method)

    found = minimize(
        lambda theta: slow_nll(volumes, *parameters_of(method, theta)),
        [1.0] * 3 + [0.0] * 3,
        bounds=[(0.01, 100)] * 3 + [(-1, 1)] * 3,
        method="L-BFGS-B",
        options={"ftol": 1e-13, "gtol": 1e-9},
    )
    assert fit.nll == pytest.approx(found.fun, rel=1e-6)
    assert fit.nll_before == pytest.approx(slow_nll(volumes, np.ones(3), np.zeros(3)), rel=1e-6)


def test_platt_scaling_is_logistic_regression():
    """scikit-learn's, without penalty, where the bound of the bias does not hold."""
    volumes = [drawn([0.5, 2.0, 1.0], seed=k, voxels=200 + 300 * k) for k in range(2)]
    fit = fitted(*volumes, method="platt")

    for k in range(3):
        logits, masks = (torch.cat([v[i][k, 0] for v in volumes]).numpy() for i in (0, 1))
        weights = np.concatenate([np.full(v[0].shape[-1], 1 / v[0].shape[-1]) for v in volumes])
        peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
        peer.fit(logits[:, None], masks, sample_weight=1000 * weights)
        assert fit.parameters["scales"][k] == pytest.approx(peer.coef_.item(), rel=1e-3)
        assert fit.parameters["biases"][k] == pytest.approx(peer.intercept_.item(), abs=1e-3)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_more_parameters_fit_no_worse(seed, scale):
    """One temperature is among those of structures, and these are among scales and biases."""
    volume = drawn(scale, seed=seed)
    before, *fits = (fitted(volume, method=method) for method in OF_ONE_PLACE)

    for fit in fits:
        assert fit.nll <= before.nll + 1e-6
        before = fit
    assert np.abs(fit.parameters["biases"]).max() <= 1 + 1e-6


def test_bias_keeps_to_its_bound():
    """For a network that puts nearly everything outside; the share that moves is reported."""
    logits, masks = exact([1.0] * 3, biases=[4.0] * 3)
    fit = fitted((logits, masks), method="platt")

    np.testing.assert_allclose(fit.parameters["biases"], 1.0, atol=1e-6)
    scales = torch.tensor(fit.parameters["scales"])[:, None, None]
    changed = ((scales * logits + 1 > 0) != (logits > 0)).double().mean().item()
    assert fit.moved == pytest.approx(changed)
    assert fit.moved > 0.05


@pytest.mark.parametrize(
    ("region", "spoil", "message"),
    [
        ("foreground", lambda masks: masks, "are all inside"),
        ("all", lambda masks: masks & False, "are all outside"),
        ("foreground", lambda masks: masks & False, "are none at all"),
    ],
)
@pytest.mark.parametrize("method", OF_ONE_PLACE)
def test_voxels_of_one_side_are_refused(method, region, spoil, message):
    """Over the label's foreground every voxel is inside, whatever was predicted."""
    logits, masks = drawn(1.0)
    name = "all structures" if method == "sigmoid_temperature" else "WT"

    with pytest.raises(
        InputError, match=f"region {region}: the voxels of {name} in it {message}, fro"
    ):
        fitted((logits, spoil(masks)), method=method, region=region)


def test_absent_structure_is_named_and_one_temperature_does_without_it():
    """Others can tell one temperature, but not that of a structure which nobody has."""
    logits, masks = drawn(1.0)
    masks[1] = False

    assert fitted((logits, masks), method="sigmoid_temperature").nll > 0
    with pytest.raises(InputError, match="region all: the voxels of TC in it are all outside"):
        fitted((logits, masks), method="platt")


def test_structure_that_is_always_right_is_named():
    """Colder is always better there."""
    logits, masks = drawn(1.0)
    masks[2] = logits[2] > 0

    for method in ("structure_temperatures", "platt"):
        with pytest.raises(InputError, match="ET: temperature: none .* since colder is always"):
            fitted((logits, masks), method=method)


BOTH = {"distance", "signed_distance"}


def test_unknown_method_is_refused_with_the_choice():
    """A method for exclusive classes, too."""
    assert set(METHODS) & set(SIGMOID_METHODS) == BOTH
    for method in ("isotonic", *(set(METHODS) - BOTH)):
        with pytest.raises(InputError, match=f"method: is '{method}'; choose from .*sigmoid_temp"):
            fitted(drawn(1.0), method=method)


@pytest.mark.parametrize("method", OF_ONE_PLACE)
def test_module_of_a_record_changes_each_channel_by_its_own_parameters(method):
    """Its classes are those for exclusive classes, whose tests ship them in every form."""
    fit = fitted(drawn([0.5, 2.0, 3.0]), method=method)
    module = fit.module
    values = fit.parameters
    scales = values.get("scales") or 1 / np.ravel(next(iter(values.values())))
    scales, biases = np.broadcast_to(scales, 3), values.get("biases", np.zeros(3))
    slow = torch.stack([LOGITS[:, k] * scales[k] + biases[k] for k in range(3)], 1)

    torch.testing.assert_close(module(LOGITS).double(), slow.double(), rtol=1e-5, atol=1e-5)
    assert type(module) in {method.module for method in METHODS.values()}
