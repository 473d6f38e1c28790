"""A name that says something else than what was trained is told from one that does not."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.paper.grid import read_name
from nacl_monai.paper.trained import check_name, unlike_name

TRAINED = {
    "loss": "@losses::nacl",
    "losses": {"nacl": {"_target_": "nacl_monai.losses.NACLLoss", "penalty_weight": 0.1}},
    "network_def": "@networks::unet",
    "dims": 2,
    "train_fraction": 1.0,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("unet_nacl_seed0", {}),
        ("unet_nacl_seed0", {"fold": 0}),
        ("unet_nacl_fold=2_seed0", {"fold": 2}),
        ("unet3d_nacl_seed0", {"dims": 3}),
        ("unet_nacl_penalty_weight=0.3_seed0", {"losses": {"nacl": {"penalty_weight": 0.3}}}),
        ("unet_nacl_max_epochs=5_seed0", {"max_epochs": 5}),
        ("unet_nacl_width_mm=2_seed0", {"losses": {"nacl": {"width_mm": 2}}}),
        ("unet_nacl_seed0", {"losses": {"nacl": {"ignore_index": "@ignore_index"}}}),
        ("unet_nacl_seed0", {"losses": {"svls": {"class_weights": [1, 2]}}}),
    ],
)
def test_name_that_says_what_was_trained_is_like_it(name, changes):
    """Whatever else the configuration holds, or lacks."""
    experiment = read_name("acdc", name)

    assert unlike_name(experiment, TRAINED | changes) == []
    assert unlike_name(experiment, changes) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "@losses::dice_ce"}, "loss (nacl, now dice_ce)"),
        ({"network_def": "@networks::dynunet"}, "network (unet, now dynunet)"),
        ({"dims": 3}, "network (unet, now unet3d)"),
        ({"seed": 1}, "seed (0, now 1)"),
        ({"fold": 2}, "fold (0, now 2)"),
        ({"train_fraction": 0.5}, "train_fraction (1.0, now 0.5)"),
        ({"losses": {"nacl": {"penalty_weight": 0.3}}}, "penalty_weight (0.1, now 0.3)"),
        ({"losses": {"nacl": {"class_weights": [1, 2]}}}, "class_weights (not set, now [1, 2])"),
        ({"losses": {"nacl": {"ignore_index": 3}}}, "ignore_index (not set, now 3)"),
    ],
)
def test_training_that_its_name_does_not_say_is_unlike_it(changes, said):
    """A setting that was given behind the command has no place in the name that it chooses."""
    assert unlike_name(read_name("acdc", "unet_nacl_seed0"), TRAINED | changes) == [said]


def test_damaged_configuration_is_one_line(tmp_path):
    """Where none was kept, nothing is compared."""
    experiment = read_name("acdc", "unet_nacl_seed0")
    check_name(tmp_path, experiment)
    (tmp_path / "config.json").write_text('{"seed": ')

    with pytest.raises(InputError, match=r"config\.json: is damaged"):
        check_name(tmp_path, experiment)
