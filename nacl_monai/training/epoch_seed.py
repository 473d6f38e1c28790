"""Random numbers that depend on the seed and the epoch, and on nothing that came before."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism


class EpochSeed:
    """Seeds every generator at the start of every epoch: Python, NumPy, torch, MONAI's transforms.

    An epoch can then be repeated, alone, with the same order of samples, augmentation and dropout. This
    is why a resumed training is exact without any random state on disk. Seeds of different
    epochs, processes and runs are independent (`numpy.random.SeedSequence`).

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._seed)

    def _seed(self, engine: Engine) -> None:
        trainer: Any = engine
        entropy = np.random.SeedSequence([self.seed, engine.state.epoch, idist.get_rank()])
        seed = int(entropy.generate_state(1)[0])
        set_determinism(seed)
        # Transforms have generators of their own. `SliceDataset` seeds them for every item, so that it
        # does not matter which worker process makes it; others follow their worker.
        set_rnd(trainer.data_loader.dataset, seed)
        trainer.data_loader.dataset.seed = seed
