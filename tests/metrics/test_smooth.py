"""Smooth ECE is the fixed point of its definition, computed voxel by voxel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_samples import measured, random_case

from nacl_monai.metrics import expected_calibration_error, smooth_calibration_error
from nacl_monai.metrics.fine_bins import NARROWEST, FineBins, smooth_ece


def error(confidences, hits):
    """The smooth ECE of lists of confidences and hits."""
    hits = torch.tensor(hits).bool()
    return FineBins.exact(torch.tensor(confidences).double(), hits).smooth_ece().item()


# Kernels are narrow only where a residual is small: at both ends.
END = 10 ** np.linspace(-9, np.log10(0.5), 2000)
POINTS = np.concatenate([[0], END, np.linspace(0, 1, 2001), 1 - END, [1]])
POINTS.sort()


def slow_error(confidences, hits, width):
    """The integral of the smoothed residuals: each voxel, and its images beyond both ends."""
    smoothed = np.zeros_like(POINTS)
    for confidence, hit in zip(confidences, hits, strict=True):
        for image in range(-3, 4):
            for place in (confidence + 2 * image, -confidence + 2 * image):
                kernel = np.exp(-(((POINTS - place) / width) ** 2) / 2)
                kernel /= math.sqrt(2 * math.pi) * width
                smoothed += kernel * (confidence - hit) / len(confidences)
    size = np.abs(smoothed)
    return (np.diff(POINTS) * (size[1:] + size[:-1]) / 2).sum()


def slow_smooth_ece(confidences, hits):
    """The width at which the error, which falls with the width, equals it: by halving."""
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        if slow_error(confidences, hits, middle) > middle:
            low = middle
        else:
            high = middle
    return middle


SATURATED = st.floats(0, 7).map(lambda digits: 1 - 10**-digits)
VOXELS = st.lists(
    st.tuples(st.one_of(st.floats(0.0, 1.0), SATURATED), st.booleans()), min_size=1, max_size=6
)


@given(VOXELS)
@settings(max_examples=15, deadline=None)
def test_error_is_the_fixed_point_of_its_definition(voxels):
    """Between 0 and 1, at both ends, and where confidences crowd at 1."""
    confidences, hits = zip(*voxels, strict=True)

    expected = slow_smooth_ece(confidences, hits)

    assert error(confidences, hits) == pytest.approx(expected, abs=2e-5)


def test_many_saturated_voxels_equal_the_definition():
    """Right or wrong by how saturated they are."""
    rng = np.random.default_rng(0)
    confidences = 1 - 10 ** rng.uniform(-7, -0.3, 60)
    hits = rng.random(60) < 0.5 + 0.4 * (confidences < 0.999)

    assert error(confidences.tolist(), hits.tolist()) == pytest.approx(
        slow_smooth_ece(confidences, hits), abs=1e-5
    )


@given(VOXELS)
@settings(max_examples=60, deadline=None)
def test_error_is_between_the_gap_and_the_error_of_each_confidence(voxels):
    """|mean confidence − accuracy| ≤ smooth ECE ≤ ECE with a bin for every confidence."""
    confidences, hits = zip(*voxels, strict=True)
    bins = FineBins.exact(torch.tensor(confidences).double(), torch.tensor(hits))

    smooth = bins.smooth_ece().item()

    assert abs(np.mean(confidences) - np.mean(hits)) - 1e-6 <= smooth
    assert smooth <= bins.excess.abs().sum().item() / len(voxels) + 1e-6


def test_certain_and_right_is_zero():
    """Nothing to smooth; and an error below the narrowest kernel is known to its width."""
    assert error([1.0] * 5, [True] * 5) == 0
    assert error([1.0, 1 - 1e-5], [True, True]) == pytest.approx(0, abs=NARROWEST)


def test_labels_drawn_from_the_probabilities_have_a_small_error():
    """It falls with the number of voxels, though nobody chose bins."""
    errors = [
        smooth_calibration_error(*random_case((1, 3, 1, n)), region="all").item()
        for n in (100, 10_000, 100_000)
    ]

    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_step_across_the_edge_of_a_bin_changes_it_little():
    """ECE doubles where 0.6 + δ and 0.6 − δ part; smooth ECE does not notice (the paper's example)."""
    halves = torch.tensor([True, False]).repeat_interleave(50)[None, None]

    def errors(shift):
        top = torch.full((100,), 0.6) + shift * torch.tensor([1, -1]).repeat_interleave(50)
        probs = torch.stack([1 - top, top])[None, :, None]
        return [
            metric(probs, halves.long(), region="all").item()
            for metric in (expected_calibration_error, smooth_calibration_error)
        ]

    together, apart = errors(0.0), errors(1e-4)

    assert apart[0] > together[0] + 0.3
    assert apart[1] == pytest.approx(together[1], abs=1e-3)


@pytest.mark.parametrize("sharpness", [1, 4, 16, 64])
def test_fine_bins_of_a_dataset_give_the_error_of_the_voxels(sharpness):
    """Each fine bin is at the mean confidence of its voxels, so that little is lost, up to 1."""
    logits = sharpness * torch.randn(2, 3, 60, 60, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(3, (2, 60, 60), generator=torch.Generator().manual_seed(1))
    guessed = torch.rand(labels.shape, generator=torch.Generator().manual_seed(2)) < 0.8
    probs = logits.softmax(1)
    labels = probs.argmax(1).where(guessed, labels)
    regions = ["all", "foreground"]

    numbers = measured(probs, labels, errors=["smooth_ece"], regions=regions).aggregate()

    for region in regions:
        expected = smooth_calibration_error(probs, labels, region).item()
        assert numbers[f"smooth_ece_{region}_pooled"] == pytest.approx(expected, abs=2e-4)


def test_leading_axes_are_kept_and_nothing_is_nan():
    """Cases × regions, each by itself; without voxels there is no error."""
    counts = torch.tensor([[[2, 2], [0, 0]], [[4, 0], [1, 3]]])
    errors = torch.tensor([[[1, 1], [0, 0]], [[3, 0], [0, 2]]])
    excess = counts * torch.tensor([0.25, 0.75], dtype=torch.float64) - (counts - errors)

    values = smooth_ece(counts, excess, errors)

    assert values.shape == (2, 2)
    assert values.dtype == torch.float64
    assert values[0, 1].isnan()
    for case, region in ((0, 0), (1, 0), (1, 1)):
        one = (sums[case, region] for sums in (counts, excess, errors))
        assert values[case, region] == smooth_ece(*one)
    assert math.isnan(error([], []))
