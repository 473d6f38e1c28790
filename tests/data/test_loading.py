"""A sound case is loaded as it is, and what preprocessing spoils is named; see also test_faults.py."""

import re
from pathlib import Path

import nibabel
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
    ScaleIntensityRanged,
    ScaleIntensityRangePercentilesd,
    Spacingd,
    SpatialPadd,
)

from nacl_monai.data import CachedVolumes, LoadCase
from nacl_monai.data.__main__ import main
from nacl_monai.data.check import check_dataset
from nacl_monai.data.loading import check_preprocessed, preprocess_label
from nacl_monai.errors import InputError
from tests.conftest import ROOT, change, refused, save_nifti
from tests.same import same_bits, same_values

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
        voxels = loaded[key][0].float().numpy()
        same_bits(stored.get_fdata(dtype=np.float32), voxels, "they are read back")
        np.testing.assert_allclose(stored.affine, loaded[key].affine.numpy(), atol=1e-6)
        assert loaded[key].dtype == dtype
    assert loaded["case"] == "c"


def test_label_whose_affine_differs_by_rounding_gets_the_images(case):
    """A label whose affine differs by rounding gets the image's, so that both resample alike."""
    label = nibabel.load(case["label"])
    save_nifti(np.asarray(label.dataobj), Path(case["label"]), OBLIQUE + 1e-4 * np.eye(4))

    loaded = load(case)

    same_bits(loaded["image"].affine, loaded["label"].affine, "one of them is copied")


def test_values_become_the_class_that_lists_them(case):
    """Values on disk become the index of the class that lists them."""
    values = np.arange(11, dtype=np.uint8).repeat(11)[: 6 * 5 * 4].reshape(6, 5, 4)
    save_nifti(values, Path(case["label"]), OBLIQUE)
    expected = {0: 0, 7: 0, 8: 0, 9: 0, 10: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3}

    label = load(case, [[0, 7, 8, 9, 10], [1, 2], [3, 4], [5, 6]])["label"]

    same_values(np.vectorize(expected.get)(values), label[0].numpy())
    assert label.dtype == torch.uint8


def test_voxels_that_nobody_labeled_keep_their_value(case):
    change(case["label"], lambda voxels: np.where(voxels == 2, 200, voxels))
    stored = np.asarray(nibabel.load(case["label"]).dataobj)
    label = LoadCase([[0], [1]], 1, ignore_index=200)(case)["label"]
    same_values(label[0].numpy(), stored)


@pytest.mark.parametrize(
    ("stored", "label_values", "ignored", "line"),
    [
        ([0, 7, 7], [[0, 7], [1], [2]], None, "holds no foreground voxel"),
        ([0, 200, 200], [[0], [1]], 200, "holds no foreground voxel"),
        ([0, 1, 200], [[0], [1]], 201, "holds the label value 200; expected only"),
        (
            [0, 1, 2],
            [[0], [1, 2], [2]],
            None,
            "holds the label value 2, which the bundle's `label_values` has twice",
        ),
        ([0, 1, 2], CLASSES, 2, "ignore_index: is 2; it must be above all label_values"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(case, stored, label_values, ignored, line):
    """Of two classes, the second would take all voxels of a value, without a word."""
    change(case["label"], lambda voxels: np.array(stored, np.uint8)[voxels.astype(int)])
    with pytest.raises(InputError, match=line):
        LoadCase(label_values, 1, ignore_index=ignored)(case)


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
        same_bits(np.stack(expected), image.numpy(), "they are read back")
        np.testing.assert_allclose(OBLIQUE, image.affine.numpy(), atol=1e-6)

    def test_last_axis_of_a_4d_file_holds_channels(self, case):
        """A 4-D file holds its channels along the last axis."""
        voxels = np.random.default_rng(2).normal(size=(6, 5, 4, 2)).astype(np.float32)
        save_nifti(voxels, Path(case["image"]), OBLIQUE)

        image = load(case, in_channels=2)["image"]

        same_bits(np.moveaxis(voxels, -1, 0), image.numpy(), "they are read back")

    def test_other_numbers_of_channels_are_refused(self, files):
        """Another number of channels than the network takes is refused."""
        line = r"flair\.nii\.gz: .* has 3 channel.* in_channels is 4; .* --in_channels 3$"
        with pytest.raises(InputError, match=line):
            load(files, in_channels=4)


BOTH = ["image", "label"]
PIXDIM = (1.3, 1.3, 1.7)


@pytest.fixture
def boxed(tmp_path):
    """A box of class 2 in noise, without symmetry."""
    label = np.zeros((12, 16, 6), np.uint8)
    label[3:9, 5:11, 1:4] = 2
    label[0, 0, 0] = 1
    image = np.random.default_rng(0).random(label.shape, dtype=np.float32)
    for key, voxels in (("image", image), ("label", label)):
        save_nifti(voxels, tmp_path / f"{key}.nii.gz", np.diag([1, 1, 1.7, 1]))
    return {"case": "c", **{key: str(tmp_path / f"{key}.nii.gz") for key in BOTH}}


@pytest.fixture
def refusal(boxed, tmp_path):
    """What the check and a training say of a step."""

    def line(step):
        load = LoadCase([[0], [1], [2]], 1)
        with pytest.raises(InputError) as checked:
            preprocess_label(boxed, load(boxed), [step], ["background", "a", "b"], (64, 64))
        line = refused(CachedVolumes, [boxed], [load, step], tmp_path / "cache")
        assert str(checked.value) == line
        assert not list(tmp_path.glob("cache/*"))
        return line.removeprefix(f"{tmp_path}/")

    return line


FRACTIONS = (
    r"holds .* which is not a class; give each step that resamples `mode: \[bilinear, nearest\]`.*",
    [Spacingd(BOTH, PIXDIM), Resized(BOTH, (20, 20, -1)), ScaleIntensityd(BOTH)],
)
APART = (
    "is not where its image is when both are preprocessed and cropped; give each step that turns, "
    r"resamples or crops `keys: \[image, label\]`",
    [
        Flipd("image", 0),
        Rotate90d("label", 2),
        Spacingd(["image"], PIXDIM),
        CenterSpatialCropd("label", (6, 6, 6)),
    ],
)


@pytest.mark.parametrize(
    ("step", "line"), [(step, line) for line, steps in (FRACTIONS, APART) for step in steps]
)
def test_step_that_spoils_the_label_is_refused(refusal, step, line):
    """By MONAI's defaults for both, or as one of the two was forgotten.

    Interpolated, class 1 would be between class 2 and background.
    """
    assert re.fullmatch(f"label.nii.gz: {line}", refusal(step))


@pytest.mark.parametrize(
    ("step", "part"),
    [
        (
            ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0, 1, clip=True, channel_wise=True),
            "has no range of intensities to scale, as nearly all of its voxels have the same; crop",
        ),
        (
            ScaleIntensityRanged("image", 1000, 2000, 0, 1, clip=True),
            "is constant when it is preprocessed and cropped; correct the range of intensities",
        ),
    ],
)
def test_image_that_preprocessing_leaves_unscaled_or_constant_is_refused(
    boxed, refusal, capsys, step, part
):
    """MONAI keeps the intensities, up to 900 beside others' 1, and warns."""

    def bright(voxels):
        return np.where(voxels < np.sort(voxels, axis=None)[-4], 0, 900 * voxels)

    change(boxed["image"], bright)

    assert refusal(step).startswith(f"image.nii.gz: {part}")
    assert "Divide by zero" not in capsys.readouterr().err


@pytest.mark.parametrize("value", [-1.0, 256.0, float("nan"), float("inf")])
def test_label_beyond_a_byte_is_refused(boxed, value):
    """It would become another class."""
    label = torch.tensor([0.0, 1.0, value]).reshape(1, 3, 1, 1)
    image = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 3, 1, 1)
    check_preprocessed(boxed, {"image": image, "label": label.clamp(0, 1).nan_to_num(0)})

    with pytest.raises(InputError, match=f"holds {value:g} when it is preprocessed"):
        check_preprocessed(boxed, {"image": image, "label": label})


def test_steps_of_both_are_accepted(boxed, tmp_path):
    """By nearest neighbors; and an image may forget its place."""
    mode = ["bilinear", "nearest"]
    for step in (
        Flipd(BOTH, 0),
        Spacingd(BOTH, PIXDIM, mode=mode),
        Resized(BOTH, (20, 20, -1), mode=["trilinear", "nearest"]),
        plain_image,
    ):
        load = LoadCase([[0], [1], [2]], 1)
        (volume,) = CachedVolumes([boxed], [load, step], tmp_path / "cache")
        assert volume["label"].unique().tolist()[-1] == 2


def plain_image(case):
    """In place of a transform."""
    assert isinstance(case["image"], MetaTensor)
    return {**case, "image": case["image"].as_tensor()}


NAMES = ["background", "a", "b"]
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
    found = preprocess_label(CASE, volume, steps, NAMES, spatial_size)
    return {structure.name: (structure.lost, structure.voxels) for structure in found}


def test_nothing_is_lost_by_turning_and_padding(volume):
    """Nor by finer voxels, however many more there are of a class."""
    steps = [Orientationd(BOTH, "RAS", labels=None), SpatialPadd(BOTH, (30, 30, 30))]

    assert lost(volume) == lost(volume, *steps) == {}
    assert lost(volume, Spacingd(BOTH, (0.5, 0.5, 0.5), mode="nearest")) == {}


def test_voxels_outside_a_crop_are_lost(volume):
    """8 of a's 16 voxels, and b's only one, wherever the crop is among the steps."""
    crop, pad = CenterSpatialCropd(BOTH, (10, 10, 10)), SpatialPadd(BOTH, (30, 30, 30))

    for steps in ([crop], [crop, pad], [pad, crop]):
        assert lost(volume, *steps) == {"a": (8, 16), "b": (1, 1)}


def test_class_that_resampling_leaves_nothing_of_is_lost(volume):
    """The numbers of voxels say nothing about the others."""
    coarse = Resized(BOTH, (10, 10, 7), mode=["trilinear", "nearest"])
    coarsened = coarse(volume)["label"].unique().tolist()

    assert coarsened == [0, 1]
    assert lost(volume, coarse) == {"b": (1, 1)}


@pytest.mark.parametrize("pixdim", [(2, 2, 0.25), (0.5, 1, 2)])
def test_voxels_of_another_shape_are_resampled_if_their_volume_stays(volume, pixdim):
    """The number of voxels of a class changes by their shape alone; nothing of it is gone."""
    label = volume["label"]
    label[0, 17:, 8:12, 8:12] = 2
    resample = Spacingd(BOTH, pixdim, mode=["bilinear", "nearest"])
    counts = [torch.bincount(part.flatten().long()) for part in (label, resample(volume)["label"])]

    assert (counts[1][1:] < counts[0][1:]).any()
    assert lost(volume, resample) == {}


def test_step_that_fails_is_a_fault_of_the_case(volume):
    """In one line, with the case's image."""

    def fail(_):
        raise RuntimeError("too small\nor so")

    line = "c.nii.gz: cannot be preprocessed (too small); repair"
    assert refused(lost, volume, fail).startswith(line)


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
    (organ,) = summary.lost
    assert (organ.case, organ.name) == ("train_001", "kidney")
    assert organ.lost == organ.voxels > 0
    title, _, row = summary.table().splitlines()[-3:]
    assert title == "lost by preprocessing and cropping:"
    assert row.split() == ["train_001", "kidney", str(organ.voxels), str(organ.lost), "100.000"]
    assert "lost" not in check().table()


@pytest.mark.slow
def test_command_tells_what_is_lost_on_demand(scans, capsys):
    """`nacl-monai check flare DIR --preprocess` ends with exit code 1; without the word it is silent."""
    args = ["check", "flare", str(scans), "--subset", "--bundles", str(ROOT / "bundles")]

    assert main(args) == 0
    assert "lost" not in capsys.readouterr().out
    assert main([*args, "--preprocess"]) == 1
    printed = capsys.readouterr()
    assert "lost by preprocessing and cropping:" in printed.out
    assert "train_001.nii.gz: preprocessing and cropping lose all of kidney" in printed.err
