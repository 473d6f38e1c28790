"""What inference refuses to segment; without any network."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nacl_monai.data.faults import AFFINE_TOLERANCE
from nacl_monai.inference import ReadImage
from tests.conftest import save_nifti

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
TURNED = np.array([[0, -2, 0, 11], [3, 0, 0, -7], [0, 0, 4, 5], [0, 0, 0, 1]], float)
RAMP = np.arange(64, dtype=np.float32).reshape(4, 4, 4)


def test_image_takes_the_place_of_its_files(tmp_path):
    """With its affine, channels first; other entries of the case stay."""
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    save_nifti(voxels, tmp_path / "x.nii", AFFINE)

    case = ReadImage(1)({"image": [str(tmp_path / "x.nii")], "case": "x"})

    assert case["case"] == "x"
    np.testing.assert_array_equal(case["image"].numpy(), voxels[None])
    np.testing.assert_array_equal(case["image"].affine.numpy(), AFFINE)


def test_channels_are_the_files_in_their_order_or_the_last_axis_of_one(tmp_path):
    """Both ways to store modalities give the same image."""
    first, second = np.zeros((2, 3, 4), np.float32), np.ones((2, 3, 4), np.float32)
    for name, voxels in {"a": first, "b": second}.items():
        save_nifti(voxels, tmp_path / f"{name}.nii")
    save_nifti(np.stack([second, first], axis=-1), tmp_path / "both.nii")

    for names in (["b", "a"], ["both"]):
        case = ReadImage(2)({"image": [str(tmp_path / f"{name}.nii") for name in names]})
        np.testing.assert_array_equal(case["image"].numpy(), np.stack([second, first]))


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
        np.testing.assert_array_equal(image.numpy(), [RAMP, RAMP])
        np.testing.assert_array_equal(image.affine.numpy(), AFFINE)
        assert image.meta["filename_or_obj"] == files[0]
    else:
        assert "cannot be read (their affines put voxels up to" in refusal(ReadImage(2), case)
    assert ReadImage(2).affine_tolerance == AFFINE_TOLERANCE
    if shift == 0.02:
        assert ReadImage(2, affine_tolerance=0.03)(case)["image"].shape == (2, 4, 4, 4)


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.zeros((4, 4)), "is not 3-D; name a volume"),
        (np.zeros((4, 4, 4, 3)), "has 3 channels; the network takes 1; name an image like "),
        (np.full((4, 4, 4), np.nan), "holds NaN or infinite voxels; repair it"),
        (np.full((4, 4, 4), -np.inf), "holds NaN or infinite voxels; repair it"),
    ],
)
def test_image_that_the_network_cannot_take_is_refused(refusal, tmp_path, voxels, message):
    """The line names the file."""
    file = tmp_path / "x.nii"
    save_nifti(voxels.astype(np.float32), file)

    assert refusal(ReadImage(1), {"image": [str(file)]}).startswith(f"{file}: {message}")


def test_single_nan_is_enough(refusal, tmp_path):
    """One voxel without a number makes the probabilities around it NaN."""
    voxels = np.zeros((4, 4, 4), np.float32)
    voxels[1, 2, 3] = np.nan
    save_nifti(voxels, tmp_path / "x.nii")

    assert "NaN" in refusal(ReadImage(1), {"image": [str(tmp_path / "x.nii")]})


def test_files_that_cannot_be_read_are_refused_together(refusal, tmp_path):
    """All files of the case are named, and the first line of what the reader said."""
    save_nifti(np.zeros((4, 4, 4), np.float32), tmp_path / "a.nii")
    save_nifti(np.zeros((4, 4, 5), np.float32), tmp_path / "b.nii")
    files = [str(tmp_path / name) for name in ("a.nii", "b.nii")]

    line = refusal(ReadImage(2), {"image": files})

    assert line.startswith(f"{files[0]} and {files[1]}: cannot be read (")
    assert line.endswith("); replace it, or leave it out")


def test_file_of_a_modality_is_missing(refusal, tmp_path):
    """The line names the file."""
    save_nifti(RAMP, tmp_path / "a.nii")
    files = [str(tmp_path / name) for name in ("a.nii", "b.nii")]

    assert refusal(ReadImage(2), {"image": files}) == (
        f"{files[1]}: missing; a case needs one file per modality"
    )


@pytest.mark.parametrize("name", ["x.nii.gz", "X.NII.GZ"])
def test_damaged_voxels_are_noticed(refusal, tmp_path, name):
    """The checksum behind the voxels is compared, though nobody needs to read that far."""
    file = tmp_path / name
    content = bytearray(gzip.compress(nibabel.Nifti1Image(RAMP, AFFINE).to_bytes()))
    file.write_bytes(content)
    assert ReadImage(1)({"image": [str(file)]})["image"].shape == (1, 4, 4, 4)
    content[-8] ^= 1
    file.write_bytes(content)

    assert "cannot be read (CRC check failed" in refusal(ReadImage(1), {"image": [str(file)]})


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_colors_and_complex_numbers_are_refused(refusal, tmp_path, dtype):
    """Only one part of them would be read."""
    save_nifti(np.zeros((4, 4, 4), dtype), tmp_path / "x.nii")

    assert "voxels; save it with one number per voxel" in refusal(
        ReadImage(1), {"image": [str(tmp_path / "x.nii")]}
    )


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [np.nan, 0, 0, 0], [0, 2, 0, 0]])
def test_affine_that_is_no_place_in_space_is_refused(refusal, tmp_path, row):
    """Without three directions there is no orientation to bring the image into."""
    image = nibabel.Nifti1Image(RAMP, None)
    image.header["srow_x"], image.header["srow_y"] = row, [0, 2, 0, 0]
    image.header["srow_z"], image.header["sform_code"] = [0, 0, 2, 0], 1
    nibabel.save(image, tmp_path / "x.nii")

    assert refusal(ReadImage(1), {"image": [str(tmp_path / "x.nii")]}) == (
        f"{tmp_path}/x.nii: has an affine without three directions; repair its header"
    )


def test_affine_is_the_one_that_the_file_declares(tmp_path):
    """MONAI would take an undeclared qform where the sizes of voxels do not fit the sform."""
    image = nibabel.Nifti1Image(RAMP, None)
    image.set_sform(TURNED, code=1)
    image.header["pixdim"][1:4] = 9
    nibabel.save(image, tmp_path / "x.nii")

    case = ReadImage(1)({"image": [str(tmp_path / "x.nii")]})

    np.testing.assert_array_equal(case["image"].affine.numpy(), TURNED)


def test_constant_channel_gets_a_warning(tmp_path, capsys):
    """Contrast in the other channel is none in this."""
    save_nifti(np.stack([RAMP, np.full_like(RAMP, 7)], axis=-1), tmp_path / "x.nii")

    ReadImage(2)({"image": [str(tmp_path / "x.nii")]})

    assert capsys.readouterr().err == (
        f"warning: {tmp_path}/x.nii: channel 1 is constant, so its maps mean nothing\n"
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_label_map_gets_a_warning(dtype, tmp_path, capsys):
    """Folders of downloads hold both."""
    label = (RAMP % 4).round().astype(dtype)
    save_nifti(label, tmp_path / "x_gt.nii")

    ReadImage(1)({"image": [str(tmp_path / "x_gt.nii")]})

    assert capsys.readouterr().err == (
        f"warning: {tmp_path}/x_gt.nii: the image holds nothing but whole numbers from 0 to 3; if it is "
        "a label map, its maps mean nothing\n"
    )


@pytest.mark.parametrize("change", [lambda x: x % 4 + 0.5, lambda x: x % 4 - 2, lambda x: x % 40])
def test_image_of_few_values_gets_no_warning(change, tmp_path, capsys):
    """Fractions, numbers below 0, and more numbers than there are classes are not labels."""
    save_nifti(change(RAMP.round()).astype(np.float32), tmp_path / "x.nii")

    ReadImage(1)({"image": [str(tmp_path / "x.nii")]})

    assert capsys.readouterr().err == ""


def test_image_with_contrast_gets_no_warning(tmp_path, capsys):
    """And a constant image of one channel gets one."""
    for name, voxels in {"plain": RAMP, "constant": RAMP * 0}.items():
        save_nifti(voxels, tmp_path / f"{name}.nii")
        ReadImage(1)({"image": [str(tmp_path / f"{name}.nii")]})

    assert capsys.readouterr().err == (
        f"warning: {tmp_path}/constant.nii: the image is constant, so its maps mean nothing\n"
    )
