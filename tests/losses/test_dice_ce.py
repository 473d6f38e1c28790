"""Cross-entropy and soft Dice."""

import monai
import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses import DiceCELoss, dice_ce_loss, soft_dice_loss


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
    equal, weighted = DiceCELoss(), DiceCELoss(cross_entropy_weight=0.5, dice_weight=2.0)
    equal(*batch)
    weighted(*batch)

    assert weighted.latest_terms["cross_entropy"] == 0.5 * equal.latest_terms["cross_entropy"]
    assert weighted.latest_terms["dice"] == 2 * equal.latest_terms["dice"]


def test_perfect_prediction_has_no_dice_loss():
    """The score of a perfect prediction is 1, also for a class that is absent from both."""
    labels = torch.randint(2, (2, 1, 8, 8))
    logits = 1e4 * torch.nn.functional.one_hot(labels[:, 0], 3).movedim(-1, 1).float()

    assert soft_dice_loss(logits, labels).item() == pytest.approx(0, abs=1e-6)


def test_epsilon_smooths_the_score():
    """One voxel in two classes at p = 1/2: (2 · 1/2 + ε) / (1/2 + 1 + ε) and ε / (1/2 + ε)."""
    logits, labels = torch.zeros(1, 2, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, 1)
    for smooth in (1e-5, 0.5):
        scores = (1 + smooth) / (1.5 + smooth), smooth / (0.5 + smooth)
        value = soft_dice_loss(logits, labels, smooth=smooth).item()
        assert value == pytest.approx(1 - sum(scores) / 2, rel=1e-12)
    assert soft_dice_loss(logits, labels) == soft_dice_loss(logits, labels, smooth=1e-5)
    foreground = soft_dice_loss(logits, labels, include_background=False, smooth=0.5).item()
    assert foreground == pytest.approx(1 - 0.5 / (0.5 + 0.5), rel=1e-12)


def test_dice_checks_labels():
    """Used alone, Dice names a label that is not a class."""
    with pytest.raises(InputError, match="labels: hold 7"):
        soft_dice_loss(torch.zeros(1, 2, 4, 4), torch.full((1, 1, 4, 4), 7))
    soft_dice_loss(torch.zeros(1, 2, 4, 4), torch.full((1, 1, 4, 4), 7), ignore_index=7)


def test_half_precision_adds_gradients_before_rounding():
    """The gradient in bfloat16 is that of float32, rounded once."""
    logits = torch.randn(2, 3, 8, 8).bfloat16().requires_grad_()
    wide = logits.detach().float().requires_grad_()
    labels = torch.randint(3, (2, 1, 8, 8))
    dice_ce_loss(logits, labels).backward()
    dice_ce_loss(wide, labels).backward()

    assert torch.equal(logits.grad, wide.grad.bfloat16())


def test_dice_of_soft_labels_is_least_where_probabilities_equal_them():
    """Then it is 0. MONAI's product is smaller for probabilities more certain than the labels."""
    labels = (2 * torch.randn(2, 3, 5, 6, dtype=torch.float64)).softmax(1)
    theirs = monai.losses.DiceLoss(softmax=True)
    right, certain = labels.log(), 3 * labels.log()

    assert soft_dice_loss(right, labels).abs() < 1e-12
    assert soft_dice_loss(certain, labels) > 0.1
    assert theirs(certain, labels) < theirs(right, labels)
