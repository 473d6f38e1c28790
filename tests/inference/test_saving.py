"""Maps are functions of the probabilities, on the grid of their image, under names that stay apart."""

import os
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from matplotlib.colors import to_rgb
from monai.data import MetaTensor
from scipy.stats import entropy

from nacl_monai.inference import SaveMaps
from nacl_monai.inference.maps import (
    entropy_map,
    is_map,
    label_tables,
    map_image,
    write_nifti,
    write_together,
)
from nacl_monai.reports.style import class_color
from tests.conftest import save_nifti
from tests.inference.conftest import AFFINE, TURNED
from tests.same import same_bits

PROBS = torch.tensor([[0.2, 0.5, 1.0], [0.7, 0.5, 0.0], [0.1, 0.0, 0.0]])


def test_entropy_is_that_of_scipy_as_a_share_of_the_largest():
    """0 for a certain voxel, however many classes there are."""
    expected = entropy(PROBS.numpy(), axis=0) / np.log(3)

    np.testing.assert_allclose(entropy_map(PROBS)[0], expected, atol=1e-6)


CLASSES = {0: "background", 1: "RV", 2: 'the "left" one', **{k: f"c{k}" for k in range(3, 10)}}


def test_colors_are_those_of_the_figures():
    """Which this package, copied into bundles, cannot import; more classes than colors begin anew."""
    rows = label_tables(CLASSES)["labels.ctbl"].splitlines()[2:]

    for value, row in enumerate(rows):
        expected = [round(255 * part) for part in to_rgb(class_color(value))]
        assert [int(part) for part in row.split()[2:5]] == expected


def test_both_files_have_every_value_with_its_name():
    """Slicer's names have no blanks, ITK-SNAP's no quotes; the background alone is invisible."""
    tables = label_tables(CLASSES)
    slicer = [line.split() for line in tables["labels.ctbl"].splitlines()[2:]]
    snap = re.findall(
        r'^\s*(\d+)(?:\s+\d+){3}\s+(\d)\s+\d\s+\d\s+"([^"]*)"$', tables["labels.txt"], re.MULTILINE
    )

    assert [int(row[0]) for row in slicer] == [int(row[0]) for row in snap] == list(CLASSES)
    assert [row[1] for row in slicer][:3] == ["background", "RV", "the_'left'_one"]
    assert [row[2] for row in snap][:3] == ["background", "RV", "the 'left' one"]
    assert [int(row[5]) for row in slicer] == [0, *[255] * 9]
    assert [int(row[1]) for row in snap] == [0, *[1] * 9]


SHAPE = (3, 4, 5)
VOXELS = np.arange(60, dtype=np.float32).reshape(SHAPE)
SHEARED = np.array([[2, 1, 0, 11], [0, 3, 0.5, -7], [0, 0, 4, 5], [0, 0, 0, 1]], float)


HEADERS = {  # forms with their codes, and other fields
    "plain": {"sform": (TURNED, 1)},
    "sform alone": {"sform": (TURNED, 2), "qform": (None, 0)},
    "qform alone": {"sform": (None, 0), "qform": (TURNED, 3)},
    "neither": {"pixdim": (1, 2, 3, 4, 1, 1, 1, 1), "sform": (None, 0), "qform": (None, 0)},
    "disagreeing": {"sform": (np.diag([2.0, 3, 4, 1]), 1), "qform": (TURNED, 1)},
    "sheared": {"sform": (SHEARED, 1)},
    "other voxel sizes": {"sform": (TURNED, 1), "pixdim": (1, 9, 9, 9, 1, 1, 1, 1)},
    "microns and seconds": {"sform": (TURNED * 1000, 1), "xyzt_units": 3 + 8},
    "meters": {"qform": (TURNED, 1), "xyzt_units": 1},
    "scaled": {"scl_slope": 2, "scl_inter": -5, "cal_max": 1000},
}


def set_header(image, **changes):
    for name, value in changes.items():
        if name.endswith("form"):
            getattr(image, f"set_{name}")(*value)
        else:
            image.header[name] = value


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 2)])
@pytest.mark.parametrize("change", HEADERS)
def test_map_lies_where_the_image_lies(tmp_path, change, shape, kind):
    """By either form, in any unit, for nibabel and for ITK; the voxels are what was to be saved."""
    image = kind(np.ones((*SHAPE, 2), np.int16), TURNED)
    set_header(image, **HEADERS[change])
    nibabel.save(image, tmp_path / "x.nii.gz")
    voxels = np.random.default_rng(0).random(shape).astype(np.float32)

    write_nifti(map_image(voxels, "y", tmp_path / "x.nii.gz", np.eye(4)), tmp_path / "y.nii.gz")

    before, after = (nibabel.load(tmp_path / name) for name in ("x.nii.gz", "y.nii.gz"))
    same_bits(after.affine, before.affine, "it is copied")
    for form in ("get_sform", "get_qform"):
        old, new = (dict(enumerate(getattr(file, form)(coded=True))) for file in (before, after))
        same_bits(new, old, "they are copied")
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    same_bits(after.header.get_zooms()[:3], before.header.get_zooms()[:3], "they are copied")
    same_bits(after.get_fdata(dtype=np.float32), voxels, "they are read back")
    assert after.header["cal_max"] == 1  # of a map, and not that of the image
    if change != "sheared" and kind is nibabel.Nifti1Image:  # ITK does not read others
        old, new = (dict(enumerate(itk_grid(tmp_path / f"{name}.nii.gz"))) for name in "xy")
        same_bits(new, old, "they are copied")


def itk_grid(file):
    """Origin, spacing and directions of the axes of space."""
    image = SimpleITK.ReadImage(str(file))
    directions = np.reshape(image.GetDirection(), (image.GetDimension(), -1))
    return image.GetOrigin()[:3], image.GetSpacing()[:3], directions[:3, :3]


@pytest.mark.parametrize(("affine", "code"), [(TURNED, 1), (SHEARED, 0)])
def test_map_of_another_format_has_the_affine(tmp_path, affine, code):
    """By sform, and by qform too where a quaternion can say it."""
    (tmp_path / "x.mha").write_text("of another format")
    for file in (tmp_path, tmp_path / "x.mha"):
        write_nifti(map_image(VOXELS, "y", file, affine), tmp_path / "y.nii.gz")

        stored = nibabel.load(tmp_path / "y.nii.gz")
        np.testing.assert_allclose(stored.affine, affine, atol=1e-6)
        assert (stored.header["sform_code"], stored.header["qform_code"]) == (1, code)
        if code:
            np.testing.assert_allclose(stored.get_qform(), affine, atol=1e-5)


def test_map_is_known_as_one(tmp_path):
    """By its header, and not by its name; nothing else is one."""
    save_nifti(VOXELS, tmp_path / "x.nii.gz")
    write_nifti(map_image(VOXELS, "label", tmp_path / "x.nii.gz", np.eye(4)), tmp_path / "y.nii.gz")
    (tmp_path / "text.nii.gz").write_text("no image")
    (tmp_path / "empty.nii").touch()

    assert is_map(tmp_path / "y.nii.gz")
    for name in ("x.nii.gz", "text.nii.gz", "empty.nii", "nowhere.nii", "."):
        assert not is_map(tmp_path / name), name


def test_equal_maps_are_equal_files(tmp_path):
    """Neither the time nor the name is in them."""
    image = map_image(VOXELS, "label", tmp_path, TURNED)
    for name in ("a", "b"):
        write_nifti(image, tmp_path / f"{name}.nii.gz")

    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    """Those of the same file alone."""
    for name in (".y.nii.gz.123", ".y.nii.gz.4567", ".z.nii.gz.123"):
        (tmp_path / name).touch()

    write_nifti(map_image(VOXELS, "label", tmp_path, TURNED), tmp_path / "y.nii.gz")

    assert {path.name for path in tmp_path.iterdir()} == {"y.nii.gz", ".z.nii.gz.123"}


@pytest.mark.parametrize("renamed", range(3))
def test_files_of_two_attempts_are_never_beside_each_other(tmp_path, monkeypatch, renamed):
    """Even if the process is killed while the files take their names."""
    paths = [tmp_path / name for name in "abc"]
    write_together({path: lambda file: file.write(b"old") for path in paths})
    replace = Path.replace
    left = iter(range(renamed))

    def kill(path, target):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        write_together({path: lambda file: file.write(b"new") for path in paths})

    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"new"] * renamed


NAMES = ("probabilities", "label", "confidence", "entropy")


def probabilities(file, shape=(4, 5, 6)):
    """Those of two classes, as the network and the inversion return them."""
    inside = torch.rand(1, *shape)
    meta = {"filename_or_obj": str(file)}
    return MetaTensor(torch.cat([inside, 1 - inside]), affine=torch.tensor(AFFINE), meta=meta)


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
        np.testing.assert_allclose(stored[f"x_{name}.nii.gz"].get_fdata(), expected)


def labels(folder):
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*_label.nii.gz"))
    return {name.removesuffix("_label.nii.gz") for name in found}


def test_names_keep_their_dots(tmp_path):
    """What follows the last dot of a series' folder is part of its name."""
    series = tmp_path / "1.2.840.113"
    series.mkdir()
    names = ("x.y.nii.gz", "a.nii", "B.NII.GZ", "c.Nii", "d.nii.mha")
    save(tmp_path / "out", series, *(tmp_path / name for name in names))

    assert labels(tmp_path / "out") == {"1.2.840.113", "x.y", "a", "B", "c", "d.nii"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["p.nii", "p.nii.gz", "q.nii"], {"p.nii", "p.nii.gz", "q"}),
        (["p.NII.GZ", "p.nii.gz"], {"p.NII.GZ", "p.nii.gz"}),
        (["p.nii", "p.mha"], {"p.nii", "p.mha"}),
        (["a/p.nii", "b/c/p.nii.gz"], {"a/p", "b/c/p"}),  # whose folders tell them apart
        (["a/p.nii", "b/p.nii"], {"a/p", "b/p"}),
    ],
)
def test_names_that_differ_in_their_ending_keep_it(tmp_path, names, expected):
    """So that neither overwrites the other's maps."""
    save(tmp_path / "out", *(tmp_path / "in" / name for name in names))

    assert labels(tmp_path / "out") == expected


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

    assert line == f"{file}: the network returns NaN for it; leave it out"
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
    other = "is there, and names other classes; choose another --output_dir"
    assert line == f"{output}/labels.txt: {other}"
    assert {name: (output / name).read_text() for name in tables} == tables


def test_viewers_know_what_a_map_is(tmp_path):
    """The label map is one of labels, and the others are shown from 0 to 1."""
    save(tmp_path, tmp_path / "x.nii.gz")

    headers = {name: nibabel.load(tmp_path / f"x_{name}.nii.gz").header for name in NAMES}
    assert [name for name in NAMES if headers[name].get_intent()[0] == "label"] == ["label"]
    for name in set(NAMES) - {"label"}:
        assert (headers[name]["cal_min"], headers[name]["cal_max"]) == (0, 1)
