"""Cross-entropy and soft Dice."""

import monai
import pytest
import torch

from nacl_monai.losses import DiceCELoss


def test_equals_the_loop(reference, batch):
    """Both terms equal their definitions."""
    logits, labels = batch
    loss = DiceCELoss()
    loss(logits, labels)

    assert {name: term.item() for name, term in loss.latest_terms.items()} == pytest.approx(
        {
            "cross_entropy": reference.cross_entropy(logits, labels),
            "dice": reference.dice(logits, labels.squeeze(1)),
        }
    )


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("ignore_index", [None, 0, 255])
def test_dice_equals_monai(batch, include_background, ignore_index):
    """The Dice term equals MONAI's, background or not, with ignored and absent labels."""
    logits, labels = batch
    labels = labels.clamp_max(1)
    labels[..., 0] = 255 if ignore_index == 255 else 0
    settings = {"include_background": include_background, "ignore_index": ignore_index}
    theirs = monai.losses.DiceLoss(to_onehot_y=True, softmax=True, **settings)
    loss = DiceCELoss(cross_entropy_weight=0.0, **settings)

    torch.testing.assert_close(loss(logits, labels), theirs(logits, labels))


def test_equals_monai(batch):
    """With its defaults, the sum equals MONAI's."""
    logits, labels = batch
    theirs = monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)

    torch.testing.assert_close(DiceCELoss()(logits, labels), theirs(logits, labels))


def test_terms_carry_their_weights(batch):
    """Each weight scales its term."""
    plain, weighted = DiceCELoss(), DiceCELoss(cross_entropy_weight=0.5, dice_weight=2.0)
    plain(*batch)
    weighted(*batch)

    assert weighted.latest_terms["cross_entropy"] == 0.5 * plain.latest_terms["cross_entropy"]
    assert weighted.latest_terms["dice"] == 2 * plain.latest_terms["dice"]


def test_class_weights_are_cross_entropys(batch):
    """Class weights change cross-entropy and leave Dice alone."""
    plain, weighted = DiceCELoss(), DiceCELoss(class_weights=[1.0, 2.0, 5.0])
    plain(*batch)
    weighted(*batch)

    assert weighted.latest_terms["cross_entropy"] != plain.latest_terms["cross_entropy"]
    assert weighted.latest_terms["dice"] == plain.latest_terms["dice"]
