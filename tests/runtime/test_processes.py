"""One process is as usual; several share the work (`tests/bundles/test_torchrun.py` runs two)."""

import ignite.distributed as idist
import pytest
import torch
from torch.utils.data import RandomSampler, SequentialSampler

from nacl_monai.errors import InputError
from nacl_monai.runtime import (
    across_processes,
    evaluation_sampler,
    join_processes,
    share_batch,
    training_sampler,
)


def test_single():
    """Without torchrun nothing is changed."""
    network = torch.nn.Linear(1, 1)
    join_processes()

    assert not torch.distributed.is_initialized()
    assert across_processes(network) is network
    assert share_batch(15) == 15
    assert isinstance(training_sampler(range(5), seed=0), RandomSampler)
    assert isinstance(evaluation_sampler(range(5)), SequentialSampler)


def test_uneven(monkeypatch):
    """What processes cannot share evenly is refused, with what they could."""
    monkeypatch.setattr(idist, "get_world_size", lambda: 4)

    assert share_batch(16) == 4
    with pytest.raises(InputError, match="batch_size 18 .* 4 processes; .* --batch_size 20"):
        share_batch(18)
    with pytest.raises(InputError, match="4 processes cannot share 3 volume"):
        evaluation_sampler(range(3))
