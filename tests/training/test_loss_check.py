"""A loss that does not take logits and class indices is refused before it gives a wrong number."""

from pkgutil import resolve_name

import monai.losses
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nacl_monai.errors import SettingError
from nacl_monai.losses import (
    ComposedLoss,
    CrossEntropyLoss,
    DeepSupervisionLoss,
    ForeignLoss,
    MarginPenalty,
    NeighborhoodPenalty,
)
from nacl_monai.menus import read_menu
from nacl_monai.training.loss_check import check_loss

CLASSES = ["background", "one", "two"]
MONAI = {"to_onehot_y": True, "softmax": True}


def check(loss, spatial_size=(18, 24)):  # which has as many voxels of each class
    check_loss(DeepSupervisionLoss(loss), CLASSES, spatial_size)


class Own(nn.Module):
    """Cross-entropy, of whatever becomes of logits and labels."""

    def __init__(self, logits=lambda logits: logits, labels=lambda labels: labels[:, 0]):
        super().__init__()
        self.change = logits, labels

    def forward(self, logits, labels):
        logits, labels = (
            change(x) for change, x in zip(self.change, (logits, labels), strict=True)
        )
        return F.cross_entropy(logits, labels)


@pytest.mark.parametrize("spatial_size", [(16, 24), (8, 6, 8)], ids=str)
@pytest.mark.parametrize(
    "loss",
    [
        Own(),
        monai.losses.DiceLoss(**MONAI),
        monai.losses.DiceCELoss(**MONAI),
        monai.losses.TverskyLoss(**MONAI),
        monai.losses.GeneralizedDiceLoss(**MONAI),
        monai.losses.FocalLoss(to_onehot_y=True, use_softmax=True),
        ForeignLoss(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])), "indices"),
        ComposedLoss(monai.losses.DiceLoss(**MONAI), [NeighborhoodPenalty(weight=0.1)]),
    ],
    ids=lambda loss: type(getattr(loss, "loss", loss)).__name__,
)
def test_losses_of_logits_and_class_indices_pass(loss, spatial_size, capsys):
    """MONAI's with the arguments that it needs, torch's with labels in its form, one's own."""
    check(loss, spatial_size)

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (monai.losses.DiceLoss(to_onehot_y=True), "logits grow by 3, .*; give it softmax: true"),
        (monai.losses.DiceLoss(softmax=True), "fails on logits .*; give it to_onehot_y: true"),
        (monai.losses.DiceLoss(), "give it to_onehot_y: true and softmax: true"),
        (monai.losses.FocalLoss(to_onehot_y=True), "when all logits grow .*give it use_softmax"),
        # Its focal part has a sigmoid, whatever it is told.
        (
            monai.losses.DiceFocalLoss(**MONAI),
            "when all logits grow by 3, unlike .*; choose another",
        ),
        (nn.CrossEntropyLoss(), r"give it labels as indices: --loss \"\{'_target_': 'nacl_monai"),
        (nn.NLLLoss(), "fails on logits .*; choose another"),
        (nn.MSELoss(), "if all voxels are right, .*; choose another"),
        (nn.BCEWithLogitsLoss(), "fails on logits .*; choose another"),
        (ForeignLoss(nn.CrossEntropyLoss(reduction="none"), "indices"), "instead of one number"),
        (Own(labels=lambda labels: labels[:, 0] * 0), "if all voxels are right, .* all are wrong"),
        (Own(logits=lambda logits: -logits), "if all voxels are right"),
        (Own(logits=lambda logits: logits.detach()), "no finite number with a gradient"),
        (Own(logits=lambda logits: logits / 0), "no finite number with a gradient"),
        (Own(labels=lambda labels: labels), "fails on logits"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
@pytest.mark.filterwarnings("ignore:single channel prediction:UserWarning")
def test_wrong_losses_are_refused_with_a_remedy(loss, message):
    """A number that is wrong without a word is among them."""
    with pytest.raises(SettingError, match=message):
        check(loss)


def test_own_loss_may_bound_the_logits_with_a_warning(capsys):
    """As NACL does itself."""

    class Bounded(Own):
        def forward(self, logits, labels):
            return super().forward(logits, labels) + 0.1 * logits.abs().mean()

    check(Bounded())

    assert "Bounded is " in (line := capsys.readouterr().err)
    assert "when all logits grow by 3, unlike softmax; right if it means to" in line


@pytest.mark.parametrize("name", list(read_menu("losses")))
def test_losses_of_the_menu_have_checks_of_their_own(name):
    """They are not called, since some learn."""
    loss = resolve_name(read_menu("losses")[name].target)()
    loss.terms = None

    check(loss)


def test_check_leaves_no_trace():
    """Neither in the loss nor in the random numbers, which a loss may draw."""

    class Counting(Own):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, logits, labels):
            self.calls += 1
            return super().forward(logits + 1e-6 * torch.rand_like(logits), labels)

    loss, before = Counting(), torch.get_rng_state()
    check(loss)

    assert loss.calls == 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", list(read_menu("losses")))
def test_losses_of_the_menu_ignore_what_nobody_labeled(name):
    """If they are told to; otherwise a label that is not a class is refused."""
    target = resolve_name(read_menu("losses")[name].target)
    check_loss(DeepSupervisionLoss(target(ignore_index=9)), CLASSES, (18, 24), 9)

    with pytest.raises(SettingError, match="loss: .*hold 9.*; choose one of the menu"):
        check_loss(DeepSupervisionLoss(target()), CLASSES, (18, 24), 9)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Own(labels=lambda labels: labels[:, 0].clamp(max=2)), "depends on voxels that nobody"),
        (ForeignLoss(nn.CrossEntropyLoss(), "indices"), "fails on logits .*hold 9"),
        (ForeignLoss(nn.CrossEntropyLoss(), "indices", 9), "fails on logits .*out of bounds"),
        (monai.losses.DiceLoss(**MONAI), "fails on logits"),
        (
            ComposedLoss(CrossEntropyLoss(ignore_index=9), [MarginPenalty(margin=0.1)]),
            "depends on voxels that nobody labeled, ignore_index 9; choose one of the menu",
        ),
    ],
)
def test_loss_that_learns_from_what_nobody_labeled_is_refused(loss, message):
    """A number that is wrong without a word is among them."""
    with pytest.raises(SettingError, match=message):
        check_loss(DeepSupervisionLoss(loss), CLASSES, (18, 24), 9)


def test_torchs_loss_may_ignore():
    """In the form that the documentation names; the configuration tells both of the label."""
    loss = ForeignLoss(nn.CrossEntropyLoss(ignore_index=9), "indices", ignore_index=9)

    check_loss(DeepSupervisionLoss(loss), CLASSES, (18, 24), 9)


def test_own_loss_may_ignore():
    """Whoever takes the label leaves its voxels out."""
    own = Own(labels=lambda labels: labels[:, 0].masked_fill(labels[:, 0] == 9, -100))

    check_loss(DeepSupervisionLoss(own), CLASSES, (18, 24), 9)
