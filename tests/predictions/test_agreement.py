"""The segmentation beside probabilities is of them, down to a small lesion."""

import numpy as np
import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.predictions.channels import numbered, read_dataset_json
from nacl_monai.predictions.images import Probabilities, read_image
from nacl_monai.predictions.readers import check_agreement, pairwise_dice
from tests.predictions.conftest import save, write_json


@pytest.fixture
def check(tmp_path):
    """Compares probabilities ``(C, z, y, x)`` with a segmentation ``(z, y, x)``."""

    def run(probs, segmentation, channels=None):
        file = tmp_path / "a.nii.gz"
        save(file, segmentation.T.astype(np.uint8))
        predicted = Probabilities(probs, None, tmp_path / "a.npz", file)
        channels = channels or numbered(len(probs), None, tmp_path / "labels.txt")
        check_agreement(predicted, read_image(file), channels)

    return run


@pytest.fixture
def lesion():
    """64 of 27,000 voxels: probabilities of two classes, and the segmentation."""
    segmentation = np.zeros((30, 30, 30), int)
    segmentation[10:14, 10:14, 10:14] = 1
    inside = np.where(segmentation, 0.9, 0.02)
    return np.stack([1 - inside, inside]), segmentation


@pytest.mark.parametrize("missing", ["segmentation", "probabilities"])
def test_missing_lesion_is_no_agreement(missing, check, lesion):
    """It is a thousandth of the voxels, and all of the foreground."""
    probs, segmentation = lesion
    check(probs, segmentation)
    if missing == "segmentation":
        segmentation[:] = 0
    else:
        probs[:] = np.array([0.98, 0.02])[:, None, None, None]

    with pytest.raises(InputError, match="in 100.0% of the foreground; predict the case again"):
        check(probs, segmentation)


@pytest.mark.parametrize(("dtype", "half"), [(np.float16, 0.5), (np.float32, 0.5), (np.uint8, 127)])
def test_classes_that_tie_agree_with_either(dtype, half, check, lesion):
    """Rounding has made two probabilities one, wherever the network saw the larger."""
    probs, segmentation = lesion
    stored = (probs * (255 if dtype == np.uint8 else 1)).astype(dtype)
    stored[:, 10] = half

    check(stored, segmentation)
    check(stored, np.where(np.arange(30)[:, None, None] == 10, 1, segmentation))


def test_empty_segmentation_agrees_with_no_foreground(check):
    """There is no share of nothing."""
    probs = np.stack([np.full((2, 3, 4), 0.7), np.full((2, 3, 4), 0.3)])

    check(probs, np.zeros((2, 3, 4)))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_overlapping_structures_are_painted_as_nnunet_does(dtype, check, tmp_path):
    """In the order that dataset.json has, later over earlier; another segmentation is named."""
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    write_json(tmp_path / "dataset.json", {"labels": labels, "regions_class_order": [1, 2]})
    channels = read_dataset_json(tmp_path / "dataset.json")
    whole, core = np.zeros((2, 6, 6, 6))
    whole[1:5], core[2:4] = 0.9, 0.8
    core[3, 3, 3] = 0.5  # neither inside nor outside
    stored = (np.stack([whole, core]) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    painted = np.where(core > 0.5, 2, np.where(whole > 0.5, 1, 0))

    check(stored, painted, channels)
    check(stored, painted[::-1], channels)
    with pytest.raises(InputError, match=r"a.npz: its most probable classes are not those"):
        check(stored, painted == 2, channels)


def test_members_that_predict_nothing_agree():
    """And one that does agrees with none of them."""
    nothing, something = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    assert pairwise_dice([nothing, nothing]) == [1]
    assert pairwise_dice([nothing, something]) == [0]
    assert pairwise_dice([nothing, nothing, something]) == [pytest.approx(1 / 3)]
