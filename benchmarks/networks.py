"""Parameters, time per training step and export formats of every network of the menu.

``python benchmarks/networks.py`` prints a Markdown table. A training step consists of the forward pass,
NACL over all outputs, the backward pass and Adam, on a batch of 16 slices of 224×224 with 4 classes, in
float32. The networks take turns, so that a busy machine slows all of them alike; times are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from torch import nn

from nacl_monai.losses import DeepSupervisionLoss, NACLLoss

MODEL = Path(__file__).parents[1] / "bundles/common/model.yaml"
DATASET = {"in_channels": 1, "classes": ["background", "RV", "MYO", "LV"]}  # ACDC's


def menu(chosen: list[str] | None) -> dict[str, nn.Module]:
    """Returns the networks of the menu, with the settings there."""
    parser = ConfigParser({**ConfigParser.load_config_file(MODEL), **DATASET})
    names = chosen or list(parser.get("networks"))
    return {name: parser.get_parsed_content(f"networks::{name}") for name in names}


def seconds(network: nn.Module, optimizer: torch.optim.Optimizer, shape: tuple[int, ...]) -> float:
    """Returns the wall-clock time of one training step on random data."""
    device = next(network.parameters()).device
    image = torch.rand(shape, device=device)
    labels = torch.randint(len(DATASET["classes"]), (shape[0], 1, *shape[2:]), device=device)
    start = time.perf_counter()
    optimizer.zero_grad()
    DeepSupervisionLoss(NACLLoss())(network(image), labels).backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


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
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    networks = {
        name: network.to(options.device) for name, network in menu(options.networks).items()
    }
    adam = {name: torch.optim.Adam(network.parameters()) for name, network in networks.items()}
    shape = (options.batch, 1, options.size, options.size)
    times: dict[str, list[float]] = {name: [] for name in networks}
    for measured in range(-1 if options.rounds else 0, options.rounds):  # the first warms up
        for name, network in networks.items():
            duration = seconds(network, adam[name], shape)
            if measured >= 0:
                times[name].append(duration)
    where = f"{torch.get_num_threads()} CPU threads"
    if options.device == "cuda":
        where = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {where}, batch {'×'.join(map(str, shape))}\n")
    print("| network | parameters, millions | s per training step | TorchScript | ONNX |")
    print("| --- | ---: | ---: | --- | --- |")
    for name, network in networks.items():
        size = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        step = f"{statistics.median(times[name]):.2f}" if times[name] else ""
        formats = f"{torchscript(network)} | {onnx(network)}"
        print(f"| `{name}` | {size:.2f} | {step} | {formats} |", flush=True)


if __name__ == "__main__":
    main()
