"""Trainings are held to each other in all that no name says, whatever version wrote their record."""

import json
from copy import deepcopy
from dataclasses import replace
from functools import reduce
from operator import getitem, or_
from pathlib import Path

import pytest
import yaml

from nacl_monai.errors import InputError
from nacl_monai.menus import fragments
from nacl_monai.paper.alike import SHARED, check_trained_alike
from nacl_monai.paper.grid import read_name

CONFIG = {
    "dims": 2,
    "seed": 0,
    "max_epochs": 10,
    "learning_rate": 0.001,
    "batch_size": "$[None, None, 16, 2][@dims]",
    "precision": "auto",
    "spatial_size": [48, 64],
    "patch": [48, 64, 48],
    "window": "$[None, None, @spatial_size, @patch][@dims]",
    "slice_transforms": [],
    "flip_axes": [0],
    "augmentations": {
        "none": [],
        "light": {"_target_": "random", "flip_axes": "@flip_axes", "degrees": 10.0},
    },
    "augmentation": "@augmentations::none",
    "networks": {
        "unet": {
            "_desc_": {"label": "UNet"},
            "_target_": "UNet",
            "spatial_dims": "@dims",
            "channels": [16, 32],
        },
        "dynunet": {"_target_": "DynUNet", "filters": [8, 16]},
    },
    "network_def": "@networks::unet",
    "pretrained": False,
    "loss_function": {"loss": "@loss", "weights": None},
    "train": {
        "optimizer": {"_target_": "torch.optim.Adam", "lr": "@learning_rate"},
        "lr_scheduler": {"_target_": "StepLR", "step_size": 5, "gamma": 0.1},
    },
}


@pytest.fixture
def run(tmp_path):
    """Writes the record of a training that differs in some keys; returns what names it."""

    def write(name, changes=None, without=()):
        config = deepcopy(CONFIG)
        for key, value in (changes or {}).items():
            *above, last = key.split("::")
            reduce(getitem, above, config)[last] = value
        kept = {key: value for key, value in config.items() if key not in without}
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(kept))
        return {read_name("acdc", name): folder}

    return write


def refusal(*runs):
    with pytest.raises(InputError) as caught:
        check_trained_alike(reduce(or_, runs))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 0.01}, "learning_rate (0.001, now 0.01)"),
        ({"batch_size": 8}, "batch_size (16, now 8)"),
        ({"batch_size": "$[None, None, 8, 2][@dims]"}, "batch_size (16, now 8)"),
        ({"precision": "float32"}, "precision (auto, now float32)"),
        ({"window": [32, 32]}, "window::0 (48, now 32)"),
        (
            {"slice_transforms": [{"_target_": "Flip"}]},
            "slice_transforms::0::_target_ (not set, now",
        ),
        ({"augmentation": "@augmentations::light"}, "augmentation::_target_ (not set, now random)"),
        (
            {"train::optimizer::_target_": "SGD"},
            "train::optimizer::_target_ (torch.optim.Adam, now",
        ),
        (
            {"train::optimizer::weight_decay": 0.1},
            "train::optimizer::weight_decay (not set, now 0.1)",
        ),
        ({"train::optimizer::lr": 0.1}, "train::optimizer::lr (0.001, now 0.1)"),
        ({"train::lr_scheduler::gamma": 0.5}, "train::lr_scheduler::gamma (0.1, now 0.5)"),
        ({"loss_function::weights": [2, 1]}, "loss_function::weights::0 (not set, now 2)"),
        ({"networks::unet::channels": [8, 16]}, "networks::unet::channels::0 (16, now 8)"),
        ({"networks::unet::channels": [16]}, "networks::unet::channels::1 (32, now not set)"),
        ({"networks::unet::dropout": 0.2}, "networks::unet::dropout (not set, now 0.2)"),
        ({"pretrained": "/data/weights.pt"}, "pretrained (False, now weights.pt)"),
    ],
)
def test_trainings_that_differ_in_what_no_name_says_are_refused(run, tmp_path, changes, said):
    """Both are named, with the first difference."""
    text = refusal(run("unet_nacl_seed0"), run("unet_dice_ce_seed0", changes))

    assert text.startswith(
        f"{tmp_path}/unet_dice_ce_seed0: was trained otherwise than {tmp_path}/unet_nacl_seed0, {said}"
    )
    assert text.endswith("; train both alike, or show them apart")


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1, "loss": "@losses::dice_ce", "train_fraction": 0.5},
        {"max_epochs": 40, "train::lr_scheduler::step_size": {"max_epochs": "@max_epochs"}},
        {"batch_size": 16, "networks::unet::spatial_dims": 2, "window": [48, 64]},
        {"networks::dynunet::filters": [4], "networks::unet::_desc_": {"label": "U-Net"}},
        {"augmentations::light::degrees": 30.0, "flip_axes": [], "patch": [32, 32, 32]},
        {"num_workers": 4},
    ],
)
def test_what_names_say_or_what_decides_nothing_may_differ(run, changes):
    """So may the number of epochs, and how the same value is written."""
    check_trained_alike(run("unet_nacl_seed0") | run("unet_nacl_seed1", changes))


def test_chosen_augmentation_is_compared_to_its_last_argument(run):
    """By what the choice refers to, and what that refers to."""
    light = {"augmentation": "@augmentations::light"}
    first, second = (
        run("unet_nacl_seed0", light),
        run("unet_svls_seed0", light | {"flip_axes": [1]}),
    )

    assert "augmentation::flip_axes::0 (0, now 1)" in refusal(first, second)


@pytest.mark.parametrize("key", ["precision", "window", "batch_size", "augmentation", "train"])
def test_what_a_record_lacks_is_not_compared(run, key):
    """One of an earlier version may; without any record, nothing is."""
    check_trained_alike(run("unet_nacl_seed0") | run("unet_svls_seed0", without=[key]))
    check_trained_alike(run("unet_nacl_seed1", without=CONFIG) | run("unet_svls_seed1"))


def test_record_of_the_version_before_3d_is_compared(run):
    """It has the numbers themselves where later ones refer to the dimensions."""
    earlier = {"batch_size": 16, "networks::unet::spatial_dims": 2}
    lacking = ("dims", "window", "patch", "pretrained", "augmentation", "augmentations")
    first = run("unet_nacl_seed0", earlier, lacking)

    check_trained_alike(first | run("unet_svls_seed0"))
    other = run("unet_ecp_seed0", earlier | {"learning_rate": 0.01}, lacking)
    assert "learning_rate (0.001, now 0.01)" in refusal(first, other)


def test_earlier_version_between_two_runs_hides_no_difference(run):
    """The later two are compared, too."""
    runs = [
        run("unet_nacl_seed0", without=["precision"]),
        run("unet_svls_seed0", {"precision": "float32"}),
        run("unet_focal_seed0", {"precision": "bfloat16"}),
    ]

    assert "unet_focal_seed0: was trained otherwise than" in refusal(*runs)
    check_trained_alike(runs[0] | runs[1])


def test_networks_are_compared_in_what_they_share(run):
    """The learning rate of all, the arguments and first weights of each by itself."""
    other = {"network_def": "@networks::dynunet"}
    unet = run("unet_nacl_seed0")
    check_trained_alike(unet | run("dynunet_nacl_seed0", other | {"pretrained": "a/weights.pt"}))

    rate = refusal(unet, run("dynunet_svls_seed0", other | {"learning_rate": 0.01}))
    assert "learning_rate (0.001, now 0.01)" in rate
    first = run("dynunet_ecp_seed0", other)
    second = run("dynunet_mbls_seed0", other | {"networks::dynunet::filters": [4, 8]})
    assert "networks::dynunet::filters::0 (8, now 4)" in refusal(unet, first, second)


def test_network_that_is_no_entry_of_the_menu_is_compared(run):
    """By its definition."""
    first, second = (
        run(f"MyNet_nacl_seed{n}", {"network_def": {"_target_": "my.MyNet", "width": n}})
        for n in (0, 1)
    )

    assert "network_def::width (0, now 1)" in refusal(first, second)


def test_file_of_first_weights_may_be_in_another_place(run):
    """Its name counts."""
    files = ("/data/weights.pt", "/home/weights.pt", "/data/others.pt")
    first, same, other = (
        run(f"unet_nacl_seed{n}", {"pretrained": file}) for n, file in enumerate(files)
    )

    check_trained_alike(first | same)
    assert "pretrained (weights.pt, now others.pt)" in refusal(first, other)


def test_slices_and_patches_are_not_compared(run):
    """They are trained differently; two on patches are compared."""
    patches = {"dims": 3, "learning_rate": 0.01}
    first, second = (
        run(f"unet3d_{loss}_seed0", patches | {"patch": patch})
        for loss, patch in (("nacl", [48, 64, 48]), ("svls", [32, 32, 32]))
    )

    check_trained_alike(run("unet_nacl_seed0") | first)
    assert "window::0 (48, now 32)" in refusal(first, second)


def test_datasets_are_not_compared(run):
    """Each may have a protocol of its own."""
    first, second = run("unet_nacl_seed0"), run("unet_nacl_seed1", {"learning_rate": 0.01})

    check_trained_alike(first | {replace(one, dataset="kits"): at for one, at in second.items()})


def test_no_expression_of_a_record_is_evaluated(run, tmp_path):
    """It may be somebody else's; it is compared as it is written."""
    code = f"$open({str(tmp_path / 'made')!r}, 'w')"
    first, second = (run(f"unet_nacl_seed{n}", {"precision": code}) for n in (0, 1))

    check_trained_alike(first | second)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("damage", [5, "@", [], None])
def test_record_of_odd_values_ends_in_no_traceback(run, damage):
    """It is compared as far as it goes."""
    odd = dict.fromkeys(("dims", "network_def", "networks", "train", "window"), damage)
    check_trained_alike(run("unet_nacl_seed0", without=odd) | run("unet_svls_seed0", odd))


def test_keys_are_those_of_today_s_configuration():
    """One that is called otherwise by now would be compared no more."""
    files = map(Path.read_text, fragments("acdc", "train"))
    config = reduce(or_, map(yaml.safe_load, files))

    for key in SHARED:
        reduce(getitem, key.split("::"), config)
