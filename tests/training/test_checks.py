"""What is checked before the first batch: loss, network, classes and sets."""

import json
import shutil
from pathlib import Path
from pkgutil import resolve_name

import monai.losses
import pytest
import torch
from monai.networks.nets import UNet
from torch import nn
from torch.nn import functional as F

from nacl_monai.errors import InputError, SettingError
from nacl_monai.losses import (
    ComposedLoss,
    CrossEntropyLoss,
    DeepSupervisionLoss,
    ForeignLoss,
    MarginPenalty,
    NeighborhoodPenalty,
)
from nacl_monai.menus import read_menu
from nacl_monai.training import check_classes, check_files, check_labels, check_sets, keep_data
from nacl_monai.training.checks import check_loss
from tests.conftest import refused
from tests.same import same_bits, same_values
from tests.training.test_run_folder import data_of

CLASSES = ["background", "left", "right"]
MONAI = {"to_onehot_y": True, "softmax": True}


def check(loss, spatial_size=(18, 24)):  # which has as many voxels of each class
    check_loss(DeepSupervisionLoss(loss), CLASSES, spatial_size)


class Own(nn.Module):
    """Cross-entropy, of whatever becomes of logits and labels."""

    def __init__(self, logits=lambda logits: logits, labels=lambda labels: labels[:, 0]):
        super().__init__()
        self.change = logits, labels

    def forward(self, logits, labels):
        pairs = zip(self.change, (logits, labels), strict=True)
        return F.cross_entropy(*(change(x) for change, x in pairs))


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
    same_values(torch.get_rng_state(), before)


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
        (Own(labels=lambda labels: labels[:, 0].clamp(max=2)), "depends on unlabeled voxels"),
        (ForeignLoss(nn.CrossEntropyLoss(), "indices"), "fails on logits .*hold 9"),
        (ForeignLoss(nn.CrossEntropyLoss(), "indices", 9), "fails on logits .*out of bounds"),
        (monai.losses.DiceLoss(**MONAI), "fails on logits"),
        (
            ComposedLoss(CrossEntropyLoss(ignore_index=9), [MarginPenalty(margin=0.1)]),
            "depends on unlabeled voxels, ignore_index 9; choose one of the menu",
        ),
    ],
)
def test_loss_that_learns_from_what_nobody_labeled_is_refused(loss, message):
    """A number that is wrong without a word is among them."""
    with pytest.raises(SettingError, match=message):
        check_loss(DeepSupervisionLoss(loss), CLASSES, (18, 24), 9)


@pytest.mark.parametrize(
    "loss",
    [
        ForeignLoss(nn.CrossEntropyLoss(ignore_index=9), "indices", ignore_index=9),
        Own(labels=lambda labels: labels[:, 0].masked_fill(labels[:, 0] == 9, -100)),
    ],
)
def test_loss_of_others_may_ignore(loss):
    """Torch's in the form that the documentation names, or one's own."""
    check_loss(DeepSupervisionLoss(loss), CLASSES, (18, 24), 9)


VALUES = [[0], [1], [2]]
STRUCTURES = {"both": [1, 2]}


def network(out_channels):
    return UNet(2, 1, out_channels, (4, 8, 16), (2, 2), norm="BATCH")


def test_network_that_fits_stays_as_it_was():
    """No statistics of the empty slice, and the mode that it had."""
    for training in (True, False):
        fitting = network(3).train(training)
        before = {name: value.clone() for name, value in fitting.state_dict().items()}

        check_classes(fitting, 1, CLASSES, VALUES, STRUCTURES, [16, 24])

        assert fitting.training == training
        same_bits(fitting.state_dict(), before, "nothing is done to it")
        assert all(parameter.grad is None for parameter in fitting.parameters())


@pytest.mark.parametrize(
    ("channels", "values", "structures", "message"),
    [
        (2, VALUES, STRUCTURES, "returns 2 channels, but there are 3 classes"),
        (4, VALUES, STRUCTURES, "returns 4 channels, but there are 3 classes"),
        (3, VALUES[:2], STRUCTURES, "names 3 .*label_values has the values of 2"),
        (3, VALUES, {"both": [1, 3]}, r"structures: both is of the classes \[1, 3\]; .* 0 to 2"),
    ],
)
def test_classes_that_do_not_agree_are_refused(channels, values, structures, message):
    """Both numbers are named; the evaluation would fail after the whole training."""
    with pytest.raises(InputError, match=message):
        check_classes(network(channels), 1, CLASSES, values, structures, [16, 16])


class Volumes(list):
    """What `check_labels` asks of the cached volumes: the classes in each."""

    @property
    def classes(self):
        return self


def test_every_class_is_in_some_label():
    """Not in all; of one that is in none nothing could be learned, and all such are named."""
    check_labels(Volumes([[0, 1], [0, 2]]), CLASSES)
    with pytest.raises(InputError, match="^classes: left, right in none of the 2 training labels;"):
        check_labels(Volumes([[0], [0]]), CLASSES)


@pytest.mark.parametrize(("seen", "part"), [("a", "train"), ("b", "val")])
def test_case_that_a_training_saw_cannot_be_in_another_set(tmp_path, seen, part):
    """Neither one that it trained on nor one that chose its model."""
    split = data_of(tmp_path / "data")
    keep_data(tmp_path, split)
    split["test"] += split.pop(part)

    assert refused(check_sets, tmp_path / "model.pt", split) == (
        f"{tmp_path}: was trained with case {seen} in the set {part!r}, which is in 'test' now; "
        "put the split back, or train anew: --restart True"
    )


def test_other_cases_may_be_in_any_set(tmp_path):
    """New ones and those of the test set; one that was seen may be missing."""
    split = data_of(tmp_path / "data")
    keep_data(tmp_path, split)

    check_sets(tmp_path / "model.pt", split)
    new = data_of(tmp_path / "more", "xyz")
    check_sets(tmp_path / "model.pt", {**new, "val": [*new["val"], *split["test"]]})


def test_without_a_record_nobody_knows_who_trained(tmp_path):
    """As in an exported bundle."""
    split = data_of(tmp_path / "data")
    check_sets(tmp_path / "model.pt", split)
    check_files(tmp_path / "model.pt", split["test"])


@pytest.mark.parametrize("kind", ["image", "label"])
@pytest.mark.parametrize("part", ["test", "val"])
def test_other_bytes_of_a_recorded_case_are_refused(tmp_path, kind, part):
    """Whatever set it was in, and wherever its folder is; their numbers would pass for the run's."""
    keep_data(tmp_path, data_of(tmp_path / "data"))
    case = data_of(tmp_path / "copy/data")[part][0]
    file = case["label"] if kind == "label" else case["image"][0]
    Path(file).write_text("y")

    assert refused(check_files, tmp_path / "model.pt", [case]) == (
        f"{file}: has other bytes than {tmp_path}/data.json recorded; put it back, evaluate a copy of "
        "the run without data.json, or train anew: --restart True"
    )


def test_other_number_of_files_is_refused(tmp_path):
    """As when a modality was added since."""
    split = data_of(tmp_path / "data")
    keep_data(tmp_path, split)
    case = split["test"][0]
    case["image"] *= 2

    with pytest.raises(InputError, match=r"images/c\.nii: has other bytes than"):
        check_files(tmp_path / "model.pt", [case])


def test_copies_and_unrecorded_cases_may_be_evaluated(tmp_path):
    """The bytes decide, not where the files are; of those that nothing has touched the record does."""
    split = data_of(tmp_path / "data")
    keep_data(tmp_path, split)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")

    record, text = tmp_path / "data.json", (tmp_path / "data.json").read_text()
    record.write_text(text.replace("sha256 ", "sha256 0"))
    check_files(tmp_path / "model.pt", split["test"])
    record.write_text(text)
    check_files(tmp_path / "model.pt", data_of(tmp_path / "copy")["test"])
    check_files(tmp_path / "model.pt", data_of(tmp_path / "more", "xyz", content="y")["test"])


@pytest.mark.parametrize("damage", [{"a": 3}, 3, []])
def test_damaged_record_is_one_line(tmp_path, damage):
    """For whatever asks it."""
    split = data_of(tmp_path / "data")
    (tmp_path / "data.json").write_text(json.dumps({"test": damage}))

    for check in (check_sets, lambda file, split: check_files(file, split["test"])):
        assert "data.json: is damaged; train anew" in refused(check, tmp_path / "model.pt", split)
