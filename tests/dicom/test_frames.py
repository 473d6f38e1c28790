"""A series has all that a segmentation takes from it; maps are turned to its frames, or refused."""

import itertools

import nibabel
import numpy as np
import pytest
from pydicom.uid import generate_uid

from nacl_monai.dicom.frames import read_frames, read_source
from nacl_monai.errors import InputError
from tests.conftest import refused, save_nifti
from tests.dicom_series import AFFINES, SHAPE, SPACING, TILTED, write_series
from tests.same import same_bits, same_values

RNG = np.random.default_rng(2)
LABELS = RNG.integers(0, 3, SHAPE).astype(np.uint8)
PROBS = RNG.dirichlet([1, 1, 1], SHAPE).astype(np.float32)
MATRIX = AFFINES["oblique"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return read_source(write_series(tmp_path_factory.mktemp("series"), np.zeros(SHAPE), MATRIX))


def turns():
    """Every order and direction of three axes."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.column_stack([order, signs])


@pytest.mark.parametrize("turn", list(turns()), ids=str)
def test_axes_of_the_file_decide_nothing(source, tmp_path, turn):
    """All 48 ways to store a volume give the same frames."""
    affine = MATRIX @ nibabel.orientations.inv_ornt_aff(turn, SHAPE)
    for name, voxels in (("label", LABELS), ("probabilities", PROBS)):
        turned = nibabel.orientations.apply_orientation(voxels, turn)
        save_nifti(turned, tmp_path / f"{name}.nii.gz", affine)

    labels = read_frames(tmp_path / "label.nii.gz", source, 3)
    probs = read_frames(tmp_path / "probabilities.nii.gz", source, 3)

    same_values(labels, LABELS.transpose(2, 1, 0))
    same_bits(probs, PROBS.transpose(2, 1, 0, 3)[..., 1:], "they are read back")


@pytest.mark.parametrize("matrix", [*AFFINES.values(), TILTED], ids=[*AFFINES, "tilted"])
def test_grid_is_that_of_the_series(tmp_path, matrix):
    """In every orientation, sheared ones too."""
    series = read_source(write_series(tmp_path / "ct", np.zeros(SHAPE), matrix))
    save_nifti(LABELS, tmp_path / "x.nii.gz", matrix)

    labels = read_frames(tmp_path / "x.nii.gz", series, 3)
    same_values(labels, LABELS.transpose(2, 1, 0))


def test_255ths_are_probabilities(source, tmp_path):
    """As `nacl-monai audit` reads them from other tools."""
    image = nibabel.Nifti1Image(np.full((*SHAPE, 2), [204, 51], np.uint8), MATRIX)
    image.header.set_slope_inter(1 / 255, 0)
    nibabel.save(image, tmp_path / "x.nii")

    np.testing.assert_allclose(read_frames(tmp_path / "x.nii", source, 2), 0.2)


def test_rounding_beyond_one_is_cut_off(source, tmp_path):
    """Interpolation may leave a probability a little above 1, or below 0."""
    probs = np.full((*SHAPE, 2), [-5e-5, 1 + 5e-5], np.float32)
    save_nifti(probs, tmp_path / "x.nii", MATRIX)

    assert (read_frames(tmp_path / "x.nii", source, 2) == 1).all()


def moved(millimeters):
    there = MATRIX.copy()
    there[0, 3] += millimeters
    return there


def test_distance_that_is_accepted_is_the_users(source, tmp_path):
    """Up to 0.01 mm unless another one is given."""
    save_nifti(LABELS, tmp_path / "near.nii", moved(0.005))
    save_nifti(LABELS, tmp_path / "far.nii", moved(0.5))

    assert read_frames(tmp_path / "near.nii", source, 3).any()
    assert read_frames(tmp_path / "far.nii", source, 3, affine_tolerance=0.6).any()


@pytest.mark.parametrize(
    ("voxels", "affine", "message"),
    [
        (LABELS, moved(0.5), "its affine puts voxels up to 0.5 mm away from where"),
        (LABELS, moved(np.nan), "its affine gives the voxels no size"),
        (LABELS[:-1], MATRIX, "they must be equal"),
        (LABELS, MATRIX @ np.diag([1, 1, 2, 1]), "its affine puts voxels up to"),
        (LABELS + np.uint8(1), MATRIX, "holds the label value 3, but 3 classes are named, 0 to 2"),
        (LABELS.astype(np.int16) - 1, MATRIX, "holds the label value -1, but 3 classes"),
        (PROBS[..., 0], MATRIX, "is neither a label map nor probabilities; give NAME_label.nii.gz"),
        (PROBS[..., :2], MATRIX, "has 2 channels, but 3 classes are named"),
        (PROBS * 2, MATRIX, "holds values outside of 0 to 1; give probabilities"),
        (PROBS - 0.5, MATRIX, "holds values outside of 0 to 1; give probabilities"),
        (PROBS.clip(0.5), MATRIX, "and the first may be no background"),
        (PROBS / 2, MATRIX, "sum up to 0.5, and the first may be no background"),
        ((PROBS * 100).astype(np.uint8), MATRIX, "and the first may be no background"),
        (PROBS * np.float32("nan"), MATRIX, "holds values outside of 0 to 1; give probabilities"),
    ],
)
def test_map_of_something_else_is_refused(source, tmp_path, voxels, affine, message):
    """In one line that names the file."""
    save_nifti(voxels, tmp_path / "x.nii.gz", affine)

    line = refused(read_frames, tmp_path / "x.nii.gz", source, 3)

    assert line.startswith(f"{tmp_path}/x.nii.gz: ")
    assert message in line


VOXELS = np.zeros(SHAPE)


def test_what_may_be_empty_is_empty_where_it_is_missing(tmp_path):
    """Anonymizers drop it."""
    folder = write_series(tmp_path / "ct", VOXELS, PatientName=None, StudyDate=None, StudyID="7")

    first = read_source(folder).slices[0]

    assert (first.PatientName, first.StudyDate, first.StudyID) == ("", "", "7")


def test_distance_of_slices_stands_in_for_their_thickness(tmp_path):
    """That of their planes, which is less than that of their origins if the gantry is tilted."""
    folder = write_series(tmp_path / "ct", VOXELS, TILTED, SliceThickness=None)

    first = read_source(folder).slices[0]

    expected = SPACING[2] * np.cos(np.radians(20))
    assert float(first.SliceThickness) == pytest.approx(expected, abs=1e-6)
    assert float(first.SpacingBetweenSlices) == pytest.approx(expected, abs=1e-6)


def test_thickness_is_kept_and_declared_distance_is_not(tmp_path):
    """Slices may overlap; what scanners declare as their distance is sometimes the gap."""
    folder = write_series(tmp_path / "ct", VOXELS, SliceThickness=4, SpacingBetweenSlices=0.5)

    first = read_source(folder).slices[0]

    assert first.SliceThickness == 4
    assert float(first.SpacingBetweenSlices) == pytest.approx(SPACING[2])


def test_directions_of_slices_are_alike_to_the_last_digit(tmp_path):
    """Scanners round them."""

    def rounded(plane, k):
        if k == 2:
            plane.ImageOrientationPatient = [0.999999, 0, 0, 0, 1, 0]

    slices = read_source(write_series(tmp_path / "ct", VOXELS, change=rounded)).slices

    assert len({tuple(plane.ImageOrientationPatient) for plane in slices}) == 1


def of_one_slice(keyword, value):
    return {"change": lambda plane, k: setattr(plane, keyword, value) if k == 2 else None}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"FrameOfReferenceUID": None}, "its slices lack FrameOfReferenceUID"),
        ({"StudyInstanceUID": None}, "its slices lack StudyInstanceUID"),
        (of_one_slice("FrameOfReferenceUID", generate_uid()), "differ in FrameOfReferenceUID"),
        (of_one_slice("SeriesInstanceUID", generate_uid()), "holds 2 DICOM series"),
    ],
)
def test_series_that_nothing_can_refer_to_is_refused(tmp_path, spoil, message):
    """In one line that names the folder."""
    folder = write_series(tmp_path / "ct", VOXELS, **spoil)

    with pytest.raises(InputError, match=f"^{folder}: .*{message}"):
        read_source(folder)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_header_that_cannot_be_read_is_refused(tmp_path):
    """Wherever the file is cut off before it says where its pixels are."""
    folder = write_series(tmp_path / "ct", VOXELS)
    content = (folder / "IM0001").read_bytes()

    for size in range(140, content.index(b"\x28\x00\x30\x00"), 40):
        (folder / "IM0001").write_bytes(content[:size])
        with pytest.raises(InputError, match=f"^{folder}"):
            read_source(folder)
