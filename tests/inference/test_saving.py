"""What inference saves, under which names, and what it leaves alone."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from nacl_monai.inference import SaveMaps
from nacl_monai.inference.label_tables import label_tables
from nacl_monai.inference.maps import entropy_map
from tests.conftest import save_nifti

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
NAMES = ("probabilities", "label", "confidence", "entropy")


def probabilities(file, shape=(4, 5, 6)):
    """Those of two classes, as the network and the inversion return them."""
    one = torch.rand(1, *shape)
    meta = {"filename_or_obj": str(file)}
    return MetaTensor(torch.cat([one, 1 - one]), affine=torch.tensor(AFFINE), meta=meta)


def save(output, *files):
    """Saves the maps of every file; returns the probabilities."""
    save_maps = SaveMaps(output, [{"image": [str(file)]} for file in files])
    maps = [probabilities(file) for file in files]
    for probs in maps:
        saved = save_maps({"pred": probs, "image": 0})
        assert saved["pred"] is probs
        assert all(file.is_file() for file in saved["files"])
    return maps


def test_four_maps_are_on_the_grid_of_the_probabilities(tmp_path):
    """The label as bytes, the others as float32."""
    (probs,) = save(tmp_path / "out", tmp_path / "x.nii.gz")

    stored = {path.name: nibabel.load(path) for path in (tmp_path / "out").iterdir()}
    assert stored.keys() == {f"x_{name}.nii.gz" for name in NAMES}
    for file in stored.values():
        np.testing.assert_allclose(file.affine, AFFINE)
        assert file.shape[:3] == (4, 5, 6)
    types = {name: stored[f"x_{name}.nii.gz"].get_data_dtype() for name in NAMES}
    assert types == {**dict.fromkeys(NAMES, np.float32), "label": np.uint8}
    for name, expected in {
        "label": probs.argmax(dim=0),
        "probabilities": probs.movedim(0, -1),
        "confidence": probs.amax(dim=0),
        "entropy": entropy_map(probs)[0],
    }.items():
        np.testing.assert_array_equal(stored[f"x_{name}.nii.gz"].get_fdata(), expected)


def test_label_of_a_nifti_file_is_stored_in_bytes(tmp_path):
    """Whatever type the image has."""
    save_nifti(np.ones((4, 5, 6), np.int16), tmp_path / "x.nii.gz", AFFINE)

    save(tmp_path / "out", tmp_path / "x.nii.gz")

    types = {
        name: nibabel.load(tmp_path / f"out/x_{name}.nii.gz").get_data_dtype() for name in NAMES
    }
    assert types == {**dict.fromkeys(NAMES, np.float32), "label": np.uint8}


def labels(folder):
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*_label.nii.gz"))
    return {name.removesuffix("_label.nii.gz") for name in found}


def test_equal_names_in_several_folders_stay_apart(tmp_path):
    """The folders below the one that all cases share are kept."""
    save(tmp_path / "out", tmp_path / "in/a/x.nii.gz", tmp_path / "in/b/c/x.nii.gz")

    assert labels(tmp_path / "out") == {"a/x", "b/c/x"}


def test_relative_paths_are_as_good_as_absolute_ones(tmp_path, monkeypatch):
    """The folder that all cases share is found in either."""
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")

    save("../out", "x.nii", "../in/a/y.nii")

    assert labels(tmp_path / "out") == {"x", "a/y"}


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("x.y.nii.gz", "x.y"),
        ("x.nii", "x"),
        ("X.NII.GZ", "X"),
        ("x.Nii", "x"),
        ("x.nii.mha", "x.nii"),
        ("1.2.840.113", "1.2.840.113"),
    ],
)
def test_names_keep_their_dots(tmp_path, name, stem):
    """What follows the last dot of a series' folder is part of its name."""
    if name.startswith("1"):
        (tmp_path / name).mkdir()

    save(tmp_path / "out", tmp_path / name)

    assert labels(tmp_path / "out") == {stem}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["p.nii", "p.nii.gz", "q.nii"], {"p.nii", "p.nii.gz", "q"}),
        (["p.NII.GZ", "p.nii.gz"], {"p.NII.GZ", "p.nii.gz"}),
        (["p.nii", "p.mha"], {"p.nii", "p.mha"}),
        (["a/p.nii", "b/p.nii.gz"], {"a/p", "b/p"}),
    ],
)
def test_names_that_differ_in_their_ending_keep_it(tmp_path, names, expected):
    """So that neither overwrites the other's maps."""
    save(tmp_path / "out", *(tmp_path / "in" / name for name in names))

    assert labels(tmp_path / "out") == expected


def test_same_file_twice_is_one_name(tmp_path, monkeypatch):
    """However its path is written."""
    monkeypatch.chdir(tmp_path)

    save("out", "x.nii", "a/../x.nii")

    assert labels(tmp_path / "out") == {"x"}


def test_names_that_cannot_be_told_apart_are_refused(tmp_path, refusal):
    """Before the first is written."""
    names = ("/in/p.nii", "/in/p.nii.gz", "/in/p.nii.nii")
    cases = [{"image": [name]} for name in names]

    line = refusal(SaveMaps, tmp_path / "out", cases)

    assert line == "/in/p.nii and /in/p.nii.nii: their maps would have the same names; rename one"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_probabilities_that_are_no_numbers_are_not_written(tmp_path, refusal, value):
    """One voxel is enough."""
    file = str(tmp_path / "x.nii")
    probs = probabilities(file)
    probs[1, 2, 3, 4] = value

    line = refusal(SaveMaps(tmp_path / "out", [{"image": [file]}]), {"pred": probs})

    assert line == f"{file}: the network finds no probabilities for it, but NaN; leave it out"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", NAMES)
def test_file_that_is_no_map_is_not_replaced(tmp_path, refusal, name):
    """A label that was drawn by hand may be beside its image, under the name of a map."""
    file = str(tmp_path / "x.nii.gz")
    by_hand = tmp_path / f"x_{name}.nii.gz"
    save_nifti(np.ones((4, 5, 6), np.uint8), by_hand)
    before = by_hand.read_bytes()

    save_maps = SaveMaps(tmp_path, [{"image": [file]}])
    line = refusal(save_maps, {"pred": probabilities(file)})

    assert line == f"{by_hand}: is there, and no map of inference; choose another --output_dir"
    assert by_hand.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [by_hand.name]


def test_maps_of_an_earlier_command_are_replaced(tmp_path):
    """All four."""
    save(tmp_path, tmp_path / "x.nii.gz")
    (probs,) = save(tmp_path, tmp_path / "x.nii.gz")

    stored = nibabel.load(tmp_path / "x_probabilities.nii.gz").get_fdata()
    np.testing.assert_array_equal(stored, probs.movedim(0, -1))


def test_full_disk_is_one_line(small_disk, refusal):
    """And leaves no half of a file."""
    file = str(small_disk / "x.nii.gz")
    save_maps = SaveMaps(small_disk / "out", [{"image": [file]}])

    line = refusal(save_maps, {"pred": probabilities(file, (64, 64, 64))})

    assert line.endswith(
        "_probabilities.nii.gz: cannot be written (No space left on device); "
        "choose another --output_dir"
    )
    assert list((small_disk / "out").iterdir()) == []


def test_folder_that_cannot_be_made_is_one_line(tmp_path, refusal):
    """Where a file has its name, say."""
    (tmp_path / "out").touch()
    file = str(tmp_path / "x.nii.gz")

    line = refusal(SaveMaps(tmp_path / "out", [{"image": [file]}]), {"pred": probabilities(file)})

    assert "out/x_probabilities.nii.gz: cannot be written (" in line


@pytest.mark.parametrize("map_number", range(len(NAMES)))
def test_command_that_is_killed_within_a_case_leaves_the_maps_before(
    tmp_path, monkeypatch, map_number
):
    """Not some of them beside some of its own; nothing stays aside."""
    save(tmp_path, Path("x.nii"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    synced = []

    def kill(handle):
        synced.append(handle)
        if len(synced) > map_number:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", kill)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, Path("x.nii"))

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_folder_has_the_names_of_the_classes_once(tmp_path, refusal):
    """Beside the maps; a folder with those of other classes is refused before anything is segmented."""
    file = str(tmp_path / "x.nii.gz")
    output, cases = tmp_path / "out", [{"image": [file]}]
    for _ in range(2):
        SaveMaps(output, cases, ["background", "heart"])({"pred": probabilities(file)})

    tables = {path.name: path.read_text() for path in output.iterdir() if "labels" in path.name}
    assert tables == label_tables({0: "background", 1: "heart"})

    line = refusal(SaveMaps, output, cases, ["background", "lung"])
    assert (
        line
        == f"{output}/labels.txt: is there, and names other classes; choose another --output_dir"
    )
    assert {name: (output / name).read_text() for name in tables} == tables


def test_viewers_know_what_a_map_is(tmp_path):
    """The label map is one of labels, and the others are shown from 0 to 1."""
    save(tmp_path, tmp_path / "x.nii.gz")

    headers = {name: nibabel.load(tmp_path / f"x_{name}.nii.gz").header for name in NAMES}
    assert {name: header.get_intent()[0] == "label" for name, header in headers.items()} == {
        **dict.fromkeys(NAMES, False),
        "label": True,
    }
    for name in set(NAMES) - {"label"}:
        assert (headers[name]["cal_min"], headers[name]["cal_max"]) == (0, 1)
