"""Folders are looked for in order, and files are paired by their names."""

from pathlib import Path

import pytest

from nacl_monai.data.cases import existing_folder, folders_in_first, other_layout, pair_by_name
from nacl_monai.errors import InputError


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
