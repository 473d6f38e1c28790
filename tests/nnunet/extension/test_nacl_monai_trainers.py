"""nnU-Net's own finder finds the trainers."""

import pickle

import pytest

from nacl_monai import nnunet
from nacl_monai.nnunet import TRAINERS, trainers_folder


@pytest.fixture
def find(monkeypatch):
    """nnU-Net's function, told of our folder alone."""
    pytest.importorskip("nnunetv2")
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    monkeypatch.setenv("nnUNet_extTrainer", str(trainers_folder()))
    return recursive_find_trainer_class_by_name


@pytest.mark.parametrize("name", TRAINERS)
def test_nnunet_finds_every_trainer(find, name, capsys):
    """In our folder: none is called like one of nnU-Net's own, which it would prefer."""
    found = find(name)

    assert found is getattr(nnunet, name)
    assert found.__name__ == name
    assert f"Using trainer '{name}' from: {trainers_folder()}" in capsys.readouterr().out


def test_without_the_variable_nnunet_says_what_is_missing(find, monkeypatch):
    """Its own message names the trainer and the variable."""
    monkeypatch.delenv("nnUNet_extTrainer")

    with pytest.raises(RuntimeError, match=r"trainer nnUNetTrainerDiceNACL .*`nnUNet_extTrainer`"):
        find("nnUNetTrainerDiceNACL")


def test_a_class_is_found_again_where_it_says(find):
    """As by pickle, in another process."""
    found = find("nnUNetTrainerDiceNACL")

    assert pickle.loads(pickle.dumps(found)) is found


def test_other_names_are_left_to_other_folders(find):
    """As if this one were not there."""
    with pytest.raises(RuntimeError, match="Could not find"):
        find("nnUNetTrainerOther")
