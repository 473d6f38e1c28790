"""Patches of cached volumes: half where the classes are, and the same in any worker."""

from collections import Counter

import numpy as np
import pytest
import torch
from monai.transforms import RandGaussianNoised
from torch.utils.data import DataLoader

from nacl_monai.data import (
    CachedVolumes,
    PatchDataset,
    SliceDataset,
    decathlon_cases,
    slices_or_patches,
)
from nacl_monai.errors import InputError
from tests.data.test_volumes import SIZE, transforms

SHAPE = (40, 9, 20)
PATCH = (16, 16, 8)


def numbered(case):
    """In place of a transform: every voxel has its own number, and two classes have few voxels."""
    image = torch.arange(float(np.prod(SHAPE))).view(1, *SHAPE)
    label = torch.zeros(1, *SHAPE)
    label[0, 10:14, 3:6, 5:7] = 1
    label[0, 37:, 8:, 17:19] = 3
    return {**case, "image": image, "label": label}


def without_classes(case):
    """In place of a transform: background alone."""
    return {**case, "image": torch.rand(1, *SHAPE), "label": torch.zeros(1, *SHAPE)}


@pytest.fixture
def cases(decathlon_phantom):
    return decathlon_cases(decathlon_phantom)[:2]


@pytest.fixture
def volumes(cases, tmp_path):
    return CachedVolumes(cases, [numbered], tmp_path / "cache")


def corner_of(item):
    """Where a patch begins in its volume, by the number of the first voxel that is not padding."""
    shown = item["image"][0].flatten()
    first = int(shown[shown.nonzero()[0, 0]]) if shown.any() else 0
    return np.unravel_index(first, SHAPE)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_patch_is_a_box_of_the_volume_padded_on_all_sides(volumes, share):
    """Image and label are cut alike."""
    data = PatchDataset(volumes, PATCH, per_volume=30, class_centered=share)
    data.seed = 1
    whole = volumes[0]
    for item in data:
        top, _, first = corner_of(item)
        box = (slice(None), slice(top, top + 16), slice(None), slice(first, first + 8))
        for key in ("image", "label"):
            expected = np.zeros((1, *PATCH), np.float32)
            expected[:, :, 3:12] = whole[key][box]
            if not (top == 0 and first == 0):  # the very first voxel has the number of padding
                np.testing.assert_array_equal(item[key].numpy(), expected)
    assert item["label"].dtype == torch.uint8


def test_voxels_of_a_class_are_numbered_each_once(volumes):
    """Every number of a class is another voxel of it."""
    label = volumes[0]["label"][0]
    for index in (1, 3):
        count = int((label == index).sum())
        found = {volumes.voxel(0, index, number) for number in range(count)}
        assert found == {tuple(place) for place in (label == index).nonzero().tolist()}


def classes_at_centers(volumes, share, draws=400):
    """How often which class is in the middle of a patch, where patches may be anywhere."""
    data = PatchDataset(volumes, (2, 2, 2), per_volume=draws, class_centered=share)
    data.seed = 7
    return Counter(int(data[index]["label"][0, 1, 1, 1]) for index in range(draws))


def test_classes_are_centers_as_often_as_stated(volumes):
    """Each of two classes in a quarter of the patches, or in half, within 4 standard deviations."""
    for share in (0.5, 1.0):
        found = classes_at_centers(volumes, share)
        for label in (1, 3):
            expected = 400 * share / 2
            assert abs(found[label] - expected) < 4 * (expected * (1 - share / 2)) ** 0.5 + 2
        assert sum(found.values()) == 400


def test_no_patch_is_centered_on_voxels_that_nobody_labeled(volumes):
    """If class 3 is none, every patch that is to show a class shows class 1."""
    data = PatchDataset(volumes, (2, 2, 2), per_volume=50, class_centered=1.0, ignore_index=3)
    data.seed = 7

    assert all(item["label"][0, 1, 1, 1] == 1 for item in data)


def test_patches_that_show_no_class_on_purpose_lie_anywhere(volumes):
    """Every place along an axis is as frequent as any other, the last one too."""
    data = PatchDataset(volumes, PATCH, per_volume=1000, class_centered=0.0)
    data.seed = 3
    tops = Counter(int(corner_of(data[index])[0]) for index in range(1000))

    assert set(tops) == set(range(25))
    assert max(tops.values()) < 40 + 4 * 40**0.5 + 5


def test_volume_without_a_class_is_cut_anywhere(cases, tmp_path):
    """As where a crop has left the background alone."""
    data = PatchDataset(
        CachedVolumes(cases, [without_classes], tmp_path), PATCH, class_centered=1.0
    )

    assert not data[0]["label"].any()


def test_epoch_covers_every_voxel_once(volumes):
    """As many patches of a volume as have its voxels, rounded up; or as many as are asked for."""
    data = PatchDataset(volumes, PATCH)

    assert len(data) == 2 * 4  # 7200 voxels, of 2048 each
    assert [data[index]["case"] for index in (3, 4)] == [case["case"] for case in volumes.cases]
    assert len(PatchDataset(volumes, PATCH, per_volume=3)) == 6
    with pytest.raises(IndexError):
        data[8]


def test_seed_and_index_decide_the_patch_in_any_number_of_workers(volumes):
    """Its place and its augmentation."""
    data = PatchDataset(volumes, PATCH, RandGaussianNoised("image", prob=0.5), per_volume=4)
    data.seed = 7
    epochs = [
        torch.cat([item["image"] for item in DataLoader(data, batch_size=2, num_workers=workers)])
        for workers in (0, 2)
    ]

    assert torch.equal(*epochs)
    assert torch.equal(data[5]["image"], epochs[0][5])
    data.seed = 8
    assert not torch.equal(data[5]["image"], epochs[0][5])


def test_patch_of_zeros_beyond_all_volumes_is_refused(volumes):
    """With the longest volume and a patch that holds it; a network may need a multiple of 32."""
    PatchDataset(volumes, (64, 32, 32))
    file = volumes.cases[0]["image"]
    with pytest.raises(InputError) as caught:
        PatchDataset(volumes, (64, 33, 96))

    assert str(caught.value) == (
        f"{file}: the longest volume along axis 1 has 9 voxels, and a patch 33; choose a smaller one: "
        "--patch [64,32,32]"
    )


def test_sides_of_the_window_decide_between_slices_and_patches(cases, tmp_path):
    """Two or three; what each needs is handed on."""
    volumes = CachedVolumes(cases, transforms(), tmp_path)
    slices = slices_or_patches(volumes, SIZE, discard_empty=True, per_volume=3)
    patches = slices_or_patches(volumes, (16, 16, 16), None, True, 3, 0.25)

    assert type(slices) is SliceDataset
    assert slices.size == SIZE
    assert type(patches) is PatchDataset
    assert (patches.size, len(patches), patches.class_centered) == ((16, 16, 16), 6, 0.25)
