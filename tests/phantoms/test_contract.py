"""What every phantom keeps to, whatever it shows."""

import json

import nibabel
import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.phantoms import PHANTOMS
from nacl_monai.phantoms import __main__ as command
from tests.phantoms.files import contents, voxels

NAMES = sorted(PHANTOMS)
LABELS = {
    "acdc": {0, 1, 2, 3},
    "brats": {0, 1, 2, 4},
    "flare": {0, 1, 2, 3, 4},
    "hippocampus": {0, 1, 2},
    "kits": {0, 1, 2},
    "mrbrains": set(range(11)),
    "prostate": {0, 1, 2},
}
FULL_SHAPES = {
    "brats": (240, 240, 155),
    "flare": (512, 512, 93),
    "kits": (120, 512, 512),
    "mrbrains": (240, 240, 48),
    "prostate": (320, 320, 20),
}


def described(paths):
    """Paths without macOS's files and the record."""
    return {path for path in paths if "/._" not in path and path != "phantom.json"}


def official_files(name, cases):
    """The files below a dataset's folder, by its documentation."""
    numbers = range(cases)
    if name == "brats":
        grades = {number: "LGG" if number % 3 == 2 else "HGG" for number in range(1, cases + 1)}
        stems = [
            f"{g}/{n}/{n}" for k, g in grades.items() for n in [f"BraTS19_TCIA{k:02d}_{100 + k}_1"]
        ]
        return {
            f"{stem}_{kind}.nii.gz"
            for stem in stems
            for kind in ("flair", "t1", "t1ce", "t2", "seg")
        }
    if name == "flare":
        images = {f"TrainingImg/train_{number:03d}_0000.nii.gz" for number in numbers}
        return images | {f"TrainingMask/train_{number:03d}.nii.gz" for number in numbers}
    if name == "kits":
        images = {f"data/case_{number:05d}/imaging.nii.gz" for number in [*numbers, 210, 211]}
        return images | {f"data/case_{number:05d}/segmentation.nii.gz" for number in numbers}
    if name == "mrbrains":
        files = ("pre/reg_T1", "pre/reg_IR", "pre/FLAIR", "segm")
        ids = ("1", "4", "5", "7", "14", "070", "148")[:cases]
        return {f"training/{subject}/{file}.nii.gz" for subject in ids for file in files}
    stem, first_test = {
        "hippocampus": ("hippocampus_{:03d}", 260),
        "prostate": ("prostate_{:02d}", 32),
    }[name]
    training = {f"{folder}/{stem.format(number)}.nii.gz"
                for folder in ("imagesTr", "labelsTr") for number in numbers}  # fmt: skip
    test = {f"imagesTs/{stem.format(first_test + number)}.nii.gz" for number in range(2)}
    return training | test | {"dataset.json"}


def pairs(root, name):
    """Images and label of each case that has a label."""
    if name == "acdc":
        labels = root.glob("training/*/*_gt.nii.gz")
        return [([label.with_name(label.name.replace("_gt", ""))], label) for label in labels]
    if name == "brats":
        labels = root.glob("*/*/*_seg.nii.gz")
        kinds = ("flair", "t1", "t1ce", "t2")
        return [([x.with_name(x.name.replace("seg", kind)) for kind in kinds], x) for x in labels]
    if name == "flare":
        return [
            ([root / "TrainingImg" / label.name.replace(".nii", "_0000.nii")], label)
            for label in root.glob("TrainingMask/*")
        ]
    if name == "kits":
        labels = root.glob("data/*/segmentation.nii.gz")
        return [([label.with_name("imaging.nii.gz")], label) for label in labels]
    if name == "mrbrains":
        return [
            (
                [label.parent / "pre" / f"{kind}.nii.gz" for kind in ("reg_T1", "reg_IR", "FLAIR")],
                label,
            )
            for label in root.glob("training/*/segm.nii.gz")
        ]
    labels = root.glob("labelsTr/[!.]*")
    return [([root / "imagesTr" / label.name], label) for label in labels]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.mark.parametrize("name", [name for name in NAMES if name != "acdc"])
def test_layout_is_the_official_one(phantom_of, name):
    """Nothing but the official files is there, macOS's and the phantom's record left out."""
    root = phantom_of(name)
    cases = json.loads((root / "phantom.json").read_text())["cases"]
    assert described(contents(root)) == official_files(name, cases)


def test_record_lists_every_file(phantom_of, name):
    """`phantom.json` names the phantom and each file, so that a lost one is noticed."""
    root = phantom_of(name)
    record = json.loads((root / "phantom.json").read_text())
    assert record["name"] == name
    assert {*record["files"], "phantom.json"} == set(contents(root))


def test_image_and_label_share_their_geometry(phantom_of, name):
    """A case's files have one matrix and one affine, whose voxel sizes are the header's."""
    found = pairs(phantom_of(name), name)
    assert len(found) >= 6
    for images, label in found:
        label = nibabel.load(label)
        for image in map(nibabel.load, images):
            assert image.shape[:3] == label.shape
            np.testing.assert_array_equal(image.affine, label.affine)
            np.testing.assert_allclose(image.get_sform(), image.get_qform(), atol=1e-3)
            sizes = np.linalg.norm(image.affine[:3, :3], axis=0)
            np.testing.assert_allclose(image.header.get_zooms()[:3], sizes, rtol=1e-4)


def test_labels_are_the_official_ones(phantom_of, name):
    """All of the dataset's labels occur, none else, stored as whole numbers; no case is empty."""
    labels = [voxels(label) for _, label in pairs(phantom_of(name), name)]
    assert set().union(*map(np.unique, labels)) == LABELS[name]
    for label in labels:
        assert np.issubdtype(label.dtype, np.integer)
        assert label.any()


def test_images_vary_and_are_finite(phantom_of, name):
    """No image is constant or holds NaN or infinity; no two are the same."""
    images = [voxels(image) for images, _ in pairs(phantom_of(name), name) for image in images]
    assert all(np.isfinite(image).all() and image.std() > 0 for image in images)
    assert len({image.tobytes() for image in images}) == len(images)


def test_fewer_cases_are_the_first_of_more_and_the_same_bytes(phantom_of, tmp_path, name):
    """A seed reproduces every byte of a case's files, however many cases follow."""
    one = contents(PHANTOMS[name](tmp_path / name, cases=1, seed=0))
    more = contents(phantom_of(name))
    files = one.keys() - {"phantom.json", "dataset.json"}
    assert len(files) >= 2
    assert {path: one[path] for path in files} == {path: more[path] for path in files}


def test_another_seed_is_another_phantom(phantom_of, tmp_path, name):
    """A change of the seed changes every image and label."""
    other = contents(PHANTOMS[name](tmp_path / name, cases=1, seed=1))
    first = contents(phantom_of(name))
    volumes = {path for path in other if path.endswith(".nii.gz") and "/._" not in path}
    assert volumes
    assert not any(other[path] == first.get(path) for path in volumes)


@pytest.mark.parametrize(("name", "most"), [("kits", 210), ("mrbrains", 7), ("prostate", 32)])
def test_more_cases_than_the_layout_names_are_refused(tmp_path, name, most):
    """Where the official numbers are limited, the message says how many cases there are."""
    with pytest.raises(InputError, match=rf"cases={most + 1}: {name} has {most} labeled cases"):
        PHANTOMS[name](tmp_path / name, cases=most + 1)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["acdc", "hippocampus"])
def test_full_size_changes_nothing_where_it_is_the_only_size(phantom_of, tmp_path, name):
    """The phantoms that always have the real matrix take the flag all the same."""
    full = contents(PHANTOMS[name](tmp_path / name, cases=1, full_size=True))
    first = contents(phantom_of(name))
    assert all(full[path] == first[path] for path in full if path.endswith(".nii.gz"))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FULL_SHAPES))
def test_full_size_is_the_official_matrix_with_the_same_anatomy(phantom_of, tmp_path, name):
    """Each label's share of the volume and its center are as in the small phantom."""
    root = PHANTOMS[name](tmp_path / name, cases=1, full_size=True)
    ((_, full),) = pairs(root, name)
    small = voxels(phantom_of(name) / full.relative_to(root))
    full = voxels(full)
    assert full.shape == FULL_SHAPES[name]
    for label in np.unique(small)[1:]:
        masks = (small == label, full == label)
        if masks[0].sum() < 100:
            continue  # too few voxels of the small one to measure
        share = [mask.mean() for mask in masks]
        center = [(np.mean(np.nonzero(mask), axis=1) + 0.5) / mask.shape for mask in masks]
        np.testing.assert_allclose(*share, rtol=0.15)
        np.testing.assert_allclose(*center, atol=0.02)


def test_command_writes_the_phantom_of_that_name(tmp_path, monkeypatch, name):
    """`python -m nacl_monai.phantoms NAME DIR` calls the writer with the options."""
    assert PHANTOMS[name].__name__ == f"write_{name}_phantom"
    calls = []
    monkeypatch.setitem(PHANTOMS, name, lambda *folder, **options: calls.append((folder, options)))
    for options in (["--full-size", "--seed", "3"], ["--cases", "2"]):
        assert command.main([name, str(tmp_path), *options]) == 0
    folder = (str(tmp_path),)
    assert calls == [
        (folder, {"seed": 3, "full_size": True}),
        (folder, {"cases": 2, "seed": 0, "full_size": False}),
    ]


def test_command_reports_errors_in_a_line(tmp_path, capsys):
    """A folder with other files ends in one line and exit code 1."""
    (tmp_path / "thesis.txt").touch()
    assert command.main(["brats", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: holds files")
