import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import slow_adaptive_error
from metric_samples import random_case
from netcal.metrics import ECE

from nacl_monai.metrics import (
    AdaptiveCalibrationMetric,
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


def test_metric_is_the_mean_over_volumes():
    """The metric averages the volumes whose region is not empty, from batches or lists."""
    probs, labels = random_case((3, 3, 8, 9))
    labels[1] = 0
    metric = AdaptiveCalibrationMetric()
    metric(probs[:2], labels[:2, None])
    metric([probs[2]], [labels[2:]])

    each = [adaptive_calibration_error(probs[i : i + 1], labels[i : i + 1]) for i in (0, 2)]

    assert metric.aggregate().item() == pytest.approx(sum(each) / 2)
    assert metric.get_buffer().shape == (3, 1)


def test_empty_region():
    """Without a voxel it is NaN."""
    assert math.isnan(adaptive_error(torch.empty(0), torch.empty(0, dtype=torch.bool)))
