"""The hippocampus in the Decathlon's layout."""

import numpy as np

from tests.phantoms.files import neighbors, niftis, official_files

ANTERIOR, POSTERIOR = 1, 2


def test_layout_is_the_official_one(phantom_of):
    """Nothing but training images with labels, two test images and `dataset.json` is there."""
    training = {
        f"{folder}/hippocampus_{number:03d}.nii.gz"
        for folder in ("imagesTr", "labelsTr")
        for number in range(10)
    }
    test = {f"imagesTs/hippocampus_{number:03d}.nii.gz" for number in (260, 261)}
    assert official_files(phantom_of("hippocampus")) == training | test | {"dataset.json"}


def test_matrix_is_small_and_differs_between_cases(phantom_of):
    """About 35×50×35 voxels of 1 mm, different in each case, with few thousand of label."""
    cases = niftis(phantom_of("hippocampus"), "hippocampus")
    for image, label in cases:
        np.testing.assert_array_equal(image.affine[:3, :3], np.eye(3))
        assert (np.abs(np.array(image.shape) - (35, 47, 32)) <= 6).all()
        assert 1000 < np.count_nonzero(label.dataobj) < 5000
    assert len({image.shape for image, _ in cases}) > 5


def test_scale_differs_by_orders_of_magnitude(phantom_of):
    """Between cases the median differs a thousandfold; small scales are stored in 8 bits."""
    images = [image for image, _ in niftis(phantom_of("hippocampus"), "hippocampus")]
    medians = [np.median(image.dataobj) for image in images]
    assert max(medians) > 1000 * min(medians)
    for image, median in zip(images, medians, strict=True):
        assert image.get_data_dtype() == (np.uint8 if median < 100 else np.float32)


def test_anterior_is_in_front_and_below(phantom_of):
    """The parts touch; along y the anterior one is behind the posterior, and z rises back."""
    for _, label in niftis(phantom_of("hippocampus"), "hippocampus"):
        label = np.asarray(label.dataobj)
        front, back = (np.argwhere(label == k).mean(axis=0) for k in (ANTERIOR, POSTERIOR))
        assert front[1] > back[1] + 5
        assert front[2] < back[2]
        assert (neighbors(label == ANTERIOR) & (label == POSTERIOR)).sum() > 20


def test_hippocampus_is_darker_than_its_surroundings(phantom_of):
    """Gray matter among white: its median is below that of the whole image."""
    for image, label in niftis(phantom_of("hippocampus"), "hippocampus"):
        image, inside = np.asarray(image.dataobj), np.asarray(label.dataobj) > 0
        assert np.median(image[inside]) < 0.95 * np.median(image[~inside])
