"""Two tasks in the Decathlon's layout: the hippocampus, and the prostate's zones."""

import json

import nibabel
import numpy as np
import pytest
from monai.data import load_decathlon_datalist

from tests.phantoms.files import neighbors, voxels

ANTERIOR, POSTERIOR = 1, 2
PERIPHERAL, TRANSITION = 1, 2
TASKS = ("hippocampus", "prostate")


def scans(root):
    """Per training case: image and label as on disk."""
    return [
        (nibabel.load(root / "imagesTr" / path.name), nibabel.load(path))
        for path in sorted(root.glob("labelsTr/[!.]*"))
    ]


@pytest.mark.parametrize("task", TASKS)
class TestLayout:
    def test_dataset_json_lists_the_files(self, phantom_of, task):
        """MONAI finds every image and label that `dataset.json` lists, and no other is there."""
        root = phantom_of(task)
        training = load_decathlon_datalist(root / "dataset.json", True, "training")
        test = load_decathlon_datalist(root / "dataset.json", True, "test")
        listed = {path for case in [*training, *test] for path in case.values()}
        assert listed == {str(path) for path in root.glob("*/[!.]*.nii.gz")}
        description = json.loads((root / "dataset.json").read_text())
        assert description["numTraining"] == len(training)
        assert description["numTest"] == len(test) > 0

    def test_description_is_that_of_the_files(self, phantom_of, task):
        """Labels, modalities and the number of axes are as `dataset.json` says."""
        root = phantom_of(task)
        description = json.loads((root / "dataset.json").read_text())
        for image, label in scans(root):
            assert description["tensorImageSize"] == f"{image.ndim}D"
            assert len(description["modality"]) == (image.shape[3] if image.ndim == 4 else 1)
            assert set(map(str, np.unique(label.dataobj))) == set(description["labels"])
            assert label.get_data_dtype() == np.uint8

    def test_macos_has_been_there(self, phantom_of, task):
        """Beside each volume lies a `._` file that is no volume."""
        for path in phantom_of(task).glob("*/[!.]*.nii.gz"):
            companion = path.with_name(f"._{path.name}").read_bytes()
            assert companion[:4] == bytes.fromhex("00051607")


class TestHippocampus:
    def test_size(self, phantom_of):
        """About 35×50×35 voxels of 1 mm, different in each case, with few thousand of label."""
        found = scans(phantom_of("hippocampus"))
        for image, label in found:
            np.testing.assert_array_equal(image.affine[:3, :3], np.eye(3))
            assert (np.abs(np.array(image.shape) - (35, 47, 32)) <= 6).all()
            assert 1000 < np.count_nonzero(label.dataobj) < 5000
        assert len({image.shape for image, _ in found}) > 5

    def test_scale_differs_by_orders_of_magnitude(self, phantom_of):
        """Between cases the median differs a thousandfold; small scales are stored in 8 bits."""
        images = [image for image, _ in scans(phantom_of("hippocampus"))]
        medians = [np.median(image.dataobj) for image in images]
        assert max(medians) > 1000 * min(medians)
        for image, median in zip(images, medians, strict=True):
            assert image.get_data_dtype() == (np.uint8 if median < 100 else np.float32)

    def test_anterior_is_in_front_and_below(self, phantom_of):
        """The parts touch; along y the anterior one comes after the posterior, and z rises back."""
        for _, label in scans(phantom_of("hippocampus")):
            label = np.asarray(label.dataobj)
            front, back = (np.argwhere(label == k).mean(axis=0) for k in (ANTERIOR, POSTERIOR))
            assert front[1] > back[1] + 5
            assert front[2] < back[2]
            assert (neighbors(label == ANTERIOR) & (label == POSTERIOR)).sum() > 20

    def test_hippocampus_is_darker_than_its_surroundings(self, phantom_of):
        """Gray matter among white: its median lies below that of the whole image."""
        for image, label in scans(phantom_of("hippocampus")):
            image, inside = np.asarray(image.dataobj), np.asarray(label.dataobj) > 0
            assert np.median(image[inside]) < 0.95 * np.median(image[~inside])


class TestProstate:
    def test_geometry(self, phantom_of):
        """Slices are six times as thick as a voxel is wide; some scans are oblique."""
        oblique = []
        for image, _ in scans(phantom_of("prostate")):
            assert image.shape[3] == 2
            np.testing.assert_allclose(image.header.get_zooms()[:3], (0.6, 0.6, 3.6), rtol=1e-5)
            oblique.append(nibabel.affines.obliquity(image.affine).max() > 0.01)
        assert 0 < sum(oblique) < len(oblique)

    def test_peripheral_zone_lies_around_and_behind(self, phantom_of):
        """The transition zone is wrapped from behind, in one gland."""
        for _, label in scans(phantom_of("prostate")):
            label = np.asarray(label.dataobj)
            outer, inner = (np.argwhere(label == k).mean(axis=0) for k in (PERIPHERAL, TRANSITION))
            assert outer[1] < inner[1]
            around = label[neighbors(label == TRANSITION)]
            assert (around == PERIPHERAL).mean() > 0.6
            assert (label == PERIPHERAL)[..., (label == TRANSITION).any((0, 1))].any((0, 1)).all()

    def test_contrasts(self, phantom_of):
        """The peripheral zone is brighter than the transition zone in T2 and in ADC."""
        for image, label in scans(phantom_of("prostate")):
            image, label = np.asarray(image.dataobj), np.asarray(label.dataobj)
            for channel, factor in ((0, 1.25), (1, 1.1)):
                outer, inner = (np.median(image[label == k, channel]) for k in (1, 2))
                assert outer > factor * inner
            assert 800 < np.median(image[label > 0, 1]) < 2500


def test_test_images_have_no_label(phantom_of):
    """The official labels of `imagesTs` are secret."""
    for task in TASKS:
        root = phantom_of(task)
        tested = {path.name for path in root.glob("imagesTs/[!.]*")}
        assert tested
        assert not any((root / "labelsTr" / name).exists() for name in tested)
        assert all(voxels(root / "imagesTs" / name).std() > 0 for name in tested)
