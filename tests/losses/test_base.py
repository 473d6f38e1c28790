"""Named terms and printed settings, for a loss of which everything is known."""

import pytest
import torch

from nacl_monai.losses import SegmentationLoss
from nacl_monai.losses.base import FunctionModule


class TwoTerms(SegmentationLoss):
    """The mean logit, and twice the mean label."""

    def terms(self, logits, labels):
        return {"logit": logits.mean(), "label": 2 * labels.mean()}


def test_calling_returns_the_sum_and_keeps_detached_terms():
    """The value carries the gradient, the kept terms do not, and a new call replaces them."""
    loss = TwoTerms()
    assert loss.latest_terms == {}
    logits = torch.full((1, 2, 3), 4.0, requires_grad=True)
    value = loss(logits, torch.full((1, 3), 0.5))

    assert value == 5
    assert value.requires_grad
    assert loss.latest_terms == {"logit": 4, "label": 1}
    assert not loss.latest_terms["logit"].requires_grad
    loss(logits, torch.zeros(1, 3))
    assert loss.latest_terms == {"logit": 4, "label": 0}


def test_terms_leave_the_latest_alone():
    """`terms` is pure; only a call of the module keeps them."""
    loss = TwoTerms()
    loss.terms(torch.zeros(1, 2, 3), torch.zeros(1, 3))

    assert loss.latest_terms == {}


def test_base_is_abstract():
    """A loss without terms cannot be made."""
    with pytest.raises(TypeError, match="abstract"):
        SegmentationLoss()


def test_settings_are_kept_and_printed_as_they_would_be_passed():
    """What is printed evaluates to the module again."""
    loss = TwoTerms(gamma=2.0, border="valid", ignore_index=None)

    assert loss.settings == {"gamma": 2.0, "border": "valid", "ignore_index": None}
    assert repr(loss) == "TwoTerms(gamma=2.0, border='valid', ignore_index=None)"
    assert repr(eval(repr(loss))) == repr(loss)
    assert repr(FunctionModule()) == "FunctionModule()"
