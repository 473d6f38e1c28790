import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import slow_bins, slow_errors
from metric_samples import cases, measured, random_case
from monai.metrics import CalibrationErrorMetric
from netcal.metrics import ACE, ECE, MCE
from torchmetrics.functional.classification import multiclass_calibration_error

from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    average_calibration_error,
    calibration_bins,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    maximum_calibration_error,
    region_mask,
)
from nacl_monai.metrics.bins import ThresholdedBins

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


class TestLaws:
    @given(cases())
    @settings(max_examples=40, deadline=None)
    def test_errors_are_ordered(self, case):
        """|gap| ≤ ECE ≤ MCE and ACE ≤ MCE, for every class."""
        bins = calibration_bins(*case)
        expected, average, maximum, gap = (bins.errors(error).nan_to_num() for error in ERRORS)

        assert (gap.abs() <= expected + 1e-12).all()
        assert (expected <= maximum + 1e-12).all()
        assert (average <= maximum + 1e-12).all()


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
