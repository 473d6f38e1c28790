import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import slow_bins, slow_errors
from metric_samples import cases, random_case
from monai.metrics import CalibrationErrorMetric
from netcal.metrics import ACE, ECE, MCE
from torchmetrics.functional.classification import multiclass_calibration_error

from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    CalibrationMetric,
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


class TestByHand:
    def test_all_errors_of_twenty_voxels(self):
        """Ten voxels at 0.9 with six right, ten at 0.6 with seven right."""
        top = torch.tensor([0.9] * 10 + [0.6] * 10)
        probs = torch.stack([1 - top, top])[None, :, None]
        labels = torch.tensor([1] * 6 + [0] * 4 + [1] * 7 + [0] * 3)[None, None]

        assert expected_calibration_error(probs, labels, region="all").item() == pytest.approx(0.2)
        assert average_calibration_error(probs, labels, region="all").item() == pytest.approx(0.2)
        assert maximum_calibration_error(probs, labels, region="all").item() == pytest.approx(0.3)
        assert confidence_gap(probs, labels, region="all").item() == pytest.approx(0.1)
        # Both columns have the gaps 0.3 and 0.1 over ten voxels each.
        assert classwise_calibration_error(probs, labels, region="all").item() == pytest.approx(0.2)

    def test_foreground_is_the_default(self):
        """Only voxels of the ground truth's foreground count unless another region is named."""
        probs = torch.tensor([[[[0.3, 0.9]], [[0.7, 0.1]]]])
        labels = torch.tensor([[[1, 0]]])

        assert expected_calibration_error(probs, labels).item() == pytest.approx(0.3)
        assert expected_calibration_error(probs, labels, region="all").item() == pytest.approx(0.2)

    @pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 2, 3, 4, 5)])
    def test_confidence_one_costs_nothing_or_everything(self, shape):
        """Confidence exactly 1: right everywhere costs 0, wrong everywhere costs 1."""
        probs = torch.zeros(shape)
        probs[:, 1] = 1
        right = torch.ones(shape[0], *shape[2:])

        for error in (expected_calibration_error, maximum_calibration_error):
            assert error(probs, right, region="all") == 0
            assert error(probs, 1 - right, region="all") == 1


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
    def test_ece_and_mce_equal_torchmetrics(self, shape, num_bins):
        """On unsaturated data ECE and MCE are those of torchmetrics."""
        probs, labels = random_case(shape)
        settings = {"num_classes": shape[1], "n_bins": num_bins}

        for norm, error in (("l1", expected_calibration_error), ("max", maximum_calibration_error)):
            torchmetrics = multiclass_calibration_error(probs, labels, norm=norm, **settings).item()
            assert error(probs, labels, num_bins, "all").item() == pytest.approx(
                torchmetrics, abs=1e-6
            )

    @pytest.mark.parametrize("shape", [(2, 3, 40, 41), (1, 5, 12, 13, 14)])
    @pytest.mark.parametrize("num_bins", [10, 15])
    def test_ece_ace_and_mce_equal_netcal(self, shape, num_bins):
        """On unsaturated data ECE, ACE and MCE are those of netcal."""
        probs, labels = random_case(shape)
        flat, label = voxels(probs.double(), labels)

        for netcal, error in (
            (ECE, expected_calibration_error),
            (ACE, average_calibration_error),
            (MCE, maximum_calibration_error),
        ):
            expected = netcal(num_bins).measure(flat, label)
            actual = error(probs.double(), labels, num_bins, "all").item()
            assert actual == pytest.approx(expected, abs=1e-6)

    def test_region_equals_netcal_on_its_voxels_alone(self):
        """A region gives what netcal gives for the voxels of that region alone."""
        probs, labels = random_case((2, 4, 30, 31))
        flat, label = voxels(probs.double(), labels)

        expected = ECE(15).measure(flat[label != 0], label[label != 0])

        assert expected_calibration_error(probs.double(), labels).item() == pytest.approx(
            expected, abs=1e-6
        )

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

    def test_absent_class_counts_by_default(self):
        """An absent class costs the probability wasted on it, and the divisor is always C."""
        error = classwise_calibration_error(self.probs, self.labels).item()

        assert error == pytest.approx((0.1 + 0.3 + 0.2) / 3)

    def test_background_can_be_left_out(self):
        """The background column can be left out."""
        error = classwise_calibration_error(
            self.probs, self.labels, include_background=False
        ).item()

        assert error == pytest.approx((0.3 + 0.2) / 2)

    def test_absent_classes_can_be_left_out(self):
        """Classes without a voxel in the region can be left out, background in the foreground too."""
        error = classwise_calibration_error(self.probs, self.labels, include_absent=False).item()

        assert error == pytest.approx(0.3)

    def test_absent_class_that_is_left_out_is_nan(self):
        """Per class, an absent class that is left out is NaN."""
        bins = calibration_bins(self.probs, self.labels)

        assert bins.class_errors().tolist() == pytest.approx([0.1, 0.3, 0.2])
        without = bins.class_errors(include_absent=False).tolist()
        assert without == pytest.approx([math.nan, 0.3, math.nan], nan_ok=True)

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
        metric = CalibrationMetric(
            errors=["thresholded_cece"], regions=["all"], threshold=threshold
        )
        metric(probs, labels, mask=mask)
        bins = ThresholdedBins(*metric.get_buffer()[-3:]).pooled()[0]

        error = classwise_calibration_error(probs, labels, region=mask, threshold=threshold).item()

        mean = np.mean([e for e in expected if not math.isnan(e)] or [math.nan])
        assert bins.class_errors().tolist() == pytest.approx(expected, abs=1e-6, nan_ok=True)
        assert error == pytest.approx(mean, abs=1e-6, nan_ok=True)
        assert metric.pooled_errors()["thresholded_cece"].item() == pytest.approx(
            mean, abs=1e-6, nan_ok=True
        )

    def test_many_small_probabilities_no_longer_hide_an_error(self):
        """A class at 1e-4 in 99 of 100 voxels and at 0.9 where it is not."""
        rare = torch.tensor([1e-4] * 99 + [0.9])
        probs = torch.stack([1 - rare, rare])[None, :, None]
        labels = torch.zeros(1, 1, 100, dtype=torch.int64)

        errors = [
            classwise_calibration_error(
                probs, labels, region="all", include_background=False, threshold=threshold
            ).item()
            for threshold in (None, 1e-3)
        ]

        assert errors == pytest.approx([(99 * 1e-4 + 0.9) / 100, 0.9], abs=1e-6)

    def test_options_of_the_metric_hold_for_it(self):
        """Background and absent classes are left out as of CECE; a thousandth is the default."""
        probs, labels = random_case((1, 4, 9, 9), scale=4.0)
        labels[labels == 3] = 0
        options = {"include_background": False, "include_absent": False}
        metric = CalibrationMetric(errors=["thresholded_cece"], regions=["all"], **options)
        metric(probs, labels)

        expected = slow_thresholded(probs, labels, torch.ones_like(labels).bool(), 0.001)[1:3]

        assert metric.aggregate()["thresholded_cece_all"] == pytest.approx(
            np.mean(expected), abs=1e-6
        )

    def test_threshold_of_nothing_is_the_error_itself(self):
        """Without a probability of exactly 0, a threshold of 0 changes nothing."""
        probs, labels = random_case((2, 3, 8, 9))

        assert classwise_calibration_error(probs, labels, threshold=0.0) == (
            classwise_calibration_error(probs, labels)
        )

    @pytest.mark.parametrize("threshold", [-0.1, 1.0, math.nan])
    def test_threshold_that_no_probability_is_above_is_refused(self, threshold):
        """At once, and when the metric is made."""
        for make in (
            lambda: classwise_calibration_error(*random_case((1, 2, 3, 3)), threshold=threshold),
            lambda: CalibrationMetric(threshold=threshold),
        ):
            with pytest.raises(
                InputError, match="threshold: is .*; use a number from 0 to below 1"
            ):
                make()


class TestLaws:
    def test_empty_region_is_nan(self):
        """Without a voxel in the region every error is NaN, neither 0 nor an exception."""
        probs, labels = random_case((1, 3, 4, 4))[0], torch.zeros(1, 4, 4)

        for error in (
            expected_calibration_error,
            average_calibration_error,
            maximum_calibration_error,
            confidence_gap,
            classwise_calibration_error,
        ):
            assert math.isnan(error(probs, labels))

    def test_region_of_one_voxel_has_an_error(self):
        """A region of one voxel has an error."""
        probs, labels = random_case((1, 3, 4, 4))
        labels = torch.zeros_like(labels)
        labels[0, 2, 2] = 1

        assert 0 <= expected_calibration_error(probs, labels) <= 1

    @given(cases())
    @settings(max_examples=40, deadline=None)
    def test_errors_are_ordered(self, case):
        """|gap| ≤ ECE ≤ MCE and ACE ≤ MCE, for every class."""
        bins = calibration_bins(*case)
        expected, average, maximum, gap = (bins.errors(error).nan_to_num() for error in ERRORS)

        assert (gap.abs() <= expected + 1e-12).all()
        assert (expected <= maximum + 1e-12).all()
        assert (average <= maximum + 1e-12).all()

    def test_perfect_calibration_tends_to_zero(self):
        """Labels drawn from the probabilities: the error falls with the number of voxels."""
        errors = [
            expected_calibration_error(*random_case((1, 3, 1, n)), region="all")
            for n in (100, 10_000, 1_000_000)
        ]

        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 2e-3

    def test_temperature_moves_the_confidence_gap(self):
        """Sharper than the truth is over-confident, flatter is under-confident."""
        logits = 2 * torch.randn(1, 3, 100, 100, generator=torch.Generator().manual_seed(1))
        labels = torch.distributions.Categorical(logits=logits.movedim(1, -1)).sample()
        sharp, true, flat = (
            confidence_gap((logits / t).softmax(1), labels, region="all") for t in (0.5, 1, 2)
        )

        assert sharp > 0.05 > abs(true) + 0.03
        assert flat < -0.05

    @pytest.mark.parametrize("region", ["all", "foreground", "union", "boundary"])
    def test_region_by_name_or_mask(self, region):
        """A named region is the same as its mask, with or without channel."""
        probs, labels = random_case((2, 3, 12, 13))
        mask = region_mask(region, labels, probs.argmax(1))
        named = expected_calibration_error(probs, labels, region=region)

        assert expected_calibration_error(probs, labels, region=mask) == named
        assert expected_calibration_error(probs, labels, region=mask[:, None]) == named


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 2, 3, 4, 5)])
def test_functions_return_doubles_on_the_device_of_the_probabilities(shape):
    """Every function gives a 0-d float64 tensor, for half precision as well."""
    probs, labels = random_case(shape)

    for error in (
        expected_calibration_error,
        average_calibration_error,
        maximum_calibration_error,
        confidence_gap,
        classwise_calibration_error,
    ):
        value = error(probs.half(), labels)
        assert (value.shape, value.dtype, value.device) == ((), torch.float64, probs.device)


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

    for method, function in functions.items():
        for num_bins in (7, 15):
            bins = calibration_bins(probs, labels, mask, num_bins)
            assert function(probs, labels, num_bins, region) == getattr(bins, method)()
        assert (
            function(probs, labels)
            == getattr(calibration_bins(probs, labels, labels != 0), method)()
        )
    assert confidence_gap(probs, labels, region) == pytest.approx(
        calibration_bins(probs, labels, mask).confidence_gap().item(), abs=1e-12
    )
