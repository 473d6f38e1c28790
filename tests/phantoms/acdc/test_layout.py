"""A patient's folder is the official one, and repeatable."""

import nibabel as nib
import numpy as np

from nacl_monai.phantoms import PHANTOMS
from nacl_monai.phantoms.acdc.annotator import exact_labels
from nacl_monai.phantoms.acdc.patient import draw_patient
from nacl_monai.phantoms.writing import request_case
from tests.phantoms.acdc.files import CASES, LV, described
from tests.phantoms.files import contents


def voxels(image):
    return np.asarray(image.dataobj)


def test_layout_is_the_official_one(phantom):
    """A patient has Info.cfg, the cine, and an image and a label of the frames it names."""
    patients = list(described(phantom))
    assert [patient.name for patient, _ in patients] == ["patient001", "patient002", "patient003"]
    for patient, info in patients:
        assert list(info) == ["ED", "ES", "Group", "Height", "NbFrame", "Weight"]
        assert info["Group"] in {"NOR", "DCM", "HCM", "MINF", "RV"}
        stems = [f"{patient.name}_frame{int(info[phase]):02d}" for phase in ("ED", "ES")]
        images = [f"{stem}{suffix}.nii.gz" for stem in stems for suffix in ("", "_gt")]
        expected = {"Info.cfg", f"{patient.name}_4d.nii.gz", *images}
        assert {path.name for path in patient.iterdir()} == expected


def test_cine_holds_the_annotated_frames(phantom):
    """The frames' images are the cine's frames of that number, counted from one."""
    for patient, info in described(phantom):
        cine = voxels(nib.load(patient / f"{patient.name}_4d.nii.gz"))
        assert cine.shape[3] == int(info["NbFrame"])
        for phase in ("ED", "ES"):
            frame = int(info[phase])
            image = voxels(nib.load(patient / f"{patient.name}_frame{frame:02d}.nii.gz"))
            np.testing.assert_array_equal(image, cine[..., frame - 1])


def test_images_are_signed_16_bit_and_never_negative(frames):
    """Magnitude images are stored as ACDC stores them, without a saturated background."""
    for ed, _, es, _ in frames:
        for image in (voxels(ed), voxels(es)):
            assert image.dtype == np.int16
            assert image.min() >= 0
            assert 50 < np.percentile(image, 99) < 4095


def test_patients_differ(frames):
    """No two patients share their spacing, orientation or label."""
    spacings = {ed.header.get_zooms()[0] for ed, *_ in frames}
    volumes = {int((voxels(label) == LV).sum()) for _, label, *_ in frames}
    assert len(spacings) == len(volumes) == CASES


def test_fewer_cases_are_the_first_of_more_and_the_same_bytes(phantom, tmp_path):
    """A seed reproduces every byte of a patient's files, however many patients follow."""
    one = contents(PHANTOMS["acdc"].write(tmp_path / "acdc", cases=1, seed=0) / "training")
    more = contents(phantom / "training")
    assert one == {path: more[path] for path in more if path.startswith("patient001/")}


def test_another_seed_is_another_patient(phantom, tmp_path):
    """Nothing drawn at random survives a change of the seed."""
    other = PHANTOMS["acdc"].write(tmp_path / "acdc", cases=1, seed=1) / "training" / "patient001"
    first = phantom / "training" / "patient001"
    for name in ("patient001_4d.nii.gz", "Info.cfg"):
        assert (other / name).read_bytes() != (first / name).read_bytes()


def test_annotators_label_the_same_images(phantom, tmp_path):
    """Files differ in the labels alone; an annotator without a deviation labels what is there."""
    first = {path: of for path, of in contents(phantom).items() if "/patient001/" in path}
    words = {"cases": 1, "seed": 0}
    second = contents(PHANTOMS["acdc"].write(tmp_path / "a", annotator=2, **words) / "training")
    stated = PHANTOMS["acdc"].write(tmp_path / "b", annotator=2, deviation=0.0, **words)
    differing = {path for path, of in first.items() if second[path.removeprefix("training/")] != of}
    assert differing == {path for path in first if path.endswith("_gt.nii.gz")}

    patient = draw_patient(request_case(0, 1).anatomy, 1)
    for frame, contraction in patient.phases.items():
        label = stated / "training" / "patient001" / f"patient001_frame{frame:02d}_gt.nii.gz"
        np.testing.assert_array_equal(voxels(nib.load(label)), exact_labels(patient, contraction))
