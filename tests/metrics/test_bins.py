"""Bins: each probability gets the one whose edges hold it, and their sums are those of slow loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.metrics.calibration import calibration_binning

from nacl_monai.errors import InputError
from nacl_monai.metrics import ERRORS, CalibrationMetric, bin_indices, calibration_bins
from tests.metrics.oracles import cases, measured, random_case, slow_bins, slow_errors
from tests.same import same_bits, same_values


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("num_bins", [1, 2, 7, 10, 15, 49, 100])
def test_edge_belongs_to_the_bin_below(dtype, num_bins):
    """A probability equal to an edge in its own dtype is the last of the bin below it."""
    edges = (torch.arange(num_bins + 1, dtype=torch.float64) / num_bins).to(dtype)

    assert bin_indices(edges[1:], num_bins).tolist() == list(range(num_bins))


@pytest.mark.parametrize("num_bins", [1, 2, 7, 10, 15, 49, 100, 1000])
def test_next_float_belongs_to_the_bin_above(num_bins):
    """The smallest float32 above an edge is the first of the next bin."""
    edges = (torch.arange(num_bins, dtype=torch.float64) / num_bins).float()
    above = torch.nextafter(edges, torch.tensor(2.0))

    assert bin_indices(above, num_bins).tolist() == list(range(num_bins))


def test_zero_and_one():
    """Exactly 0 is in the first bin, exactly 1 in the last."""
    assert bin_indices(torch.tensor([0.0, 1.0]), 15).tolist() == [0, 14]


@given(st.integers(1, 200), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_equals_binary_search(num_bins, seed):
    """The bins are those of torch.bucketize on the same edges."""
    probs = torch.rand(1000, generator=torch.Generator().manual_seed(seed))
    inner = (torch.arange(1, num_bins, dtype=torch.float64) / num_bins).float()

    same_values(bin_indices(probs, num_bins), torch.bucketize(probs, inner))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("num_bins", [1, 2, 15, 100])
def test_slightly_more_than_one_is_in_the_last_bin(dtype, num_bins):
    """Softmax may round to the next number above 1, or to 1 + 1e-6; there is no bin beyond the last."""
    above = torch.tensor([1 + 1e-6, 1 + 5e-4], dtype=dtype)
    next_number = torch.nextafter(torch.ones((), dtype=dtype), torch.full((), 2.0, dtype=dtype))

    indices = bin_indices(torch.cat([above, next_number[None]]), num_bins)

    assert indices.tolist() == [num_bins - 1] * 3


def assert_same(actual, expected):
    """Equal counts; sums that differ by no more than float64 rounding."""
    same_values(actual.counts, expected.counts)
    same_values(actual.positives, expected.positives)
    torch.testing.assert_close(actual.confidences, expected.confidences, rtol=1e-12, atol=1e-12)


class TestCalibrationBins:
    @given(cases(), st.sampled_from([1, 10, 15]))
    @settings(max_examples=60, deadline=None)
    def test_bins_equal_those_of_a_slow_loop(self, case, num_bins):
        """The bins are those of a loop over voxels, also saturated, tied and on the edges."""
        probs, labels, mask = case

        bins = calibration_bins(probs, labels, mask, num_bins)

        counts, positives, sums = slow_bins(probs, labels, mask, num_bins)
        same_values(bins.counts, counts)
        same_values(bins.positives, positives)
        np.testing.assert_allclose(bins.confidences, sums, rtol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.float32])
    def test_label_dtype_channel_and_metadata_change_nothing(self, dtype):
        """Labels with or without channel, of any dtype, in a MetaTensor or not, are the same."""
        probs, labels = random_case((2, 3, 8, 9))
        expected = calibration_bins(probs, labels)

        assert_same(
            calibration_bins(MetaTensor(probs), MetaTensor(labels[:, None].to(dtype))), expected
        )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_does_not_lose_counts(self, dtype):
        """Counts and sums are exact for half-precision probabilities."""
        probs = torch.tensor([0.75, 0.25], dtype=dtype)[None, :, None, None].expand(1, 2, 100, 100)

        bins = calibration_bins(probs, torch.zeros(1, 100, 100), num_bins=4)

        assert bins.counts[0].tolist() == [0, 0, 10_000, 0]
        assert bins.confidences[0, 2] == 7500

    @pytest.mark.nightly
    def test_beyond_float32_counts_voxel_by_voxel(self):
        """2^24 + 1000 voxels, given one by one, are all counted."""
        voxels = 2**24 + 1000
        probs = torch.tensor([0.7, 0.3])[None, :, None, None].expand(1, 2, 1, voxels)

        bins = calibration_bins(probs, torch.zeros(1, dtype=torch.uint8).expand(1, 1, voxels))

        assert bins.counts.sum(-1).tolist() == [voxels] * 3
        assert bins.positives.sum(-1).tolist() == [voxels, voxels, 0]
        assert bins.confidences[0].sum().item() == pytest.approx(0.7 * voxels, rel=1e-7)

    def test_monai_counts_stop_at_two_to_the_24(self):
        """MONAI adds ones in float32: at 2^24 its count no longer moves; ours does."""
        count = torch.tensor([2.0**24]).scatter_add_(0, torch.tensor([0]), torch.ones(1))
        monai_dtype = calibration_binning(torch.ones(1, 1, 2), torch.ones(1, 1, 2), 2)[2].dtype

        assert monai_dtype == torch.float32
        assert count.item() == 2**24
        assert calibration_bins(*random_case((1, 2, 2, 2))).counts.dtype == torch.int64


class TestLaws:
    @given(cases())
    @settings(max_examples=30, deadline=None)
    def test_bins_per_case_are_those_of_each_case_alone(self, case):
        """Per-case bins are those of each case alone, and pool to those of the batch."""
        probs, labels, mask = case

        bins = calibration_bins(probs, labels, mask, per_case=True)

        assert_same(bins.pooled(), calibration_bins(probs, labels, mask))
        for index in range(len(probs)):
            alone = (tensor[index : index + 1] for tensor in (probs, labels, mask))
            assert_same(bins[index], calibration_bins(*alone))


@pytest.mark.parametrize("error", ["ece", "ace", "mce", "confidence_gap"])
def test_error_without_class_is_that_of_the_predicted_class(error):
    """Entry 0 of the class axis is top-1, the others are the classes, for any leading axes."""
    bins = calibration_bins(*random_case((4, 3, 6, 5)), per_case=True)
    errors = bins.errors(error)

    assert errors.shape == (4, 4)
    assert errors.dtype == torch.float64
    same_bits(getattr(bins, error)(), errors[:, 0], "they are columns of one array")
    same_bits(bins.class_errors(error), errors[:, 1:], "they are columns of one array")
    same_bits(
        bins.class_errors(error, include_background=False),
        errors[:, 2:],
        "they are columns of one array",
    )


def test_defaults_are_the_ece_of_all_classes():
    """Without arguments errors are the ECE, of every class, absent or not."""
    probs, labels = random_case((2, 3, 6, 5))
    bins = calibration_bins(probs, labels.clamp(max=1))  # class 2 is absent

    same_bits(bins.errors(), bins.errors("ece"), "the same errors of the same bins")
    same_bits(bins.class_errors(), bins.errors("ece")[1:], "the same errors of the same bins")
    assert bins.cece() == bins.errors("ece")[1:].mean()
    assert bins.cece(include_background=False) == bins.errors("ece")[2:].mean()
    assert bins.cece(include_absent=False) == bins.errors("ece")[1:3].mean()
    assert bins.class_errors(include_absent=False).isnan().tolist() == [False, False, True]


def test_unknown_error_is_refused():
    """The message has the names that there are."""
    bins = calibration_bins(*random_case((1, 2, 3, 3)))

    with pytest.raises(InputError, match="error: is 'dice'; choose one of ece, ace, mce, conf"):
        bins.class_errors("dice")


def test_class_of_one_voxel_is_not_absent():
    """A single voxel of a class gives the class an error."""
    probs = torch.tensor([[0.9, 0.2], [0.1, 0.8]])[None, :, None]

    errors = calibration_bins(probs, torch.tensor([[[0, 1]]])).class_errors(include_absent=False)

    assert errors.tolist() == pytest.approx([0.15, 0.15])


REGIONS = ("foreground", "union", "all")
STRUCTURES = ("WT", "TC")


@pytest.fixture(scope="module")
def case():
    """Probabilities and masks of two structures, the second inside the first."""
    rng = np.random.default_rng(1)
    masks = rng.random((2, 2, 5, 6, 4)) < 0.4
    masks[:, 1] &= masks[:, 0]
    return rng.random(masks.shape).astype(np.float32), masks.astype(np.uint8)


def slow_ece(probs, mask, region):
    """One structure of one case, as a problem of two classes, voxel by voxel."""
    inside, labels = torch.from_numpy(probs), torch.from_numpy(mask).long()
    foreground, union = labels == 1, (labels == 1) | (inside > 0.5)
    voxels = {"foreground": foreground, "union": union, "all": None}[region]
    top1 = (
        sums[0] for sums in slow_bins(torch.stack([1 - inside, inside])[None], labels, voxels, 15)
    )
    ece, *_ = slow_errors(*top1)
    return ece


def test_each_structure_has_its_own_error_and_regions(case):
    """Foreground and union are those of the structure; the mean is over structures."""
    probs, masks = case
    metric = measured(probs, masks, errors=["ece"], regions=REGIONS, structures=STRUCTURES)

    errors = metric.by_region(metric.case_errors())
    for region in REGIONS:
        expected = np.array(
            [[slow_ece(probs[n, k], masks[n, k], region) for k in range(2)] for n in range(2)]
        )
        for k, structure in enumerate(STRUCTURES):
            of_structure = errors[f"ece_{region}_{structure}"]
            np.testing.assert_allclose(of_structure, expected[:, k], atol=1e-12, rtol=0)
        np.testing.assert_allclose(errors[f"ece_{region}"], expected.mean(1), atol=1e-12, rtol=0)
    assert metric.aggregate()["ece_all"] == pytest.approx(expected.mean())


def test_two_exclusive_classes_are_one_structure():
    """A softmax of two classes and the sigmoid of one structure are the same network."""
    probs, labels = random_case((2, 2, 4, 5))
    softmax = measured(probs, labels, errors=ERRORS)
    sigmoid = measured(probs[:, 1:], labels[:, None], errors=ERRORS, structures=["one"])

    for name, errors in softmax.case_errors().items():
        torch.testing.assert_close(sigmoid.case_errors()[name], errors, equal_nan=True)


def test_absent_structure_stays_out_of_the_mean(case):
    """A structure that the label lacks has no foreground."""
    probs, masks = case
    absent = masks * np.array([1, 0], np.uint8)[:, None, None, None]
    options = {"regions": ["foreground"], "structures": STRUCTURES}

    numbers = measured(probs, absent, errors=["ece"], **options).aggregate()

    assert numbers["ece_foreground"] == numbers["ece_foreground_WT"]
    assert numbers["empty_foreground_TC"] == 2
    assert np.isnan(numbers["ece_foreground_TC"])


def test_logits_are_taken_through_a_sigmoid(case):
    """Each channel by itself."""
    probs, masks = case
    options = {"errors": ["ece"], "regions": ["all"], "structures": STRUCTURES}

    expected = measured(probs, masks, **options).aggregate()
    logits = np.log(probs / (1 - probs))
    found = measured(logits, masks, from_logits=True, **options).aggregate()

    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda probs, masks: (probs * 9, masks), "apply sigmoid to logits"),
        (lambda probs, masks: (probs, masks[:, :1]), "with 2 structures (WT, TC)"),
        (lambda probs, masks: (probs, masks * 2), "one mask of 0 and 1 per structure"),
        (lambda probs, masks: (probs[:, :, :0], masks[:, :, :0]), "without a voxel"),
    ],
)
def test_other_input_is_one_line(case, spoil, message):
    """Logits, other channels, other labels, nothing at all."""
    with pytest.raises(InputError) as caught:
        CalibrationMetric(structures=STRUCTURES)(*spoil(*case))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
