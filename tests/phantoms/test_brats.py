"""Gliomas in BraTS's layout: nested regions in a skull-stripped brain."""

import nibabel
import numpy as np
import pytest

from tests.phantoms.files import labeled_cases, neighbors, official_files, voxels

CORE, EDEMA, ENHANCING = 1, 2, 4
MODALITIES = ("flair", "t1", "t1ce", "t2")


@pytest.fixture(scope="module")
def patients(phantom_of):
    """Per patient: grade, label, and modality → image."""
    return [
        (
            seg.parts[-3],
            voxels(seg),
            {m: voxels(seg.with_name(seg.name.replace("seg", m))) for m in MODALITIES},
        )
        for seg in sorted(phantom_of("brats").glob("*/*/*_seg.nii.gz"))
    ]


def test_files_are_16_bit_at_1_mm_in_the_official_orientation(phantom_of):
    """Affine diag(−1, −1, 1) with the last row's y as offset, so that the head faces forward."""
    for path in phantom_of("brats").glob("*/*/*.nii.gz"):
        image = nibabel.load(path)
        assert image.get_data_dtype() == np.int16
        expected = np.diag([-1.0, -1.0, 1.0, 1.0])
        expected[1, 3] = image.shape[1] - 1
        np.testing.assert_array_equal(image.affine, expected)


def test_background_is_zero_and_the_brain_is_not(patients):
    """Outside the brain every modality is exactly 0, inside never; slices at both ends are empty."""
    for _, label, images in patients:
        brain = images["t1"] != 0
        assert 0.1 < brain.mean() < 0.5
        assert not brain[..., 0].any()
        assert not brain[..., -1].any()
        assert not brain[[0, -1]].any()
        for image in images.values():
            np.testing.assert_array_equal(image != 0, brain)
            assert image.min() == 0
        assert not label[~brain].any()


def test_both_grades_are_there_and_enhance_differently(patients):
    """Every high grade has an enhancing rim, some low grade has none, and each has edema."""
    enhancing = {"HGG": [], "LGG": []}
    for grade, label, _ in patients:
        enhancing[grade].append((label == ENHANCING).any())
        assert (label == EDEMA).any()
    assert all(enhancing["HGG"])
    assert enhancing["HGG"]
    assert not all(enhancing["LGG"])


def test_regions_are_nested(patients):
    """Necrosis of a high grade is within the rim, and the core within the edema.

    The exception is where the tumor reaches fluid or the brain's surface: background there.
    """
    for grade, label, _ in patients:
        core = np.isin(label, (CORE, ENHANCING))
        around = label[neighbors(core)]
        assert (around == EDEMA).mean() > 0.7
        if grade == "HGG" and (label == CORE).any():
            rim = label[neighbors(label == CORE)]
            assert (rim == ENHANCING).mean() > 0.7


def test_each_modality_shows_its_contrasts(patients):
    """FLAIR and T2 show edema bright, T1ce but not T1 the rim; in T1 the core is dark."""
    for _, label, images in patients:
        brain = (images["t1"] != 0) & (label == 0)
        healthy = {m: np.median(image[brain]) for m, image in images.items()}

        def brightness(modality, region, images=images, label=label, healthy=healthy):
            return np.median(images[modality][label == region]) / healthy[modality]

        assert brightness("flair", EDEMA) > 1.3
        assert brightness("t2", EDEMA) > 1.3
        assert brightness("t1", EDEMA) < 1
        if (label == ENHANCING).any():
            assert brightness("t1ce", ENHANCING) > 1.1 > 1 > brightness("t1", ENHANCING)
        if (label == CORE).any():
            assert brightness("t1", CORE) < 0.8


def test_layout_is_the_official_one(phantom_of):
    """Nothing but four modalities and a segmentation per patient is there; every third is an LGG."""
    grades = {number: "LGG" if number % 3 == 2 else "HGG" for number in range(1, 7)}
    names = {number: f"BraTS19_TCIA{number:02d}_{100 + number}_1" for number in grades}
    assert official_files(phantom_of("brats")) == {
        f"{grade}/{names[number]}/{names[number]}_{kind}.nii.gz"
        for number, grade in grades.items()
        for kind in (*MODALITIES, "seg")
    }


@pytest.mark.nightly
def test_full_size_is_the_official_matrix(full_size_of):
    """240×240×155 voxels of 1 mm."""
    ((_, label),) = labeled_cases(full_size_of("brats"), "brats")
    assert voxels(label).shape == (240, 240, 155)
