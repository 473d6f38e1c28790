"""Whom a training saw stays in the set in which it saw them."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.runtime import check_sets, keep_data
from tests.runtime.test_run_folder import data_of


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
    check_sets(tmp_path / "model.pt", data_of(tmp_path / "data"))
