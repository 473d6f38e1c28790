"""Voxels that preprocessing and cropping lose are counted, by case and class."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCropd, Orientationd, Resized, Spacingd, SpatialPadd

from nacl_monai.data.__main__ import main
from nacl_monai.data.check import check_dataset
from nacl_monai.data.preprocessed import preprocess_label
from nacl_monai.errors import InputError
from tests.conftest import ROOT, save_nifti

KEYS = ["image", "label"]
CLASSES = ["background", "a", "b"]
CASE = {"case": "c", "image": "c.nii.gz", "label": "c_gt.nii.gz"}


@pytest.fixture
def volume():
    """Class a has 2×2×2 voxels in a corner and as many in the middle; b has a single one at an edge."""
    label = torch.zeros(1, 20, 20, 20, dtype=torch.uint8)
    label[0, :2, :2, :2] = 1
    label[0, 9:11, 9:11, 9:11] = 1
    label[0, 19, 10, 10] = 2
    affine = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    return {
        "image": MetaTensor(label.float(), affine=affine),
        "label": MetaTensor(label, affine=affine),
    }


def lost(volume, *steps, spatial_size=(64, 64)):
    found = preprocess_label(CASE, volume, steps, CLASSES, spatial_size)
    return {one.name: (one.lost, one.voxels) for one in found}


def test_nothing_is_lost_by_turning_and_padding(volume):
    """Nor by finer voxels, however many more there are of a class."""
    steps = [Orientationd(KEYS, "RAS", labels=None), SpatialPadd(KEYS, (30, 30, 30))]

    assert lost(volume) == lost(volume, *steps) == {}
    assert lost(volume, Spacingd(KEYS, (0.5, 0.5, 0.5), mode="nearest")) == {}


def test_voxels_outside_a_crop_are_lost(volume):
    """8 of a's 16 voxels, and b's only one, wherever the crop is among the steps."""
    crop, pad = CenterSpatialCropd(KEYS, (10, 10, 10)), SpatialPadd(KEYS, (30, 30, 30))

    for steps in ([crop], [crop, pad], [pad, crop]):
        assert lost(volume, *steps) == {"a": (8, 16), "b": (1, 1)}


def test_class_that_resampling_leaves_nothing_of_is_lost(volume):
    """The numbers of voxels say nothing about the others."""
    coarse = Resized(KEYS, (10, 10, 7), mode=["trilinear", "nearest"])
    coarsened = coarse(volume)["label"].unique().tolist()

    assert coarsened == [0, 1]
    assert lost(volume, coarse) == {"b": (1, 1)}


@pytest.mark.parametrize("pixdim", [(2, 2, 0.25), (0.5, 1, 2)])
def test_voxels_of_another_shape_are_resampled_if_their_volume_stays(volume, pixdim):
    """The number of voxels of a class changes by their shape alone; nothing of it is gone."""
    label = volume["label"]
    label[0, 17:, 8:12, 8:12] = 2
    resample = Spacingd(KEYS, pixdim, mode=["bilinear", "nearest"])
    counts = [torch.bincount(one.flatten().long()) for one in (label, resample(volume)["label"])]

    assert (counts[1][1:] < counts[0][1:]).any()
    assert lost(volume, resample) == {}


def test_step_that_fails_is_a_fault_of_the_case(volume):
    """In one line, with the case's image."""

    def fail(_):
        raise RuntimeError("too small\nor so")

    with pytest.raises(
        InputError, match=r"^c\.nii\.gz: cannot be preprocessed \(too small\); repair"
    ):
        lost(volume, fail)


def test_slices_that_do_not_fit_are_a_fault(volume):
    """As a training refuses them."""
    with pytest.raises(InputError, match=r"its slices are 20×20, larger than spatial_size 16×32"):
        lost(volume, spatial_size=(16, 32))


@pytest.fixture
def scans(tmp_path):
    """Two CTs of 400×400×400 mm: the liver in the middle, the spleen there or at the upper end."""
    rng = np.random.default_rng(0)
    for number, top in enumerate((40, 98)):
        label = np.zeros((100, 100, 100), np.uint8)
        label[40:60, 40:60, 40:60] = 1
        label[45:50, 45:50, 45:50] = 2 + number  # kidney, spleen
        label[52:55, 52:55, 52:55] = 4
        label[60:64, 60:64, top : top + 2] = 3 - number
        name = f"train_{number:03d}"
        image = rng.normal(0, 100, label.shape).astype(np.float32)
        affine = np.diag([4.0, 4, 4, 1])
        save_nifti(image, tmp_path / f"TrainingImg/{name}_0000.nii.gz", affine)
        save_nifti(label, tmp_path / f"TrainingMask/{name}.nii.gz", affine)
    return tmp_path


def test_organ_outside_the_crop_is_a_fault_of_the_check(scans):
    """FLARE keeps 384×384×180 mm; whatever is lost is in the table, and only on demand."""

    def check(**how):
        return check_dataset("flare", scans, bundles=ROOT / "bundles", subset=True, **how)

    assert check().faults == []
    summary = check(preprocess=True)

    assert [str(fault) for fault in summary.faults] == [
        f"{scans}/TrainingMask/train_001.nii.gz: preprocessing and cropping lose all of kidney; correct "
        "the bundle's `preprocessing` or `cropping`, or remove the case"
    ]
    (one,) = summary.lost
    assert (one.case, one.name) == ("train_001", "kidney")
    assert one.lost == one.voxels > 0
    title, _, row = summary.table().splitlines()[-3:]
    assert title == "lost by preprocessing and cropping:"
    assert row.split() == ["train_001", "kidney", str(one.voxels), str(one.lost), "100.000"]
    assert "lost" not in check().table()


def test_command_tells_what_is_lost_on_demand(scans, capsys):
    """`nacl-monai check flare DIR --preprocess` ends with exit code 1; without the word it is silent."""
    words = ["check", "flare", str(scans), "--subset", "--bundles", str(ROOT / "bundles")]

    assert main(words) == 0
    assert "lost" not in capsys.readouterr().out
    assert main([*words, "--preprocess"]) == 1
    printed = capsys.readouterr()
    assert "lost by preprocessing and cropping:" in printed.out
    assert "train_001.nii.gz: preprocessing and cropping lose all of kidney" in printed.err


def test_bundle_that_crops_nothing_loses_nothing(decathlon_phantom):
    """The check says so."""
    summary = check_dataset(
        "hippocampus", decathlon_phantom, bundles=ROOT / "bundles", subset=True, preprocess=True
    )

    assert summary.faults == []
    assert summary.table().endswith("preprocessing and cropping lose no voxel of any class")
