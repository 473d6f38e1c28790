"""The same batch statistics in every process."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events


class BroadcastBuffers:
    """Gives every process the buffers of the first one after each epoch, before the validation.

    Each process collects the statistics of batch normalization from other samples. Torch's
    `DistributedDataParallel` makes them equal only when the next batch begins, which is too late for
    the validation.

    Args:
        network: The network whose buffers are shared.
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
