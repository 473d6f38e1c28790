"""A case names its files; a case that lacks one is reported and left out."""

from pathlib import Path

import pytest

from nacl_monai.data.cases import image_files, keep_complete, make_case, raise_fault, split_unit
from nacl_monai.errors import InputError


@pytest.fixture
def case(tmp_path):
    """A case of two modalities whose files are there."""
    for name in ("t1", "t2", "seg"):
        (tmp_path / name).touch()
    return make_case("p1_a", [tmp_path / "t1", tmp_path / "t2"], tmp_path / "seg", "p1")


def test_case_holds_its_files_as_text():
    """One image is a text, several are a list; a patient is named only where one is known."""
    assert make_case("p1", Path("a/image"), Path("a/label")) == {
        "case": "p1",
        "image": "a/image",
        "label": "a/label",
    }
    several = make_case("p1_a", (Path("t1"), Path("t2")), Path("label"), "p1")
    assert (several["image"], several["patient"]) == (["t1", "t2"], "p1")


def test_split_follows_the_patient_or_else_the_case():
    """Where nobody knows the patient, each case is a unit of its own."""
    files = Path("image"), Path("label")
    assert split_unit(make_case("p1_a", *files, "p1")) == "p1"
    assert split_unit(make_case("p1_a", *files)) == "p1_a"


def test_images_are_a_list_either_way(case):
    """A single file is a list of one."""
    assert [Path(file).name for file in image_files(case)] == ["t1", "t2"]
    assert image_files({**case, "image": "t1"}) == ["t1"]


def test_complete_case_is_kept(case):
    """Nothing is reported."""
    assert keep_complete([case], raise_fault) == [case]


@pytest.mark.parametrize(
    ("missing", "messages"),
    [
        (["t2"], ["t2: missing image; unpack the dataset again"]),
        (
            ["t1", "t2"],
            [
                "t1: missing image; unpack the dataset again",
                "t2: missing image; unpack the dataset again",
            ],
        ),
        (["seg"], ["t1: has no label; expected it at {}/seg"]),
        (
            ["t2", "seg"],
            [
                "t2: missing image; unpack the dataset again",
                "t1: has no label; expected it at {}/seg",
            ],
        ),
    ],
)
def test_every_missing_file_is_reported_and_the_case_left_out(case, tmp_path, missing, messages):
    """The others are returned all the same; by default the first fault is raised."""
    other = {**case, "image": __file__, "label": __file__}
    for name in missing:
        (tmp_path / name).unlink()
    faults = []

    assert keep_complete([case, other], faults.append) == [other]

    expected = [f"{tmp_path}/{message.format(tmp_path)}" for message in messages]
    assert expected == list(map(str, faults))
    with pytest.raises(InputError, match=expected[0]):
        keep_complete([other, case], raise_fault)
