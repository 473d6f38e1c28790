"""Brains in MRBrainS18's layout: ten tissues in three sequences."""

import nibabel
import numpy as np
import pytest

from nacl_monai.phantoms import PHANTOMS
from tests.phantoms.files import labeled_cases, neighbors, official_files, voxels

(BACKGROUND, CORTEX, NUCLEI, WHITE, LESION, FLUID, VENTRICLE, CEREBELLUM, STEM, INFARCT, OTHER) = (
    range(11)
)


@pytest.fixture(scope="module")
def patients(phantom_of):
    """ID → label and sequences."""
    return {
        path.parent.name: {
            "label": voxels(path),
            **{f: voxels(path.parent / "pre" / f"{f}.nii.gz") for f in ("reg_T1", "reg_IR", "FLAIR")},
        }
        for path in sorted(phantom_of("mrbrains").glob("training/*/segm.nii.gz"))
    }  # fmt: skip


def test_slices_are_3_mm_thick(phantom_of):
    """Spacing is the official 0.958 × 0.958 × 3 mm."""
    for path in phantom_of("mrbrains").glob("training/*/segm.nii.gz"):
        np.testing.assert_allclose(nibabel.load(path).header.get_zooms(), (0.958, 0.958, 3))


def test_every_tissue_but_the_infarct_is_in_every_patient(patients):
    """Some patients have an infarct, some none; the other ten labels are in each."""
    infarct = {name: INFARCT in patient["label"] for name, patient in patients.items()}
    for patient in patients.values():
        assert set(np.unique(patient["label"])) | {INFARCT} == set(range(11))
    assert 0 < sum(infarct.values()) < len(patients) == 7


def test_tissues_lie_in_layers(patients):
    """White matter does not touch what is outside the brain; ventricles are in deep tissue."""
    for patient in patients.values():
        label = patient["label"]
        assert not (neighbors(np.isin(label, (WHITE, LESION, NUCLEI))) & (label == 0)).any()
        around = label[neighbors(label == VENTRICLE)]
        assert np.isin(around, (WHITE, LESION, NUCLEI, CORTEX, STEM)).mean() > 0.8
        cortex = label[neighbors(label == WHITE)]
        assert (cortex == CORTEX).mean() > 0.5


def test_cerebellum_lies_below_and_behind(patients):
    """Axes run to the right, front and top: both are below the cortex, the cerebellum behind it."""
    for patient in patients.values():
        cortex, cerebellum, stem = (
            np.argwhere(patient["label"] == k).mean(axis=0) for k in (CORTEX, CEREBELLUM, STEM)
        )
        assert cerebellum[2] < cortex[2]
        assert stem[2] < cortex[2]
        assert cerebellum[1] < stem[1]


def test_each_modality_shows_its_contrasts(patients):
    """T1 and IR: white above gray above fluid. FLAIR: lesions above all, fluid dark."""
    for patient in patients.values():
        median = {
            (f, k): np.median(patient[f][patient["label"] == k])
            for f in ("reg_T1", "reg_IR", "FLAIR")
            for k in (CORTEX, WHITE, LESION, FLUID, VENTRICLE)
        }
        for f in ("reg_T1", "reg_IR"):
            assert median[f, WHITE] > 1.15 * median[f, CORTEX]
            assert median[f, CORTEX] > 1.3 * median[f, VENTRICLE]
        assert median["FLAIR", LESION] > 1.2 * median["FLAIR", WHITE]
        assert median["FLAIR", CORTEX] > 2 * median["FLAIR", VENTRICLE]


def test_head_is_not_stripped(patients):
    """The bright scalp is outside the labels."""
    for patient in patients.values():
        outside = patient["reg_T1"][patient["label"] == 0]
        white = np.median(patient["reg_T1"][patient["label"] == WHITE])
        assert (outside > white).mean() > 0.02


def test_layout_is_the_official_one(phantom_of):
    """Nothing but three sequences and a segmentation of the seven patients is there."""
    ids = ("1", "4", "5", "7", "14", "070", "148")
    files = ("pre/reg_T1", "pre/reg_IR", "pre/FLAIR", "segm")
    expected = {f"training/{patient}/{file}.nii.gz" for patient in ids for file in files}
    assert official_files(phantom_of("mrbrains")) == expected
    assert PHANTOMS["mrbrains"].most == PHANTOMS["mrbrains"].default_cases == 7


@pytest.mark.nightly
def test_full_size_is_the_official_matrix(full_size_of):
    """240×240×48 voxels."""
    ((_, label),) = labeled_cases(full_size_of("mrbrains"), "mrbrains")
    assert voxels(label).shape == (240, 240, 48)
