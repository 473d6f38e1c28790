import nibabel as nib
import numpy as np
import pytest

from nacl_monai.phantoms import acdc, write_acdc_phantom
from nacl_monai.phantoms.writing import case_streams
from tests.phantoms.files import contents

CASES = 3
RV, MYO, LV = 1, 2, 3


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """The phantom's first three patients."""
    return write_acdc_phantom(tmp_path_factory.mktemp("phantom") / "acdc", cases=CASES, seed=0)


@pytest.fixture(scope="session")
def frames(phantom):
    """Per patient: ED image and label, ES image and label, as NIfTI."""
    return [
        [nib.load(patient / f"{patient.name}_frame{frame:02d}{suffix}.nii.gz")
         for frame in (int(info["ED"]), int(info["ES"])) for suffix in ("", "_gt")]
        for patient, info in described(phantom)
    ]  # fmt: skip


def described(root):
    for patient in sorted((root / "training").iterdir()):
        lines = (patient / "Info.cfg").read_text().splitlines()
        yield patient, dict(line.split(": ") for line in lines)


def voxels(image):
    return np.asarray(image.dataobj)


def in_plane_neighbors(mask):
    """Voxels that share an edge in the plane with a voxel of the mask."""
    grown = np.zeros_like(mask)
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown & ~mask


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


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


def test_every_frame_shows_all_structures_and_nothing_else(frames):
    """Labels are 8-bit and hold background, RV, MYO and LV, each at least once in a frame."""
    for _, ed, _, es in frames:
        for label in (voxels(ed), voxels(es)):
            assert label.dtype == np.uint8
            assert set(np.unique(label)) == {0, RV, MYO, LV}


def test_images_are_signed_16_bit_and_never_negative(frames):
    """Magnitude images are stored as ACDC stores them, without a saturated background."""
    for ed, _, es, _ in frames:
        for image in (voxels(ed), voxels(es)):
            assert image.dtype == np.int16
            assert image.min() >= 0
            assert 50 < np.percentile(image, 99) < 4095


def test_myocardium_encloses_the_left_ventricle(frames):
    """A cavity voxel's neighbors in the plane are cavity or muscle: never RV, never background."""
    for _, ed, _, es in frames:
        for label in (voxels(ed), voxels(es)):
            assert set(label[in_plane_neighbors(label == LV)]) == {MYO}


def test_the_right_ventricle_lies_on_the_septum(frames):
    """The RV touches the myocardium, and in the displayed image lies to the left of the LV."""
    for _, ed, _, _ in frames:
        label = voxels(ed)
        assert (in_plane_neighbors(label == RV) & (label == MYO)).any()
        assert np.nonzero(label == RV)[0].mean() < np.nonzero(label == LV)[0].mean()


def test_systole_empties_the_cavity_and_thickens_the_wall(frames):
    """From ED to ES the LV's volume falls and the muscle's share of the mid-slice rises."""
    for _, ed, _, es in frames:
        ed, es = voxels(ed), voxels(es)
        assert (es == LV).sum() < 0.9 * (ed == LV).sum()
        middle = np.argsort((es == LV).sum(axis=(0, 1)))[-3]
        ratio = [(x == MYO)[..., middle].sum() / (x == LV)[..., middle].sum() for x in (ed, es)]
        assert ratio[1] > ratio[0]


def test_blood_is_brighter_than_muscle(frames):
    """Within a frame, both cavities' median signal is well above the myocardium's."""
    for ed, ed_label, es, es_label in frames:
        for image, label in ((ed, ed_label), (es, es_label)):
            rv, myo, lv = (np.median(voxels(image)[voxels(label) == k]) for k in (RV, MYO, LV))
            assert min(rv, lv) > 1.3 * myo


def test_geometry_is_shared_and_realistic(frames):
    """Image and label have one oblique affine; spacing and size are those of short-axis stacks."""
    for images in frames:
        first = images[0]
        x, y, z = first.header.get_zooms()
        assert x == y
        assert 1.37 <= x <= 1.9
        assert 5 <= z <= 10
        assert 110 <= min(first.shape[:2]) <= max(first.shape[:2]) <= 140
        assert 6 <= first.shape[2] <= 10
        direction = first.affine[:3, :3] / (x, y, z)
        np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-5)
        assert np.abs(direction).max() < 0.95, "a short-axis stack is oblique to the body's axes"
        np.testing.assert_allclose(first.header.get_qform(), first.header.get_sform(), atol=1e-3)
        for other in images[1:]:
            assert other.shape == first.shape
            assert other.header.get_zooms() == first.header.get_zooms()
            np.testing.assert_array_equal(other.affine, first.affine)


def test_patients_differ(frames):
    """No two patients share their spacing, orientation or label."""
    spacings = {ed.header.get_zooms()[0] for ed, *_ in frames}
    volumes = {int((voxels(label) == LV).sum()) for _, label, *_ in frames}
    assert len(spacings) == len(volumes) == CASES


def test_fewer_cases_are_the_first_of_more_and_the_same_bytes(phantom, tmp_path):
    """A seed reproduces every byte of a patient's files, however many patients follow."""
    one = contents(write_acdc_phantom(tmp_path / "acdc", cases=1, seed=0) / "training")
    more = contents(phantom / "training")
    assert one == {path: more[path] for path in more if path.startswith("patient001/")}


def test_another_seed_is_another_patient(phantom, tmp_path):
    """Nothing drawn at random survives a change of the seed."""
    other = write_acdc_phantom(tmp_path / "acdc", cases=1, seed=1) / "training" / "patient001"
    first = phantom / "training" / "patient001"
    for name in ("patient001_4d.nii.gz", "Info.cfg"):
        assert (other / name).read_bytes() != (first / name).read_bytes()


def test_annotator_errs_smoothly_and_not_much():
    """The label misses the true boundary here and there, but mean Dice stays above 0.85."""
    for number in range(1, CASES + 1):
        anatomy, _, annotator = case_streams(0, number)
        patient = acdc.draw_patient(anatomy, number)
        scores = []
        for contraction in (0.0, 1.0):
            truth = acdc.true_labels(patient, contraction)
            label = acdc.annotate(annotator, patient, contraction)
            scores += [dice(truth == k, label == k) for k in (RV, MYO, LV)]
        assert 0.85 < np.mean(scores) < 0.95
        assert max(scores) < 1
