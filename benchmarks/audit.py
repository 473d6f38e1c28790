"""Calibration errors of an audit beside those of peers: exactness, time and memory.

``python benchmarks/audit.py`` gives each tool the same two-class problem, whose error is known: every
voxel has the probability 0.3 for class 1, which every second voxel is, so that ECE and CECE are 0.2.
Each tool and size is a process of its own. Seconds are those of the processor on one thread, and memory
is the peak beyond the input. Prints a Markdown table.

MetricsReloaded is not a package of PyPI: ``pip install
git+https://github.com/Project-MONAI/MetricsReloaded`` beside the development environment adds its row.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import warnings
from importlib.util import find_spec

import torch

BINS = 15
SIZES = (2**20, 2**25)


def ours(probs: torch.Tensor, labels: torch.Tensor) -> float:
    from nacl_monai.metrics import CalibrationMetric  # noqa: PLC0415

    metric = CalibrationMetric(num_bins=BINS, errors=["ece"], regions=["all"])
    metric.update(probs, labels)
    return metric.compute()["ece_all"]


def torchmetrics(probs: torch.Tensor, labels: torch.Tensor) -> float:
    from torchmetrics.classification import MulticlassCalibrationError  # noqa: PLC0415

    metric = MulticlassCalibrationError(num_classes=probs.shape[1], n_bins=BINS)
    metric.update(probs, labels)
    return metric.compute().item()


def netcal(probs: torch.Tensor, labels: torch.Tensor) -> float:
    from netcal.metrics import ECE  # noqa: PLC0415

    voxels = probs.movedim(1, -1).reshape(-1, probs.shape[1])
    return float(ECE(BINS).measure(voxels.numpy(), labels.flatten().numpy()))


def monai(probs: torch.Tensor, labels: torch.Tensor) -> float:
    """Class-wise, which is the same here; the one-hot labels that it needs are part of its cost."""
    from monai.metrics import CalibrationErrorMetric  # noqa: PLC0415

    metric = CalibrationErrorMetric(num_bins=BINS)
    metric(probs, torch.nn.functional.one_hot(labels, probs.shape[1]).movedim(-1, 1))
    return metric.aggregate().item()


def metrics_reloaded(probs: torch.Tensor, labels: torch.Tensor) -> float:
    """Binary, which is the same here."""
    from MetricsReloaded.metrics.calibration_measures import (  # noqa: PLC0415
        CalibrationMeasures,
    )

    voxels = probs.movedim(1, -1).reshape(-1, probs.shape[1])
    measures = CalibrationMeasures(
        voxels.numpy(), labels.flatten().numpy(), dict_args={"bins_ece": BINS}
    )
    return float(measures.expectation_calibration_error())


#: Name in the table → function and the package that it needs.
TOOLS = {
    "ours": (ours, "nacl_monai"),
    "torchmetrics": (torchmetrics, "torchmetrics"),
    "netcal": (netcal, "netcal"),
    "MONAI": (monai, "monai"),
    "MetricsReloaded": (metrics_reloaded, "MetricsReloaded"),
}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux


def measure(tool: str, voxels: int) -> None:
    """Prints the error, the seconds and the MiB of one tool; a small volume first, to warm up."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    function, _ = TOOLS[tool]
    for size in (1024, voxels):
        labels = (torch.arange(size) % 2).view(1, -1, 16)
        probs = torch.tensor([0.7, 0.3]).view(1, 2, 1, 1).repeat(1, 1, size // 16, 16)
        before, start = peak(), time.process_time()
        error = function(probs, labels)
        seconds, memory = time.process_time() - start, peak() - before
    print("measured", error, seconds, memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voxels", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tool:
        measure(options.tool, options.voxels[0])
        return
    print("| voxels | tool | error (true: 0.2) | s | peak memory beyond the input, MiB |")
    print("| ---: | --- | ---: | ---: | ---: |")
    for voxels in options.voxels:
        for tool, (_, package) in TOOLS.items():
            if find_spec(package) is None:
                continue
            command = [sys.executable, __file__, "--tool", tool, "--voxels", str(voxels)]
            printed = subprocess.run(command, capture_output=True, text=True, check=False)
            if printed.returncode:
                print(f"| {voxels:,} | {tool} | failed with code {printed.returncode} | | |")
                continue
            error, seconds, memory = map(float, printed.stdout.rsplit("measured", 1)[1].split())
            print(
                f"| {voxels:,} | {tool} | {error:.6f} | {seconds:.2f} | {memory:.0f} |", flush=True
            )
    missing = [tool for tool, (_, package) in TOOLS.items() if find_spec(package) is None]
    if missing:
        print(f"\nNot installed, and so not measured: {', '.join(missing)}.")


if __name__ == "__main__":
    main()
