"""Parameters, time per training step and export formats of every network of the menu.

``python benchmarks/networks.py`` prints a Markdown table. A training step consists of the forward pass,
NACL over all outputs, the backward pass and Adam, on a batch of 16 slices of 224×224 with 4 classes. It
is timed as images are laid out, and with the channels last (``channels_last`` of a training), which is a
share of that time. All take turns, so that a busy machine slows them alike; times are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from copy import deepcopy
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from torch import nn

from nacl_monai.losses import DeepSupervisionLoss, NACLLoss
from nacl_monai.training.processes import PRECISIONS, PrecisionInferer, keep_freed_memory

MODEL = Path(__file__).parents[1] / "bundles/common/model.yaml"
DATASET = {"in_channels": 1, "classes": ["background", "RV", "MYO", "LV"]}  # ACDC's


def menu(chosen: list[str] | None) -> dict[str, nn.Module]:
    """Returns the networks of the menu, with the settings there."""
    parser = ConfigParser({**ConfigParser.load_config_file(MODEL), **DATASET})
    names = chosen or list(parser.get("networks"))
    return {name: parser.get_parsed_content(f"networks::{name}") for name in names}


class Step:
    """A training step of a network that it keeps.

    Args:
        network: Is copied.
        inferer: Applies it, in some precision and layout.
    """

    def __init__(self, network: nn.Module, inferer: PrecisionInferer) -> None:
        self.network = deepcopy(network)
        self.inferer = inferer
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.times: list[float] = []

    def measure(self, shape: tuple[int, ...]) -> None:
        """Keeps the wall-clock time of one step on random data."""
        device = self.inferer.device
        image = torch.rand(shape, device=device)
        labels = torch.randint(len(DATASET["classes"]), (shape[0], 1, *shape[2:]), device=device)
        start = time.perf_counter()
        self.optimizer.zero_grad()
        outputs = self.inferer(image, self.network)
        DeepSupervisionLoss(NACLLoss())(outputs, labels).backward()
        self.optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter() - start)

    @property
    def median(self) -> float:
        """The median of all times but the first, which warms up."""
        return statistics.median(self.times[1:])


def torchscript(network: nn.Module) -> str:
    """Returns ``script`` if the network can be scripted, else ``trace``."""
    network = network.cpu().eval()
    try:
        torch.jit.script(network)
    except RuntimeError:
        torch.jit.trace(network, torch.rand(1, 1, 64, 64))
        return "trace"
    return "script"


def onnx(network: nn.Module) -> str:
    """Returns ``yes``, or the name of the error that prevents the export."""
    try:
        torch.onnx.export(
            network.cpu().eval(), (torch.rand(1, 1, 64, 64),), dynamo=True, verbose=False
        )
    except Exception as error:
        return type(error).__name__
    return "yes"


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", help="names from the menu (default: all)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="measured rounds (default 5; 0: none)"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224, help="side of a slice")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    keep_freed_memory()
    networks = {
        name: network.to(options.device) for name, network in menu(options.networks).items()
    }
    window = (options.size, options.size)
    layouts = [
        PrecisionInferer(options.precision, options.device, window, channels_last=last)
        for last in (False, True)
    ]
    steps = {
        name: [Step(network, inferer) for inferer in layouts] for name, network in networks.items()
    }
    shape = (options.batch, 1, *window)
    for _ in range(options.rounds + 1 if options.rounds else 0):
        for pair in steps.values():
            for step in pair:
                step.measure(shape)
    where = f"{torch.get_num_threads()} CPU threads"
    if options.device == "cuda":
        where = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {where}, batch {'×'.join(map(str, shape))}\n")
    print("| network | parameters, millions | s per step | channels last | TorchScript | ONNX |")
    print("| --- | ---: | ---: | ---: | --- | --- |")
    for name, network in networks.items():
        size = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        plain, last = (step.median if options.rounds else float("nan") for step in steps[name])
        formats = f"{torchscript(network)} | {onnx(network)}"
        print(
            f"| `{name}` | {size:.2f} | {plain:.2f} | {last / plain:.2f} | {formats} |", flush=True
        )


if __name__ == "__main__":
    main()
