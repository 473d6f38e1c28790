"""Random augmentation turns image and label alike, within their ranges, whoever makes an item."""

import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, RandGaussianNoise, RandScaleIntensity
from scipy import ndimage

from nacl_monai.data import random_augmentation
from nacl_monai.data.augmentation import seeded
from nacl_monai.errors import SettingError
from nacl_monai.menus import dataset_names
from tests.conftest import ROOT
from tests.same import same_values

CLASSES = 4
SHAPES = {2: (24, 30), 3: (20, 24, 16)}
ONLY = {"degrees": 0.0, "scale": 0.0, "gamma": [1.0, 1.0], "noise": 0.0, "prob": 1.0}


def menu(name, dims=2, flip_axes=(0,)):
    """An entry of the menu of the bundles, for so many dimensions."""
    config = ConfigParser.load_config_file(ROOT / "bundles/common/train.yaml")
    values = {"dims": dims, "flip_axes": list(flip_axes)}
    parser = ConfigParser({"augmentations": config["augmentations"], **values})
    return Compose(parser.get_parsed_content(f"augmentations::{name}"))


def smooth_item(dims, seed=0):
    """A label of large pieces, and its classes' indicators as the channels of the image."""
    noise = np.random.default_rng(seed).random((CLASSES, *SHAPES[dims]))
    label = np.argmax([ndimage.gaussian_filter(channel, 3) for channel in noise], axis=0)
    indicators = np.stack([label == index for index in range(CLASSES)]).astype(np.float32)
    mask = torch.from_numpy(label[None].astype(np.uint8))
    return {"image": torch.from_numpy(indicators), "label": mask, "case": "a"}


def copy(item):
    return {key: value.clone() if torch.is_tensor(value) else value for key, value in item.items()}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_image_and_label_are_turned_alike(dims, seed):
    """Where one class's indicator, interpolated, is large enough, the nearest label is this class."""
    settings = {**ONLY, "degrees": 40.0, "scale": 0.3, "flip_axes": [0, 1, 2]}
    item, transform = smooth_item(dims, seed), Compose(random_augmentation(dims, **settings))
    transform.set_random_state(seed)

    changed = transform(copy(item))

    # Linear interpolation weighs the nearest voxel with at least 1 / 2^dims, all others with the rest.
    sure = changed["image"] > 1 - 0.5**dims
    for index in range(CLASSES):
        assert set(changed["label"][0][sure[index]].tolist()) == {index}
    assert (changed["label"] != item["label"]).any()
    assert sure.any(0).float().mean() > 0.2


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["light", "strong"])
def test_items_keep_their_shape_type_and_range(name, dims):
    """Class indices stay class indices, intensities stay in [0, 1], and there is no metadata."""
    transform, item = menu(name, dims), smooth_item(dims)
    kinds = set()
    for seed in range(30):
        transform.set_random_state(seed)
        changed = transform(copy(item))
        assert changed["case"] == "a"
        for key in ("image", "label"):
            assert type(changed[key]) is torch.Tensor
            assert changed[key].shape == item[key].shape
            assert changed[key].dtype == item[key].dtype
        assert set(changed["label"].unique().tolist()) <= set(range(CLASSES))
        assert 0 <= changed["image"].min() <= changed["image"].max() <= 1
        kinds.add(changed["image"].numpy().tobytes())
    assert len(kinds) > 15


@pytest.mark.parametrize("axes", [[], [0], [1], [0, 1], [2]])
def test_only_the_axes_of_the_dataset_are_flipped(axes):
    """Each in half of the items; an axis that slices lack is left out."""
    transform = Compose(random_augmentation(2, **{**ONLY, "prob": 0.0}, flip_axes=axes))
    item, found = smooth_item(2), set()
    flips = {choice: torch.flip(item["label"], choice) for choice in ((), (1,), (2,), (1, 2))}
    for seed in range(40):
        transform.set_random_state(seed)
        label = transform(copy(item))["label"]
        found |= {choice for choice, flip in flips.items() if (label == flip).all()}

    allowed = {axis + 1 for axis in axes if axis < 2}
    assert found == {choice for choice in flips if set(choice) <= allowed}


def test_rotation_of_a_volume_is_within_its_slices():
    """A volume whose slices are all the same keeps that."""
    item = smooth_item(2)
    parts = {key: item[key] for key in ("image", "label")}
    volume = {k: x[..., None].expand(*x.shape, 16).contiguous() for k, x in parts.items()}
    transform = Compose(random_augmentation(3, **{**ONLY, "degrees": 40.0}))
    for seed in range(2, 5):
        transform.set_random_state(seed)

        label = transform(copy(volume))["label"]

        same_values(label, label[..., :1].expand_as(label))
        assert (label[..., 0] != item["label"]).any()


def test_gamma_keeps_the_order_of_intensities():
    """And zero, which is padding, and one."""
    image = torch.linspace(0, 1, 30 * 24).view(1, 24, 30)
    transform = Compose(random_augmentation(2, **{**ONLY, "gamma": [2.0, 2.0]}))

    changed = transform({"image": image, "label": torch.zeros(1, 24, 30)})["image"]

    torch.testing.assert_close(changed, image**2, atol=1e-5, rtol=0)


def test_none_changes_nothing():
    """It is an empty list, and hands on the item itself."""
    item = smooth_item(2)

    assert list(menu("none").transforms) == []
    assert seeded(menu("none"), item, [7]) is item


@pytest.mark.parametrize("dataset", dataset_names(ROOT / "bundles"))
def test_every_dataset_says_which_axes_may_be_flipped(dataset):
    """None where sides carry meaning, as in the heart and the abdomen with its liver."""
    config = ConfigParser.load_config_file(ROOT / f"bundles/{dataset}/configs/dataset.yaml")

    assert set(config["flip_axes"]) <= {0, 1, 2}
    if dataset in ("acdc", "flare"):
        assert config["flip_axes"] == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("flip_axes", [3]), ("degrees", -1), ("scale", 1.0), ("noise", -0.1), ("prob", 1.5)),
        *(("gamma", bounds) for bounds in ([0.0, 1.0], [1.0], [2.0, 1.0])),
    ],
)
def test_settings_out_of_range_are_refused(setting, value):
    """By name, before the first item."""
    with pytest.raises(SettingError, match=f"augmentation: {setting} is "):
        random_augmentation(2, **{setting: value})
    with pytest.raises(SettingError, match="spatial_dims is 4"):
        random_augmentation(4)


TRANSFORM = Compose([RandGaussianNoise(prob=0.5), RandScaleIntensity(0.5, prob=1)])


def from_globals(_):
    """What a transform that a user wrote may draw from."""
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


@pytest.mark.parametrize("transform", [TRANSFORM, from_globals], ids=["monai", "globals"])
def test_item_alone_is_the_item_after_others(transform):
    """The order in which items are made does not matter; each has numbers of its own."""
    items = {k: seeded(transform, torch.ones(4), [0, k]) for k in range(8)}

    for k in (5, 2, 7):
        assert list(items[k]) == list(seeded(transform, torch.ones(4), [0, k]))
    assert len({str(list(item)) for item in items.values()}) == 8
    assert list(items[0]) != list(seeded(transform, torch.ones(4), [1, 0]))


@pytest.mark.parametrize("refusing", [False, True])
def test_other_random_numbers_go_on_as_if_nothing_had_been(refusing):
    """Dropout and the order of samples draw from the global generators, also after an error."""

    def draw(_):
        from_globals(_)
        if refusing:
            raise KeyError

    def item_between():
        with pytest.raises(KeyError) if refusing else nullcontext():
            seeded(draw, None, [0])

    def drawn_around(between):
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(3)
        first = from_globals(None)
        between()
        return first, from_globals(None)

    assert drawn_around(item_between) == drawn_around(lambda: None)
