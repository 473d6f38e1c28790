"""Kidneys with a tumor in KiTS19's layout: slices first, some cases without segmentation."""

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from nacl_monai.phantoms import PHANTOMS
from tests.phantoms.files import labeled_cases, neighbors, official_files, voxels

KIDNEY, TUMOR = 1, 2


@pytest.fixture(scope="module")
def scans(phantom_of):
    """Per segmented case: image and segmentation as on disk."""
    return [
        (nibabel.load(path.with_name("imaging.nii.gz")), nibabel.load(path))
        for path in sorted(phantom_of("kits").glob("data/*/segmentation.nii.gz"))
    ]


def test_first_axis_runs_through_the_slices(scans):
    """The affine maps the array's axes to −z, −y and −x, and the slices are thickest."""
    for image, _ in scans:
        assert nibabel.aff2axcodes(image.affine) == ("I", "P", "L")
        thickness, row, column = image.header.get_zooms()
        assert row == column < thickness
        assert image.shape[1] == image.shape[2]
        np.testing.assert_allclose(
            image.affine[:3, :3], [[0, 0, -column], [0, -row, 0], [-thickness, 0, 0]], rtol=1e-6
        )


def test_last_cases_have_no_segmentation(phantom_of):
    """As officially from case_00210 on, the images' folders hold nothing else."""
    for number in (210, 211):
        folder = phantom_of("kits") / "data" / f"case_{number:05d}"
        assert [path.name for path in folder.iterdir()] == ["imaging.nii.gz"]
        assert voxels(folder / "imaging.nii.gz").dtype == np.int16


def test_tumor_sits_on_a_kidney(scans):
    """There is one tumor, in one piece but for a few voxels, and it shares faces with a kidney."""
    for _, label in scans:
        label = np.asarray(label.dataobj)
        tumor = label == TUMOR
        pieces, count = ndimage.label(tumor)
        largest = np.bincount(pieces[tumor])[1:].max()
        assert count
        assert largest > 0.9 * tumor.sum()
        assert (neighbors(tumor) & (label == KIDNEY)).sum() >= 5


def test_there_is_a_kidney_on_each_side(scans):
    """The last axis runs from right to left: kidney is in both halves."""
    for _, label in scans:
        kidney = np.asarray(label.dataobj) == KIDNEY
        half = kidney.shape[2] // 2
        assert 0.25 < kidney[..., half:].sum() / kidney.sum() < 0.75


def test_tumor_is_darker_than_the_enhanced_kidney(scans):
    """Medians in Hounsfield units: tumor below kidney, both above water; air outside."""
    for image, label in scans:
        image, label = np.asarray(image.dataobj), np.asarray(label.dataobj)
        assert 0 < np.median(image[label == TUMOR]) < np.median(image[label == KIDNEY]) - 20
        assert abs(np.median(image[:, :4, :4]) + 1000) < 30


def test_layout_is_the_official_one(phantom_of):
    """Nothing but an image per case, and a segmentation of those before case_00210, is there."""
    images = {f"data/case_{number:05d}/imaging.nii.gz" for number in [*range(6), 210, 211]}
    labels = {f"data/case_{number:05d}/segmentation.nii.gz" for number in range(6)}
    assert official_files(phantom_of("kits")) == images | labels
    assert PHANTOMS["kits"].most == 210


@pytest.mark.nightly
def test_full_size_is_the_official_matrix(full_size_of):
    """Slices of 512×512 voxels along the first axis."""
    ((_, label),) = labeled_cases(full_size_of("kits"), "kits")
    assert voxels(label).shape == (120, 512, 512)
