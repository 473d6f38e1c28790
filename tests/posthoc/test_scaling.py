"""Temperatures, scales and biases of logits, their exact fit, and probabilities as logits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from nacl_monai.errors import InputError
from nacl_monai.posthoc import (
    ClassTemperatures,
    Temperature,
    VectorScaling,
    logits_of,
    structure_logits_of,
)
from nacl_monai.posthoc.scaling import _nll, fit_affine
from nacl_monai.posthoc.voxels import FitVoxels
from tests.posthoc.shipping import LOGITS, shipped
from tests.same import same_bits, same_values

SCALES, BIASES = (0.5, 2.0, 1.5), (0.25, -0.5, 0.0)
#: Modules, with the scale and the bias of each class.
MODULES = [
    (Temperature(1.7), (1 / 1.7,) * 3, (0.0,) * 3),
    (ClassTemperatures(SCALES), [1 / scale for scale in SCALES], (0.0,) * 3),
    (VectorScaling(SCALES, BIASES), SCALES, BIASES),
]


@given(st.floats(0.02, 50))
def test_logits_are_divided_and_label_maps_stay(temperature):
    """Only how sure the network is changes."""
    scaled = Temperature(temperature)(LOGITS)

    torch.testing.assert_close(scaled.double(), LOGITS.double() / temperature, rtol=1e-6, atol=0)
    same_values(scaled.argmax(1), LOGITS.argmax(1))


def test_temperature_of_one_changes_no_bit():
    """Switched off, the plain model remains."""
    same_bits(Temperature(1.0)(LOGITS), LOGITS, "a division by one is exact")


@pytest.mark.parametrize(("module", "scales", "biases"), MODULES)
def test_each_class_has_its_own_values(module, scales, biases):
    """In two and three dimensions, for single voxels and in every dtype."""
    slow = torch.stack([LOGITS[:, c] * scales[c] + biases[c] for c in range(3)], 1)

    torch.testing.assert_close(module(LOGITS), slow)
    torch.testing.assert_close(module(LOGITS[..., None]), slow[..., None])
    torch.testing.assert_close(module(LOGITS[:, :, 0, 0]), slow[:, :, 0, 0])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert module(LOGITS.to(dtype)).dtype == dtype


@pytest.mark.parametrize(
    "module",
    [pytest.param(m, marks=() if b == BIASES else pytest.mark.slow) for m, _, b in MODULES],
)
def test_shipped_module_does_the_same(module, tmp_path):
    """As TorchScript and as ONNX."""
    for form, outputs in shipped(module, tmp_path).items():
        torch.testing.assert_close(outputs, module(LOGITS), msg=form)


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        *(
            (Temperature, [value], "temperature: is .*; choose a finite number ab")
            for value in (0.0, -1.0, float("nan"), float("inf"))
        ),
        *(
            (
                ClassTemperatures,
                [values],
                "temperatures: are .*; choose finite numbers above 0, one",
            )
            for values in ([1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [])
        ),
        (VectorScaling, [[1.0, 0.0], [0.0, 0.0]], "scales: are .* above 0"),
        (VectorScaling, [[1.0, 1.0], [0.0, float("inf")]], "biases: are"),
        (VectorScaling, [[1.0, 1.0], [0.0]], "scales: are .*one for each class"),
    ],
)
def test_what_is_no_temperature_scale_or_bias_is_refused(kind, values, named):
    """Each is finite, one for each class, and what multiplies is above 0."""
    with pytest.raises(InputError, match=named):
        kind(*values)


def drawn(seed):
    """Voxels of two volumes, of which one weighs three times as much."""
    rng = np.random.default_rng(seed)
    return [
        FitVoxels(
            torch.from_numpy(rng.normal(0, 3, (voxels, 3))).float(),
            torch.from_numpy(rng.integers(0, 3, voxels)),
            weight,
        )
        for voxels, weight in ((40, 0.75), (60, 0.25))
    ]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.lists(st.floats(0.2, 3), min_size=6, max_size=6))
def test_slopes_are_those_of_the_nll(seed, theta):
    """Against differences."""
    voxels, theta = drawn(seed), np.array(theta)

    _, slopes = _nll(voxels, theta)
    expected = approx_fprime(theta, lambda place: _nll(voxels, place)[0], 1e-6)
    np.testing.assert_allclose(slopes, expected, atol=1e-4)


@pytest.mark.parametrize("share", [1, 1e-3, 1e-6, 1e-9])
def test_share_of_doubtful_voxels_changes_no_fit(share):
    """Voxels that are certain under any scale only make the mean smaller."""
    doubtful = [voxels._replace(weight=voxels.weight * share) for voxels in drawn(3)]
    labels = torch.zeros(100, dtype=torch.long)
    certain = FitVoxels(torch.tensor([1e6, -1e6, -1e6]).expand(100, 3), labels, 1 - share)

    found = fit_affine([*doubtful, certain], 2.0)
    expected = fit_affine(drawn(3), 2.0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0, 2))
def test_biases_keep_to_their_bound(seed, bound):
    """Zero leaves them out."""
    voxels = [FitVoxels(logits, logits.argmax(1), w) for logits, _, w, *_ in drawn(seed)]
    wrong = [FitVoxels(logits, labels.roll(1) % 3, w) for logits, labels, w, *_ in drawn(seed)]

    _, biases = fit_affine([*voxels, *wrong], bound)
    assert np.abs(biases).max() <= bound


SEEDED = torch.Generator().manual_seed(0)
DOUBLE_LOGITS = 4 * torch.randn(3, 6, 5, generator=SEEDED, dtype=torch.float64)


def test_log_softmax_of_the_logits_is_what_was_saved():
    """They differ from the network's by what all classes of a voxel share, which softmax cancels."""
    found = logits_of(DOUBLE_LOGITS.softmax(0)).log_softmax(0)

    torch.testing.assert_close(found, DOUBLE_LOGITS.log_softmax(0).float())


@pytest.mark.parametrize(
    ("dtype", "smallest"),
    [(np.uint8, 1 / 510), (np.float16, 2.0**-25), (np.float32, 2.0**-126), (np.float64, 2.0**-126)],
)
def test_zero_is_half_of_what_the_dtype_tells_from_it(dtype, smallest):
    """Its logarithm would be infinite, and no fit could be finite; a byte holds 255ths."""
    full = 255 if dtype == np.uint8 else 1
    probs = torch.from_numpy(np.array([[0], [full]], dtype))

    assert logits_of(probs).flatten().tolist() == pytest.approx([np.log(smallest), 0.0])


@pytest.mark.parametrize("steps", [255, 32767, 65535])
def test_zero_and_one_are_half_a_step_from_themselves(steps):
    """Integers that a file scales are read as single precision, which says nothing of their steps."""
    ends, half = torch.tensor([[0.0], [1.0]]), 0.5 / steps

    assert logits_of(ends, 1 / steps).flatten().tolist() == pytest.approx([np.log(half), 0.0])
    low, high = structure_logits_of(ends, 1 / steps).flatten().tolist()
    assert [low, high] == pytest.approx([np.log(half / (1 - half)), -np.log(half / (1 - half))])


def test_bytes_are_255ths():
    """51 of 255 are a fifth."""
    probs = torch.tensor([[51], [204]], dtype=torch.uint8)

    assert logits_of(probs).exp().flatten().tolist() == pytest.approx([0.2, 0.8])


@given(st.floats(-15, 15))
def test_logits_of_a_sigmoid_are_the_networks(logit):
    """As well as single precision has kept them."""
    probs = torch.tensor([logit], dtype=torch.float64).sigmoid()

    assert structure_logits_of(probs).item() == pytest.approx(logit, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_one_of_a_sigmoid_is_between_itself_and_the_next_below(dtype):
    """Its logit would be infinite."""
    ones = np.ones(1, dtype)
    below = float(np.nextafter(ones, np.zeros(1, dtype))[0])
    found = torch.sigmoid(structure_logits_of(torch.from_numpy(ones)).double()).item()

    assert 1 - found == pytest.approx((1 - below) / 2, rel=1e-3)


def test_one_of_a_sigmoid_in_double_precision_is_the_largest_number_below_it():
    """No double is nearer to 1."""
    found = structure_logits_of(torch.ones(1, dtype=torch.float64)).item()

    assert found == pytest.approx(-np.log(1 - np.nextafter(1, 0)))


def test_bytes_of_a_sigmoid_are_255ths_and_its_ends_are_finite():
    """0 and 255 are as far from certain as each other."""
    logits = structure_logits_of(torch.tensor([0, 51, 204, 255], dtype=torch.uint8)).tolist()

    assert logits[1:3] == pytest.approx([np.log(1 / 4), np.log(4)])
    assert logits[3] == pytest.approx(-logits[0])
    assert logits[0] == pytest.approx(np.log(1 / 509))
