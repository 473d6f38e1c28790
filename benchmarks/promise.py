"""What a promise costs: ``python benchmarks/promise.py``.

Volumes of 128³ voxels with three structures, as arrays: the curves of each, the fit of a hundred
patients with its check on held-out ones, and the application to a new volume. Seconds are those of the
processor on one thread; memory is the peak of the process. Prints a Markdown table.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from nacl_monai.promises import applied, fit
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control

SIDE, VOLUMES, PATIENTS = 128, 5, 100
#: Center and radius of each structure, as shares of the side.
BALLS = (((0.3, 0.4, 0.5), 0.18), ((0.6, 0.6, 0.5), 0.12), ((0.5, 0.3, 0.7), 0.07))


def volume(seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Probabilities (4, 128, 128, 128) in float32 and a label map; borders are shifted by chance."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*[np.arange(SIDE) / SIDE] * 3, indexing="ij"), -1)
    logits, label = [np.zeros((SIDE,) * 3)], np.zeros((SIDE,) * 3, np.int16)
    for value, (center, radius) in enumerate(BALLS, 1):
        inside = radius - np.linalg.norm(place - center, axis=-1)
        logits.append(100 * inside + rng.normal(0, 1, inside.shape))
        label[inside + rng.normal(0, 0.01) > 0] = value
    probs = torch.from_numpy(np.stack(logits)).softmax(0).float().numpy()
    return probs, label


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, and what came out."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    names = [f"structure_{k}" for k in range(len(BALLS))]
    options: dict[str, Any] = {"spacing": (1.0, 1.0, 1.0), "classes": ["background", *names]}
    volumes = [volume(k) for k in range(VOLUMES)]
    counts = [
        timed(lambda pair=pair: curves_of_arrays([pair[0]], [pair[1]], **options))
        for pair in volumes
    ]
    curves = [
        replace(counts[k % VOLUMES][1], cases=[f"case_{k:03d}"], patients=[f"case_{k:03d}"])
        for k in range(PATIENTS)
    ]
    first, *others = curves
    levels = [Control(0.05), Control(0.1)]
    fitting, made = timed(lambda: fit(first.joined(others), levels))
    news = [torch.from_numpy(probs) for probs, _ in volumes]
    applying = [timed(lambda new=new: applied(made, new, (1.0, 1.0, 1.0)))[0] for new in news]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("| 128³ voxels, 3 structures | |\n| --- | ---: |")
    print(f"| curves of a volume | {statistics.median(seconds for seconds, _ in counts):.2f} s |")
    print(f"| fit of {PATIENTS} patients, with its check | {fitting:.2f} s |")
    print(f"| application to a volume | {statistics.median(applying):.2f} s |")
    print(f"| peak memory | {peak / 2**20:.2f} GiB, of which {before / 2**20:.2f} are imports |")


if __name__ == "__main__":
    main()
