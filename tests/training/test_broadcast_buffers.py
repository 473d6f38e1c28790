"""Every process gets the buffers of the first one, after each epoch."""

import pytest
import torch
from ignite.engine import Engine

from nacl_monai.training import BroadcastBuffers


def run(network, epochs=2):
    engine = Engine(lambda *_: None)
    BroadcastBuffers(network).attach(engine)
    engine.run([0, 1, 2], max_epochs=epochs)


@pytest.fixture
def broadcasts(monkeypatch):
    """The tensors that were broadcast, and from which process."""
    calls = []
    monkeypatch.setattr(
        torch.distributed, "broadcast", lambda tensor, src: calls.append((tensor, src))
    )
    return calls


def test_all_buffers_come_from_the_first_process_after_each_epoch(broadcasts, monkeypatch):
    """Under two processes each epoch broadcasts every buffer of the network once, from rank 0."""
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 2)
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(3))

    run(network)

    buffers = list(network.buffers())
    assert len(buffers) == 6
    assert [id(tensor) for tensor, _ in broadcasts] == [id(buffer) for buffer in buffers] * 2
    assert {source for _, source in broadcasts} == {0}


def test_one_process_shares_nothing(broadcasts):
    """Without other processes nothing is broadcast."""
    run(torch.nn.BatchNorm2d(2))

    assert broadcasts == []
