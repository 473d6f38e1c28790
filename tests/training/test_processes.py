"""One process is as usual; several share the work (`tests/configurations/test_torchrun.py` runs two)."""

import sys

import ignite.distributed as idist
import pytest
import torch
from torch.utils.data import RandomSampler, SequentialSampler

from nacl_monai.errors import InputError
from nacl_monai.training import (
    across_processes,
    evaluation_sampler,
    is_silent,
    join_processes,
    share_batch,
    training_sampler,
)


def test_single_process_is_as_usual():
    """Without torchrun nothing is changed."""
    network = torch.nn.Linear(1, 1)
    join_processes()

    assert not torch.distributed.is_initialized()
    assert across_processes(network) is network
    assert share_batch(15) == 15
    assert not is_silent()
    assert isinstance(training_sampler(range(5), seed=0), RandomSampler)
    assert isinstance(evaluation_sampler(range(5)), SequentialSampler)


def test_errors_of_several_processes_are_lines_too(monkeypatch):
    """Torch's hook would hold the line back, and lose it where the process then exits with code 2."""
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(idist, "initialize", lambda _: setattr(sys, "excepthook", print))
    monkeypatch.setattr(sys, "excepthook", repr)
    join_processes()

    assert sys.excepthook is repr


def test_what_processes_cannot_share_is_refused(monkeypatch):
    """With what they could share."""
    monkeypatch.setattr(idist, "get_world_size", lambda: 4)

    assert share_batch(16) == 4
    with pytest.raises(InputError, match="batch_size 18: .* 4 processes; .* --batch_size 20"):
        share_batch(18)
    with pytest.raises(InputError, match="3 volume.* too few for 4 processes; start fewer"):
        evaluation_sampler(range(3))


@pytest.mark.parametrize(("rank", "silent"), [(0, False), (1, True), (3, True)])
def test_first_process_alone_writes(monkeypatch, rank, silent):
    """All others are silent."""
    monkeypatch.setattr(idist, "get_rank", lambda: rank)

    assert is_silent() is silent


@pytest.mark.parametrize("samples", [4, 5, 7, 8])
def test_evaluation_takes_every_sample_once(monkeypatch, samples):
    """In order, whatever the number of processes."""
    monkeypatch.setattr(idist, "get_world_size", lambda: 4)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda *_: 4)
    taken = []
    for rank in range(4):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda *_, rank=rank: rank)
        taken.append(list(evaluation_sampler(range(samples))))

    assert sorted(sample for part in taken for sample in part) == list(range(samples))
    assert all(part == sorted(part) for part in taken)
