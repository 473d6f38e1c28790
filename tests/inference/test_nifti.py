"""A map is where its image is, whoever reads both, and is whole or not there."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from nacl_monai.inference.nifti import is_map, map_image, write_nifti, write_together
from tests.conftest import save_nifti

SHAPE = (3, 4, 5)
VOXELS = np.arange(60, dtype=np.float32).reshape(SHAPE)
TURNED = np.array([[0, -2, 0, 11], [3, 0, 0, -7], [0, 0, 4, 5], [0, 0, 0, 1]], float)
SHEARED = np.array([[2, 1, 0, 11], [0, 3, 0.5, -7], [0, 0, 4, 5], [0, 0, 0, 1]], float)


def plain(image):
    image.set_sform(TURNED, code=1)


def sform_alone(image):
    image.set_sform(TURNED, code=2)
    image.set_qform(None, code=0)


def qform_alone(image):
    image.set_sform(None, code=0)
    image.set_qform(TURNED, code=3)


def neither(image):
    image.header["sform_code"] = image.header["qform_code"] = 0
    image.header["pixdim"][1:4] = 2, 3, 4


def disagreeing(image):
    image.set_sform(np.diag([2.0, 3, 4, 1]), code=1)
    image.set_qform(TURNED, code=1)


def sheared(image):
    image.set_sform(SHEARED, code=1)


def other_voxel_sizes(image):
    image.set_sform(TURNED, code=1)
    image.set_qform(None, code=0)
    image.header["pixdim"][1:4] = 9, 9, 9


def microns(image):
    image.set_sform(TURNED * 1000, code=1)
    image.header.set_xyzt_units("micron", "sec")


def meters(image):
    image.set_qform(TURNED, code=1)
    image.header.set_xyzt_units("meter")


def scaled(image):
    image.header.set_slope_inter(2, -5)
    image.header["cal_max"] = 1000


HEADERS = [plain, sform_alone, qform_alone, neither, disagreeing, sheared]
HEADERS += [other_voxel_sizes, microns, meters, scaled]


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 2)])
@pytest.mark.parametrize("change", HEADERS, ids=lambda change: change.__name__)
def test_map_lies_where_the_image_lies(tmp_path, change, shape, kind):
    """By either form, in any unit, for nibabel and for ITK; the voxels are what was to be saved."""
    image = kind(np.ones((*SHAPE, 2), np.int16), TURNED)
    change(image)
    nibabel.save(image, tmp_path / "x.nii.gz")
    voxels = np.random.default_rng(0).random(shape).astype(np.float32)

    write_nifti(map_image(voxels, "y", tmp_path / "x.nii.gz", np.eye(4)), tmp_path / "y.nii.gz")

    before, after = (nibabel.load(tmp_path / name) for name in ("x.nii.gz", "y.nii.gz"))
    np.testing.assert_array_equal(after.affine, before.affine)
    for form in ("get_sform", "get_qform"):
        (old, old_code), (new, new_code) = (
            getattr(file, form)(coded=True) for file in (before, after)
        )
        np.testing.assert_array_equal(old, new)
        assert old_code == new_code
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    np.testing.assert_array_equal(after.header.get_zooms()[:3], before.header.get_zooms()[:3])
    np.testing.assert_array_equal(after.get_fdata(dtype=np.float32), voxels)
    assert after.header["cal_max"] == 1  # of a map, and not that of the image
    if change is not sheared and kind is nibabel.Nifti1Image:  # ITK does not read others
        for old, new in zip(*(itk_grid(tmp_path / f"{name}.nii.gz") for name in "xy"), strict=True):
            np.testing.assert_array_equal(old, new)


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


def test_interrupted_file_leaves_the_earlier_one(tmp_path, monkeypatch):
    """Until the last byte is on the disk, the name belongs to what was there; nothing stays aside."""
    image = map_image(VOXELS, "label", tmp_path, TURNED)
    write_nifti(image, tmp_path / "y.nii.gz")
    before = (tmp_path / "y.nii.gz").read_bytes()

    def interrupt(_):
        assert (tmp_path / "y.nii.gz").read_bytes() == before
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_nifti(map_image(VOXELS + 1, "label", tmp_path, TURNED), tmp_path / "y.nii.gz")

    assert (tmp_path / "y.nii.gz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["y.nii.gz"]


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
