"""Random transforms whose result depends on the item, and not on what was read before, nor by whom."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data.utils import set_rnd
from monai.transforms import Compose


def seeded(transform: Callable[[Any], Any], item: Any, entropy: Sequence[int]) -> Any:
    """``transform(item)`` with random numbers that follow only from ``entropy``.

    The transform's own generators are seeded, and those of Python, NumPy and torch's CPU while it runs;
    afterwards these three go on as if nothing had been. It therefore does not matter in which of
    several worker processes an item is made, or in none.

    Args:
        transform: For instance MONAI's ``Compose``.
        item: What it is applied to.
        entropy: Integers from 0 that name the item, such as the seed of an epoch and an index.

    Example:
        >>> from monai.transforms import RandScaleIntensity
        >>> transform = RandScaleIntensity(0.5, prob=1.0)
        >>> first, other, again = (seeded(transform, torch.ones(1), [0, k]) for k in (7, 8, 7))
        >>> bool(first == again), bool(first == other)
        (True, False)
    """
    if isinstance(transform, Compose) and not len(transform):
        return item  # to seed nothing took a fifteenth of a training on small slices
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    set_rnd(transform, seed)
    with _global_generators(seed):
        return transform(item)


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that transforms may use
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
