import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import slow_adaptive_error
from metric_samples import random_case
from netcal.metrics import ECE

from nacl_monai.metrics import (
    CalibrationMetric,
    adaptive_calibration_error,
    adaptive_error,
    expected_calibration_error,
)

VOXELS = st.lists(
    st.tuples(st.sampled_from([0.5, 0.6, 0.8, 1.0]), st.booleans()), min_size=1, max_size=12
)


@given(VOXELS, st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_equals_slow_loop(voxels, num_bins):
    """The error is that of cutting each voxel into parts so that all bins hold the same mass."""
    confidences, hits = zip(*voxels, strict=True)

    actual = adaptive_error(torch.tensor(confidences).double(), torch.tensor(hits), num_bins)

    assert actual == pytest.approx(slow_adaptive_error(confidences, hits, num_bins), abs=1e-6)


@given(VOXELS, st.randoms())
@settings(max_examples=30, deadline=None)
def test_order_of_ties(voxels, random):
    """The order of voxels, of equal confidence or not, changes nothing."""
    shuffled = random.sample(voxels, len(voxels))
    first, second = (
        adaptive_error(torch.tensor([c for c, _ in v]), torch.tensor([h for _, h in v]), 3)
        for v in (voxels, shuffled)
    )

    assert first == pytest.approx(second, abs=1e-12)


def test_netcal():
    """Without ties and with N a multiple of the bins it is netcal's ECE over equal masses."""
    probs, labels = random_case((1, 3, 60, 50))
    probs = probs.double()
    theirs = ECE(15, equal_intervals=False).measure(
        probs.movedim(1, -1).reshape(-1, 3).numpy(), labels.flatten().numpy()
    )

    assert adaptive_calibration_error(probs, labels, region="all") == pytest.approx(
        theirs, abs=5e-4
    )


def test_one_bin():
    """With one bin it is the ECE of one bin: |mean confidence - accuracy|."""
    probs, labels = random_case((2, 3, 8, 9))

    expected = expected_calibration_error(probs, labels, num_bins=1)

    assert adaptive_calibration_error(probs, labels, num_bins=1) == pytest.approx(expected)


def as_volume(voxels):
    """Two-class probabilities and labels whose predicted class has these confidences and hits."""
    confidences, hits = (torch.tensor(column) for column in zip(*voxels, strict=True))
    probs = torch.stack([1 - confidences, confidences])[None, :, :, None]
    return probs, hits[None, None, :, None].long()


@given(st.lists(VOXELS, min_size=1, max_size=3), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_metric(volumes, num_bins):
    """The metric's error of each volume and of all their voxels is that of the sorted voxels.

    Confidences that are far apart lie in cells of their own, so that nothing is approximate.
    """
    volumes = [[(0.5001 if c == 0.5 else c, h) for c, h in voxels] for voxels in volumes]
    metric = CalibrationMetric(num_bins, regions=["all"])
    for voxels in volumes:
        metric(*as_volume(voxels))

    pooled = [voxel for voxels in volumes for voxel in voxels]
    for actual, voxels in zip(
        [*metric.case_errors()["adaptive_ece"][:, 0], metric.pooled_errors()["adaptive_ece"][0]],
        [*volumes, pooled],
        strict=True,
    ):
        confidences, hits = zip(*voxels, strict=True)
        expected = slow_adaptive_error(confidences, hits, num_bins)
        assert actual.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("sharpness", [1, 4, 16])
def test_cells_are_fine_enough(sharpness):
    """Where confidences crowd into the same cells, the error is off by 0.001 at most.

    Each edge between bins can move no more than what its cell holds, of which each logit's is 1/28.
    """
    logits = sharpness * torch.randn(2, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(3, (2, 100, 100), generator=torch.Generator().manual_seed(1))
    probs = logits.softmax(1)
    metric = CalibrationMetric(regions=["foreground"])
    metric(probs, labels[:, None])

    expected = adaptive_calibration_error(probs, labels)

    assert metric.aggregate()["adaptive_ece_foreground_pooled"] == pytest.approx(expected, abs=1e-3)


def test_volumes_without_the_region():
    """The mean leaves out the volumes whose region is empty."""
    probs, labels = random_case((3, 3, 8, 9))
    labels[1] = 0
    metric = CalibrationMetric()
    metric(probs, labels[:, None])

    errors = metric.case_errors()["adaptive_ece"][:, metric.region_names.index("foreground")]

    assert errors.isnan().tolist() == [False, True, False]
    mean = metric.aggregate()["adaptive_ece_foreground"]
    assert mean == pytest.approx((errors[0] + errors[2]).item() / 2)


def test_empty_region():
    """Without a voxel it is NaN."""
    assert math.isnan(adaptive_error(torch.empty(0), torch.empty(0, dtype=torch.bool)))
