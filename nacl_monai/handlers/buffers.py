"""Batch statistics that several processes agree on."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events


class BroadcastBuffers:
    """Gives every process the first one's buffers at the end of an epoch, before it is validated.

    Batch normalization collects its statistics in every process from other samples, and torch's
    `DistributedDataParallel` makes them equal only when the next batch begins.

    Args:
        network: Whose buffers.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer; attach it before the validation."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._share)

    def _share(self) -> None:
        if idist.get_world_size() > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)
