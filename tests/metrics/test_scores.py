import math

import pytest
import torch
from metric_samples import random_case

from nacl_monai.metrics import brier_score, negative_log_likelihood, region_mask


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
