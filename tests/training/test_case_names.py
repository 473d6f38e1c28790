"""Cases without a name get one, and no two the same."""

from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.training.outputs import case_names


def test_a_file_gives_its_name_without_ending():
    """What begins with a digit is not an ending: a size, or the number of a DICOM series."""
    files = ["/d/brain_01.nii.gz", "/d/lung_1.5mm", "/d/1.2.840.113", "/d/slice.png", "d/x.NII"]

    assert case_names(files) == ["brain_01", "lung_1.5mm", "1.2.840.113", "slice", "x"]


def test_folders_tell_equal_names_apart():
    """As many as it takes, for all cases alike."""
    files = [f"/kits/case_{k:05d}/imaging.nii.gz" for k in range(2)]

    assert case_names(files) == ["case_00000_imaging", "case_00001_imaging"]


def test_cases_of_no_file_are_numbered_by_their_position():
    """With as many digits as the last one has, so that names sort as the cases did."""
    assert case_names([""] * 11)[:2] == ["00", "01"]
    assert case_names(["a.nii", "", "b.nii"]) == ["a", "1", "b"]
    assert case_names([]) == []


@given(st.lists(st.text("ab/_0.", max_size=6), max_size=8))
def test_no_two_are_alike(files):
    """Whatever the files are called, slices of one file among them."""
    names = case_names(files)

    assert len(set(names)) == len(names) == len(files)
    assert all(names)
