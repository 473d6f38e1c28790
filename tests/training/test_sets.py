"""Whom a training saw stays in the set in which it saw them; what it recorded is what is evaluated."""

import json
import shutil
from pathlib import Path

import pytest

from nacl_monai.errors import InputError
from nacl_monai.training import check_files, check_sets, keep_data
from tests.training.test_run_folder import data_of, read_files


@pytest.mark.parametrize(("seen", "part"), [("a", "train"), ("b", "val")])
def test_case_that_a_training_saw_cannot_be_in_another_set(tmp_path, seen, part):
    """Neither one that it trained on nor one that chose its model."""
    split = data_of(tmp_path / "data")
    keep_data(tmp_path, split)
    split["test"] += split.pop(part)

    with pytest.raises(InputError) as refused:
        check_sets(tmp_path / "model.pt", split)
    assert str(refused.value) == (
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

    with pytest.raises(InputError) as refused:
        check_files(tmp_path / "model.pt", [case])
    assert str(refused.value) == (
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
    """The bytes decide, not where the files are; nobody said what new cases hold."""
    keep_data(tmp_path, data_of(tmp_path / "data"))
    shutil.copytree(tmp_path / "data", tmp_path / "copy")

    check_files(tmp_path / "model.pt", data_of(tmp_path / "copy")["test"])
    check_files(tmp_path / "model.pt", data_of(tmp_path / "more", "xyz", content="y")["test"])


def test_files_that_nothing_has_touched_are_not_read(tmp_path, monkeypatch):
    """An evaluation of many large files begins as soon as before."""
    split = data_of(tmp_path / "data")
    keep_data(tmp_path, split)
    read = read_files(monkeypatch)

    check_files(tmp_path / "model.pt", split["test"])

    assert read == []


@pytest.mark.parametrize("damage", [{"a": 3}, 3, []])
def test_damaged_record_is_one_line(tmp_path, damage):
    """For whatever asks it."""
    split = data_of(tmp_path / "data")
    (tmp_path / "data.json").write_text(json.dumps({"test": damage}))

    for check in (check_sets, lambda file, split: check_files(file, split["test"])):
        with pytest.raises(InputError, match=r"data\.json: is damaged; train anew"):
            check(tmp_path / "model.pt", split)
