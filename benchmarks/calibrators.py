"""The fit of a temperature beside those of peers: exactness, time and memory.

``python benchmarks/calibrators.py`` draws volumes whose labels follow from logits of four classes, 99 %
background, and gives three times these logits to each tool: the right temperature is 3. Ours reads one
volume after the other; fiducio and netcal need the voxels of all at once. Each tool is a process of its
own. Seconds are those of the processor on one thread, and memory is the peak beyond the imports. Prints
a Markdown table.

fiducio needs a newer torch than this project: ``pip install fiducio`` beside the development environment
adds its rows.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import torch

CLASSES, TEMPERATURE = 4, 3.0


def volumes(number: int, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (C, size, size, size) and labels; the organs fill about a hundredth."""
    inside = torch.zeros(size, size, size)
    edge = round(size * 0.01 ** (1 / 3))
    inside[:edge, :edge, :edge] = 1
    for seed in range(number):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(CLASSES, size, size, size, generator=generator)
        logits[0] += 9 * (1 - inside)
        gumbel = -torch.log(-torch.log(torch.rand(logits.shape, generator=generator)))
        labels = (logits + gumbel).argmax(0)  # drawn from the softmax of the logits
        yield TEMPERATURE * logits, labels


def ours(number: int, size: int) -> float:
    from nacl_monai.posthoc import RegionLogits, fit_temperature  # noqa: PLC0415

    with RegionLogits("all") as voxels:
        for seed, (logits, labels) in enumerate(volumes(number, size)):
            voxels.add(logits, labels[None], f"patient{seed}")
        return fit_temperature(voxels).temperature.item()


def together(number: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All voxels of all volumes, (N, C) and (N,), with no more than one volume beside them."""
    logits = torch.empty(number, size**3, CLASSES)
    labels = torch.empty(number, size**3, dtype=torch.long)
    for seed, (volume, label) in enumerate(volumes(number, size)):
        logits[seed] = volume.flatten(1).T
        labels[seed] = label.flatten()
    return logits.flatten(0, 1), labels.flatten()


def fiducio(number: int, size: int, optimizer: str = "adam") -> float:
    from fiducio import TemperatureScaling  # noqa: PLC0415

    logits, labels = together(number, size)
    calibrator = TemperatureScaling(optimizer=optimizer)
    calibrator.fit(logits[..., None], labels[..., None])
    return calibrator.temperature


def fiducio_lbfgs(number: int, size: int) -> float:
    return fiducio(number, size, "lbfgs")


def netcal(number: int, size: int) -> float:
    """Its input is probabilities, and its parameter 1 / T; of float32 it fits nothing and returns 1."""
    from netcal.scaling import TemperatureScaling  # noqa: PLC0415

    logits, labels = together(number, size)
    probs = logits.double().softmax(1).numpy()
    calibrator = TemperatureScaling(use_cuda=False)
    calibrator.fit(probs, labels.numpy(), tensorboard=False)
    return 1 / float(np.ravel(calibrator.temperature)[0])


#: Name in the table → function and the package that it needs.
TOOLS = {
    "ours": (ours, "nacl_monai"),
    "fiducio, Adam (its default)": (fiducio, "fiducio"),
    "fiducio, L-BFGS": (fiducio_lbfgs, "fiducio"),
    "netcal": (netcal, "netcal"),
}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux


def measure(tool: str, number: int, size: int) -> None:
    """Prints the temperature, the seconds and the MiB of one tool."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    function, package = TOOLS[tool]
    importlib.import_module(package)
    function(2, 16)  # what is imported and compiled at the first call
    before, start = peak(), time.process_time()
    for _ in volumes(number, size):
        pass
    drawn = time.process_time() - start
    start = time.process_time()
    temperature = function(number, size)
    seconds = time.process_time() - start - drawn
    print("measured", temperature, seconds, peak() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS")
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tool:
        measure(options.tool, options.volumes[0], options.size)
        return
    print(f"| volumes of {options.size}³ | tool | temperature (true: 3) | s | peak memory, MiB |")
    print("| ---: | --- | ---: | ---: | ---: |")
    for number in options.volumes:
        for tool, (_, package) in TOOLS.items():
            if find_spec(package) is not None:
                print(f"| {number} | {tool} | {row(tool, number, options)} |", flush=True)
    missing = {package for _, package in TOOLS.values() if find_spec(package) is None}
    if missing:
        print(f"\nNot installed, and so not measured: {', '.join(sorted(missing))}.")


def row(tool: str, number: int, options: argparse.Namespace) -> str:
    """The cells that a process of its own measures."""
    words = ["--tool", tool, "--volumes", str(number), "--size", str(options.size)]
    try:
        printed = subprocess.run(
            [sys.executable, __file__, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=options.timeout,
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {options.timeout:.0f} s | | "
    if printed.returncode:
        print(printed.stderr, file=sys.stderr)
        return f"failed with code {printed.returncode} | | "
    temperature, seconds, memory = map(float, printed.stdout.rsplit("measured", 1)[1].split())
    return f"{temperature:.4f} | {seconds:.1f} | {memory:.0f}"


if __name__ == "__main__":
    main()
