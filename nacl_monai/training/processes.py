"""The processes of a training or evaluation, their device, memory and precision.

Processes are those of `torchrun`, one per device. With a single one every part is the usual one, so
configurations need not differ.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.data import DistributedSampler
from monai.inferers import Inferer, SimpleInferer
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from nacl_monai.errors import InputError, SettingError
from nacl_monai.tensors import keep_freed_memory as keep_freed_memory  # noqa: PLC0414 - as configurations name it

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PRECISIONS = ("auto", *_DTYPES)
#: By the number of axes of a batch: of slices, and of patches.
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
#: Networks that halve patches five times make 2 of this height. There torch 2.13's gradient of a 3×3×3
#: convolution's weights is wrong in bfloat16 on a CPU, whatever the other sides: 1e36, NaN, or less.
LARGEST_HALVED = 64
_Value = TypeVar("_Value")


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


def default_device() -> torch.device:
    """The GPU if there is one that CUDA or ROCm can use, else the CPU.

    Ignite's ``idist.device()`` prefers Apple's GPU to the CPU; it lacks float64, which transforms need.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def is_gpu(device: torch.device | str) -> bool:
    """Whether a batch reaches this device faster from memory that is pinned, without waiting for it."""
    return torch.device(device).type == "cuda"


def loading_processes(number: int | None, device: torch.device | str) -> int:
    """How many processes load batches: the ``number`` asked for, or up to four for a GPU, else none."""
    return number if number is not None else min(4, os.cpu_count() or 1) * is_gpu(device)


class PrecisionInferer(Inferer):
    """Runs a network in a lower precision, and returns its logits in float32.

    MONAI's trainer offers mixed precision only on NVIDIA's GPUs; through its inferer, any device can
    have it. Weights, gradients, loss and metrics stay in float32, and so does every evaluation.

    Args:
        precision: "float32"; "bfloat16", on CPUs and GPUs, but on CPUs not for patches whose height is a
            power of two up to :data:`LARGEST_HALVED`; "float16", on GPUs, where the trainer scales the
            gradients (``scales_gradients`` is its argument ``amp``); or "auto": bfloat16 on a GPU, and a
            CPU (AVX512-BF16 or AMX), that computes with it, where it may; else float32.
        device: Where the network is.
        window: The size of slices, or of patches, that the network sees; by default, of slices.
        channels_last: Whether images and weights are laid out with the channels last.
        inferer: How the network is applied; directly by default.

    Raises:
        SettingError: If there is no such precision, if it is float16 on a CPU, or bfloat16 on a CPU for
            patches whose gradients torch would get wrong.
    """

    def __init__(
        self,
        precision: str,
        device: torch.device | str,
        window: Sequence[int] = (),
        channels_last: bool = False,
        inferer: Inferer | None = None,
    ) -> None:
        super().__init__()
        self.device = torch.device(device)
        _check_precision(precision, self.device, window)
        self.dtype = _DTYPES[_faster(self.device, window) if precision == "auto" else precision]
        self.channels_last = channels_last
        self.inferer = SimpleInferer() if inferer is None else inferer
        self._laid_out: Any = None
        if idist.get_rank() == 0:
            name = str(self.dtype).removeprefix("torch.")
            print(f"precision: {name}{' (chosen for this device)' if precision == 'auto' else ''}")

    @property
    def scales_gradients(self) -> bool:
        """Whether gradients would vanish in this precision, so that the trainer is to scale them."""
        return self.dtype == torch.float16

    def __call__(
        self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any
    ) -> torch.Tensor | Sequence[torch.Tensor]:
        """The network's outputs for ``inputs``."""
        if self.channels_last and inputs.ndim in _CHANNELS_LAST:
            inputs = self._lay_out(inputs, network)
        lower = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype if lower else None, enabled=lower):
            outputs: Any = self.inferer(inputs, network, *args, **kwargs)
        if isinstance(outputs, torch.Tensor):
            return outputs.float()
        return [output.float() for output in outputs]

    def _lay_out(self, inputs: torch.Tensor, network: Any) -> torch.Tensor:
        """Lays out the weights once, and these ``inputs``, with the channels last."""
        layout = _CHANNELS_LAST[inputs.ndim]
        if self._laid_out is not network:
            self._laid_out = network.to(memory_format=layout)
        return inputs.contiguous(memory_format=layout)


def _is_wrong_in_bfloat16(device: torch.device, window: Sequence[int]) -> bool:
    """Whether a network on a CPU may make two voxels of the height of patches."""
    is_of_patches = device.type == "cpu" and len(window) == 3
    return is_of_patches and window[0] <= LARGEST_HALVED and window[0].bit_count() == 1


def _check_precision(precision: str, device: torch.device, window: Sequence[int]) -> None:
    if precision not in PRECISIONS:
        raise SettingError(
            f"precision {precision}: not known; choose from: {', '.join(PRECISIONS)}"
        )
    if precision == "float16" and device.type == "cpu":
        raise SettingError("precision float16: needs a GPU; choose bfloat16 or float32")
    if precision == "bfloat16" and _is_wrong_in_bfloat16(device, window):
        height = window[0]
        raise SettingError(
            f"precision bfloat16: torch's gradients are wrong in it on a CPU for patches of the height "
            f"{height}; choose float32, or patches of another height, such as {max(48, height * 3 // 2)}"
        )


def _faster(device: torch.device, window: Sequence[int]) -> str:
    if is_gpu(device):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # Older versions of torch cannot tell what a CPU can do.
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return "float32"
    if _is_wrong_in_bfloat16(device, window):
        return "float32"
    has = torch.cpu.get_capabilities()
    return "bfloat16" if has.get("avx512_bf16") or has.get("amx_bf16") else "float32"


def gathered(value: _Value) -> list[_Value]:
    """The values of all processes, in their order."""
    if idist.get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * idist.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def joined(values: Sequence[_Value]) -> list[_Value]:
    """The lists of all processes as one, in the order in which MONAI gathers its metrics."""
    return [value for of_process in gathered(values) for value in of_process]


@dataclass(eq=False)
class BroadcastBuffers:
    """Gives every process the buffers of the first one after each epoch, before the validation.

    Each process collects the statistics of batch normalization from other samples. Torch's
    `DistributedDataParallel` makes them equal only when the next batch begins, which is too late for
    the validation.

    Args:
        network: The network whose buffers are shared.
    """

    network: torch.nn.Module

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer; attach it before the validation."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._share)

    def _share(self) -> None:
        if idist.get_world_size() > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)
