"""Losses from elsewhere have one term, and labels as they take them."""

import monai.losses
import pytest
import torch
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.losses import (
    ComposedLoss,
    DeepSupervisionLoss,
    ForeignLoss,
    NeighborhoodPenalty,
    cross_entropy,
    neighborhood_penalty,
)

LOGITS = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
LABELS = (torch.arange(60).view(2, 1, 6, 5) % 3).to(torch.uint8)


class Keep(nn.Module):
    """Keeps what it is given."""

    def forward(self, logits, labels):
        self.given = labels
        return logits.mean()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("whole", LABELS.long()),
        ("indices", LABELS[:, 0].long()),
        ("one_hot", torch.stack([LABELS[:, 0] == k for k in range(3)], dim=1).float()),
    ],
)
def test_labels_have_the_form_that_is_named(form, expected):
    """Bytes become whole numbers that can be negative: 1 - 2 is -1."""
    keep = Keep()

    ForeignLoss(keep, form)(LOGITS, LABELS)

    assert torch.equal(keep.given, expected)
    assert keep.given.dtype == expected.dtype


def test_value_and_term_are_those_of_the_loss():
    """With torch's cross-entropy as one that is known."""
    loss = ForeignLoss(nn.CrossEntropyLoss(), "indices")

    value = loss(LOGITS, LABELS)

    torch.testing.assert_close(value, cross_entropy(LOGITS, LABELS))
    assert loss.latest_terms == {"loss": value}


def test_label_that_is_no_class_is_left_to_the_loss():
    """Torch's ignores it; one-hot, such a voxel is of no class."""
    labels = LABELS.clone()
    labels[..., :2] = 255
    loss = ForeignLoss(nn.CrossEntropyLoss(ignore_index=255), "indices", ignore_index=255)
    keep = Keep()
    ForeignLoss(keep, "one_hot", ignore_index=255)(LOGITS, labels)

    torch.testing.assert_close(
        loss(LOGITS, labels), cross_entropy(LOGITS[..., 2:], LABELS[..., 2:])
    )
    assert torch.equal(keep.given.sum(1), (labels[:, 0] != 255).float())


def test_weights_of_a_loss_go_where_the_logits_are():
    """A loss is made on the CPU; the meta device takes the place of a GPU."""
    loss = ForeignLoss(nn.CrossEntropyLoss(weight=torch.ones(3)))
    labels = LABELS[:, 0].to("meta")

    assert loss(LOGITS.to("meta"), labels).device.type == "meta"


def test_deep_supervision_weighs_any_loss():
    """Each output has labels of its size."""
    loss = monai.losses.DiceLoss(to_onehot_y=True, softmax=True)
    heads = [LOGITS, LOGITS[..., ::2, ::2]]
    coarse = nn.functional.interpolate(LABELS.float(), size=(3, 3), mode="nearest-exact")

    value = DeepSupervisionLoss(loss)(heads, LABELS)

    expected = (2 * loss(heads[0], LABELS) + loss(heads[1], coarse)) / 3
    torch.testing.assert_close(value, expected)


def test_any_loss_may_have_a_penalty():
    """Both are terms."""
    loss = monai.losses.DiceLoss(to_onehot_y=True, softmax=True)
    composed = ComposedLoss(loss, [NeighborhoodPenalty(weight=0.5)])

    value = composed(LOGITS, LABELS)

    assert list(composed.latest_terms) == ["loss", "penalty"]
    expected = loss(LOGITS, LABELS) + 0.5 * neighborhood_penalty(LOGITS, LABELS)
    torch.testing.assert_close(value, expected)


def test_other_forms_and_what_is_no_module_are_refused():
    """A class in place of a module is the likely slip."""
    with pytest.raises(
        InputError, match="labels: is 'onehot'; pass one of whole, indices, one_hot"
    ):
        ForeignLoss(Keep(), "onehot")
    with pytest.raises(InputError, match="not a torch.nn.Module"):
        DeepSupervisionLoss(Keep)
    with pytest.raises(InputError, match="labels: hold 7"):
        ForeignLoss(Keep(), "indices")(LOGITS, torch.full_like(LABELS, 7))
