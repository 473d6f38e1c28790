"""What our trainers minimize: nnU-Net's own loss, with one term of it replaced."""

import json
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from nacl_monai import losses, nnunet
from nacl_monai.errors import InputError
from nacl_monai.menus import read_menu
from nacl_monai.nnunet import TRAINERS

pytest.importorskip("nnunetv2")

from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerDiceLoss import (
    nnUNetTrainerDiceLoss,
)
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (  # noqa: E501
    nnUNetTrainerNoDeepSupervision,
)
from nnunetv2.training.nnUNetTrainer.variants.training_length.nnUNetTrainer_Xepochs import (
    nnUNetTrainer_5epochs,
)
from nnunetv2.utilities.helpers import softmax_helper_dim1

IGNORE = {"background": 0, "anterior": 1, "posterior": 2, "ignore": 3}
REGIONS = {"background": 0, "hippocampus": [1, 2], "posterior": 2}
#: nnU-Net's weights of four strides: halved, the coarsest 0, summing to 1.
WEIGHTS = (2 / 3, 1 / 3, 0)


def batch(dims=2, ignored=0.0, levels=3):
    """Logits and labels at every resolution, as nnU-Net's loader makes them: float, with a channel."""
    torch.manual_seed(0)
    logits, labels = [], []
    for level in range(levels):
        shape = [16 // 2**level] * dims
        logits.append(torch.randn(2, 3, *shape, dtype=torch.float64).mul(4).requires_grad_())
        label = torch.randint(0, 3, (2, 1, *shape)).float()
        label[torch.rand(label.shape) < ignored] = 3
        labels.append(label)
    return logits, labels


def value_and_gradients(loss, logits, labels):
    value = loss(logits, labels)
    return value.detach(), torch.autograd.grad(value, logits, allow_unused=True)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("labels", [None, IGNORE])
def test_dice_and_cross_entropy_are_nnunets_loss(start, dims, batch_dice, labels):
    """Value and gradient, at every resolution, with and without voxels to be ignored."""
    settings = {"batch_dice": batch_dice, "dims": dims}
    if labels:
        settings["labels"] = labels
    ours = start(nnunet.nnUNetTrainerDiceCE, **settings)._build_loss()
    theirs = start(nnUNetTrainer, **settings)._build_loss()
    logits, label_maps = batch(dims, ignored=0.4 if labels else 0)

    value, gradients = value_and_gradients(ours, logits, label_maps)
    expected, expected_gradients = value_and_gradients(theirs, logits, label_maps)
    torch.testing.assert_close(value, expected)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)


def own_loss(name, ignore_index=None):
    """The loss in the menu, made by hand."""
    choice = read_menu("losses")[TRAINERS[name][0]]
    loss = getattr(losses, choice.target.rsplit(".", 1)[1])
    settings = {key: value for key, value in choice.settings.items() if key != "dice_weight"}
    return loss(**settings, ignore_index=ignore_index)


@pytest.mark.parametrize("name", [name for name in TRAINERS if "Dice" not in name])
@pytest.mark.parametrize("labels", [None, IGNORE])
def test_without_dice_it_is_the_weighted_loss_of_the_menu(start, name, labels):
    """Summed over the resolutions, by a loop."""
    trainer = start(getattr(nnunet, name), **({"labels": labels} if labels else {}))
    logits, label_maps = batch(ignored=0.4 if labels else 0)
    loss = own_loss(name, 3 if labels else None)

    expected = sum(w * loss(x, y) for w, x, y in zip(WEIGHTS, logits, label_maps, strict=True))
    torch.testing.assert_close(trainer._build_loss()(logits, label_maps), expected)


@pytest.mark.parametrize("name", [name for name in TRAINERS if "Dice" in name])
def test_with_dice_nnunets_dice_is_added(start, name):
    """Batch Dice without the background, as nnU-Net sets it, at each resolution."""
    dice = MemoryEfficientSoftDiceLoss(
        softmax_helper_dim1, True, do_bg=False, smooth=1e-5, ddp=False
    )
    logits, label_maps = batch()
    loss = own_loss(name)

    expected = sum(
        w * (loss(x, y) + dice(x, y)) for w, x, y in zip(WEIGHTS, logits, label_maps, strict=True)
    )
    built = start(getattr(nnunet, name))._build_loss()
    torch.testing.assert_close(built(logits, label_maps), expected)


@pytest.mark.parametrize("name", TRAINERS)
def test_ignored_voxels_do_not_matter(start, name):
    """Neither to the value nor by a gradient; and a patch without a label has the gradient 0."""
    loss = start(getattr(nnunet, name), labels=IGNORE)._build_loss()
    logits, labels = batch(ignored=0.5)
    value, gradients = value_and_gradients(loss, logits, labels)

    for gradient, label in zip(gradients[:2], labels[:2], strict=True):
        assert not gradient.movedim(1, -1)[label[:, 0] == 3].any()
        assert gradient.movedim(1, -1)[label[:, 0] != 3].any()
    with torch.no_grad():
        for x, label in zip(logits, labels, strict=True):
            x.add_(7 * torch.randn_like(x) * (label == 3))
        torch.testing.assert_close(loss(logits, labels), value)
    _, gradients = value_and_gradients(loss, logits, [torch.full_like(y, 3) for y in labels])
    assert all(gradient is None or not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("name", ["nnUNetTrainerNACL", "nnUNetTrainerDiceNACL"])
def test_without_deep_supervision_it_is_the_loss_of_the_one_output(start, name):
    """Variants of nnU-Net combine with ours by inheritance."""

    class Variant(getattr(nnunet, name), nnUNetTrainerNoDeepSupervision, nnUNetTrainer_5epochs):
        pass

    trainer = start(Variant)
    (logits,), (labels,) = batch(levels=1)
    dice = MemoryEfficientSoftDiceLoss(
        softmax_helper_dim1, True, do_bg=False, smooth=1e-5, ddp=False
    )
    expected = own_loss(name)(logits, labels)
    if "Dice" in name:
        expected = expected + dice(logits, labels)

    assert trainer.num_epochs == 5
    torch.testing.assert_close(trainer._build_loss()(logits, labels), expected)


def test_width_in_mm_is_that_of_the_only_output(start):
    """The voxels of further outputs are larger, which nnU-Net tells no loss."""

    class Variant(nnunet.nnUNetTrainerNACL, nnUNetTrainerNoDeepSupervision):
        loss_settings: ClassVar = {"prior": "blur", "width_mm": 1.4, "spacing": [0.7, 0.7]}

    (logits,), (labels,) = batch(levels=1)
    expected = losses.nacl_loss(logits, labels, prior="blur", sigma=2.0, kernel_size=13)
    torch.testing.assert_close(start(Variant)._build_loss()(logits, labels), expected)


@pytest.mark.parametrize("name", TRAINERS)
def test_regions_are_refused(start, name):
    """In one line that names the trainer and says what to do."""
    trainer = start(getattr(nnunet, name), labels=REGIONS, regions_class_order=[1, 2])

    with pytest.raises(InputError, match=rf"^{name}: .* has regions; train these by nnUNetTrainer"):
        trainer._build_loss()


def test_a_refusal_ends_a_training_in_one_line(start, capsys):
    """As soon as the loss is made, and of any subclass."""
    trainer = start(nnunet.nnUNetTrainerNACL, labels=REGIONS, regions_class_order=[1, 2])
    with pytest.raises(InputError) as caught:
        trainer._build_loss()

    capsys.readouterr()
    sys.excepthook(caught.type, caught.value, caught.tb)
    assert capsys.readouterr().err == f"error: {caught.value}\n"


def test_labels_with_one_value_in_a_list_are_no_regions(start):
    """Which is nnU-Net's own judgment."""
    labels = {"background": 0, "anterior": [1], "posterior": [2]}
    start(nnunet.nnUNetTrainerDiceNACL, labels=labels)._build_loss()


class Weight(nnunet.nnUNetTrainerDiceNACL):
    loss_settings: ClassVar = {"penalty_weight": 0.3}


class WeightAndKernel(Weight):
    loss_settings: ClassVar = {"kernel_size": 5}


class InPlace(WeightAndKernel):
    """Sets what it wants where nnU-Net's own variants do."""

    def __init__(self, plans, configuration, fold, dataset_json, device=None):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.loss_settings = {"sigma": 2.0}


@pytest.mark.parametrize(
    ("trainer", "changed"),
    [
        (Weight, {"penalty_weight": 0.3}),
        (WeightAndKernel, {"penalty_weight": 0.3, "kernel_size": 5}),
        (InPlace, {"penalty_weight": 0.3, "kernel_size": 5, "sigma": 2.0}),
    ],
)
def test_a_subclass_changes_what_it_names(start, trainer, changed):
    """The rest is the menu's; nnU-Net's debug.json keeps all of it, and the log says it."""
    started = start(trainer)
    loss = started._build_loss()
    expected = {**read_menu("losses")["nacl"].settings, **changed}

    started.loss = loss
    started._save_debug_information()
    kept = json.loads((Path(started.output_folder) / "debug.json").read_text())
    assert kept["loss_settings"] == str(expected)
    assert f"NACLLoss: {expected}" in Path(started.log_file).read_text()
    (penalty,) = loss.loss.ce.penalties
    assert penalty.weight == changed["penalty_weight"]
    assert penalty.settings["kernel_size"] == changed.get("kernel_size", 3)
    assert dict(nnunet.nnUNetTrainerDiceNACL.loss_settings) == read_menu("losses")["nacl"].settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": 0.3}, r"^Changed: loss_settings has 'weight', which NACLLoss .*penalty_weight"),
        ({"ignore_index": 2}, r"^Changed: loss_settings has 'ignore_index'"),
        ({"prior": "bilateral"}, r"^Changed: loss_settings has a prior that needs the image"),
        ({"kernel_size": 4}, r"^kernel_size: is 4"),
        ({"width_mm": 1.0, "spacing": [0.7, 0.7]}, r"^Changed: loss_settings has a width in mm"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(start, settings, message):
    """By name, before anything is trained."""
    changed = type("Changed", (nnunet.nnUNetTrainerNACL,), {"loss_settings": settings})

    with pytest.raises(InputError, match=message):
        start(changed)._build_loss()


def test_a_base_without_cross_entropy_is_refused(start):
    """Ours would have no place in its loss, and be left out."""
    mixed = type("Mixed", (nnunet.nnUNetTrainerDiceNACL, nnUNetTrainerDiceLoss), {})

    with pytest.raises(InputError, match=r"^Mixed: .*MemoryEfficientSoftDiceLoss has no cross"):
        start(mixed)._build_loss()


@pytest.mark.parametrize(("settings", "same"), [({}, True), ({"penalty_weight": 0.2}, False)])
def test_a_training_goes_on_only_as_it_began(start, monkeypatch, settings, same):
    """By what nnU-Net wrote when it began."""
    monkeypatch.setattr(nnUNetTrainer, "on_train_start", lambda _: None)
    begun = start(nnunet.nnUNetTrainerDiceNACL)
    begun.loss = begun._build_loss()
    begun.on_train_start()
    begun._save_debug_information()
    again = type(
        "nnUNetTrainerDiceNACL", (nnunet.nnUNetTrainerDiceNACL,), {"loss_settings": settings}
    )
    trainer = start(again)
    trainer.loss = trainer._build_loss()

    trainer.on_train_start()  # anew
    trainer.current_epoch = 3
    if same:
        trainer.on_train_start()
        return
    with pytest.raises(InputError, match=r"^nnUNetTrainerDiceNACL: .*0\.2.* began with .*0\.1"):
        trainer.on_train_start()
