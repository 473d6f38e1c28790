"""The command ``nacl-monai dicom``: from the maps of inference to files, or one line."""

import numpy as np
import pytest
from pydicom import dcmread

from nacl_monai.cli import main
from nacl_monai.dicom import __main__
from nacl_monai.inference.maps import label_tables
from tests.conftest import save_nifti
from tests.dicom_series import AFFINES, SHAPE, read_back, write_series
from tests.same import same_bits, same_values

MATRIX = AFFINES["short_axis"]
RNG = np.random.default_rng(4)
PROBS = RNG.dirichlet([1, 1, 1], SHAPE).astype(np.float32)
LABELS = PROBS.argmax(-1).astype(np.uint8)


LABEL_MAP = "predictions/ct_label.nii.gz"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a series, and what inference writes of it."""
    monkeypatch.chdir(tmp_path)
    write_series(tmp_path / "ct", np.zeros(SHAPE), MATRIX)
    save_nifti(LABELS, tmp_path / LABEL_MAP, MATRIX)
    save_nifti(PROBS, tmp_path / "predictions/ct_probabilities.nii.gz", MATRIX)
    save_nifti(PROBS.max(-1), tmp_path / "predictions/ct_confidence.nii.gz", MATRIX)
    table = label_tables({0: "background", 1: "liver", 2: "tumor"})["labels.txt"]
    (tmp_path / "predictions/labels.txt").write_text(table)
    return tmp_path


def test_maps_of_inference_become_segmentations_beside_them(place, capsys):
    """With the names that inference left there; both kinds by one command."""
    for kind in ("label", "probabilities"):
        assert main(["dicom", "ct", f"predictions/ct_{kind}.nii.gz"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "segment 1: liver, coded as Liver (SCT 10200004)",
            "segment 2: tumor, coded as Tissue (SCT 85756007), since DICOM lists no such name",
            f"wrote predictions/ct_{kind}.dcm",
        ]

    labels = read_back(place / "predictions/ct_label.dcm", SHAPE, MATRIX)
    same_values((labels * [1, 2]).sum(-1), LABELS)
    probs = read_back(place / "predictions/ct_probabilities.dcm", SHAPE, MATRIX) / 255
    # Half a step of a byte.
    np.testing.assert_allclose(probs, PROBS[..., 1:], rtol=0, atol=1 / 510 + 1e-7)


def test_numbers_become_parametric_maps(place, capsys):
    """One of each class, or of one other map; every voxel is where and what it was."""
    for kind, values in (
        ("probabilities", PROBS[..., 1:]),
        ("confidence", PROBS.max(-1, keepdims=True)),
    ):
        assert main(["dicom", "ct", f"predictions/ct_{kind}.nii.gz", "--as", "map"]) == 0
        classes = ["_liver", "_tumor"] if kind == "probabilities" else [""]
        files = [f"predictions/ct_{kind}{name}.dcm" for name in classes]
        assert capsys.readouterr().out.splitlines() == [f"wrote {file}" for file in files]
        for k, file in enumerate(files):
            image = dcmread(place / file)
            stored = np.frombuffer(image.FloatPixelData, np.float32)
            frames = stored.reshape(-1, image.Rows, image.Columns)
            for frame, group in zip(frames, image.PerFrameFunctionalGroupsSequence, strict=True):
                right, back, up = group.PlanePositionSequence[0].ImagePositionPatient
                x, y, z, _ = np.linalg.solve(MATRIX, [-right, -back, up, 1])
                np.testing.assert_allclose([x, y], 0, atol=1e-3)
                same_bits(frame, values[:, :, round(z), k].T, "they are read back")
            assert image.PatientID == dcmread(place / "ct/IM0001").PatientID
            assert image.Modality == "OT" or image.SOPClassUID.name == "Parametric Map Storage"


def test_names_and_file_can_be_given(place):
    """In place of those that are found; the folder is made."""
    args = ["--names", "background", "left kidney", "cyst", "--output", "new/x.dcm"]

    assert main(["dicom", "ct", LABEL_MAP, *args]) == 0
    segments = dcmread(place / "new/x.dcm").SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == ["left kidney", "cyst"]


def test_empty_label_map_is_written_with_a_warning(place, capsys):
    """It may mean that a network fails."""
    save_nifti(np.zeros_like(LABELS), place / LABEL_MAP, MATRIX)

    assert main(["dicom", "ct", LABEL_MAP]) == 0
    warning = f"warning: {LABEL_MAP}: holds no voxel of a class, so every frame is empty\n"
    assert capsys.readouterr().err == warning
    assert not read_back(place / "predictions/ct_label.dcm", SHAPE, MATRIX).any()


CONTOURS = {"outer_liver": PROBS[..., 1] > 0.1, "inner_liver": PROBS[..., 1] > 0.6}
CONTOURS |= {"outer_tumor": PROBS[..., 2] > 0.2}


def contour_files(place):
    for name, inside in CONTOURS.items():
        save_nifti(inside.astype(np.uint8), place / f"contours/ct_{name}.nii.gz", MATRIX)
    return [f"contours/ct_{name}.nii.gz" for name in CONTOURS]


def test_contours_become_segments_that_overlap(place, capsys):
    """One for each file, in the order of the words; all are read back voxel by voxel."""
    assert main(["dicom", "ct", *contour_files(place)]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "segment 1: liver, outer contour, coded as Liver (SCT 10200004)",
        "segment 2: liver, inner contour, coded as Liver (SCT 10200004)",
        "segment 3: tumor, outer contour, coded as Tissue (SCT 85756007), since DICOM lists no such "
        "name",
        "wrote contours/ct_contours.dcm",
    ]
    read = dcmread(place / "contours/ct_contours.dcm")
    assert (read.SegmentationType, len(read.SegmentSequence)) == ("BINARY", 3)
    voxels = read_back(place / "contours/ct_contours.dcm", SHAPE, MATRIX)
    same_values(voxels, np.stack([*CONTOURS.values()], -1))


def contours_and(*extra):
    """All contours of a case, and maps that are none of them."""

    def command(place):
        for file in extra:
            save_nifti(LABELS, place / file, MATRIX)
        return [*contour_files(place), *extra]

    return command


def other_grid(place):
    save_nifti(LABELS, place / LABEL_MAP, AFFINES["oblique"])
    return [LABEL_MAP]


def there_already(place):
    (place / "predictions/ct_label.dcm").write_text("precious")
    return [LABEL_MAP]


def as_map(_):
    return [LABEL_MAP, "--as", "map"]


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (contours_and(LABEL_MAP), 2, f"{LABEL_MAP} is too much"),
        (contours_and("contours/mr_outer_liver.nii.gz"), 2, "mr_outer_liver.nii.gz is too much"),
        (contours_and("contours/ct_outer_all.nii.gz"), 1, "is no contour, which is 1 inside"),
        (as_map, 1, "is not a map of numbers of 0 or more; give"),
        (other_grid, 1, "ct_label.nii.gz: its affine puts voxels up to"),
        (there_already, 1, "ct_label.dcm: is there already; remove it, or choose another --output"),
    ],
)
def test_what_cannot_be_written_is_one_line(place, capsys, make, code, message):
    """No file is made or changed."""
    args = make(place)
    before = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}

    assert main(["dicom", "ct", *args]) == code

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert message in err
    assert {file: file.read_bytes() for file in place.rglob("*") if file.is_file()} == before


def test_missing_highdicom_is_one_line(place, capsys, monkeypatch):
    """With the extra to install."""
    monkeypatch.setattr(__main__, "find_spec", lambda _: None)

    assert main(["dicom", "ct", LABEL_MAP]) == 1
    line = "error: highdicom: is not installed; pip install highdicom pydicom\n"
    assert capsys.readouterr().err == line
    assert not list(place.rglob("*.dcm"))
