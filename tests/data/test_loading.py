"""Loading a case: a sound one stays as it is. Faults are in test_faults.py."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from nacl_monai.data import LoadCase
from nacl_monai.errors import InputError
from tests.conftest import change, save_nifti

OBLIQUE = np.array([[-1.4, 0.2, 0, 5], [0.2, 1.4, 0, 6], [0, 0, 8, 7], [0, 0, 0, 1.0]])


@pytest.fixture
def case(tmp_path):
    """A sound case of 6×5×4 voxels."""
    rng = np.random.default_rng(0)
    save_nifti(rng.normal(size=(6, 5, 4)).astype(np.float32), tmp_path / "image.nii.gz", OBLIQUE)
    save_nifti(rng.integers(0, 3, (6, 5, 4)).astype(np.uint8), tmp_path / "label.nii.gz", OBLIQUE)
    return {"image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "label.nii.gz")}


CLASSES = [[0], [1], [2]]


def load(case, label_values=CLASSES, in_channels=1):
    return LoadCase(label_values, in_channels)(case)


def test_sound_case_comes_through_unchanged(case):
    """Voxels, affine and types are those of the files."""
    loaded = load({**case, "case": "c"})

    for key, dtype in (("image", torch.float32), ("label", torch.uint8)):
        stored = nibabel.load(case[key])
        np.testing.assert_array_equal(stored.get_fdata(dtype=np.float32), loaded[key][0].numpy())
        np.testing.assert_allclose(stored.affine, loaded[key].affine.numpy(), atol=1e-6)
        assert loaded[key].dtype == dtype
    assert loaded["case"] == "c"


def test_label_whose_affine_differs_by_rounding_gets_the_images(case):
    """A label whose affine differs by rounding gets the image's, so that both resample alike."""
    label = nibabel.load(case["label"])
    save_nifti(np.asarray(label.dataobj), Path(case["label"]), OBLIQUE + 1e-4 * np.eye(4))

    loaded = load(case)

    assert torch.equal(loaded["image"].affine, loaded["label"].affine)


def test_values_become_the_class_that_lists_them(case):
    """Values on disk become the index of the class that lists them."""
    values = np.arange(11, dtype=np.uint8).repeat(11)[: 6 * 5 * 4].reshape(6, 5, 4)
    save_nifti(values, Path(case["label"]), OBLIQUE)
    expected = {0: 0, 7: 0, 8: 0, 9: 0, 10: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3}

    label = load(case, [[0, 7, 8, 9, 10], [1, 2], [3, 4], [5, 6]])["label"]

    np.testing.assert_array_equal(np.vectorize(expected.get)(values), label[0].numpy())
    assert label.dtype == torch.uint8


def test_voxels_that_nobody_labeled_keep_their_value(case):
    """They are not foreground, and any other value is refused as ever."""
    change(case["label"], lambda voxels: np.where(voxels == 2, 200, voxels))
    stored = np.asarray(nibabel.load(case["label"]).dataobj)
    label = LoadCase([[0], [1]], 1, ignore_index=200)(case)["label"]
    np.testing.assert_array_equal(label[0].numpy(), stored)

    with pytest.raises(InputError, match="holds the label value 200; expected only"):
        LoadCase([[0], [1]], 1, ignore_index=201)(case)
    with pytest.raises(InputError, match="ignore_index: is 2; it must be above all label_values"):
        LoadCase(CLASSES, 1, ignore_index=2)
    change(case["label"], lambda voxels: np.where(voxels == 1, 200, voxels))
    with pytest.raises(InputError, match="holds no foreground voxel"):
        LoadCase([[0], [1]], 1, ignore_index=200)(case)


def test_values_that_become_background_are_no_foreground(case):
    """Values that become background are not foreground."""
    change(case["label"], lambda voxels: 7 + 0 * voxels)

    with pytest.raises(InputError, match=r"label\.nii\.gz: holds no foreground voxel"):
        load(case, [[0, 7], [1], [2]])


def test_value_of_two_classes_is_refused(case):
    """The second would take all of its voxels, without a word."""
    with pytest.raises(
        InputError, match="holds the label value 2, which the bundle's `label_values` has twice"
    ):
        load(case, [[0], [1, 2], [2]])


class TestModalities:
    @pytest.fixture
    def files(self, case, tmp_path):
        """The case with three images."""
        rng = np.random.default_rng(1)
        names = [tmp_path / f"{name}.nii.gz" for name in ("flair", "t1", "t2")]
        for name in names:
            save_nifti(rng.normal(size=(6, 5, 4)).astype(np.float32), name, OBLIQUE)
        return {**case, "image": [str(name) for name in names]}

    def test_files_are_channels_in_their_order(self, files):
        """The files are the channels, in their order, on their grid."""
        image = load(files, in_channels=3)["image"]

        expected = [nibabel.load(file).get_fdata(dtype=np.float32) for file in files["image"]]
        np.testing.assert_array_equal(np.stack(expected), image.numpy())
        np.testing.assert_allclose(OBLIQUE, image.affine.numpy(), atol=1e-6)

    def test_last_axis_of_a_4d_file_holds_channels(self, case):
        """A 4-D file holds its channels along the last axis."""
        voxels = np.random.default_rng(2).normal(size=(6, 5, 4, 2)).astype(np.float32)
        save_nifti(voxels, Path(case["image"]), OBLIQUE)

        image = load(case, in_channels=2)["image"]

        np.testing.assert_array_equal(np.moveaxis(voxels, -1, 0), image.numpy())

    def test_other_numbers_of_channels_are_refused(self, files):
        """Another number of channels than the network takes is refused."""
        with pytest.raises(
            InputError,
            match=r"flair\.nii\.gz: .* has 3 channel.* in_channels is 4; .* --in_channels 3$",
        ):
            load(files, in_channels=4)
