"""An epoch's random numbers depend on the seed and the epoch alone."""

import random

import numpy as np
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import Trainer
from monai.transforms import RandScaleIntensity

from nacl_monai.training import EpochSeed


def draws(seed, epochs, start=0):
    """What every generator gives in each epoch, and the order of the samples."""
    data = Dataset([torch.full((1,), float(k)) for k in range(6)], RandScaleIntensity(0.5, prob=1))
    seen = []

    def iteration(_, batch):
        numbers = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
        seen.append((*batch.flatten().tolist(), *numbers))

    trainer = Trainer("cpu", epochs, DataLoader(data, shuffle=True), iteration_update=iteration)
    EpochSeed(seed).attach(trainer)

    def begin():
        trainer.state.epoch, trainer.state.iteration = start, 6 * start

    trainer.add_event_handler(Events.STARTED, begin)
    trainer.run()
    return [seen[k : k + 6] for k in range(0, len(seen), 6)]


def test_epoch_alone_equals_the_same_epoch_after_others():
    """An epoch done alone is the same as after others; epochs and seeds differ."""
    first, second, third = draws(0, 3)

    assert draws(0, 3, start=1) == [second, third]
    assert first != second
    assert draws(1, 2) != [first, second]


def test_second_epoch_of_a_seed_is_not_the_first_of_the_next():
    """The second epoch of one seed is not the first of the next."""
    assert draws(0, 2)[1] != draws(1, 1)[0]
