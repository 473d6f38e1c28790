"""An item's random numbers depend on its entropy, and on nothing that was drawn before."""

import random

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandGaussianNoise, RandScaleIntensity

from nacl_monai.data.augmentation import seeded

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

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    expected = [from_globals(None) for _ in range(2)]
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    found = [from_globals(None)]
    try:
        seeded(draw, None, [0])
    except KeyError:
        assert refusing
    found.append(from_globals(None))

    assert expected == found


def test_nothing_to_do_is_not_seeded(monkeypatch):
    """It takes a fifteenth of a training on small slices."""
    monkeypatch.setattr("nacl_monai.data.augmentation.set_rnd", lambda *_: pytest.fail("seeded"))
    item = {"image": torch.ones(4)}

    assert seeded(Compose([]), item, [0, 0]) is item
    assert seeded(Compose([Compose([])]), item, [0, 0]) is item
