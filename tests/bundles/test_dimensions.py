"""Words that would have no effect in the number of dimensions that is trained are refused."""

import pytest

from nacl_monai.bundles import overrides as dimensions
from nacl_monai.bundles.overrides import check_dims
from nacl_monai.errors import SettingError


@pytest.fixture
def check(monkeypatch):
    """`check_dims` as a configuration calls it, after a command with some overrides."""

    def run(dims, *keys, preprocessing=("@to_ras",)):
        monkeypatch.setattr(dimensions, "given_overrides", lambda: dict.fromkeys(keys))
        config = {"preprocessing": list(preprocessing), "cropping": []}
        monkeypatch.setattr(dimensions, "running_parser", lambda: config)
        check_dims(dims)

    return run


@pytest.mark.parametrize("key", ["patch", "patch::0", "patches_per_volume", "class_centered"])
def test_words_of_patches_need_three_dimensions(check, key):
    """They are refused where slices are trained on."""
    check(3, key, "seed")
    with pytest.raises(
        SettingError, match=f"^--{key.partition(':')[0]}: is of patches; add --dims 3"
    ):
        check(2, "seed", key)


@pytest.mark.parametrize("key", ["spatial_size", "discard_empty_slices"])
def test_words_of_slices_need_two_dimensions(check, key):
    """They are refused where patches are trained on."""
    check(2, key)
    with pytest.raises(
        SettingError, match=f"^--{key}: is of slices, and --dims 3 trains on patches"
    ):
        check(3, key)


def test_size_to_which_volumes_are_brought_is_of_both(check):
    """As where a dataset's slices are resized before patches are cut."""
    resize = {"_target_": "Resized", "spatial_size": "$[*@spatial_size, -1]"}
    check(3, "spatial_size", preprocessing=["@to_ras", resize])


def test_run_without_a_command_is_not_checked(monkeypatch):
    """As from Python, where nothing says what was overridden."""
    monkeypatch.setattr(dimensions, "given_overrides", lambda: None)
    check_dims(2)
