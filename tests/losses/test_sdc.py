"""Signed distance calibration."""

import pytest
import torch

from nacl_monai.losses import (
    CrossEntropyLoss,
    SDCLoss,
    distance_penalty,
    morphology_penalty,
)


@pytest.mark.parametrize("ignore_index", [None, 1])
def test_is_cross_entropy_plus_both_penalties(batch, ignore_index):
    """Each term has its weight; 0.1 for the first, and 0.1 divided by 100 for the second."""
    ignore = {"ignore_index": ignore_index}
    loss = SDCLoss(**ignore)
    loss(*batch)
    first = 0.1 * morphology_penalty(*batch, morphology="gradient", kernel_size=3, **ignore)
    second = 0.1 / 100 * distance_penalty(*batch, **ignore)

    assert loss.latest_terms["cross_entropy"] == CrossEntropyLoss(**ignore)(*batch)
    torch.testing.assert_close(loss.latest_terms["penalty"], first)
    torch.testing.assert_close(loss.latest_terms["penalty_2"], second)
