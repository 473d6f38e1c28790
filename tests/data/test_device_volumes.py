"""Volumes on a device give the items that volumes on disk give, once both are rounded to float16."""

import re

import pytest
import torch
from monai.data import DataLoader
from monai.transforms import CastToTyped, Compose

from nacl_monai.data import (
    CachedVolumes,
    DeviceVolumes,
    decathlon_cases,
    random_augmentation,
    slices_or_patches,
    training_volumes,
    workers_for,
)
from nacl_monai.errors import InputError, SettingError
from tests.data.test_volumes import SIZE, transforms

LARGEST = 4e5  # of the phantom, whose intensities differ by orders of magnitude
PLENTY = 2**40
WINDOWS = {"slices": SIZE, "patches": (32, 32, 32)}


@pytest.fixture
def cases(decathlon_phantom):
    return decathlon_cases(decathlon_phantom)[:3]


@pytest.fixture
def placed(cases, tmp_path, monkeypatch):
    """Volumes on a device with so much free memory: the CPU in place of a GPU."""

    def place(free, steps=None):
        monkeypatch.setattr("nacl_monai.data.device_volumes.free_memory", lambda _: free)
        return DeviceVolumes(cases, steps or transforms(LARGEST), tmp_path / "cache", "cpu")

    return place


@pytest.fixture
def rounded(cases, tmp_path):
    """The present way, whose files on disk hold nothing but values of float16."""
    steps = [*transforms(LARGEST), CastToTyped("image", dtype=torch.float16)]
    return CachedVolumes(cases, steps, tmp_path / "rounded")


def batches(volumes, window, num_workers=0):
    """Those of an epoch, in random order and augmented."""
    augmentation = random_augmentation(len(window), flip_axes=[0], prob=0.7)
    data = slices_or_patches(volumes, window, Compose(augmentation))
    data.seed = 7
    torch.manual_seed(3)
    return list(DataLoader(data, batch_size=4, shuffle=True, num_workers=num_workers))


@pytest.mark.parametrize("free", [PLENTY, 0, None], ids=["on device", "no memory", "no GPU"])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_batches_are_those_of_the_disk_rounded_to_float16(placed, rounded, window, free):
    """Bit for bit, wherever they are: order, places, augmentation, shapes and types."""
    volumes = placed(free)
    found = batches(volumes, window, workers_for(volumes, 2))

    expected = batches(rounded, window)
    assert volumes.on_device == (free == PLENTY)
    assert len(found) == len(expected) > 1
    for batch, other in zip(found, expected, strict=True):
        assert batch["case"] == other["case"]
        for key, dtype in (("image", torch.float32), ("label", torch.uint8)):
            assert batch[key].dtype == other[key].dtype == dtype
            assert torch.equal(batch[key], other[key])


def test_rounding_changes_values_and_little(placed, cases, tmp_path):
    """Otherwise nothing above would be tested."""
    exact = CachedVolumes(cases, transforms(LARGEST), tmp_path / "cache")[0]
    item = placed(PLENTY)[0]

    assert not torch.equal(item["image"], exact["image"])
    torch.testing.assert_close(item["image"], exact["image"], rtol=2**-11, atol=1e-7)
    assert torch.equal(item["label"], exact["label"])
    assert torch.equal(item["label"].affine, exact["label"].affine)


def test_volumes_on_a_device_need_no_file(placed, tmp_path):
    """Nothing is read while a network trains."""
    volumes = placed(PLENTY)
    for file in (tmp_path / "cache").glob("*.npy"):
        file.unlink()

    assert len(batches(volumes, WINDOWS["patches"])) > 1
    assert len(batches(volumes, WINDOWS["slices"])) > 1


def test_memory_is_that_of_half_precision_and_of_bytes(placed, rounded, capsys):
    """What is printed is what is there; they are kept as long as half of the free memory holds it."""
    voxels = sum(item["label"].numel() for item in rounded)
    capsys.readouterr()
    volumes = placed(6 * voxels)  # two bytes of the image and one of the label

    held = [tensor for parts in volumes._kept for tensor in parts]
    assert sum(tensor.element_size() * tensor.nelement() for tensor in held) == 3 * voxels
    line = capsys.readouterr().out.strip()
    assert re.fullmatch(
        rf"cache: 3 training volumes in float16, {3 * voxels / 2**20:.1f} MiB, of "
        rf"{6 * voxels / 2**20:.1f} MiB free on cpu; there are no worker processes",
        line,
    )
    assert not placed(6 * voxels - 1).on_device
    line = capsys.readouterr().out.strip()
    assert line.endswith("MiB free on cpu, so read from disk, and rounded alike")
    assert "more than 50% of" in line


def test_device_without_memory_of_its_own_is_one_line(cases, tmp_path, capsys):
    """It trains as if it had some."""
    volumes = training_volumes(cases, transforms(LARGEST), tmp_path, cache="gpu", device="cpu")

    assert not volumes.on_device
    assert "cpu is not a GPU, so read from disk" in capsys.readouterr().out
    assert workers_for(volumes, 3) == 3


def test_values_beyond_float16_are_refused(placed, cases):
    """By name, wherever the volumes would be; infinity would train nothing."""
    for free in (PLENTY, None):
        with pytest.raises(InputError, match="and float16 ends at 65504; scale it") as refused:
            placed(free, transforms(1e-3))
        assert str(refused.value).startswith(cases[0]["image"])


def test_cache_is_chosen_by_its_name(cases, tmp_path):
    """Disk by default."""
    assert type(training_volumes(cases, transforms(), tmp_path)) is CachedVolumes
    with pytest.raises(SettingError, match="cache ram: not known; choose from: disk, gpu"):
        training_volumes(cases, transforms(), tmp_path, cache="ram")
