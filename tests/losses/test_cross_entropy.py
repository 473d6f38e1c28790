"""Cross-entropy, soft Dice and the focal loss: torch's and MONAI's, where anything counts."""

import math

import monai
import pytest
import torch

from nacl_monai.losses import (
    CrossEntropyLoss,
    DiceCELoss,
    ECPLoss,
    FocalLoss,
    cross_entropy,
    dice_ce_loss,
    dice_plus_plus_loss,
    focal_loss,
    soft_dice_loss,
)
from tests.conftest import refused

WEIGHTS = [0.1, 1.0, 3.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignore_index", [None, 1, 255])
@pytest.mark.parametrize(
    "weights",
    [None, WEIGHTS, torch.tensor(WEIGHTS), [1e-6 * weight for weight in WEIGHTS]],
    ids=["none", "list", "tensor", "small"],
)
def test_equals_torch(batch, ignore_index, weights, smoothing):
    """With class weights, of which only ratios matter, ignored voxels and smoothed labels."""
    logits, labels = batch
    labels[..., 0] = 255 if ignore_index == 255 else 0
    theirs = torch.nn.CrossEntropyLoss(
        weight=None if weights is None else torch.as_tensor(weights, dtype=torch.float64),
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=smoothing,
    )
    settings = {"class_weights": weights, "ignore_index": ignore_index}
    ours = cross_entropy(logits, labels, label_smoothing=smoothing, **settings)

    torch.testing.assert_close(ours, theirs(logits, labels.squeeze(1)), rtol=1e-6, atol=0)


def test_torch_is_nan_where_no_voxel_counts(batch):
    """The one difference: torch's mean over no voxel is NaN, ours is 0."""
    logits, labels = batch
    nothing = torch.full_like(labels, 255)

    assert torch.nn.CrossEntropyLoss(ignore_index=255)(logits, nothing.squeeze(1)).isnan()
    for weights in (None, WEIGHTS):
        assert CrossEntropyLoss(class_weights=weights, ignore_index=255)(logits, nothing) == 0


@pytest.mark.parametrize("ignore_index", [None, 255])
@pytest.mark.parametrize("soft", [False, True])
def test_batch_of_a_class_without_weight_is_zero(batch, ignore_index, soft):
    """As in patches of background alone; torch's mean is NaN, and would end the training."""
    logits, labels = batch
    labels = torch.zeros_like(labels)
    if soft:
        labels = torch.nn.functional.one_hot(labels[:, 0].long(), 3).movedim(-1, 1)

    loss = CrossEntropyLoss(class_weights=[0.0, 1.0, 1.0], ignore_index=ignore_index)

    assert loss(logits, labels) == 0


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0], torch.ones(2)])
def test_number_of_class_weights_is_that_of_the_classes(batch, weights):
    """A wrong number of class weights is named."""
    assert refused(CrossEntropyLoss(class_weights=weights), *batch) == (
        f"class_weights: has {len(weights)} values, but logits have 3 classes; "
        "pass one weight per class"
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


def test_terms_carry_their_weights(batch):
    """Each weight scales its term."""
    equal, weighted = DiceCELoss(), DiceCELoss(cross_entropy_weight=0.5, dice_weight=2.0)
    equal(*batch)
    weighted(*batch)

    assert weighted.latest_terms["cross_entropy"] == 0.5 * equal.latest_terms["cross_entropy"]
    assert weighted.latest_terms["dice"] == 2 * equal.latest_terms["dice"]


def test_epsilon_smooths_the_score():
    """One voxel in two classes at p = 1/2: (2 · 1/2 + ε) / (1/2 + 1 + ε) and ε / (1/2 + ε)."""
    voxel = torch.zeros(1, 2, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, 1)
    first, second = (1 + 0.5) / (1.5 + 0.5), 0.5 / (0.5 + 0.5)

    value = soft_dice_loss(*voxel, smooth=0.5)
    foreground = soft_dice_loss(*voxel, smooth=0.5, include_background=False)
    assert value.item() == pytest.approx(1 - (first + second) / 2, rel=1e-12)
    assert foreground.item() == pytest.approx(1 - second, rel=1e-12)


def test_half_precision_adds_gradients_before_rounding():
    """The gradient in bfloat16 is that of float32, rounded once."""
    logits = torch.randn(2, 3, 8, 8).bfloat16().requires_grad_()
    wide = logits.detach().float().requires_grad_()
    labels = torch.randint(3, (2, 1, 8, 8))
    dice_ce_loss(logits, labels).backward()
    dice_ce_loss(wide, labels).backward()

    torch.testing.assert_close(logits.grad, wide.grad.bfloat16())


def test_dice_of_soft_labels_is_least_where_probabilities_equal_them():
    """Then it is 0. MONAI's product is smaller for probabilities more certain than the labels."""
    labels = (2 * torch.randn(2, 3, 5, 6, dtype=torch.float64)).softmax(1)
    theirs = monai.losses.DiceLoss(softmax=True)
    right, certain = labels.log(), 3 * labels.log()

    assert soft_dice_loss(right, labels).abs() < 1e-12
    assert soft_dice_loss(certain, labels) > 0.1
    assert theirs(certain, labels) < theirs(right, labels)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_dsc_plus_plus_without_focus_is_monais_tversky_loss(batch, share):
    """Whose α weighs what is marked wrongly; with equal weights it is soft Dice."""
    theirs = monai.losses.TverskyLoss(to_onehot_y=True, softmax=True, alpha=share, beta=1 - share)
    ours = dice_plus_plus_loss(*batch, gamma=1.0, false_positive_weight=share)

    torch.testing.assert_close(ours, theirs(*batch))
    if share == 0.5:
        torch.testing.assert_close(ours, soft_dice_loss(*batch), atol=1e-5, rtol=0)


def test_dsc_plus_plus_prices_the_certainty_that_dice_rewards():
    """Of 100 voxels in doubt 60 are of the class, beside 1,000 certain ones: Dice wants p = 1."""
    labels = (torch.arange(1100) < 60).long().view(1, 1, 1, 1100)

    def loss(chance, gamma):
        p = torch.where(torch.arange(1100) < 100, chance, 1e-9).double()
        logits = torch.stack([(1 - p).log(), p.log()]).view(1, 2, 1, 1100)
        return float(dice_plus_plus_loss(logits, labels, gamma=gamma))

    assert loss(0.999, 1.0) < loss(0.8, 1.0) < loss(0.6, 1.0)
    assert loss(0.8, 2.0) < min(loss(0.6, 2.0), loss(0.999, 2.0)) - 0.005


def test_monai_divides_by_the_number_of_classes(batch):
    """MONAI's value is ours divided by K, unless it ignores a label."""
    logits, labels = batch

    def theirs(**settings):
        loss = monai.losses.FocalLoss(to_onehot_y=True, use_softmax=True, gamma=3.0, **settings)
        return loss(logits.float(), labels)

    ours = FocalLoss()(logits.float(), labels)
    torch.testing.assert_close(theirs(), ours / 3)
    torch.testing.assert_close(theirs(ignore_index=255), ours)


@pytest.mark.parametrize(
    "criterion", [ECPLoss(), *(FocalLoss(gamma=gamma) for gamma in (0.0, 0.5, 1.0, 3.0))], ids=str
)
def test_certainty_has_a_finite_gradient(criterion):
    """At p = 1 the loss is 0, as is its entropy, and its gradient is finite, for γ below 1 as well."""
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 0] = 1e4
    loss = criterion(logits.requires_grad_(), torch.zeros(1, 2, 2))
    loss.backward()

    assert loss == 0
    assert logits.grad.isfinite().all()


def test_confident_voxels_keep_their_small_loss():
    """At p = 1 - 1e-5, 1 - p must not cancel: (1e-5)³ · 1e-5 in float32."""
    logits = torch.tensor([math.log(1e5), 0.0]).view(1, 2, 1, 1)
    value = focal_loss(logits, torch.zeros(1, 1, 1, 1), gamma=3.0).item()

    assert value == pytest.approx(1e-20, rel=1e-3)
