"""Signed distance calibration."""

import math

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses import (
    CrossEntropyLoss,
    SDCLoss,
    distance_penalty,
    morphology_penalty,
    sdc_loss,
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


def test_class_weights_are_cross_entropys(batch):
    """Class weights change cross-entropy and leave the penalties alone."""
    weights = [1.0, 2.0, 5.0]
    loss, plain = SDCLoss(class_weights=weights), SDCLoss()
    value = loss(*batch)
    plain(*batch)

    assert torch.equal(sdc_loss(*batch, class_weights=weights), value)
    assert loss.latest_terms["cross_entropy"] == CrossEntropyLoss(class_weights=weights)(*batch)
    for name in ("penalty", "penalty_2"):
        assert loss.latest_terms[name] == plain.latest_terms[name]


@pytest.mark.parametrize("key", ["morphology_weight", "distance_weight"])
@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_weight_is_not_negative(batch, key, weight):
    """The key at fault is named by module and function."""
    for make in (lambda: SDCLoss(**{key: weight}), lambda: sdc_loss(*batch, **{key: weight})):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value) == f"{key}: is {weight}; pass 0 or more"


def test_settings_are_printed():
    """What is printed is what would be passed."""
    loss = repr(SDCLoss(morphology="inner", morphology_weight=0.2, class_weights=[1.0, 2.0]))
    assert "CrossEntropyLoss(class_weights=[1.0, 2.0], ignore_index=None)" in loss
    assert "MorphologyPenalty(weight=0.2, morphology='inner', kernel_size=3" in loss
    assert "DistancePenalty(weight=0.001, ignore_index=None)" in loss
