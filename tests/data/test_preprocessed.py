"""What preprocessing makes of image and label is refused by the check and by a training alike."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    CenterSpatialCropd,
    Flipd,
    Orientationd,
    Resized,
    Rotate90d,
    ScaleIntensityd,
    Spacingd,
    SpatialPadd,
)

from nacl_monai.data import CachedVolumes, LoadCase
from nacl_monai.data.__main__ import main
from nacl_monai.data.check import check_dataset
from nacl_monai.data.preprocessed import check_preprocessed, preprocess_label
from nacl_monai.errors import InputError
from tests.conftest import ROOT, save_nifti

BOTH = ["image", "label"]
PIXDIM = (1.3, 1.3, 1.7)


@pytest.fixture
def case(tmp_path):
    """A box of class 2 in noise, without symmetry."""
    label = np.zeros((12, 16, 6), np.uint8)
    label[3:9, 5:11, 1:4] = 2
    label[0, 0, 0] = 1
    image = np.random.default_rng(0).random(label.shape, dtype=np.float32)
    for key, voxels in (("image", image), ("label", label)):
        save_nifti(voxels, tmp_path / f"{key}.nii.gz", np.diag([1, 1, 1.7, 1]))
    return {"case": "c", **{key: str(tmp_path / f"{key}.nii.gz") for key in BOTH}}


@pytest.fixture
def refusal(case, tmp_path):
    """What the check and a training say of a step."""

    def line(step):
        load = LoadCase([[0], [1], [2]], 1)
        with pytest.raises(InputError) as checked:
            preprocess_label(case, load(case), [step], ["background", "a", "b"], (64, 64))
        with pytest.raises(InputError) as trained:
            CachedVolumes([case], [load, step], tmp_path / "cache")
        assert str(checked.value) == str(trained.value)
        return str(trained.value).removeprefix(f"{tmp_path}/")

    return line


@pytest.mark.parametrize(
    "step",
    [Spacingd(BOTH, PIXDIM), Resized(BOTH, (20, 20, -1)), ScaleIntensityd(BOTH)],
    ids=["Spacingd", "Resized", "ScaleIntensityd"],
)
def test_label_of_fractions_is_refused(refusal, step):
    """MONAI's defaults interpolate it: between class 2 and background is class 1."""
    line = refusal(step)

    assert line.startswith("label.nii.gz: holds ")
    assert "which is not a class; give each step that resamples `mode: [bilinear, nearest]`" in line


@pytest.mark.parametrize("value", [-1.0, 256.0, float("nan"), float("inf")])
def test_label_beyond_a_byte_is_refused(case, value):
    """It would become another class."""
    label = torch.tensor([0.0, 1.0, value]).reshape(1, 3, 1, 1)
    image = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 3, 1, 1)
    check_preprocessed(case, {"image": image, "label": label.clamp(0, 1).nan_to_num(0)})

    with pytest.raises(InputError, match=f"holds {value:g} when it is preprocessed"):
        check_preprocessed(case, {"image": image, "label": label})


@pytest.mark.parametrize(
    "step",
    [
        Flipd("image", 0),
        Rotate90d("label", 2),
        Spacingd(["image"], PIXDIM),
        CenterSpatialCropd("label", (6, 6, 6)),
    ],
    ids=["flipped", "turned", "resampled", "cropped"],
)
def test_label_that_is_not_where_its_image_is_is_refused(refusal, step):
    """One of the two was forgotten."""
    assert refusal(step) == (
        "label.nii.gz: is not where its image is when both are preprocessed and cropped; give each "
        "step that turns, resamples or crops `keys: [image, label]`"
    )


def test_steps_of_both_are_accepted(case, tmp_path):
    """By nearest neighbors; and an image may forget its place."""
    mode = ["bilinear", "nearest"]
    for step in (
        Flipd(BOTH, 0),
        Spacingd(BOTH, PIXDIM, mode=mode),
        Resized(BOTH, (20, 20, -1), mode=["trilinear", "nearest"]),
        plain_image,
    ):
        load = LoadCase([[0], [1], [2]], 1)
        (volume,) = CachedVolumes([case], [load, step], tmp_path / "cache")
        assert volume["label"].unique().tolist()[-1] == 2


def plain_image(case):
    """In place of a transform."""
    assert isinstance(case["image"], MetaTensor)
    return {**case, "image": case["image"].as_tensor()}


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


@pytest.fixture
def scans(tmp_path):
    """Two CTs of 100×100×400 mm: the liver in the middle, the spleen there or at the upper end."""
    rng = np.random.default_rng(0)
    for number, top in enumerate((40, 98)):
        label = np.zeros((25, 25, 100), np.uint8)
        label[2:22, 2:22, 40:60] = 1
        label[7:12, 7:12, 45:50] = 2 + number  # kidney, spleen
        label[14:17, 14:17, 52:55] = 4
        label[22:25, 22:25, top : top + 2] = 3 - number
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


@pytest.mark.slow
def test_command_tells_what_is_lost_on_demand(scans, capsys):
    """`nacl-monai check flare DIR --preprocess` ends with exit code 1; without the word it is silent."""
    words = ["check", "flare", str(scans), "--subset", "--bundles", str(ROOT / "bundles")]

    assert main(words) == 0
    assert "lost" not in capsys.readouterr().out
    assert main([*words, "--preprocess"]) == 1
    printed = capsys.readouterr()
    assert "lost by preprocessing and cropping:" in printed.out
    assert "train_001.nii.gz: preprocessing and cropping lose all of kidney" in printed.err
