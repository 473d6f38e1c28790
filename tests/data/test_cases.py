"""A case names its files; a case that lacks one is reported and left out."""

from pathlib import Path

import pytest

from nacl_monai.data.cases import (
    folders_in_first,
    make_case,
    split_unit,
)


@pytest.fixture
def case(tmp_path):
    """A case of two modalities whose files are there."""
    for name in ("t1", "t2", "seg"):
        (tmp_path / name).touch()
    return make_case("p1_a", [tmp_path / "t1", tmp_path / "t2"], tmp_path / "seg", "p1")


def test_split_follows_the_patient_or_else_the_case():
    """Where nobody knows the patient, each case is a unit of its own."""
    files = Path("image"), Path("label")
    assert split_unit(make_case("p1_a", *files, "p1")) == "p1"
    assert split_unit(make_case("p1_a", *files)) == "p1_a"


def files(root, *names):
    """Empty files, since only names are looked at."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_first_place_with_a_match_is_the_only_one(tmp_path):
    """Its folders are sorted; files and hidden folders match nothing, and other places do not count."""
    files(tmp_path, "a/case_file", "a/.case_0/x", "c/case_9/x")
    files(tmp_path, *(f"b/case_{number}/x" for number in (3, 1, 4, 8, 5, 2, 6)))

    found = folders_in_first(tmp_path, ["nowhere", "a", "b", "c"], "*case_*")

    assert found == [tmp_path / f"b/case_{number}" for number in (1, 2, 3, 4, 5, 6, 8)]
    assert folders_in_first(tmp_path, ["a"], "*case_*") == []


def test_case_holds_its_files_as_text():
    """One image is a text, several are a list; a patient is named only where one is known."""
    assert make_case("p1", Path("a/image"), Path("a/label")) == {
        "case": "p1",
        "image": "a/image",
        "label": "a/label",
    }
    several = make_case("p1_a", (Path("t1"), Path("t2")), Path("label"), "p1")
    assert (several["image"], several["patient"]) == (["t1", "t2"], "p1")
