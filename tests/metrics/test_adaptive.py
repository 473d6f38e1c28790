from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import slow_adaptive_error
from metric_samples import measured, random_case
from netcal.metrics import ECE

from nacl_monai.metrics import CalibrationMetric, adaptive_calibration_error
from nacl_monai.metrics.fine_bins import FINE_BINS, FineBins, fine_bin_indices

VOXELS = st.lists(
    st.tuples(st.sampled_from([0.5, 0.6, 0.8, 1.0]), st.booleans()), min_size=1, max_size=12
)


@given(VOXELS, st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_error_equals_that_of_voxels_cut_into_parts(voxels, num_bins):
    """The error is that of cutting each voxel into parts so that all bins hold the same mass."""
    confidences, hits = zip(*voxels, strict=True)

    exact = FineBins.exact(torch.tensor(confidences).double(), torch.tensor(hits).bool())

    expected = slow_adaptive_error(confidences, hits, num_bins)
    assert exact.adaptive_ece(num_bins).item() == pytest.approx(expected, abs=1e-6)


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

    numbers = measured(probs, labels, errors=["adaptive_ece"], regions=["foreground"]).aggregate()

    expected = adaptive_calibration_error(probs, labels).item()
    assert numbers["adaptive_ece_foreground_pooled"] == pytest.approx(expected, abs=1e-3)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_confidences_close_to_one_are_told_apart(dtype):
    """Beyond 0.9997, confidences that differ by a factor in 1 - p get different fine bins, up to 1."""
    doubt = torch.tensor([3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1.2e-7, 0.0], dtype=dtype)

    indices = fine_bin_indices(1 - doubt)

    assert (indices.diff() > 0).all()
    assert indices[-1] == FINE_BINS - 1


def test_fine_bins_are_equally_wide_in_the_logit():
    """Logits from -18 to 18 are spread over all fine bins in equal steps; others are at the ends.

    Softmax may round to slightly more than 1, which has no logit.
    """
    logits = torch.linspace(-18, 18, FINE_BINS, dtype=torch.float64)
    inside = logits.abs() < 8  # where float32 resolves the confidence
    indices = fine_bin_indices(torch.sigmoid(logits))

    assert torch.equal(indices[inside], torch.arange(FINE_BINS)[inside])
    assert fine_bin_indices(torch.tensor([1e-30, 0.0])).tolist() == [0, 0]
    assert (fine_bin_indices(torch.tensor([1.0, 1 + 1e-6, 1 + 5e-4])) == FINE_BINS - 1).all()


def test_fine_bins_of_a_case_by_hand():
    """Counts are voxels, excess is their confidence minus their hits, errors are wrong voxels."""
    probs, labels = as_volume([(0.75, True), (0.75, False), (0.9375, True)])
    metric = measured(probs, labels, errors=["adaptive_ece"], regions=["all", "foreground"])

    counts, excess, errors = metric.get_buffer()[-3:]

    first, second = fine_bin_indices(torch.tensor([0.75, 0.9375])).tolist()
    assert counts.shape == (1, 2, FINE_BINS)
    assert {i: n for i, n in enumerate(counts[0, 0].tolist()) if n} == {first: 2, second: 1}
    assert {i: e for i, e in enumerate(excess[0, 0].tolist()) if e} == {first: 0.5, second: -0.0625}
    assert {i: n for i, n in enumerate(errors[0, 0].tolist()) if n} == {first: 1}
    assert {i: n for i, n in enumerate(counts[0, 1].tolist()) if n} == {first: 1, second: 1}
