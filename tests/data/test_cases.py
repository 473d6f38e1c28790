"""A case names its files; a case that lacks one is reported and left out."""

from pathlib import Path

import pytest

from nacl_monai.data.cases import (
    existing_folder,
    folders_in_first,
    image_files,
    keep_complete,
    make_case,
    other_layout,
    pair_by_name,
    raise_fault,
    split_unit,
)
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


def files(root, *names):
    """Empty files, since only names are looked at."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (None, "dataset_dir is not set; .* --dataset_dir DIR"),
        ("", "dataset_dir is not set; .* --dataset_dir DIR"),
        ("nowhere", "dataset_dir nowhere: no such folder; name"),
        (__file__, "no such folder; name the unpacked dataset"),
    ],
)
def test_folder_must_be_named_and_there(folder, message):
    """No name, a name of nothing, and a file are refused in one line."""
    with pytest.raises(InputError, match=message):
        existing_folder(folder)


def test_existing_folder_is_returned(tmp_path):
    """A folder is a folder by its name as well."""
    assert existing_folder(str(tmp_path)) == existing_folder(tmp_path) == tmp_path


def test_other_layout_says_what_is_missing_and_what_to_name():
    """The line has the folder, the layout and the remedy."""
    error = other_layout(Path("here"), "a layout, no x/ is there", "the folder that holds x/")

    assert str(error) == (
        "dataset_dir here: not a layout, no x/ is there; name the folder that holds x/"
    )


def test_first_place_with_a_match_is_the_only_one(tmp_path):
    """Its folders are sorted; files and hidden folders match nothing, and other places do not count."""
    files(tmp_path, "a/case_file", "a/.case_0/x", "c/case_9/x")
    files(tmp_path, *(f"b/case_{number}/x" for number in (3, 1, 4, 8, 5, 2, 6)))

    found = folders_in_first(tmp_path, ["nowhere", "a", "b", "c"], "*case_*")

    assert found == [tmp_path / f"b/case_{number}" for number in (1, 2, 3, 4, 5, 6, 8)]
    assert folders_in_first(tmp_path, ["a"], "*case_*") == []


def test_name_of_either_folder_is_a_case(tmp_path):
    """Pairs, and what lacks its partner, in order; hidden files and other endings are none."""
    files(tmp_path, "images/b_0.nii.gz", "images/a_0.nii.gz", "images/._a_0.nii.gz")
    files(tmp_path, "images/d_1.nii.gz", "labels/b.nii.gz", "labels/c.nii.gz", "labels/e.txt")

    cases = pair_by_name(tmp_path / "images", "_0.nii.gz", tmp_path / "labels", str.upper)

    assert cases == [
        {
            "case": name,
            "image": str(tmp_path / f"images/{name}_0.nii.gz"),
            "label": str(tmp_path / f"labels/{name}.nii.gz"),
            "patient": name.upper(),
        }
        for name in "abc"
    ]


def test_patient_is_left_out_where_nobody_knows(tmp_path):
    """A case without a patient has no such key."""
    files(tmp_path, "images/a.nii.gz")

    (case,) = pair_by_name(tmp_path / "images", ".nii.gz", tmp_path / "labels", None)

    assert case.keys() == {"case", "image", "label"}


def test_labels_alone_are_no_case(tmp_path):
    """Without an image, the folder is in another layout."""
    files(tmp_path, "labels/a.nii.gz")

    assert pair_by_name(tmp_path / "images", ".nii.gz", tmp_path / "labels", None) == []
