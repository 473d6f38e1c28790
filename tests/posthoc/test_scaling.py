"""Temperatures, and scales and biases of classes: what they do, and their exact fit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from nacl_monai.errors import InputError
from nacl_monai.posthoc import ClassTemperatures, Temperature, VectorScaling
from nacl_monai.posthoc.scaling import _nll, fit_affine
from nacl_monai.posthoc.voxels import Voxels
from tests.posthoc.shipping import LOGITS, shipped

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
    assert torch.equal(scaled.argmax(1), LOGITS.argmax(1))


def test_temperature_of_one_changes_no_bit():
    """Switched off, the plain model remains."""
    assert torch.equal(Temperature(1.0)(LOGITS), LOGITS)


@pytest.mark.parametrize(("module", "scales", "biases"), MODULES)
def test_each_class_has_its_own_values(module, scales, biases, tmp_path):
    """In two and three dimensions, for single voxels and in every dtype, as TorchScript and as ONNX."""
    slow = torch.stack([LOGITS[:, c] * scales[c] + biases[c] for c in range(3)], 1)

    torch.testing.assert_close(module(LOGITS), slow)
    torch.testing.assert_close(module(LOGITS[..., None]), slow[..., None])
    torch.testing.assert_close(module(LOGITS[:, :, 0, 0]), slow[:, :, 0, 0])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert module(LOGITS.to(dtype)).dtype == dtype
    for form, outputs in shipped(module, tmp_path).items():
        torch.testing.assert_close(outputs, module(LOGITS), msg=form)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        *(
            (
                lambda value=value: Temperature(value),
                "temperature: is .*; choose a finite number ab",
            )
            for value in (0.0, -1.0, float("nan"), float("inf"))
        ),
        *(
            (
                lambda values=values: ClassTemperatures(values),
                "temperatures: are .*; choose finite numbers above 0, one",
            )
            for values in ([1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [])
        ),
        (lambda: VectorScaling([1.0, 0.0], [0.0, 0.0]), "scales: are .* above 0"),
        (lambda: VectorScaling([1.0, 1.0], [0.0, float("inf")]), "biases: are"),
        (lambda: VectorScaling([1.0, 1.0], [0.0]), "scales: are .*one for each class"),
    ],
)
def test_what_is_no_temperature_scale_or_bias_is_refused(make, named):
    """Each is finite, one for each class, and what multiplies is above 0."""
    with pytest.raises(InputError, match=named):
        make()


def drawn(seed):
    """Voxels of two volumes, of which one weighs three times as much."""
    rng = np.random.default_rng(seed)
    return [
        Voxels(
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
    doubtful = [one._replace(weight=one.weight * share) for one in drawn(3)]
    labels = torch.zeros(100, dtype=torch.long)
    certain = Voxels(torch.tensor([1e6, -1e6, -1e6]).expand(100, 3), labels, 1 - share)

    found = fit_affine([*doubtful, certain], 2.0)
    expected = fit_affine(drawn(3), 2.0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0, 2))
def test_biases_keep_to_their_bound(seed, bound):
    """Zero leaves them out."""
    voxels = [Voxels(logits, logits.argmax(1), w) for logits, _, w in drawn(seed)]
    wrong = [Voxels(logits, labels.roll(1) % 3, w) for logits, labels, w in drawn(seed)]

    _, biases = fit_affine([*voxels, *wrong], bound)
    assert np.abs(biases).max() <= bound
