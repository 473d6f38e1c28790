"""Volumes are preprocessed once, kept on disk, and cut into slices and patches."""

import hashlib
import importlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Flip, RandGaussianNoised, ScaleIntensityRanged, Spacingd
from torch.utils.data import DataLoader

from nacl_monai.data import (
    CachedVolumes,
    LoadCase,
    PatchDataset,
    SliceDataset,
    check_distinct,
    decathlon_cases,
    paired_cases,
    slices_or_patches,
)
from nacl_monai.data.volumes import source_hash, transforms_hash
from nacl_monai.errors import InputError
from tests import own_data
from tests.conftest import ROOT, refused, save_nifti
from tests.same import same_bits

SIZE, PATCH = (48, 64), (16, 16, 8)


def transforms(maximum=1.0):
    return [LoadCase([[0], [1], [2]], 1), ScaleIntensityRanged("image", 0, maximum, 0, 1)]


@pytest.fixture
def cases(decathlon_phantom):
    return decathlon_cases(decathlon_phantom)[:3]


@pytest.fixture
def volumes(cases, tmp_path):
    return CachedVolumes(cases, transforms(), tmp_path / "cache")


def test_volumes_are_the_files(cases, volumes):
    """A cached volume is the transformed file, voxel by voxel."""
    assert len(cases) == len(volumes)
    for case, volume in zip(cases, volumes, strict=True):
        for key in ("image", "label"):
            expected = nibabel.load(case[key]).get_fdata(dtype=np.float32)
            np.testing.assert_allclose(expected, volume[key][0].numpy(), rtol=1e-6)
        assert volume["case"] == case["case"]


def test_two_runs_may_fill_a_cache_at_once(cases, volumes, tmp_path):
    """Two runs that fill the same cache at the same time both read whole volumes."""
    start = Barrier(2)

    def fill(_):
        start.wait()
        return list(CachedVolumes(cases, transforms(), tmp_path / "shared"))

    with ThreadPoolExecutor(2) as pool:
        for filled in pool.map(fill, range(2)):
            for expected, volume in zip(volumes, filled, strict=True):
                same_bits(expected["image"], volume["image"], "the same file is read")
    assert len(list((tmp_path / "shared").iterdir())) == len(cases)


def test_label_knows_the_spacing_of_the_preprocessed_grid(cases, tmp_path):
    """A volume's label has the spacing of the grid that preprocessing made; its image is plain."""
    finer = [*transforms(), Spacingd(["image", "label"], (0.5, 2.0, 1.5), mode="nearest")]

    for kind, expected in ((transforms(), None), (finer, [0.5, 2.0, 1.5])):
        for case, volume in zip(cases, CachedVolumes(cases, kind, tmp_path), strict=True):
            spacing = expected or nibabel.load(case["label"]).header.get_zooms()
            np.testing.assert_allclose(spacing, volume["label"].pixdim, rtol=1e-5)
            assert type(volume["image"]) is torch.Tensor


def test_slices_are_those_of_the_volumes(volumes):
    """The slices, in order, are the volumes cut along their last axis and padded around."""
    slices = SliceDataset(volumes, SIZE)
    position = 0
    for volume in volumes:
        height, width, depths = volume["label"].shape[1:]
        top, left = (SIZE[0] - height) // 2, (SIZE[1] - width) // 2
        for depth in range(depths):
            item = slices[position]
            for key in ("image", "label"):
                expected = np.zeros((1, *SIZE), np.float32)
                expected[:, top : top + height, left : left + width] = volume[key][..., depth]
                same_bits(expected, item[key].float().numpy(), "pieces are copied")
            assert volume["case"] == item["case"]
            position += 1
    assert len(slices) == position
    with pytest.raises(IndexError):
        slices[position]


def slices_of(volumes, transform):
    return SliceDataset(volumes, SIZE, transform)


def patches_of(volumes, transform):
    return PatchDataset(volumes, PATCH, transform, per_volume=4)


@pytest.mark.parametrize("cut", [slices_of, patches_of])
def test_random_transforms_give_the_same_in_any_number_of_workers(volumes, cut):
    """The seed of the epoch and the index of a piece decide, not the process that makes it."""
    data, plain = cut(volumes, RandGaussianNoised("image", prob=1.0)), cut(volumes, None)
    data.seed = 7
    loaders = [DataLoader(data, batch_size=4, num_workers=workers) for workers in (0, 2)]
    epochs = [torch.cat([item["image"] for item in loader]) for loader in loaders]

    same_bits(*epochs, "the same draws by the same seed")
    same_bits(data[9]["image"], epochs[0][9], "the same draws by the same seed")
    noises = [epochs[0][piece] - plain[piece]["image"] for piece in (8, 9)]
    assert not torch.allclose(*noises, atol=1e-3)
    data.seed = 8
    assert not torch.allclose(data[9]["image"], epochs[0][9], atol=1e-3)


def test_changed_preprocessing_makes_another_cache(cases, tmp_path):
    """Other parameters of a transform never meet volumes cached with the old ones."""
    before = CachedVolumes(cases, transforms(maximum=1.0), tmp_path)[0]["image"]
    after = CachedVolumes(cases, transforms(maximum=2.0), tmp_path)[0]["image"]

    torch.testing.assert_close(before, 2 * after)


def test_same_preprocessing_shares_files(cases, tmp_path):
    """Volumes of the same preprocessing share files, also when the transforms were used before."""
    used = transforms()
    CachedVolumes(cases[:1], used, tmp_path)
    CachedVolumes(cases[:2], used, tmp_path)
    CachedVolumes(cases, transforms(), tmp_path)

    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_interruption_keeps_what_was_cached(cases, tmp_path):
    """What was cached before a fault is kept, and nothing half-written is left."""
    broken = [*cases[:2], {**cases[2], "image": str(tmp_path / "nowhere.nii.gz")}]
    Path(broken[2]["image"]).write_bytes(b"")

    with pytest.raises(RuntimeError) as caught:
        CachedVolumes(broken, transforms(), tmp_path / "cache")

    assert isinstance(caught.value.__cause__, InputError)
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("size", [0, 200, 40_000, -1])
def test_damaged_file_is_made_anew(cases, volumes, tmp_path, capsys, size):
    """Empty, cut off or changed: one line says so, and the volume is what it was."""
    expected = volumes[1]["image"].clone()
    file = volumes._files[1]
    content = bytearray(file.read_bytes())
    content[30_000] ^= 1
    file.write_bytes(content if size < 0 else content[:size])
    capsys.readouterr()

    again = CachedVolumes(cases, transforms(), tmp_path / "cache")

    assert f"warning: {file}: is damaged, and made anew" in capsys.readouterr().err
    same_bits(again[1]["image"], expected, "the same file is read")
    CachedVolumes(cases, transforms(), tmp_path / "cache")
    assert "damaged" not in capsys.readouterr().err


def test_partial_file_of_a_killed_process_is_removed(cases, volumes, tmp_path):
    """Also where everything is cached, so that nothing is written."""
    (tmp_path / "cache/.partial-x").mkdir()
    (tmp_path / "cache/.partial-x/a.npy").write_bytes(b"half")

    CachedVolumes(cases, transforms(), tmp_path / "cache")

    assert len(list((tmp_path / "cache").iterdir())) == len(volumes)


def test_change_of_any_modality_makes_another_cache(cases, tmp_path):
    """A corrected file of any modality makes another cache."""
    image = tmp_path / "t1.nii.gz"
    image.write_bytes(Path(cases[0]["image"]).read_bytes())
    stacked = [{**cases[0], "image": [cases[0]["image"], str(image)]}]
    reading = [LoadCase([[0], [1], [2]], 2)]

    for _ in range(2):
        assert CachedVolumes(stacked, reading, tmp_path / "cache")[0]["image"].shape[0] == 2
        assert len(list((tmp_path / "cache").iterdir())) == 1
    os.utime(image, ns=(1, 1))
    CachedVolumes(stacked, reading, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def skull_stripped(case):
    """In place of a transform: of six slices, two of one channel alone and two of none are shown."""
    image = torch.zeros(2, 8, 8, 6)
    image[0, 2:5, 3:6, 1:3] = 1
    image[:, 1] += (torch.arange(6) == 3).float()
    image[1, ..., 5] = 0.5  # constant, though not 0
    return {**case, "image": image, "label": torch.zeros(1, 8, 8, 6)}


def test_slices_that_show_nothing_are_empty(cases, tmp_path):
    """A slice is empty where every channel is constant; it is drawn unless discarded."""
    volumes = CachedVolumes(cases, [skull_stripped], tmp_path)
    everything = SliceDataset(volumes, (8, 8))
    shown = SliceDataset(volumes, (8, 8), discard_empty=True)

    pattern = [True, False, False, False, True, True]
    assert [empty.tolist() for empty in volumes.empty] == [pattern] * 3
    assert len(everything) == 18
    assert len(shown) == 9
    places = [6 * volume + position for volume in range(3) for position in (1, 2, 3)]
    for kept, index in enumerate(places):
        torch.testing.assert_close(everything[index]["image"], shown[kept]["image"])


def test_same_voxels_in_two_cases_are_refused(cases, tmp_path):
    """In one set or in two, whoever the patients are; different cases are not."""
    files = {key: str(tmp_path / f"{key}.nii.gz") for key in ("image", "label")}
    for key, file in files.items():
        shutil.copyfile(cases[0][key], file)
    copied = [{"case": "x", "patient": "y", **files}]
    lists = (cases, copied, cases + copied)
    first, second, both = (CachedVolumes(some, transforms(), tmp_path / "cache") for some in lists)

    empty = CachedVolumes([], transforms(), tmp_path, may_be_empty=True)
    check_distinct([first, empty])
    for sets in ([first, second], [both], [second, empty, first]):
        with pytest.raises(InputError, match=r"is the same image as .*; remove one of the cases"):
            check_distinct(sets)


@pytest.mark.parametrize(("key", "kind"), [("image", "image"), ("label", "label map")])
def test_file_of_two_cases_is_refused(tmp_path, key, kind):
    """By a slip in a list, a case is learned with another's label, or tested though it was trained."""
    first, second, *_ = paired_cases(own_data.folders(tmp_path), [["images", "labels"]])
    second[key] = first[key]
    sets = [CachedVolumes([case], transforms(), tmp_path / "cache") for case in (first, second)]
    assert refused(check_distinct, sets) == (
        f"{first[key]}: is the {kind} of case_001 and of another case; correct the list of cases"
    )


def test_slices_larger_than_the_network_are_refused(volumes):
    """Slices larger than the network's input are refused, with the key that mends it."""
    line = "larger than spatial_size 32×48; raise it: --spatial_size"
    assert line in refused(SliceDataset, volumes, (32, 48))


def test_no_cases_are_an_error(tmp_path):
    """An empty set is an error, not an empty training."""
    assert refused(CachedVolumes, [], transforms(), tmp_path).startswith("cases: no cases to load")


def big_volume(case):
    """In place of a transform: 32 MiB of voxels for every case."""
    ones = torch.ones(1, 512, 512, 16)
    ones[..., 0] = 0  # a constant image is refused
    return {**case, "image": ones, "label": ones}


def anonymous_memory():
    """Bytes of this process that are not pages of a file."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_drawing_slices_takes_no_volumes_memory(cases, tmp_path):
    """Slices are views of the files: drawing one of every volume takes no volume's memory."""
    volumes = CachedVolumes(cases, [big_volume], tmp_path)

    before = anonymous_memory()
    slices = [volumes.slice(index, 7)["image"] for index in range(len(volumes))]
    grown = anonymous_memory() - before

    assert len(slices) * 512 * 512 == sum(float(image.sum()) for image in slices)
    assert grown < 16 * 2**20


class Holder:
    """Holds a function, as MONAI's `Lambdad` does."""

    def __init__(self, func):
        self.func = func


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's package of these sources: its module `steps`, imported anew."""

    def write(**sources):
        folder = tmp_path / "users_package"
        folder.mkdir(exist_ok=True)
        for name, text in {"__init__": "", **sources}.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.startswith("users_package")]:
            monkeypatch.delitem(sys.modules, name)
        return importlib.import_module("users_package.steps")

    return write


@pytest.mark.parametrize(
    "line",
    [
        "from users_package.helper import FACTOR",
        "from .helper import FACTOR",
        "from . import helper",
        "import users_package.helper",
        "def late():\n    from users_package import helper",
        "from .between import something",
    ],
)
def test_source_of_what_a_users_module_imports_counts(package, line):
    """However it is imported, and by whatever is between; what nobody imports does not count."""
    step = f"import numpy as np\n{line}\n\n\nclass Step:\n    pass\n"
    between = "from users_package.helper import FACTOR as something\nimport users_package.steps\n"
    sources = {"steps": step, "between": between, "helper": "FACTOR = 1\n", "other": "A = 1\n"}

    def hashed(**changed):
        return source_hash([package(**{**sources, **changed}).Step()])

    first = hashed()
    assert hashed() == hashed(other="A = 2\n") == first
    assert hashed(helper="FACTOR = 2\n") != first


def test_imports_of_installed_packages_are_not_followed():
    """MONAI's version tells what its modules import: only the module of the class itself is hashed."""
    file = Path(inspect.getsourcefile(Flip))

    assert source_hash(Flip) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_step_without_a_name_is_refused():
    """Nobody could tell by a lambda whether a volume is of this one or of another."""
    line = r"^preprocessing: .*; name a function instead of a lambda$"
    with pytest.raises(InputError, match=line):
        transforms_hash([Holder(lambda image: 2 * image)])

    assert transforms_hash([Holder(len)]) != transforms_hash([Holder(abs)])


DIES_WHILE_WRITING = """
import os, signal, sys
import numpy
from nacl_monai.data import CachedVolumes, decathlon_cases
from tests.data.test_volumes import transforms

def save(stream, array, saved=numpy.save, calls=[]):
    calls.append(array)
    if len(calls) == 11:  # of five arrays a volume
        stream.write(b"half")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    saved(stream, array)

numpy.save = save
CachedVolumes(decathlon_cases(sys.argv[1])[:5], transforms(), sys.argv[2])
"""


@pytest.mark.slow
def test_caching_resumes_after_a_kill(decathlon_phantom, tmp_path, monkeypatch):
    """Killed while it writes the third volume of five, caching goes on with the third."""
    command = [sys.executable, "-c", DIES_WHILE_WRITING, decathlon_phantom, tmp_path]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    read, load = [], LoadCase.__call__
    monkeypatch.setattr(
        LoadCase, "__call__", lambda self, data: read.append(data["case"]) or load(self, data)
    )

    cases = decathlon_cases(decathlon_phantom)[:5]
    volumes = CachedVolumes(cases, transforms(), tmp_path)

    assert [case["case"] for case in cases[2:]] == read
    assert len(list(tmp_path.iterdir())) == 5
    monkeypatch.undo()
    anew = CachedVolumes(cases, transforms(), tmp_path / "b")
    for volume, fresh in zip(volumes, anew, strict=True):
        torch.testing.assert_close(volume["image"], fresh["image"])


def test_changed_file_replaces_the_cached_one(tmp_path):
    """A label that was corrected on disk, to a file of the same size and time of modification."""
    image, label = tmp_path / "image.nii", tmp_path / "label.nii"
    voxels = np.random.default_rng(0).random((8, 8, 3), dtype=np.float32)
    case = {"case": "c", "patient": "c", "image": str(image), "label": str(label)}
    save_nifti(voxels, image)
    save_nifti((voxels > 0.5).astype(np.uint8), label)
    os.utime(label, ns=(1, 1))
    before = CachedVolumes([case], transforms(), tmp_path / "cache")[0]["label"].sum()

    save_nifti((voxels > 0.25).astype(np.uint8), label)
    os.utime(label, ns=(1, 1))
    after = CachedVolumes([case], transforms(), tmp_path / "cache")[0]["label"].sum()

    assert (voxels > 0.5).sum() == before
    assert (voxels > 0.25).sum() == after


@pytest.mark.parametrize("make", [lambda own: own.Own(), lambda own: Holder(own.scale)])
def test_source_of_a_users_module_counts(package, make):
    """That of a user's class, and that of a function that another class calls."""
    source = "class Own:\n    pass\n\ndef scale(x):\n    return {} * x\n"
    hashes = [source_hash([make(package(steps=source.format(factor)))]) for factor in (1, 2)]

    assert hashes[0] != hashes[1]


SHAPE = (40, 9, 20)


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
def numbers(cases, tmp_path):
    return CachedVolumes(cases[:2], [numbered], tmp_path / "cache")


def corner_of(item):
    """Where a patch begins in its volume, by the number of the first voxel that is not padding."""
    shown = item["image"][0].flatten()
    first = int(shown[shown.nonzero()[0, 0]]) if shown.any() else 0
    return np.unravel_index(first, SHAPE)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_patch_is_a_box_of_the_volume_padded_on_all_sides(numbers, share):
    """Image and label are cut alike."""
    data = PatchDataset(numbers, PATCH, per_volume=30, class_centered=share)
    data.seed = 1
    whole = numbers[0]
    for item in data:
        top, _, first = corner_of(item)
        box = (slice(None), slice(top, top + 16), slice(None), slice(first, first + 8))
        for key in ("image", "label"):
            expected = np.zeros((1, *PATCH), np.float32)
            expected[:, :, 3:12] = whole[key][box]
            if not (top == 0 and first == 0):  # the very first voxel has the number of padding
                same_bits(item[key].float().numpy(), expected, "pieces are copied")
    assert item["label"].dtype == torch.uint8


def test_voxels_of_a_class_are_numbered_each_once(numbers):
    """Every number of a class is another voxel of it."""
    label = numbers[0]["label"][0]
    for index in (1, 3):
        count = int((label == index).sum())
        found = {numbers.voxel(0, index, number) for number in range(count)}
        assert found == {tuple(place) for place in (label == index).nonzero().tolist()}


def test_classes_are_centers_as_often_as_stated(numbers):
    """Each of two classes in a quarter of the patches, or in half, within 4 standard deviations."""
    for share in (0.5, 1.0):
        data = PatchDataset(numbers, (2, 2, 2), per_volume=400, class_centered=share)
        data.seed = 7
        found = Counter(int(data[index]["label"][0, 1, 1, 1]) for index in range(400))
        for label in (1, 3):
            expected = 400 * share / 2
            assert abs(found[label] - expected) < 4 * (expected * (1 - share / 2)) ** 0.5 + 2
        assert sum(found.values()) == 400


def test_no_patch_is_centered_on_voxels_that_nobody_labeled(numbers):
    """If class 3 is none, every patch that is to show a class shows class 1."""
    data = PatchDataset(numbers, (2, 2, 2), per_volume=50, class_centered=1.0, ignore_index=3)
    data.seed = 7

    assert all(item["label"][0, 1, 1, 1] == 1 for item in data)


def test_patches_that_show_no_class_on_purpose_lie_anywhere(numbers):
    """Every place along an axis is as frequent as any other, the last one too."""
    data = PatchDataset(numbers, PATCH, per_volume=1000, class_centered=0.0)
    data.seed = 3
    tops = Counter(int(corner_of(data[index])[0]) for index in range(1000))

    assert set(tops) == set(range(25))
    assert max(tops.values()) < 40 + 4 * 40**0.5 + 5


def test_volume_without_a_class_is_cut_anywhere(cases, tmp_path):
    """As where a crop has left the background alone."""
    volumes = CachedVolumes(cases, [without_classes], tmp_path)
    data = PatchDataset(volumes, PATCH, class_centered=1.0)

    assert not data[0]["label"].any()


def test_epoch_covers_every_voxel_once(numbers):
    """As many patches of a volume as have its voxels, rounded up; or as many as are asked for."""
    data = PatchDataset(numbers, PATCH)

    assert len(data) == 2 * 4  # 7200 voxels, of 2048 each
    assert [data[index]["case"] for index in (3, 4)] == [case["case"] for case in numbers.cases]
    assert len(PatchDataset(numbers, PATCH, per_volume=3)) == 6
    with pytest.raises(IndexError):
        data[8]


def test_patch_of_zeros_beyond_all_volumes_is_refused(numbers):
    """With the longest volume and a patch that holds it; a network may need a multiple of 32."""
    PatchDataset(numbers, (64, 32, 32))
    file = numbers.cases[0]["image"]
    assert refused(PatchDataset, numbers, (64, 33, 96)) == (
        f"{file}: the longest volume along axis 1 has 9 voxels, and a patch 33; choose a smaller one: "
        "--patch [64,32,32]"
    )


def test_sides_of_the_window_decide_between_slices_and_patches(cases, tmp_path):
    """Two or three; what each needs is handed on."""
    numbers = CachedVolumes(cases[:2], transforms(), tmp_path)
    slices = slices_or_patches(numbers, SIZE, discard_empty=True, per_volume=3)
    patches = slices_or_patches(numbers, (16, 16, 16), None, True, 3, 0.25)

    assert type(slices) is SliceDataset
    assert slices.size == SIZE
    assert type(patches) is PatchDataset
    assert (patches.size, len(patches), patches.class_centered) == ((16, 16, 16), 6, 0.25)
