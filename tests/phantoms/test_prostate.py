"""The prostate's zones in the Decathlon's layout."""

import nibabel
import numpy as np
import pytest

from tests.phantoms.files import labeled_cases, neighbors, niftis, official_files, voxels

PERIPHERAL, TRANSITION = 1, 2


def test_layout_is_the_official_one(phantom_of):
    """Nothing but training images with labels, two test images and `dataset.json` is there."""
    training = {
        f"{folder}/prostate_{number:02d}.nii.gz"
        for folder in ("imagesTr", "labelsTr")
        for number in range(6)
    }
    test = {f"imagesTs/prostate_{number:02d}.nii.gz" for number in (32, 33)}
    assert official_files(phantom_of("prostate")) == training | test | {"dataset.json"}


def test_slices_are_thick_and_some_cases_oblique(phantom_of):
    """Slices are six times as thick as a voxel is wide; some scans are oblique."""
    oblique = []
    for image, _ in niftis(phantom_of("prostate"), "prostate"):
        assert image.shape[3] == 2
        np.testing.assert_allclose(image.header.get_zooms()[:3], (0.6, 0.6, 3.6), rtol=1e-5)
        oblique.append(nibabel.affines.obliquity(image.affine).max() > 0.01)
    assert 0 < sum(oblique) < len(oblique)


def test_peripheral_zone_lies_around_and_behind(phantom_of):
    """The transition zone is wrapped from behind, in one gland."""
    for _, label in niftis(phantom_of("prostate"), "prostate"):
        label = np.asarray(label.dataobj)
        outer, inner = (np.argwhere(label == k).mean(axis=0) for k in (PERIPHERAL, TRANSITION))
        assert outer[1] < inner[1]
        around = label[neighbors(label == TRANSITION)]
        assert (around == PERIPHERAL).mean() > 0.6
        assert (label == PERIPHERAL)[..., (label == TRANSITION).any((0, 1))].any((0, 1)).all()


def test_peripheral_zone_is_brighter_in_both_channels(phantom_of):
    """The peripheral zone is brighter than the transition zone in T2 and in ADC."""
    for image, label in niftis(phantom_of("prostate"), "prostate"):
        image, label = np.asarray(image.dataobj), np.asarray(label.dataobj)
        for channel, factor in ((0, 1.25), (1, 1.1)):
            outer, inner = (np.median(image[label == k, channel]) for k in (1, 2))
            assert outer > factor * inner
        assert 800 < np.median(image[label > 0, 1]) < 2500


@pytest.mark.nightly
def test_full_size_is_the_official_matrix(full_size_of):
    """320×320×20 voxels."""
    ((_, label),) = labeled_cases(full_size_of("prostate"), "prostate")
    assert voxels(label).shape == (320, 320, 20)
