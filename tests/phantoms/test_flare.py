"""Abdominal organs in FLARE's layout: Hounsfield units and a body's left and right."""

import nibabel
import numpy as np
import pytest

from tests.phantoms.files import labeled_cases, official_files, voxels

LIVER, KIDNEY, SPLEEN, PANCREAS = 1, 2, 3, 4


@pytest.fixture(scope="module")
def scans(phantom_of):
    """Per case: image and label as on disk."""
    root = phantom_of("flare")
    return [
        (nibabel.load(root / "TrainingImg" / mask.name.replace(".nii", "_0000.nii")), nibabel.load(mask))
        for mask in sorted((root / "TrainingMask").iterdir())
    ]  # fmt: skip


def in_body(image):
    """Voxels with the axes right, anterior, superior."""
    return np.asarray(nibabel.as_closest_canonical(image).dataobj)


def test_image_is_stored_in_16_bits_and_label_in_8(scans):
    """CT is stored in signed 16 bits, labels in 8."""
    for image, label in scans:
        assert image.get_data_dtype() == np.int16
        assert label.get_data_dtype() == np.uint8


def test_spacing_and_orientation_differ_between_cases(scans):
    """In-plane spacing is 0.6 to 0.9 mm, slices are thicker, and axes run in several directions."""
    zooms = [image.header.get_zooms() for image, _ in scans]
    for x, y, z in zooms:
        assert x == y
        assert 0.6 <= x <= 0.9
        assert 2.5 <= z <= 5
    assert len({x for x, _, _ in zooms}) == len(scans)
    assert len({z for _, _, z in zooms}) > 1
    assert len({nibabel.aff2axcodes(image.affine) for image, _ in scans}) == 3


def test_air_fat_and_organs_have_their_hounsfield_units(scans):
    """Air outside is −1000, organs are in the range of enhanced soft tissue, fat below water."""
    for image, label in (map(in_body, case) for case in scans):
        assert abs(np.median(image[:4, :4]) + 1000) < 30
        medians = [np.median(image[label == k]) for k in (LIVER, KIDNEY, SPLEEN, PANCREAS)]
        assert all(50 < value < 230 for value in medians)
        assert medians[1] == max(medians)
        assert medians[3] == min(medians)
        assert ((image > -160) & (image < -40)).mean() > 0.03
        assert (image > 300).any()


def test_organs_lie_where_they_do_in_a_body(scans):
    """Liver right, spleen left, a kidney on each side and behind the pancreas, in every orientation."""
    for _, label in scans:
        label = in_body(label)
        middle = label.shape[0] / 2
        at = {k: np.argwhere(label == k) for k in (LIVER, KIDNEY, SPLEEN, PANCREAS)}
        assert at[SPLEEN][:, 0].max() < middle < at[LIVER][:, 0].mean()
        share = (at[KIDNEY][:, 0] > middle).mean()
        assert 0.3 < share < 0.7
        assert at[KIDNEY][:, 1].mean() < at[PANCREAS][:, 1].mean()
        assert at[LIVER][:, 2].mean() > at[KIDNEY][:, 2].mean()
        assert len(at[LIVER]) > len(at[KIDNEY]) > len(at[PANCREAS])


def test_layout_is_the_official_one(phantom_of):
    """Nothing but an image and a mask per case is there."""
    images = {f"TrainingImg/train_{number:03d}_0000.nii.gz" for number in range(6)}
    masks = {f"TrainingMask/train_{number:03d}.nii.gz" for number in range(6)}
    assert official_files(phantom_of("flare")) == images | masks


@pytest.mark.nightly
def test_full_size_is_the_official_matrix(full_size_of):
    """512×512 voxels a slice, and 280 mm in slices of 3 mm."""
    ((_, label),) = labeled_cases(full_size_of("flare"), "flare")
    assert voxels(label).shape == (512, 512, 93)
