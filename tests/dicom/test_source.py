"""What a segmentation takes from its series."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from nacl_monai.dicom.source import read_source
from nacl_monai.errors import InputError
from tests.dicom_series import SHAPE, SPACING, TILTED, write_series

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

    def rounded(one, k):
        if k == 2:
            one.ImageOrientationPatient = [0.999999, 0, 0, 0, 1, 0]

    slices = read_source(write_series(tmp_path / "ct", VOXELS, change=rounded)).slices

    assert len({tuple(one.ImageOrientationPatient) for one in slices}) == 1


def of_one_slice(keyword, value):
    return {"change": lambda one, k: setattr(one, keyword, value) if k == 2 else None}


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


def test_file_is_no_folder(tmp_path):
    """A series is named by its folder."""
    folder = write_series(tmp_path / "ct", VOXELS)

    assert dcmread(folder / "IM0001")
    with pytest.raises(InputError, match="is not a folder; give the folder of the DICOM series"):
        read_source(folder / "IM0001")
