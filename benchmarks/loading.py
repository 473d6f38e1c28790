"""Training on BraTS-sized volumes: its memory, and whether reading keeps up with the network.

``python benchmarks/loading.py`` writes a phantom of full-size volumes (240×240×155, 4 modalities) and
runs ``bundles/brats`` on it, each part in a process of its own: caching, one epoch of training with its
validation, the loader alone (shuffled, with the files out of the page cache and in it), and the training
step alone. Resident memory is sampled: its anonymous part is what the process needs, its file-backed
part pages of files that the operating system can take back. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from nacl_monai.phantoms import PHANTOMS

ROOT = Path(__file__).parents[1]
CONFIGS = ["brats/configs/dataset.yaml", "common/model.yaml", "common/train.yaml"]
OFFICIAL = 335
GIB = 2**30


class Memory(threading.Thread):
    """Samples the peaks of this process's resident memory, 50 times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peaks = {"RssAnon": 0, "RssFile": 0}
        self.start()

    def run(self) -> None:
        """Samples until the process ends."""
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                key, _, value = line.partition(":")
                if key in self.peaks:
                    self.peaks[key] = max(self.peaks[key], 1024 * int(value.split()[0]))
            time.sleep(0.02)

    def report(self) -> dict[str, float]:
        """Returns the sampled peaks and the kernel's own peak of all memory, in bytes."""
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
        return {**self.peaks, "peak": peak}


def config(folder: Path) -> ConfigParser:
    """Returns the bundle's training, with one epoch."""
    parser = ConfigParser()
    parser.read_config([ROOT / "bundles" / file for file in CONFIGS])
    parser.update(
        {
            "dataset_dir": str(folder / "brats"),
            "output_dir": str(folder / "run"),
            "cache_dir": str(folder / "cache"),
            "max_epochs": 1,
        }
    )
    return parser


def cache(folder: Path) -> dict[str, float]:
    """Preprocesses all training and validation volumes."""
    memory, parser, start = Memory(), config(folder), time.perf_counter()
    number = sum(
        len(parser.get_parsed_content(f"{part}::volumes")) for part in ("train", "validate")
    )
    return {**memory.report(), "seconds": (time.perf_counter() - start) / number}


def train(folder: Path) -> dict[str, float]:
    """Runs one epoch and its validation, as `make train` does."""
    memory, parser = Memory(), config(folder)
    trainer = parser.get_parsed_content("train::trainer")
    start = time.perf_counter()
    trainer.run()
    seconds = time.perf_counter() - start
    return {
        **memory.report(),
        "seconds": seconds,
        "slices": len(parser.get_parsed_content("train::dataset")),
    }


def loader(folder: Path, forget: bool) -> dict[str, float]:
    """Passes once over the shuffled batches, without a network."""
    batches = config(folder).get_parsed_content("train::dataloader")
    if forget:
        for file in (folder / "cache").iterdir():
            with file.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start, slices = time.perf_counter(), 0
    for batch in batches:
        slices += len(batch["image"])
    return {"rate": slices / (time.perf_counter() - start)}


def step(folder: Path, steps: int = 8) -> dict[str, float]:
    """Repeats forward, loss, backward and update on one batch in memory."""
    parser = config(folder)
    batch = next(iter(parser.get_parsed_content("train::dataloader")))
    network, loss, optimizer = (
        parser.get_parsed_content(key) for key in ("network", "loss", "train::optimizer")
    )
    start = 0.0
    for number in range(steps + 1):
        if number == 1:  # the first one warms up
            start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss(network(batch["image"]), batch["label"]).backward()
        optimizer.step()
    return {"rate": steps * len(batch["image"]) / (time.perf_counter() - start)}


PARTS = {
    "cache": cache,
    "train": train,
    "cold": lambda folder: loader(folder, forget=True),
    "warm": lambda folder: loader(folder, forget=False),
    "step": step,
}


def run(part: str, folder: Path) -> dict[str, float]:
    """Runs a part in a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=6, help="full-size volumes (default: 6)")
    parser.add_argument(
        "--folder", type=Path, help="where 0.3 GiB per case fit (default: temporary)"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        warnings.simplefilter("ignore")
        print(json.dumps(PARTS[options.part](options.folder)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        PHANTOMS["brats"].write(folder / "brats", cases=options.cases, full_size=True)
        measured = {part: run(part, folder) for part in PARTS}
        files = list((folder / "cache").iterdir())
        size = sum(file.stat().st_size for file in files) / len(files)
    print(f"{torch.get_num_threads()} thread(s), {options.cases} volumes of 240×240×155×4.\n")
    print(
        "| | anonymous, GiB | file-backed, GiB | peak resident, GiB |\n| --- | ---: | ---: | ---: |"
    )
    for part, title in (("cache", "caching"), ("train", "one epoch and its validation")):
        peaks = (measured[part][key] / GIB for key in ("RssAnon", "RssFile", "peak"))
        print(f"| {title} | " + " | ".join(f"{peak:.2f}" for peak in peaks) + " |")
    print("\n| | slices/s |\n| --- | ---: |")
    for part, title in (
        ("cold", "loader alone, files not in the page cache"),
        ("warm", "loader alone, files in the page cache"),
        ("step", "training step alone"),
    ):
        print(f"| {title} | {measured[part]['rate']:.1f} |")
    whole = measured["train"]
    print(f"| training, with its validation | {whole['slices'] / whole['seconds']:.1f} |")
    seconds = measured["cache"]["seconds"]
    print(
        f"\nA volume takes {seconds:.1f} s to cache and {size / GIB:.2f} GiB on disk; "
        f"extrapolated to {OFFICIAL}: {seconds * OFFICIAL / 60:.0f} minutes, "
        f"{size * OFFICIAL / GIB:.0f} GiB."
    )


if __name__ == "__main__":
    main()
