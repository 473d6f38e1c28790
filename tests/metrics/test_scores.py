import math

import pytest
import torch
from metric_samples import measured, random_case

from nacl_monai.metrics import brier_score, negative_log_likelihood, region_mask


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
    ("dtype", "one", "stored", "nll"),
    [
        (torch.float32, 1, 0, 126 * math.log(2)),
        (torch.float16, 1, 0, 25 * math.log(2)),
        (torch.float16, 1, 2**-20, 20 * math.log(2)),  # below the smallest normal number
        (torch.uint8, 255, 0, math.log(510)),
    ],
)
def test_wrong_and_certain_costs_what_the_dtype_knows(dtype, one, stored, nll):
    """Not infinity: a stored 0 is less than half of the next number, and may be no less than that."""
    probs = torch.tensor([one, stored], dtype=dtype)[None, :, None, None]

    found = negative_log_likelihood(probs, torch.ones(1, 1, 1)).item()

    assert found == pytest.approx(nll, abs=1e-5)


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
    labels = torch.tensor([1, 0]).view(2, 1, 1, 1)

    metric = measured(probs, labels, errors=["nll"], regions=["all"], structures=["WT"])

    found = metric.case_errors()["nll"].flatten().tolist()
    assert found == pytest.approx([inside * math.log(2), outside * math.log(2)], rel=1e-5)
