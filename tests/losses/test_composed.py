"""Any base with any penalties, from a configuration alone."""

import math

import pytest
import torch
from monai.bundle import ConfigParser

from nacl_monai.errors import InputError
from nacl_monai.losses import (
    ComposedLoss,
    DiceCELoss,
    EntropyPenalty,
    MarginPenalty,
    NACLLoss,
    NeighborhoodPenalty,
    Penalty,
)
from nacl_monai.losses.base import needs_image


def test_composition_needs_only_a_configuration(batch):
    """Dice, cross-entropy and the NACL penalty need no class, only a configuration."""
    name = "nacl_monai.losses."
    parser = ConfigParser(
        {
            "loss": {
                "_target_": name + "ComposedLoss",
                "base": {"_target_": name + "DiceCELoss"},
                "penalties": [{"_target_": name + "NeighborhoodPenalty", "weight": 0.2}],
            }
        }
    )
    loss = parser.get_parsed_content("loss")
    value = loss(*batch)

    assert list(loss.latest_terms) == ["cross_entropy", "dice", "penalty"]
    torch.testing.assert_close(
        value, DiceCELoss()(*batch) + NeighborhoodPenalty(weight=0.2)(*batch)
    )


def test_each_of_several_penalties_has_its_own_term(batch):
    """Each penalty has its own term, in the order given, and compositions nest."""
    parts = [NeighborhoodPenalty(), EntropyPenalty(), MarginPenalty(margin=0.0)]
    loss = ComposedLoss(NACLLoss(), parts[1:])
    loss(*batch)

    assert list(loss.latest_terms) == ["cross_entropy", "penalty", "penalty_2", "penalty_3"]
    for term, part in zip(list(loss.latest_terms.values())[1:], parts, strict=True):
        assert torch.equal(term, part(*batch))


def test_weight_scales_the_penalty(batch):
    """A penalty is linear in its weight, and 0 leaves the base."""
    base = DiceCELoss()(*batch)
    for part in (NeighborhoodPenalty, EntropyPenalty, MarginPenalty):
        torch.testing.assert_close(part(weight=0.6)(*batch), 3 * part(weight=0.2)(*batch))
        assert torch.equal(ComposedLoss(DiceCELoss(), [part(weight=0.0)])(*batch), base)


def test_image_reaches_only_what_takes_it(batch):
    """Beside a penalty that takes the image, the others see the labels alone."""
    logits, labels = batch
    labels = torch.cat([labels, torch.rand_like(logits)], 1)
    bilateral = NeighborhoodPenalty(prior="bilateral")
    loss = ComposedLoss(DiceCELoss(), [EntropyPenalty(), bilateral])
    expected = DiceCELoss()(*batch) + EntropyPenalty()(*batch) + bilateral(logits, labels)

    torch.testing.assert_close(loss(logits, labels), expected)
    torch.testing.assert_close(
        ComposedLoss(loss, [])(logits, labels), expected, msg="nested compositions pass it on"
    )


def test_base_class_of_penalties_is_abstract():
    """The base class of penalties cannot be instantiated."""
    with pytest.raises(TypeError, match="abstract"):
        Penalty(0.1)


FOUR, ONE = torch.full((1, 2, 3), 4.0), torch.ones(1, 3)


class DifferencePenalty(Penalty):
    """A penalty of which everything is known."""

    def value(self, logits, labels):
        return (logits - labels).mean()


def test_weight_is_not_negative():
    """0 switches a penalty off; less, or NaN, is refused."""
    assert DifferencePenalty(0.0)(FOUR, ONE) == 0
    for weight in (-1e-9, math.nan):
        with pytest.raises(InputError) as caught:
            DifferencePenalty(weight)
        assert str(caught.value) == f"weight: is {weight}; pass 0 or more"


def test_penalty_is_its_value_times_its_weight_and_prints_both():
    """As it would be passed."""
    penalty = DifferencePenalty(0.5, margin=2.0, ignore_index=None)

    assert penalty(FOUR, ONE) == 1.5
    assert penalty.settings == {"margin": 2.0, "ignore_index": None}
    assert repr(penalty) == "DifferencePenalty(weight=0.5, margin=2.0, ignore_index=None)"


def test_image_is_needed_if_a_part_needs_it():
    """A composition needs the image if its base or a penalty does; other losses never do."""
    bilateral = NeighborhoodPenalty(prior="bilateral")

    assert not needs_image(torch.nn.Identity())
    assert not needs_image(ComposedLoss(DiceCELoss(), [EntropyPenalty()]))
    assert needs_image(ComposedLoss(DiceCELoss(), [EntropyPenalty(), bilateral]))
    assert needs_image(ComposedLoss(NACLLoss(prior="bilateral"), [EntropyPenalty()]))
