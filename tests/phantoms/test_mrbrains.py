"""Brains in MRBrainS18's layout: ten tissues in three sequences."""

import nibabel
import numpy as np
import pytest

from tests.phantoms.files import neighbors, voxels

(BACKGROUND, CORTEX, NUCLEI, WHITE, LESION, FLUID, VENTRICLE, CEREBELLUM, STEM, INFARCT, OTHER) = (
    range(11)
)


@pytest.fixture(scope="module")
def subjects(phantom_of):
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


def test_every_tissue_but_the_infarct_is_in_every_subject(subjects):
    """Some subjects have an infarct, some none; the other ten labels are in each."""
    infarct = {name: INFARCT in subject["label"] for name, subject in subjects.items()}
    for subject in subjects.values():
        assert set(np.unique(subject["label"])) | {INFARCT} == set(range(11))
    assert 0 < sum(infarct.values()) < len(subjects) == 7


def test_tissues_lie_in_layers(subjects):
    """White matter does not touch what lies outside the brain; ventricles lie in deep tissue."""
    for subject in subjects.values():
        label = subject["label"]
        assert not (neighbors(np.isin(label, (WHITE, LESION, NUCLEI))) & (label == 0)).any()
        around = label[neighbors(label == VENTRICLE)]
        assert np.isin(around, (WHITE, LESION, NUCLEI, CORTEX, STEM)).mean() > 0.8
        cortex = label[neighbors(label == WHITE)]
        assert (cortex == CORTEX).mean() > 0.5


def test_cerebellum_lies_below_and_behind(subjects):
    """Axes run to the right, front and top: both are below the cortex, the cerebellum behind it."""
    for subject in subjects.values():
        cortex, cerebellum, stem = (
            np.argwhere(subject["label"] == k).mean(axis=0) for k in (CORTEX, CEREBELLUM, STEM)
        )
        assert cerebellum[2] < cortex[2]
        assert stem[2] < cortex[2]
        assert cerebellum[1] < stem[1]


def test_contrasts(subjects):
    """T1 and IR: white above gray above fluid. FLAIR: lesions above all, fluid dark."""
    for subject in subjects.values():
        median = {
            (f, k): np.median(subject[f][subject["label"] == k])
            for f in ("reg_T1", "reg_IR", "FLAIR")
            for k in (CORTEX, WHITE, LESION, FLUID, VENTRICLE)
        }
        for f in ("reg_T1", "reg_IR"):
            assert median[f, WHITE] > 1.15 * median[f, CORTEX]
            assert median[f, CORTEX] > 1.3 * median[f, VENTRICLE]
        assert median["FLAIR", LESION] > 1.2 * median["FLAIR", WHITE]
        assert median["FLAIR", CORTEX] > 2 * median["FLAIR", VENTRICLE]


def test_head_is_not_stripped(subjects):
    """The bright scalp lies outside the labels."""
    for subject in subjects.values():
        outside = subject["reg_T1"][subject["label"] == 0]
        white = np.median(subject["reg_T1"][subject["label"] == WHITE])
        assert (outside > white).mean() > 0.02
