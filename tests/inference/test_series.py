"""A DICOM series is read as SimpleITK reads it, whatever its files are called and numbered."""

import shutil

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.uid import MediaStorageDirectoryStorage, generate_uid

from nacl_monai.inference import ReadImage, series
from nacl_monai.inference.series import read_series, read_voxels
from tests.dicom_series import AFFINES, DOWNWARDS, SHAPE, TILTED, write_series

VOXELS = np.random.default_rng(1).integers(-400, 400, SHAPE) * 2.0


def read_by_simpleitk(folder):
    """Its voxels, ``(column, row, slice)``, and their affine, RAS+."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, np.diag([-1.0, -1, 1, 1]) @ matrix


@pytest.mark.parametrize("matrix", [*AFFINES.values(), DOWNWARDS], ids=[*AFFINES, "downwards"])
def test_voxels_lie_where_simpleitk_has_them(tmp_path, matrix):
    """In every orientation, with the values in the unit that the files declare."""
    folder = write_series(tmp_path / "ct", VOXELS, matrix)
    expected, matrix = read_by_simpleitk(folder)

    image = ReadImage(1)({"image": [str(folder)]})["image"]

    np.testing.assert_allclose(image.affine.numpy(), matrix, atol=1e-5)
    np.testing.assert_array_equal(image.numpy()[0], expected)
    assert image.meta["filename_or_obj"] == str(folder)


@pytest.mark.parametrize("matrix", [*AFFINES.values(), TILTED], ids=[*AFFINES, "tilted"])
def test_affine_is_that_of_the_scanner(tmp_path, matrix):
    """A gantry that was tilted gives a sheared one; slices follow row × column."""
    found = read_series(write_series(tmp_path / "ct", VOXELS, matrix))

    np.testing.assert_allclose(found.affine, matrix, atol=1e-5)
    np.testing.assert_array_equal(read_voxels(found), VOXELS)
    assert found.shape == SHAPE
    planes = np.cross(matrix[:3, 0], matrix[:3, 1])
    height = matrix[:3, 2] @ planes / np.linalg.norm(planes)
    assert found.distance == pytest.approx(abs(height), abs=1e-6)


def test_slices_that_run_against_row_times_column_are_turned(tmp_path):
    """So the first slice is the lowest along row × column, in whatever order they were acquired."""
    found = read_series(write_series(tmp_path / "ct", VOXELS, DOWNWARDS))

    last = DOWNWARDS @ [0, 0, SHAPE[2] - 1, 1]
    np.testing.assert_allclose(found.affine[:, 3], last, atol=1e-6)
    np.testing.assert_array_equal(read_voxels(found), VOXELS[:, :, ::-1])


@pytest.mark.parametrize("number", [None, 1])
def test_instance_numbers_decide_nothing(tmp_path, number):
    """They may be missing, or all the same."""
    folder = write_series(tmp_path / "ct", VOXELS, InstanceNumber=number)

    np.testing.assert_array_equal(read_voxels(read_series(folder)), VOXELS)


def test_other_files_do_not_count(tmp_path):
    """Notes, hidden files, a DICOMDIR, which is DICOM without a series, and folders."""
    folder = write_series(tmp_path / "ct", VOXELS)
    listing = dcmread(folder / "IM0000")
    listing.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    del listing.SeriesInstanceUID, listing.PixelData
    listing.save_as(folder / "DICOMDIR")
    (folder / "notes.txt").write_text("not an image")
    (folder / "older").mkdir()

    assert read_series(folder).shape == SHAPE


def change(keyword, value, slices=(3,)):
    """Changes, or with None removes, something in some slices."""

    def of(one, k):
        if k in slices:
            setattr(one, keyword, value)
            if value is None:
                delattr(one, keyword)

    return of


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            change("SeriesInstanceUID", generate_uid()),
            "ct: holds 2 DICOM series; give each its own",
        ),
        (change("NumberOfFrames", 2), "holds several frames; convert it to NIfTI"),
        (change("SeriesInstanceUID", None), "lacks SeriesInstanceUID; leave it out, or export"),
        (change("PixelSpacing", None), "lacks PixelSpacing; leave it out, or export"),
        (
            change("ImagePositionPatient", None),
            "lacks ImagePositionPatient; leave it out, or export",
        ),
        (change("SamplesPerPixel", 3), "holds colors; a slice has one number per pixel"),
        (change("PixelSpacing", [0.9, 0.8]), "has another PixelSpacing than IM"),
        (change("Rows", 15), "has another Rows than IM"),
        (change("ImageOrientationPatient", [1, 0, 0, 0, 0, -1]), "another ImageOrientationPatient"),
        (change("ImagePositionPatient", [-31.5, 12.25, 109.5]), "lie in the same place; leave one"),
        (
            change("ImagePositionPatient", [-31.5, 12.25, 115.2]),
            "3.2 mm apart, other slices 2.5 mm",
        ),
        (change("ImagePositionPatient", [-31.5, 14.25, 114.5]), "mm apart, other slices 2.5 mm"),
    ],
)
def test_what_is_no_even_stack_is_refused(refusal, tmp_path, spoil, message):
    """In one line that names the folder or the file."""
    folder = write_series(tmp_path / "ct", VOXELS, change=spoil)

    line = refusal(read_series, folder)

    assert line.startswith(str(folder))
    assert message in line


def test_slice_a_little_off_is_none_of_a_fault(tmp_path):
    """By a tenth of the distance at most, since scanners round positions."""
    off = change("ImagePositionPatient", [-31.5, 12.25, 114.7])
    folder = write_series(tmp_path / "ct", VOXELS, change=off)

    np.testing.assert_allclose(read_series(folder).affine, AFFINES["axial"], atol=1e-6)


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_missing_slice_is_refused(refusal, tmp_path, lost):
    """The line names its neighbors, and how far they are apart."""
    folder = write_series(tmp_path / "ct", VOXELS)
    files = {
        one.ImagePositionPatient[2]: file for file in folder.iterdir() for one in [dcmread(file)]
    }
    ordered = [files[height] for height in sorted(files)]
    ordered[lost].unlink()

    assert refusal(read_series, folder) == (
        f"{folder}: {ordered[lost - 1].name} and {ordered[lost + 1].name} are 5 mm apart, other slices "
        "2.5 mm; add what is missing, or resample to even distances"
    )


def test_single_slice_is_no_volume(refusal, tmp_path):
    """Its thickness is none of its neighbors' distances."""
    folder = write_series(tmp_path / "ct", VOXELS[:, :, :1])

    assert refusal(read_series, folder) == f"{folder}: is a single slice; name a volume"


def test_folder_without_dicom_is_refused(refusal, tmp_path):
    """Whatever else it holds."""
    (tmp_path / "notes.txt").write_text("not an image")

    assert refusal(ReadImage(1), {"image": [str(tmp_path)]}) == (
        f"{tmp_path}: holds no DICOM image; name the folder of a series"
    )


def test_missing_pydicom_is_one_line(refusal, tmp_path, monkeypatch):
    """With what to install."""
    monkeypatch.setattr(series, "has_pydicom", False)

    assert refusal(ReadImage(1), {"image": [str(tmp_path)]}) == (
        f"{tmp_path}: needs pydicom to be read as a DICOM series; pip install pydicom"
    )


def test_damaged_slice_is_refused(refusal, tmp_path):
    """Its header may be whole, and its pixels are not."""
    folder = write_series(tmp_path / "ct", VOXELS)
    content = (folder / "IM0002").read_bytes()
    (folder / "IM0002").write_bytes(content[:-100])

    assert f"{folder}: cannot be read (" in refusal(ReadImage(1), {"image": [str(folder)]})


def test_single_file_of_a_series_is_refused(refusal, tmp_path):
    """A slice is not a volume, and MONAI would not see where the frames of a file are."""
    folder = write_series(tmp_path / "ct", VOXELS)
    file = shutil.move(folder / "IM0001", tmp_path / "one.dcm")

    assert refusal(ReadImage(1), {"image": [str(file)]}) == (
        f"{file}: is a single DICOM file; name the folder of its series"
    )
