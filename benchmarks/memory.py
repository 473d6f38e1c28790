"""Peak memory of an evaluation of 6 and of 60 cases, each in a process of its own.

``python benchmarks/memory.py`` runs ``bundles/common/evaluate.yaml`` with all its metrics and
handlers on synthetic cases, which are made on demand, and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from torch.utils.data import Dataset

ROOT = Path(__file__).parents[1]
CONFIGS = ["acdc/configs/dataset.yaml", "common/model.yaml", "common/evaluate.yaml"]
SHAPE = (224, 224, 10)  # about an ACDC case of the paper


class Cases(Dataset[dict[str, Any]]):
    """Smooth structures of four classes with a noisy image of them."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        coarse = torch.randn(1, 4, *(max(1, n // 16) for n in SHAPE), generator=generator)
        coarse[:, 0] += 1
        label = torch.nn.functional.interpolate(coarse, SHAPE, mode="trilinear")[0].argmax(0)[None]
        image = label + torch.randn(label.shape, generator=generator)
        name = f"case{index:03d}"
        label = MetaTensor(label.to(torch.uint8))
        return {"case": name, "patient": name, "image": image, "label": label}


def peak_of(number: int, output_dir: str) -> int:
    """Evaluates ``number`` cases in this process; returns its peak resident memory in bytes."""
    parser = ConfigParser()
    parser.read_config([ROOT / "bundles" / config for config in CONFIGS])
    parser["output_dir"] = output_dir
    parser["volumes"] = Cases(number)
    parser["calibrated_network"] = "@network"  # of no training, and so with no record of one
    parser["record"] = None
    parser["handlers"] = [part for part in parser["handlers"] if part != "@record"]
    parser.get_parsed_content("evaluator").run()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[6, 60])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as output_dir:
            print("peak", peak_of(options.cases[0], output_dir))
        return
    print("| cases | peak resident memory, MiB |\n| ---: | ---: |")
    for number in options.cases:
        command = [sys.executable, __file__, "--here", "--cases", str(number)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = int(printed.rsplit("peak", 1)[1])
        print(f"| {number} | {peak / 2**20:.0f} |")


if __name__ == "__main__":
    main()
