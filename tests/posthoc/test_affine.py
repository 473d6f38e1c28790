"""Scales and biases are fitted to the smallest NLL, whatever method they are of."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from nacl_monai.posthoc.affine import _nll, along_classes, fit_affine
from nacl_monai.posthoc.region_logits import Voxels


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


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
def test_values_are_along_the_second_axis(dimensions):
    """For logits with any number of spatial axes."""
    logits = torch.zeros(2, 3, *([4] * dimensions))

    added = logits + along_classes(torch.tensor([1.0, 2.0, 3.0]), logits)
    assert [added[:, c].unique().item() for c in range(3)] == [1, 2, 3]


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
