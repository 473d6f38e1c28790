"""What inference takes for an image."""

from pathlib import Path

import numpy as np
import pytest

from nacl_monai.inference import find_cases
from nacl_monai.inference.maps import map_image, write_nifti
from tests.conftest import save_nifti


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("a/x.nii.gz", ["a/x.nii.gz"]),
        ("a/notes.txt", ["a/notes.txt"]),
        ("a", ["a/x.nii.gz", "a/y.z.nii"]),
        ("a/", ["a/x.nii.gz", "a/y.z.nii"]),
        ("./a/x.nii.gz", ["a/x.nii.gz"]),
        ("./a//y*", ["a/y.z.nii"]),
        ("./series/", ["series"]),
        ("*/x.nii.gz", ["a/x.nii.gz", "b [1]/x.nii.gz"]),
        ("*", ["a/x.nii.gz", "a/y.z.nii", "b [1]/x.nii.gz", "series"]),
        ("b [1]", ["b [1]/x.nii.gz"]),
        ("b [[]1]/x.nii*", ["b [1]/x.nii.gz"]),
        ("series", ["series"]),
        ("se*", ["series"]),
    ],
)
def test_file_folder_pattern_and_series_are_images(files, images, expected):
    """In alphabetical order; hidden and other files in a folder of images are none."""
    files("a/y.z.nii", "a/x.nii.gz", "a/notes.txt", "a/._x.nii.gz", "b [1]/x.nii.gz")
    files("series/1.dcm", "series/sub/2.dcm")

    assert find_cases(images, [""]) == [{"image": [file]} for file in expected]


def test_absolute_pattern_is_followed(files, tmp_path):
    """Wherever the process runs."""
    files("a/x.nii")

    assert find_cases(f"{tmp_path}/?/*.nii", [""]) == [{"image": [f"{tmp_path}/a/x.nii"]}]


@pytest.mark.parametrize(
    "images", ["case", "case/p_t1.nii.gz", "case/p_flair.nii.gz", "*", "case/*", "case/*_t1.nii*"]
)
def test_any_modality_stands_for_all(files, images):
    """The files of a case are in the order of the modalities, not of the alphabet."""
    files("case/p_t1.nii.gz", "case/p_flair.nii.gz")

    cases = find_cases(images, ["t1", "flair"])

    assert cases == [{"image": ["case/p_t1.nii.gz", "case/p_flair.nii.gz"]}]


@pytest.mark.parametrize("lacking", ["t1", "flair"])
def test_case_that_lacks_a_file_is_a_case(files, lacking):
    """Even the first modality, so that reading names the file instead of passing the case over."""
    all_files = {name: f"case/q_{name}.nii" for name in ("t1", "flair")}
    files("case/p_t1.nii", "case/p_flair.nii", *({*all_files.values()} - {all_files[lacking]}))

    cases = find_cases("case", ["t1", "flair"])

    assert {"image": [*all_files.values()]} in cases
    assert len(cases) == 2


@pytest.mark.parametrize("modalities", [["t1", "ct1"], ["", "_gd"]])
def test_modality_that_ends_like_another_is_told_apart(files, modalities):
    """The longest that the name of a file ends with is its modality."""
    expected = [f"case/p{name}.nii" for name in modalities]
    files(*expected)

    assert find_cases("case", modalities) == [{"image": expected}]


def test_modality_is_replaced_at_the_end_of_the_name_only(files):
    """Folders and patients may be called like a modality."""
    files("t1.nii/t1.nii_t1.nii", "t1.nii/t1.nii_t2.nii")

    cases = find_cases("t1.nii/t1.nii_t1.nii", ["t1", "t2"])

    assert cases == [{"image": ["t1.nii/t1.nii_t1.nii", "t1.nii/t1.nii_t2.nii"]}]


def test_file_of_no_modality_is_an_image_with_all_channels(files):
    """So one file may hold what the dataset has in several."""
    files("all.nii.gz")

    assert find_cases("all.nii.gz", ["t1", "t2"]) == [{"image": ["all.nii.gz"]}]


def test_folder_of_images_with_all_channels_is_no_series(files):
    """Unless one is of a modality; then the others may be label maps."""
    files("case/b.nii", "case/a.nii.gz", "case/notes.txt", "case/.c.nii")
    both = [{"image": ["case/a.nii.gz"]}, {"image": ["case/b.nii"]}]
    assert find_cases("case", ["_t1", "_flair"]) == both

    files("case/b_t1.nii")
    of_modality = [{"image": ["case/b_t1.nii", "case/b_flair.nii"]}]
    assert find_cases("case", ["_t1", "_flair"]) == of_modality


def test_modality_with_wildcards_is_taken_literally(files):
    """A bracket in its name is a bracket in the names of files."""
    files("case/x_t[1].nii", "case/x_t1.nii")

    assert find_cases("case", ["t[1]"]) == [{"image": ["case/x_t[1].nii"]}]


@pytest.mark.parametrize("images", [None, ""])
def test_no_images_are_named(refusal, images):
    """The line says which key to set."""
    assert refusal(find_cases, images, [""]) == (
        "images: not set; name a file, a folder or a pattern: --images IMAGE.nii.gz"
    )


@pytest.mark.parametrize("images", ["nowhere", "nowhere/*.nii", "empty", "folders"])
def test_nothing_is_there(files, refusal, images):
    """A folder that holds only folders is not a case either."""
    files("folders/a/x.nii")
    Path("empty").mkdir()

    assert refusal(find_cases, images, [""]).startswith(f"{images}: no image found there; ")


@pytest.mark.parametrize("images", ["case", "case/*", "*"])
def test_endings_are_read_in_either_case(files, images):
    """Other systems write .NII.GZ; modalities keep their spelling, and may be compressed or not."""
    files("case/p_t1.NII.GZ", "case/p_flair.NII.GZ", "case/q_t1.Nii", "case/P_T1.nii.old")
    files("case/r_t1.mha", "case/r_flair.mha")

    cases = find_cases(images, ["t1", "flair"])

    assert {"image": ["case/p_t1.NII.GZ", "case/p_flair.NII.GZ"]} in cases
    assert {"image": ["case/q_t1.Nii", "case/q_flair.Nii"]} in cases
    assert {"image": ["case/r_t1.mha", "case/r_flair.mha"]} in cases


@pytest.fixture
def with_maps(tmp_path, monkeypatch):
    """An image, its maps and a label by hand, all in one folder."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    voxels = np.zeros((4, 4, 4), np.uint8)
    for name in ("x", "x_label", "hand_label"):
        save_nifti(voxels, Path(f"in/{name}.nii.gz"))
    for name in ("label", "entropy"):
        write_nifti(map_image(voxels, name, "in/x.nii.gz", np.eye(4)), Path(f"in/x_{name}.nii.gz"))


@pytest.mark.usefixtures("with_maps")
@pytest.mark.parametrize("images", ["in", "in/*", "in/*.nii.gz", "*"])
def test_maps_among_the_images_are_none(images):
    """A second command on the same folder takes what the first one took, whatever the names say."""
    found = [case["image"] for case in find_cases(images, [""])]

    assert found == [["in/hand_label.nii.gz"], ["in/x.nii.gz"]]


@pytest.mark.usefixtures("with_maps")
def test_map_that_is_named_is_an_image():
    """Whoever names a file means it."""
    assert find_cases("in/x_label.nii.gz", [""]) == [{"image": ["in/x_label.nii.gz"]}]


def test_modalities_that_are_alike_are_refused(files, refusal):
    """One file would be all channels of its case."""
    files("t1/x.nii.gz", "t2/x.nii.gz")

    assert refusal(find_cases, "t1", ["", ""]) == (
        "modalities: '', '' do not tell files apart; write what the name of each ends with"
    )
