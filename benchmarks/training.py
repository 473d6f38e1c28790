"""Speed of whole training and evaluation runs beside bare loops, and their growth with the data.

``python benchmarks/training.py`` trains and evaluates ``bundles/acdc`` on a phantom, and prints
Markdown tables. A bare loop has its tensors in memory and does nothing but the network's work: same
network, loss, optimizer, batch and precision, in turn with the run's own epochs in one process.
``--growth 1 4 16`` measures one epoch of 1, 4 and 16 times the volumes, each in its own process.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter

import matplotlib.pyplot as plt
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from nacl_monai.phantoms import PHANTOMS

ROOT = Path(__file__).parents[1]
PAPER = {"slices": 1300, "epochs": 100}  # ACDC in the paper, section 4.1


def configuration(kind: str, options: argparse.Namespace, folder: Path) -> ConfigParser:
    parser = ConfigParser()
    files = ["acdc/configs/dataset.yaml", "common/model.yaml", f"common/{kind}.yaml"]
    parser.read_config([ROOT / "bundles" / file for file in files])
    parser.update(
        {
            "dataset_dir": str(options.data),
            "output_dir": str(folder / "run"),
            "cache_dir": str(options.data.parent / "cache"),
            "spatial_size": [options.size, options.size],
            "network_def": f"@networks::{options.network}",
        }
    )
    if kind == "train":
        parser.update({"max_epochs": options.epochs + 1, "precision": options.precision})
    else:
        parser["cases_to_evaluate"] = "train"
    return parser


def train(options: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """Seconds per slice of the run and of the bare loop, each the median over epochs after the first."""
    parser = configuration("train", options, folder)
    set_determinism(0)
    trainer, inferer = (parser.get_parsed_content(f"train::{k}") for k in ("trainer", "inferer"))
    loss_function = parser.get_parsed_content("loss_function")
    batches = [(batch["image"], batch["label"]) for batch in trainer.data_loader]
    twin = ConfigParser({**configuration("train", options, folder).get(), "seed": 1})
    network, optimizer = (twin.get_parsed_content(key) for key in ("network", "train::optimizer"))
    slices = sum(len(image) for image, _ in batches)
    times: dict[str, list[float]] = {"run": [], "bare": []}
    began = 0.0

    def start() -> None:
        nonlocal began
        began = perf_counter()

    def bare_epoch() -> None:
        times["run"].append(perf_counter() - began)
        start()
        network.train()
        for image, label in batches:
            optimizer.zero_grad(set_to_none=True)
            loss_function(inferer(image, network), label).backward()
            optimizer.step()
        times["bare"].append(perf_counter() - began)

    last = Events.ITERATION_COMPLETED(every=len(batches))
    trainer.add_event_handler(Events.EPOCH_STARTED, start)
    trainer.add_event_handler(last, bare_epoch)
    trainer.run()
    run, bare = (median(times[name][1:]) / slices for name in ("run", "bare"))
    return run, bare


def evaluate(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds of an evaluation with all metrics, without HD95, and of the bare forward passes."""
    found = {}
    for name in ("all metrics", "without HD95"):
        parser = configuration("evaluate", options, folder)
        if name == "without HD95":
            del parser.get("metrics")["hd95"]
            parser["handlers::0::metrics"] = ["dice"]
        evaluator = parser.get_parsed_content("evaluator")
        evaluator.run()  # to warm up
        began = perf_counter()
        evaluator.run(2)
        found[name] = perf_counter() - began
    network = parser.get_parsed_content("network").eval()
    volumes = [parser.get_parsed_content("volumes")[k]["image"][None] for k in range(2)]
    number = len(parser.get_parsed_content("volumes"))
    with torch.no_grad():
        evaluator.inferer(volumes[0], network)
        began = perf_counter()
        for index in range(number):
            evaluator.inferer(volumes[index % 2], network)
    return {**found, "bare forward passes": perf_counter() - began}


def epoch(options: argparse.Namespace, folder: Path, times: int) -> None:
    """Trains one epoch of ``times`` as many volumes; prints its seconds and the peak of memory."""
    parser = configuration("train", options, folder)
    parser["max_epochs"] = 1
    parser["train::volumes::cases"] = f"$@split['train'] * {times}"
    trainer = parser.get_parsed_content("train::trainer")
    began = perf_counter()
    trainer.run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print("measured", len(trainer.data_loader.dataset), perf_counter() - began, peak)


def grow(options: argparse.Namespace, folder: Path, arguments: list[str]) -> None:
    print("\n| × volumes | slices | s per epoch | ms per slice | peak MiB |\n|" + " ---: |" * 5)
    measured = []
    for times in options.growth:
        command = [sys.executable, __file__, *arguments, "--data", str(options.data)]
        command += ["--one-epoch", str(times), "--run", str(folder / f"grown{times}")]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        slices, seconds, peak = map(float, printed.rsplit("measured", 1)[1].split())
        each = 1000 * seconds / slices
        print(f"| {times} | {slices:.0f} | {seconds:.1f} | {each:.1f} | {peak:.0f} |")
        measured.append((slices, seconds, peak))
    if options.plot:
        draw_growth(measured, options.plot)


def draw_growth(measured: list[tuple[float, float, float]], file: Path) -> None:
    slices, seconds, peaks = zip(*measured, strict=True)
    figure, panels = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    for panel, values, label in zip(
        panels, (seconds, peaks), ("s per epoch", "peak memory, MiB"), strict=True
    ):
        panel.plot(slices, values, marker="o")
        panel.set(xlabel="slices", ylabel=label, xlim=(0, None), ylim=(0, 1.1 * max(values)))
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="ACDC's folder; default: a phantom")
    parser.add_argument("--cases", type=int, default=20, help="patients of the phantom")
    parser.add_argument("--size", type=int, default=224, help="height and width of a slice")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--growth", type=int, nargs="*", default=[])
    parser.add_argument("--plot", type=Path, help="picture of the growth to write")
    parser.add_argument("--one-epoch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.one_epoch:
        epoch(options, options.run, options.one_epoch)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.data is None:
            options.data = PHANTOMS["acdc"].write(folder / "acdc", cases=options.cases)
        run, bare = train(options, folder)
        threads = torch.get_num_threads()
        print(
            f"{options.network}, {options.size}², {options.precision}, {threads} threads of "
            f"{os.cpu_count()} cores, torch {torch.__version__}\n"
        )
        print("| training | slices/s | share of the bare loop |\n| --- | ---: | ---: |")
        print(f"| run | {1 / run:.1f} | {bare / run:.2f} |\n| bare loop | {1 / bare:.1f} | 1.00 |")
        minutes = PAPER["slices"] * PAPER["epochs"] * run / 60
        print(
            f"\n{PAPER['slices']} slices × {PAPER['epochs']} epochs at this pace: {minutes:.0f} min"
        )
        seconds = evaluate(options, folder)
        forward = seconds["bare forward passes"]
        print("\n| evaluation | s | share of the bare passes' speed |\n| --- | ---: | ---: |")
        for name, value in seconds.items():
            print(f"| {name} | {value:.2f} | {forward / value:.2f} |")
        if options.growth:
            arguments = ["--size", str(options.size), "--network", options.network]
            grow(options, folder, [*arguments, "--precision", options.precision])


if __name__ == "__main__":
    main()
