"""Where a training computes: processes, device, memory and precision."""

import inspect
import os
import platform
import resource
import subprocess
import sys
from unittest.mock import Mock

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Engine
from torch.utils.data import RandomSampler, SequentialSampler

from nacl_monai.errors import InputError
from nacl_monai.training import (
    BroadcastBuffers,
    PrecisionInferer,
    across_processes,
    default_device,
    evaluation_sampler,
    is_gpu,
    is_silent,
    join_processes,
    keep_freed_memory,
    loading_processes,
    share_batch,
    training_sampler,
)
from nacl_monai.training.processes import gathered, joined


def test_single_process_is_as_usual(monkeypatch):
    """Without torchrun nothing is changed; a GPU goes before the CPU."""
    for device in ("cuda", "cpu"):
        monkeypatch.setattr(torch.cuda, "is_available", (device == "cuda").__bool__)
        assert default_device() == torch.device(device)
    network = torch.nn.Linear(1, 1)
    join_processes()

    assert not torch.distributed.is_initialized()
    assert across_processes(network) is network
    assert share_batch(15) == 15
    assert not is_silent()
    assert gathered("mine") == ["mine"]
    assert joined(["a", ""]) == ["a", ""]
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
    monkeypatch.setattr(idist, "get_rank", lambda: 3)

    assert is_silent()
    assert share_batch(16) == 4
    with pytest.raises(InputError, match="batch_size 18: .* 4 processes; .* --batch_size 20"):
        share_batch(18)
    with pytest.raises(InputError, match="3 volume.* too few for 4 processes; start fewer"):
        evaluation_sampler(range(3))


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


PROGRAM = """
import ctypes, resource, sys
exec(sys.argv[2])
assert sys.argv[1] == "default" or keep_freed_memory()
b"x" * 2**26
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"x" * 2**26
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    """How often the system gave the process a page while it filled 64 MiB ten times."""
    command = [sys.executable, "-c", PROGRAM, mode, inspect.getsource(keep_freed_memory)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_pages_of_a_freed_buffer_are_used_again():
    """Otherwise every page is given back and asked for again."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc can be told to keep them")
    pages = 10 * 2**26 // resource.getpagesize()

    assert faults("default") > pages / 2
    assert faults("kept") < pages / 20


def test_another_c_library_is_left_as_it_is(monkeypatch):
    """Musl and macOS have no such settings."""
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())

    assert not keep_freed_memory()


CPU = torch.device("cpu")


class Network(torch.nn.Module):
    """Remembers what its convolution computed with."""

    def __init__(self, dims=2):
        super().__init__()
        self.convolution = (torch.nn.Conv2d, torch.nn.Conv3d)[dims - 2](2, 2, 3)

    def forward(self, image):
        self.image, self.inner = image, self.convolution(image)
        return [self.inner, self.inner]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_forward_pass_alone_is_in_a_lower_precision(precision, dtype):
    """Inside, the precision that was asked for; outside, float32 outputs, weights and gradients."""
    network = Network()
    outputs = PrecisionInferer(precision, CPU)(torch.randn(2, 2, 8, 8), network)
    sum(output.square().mean() for output in outputs).backward()

    assert network.inner.dtype == dtype
    assert all(output.dtype == torch.float32 for output in outputs)
    assert network.convolution.weight.dtype == torch.float32
    assert network.convolution.weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("dims", "layout"), [(2, torch.channels_last), (3, torch.channels_last_3d)]
)
def test_channels_last_changes_the_layout_and_no_value(dims, layout):
    """The image reaches the network with its channels last, be it a slice or a patch."""
    network, image = Network(dims), torch.randn(2, 2, *[8] * dims)
    expected = network(image)[0]
    outputs = PrecisionInferer("float32", CPU, channels_last=True)(image, network)

    assert network.image.is_contiguous(memory_format=layout)
    torch.testing.assert_close(outputs[0], expected)


@pytest.mark.parametrize(
    ("device", "capabilities", "dtype"),
    [
        ("cpu", ["avx2"], "float32"),
        ("cpu", ["avx2", "avx512_bf16"], "bfloat16"),
        ("cpu", ["amx_bf16"], "bfloat16"),
        ("cpu", None, "float32"),  # older versions of torch cannot tell
        ("cuda:0", ["amx_bf16"], "float32"),  # whatever the CPU beside it can do
        ("cuda:0", ["gpu_bf16"], "bfloat16"),
        ("cpu", ["gpu_bf16"], "float32"),
    ],
)
def test_auto_takes_what_the_device_computes_with_and_says_so(
    monkeypatch, capsys, device, capabilities, dtype
):
    """bfloat16 only where it is fast."""
    known = dict.fromkeys(capabilities or (), True)
    supports = lambda including_emulation: "gpu_bf16" in known and not including_emulation  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supports)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    if capabilities is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities")

    assert str(PrecisionInferer("auto", device).dtype) == f"torch.{dtype}"
    assert capsys.readouterr().out == f"precision: {dtype} (chosen for this device)\n"


@pytest.mark.parametrize(
    ("window", "dtype"),
    [
        ((32, 48, 48), torch.float32),
        ((64, 8, 8), torch.float32),
        ((1, 8, 8), torch.float32),
        ((48, 32, 8), torch.bfloat16),
        ((128, 32, 8), torch.bfloat16),
        ((64, 64), torch.bfloat16),
    ],
)
def test_patches_that_torch_would_get_wrong_are_not_trained_in_bfloat16(monkeypatch, window, dtype):
    """Those that networks halve to a height of two: auto is float32, and bfloat16 is refused."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)

    assert PrecisionInferer("auto", CPU, window).dtype == dtype
    assert PrecisionInferer("bfloat16", "cuda:0", window).dtype == torch.bfloat16
    if dtype == torch.bfloat16:
        assert PrecisionInferer("bfloat16", CPU, window).dtype == dtype
        return
    with pytest.raises(InputError, match="wrong in it on a CPU for patches") as refused:
        PrecisionInferer("bfloat16", CPU, window)
    height = int(str(refused.value).rpartition(" ")[2])
    assert PrecisionInferer("bfloat16", CPU, (height, *window[1:])).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("precision", "device", "message"),
    [
        ("fp8", CPU, "precision fp8: not known; choose from: auto, float32"),
        ("float16", CPU, "precision float16: needs a GPU; choose bfloat16"),
        ("float16", "cpu", "precision float16: needs a GPU"),  # --device cpu is a text
    ],
)
def test_precision_that_is_not_there_is_refused(precision, device, message):
    """With those that there are."""
    with pytest.raises(InputError, match=message):
        PrecisionInferer(precision, device)


@pytest.mark.parametrize(
    ("precision", "device", "scaled"),
    [("float32", "cpu", False), ("bfloat16", "cpu", False), ("float16", "cuda:0", True)],
)
def test_gradients_are_scaled_in_float16_alone(precision, device, scaled):
    """Its exponents are too short for small gradients; those of bfloat16 are not."""
    assert PrecisionInferer(precision, device).scales_gradients is scaled


@pytest.mark.parametrize(("device", "loading"), [("cpu", 0), ("cuda:1", 4)])
def test_batches_for_a_gpu_are_loaded_beside_it(monkeypatch, device, loading):
    """By up to four processes, through pinned memory; or by as many processes as one asks for."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)

    assert is_gpu(device) == is_gpu(torch.device(device)) == bool(loading)
    assert loading_processes(None, device) == loading
    assert [loading_processes(number, device) for number in (0, 7)] == [0, 7]
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert loading_processes(None, device) == loading / 2


def test_lists_are_joined_in_the_order_of_the_processes(monkeypatch):
    """An empty list of one process adds nothing, where MONAI's joining of strings adds an empty one."""

    def all_gather_object(values, value):
        values[:] = [[], value, ["c"]]

    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather_object)

    assert joined(["a", ""]) == ["a", "", "c"]


@pytest.mark.parametrize("processes", [1, 2])
def test_all_buffers_come_from_the_first_process_after_each_epoch(monkeypatch, processes):
    """Each epoch broadcasts every buffer of the network once, from rank 0; one process has nobody."""
    broadcast = Mock()
    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: processes)
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(3))
    engine = Engine(lambda *_: None)
    BroadcastBuffers(network).attach(engine)

    engine.run([0, 1, 2], max_epochs=2)

    buffers = list(map(id, network.buffers()))
    assert len(buffers) == 6
    sent = [id(tensor) for (tensor,), _ in broadcast.call_args_list]
    assert sent == (buffers * 2 if processes > 1 else [])
    assert all(options == {"src": 0} for _, options in broadcast.call_args_list)
