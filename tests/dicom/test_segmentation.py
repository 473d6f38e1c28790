"""A segmentation says what was in the map, where it was, and of whom it is."""

import highdicom
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.sr.codedict import codes

from nacl_monai import __version__
from nacl_monai.dicom.frames import read_source
from nacl_monai.dicom.segmentation import (
    check_segment_names,
    class_names,
    property_of,
    write_segmentation,
)
from nacl_monai.errors import InputError
from nacl_monai.inference.maps import COLORS, label_tables
from tests.dicom_series import AFFINES, DOWNWARDS, SHAPE, TILTED, read_back, write_series
from tests.same import same_values

NAMES = ["background", "liver", "Höhle", "PZ"]
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 4, SHAPE).astype(np.uint8)
PROBS = RNG.dirichlet([0.3] * 4, SHAPE).astype(np.float32)
GRIDS = {**AFFINES, "downwards": DOWNWARDS, "tilted": TILTED}
BOTH = pytest.mark.parametrize("voxels", [LABELS, PROBS[..., 1:]], ids=["labels", "probs"])


@pytest.fixture
def write(tmp_path):
    """Writes the segmentation of a series that is written first; both keep their places."""

    def write(voxels, matrix=AFFINES["oblique"], names=NAMES, **header):
        folder = write_series(tmp_path / "ct", np.zeros(SHAPE), matrix, **header)
        source = read_source(folder)
        frames = np.moveaxis(voxels, (0, 2), (2, 0))
        if source.affine[:3, 2] @ matrix[:3, 2] < 0:
            frames = frames[::-1]
        write_segmentation(np.ascontiguousarray(frames), source, names, tmp_path / "seg.dcm")
        return tmp_path / "seg.dcm"

    return write


@pytest.mark.parametrize("matrix", GRIDS.values(), ids=GRIDS)
def test_label_map_is_read_back_as_it_was(write, matrix):
    """Where each frame says that it is, in every orientation."""
    values = read_back(write(LABELS, matrix), SHAPE, matrix)

    assert values.max() == 1
    same_values((values * [1, 2, 3]).sum(-1), LABELS)


@pytest.mark.parametrize("matrix", GRIDS.values(), ids=GRIDS)
def test_probabilities_are_read_back_to_half_a_step(write, matrix):
    """Half of one of 255 steps is 1/510."""
    file = write(PROBS[..., 1:], matrix)
    seg = dcmread(file)

    assert (seg.SegmentationType, seg.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    values = read_back(file, SHAPE, matrix) / seg.MaximumFractionalValue
    # Half a step of a byte.
    np.testing.assert_allclose(values, PROBS[..., 1:], rtol=0, atol=1 / 510 + 1e-7)


@pytest.mark.parametrize("matrix", AFFINES.values(), ids=AFFINES)
@BOTH
def test_simpleitk_sees_it_where_it_sees_the_series(write, tmp_path, matrix, voxels):
    """It reads one class without an empty frame as a volume, whose slices may be in another order."""
    part = (voxels > 0).astype(np.uint8) if voxels.ndim == 3 else voxels[..., :1]
    segmentation = SimpleITK.ReadImage(str(write(part, matrix, names=NAMES[:2])))
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "ct"))
    series = SimpleITK.ReadImage(files)

    expected = SimpleITK.GetImageFromArray(part.reshape(SHAPE).T.astype(np.float32))
    expected.CopyInformation(series)
    numbers = SimpleITK.Cast(segmentation, SimpleITK.sitkFloat32)
    there = SimpleITK.Resample(numbers, series, SimpleITK.Transform(), 1)
    read, values = map(SimpleITK.GetArrayFromImage, (there, expected))
    np.testing.assert_allclose(read / 255, values, atol=1 / 510 + 1e-7)  # a set voxel is 255


@BOTH
def test_frames_refer_to_the_slices_in_their_place(write, tmp_path, voxels):
    """Each to the one instance of the series that is there."""
    seg = dcmread(write(voxels))
    slices = {plane.SOPInstanceUID: plane for plane in map(dcmread, (tmp_path / "ct").iterdir())}

    for frame in seg.PerFrameFunctionalGroupsSequence:
        reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
        there = slices[reference.ReferencedSOPInstanceUID].ImagePositionPatient
        assert frame.PlanePositionSequence[0].ImagePositionPatient == there
    (series,) = seg.ReferencedSeriesSequence
    referenced = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert referenced == {*slices}


@BOTH
def test_segments_say_what_they_are(write, voxels):
    """By name, code, color and algorithm; the background is not a segment."""
    seg = dcmread(write(voxels))
    segments = seg.SegmentSequence

    assert [segment.SegmentNumber for segment in segments] == [1, 2, 3]
    assert [segment.SegmentLabel for segment in segments] == NAMES[1:]
    kinds = [segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in segments]
    assert kinds == [codes.SCT.Liver.value, codes.SCT.Tissue.value, codes.SCT.Tissue.value]
    for segment, color in zip(segments, COLORS, strict=False):
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("nacl_monai", __version__)
        shown = highdicom.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue)
        np.testing.assert_allclose(shown.to_rgb(), color, atol=1)  # a step of a byte


@BOTH
def test_file_belongs_to_the_patient_and_the_study(write, tmp_path, voxels):
    """In a new series; names keep their letters in whatever character set the series is."""
    seg = dcmread(write(voxels))
    source = dcmread(tmp_path / "ct/IM0000")

    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert seg[keyword].value == source[keyword].value, keyword
    assert str(seg.PatientName) == "Müller^Jörg"
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.SeriesNumber == source.SeriesNumber + (1000 if voxels.ndim == 3 else 2000)


def test_frames_without_a_voxel_are_left_out(write):
    """Their segment stays, and reads back as empty."""
    few = np.where((LABELS == 3) | (np.arange(SHAPE[2]) < 2), 0, LABELS)
    file = write(few)

    assert dcmread(file).NumberOfFrames == 2 * (SHAPE[2] - 2)
    values = read_back(file, SHAPE, AFFINES["oblique"])
    assert values.shape[-1] == 3
    same_values((values * [1, 2, 3]).sum(-1), few)


def test_class_beyond_a_byte_has_its_segment(write):
    """Label maps of many classes."""
    names = ["background", *(f"class {k}" for k in range(1, 300))]
    file = write(np.where(LABELS == 3, 299, 0).astype(np.uint16), names=names)

    values = read_back(file, SHAPE, AFFINES["oblique"])
    same_values(values[..., -1], LABELS == 3)


def test_series_of_no_known_kind_is_one_line(write, tmp_path):
    """Nothing is written then."""
    with pytest.raises(InputError, match="ct: cannot be referred to"):
        write(LABELS, SOPClassUID="1.2.3")

    assert not (tmp_path / "seg.dcm").exists()


def write_table(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text(label_tables(names)["labels.txt"], encoding="utf-8")


def test_names_are_those_of_the_nearest_table(tmp_path):
    """Beside the map, or above it, where inference keeps the folders of images below its own."""
    write_table(tmp_path, {0: "background", 1: "left atrium", 2: "Höhle"})
    write_table(tmp_path / "a", {0: "background", 1: "liver"})

    assert class_names(tmp_path / "b/c/x_label.nii.gz") == ["background", "left atrium", "Höhle"]
    assert class_names(tmp_path / "a/x_label.nii.gz") == ["background", "liver"]


def test_missing_table_is_one_line(tmp_path, monkeypatch):
    """With what to write instead; relative paths have folders above them, too."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match="x.nii.gz: no labels.txt beside it names its classes"):
        class_names(tmp_path / "x.nii.gz")


@pytest.mark.parametrize("names", [["background"], ["b", ""], ["b", "a\\b"], ["b", "x" * 65]])
def test_names_that_dicom_does_not_take_are_refused(names):
    """Segments are called by 1 to 64 characters; a backslash separates values."""
    with pytest.raises(InputError, match="--names"):
        check_segment_names(names)
    check_segment_names(["background", "x" * 64])


@pytest.mark.parametrize(
    ("name", "category", "kind"),
    [
        ("liver", codes.SCT.AnatomicalStructure, codes.SCT.Liver),
        ("Left Ventricle", codes.SCT.AnatomicalStructure, codes.SCT.LeftVentricle),
        ("gray_matter", codes.SCT.AnatomicalStructure, codes.SCT.GrayMatter),
        ("edema", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Edema),
    ],
)
def test_name_that_dicom_lists_has_its_code(name, category, kind):
    """Whatever its case and its spaces."""
    assert property_of(name) == (category, kind, False)
