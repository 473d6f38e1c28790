"""Errors of calibration equal slow loops, their published definitions and independent libraries."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import CalibrationErrorMetric
from netcal.metrics import ACE, ECE, MCE
from torchmetrics.functional.classification import multiclass_calibration_error

from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    CalibrationMetric,
    adaptive_calibration_error,
    average_calibration_error,
    calibration_bins,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    maximum_calibration_error,
    region_mask,
    smooth_calibration_error,
)
from nacl_monai.metrics.bins import ThresholdedBins
from nacl_monai.metrics.fine_bins import (
    FINE_BINS,
    NARROWEST,
    FineBins,
    fine_bin_indices,
    smooth_ece,
)
from tests.metrics.oracles import (
    cases,
    measured,
    random_case,
    slow_adaptive_error,
    slow_bins,
    slow_errors,
)
from tests.same import same_values

ERRORS = ("ece", "ace", "mce", "confidence_gap")


def voxels(probs, labels):
    """Voxels as (N, C) and (N,) arrays, as the peers want them."""
    return probs.movedim(1, -1).reshape(-1, probs.shape[1]).numpy(), labels.flatten().numpy()


@given(cases())
@settings(max_examples=60, deadline=None)
def test_errors_equal_slow_loop(case):
    """Every error of every class is that of a loop over the bins."""
    probs, labels, mask = case

    bins = calibration_bins(probs, labels, mask)

    expected = np.array(
        [slow_errors(*sums) for sums in zip(*slow_bins(probs, labels, mask, 15), strict=True)]
    )
    actual = np.stack([bins.errors(error) for error in ERRORS], 1)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


class TestPeers:
    @pytest.mark.parametrize("shape", [(2, 3, 40, 41), (1, 5, 12, 13, 14)])
    @pytest.mark.parametrize("num_bins", [10, 15])
    @pytest.mark.parametrize(
        ("error", "netcal", "norm"),
        [
            (expected_calibration_error, ECE, "l1"),
            (maximum_calibration_error, MCE, "max"),
            (average_calibration_error, ACE, None),
        ],
    )
    def test_errors_equal_those_of_netcal_and_torchmetrics(
        self, shape, num_bins, error, netcal, norm
    ):
        """On unsaturated data; torchmetrics has no ACE."""
        probs, labels = random_case(shape)

        found = error(probs.double(), labels, num_bins, "all").item()

        of_netcal = netcal(num_bins).measure(*voxels(probs.double(), labels))
        assert found == pytest.approx(of_netcal, abs=1e-6)
        if norm:
            of_torchmetrics = multiclass_calibration_error(
                probs, labels, num_classes=shape[1], n_bins=num_bins, norm=norm
            )
            assert found == pytest.approx(of_torchmetrics.item(), abs=1e-6)

    def test_cece_equals_monai(self):
        """On few unsaturated voxels the class-wise error is that of MONAI."""
        probs, labels = random_case((1, 4, 20, 21))
        one_hot = torch.nn.functional.one_hot(labels, 4).movedim(-1, 1)
        monai = CalibrationErrorMetric(num_bins=15)
        monai(probs, one_hot)

        error = classwise_calibration_error(probs, labels, region="all").item()

        assert error == pytest.approx(monai.aggregate().item(), abs=1e-6)

    def test_torchmetrics_has_an_extra_bin_for_one(self):
        """Torchmetrics gives confidence 1.0 a bin of its own, and so misses that the gaps cancel.

        At 0.95 all right, at 1.0 nine in ten right: one bin of the last 15th, mean confidence
        0.975 and accuracy 0.95; apart they cost 0.05 and 0.1.
        """
        top = torch.tensor([0.95] * 10 + [1.0] * 10)
        probs = torch.stack([1 - top, top])[None, :, None]
        labels = torch.tensor([1] * 19 + [0])[None, None]

        error = expected_calibration_error(probs, labels, region="all").item()
        torchmetrics = multiclass_calibration_error(probs, labels, num_classes=2, n_bins=15)

        assert error == pytest.approx(0.025, abs=1e-6)
        assert torchmetrics.item() == pytest.approx(0.075, abs=1e-6)
        assert ECE(15).measure(*voxels(probs, labels)) == pytest.approx(0.025, abs=1e-6)

    @pytest.mark.nightly
    @pytest.mark.filterwarnings("ignore:torch.searchsorted.*non-contiguous")
    def test_monai_drifts_at_twenty_million_voxels(self):
        """At 20 million voxels MONAI's float32 sums report another error than the true one."""
        voxels = 20_000_000
        probs = torch.tensor([0.7, 0.3])[None, :, None, None].expand(1, 2, 1, voxels)
        labels = (torch.arange(voxels) % 2).to(torch.uint8).view(1, 1, voxels)
        monai = CalibrationErrorMetric(num_bins=15)
        monai(probs, torch.stack([1 - labels, labels], 1))

        error = classwise_calibration_error(probs, labels, region="all").item()

        assert error == pytest.approx(0.2, abs=1e-6)
        assert abs(monai.aggregate().item() - 0.2) > 0.03


class TestAbsentClass:
    # Two foreground voxels of class 1; class 2 never occurs but is given 0.2 of the probability.
    probs = torch.tensor([0.1, 0.7, 0.2])[None, :, None, None].expand(1, 3, 1, 2)
    labels = torch.ones(1, 1, 2, dtype=torch.int64)

    @pytest.mark.parametrize(
        ("options", "counted"),
        [
            ({}, [0.1, 0.3, 0.2]),
            ({"include_background": False}, [0.3, 0.2]),
            ({"include_absent": False}, [0.3]),
        ],
    )
    def test_absent_class_costs_what_is_wasted_on_it_unless_it_is_left_out(self, options, counted):
        """So does the background; it is absent from the foreground, too."""
        error = classwise_calibration_error(self.probs, self.labels, **options).item()

        assert error == pytest.approx(np.mean(counted))

    def test_labels_do_not_set_the_divisor(self):
        """A class beyond the largest label counts, so that volumes are comparable."""
        wider = torch.cat([self.probs, torch.zeros(1, 1, 1, 2)], 1)

        assert classwise_calibration_error(wider, self.labels).item() == pytest.approx(0.6 / 4)


def slow_thresholded(probs, labels, mask, threshold, num_bins=15):
    """The ECE of each class over the voxels to which it gives more, by a loop; NaN without any."""
    errors = []
    for k in range(probs.shape[1]):
        keep = mask & (probs[:, k] > threshold)
        counts, positives, sums = slow_bins(probs, labels, keep, num_bins)
        errors.append(slow_errors(counts[k + 1], positives[k + 1], sums[k + 1])[0])
    return errors


class TestThreshold:
    @given(cases(), st.sampled_from([0.0, 0.001, 0.1, 0.4]))
    @settings(max_examples=40, deadline=None)
    def test_error_is_that_of_the_probabilities_above(self, case, threshold):
        """For each class by itself, in the function, in the metric and in the bins."""
        probs, labels, mask = case
        expected = slow_thresholded(probs, labels, mask, threshold)
        options = {"errors": ["thresholded_cece"], "regions": ["all"], "threshold": threshold}
        metric = measured(probs, labels, mask, **options)
        bins = ThresholdedBins(*metric.get_buffer()[-3:]).pooled()[0]

        error = classwise_calibration_error(probs, labels, region=mask, threshold=threshold).item()

        mean = np.mean([e for e in expected if not math.isnan(e)] or [math.nan])
        assert bins.class_errors().tolist() == pytest.approx(expected, abs=1e-6, nan_ok=True)
        assert error == pytest.approx(mean, abs=1e-6, nan_ok=True)
        assert metric.pooled_errors()["thresholded_cece"].item() == pytest.approx(
            mean, abs=1e-6, nan_ok=True
        )

    def test_options_of_the_metric_hold_for_it_as_for_cece(self):
        """Background and absent classes are left out; a thousandth is the default."""
        probs, labels = random_case((1, 4, 9, 9), scale=4.0)
        labels[labels == 3] = 0
        options = {"include_background": False, "include_absent": False}
        errors = ["cece", "thresholded_cece"]

        numbers = measured(probs, labels, errors=errors, regions=["all"], **options).aggregate()

        for name, threshold in (("cece_all", -1), ("thresholded_cece_all", 0.001)):
            each = slow_thresholded(probs, labels, torch.ones_like(labels).bool(), threshold)
            assert numbers[name] == pytest.approx(np.mean(each[1:3]), abs=1e-6)

    @pytest.mark.parametrize("threshold", [-0.1, 1.0, math.nan])
    def test_threshold_that_no_probability_is_above_is_refused(self, threshold):
        """A probability is at most 1."""
        with pytest.raises(InputError, match="threshold: is .*; use a number from 0 to below 1"):
            classwise_calibration_error(*random_case((1, 2, 3, 3)), threshold=threshold)


@pytest.mark.parametrize("region", ["foreground", "all"])
def test_functions_are_the_methods_of_the_bins_of_a_region(region):
    """15 bins of the region by default, or as many as are asked for."""
    probs, labels = random_case((2, 4, 9, 8))
    mask = region_mask(region, labels)
    functions = {
        "ece": expected_calibration_error,
        "ace": average_calibration_error,
        "mce": maximum_calibration_error,
        "cece": classwise_calibration_error,
    }
    bins, fewer, default = (
        calibration_bins(probs, labels, inside, num_bins)
        for inside, num_bins in ((mask, 15), (mask, 7), (labels != 0, 15))
    )

    for method, function in functions.items():
        assert function(probs, labels, 15, region) == getattr(bins, method)()
        assert function(probs, labels, 7, region) == getattr(fewer, method)()
        assert function(probs, labels) == getattr(default, method)()
    for found, expected in (
        (confidence_gap(probs, labels, region), bins),
        (confidence_gap(probs, labels), default),
    ):
        torch.testing.assert_close(found, expected.confidence_gap(), rtol=0, atol=1e-12)


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
        netcal,
        abs=5e-4,  # bins meet at another voxel
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

    same_values(indices[inside], torch.arange(FINE_BINS)[inside])
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
FEW = st.lists(
    st.tuples(st.one_of(st.floats(0.0, 1.0), SATURATED), st.booleans()), min_size=1, max_size=6
)


@given(FEW)
@settings(max_examples=15, deadline=None)
def test_error_is_the_fixed_point_of_its_definition(voxels):
    """Between 0 and 1, at both ends, and where confidences crowd at 1."""
    confidences, hits = zip(*voxels, strict=True)

    expected = slow_smooth_ece(confidences, hits)

    assert error(confidences, hits) == pytest.approx(expected, abs=2e-5)  # bisection ends there


def test_many_saturated_voxels_equal_the_definition():
    """Right or wrong by how saturated they are."""
    rng = np.random.default_rng(0)
    confidences = 1 - 10 ** rng.uniform(-7, -0.3, 60)
    hits = rng.random(60) < 0.5 + 0.4 * (confidences < 0.999)

    assert error(confidences.tolist(), hits.tolist()) == pytest.approx(
        slow_smooth_ece(confidences, hits), abs=1e-5
    )


def test_certain_and_right_is_zero():
    """Nothing to smooth; and an error below the narrowest kernel is known to its width."""
    assert error([1.0] * 5, [True] * 5) == 0
    # Nothing is narrower.
    assert error([1.0, 1 - 1e-5], [True, True]) == pytest.approx(0, abs=NARROWEST)


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
        # Fine bins.
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
        parts = (sums[case, region] for sums in (counts, excess, errors))
        assert values[case, region] == smooth_ece(*parts)
    assert math.isnan(error([], []))
