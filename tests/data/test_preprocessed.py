"""What preprocessing makes of image and label is refused by the check and by a training alike."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    CenterSpatialCropd,
    Flipd,
    Resized,
    Rotate90d,
    ScaleIntensityd,
    Spacingd,
)

from nacl_monai.data import CachedVolumes, LoadCase
from nacl_monai.data.preprocessed import check_preprocessed, preprocess_label
from nacl_monai.errors import InputError
from tests.conftest import save_nifti

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
