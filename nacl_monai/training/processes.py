"""One training or evaluation in several processes, one per device, as `torchrun` starts them.

With a single process every part is the usual one, so configurations need not differ.
"""

from __future__ import annotations

import sys
from collections.abc import Sized
from typing import Any, cast

import ignite.distributed as idist
import torch
from monai.data import DistributedSampler
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from nacl_monai.errors import InputError, SettingError


def is_silent() -> bool:
    """Whether this process leaves writing and printing to another, the first of its group."""
    return idist.get_rank() > 0


def join_processes() -> None:
    """Under `torchrun`, makes this process one of its group: NCCL on GPUs, Gloo on CPUs.

    Each process has one GPU, the one of its local rank.
    """
    if torch.distributed.is_torchelastic_launched() and not torch.distributed.is_initialized():
        report = sys.excepthook
        idist.initialize("nccl" if torch.cuda.is_available() else "gloo")
        # Torch's own prints what this one has printed once it is over; an exit in it loses the line.
        sys.excepthook = report


def share_batch(batch_size: int) -> int:
    """The part of a batch that one process takes, so that the batch as a whole stays the same size.

    Raises:
        SettingError: If the processes cannot share it evenly.
    """
    processes = idist.get_world_size()
    if batch_size % processes:
        raise SettingError(
            f"batch_size {batch_size}: cannot be shared evenly by {processes} processes; "
            f"choose a multiple: --batch_size {-(-batch_size // processes) * processes}"
        )
    return batch_size // processes


def training_sampler(dataset: Any, seed: int) -> Sampler[int]:
    """Draws samples in random order; every process gets equally many, if need be some twice."""
    if idist.get_world_size() == 1:
        return RandomSampler(dataset)
    return cast("Sampler[int]", DistributedSampler(dataset, shuffle=True, seed=seed))


def evaluation_sampler(dataset: Any) -> Sampler[int]:
    """Takes every sample once, in order; some processes get one sample more than others.

    Raises:
        InputError: If there are fewer samples than processes.
    """
    samples, processes = len(cast("Sized", dataset)), idist.get_world_size()
    if samples < processes:
        raise InputError(
            f"{samples} volume(s) of an evaluation: too few for {processes} processes; start fewer"
        )
    if processes == 1:
        return SequentialSampler(dataset)
    sampler = DistributedSampler(dataset, even_divisible=False, shuffle=False)
    return cast("Sampler[int]", sampler)


def across_processes(network: nn.Module) -> nn.Module:
    """Averages the gradients of ``network`` over all processes; its parameters stay the same objects."""
    if idist.get_world_size() == 1:
        return network
    return DistributedDataParallel(network)
