"""Images are read as the network takes them, or refused in one line."""

import gzip
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.uid import MediaStorageDirectoryStorage, generate_uid

from nacl_monai.data.cases import AFFINE_TOLERANCE
from nacl_monai.inference import ReadImage, images
from nacl_monai.inference.grids import stored_shape
from nacl_monai.inference.images import read_series, read_voxels
from tests.conftest import save_nifti
from tests.dicom_series import AFFINES, DOWNWARDS, SHAPE, TILTED, write_series
from tests.inference.conftest import AFFINE, TURNED
from tests.same import same_bits, same_values

RAMP = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
FLAT = np.zeros((4, 4, 4), np.float32)
RGB = [("R", "u1"), ("G", "u1"), ("B", "u1")]


def read(*files, channels=1):
    return ReadImage(channels)({"image": [*map(str, files)]})["image"]


def test_channels_are_the_files_in_their_order_or_the_last_axis_of_one(tmp_path):
    """Both ways to store modalities give the same image."""
    first, second = np.zeros((2, 3, 4), np.float32), np.ones((2, 3, 4), np.float32)
    for name, voxels in {"a": first, "b": second}.items():
        save_nifti(voxels, tmp_path / f"{name}.nii")
    save_nifti(np.stack([second, first], axis=-1), tmp_path / "both.nii")

    for names in (["b", "a"], ["both"]):
        image = read(*(tmp_path / f"{name}.nii" for name in names), channels=2)
        same_values(image.numpy(), np.stack([second, first]))


@pytest.mark.parametrize("shift", [0, 0.002, 0.009, 0.02])
def test_affines_may_differ_as_in_training(refusal, tmp_path, shift):
    """By as much as the training accepts; the image is where its first file is."""
    moved = AFFINE.copy()
    moved[0, 0] += shift / 3  # 3 voxels from the first to the last
    files = [str(tmp_path / name) for name in ("a.nii", "b.nii")]
    for file, affine in zip(files, (AFFINE, moved), strict=True):
        save_nifti(RAMP, Path(file), affine)
    case = {"image": files}

    if shift < 0.01:
        image = ReadImage(2)(case)["image"]
        same_values(image.numpy(), [RAMP, RAMP])
        same_bits(image.affine.numpy(), AFFINE, "it is read back")
        assert image.meta["filename_or_obj"] == files[0]
    else:
        assert "cannot be read (their affines put voxels up to" in refusal(ReadImage(2), case)
    assert ReadImage(2).affine_tolerance == AFFINE_TOLERANCE
    if shift == 0.02:
        assert ReadImage(2, affine_tolerance=0.03)(case)["image"].shape == (2, 4, 4, 4)


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (FLAT[0], "is not 3-D; name a volume"),
        (np.stack([FLAT] * 3, -1), "has 3 channels; the network takes 1; name an image like "),
        (FLAT * np.nan, "holds NaN or infinite voxels; repair it"),
        (FLAT - np.inf, "holds NaN or infinite voxels; repair it"),
        # Only one part of them would be read.
        (FLAT.astype(np.complex64), "holds complex64 voxels; save it with one number per voxel"),
        (FLAT.astype(RGB), "holds RGB voxels; save it with one number per voxel"),
    ],
)
def test_image_that_the_network_cannot_take_is_refused(refusal, tmp_path, voxels, message):
    """The line names the file."""
    file = tmp_path / "x.nii"
    save_nifti(voxels, file)

    assert refusal(read, file).startswith(f"{file}: {message}")


def test_files_that_cannot_be_read_are_refused_together(refusal, tmp_path):
    """All files of the case are named, and the first line of what the reader said."""
    files = [tmp_path / name for name in ("a.nii", "b.nii")]
    for file, voxels in zip(files, (FLAT, FLAT[:3]), strict=True):
        save_nifti(voxels, file)

    line = refusal(read, *files)

    assert line.startswith(f"{files[0]} and {files[1]}: cannot be read (")
    assert line.endswith("); replace it, or leave it out")


def test_file_of_a_modality_is_missing(refusal, tmp_path):
    """The line names the file."""
    save_nifti(RAMP, tmp_path / "a.nii")

    line = f"{tmp_path}/b.nii: missing; a case needs one file per modality"
    assert refusal(read, tmp_path / "a.nii", tmp_path / "b.nii") == line


@pytest.mark.parametrize("name", ["x.nii.gz", "X.NII.GZ"])
def test_damaged_voxels_are_noticed(refusal, tmp_path, name):
    """The checksum behind the voxels is compared, though nobody needs to read that far."""
    file = tmp_path / name
    content = bytearray(gzip.compress(nibabel.Nifti1Image(RAMP, AFFINE).to_bytes()))
    file.write_bytes(content)
    assert read(file).shape == (1, 4, 4, 4)
    content[-8] ^= 1
    file.write_bytes(content)

    assert "cannot be read (CRC check failed" in refusal(read, file)


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [np.nan, 0, 0, 0], [0, 2, 0, 0]])
def test_affine_that_is_no_place_in_space_is_refused(refusal, tmp_path, row):
    """Without three directions there is no orientation to bring the image into."""
    image = nibabel.Nifti1Image(RAMP, None)
    image.header["srow_x"], image.header["srow_y"] = row, [0, 2, 0, 0]
    image.header["srow_z"], image.header["sform_code"] = [0, 0, 2, 0], 1
    nibabel.save(image, tmp_path / "x.nii")

    line = f"{tmp_path}/x.nii: has an affine without three directions; repair its header"
    assert refusal(read, tmp_path / "x.nii") == line


def test_affine_is_the_one_that_the_file_declares(tmp_path):
    """MONAI would take an undeclared qform where the sizes of voxels do not fit the sform."""
    image = nibabel.Nifti1Image(RAMP, None)
    image.set_sform(TURNED, code=1)
    image.header["pixdim"][1:4] = 9
    nibabel.save(image, tmp_path / "x.nii")

    same_bits(read(tmp_path / "x.nii").affine.numpy(), TURNED, "it is read back")


LABEL_MAP = (
    "the image holds nothing but whole numbers from 0 to 3; if it is a label map, its "
    "maps mean nothing"
)


@pytest.mark.parametrize(
    ("voxels", "warning"),
    [
        # Contrast in the other channel is none in this.
        (np.stack([RAMP, FLAT + 7], -1), "channel 1 is constant, so its maps mean nothing"),
        ((RAMP % 4).astype(np.uint8), LABEL_MAP),
        (RAMP % 4, LABEL_MAP),
        # Fractions, numbers below 0, and more numbers than there are classes are not labels.
        (RAMP % 4 + 0.5, ""),
        (RAMP % 4 - 2, ""),
        (RAMP % 40, ""),
    ],
)
def test_what_is_hardly_an_image_gets_a_warning(voxels, warning, tmp_path, capsys):
    """Folders of downloads hold label maps, too."""
    file = tmp_path / "x.nii"
    save_nifti(voxels, file)

    read(file, channels=voxels[0, 0, 0].size)

    assert capsys.readouterr().err == (f"warning: {file}: {warning}\n" if warning else "")


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

    image = read(folder)

    np.testing.assert_allclose(image.affine.numpy(), matrix, atol=1e-5)
    same_values(image.numpy()[0], expected)
    assert image.meta["filename_or_obj"] == str(folder)


@pytest.mark.parametrize("matrix", [*AFFINES.values(), TILTED], ids=[*AFFINES, "tilted"])
def test_affine_is_that_of_the_scanner(tmp_path, matrix):
    """A gantry that was tilted gives a sheared one; slices follow row × column."""
    found = read_series(write_series(tmp_path / "ct", VOXELS, matrix))

    np.testing.assert_allclose(found.affine, matrix, atol=1e-5)
    same_values(read_voxels(found), VOXELS)
    assert found.shape == SHAPE
    planes = np.cross(matrix[:3, 0], matrix[:3, 1])
    height = matrix[:3, 2] @ planes / np.linalg.norm(planes)
    assert found.distance == pytest.approx(abs(height), abs=1e-6)


@pytest.mark.parametrize("number", [None, 1])
def test_instance_numbers_decide_nothing(tmp_path, number):
    """They may be missing, or all the same."""
    folder = write_series(tmp_path / "ct", VOXELS, InstanceNumber=number)

    same_values(read_voxels(read_series(folder)), VOXELS)


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

    def edit(plane, k):
        if k in slices:
            setattr(plane, keyword, value)
            if value is None:
                delattr(plane, keyword)

    return edit


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
        (
            change("PixelSpacing", [0, 0.8], range(99)),
            "has pixels of 0 × 0.8 mm; export the series",
        ),
        (change("Rows", 15), "has another Rows than IM"),
        (change("ImageOrientationPatient", [1, 0, 0, 0, 0, -1]), "another ImageOrientationPatient"),
        (change("ImagePositionPatient", [-31.5, 12.25, 109.5]), "are in the same place; leave one"),
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
        plane.ImagePositionPatient[2]: file
        for file in folder.iterdir()
        for plane in [dcmread(file)]
    }
    ordered = [files[height] for height in sorted(files)]
    ordered[lost].unlink()

    assert refusal(read_series, folder) == (
        f"{folder}: {ordered[lost - 1].name} and {ordered[lost + 1].name} are 5 mm apart, other slices "
        "2.5 mm; add what is missing, or resample to even distances"
    )


def test_folder_without_dicom_is_refused(refusal, tmp_path):
    """Whatever else it holds."""
    (tmp_path / "notes.txt").write_text("not an image")

    line = f"{tmp_path}: holds no DICOM image; name the folder of a series"
    assert refusal(read, tmp_path) == line


def test_missing_pydicom_is_one_line(refusal, tmp_path, monkeypatch):
    """With what to install."""
    monkeypatch.setattr(images, "has_pydicom", False)

    line = f"{tmp_path}: needs pydicom to be read as a DICOM series; pip install pydicom"
    assert refusal(read, tmp_path) == line


def test_damaged_slice_is_refused(refusal, tmp_path):
    """Its header may be whole, and its pixels are not."""
    folder = write_series(tmp_path / "ct", VOXELS)
    content = (folder / "IM0002").read_bytes()
    (folder / "IM0002").write_bytes(content[:-100])

    assert f"{folder}: cannot be read (" in refusal(read, folder)


def test_single_file_of_a_series_is_refused(refusal, tmp_path):
    """A slice is not a volume, and MONAI would not see where the frames of a file are."""
    folder = write_series(tmp_path / "ct", VOXELS)
    file = shutil.move(folder / "IM0001", tmp_path / "one.dcm")

    line = f"{file}: is a single DICOM file; name the folder of its series"
    assert refusal(read, file) == line


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize("form", ["volume", "fourth axis", "components"])
def test_metaimage_and_nrrd_are_read_as_nifti(tmp_path, ending, form):
    """The same voxels at the same place, oblique, whichever way channels are stored."""
    channels = 1 if form == "volume" else 2
    voxels = np.random.default_rng(0).integers(-999, 999, (5, 4, 3, channels)).astype(np.int16)
    affine = AFFINES["oblique"]
    save_nifti(voxels if channels > 1 else voxels[..., 0], tmp_path / "x.nii.gz", affine)
    image = SimpleITK.ReadImage(str(tmp_path / "x.nii.gz"))
    if form == "components":
        size = [*image.GetSize()[:3], 0]
        parts = [SimpleITK.Extract(image, size, [0, 0, 0, k]) for k in range(channels)]
        image = SimpleITK.Compose(parts)
    SimpleITK.WriteImage(image, str(tmp_path / f"x{ending}"))

    nifti, found = (read(tmp_path / f"x{end}", channels=channels) for end in (".nii.gz", ending))
    same_bits(found.numpy(), nifti.numpy(), "both files hold the same voxels")
    np.testing.assert_allclose(found.affine.numpy(), nifti.affine.numpy(), atol=1e-3)
    assert stored_shape(str(tmp_path / f"x{ending}")) == stored_shape(str(tmp_path / "x.nii.gz"))


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_damaged_and_complex_files_of_itk_are_refused(refusal, tmp_path, ending):
    """In one line."""
    file = tmp_path / f"x{ending}"
    image = SimpleITK.GetImageFromArray(np.zeros((4, 4, 4), np.complex64))
    SimpleITK.WriteImage(image, str(file))
    assert refusal(read, file).startswith(f"{file}: ")
    file.write_bytes(b"NRRD0004")
    assert refusal(read, file).startswith(f"{file}: cannot be read (")
