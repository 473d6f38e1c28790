import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import slow_adaptive_error
from metric_samples import random_case
from netcal.metrics import ECE

from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    CalibrationMetric,
    adaptive_calibration_error,
    expected_calibration_error,
    pieces,
)
from nacl_monai.metrics.fine_bins import FINE_BINS, FineBins, fine_bin_indices


def adaptive_error(confidences, hits, num_bins=15):
    """The exact error of lists of confidences and hits."""
    exact = FineBins.exact(torch.tensor(confidences).double(), torch.tensor(hits).bool())
    return exact.adaptive_ece(num_bins).item()


VOXELS = st.lists(
    st.tuples(st.sampled_from([0.5, 0.6, 0.8, 1.0]), st.booleans()), min_size=1, max_size=12
)


@given(VOXELS, st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_error_equals_that_of_voxels_cut_into_parts(voxels, num_bins):
    """The error is that of cutting each voxel into parts so that all bins hold the same mass."""
    confidences, hits = zip(*voxels, strict=True)

    actual = adaptive_error(confidences, hits, num_bins)

    assert actual == pytest.approx(slow_adaptive_error(confidences, hits, num_bins), abs=1e-6)


@given(VOXELS, st.randoms())
@settings(max_examples=30, deadline=None)
def test_order_of_voxels_changes_nothing(voxels, random):
    """The order of voxels, of equal confidence or not, changes nothing."""
    shuffled = random.sample(voxels, len(voxels))
    first, second = (adaptive_error(*zip(*pairs, strict=True), 3) for pairs in (voxels, shuffled))

    assert first == pytest.approx(second, abs=1e-12)


def test_error_equals_netcal_without_ties():
    """Without ties and with N a multiple of the bins it is netcal's ECE over equal masses."""
    probs, labels = random_case((1, 3, 60, 50))
    probs = probs.double()
    netcal = ECE(15, equal_intervals=False).measure(
        probs.movedim(1, -1).reshape(-1, 3).numpy(), labels.flatten().numpy()
    )

    assert adaptive_calibration_error(probs, labels, region="all").item() == pytest.approx(
        netcal, abs=5e-4
    )


def test_one_bin_gives_the_ece_of_one_bin():
    """With one bin it is the ECE of one bin: |mean confidence - accuracy|."""
    probs, labels = random_case((2, 3, 8, 9))

    expected = expected_calibration_error(probs, labels, num_bins=1).item()

    assert adaptive_calibration_error(probs, labels, num_bins=1).item() == pytest.approx(expected)


def as_volume(voxels):
    """Two-class probabilities and labels whose predicted class has these confidences and hits."""
    confidences, hits = (torch.tensor(column) for column in zip(*voxels, strict=True))
    probs = torch.stack([1 - confidences, confidences])[None, :, :, None]
    return probs, hits[None, None, :, None].long()


@given(st.lists(VOXELS, min_size=1, max_size=3), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_metric_equals_the_sorted_voxels(volumes, num_bins):
    """The metric's error of each volume and of all their voxels is that of the sorted voxels.

    Confidences that are far apart are in fine bins of their own, so that nothing is approximate.
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
def test_fine_bins_change_the_error_by_a_thousandth_at_most(sharpness):
    """Where confidences crowd into the same fine bins, the error is off by 0.001 at most.

    An edge between bins moves by no more than its fine bin holds; there are 28 per unit of the logit.
    """
    logits = sharpness * torch.randn(2, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(3, (2, 100, 100), generator=torch.Generator().manual_seed(1))
    probs = logits.softmax(1)
    metric = CalibrationMetric(regions=["foreground"])
    metric(probs, labels[:, None])

    expected = adaptive_calibration_error(probs, labels).item()

    assert metric.aggregate()["adaptive_ece_foreground_pooled"] == pytest.approx(expected, abs=1e-3)


def test_size_of_a_chunk_changes_nothing(monkeypatch):
    """Small chunks give the fine bins of one large chunk."""
    case = random_case((2, 3, 30, 20))
    whole = CalibrationMetric(regions=["all"])
    whole(*case)
    monkeypatch.setitem(pieces._CHUNK, "cpu", 64)
    chunked = CalibrationMetric(regions=["all"])
    chunked(*case)

    expected = whole.case_errors()["adaptive_ece"]
    assert torch.allclose(chunked.case_errors()["adaptive_ece"], expected, rtol=1e-12)


def test_edges_of_bins_are_exact_for_billions_of_voxels():
    """A bin's edge is a third of all voxels to the last voxel, which float32 cannot tell."""
    counts = [10**9 - 7, 10**9 + 18, 10**9 - 11]
    excess = [3 * 10**8, -(10**8), 2 * 10**8]
    third = Fraction(sum(counts), 3)
    first = excess[0] + (third - counts[0]) * Fraction(excess[1], counts[1])
    last = excess[2] + (third - counts[2]) * Fraction(excess[1], counts[1])
    parts = [first, sum(excess) - first - last, last]
    expected = float(sum(map(abs, parts)) / sum(counts))

    counts = torch.tensor(counts)
    bins = FineBins(counts, torch.tensor(excess, dtype=torch.float64), torch.zeros_like(counts))

    assert bins.adaptive_ece(3).item() == pytest.approx(expected, rel=1e-12)


def test_mean_leaves_out_cases_without_the_region():
    """The mean leaves out the volumes whose region is empty."""
    probs, labels = random_case((3, 3, 8, 9))
    labels[1] = 0
    metric = CalibrationMetric()
    metric(probs, labels[:, None])

    errors = metric.case_errors()["adaptive_ece"][:, metric.region_names.index("foreground")]

    assert errors.isnan().tolist() == [False, True, False]
    mean = metric.aggregate()["adaptive_ece_foreground"]
    assert mean == pytest.approx((errors[0] + errors[2]).item() / 2)


def test_empty_region_is_nan():
    """Without a voxel it is NaN."""
    assert math.isnan(adaptive_error([], []))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_confidences_close_to_one_are_told_apart(dtype):
    """Beyond 0.9997, confidences that differ by a factor in 1 - p get different fine bins, up to 1."""
    doubt = torch.tensor([3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1.2e-7, 0.0], dtype=dtype)

    indices = fine_bin_indices(1 - doubt)

    assert (indices.diff() > 0).all()
    assert indices[-1] == FINE_BINS - 1


def test_error_beyond_0_9997_equals_the_sorted_voxels():
    """Saturated predictions, right or wrong by how saturated they are, are cut as if sorted."""
    doubt = torch.tensor([2e-4] * 3 + [2e-5] * 3 + [2e-6] * 3 + [0.0] * 3)
    hits = [True] * 3 + [False] * 3 + [True, False, True] + [False] * 3
    confidences = (1 - doubt).tolist()
    metric = CalibrationMetric(4, errors=["adaptive_ece"], regions=["all"])
    metric(*as_volume(list(zip(confidences, hits, strict=True))))

    assert metric.pooled_errors()["adaptive_ece"].item() == pytest.approx(
        slow_adaptive_error(confidences, hits, 4), abs=1e-5
    )


@pytest.mark.parametrize("above", [1e-6, 5e-4])
def test_confidence_slightly_above_one_is_in_the_last_fine_bin(above):
    """Softmax may round to slightly more than 1, which has no logit."""
    probs = torch.tensor([1 + above, 0.0])[None, :, None, None]
    metric = CalibrationMetric(errors=["adaptive_ece"], regions=["all"])

    metric(probs, torch.ones(1, 1, 1, 1))

    assert fine_bin_indices(probs[:, 0]).item() == FINE_BINS - 1
    assert metric.aggregate()["adaptive_ece_all"] == pytest.approx(1, abs=1e-3)


def test_fine_bins_are_equally_wide_in_the_logit():
    """Logits from -18 to 18 are spread over all fine bins in equal steps; others are at the ends."""
    logits = torch.linspace(-18, 18, FINE_BINS, dtype=torch.float64)
    inside = logits.abs() < 8  # where float32 resolves the confidence
    indices = fine_bin_indices(torch.sigmoid(logits))

    assert torch.equal(indices[inside], torch.arange(FINE_BINS)[inside])
    assert fine_bin_indices(torch.tensor([1e-30, 0.0, 1.0])).tolist() == [0, 0, FINE_BINS - 1]


def test_fine_bins_of_a_case_by_hand():
    """Counts are voxels, excess is their confidence minus their hits, errors are wrong voxels."""
    probs, labels = as_volume([(0.75, True), (0.75, False), (0.9375, True)])
    metric = CalibrationMetric(errors=["adaptive_ece"], regions=["all", "foreground"])
    metric(probs, labels)

    counts, excess, errors = metric.get_buffer()[-3:]

    first, second = fine_bin_indices(torch.tensor([0.75, 0.9375])).tolist()
    assert counts.shape == (1, 2, FINE_BINS)
    assert {i: n for i, n in enumerate(counts[0, 0].tolist()) if n} == {first: 2, second: 1}
    assert {i: e for i, e in enumerate(excess[0, 0].tolist()) if e} == {first: 0.5, second: -0.0625}
    assert {i: n for i, n in enumerate(errors[0, 0].tolist()) if n} == {first: 1}
    assert {i: n for i, n in enumerate(counts[0, 1].tolist()) if n} == {first: 1, second: 1}


def test_result_is_a_double_on_the_device_of_the_input():
    """The error is a 0-d tensor, float64, also for half precision and for an empty region."""
    probs, labels = random_case((1, 3, 8, 9))

    for label in (labels, torch.zeros_like(labels)):
        error = adaptive_calibration_error(probs.half(), label)
        assert (error.shape, error.dtype, error.device) == ((), torch.float64, probs.device)


@pytest.mark.parametrize("num_bins", [0, -1])
def test_fewer_than_one_bin_is_refused(num_bins):
    """There is at least one bin, also in a region without a voxel."""
    for confidences in ([0.5], []):
        with pytest.raises(InputError, match=f"num_bins: is {num_bins}"):
            adaptive_error(confidences, [True] * len(confidences), num_bins)
