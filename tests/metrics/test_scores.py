import math

import pytest
import torch
from metric_samples import random_case

from nacl_monai.metrics import CalibrationMetric, brier_score, negative_log_likelihood, region_mask
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.scores import ScoreSums
from nacl_monai.metrics.voxels import LabeledVoxels


def test_both_scores_by_hand():
    """Half of the voxels at 0.5, half at 0.25 for the true class of two."""
    probs = torch.tensor([[0.5, 0.75], [0.5, 0.25]])[None, :, None]
    labels = torch.ones(1, 1, 2)

    assert negative_log_likelihood(probs, labels).item() == pytest.approx(
        (math.log(2) + math.log(4)) / 2
    )
    assert brier_score(probs, labels).item() == pytest.approx((0.5 + 1.125) / 2)


@pytest.mark.parametrize("shape", [(2, 3, 9, 8), (1, 4, 5, 6, 7)])
@pytest.mark.parametrize("region", ["all", "foreground", "union"])
def test_scores_equal_those_of_torch(shape, region):
    """NLL is torch's; Brier is the squared distance to the one-hot label; 2-D and 3-D."""
    probs, labels = random_case(shape)
    keep = region_mask(region, labels, probs.argmax(1))
    one_hot = torch.nn.functional.one_hot(labels, shape[1]).movedim(-1, 1)

    nll = torch.nn.functional.nll_loss(probs.log(), labels, reduction="none")[keep].mean()
    brier = (probs - one_hot).square().sum(1)[keep].mean()

    assert negative_log_likelihood(probs, labels, region).item() == pytest.approx(
        nll.item(), abs=1e-6
    )
    assert brier_score(probs, labels, region).item() == pytest.approx(brier.item(), abs=1e-6)


def test_saturated_and_wrong_is_finite():
    """A probability that softmax rounded to 0 costs much, but not infinity."""
    probs = torch.tensor([1.0, 0.0])[None, :, None, None]
    labels = torch.ones(1, 1, 1)

    assert negative_log_likelihood(probs, labels).item() == pytest.approx(87.34, abs=0.01)
    assert brier_score(probs, labels) == 2


def test_empty_region_is_nan():
    """Without a voxel in the region both are NaN."""
    probs, labels = random_case((1, 2, 3, 3))[0], torch.zeros(1, 3, 3)

    assert math.isnan(negative_log_likelihood(probs, labels))
    assert math.isnan(brier_score(probs, labels))


def test_sums_do_not_drift():
    """The mean over many equal voxels is the score of one, to the last digits of a double."""
    probs = torch.tensor([0.7, 0.3])[None, :, None, None].expand(1, 2, 1, 300_000)
    labels = torch.zeros(1, 1, 300_000)
    one = negative_log_likelihood(probs[..., :1], labels[..., :1], "all").item()
    brier = brier_score(probs[..., :1], labels[..., :1], "all").item()

    many = negative_log_likelihood(probs, labels, "all").item()
    assert many == pytest.approx(one, rel=1e-12)
    assert brier_score(probs, labels, "all").item() == pytest.approx(brier, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_any_precision_are_computed_in_float32_or_better(dtype):
    """Half-precision probabilities cost what these very numbers cost, without further rounding."""
    probs, labels = random_case((2, 3, 9, 8))
    probs = probs.to(dtype)
    doubles = probs.double().clamp(min=torch.finfo(dtype).tiny)
    one_hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)

    nll = torch.nn.functional.nll_loss(doubles.log(), labels)
    brier = (probs.double() - one_hot).square().sum(1).mean()

    for actual, expected in (
        (negative_log_likelihood(probs, labels, "all"), nll),
        (brier_score(probs, labels, "all"), brier),
    ):
        assert actual.dtype == torch.float64
        assert actual.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(
    ("dtype", "one", "nll"),
    [(torch.float16, 1, 25 * math.log(2)), (torch.uint8, 255, math.log(510))],
)
def test_what_was_rounded_to_zero_costs_what_the_dtype_knows(dtype, one, nll):
    """A stored 0 is less than half of the next number, and may be no less than that."""
    probs = torch.tensor([one, 0], dtype=dtype)[None, :, None, None]

    found = negative_log_likelihood(probs, torch.ones(1, 1, 1)).item()

    assert found == pytest.approx(nll, abs=1e-5)


def test_small_half_precision_costs_what_it_is():
    """Numbers below the smallest normal one are stored, too."""
    probs = torch.tensor([1.0, 2.0**-20], dtype=torch.float16)[None, :, None, None]

    nll = negative_log_likelihood(probs, torch.ones(1, 1, 1)).item()

    assert nll == pytest.approx(20 * math.log(2), abs=1e-5)


@pytest.mark.parametrize(
    ("dtype", "one", "inside", "outside"),
    [
        (torch.float32, 1, 126, 25),
        (torch.float16, 1, 25, 12),
        (torch.uint8, 255, math.log2(510), math.log2(510)),
    ],
)
def test_certain_structures_cost_what_the_dtype_knows(dtype, one, inside, outside):
    """A sigmoid of 1 is nearer to it than half of the distance to the next smaller number."""
    probs = torch.tensor([0, one], dtype=dtype).view(2, 1, 1, 1)
    metric = CalibrationMetric(errors=["nll"], regions=["all"], structures=["WT"])

    metric(probs, torch.tensor([1, 0]).view(2, 1, 1, 1))

    found = metric.case_errors()["nll"].flatten().tolist()
    assert found == pytest.approx([inside * math.log(2), outside * math.log(2)], rel=1e-5)


def test_scores_and_counts_of_each_case_and_region():
    """Sums keep cases and regions apart; counts are their voxels."""
    probs, labels = random_case((2, 3, 5, 4))
    masks = [None, labels != 0, labels == 1]

    sums = ScoreSums.collect(RegionPieces(LabeledVoxels(probs, labels), masks))

    assert (sums.counts.shape, sums.scores.shape) == ((2, 3), (2, 3, 2))
    for case in range(2):
        for region, mask in enumerate(masks):
            inside = torch.ones_like(labels[case]).bool() if mask is None else mask[case]
            one = probs[case : case + 1], labels[case : case + 1], inside[None]
            assert sums.counts[case, region] == inside.sum()
            assert sums.nll()[case, region].item() == pytest.approx(
                negative_log_likelihood(*one).item()
            )
            assert sums.brier()[case, region].item() == pytest.approx(brier_score(*one).item())
