"""ECE and class-wise ECE against peers, side by side: ``python benchmarks/metrics.py``.

Prints a Markdown table. Times are medians after a warm-up, measured in turns so that a busy machine
slows all candidates alike; read the ratios. On one thread (``--threads 1``) it is the time of the
processor, which other programs hardly change.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from monai.metrics import CalibrationErrorMetric
from monai.networks.nets import UNet
from torchmetrics.functional.classification import multiclass_calibration_error

from nacl_monai.metrics import CalibrationMetric, calibration_bins

BINS = 15
VOLUMES = {"10×4×224×224": (10, 4, 224, 224), "1×4×128×128×128": (1, 4, 128, 128, 128)}


def from_bins(probs: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Top-1 and class-wise, from this package's bins."""
    bins = calibration_bins(probs, labels, num_bins=BINS)
    return bins.ece().item(), bins.cece().item()


def from_metric(
    probs: torch.Tensor, labels: torch.Tensor, **options: Sequence[str]
) -> dict[str, float]:
    """All errors of all four regions, or those of ``options``."""
    metric = CalibrationMetric(num_bins=BINS, **options)
    metric(probs, labels)
    return metric.aggregate()


def masking_loop(probs: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """One mask per bin, and per bin and class, as in the code published with the paper."""
    flat = probs.movedim(1, -1).reshape(-1, probs.shape[1])
    label = labels.flatten()
    edges = torch.linspace(0, 1, BINS + 1)

    def error(confidences: torch.Tensor, hits: torch.Tensor) -> float:
        total = 0.0
        for low, high in pairwise(edges):
            inside = confidences.gt(low) & confidences.le(high)
            share = inside.float().mean().item()
            if share > 0:
                gap = confidences[inside].mean() - hits[inside].float().mean()
                total += abs(gap.item()) * share
        return total

    confidences, prediction = flat.max(1)
    classes = [error(flat[:, k], label == k) for k in range(flat.shape[1])]
    return error(confidences, prediction == label), statistics.mean(classes)


def monai(probs: torch.Tensor, labels: torch.Tensor) -> float:
    """Class-wise only; the one-hot labels that it needs are part of its cost."""
    one_hot = torch.nn.functional.one_hot(labels[:, 0], probs.shape[1]).movedim(-1, 1)
    metric = CalibrationErrorMetric(num_bins=BINS)
    metric(probs, one_hot)
    return metric.aggregate().item()


def torchmetrics(probs: torch.Tensor, labels: torch.Tensor) -> float:
    """Top-1 only."""
    return multiclass_calibration_error(
        probs, labels[:, 0], num_classes=probs.shape[1], n_bins=BINS
    ).item()


def blobs(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of smooth structures in a larger background, and probabilities uncertain at borders."""
    coarse = torch.randn(*shape[:2], *(size // 16 for size in shape[2:]))
    coarse[:, 0] += 1
    mode = "trilinear" if len(shape) == 5 else "bilinear"
    logits = 8 * torch.nn.functional.interpolate(coarse, shape[2:], mode=mode)
    return (logits + torch.randn(shape)).softmax(1), logits.argmax(1, keepdim=True)


def medians(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for turn in range(repeats + 1):
        for name, candidate in candidates.items():
            start = clock()
            candidate()
            if turn:  # the first one warms up
                seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def network(shape: tuple[int, ...]) -> torch.nn.Module:
    """A small MONAI U-Net, cheaper than any network of the paper."""
    dims = len(shape) - 2
    return UNet(dims, 1, shape[1], (16, 32, 64, 128), (2, 2, 2), num_res_units=1).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed turns (default: 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, {BINS} bins, all voxels\n"
    )
    print("| volume | candidate | ms | ours is … × as fast |\n| --- | --- | ---: | ---: |")
    for title, shape in VOLUMES.items():
        probs, labels = blobs(shape)
        image = torch.randn(shape[0], 1, *shape[2:])
        net = network(shape)
        candidates: dict[str, Callable[[], object]] = {
            "ours: ECE + CECE": lambda p=probs, y=labels: from_bins(p, y),
            "one mask per bin: ECE + CECE": lambda p=probs, y=labels: masking_loop(p, y),
            "MONAI: CECE": lambda p=probs, y=labels: monai(p, y),
            "torchmetrics: ECE": lambda p=probs, y=labels: torchmetrics(p, y),
            "ours: all errors, 4 regions": lambda p=probs, y=labels: from_metric(p, y),
            "ours: ECE + CECE, foreground": lambda p=probs, y=labels: from_metric(
                p, y, errors=["ece", "cece"], regions=["foreground"]
            ),
            "forward pass of a small U-Net": torch.inference_mode()(lambda n=net, x=image: n(x)),
        }
        times = medians(candidates, options.repeats)
        times["MONAI + torchmetrics"] = times["MONAI: CECE"] + times["torchmetrics: ECE"]
        reference = times["ours: ECE + CECE"]
        for name, seconds in times.items():
            print(f"| {title} | {name} | {1e3 * seconds:.1f} | {seconds / reference:.1f} |")


if __name__ == "__main__":
    main()
