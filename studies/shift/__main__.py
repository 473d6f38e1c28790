"""``python -m studies.shift DATA RUN … [--output DIR]``: what images that change leave of calibration.

The paper argues that calibrators which follow training fail where new images are unlike those of their
fit (section 2.1), and does not test it. Here the images of the test patients are changed, by degrees,
and every run segments them as trained and behind each calibrator that was fitted on clean images
(``nacl-monai calibrate RUN``).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from monai.transforms import Compose
from torch import nn

from nacl_monai.cli import write_files
from nacl_monai.data import read_split
from nacl_monai.files import read_object, write_text
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.posthoc import read_calibrator
from nacl_monai.progress import progress_bar
from nacl_monai.reports.evaluated import run_of_bins
from nacl_monai.reports.style import add_caption, house_style, new_figure, save_png
from nacl_monai.reports.tables import csv_text
from nacl_monai.runs import RunFolder
from nacl_monai.training import load_weights
from studies.shift.corruptions import CHANGES, Corrupt

#: Column of a run → what it is called.
NUMBERS = {
    "dice": "DSC",
    "ece_near": "ECE near the prediction",
    "nll_all": "NLL, all voxels",
    "contour_misses": "5 % contour misses",
}
CLEAN = ("", 0)
DEGREES = [CLEAN, *((kind, degree) for kind in CHANGES for degree in (1, 2, 3, 4))]


class Trained:
    """A run's network, its test cases, and what may follow it.

    Args:
        folder: The run.
        data: The folder of its dataset.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        run = RunFolder(folder)
        config = read_object(run.config, "train again")
        given = {
            "dataset_dir": str(data),
            "output_dir": str(folder),
            "device": "$torch.device('cpu')",
        }
        self.config = ConfigParser({**config, **given})
        self.name = folder.name
        self.network = load_weights(self.config.get_parsed_content("network"), run.model).eval()
        self.inferer = self.config.get_parsed_content("inferer")
        self.reading = self.config.get_parsed_content("reading")
        self.cases = read_split(self.config.get_parsed_content("cases"), run.split)["test"]
        behind = sorted(folder.glob("calibrated/*/calibrator.json"))
        self.calibrators = {file.parent.name: _module(file) for file in behind}

    def measured(self, kind: str, degree: int) -> Iterator[dict[str, Any]]:
        """The numbers of test patients whose images are changed, as trained and calibrated."""
        classes, structures = self.config["classes"], self.config["structures"]
        metrics = {
            name: CalibrationMetric(
                errors=["ece", "nll", "brier", "confidence_gap"],
                regions=["all", "near"],
                margin=3.0,
                margin_spacing="pixdim",
                decisions=structures,
            )
            for name in ("", *self.calibrators)
        }
        dice: dict[str, list[float]] = {name: [] for name in metrics}
        first, *others = self.reading
        read = Compose([first, Corrupt(kind, degree), *others])
        for case in self.cases:
            data = read(dict(case))
            with torch.inference_mode():
                logits = self.inferer(data["image"][None].as_tensor(), self.network)
                for name, metric in metrics.items():
                    after = self.calibrators[name](logits) if name else logits
                    metric(list(after.softmax(1)), [data["label"]])
                    dice[name].append(_dice(after.argmax(1)[0], data["label"][0], structures))
        names = [case["case"] for case in self.cases]
        patients = [case.get("patient", case["case"]) for case in self.cases]
        for name, metric in metrics.items():
            found = run_of_bins(metric.record(names, classes, patients), name)
            found = replace(found, metrics=found.metrics.assign(dice=dice[name]))
            row = {
                "method": "+".join(filter(None, [self.name, name])),
                "kind": kind,
                "degree": degree,
            }
            for column in NUMBERS:
                number = found.number(column)
                low, high = number.interval() if number else (float("nan"),) * 2
                row |= {column: number.mean if number else float("nan")}
                row |= {f"{column}_low": low, f"{column}_high": high}
            yield row


def _dice(predicted: torch.Tensor, label: torch.Tensor, structures: dict[str, list[int]]) -> float:
    """The mean over the structures that are labeled or predicted."""
    values = []
    for classes in structures.values():
        ours, theirs = (
            torch.isin(part.long(), torch.tensor(classes)) for part in (predicted, label)
        )
        if total := int(ours.sum() + theirs.sum()):
            values.append(2 * int((ours & theirs).sum()) / total)
    return float(np.mean(values)) if values else float("nan")


def _module(file: Path) -> nn.Module:
    return read_calibrator(file).fit.module


def study(data: Path, runs: Sequence[Path], output: Path) -> Iterator[Path]:
    """Writes ``shift.csv`` and ``shift.png``."""
    rows = []
    trained = [Trained(folder, data) for folder in runs]
    with progress_bar(DEGREES, description="Changes", unit="change") as changes:
        for change in changes:
            rows += [row for one in trained for row in one.measured(*change)]
    table = pd.DataFrame(rows)
    yield write_text(output / "shift.csv", csv_text(table))
    save_png(draw(table), output / "shift.png")
    yield output / "shift.png"


def draw(table: pd.DataFrame) -> Figure:
    """A column of panels for each kind of change: every number against its degree."""
    clean = table[table["degree"] == 0]
    with house_style():
        figure = new_figure(height=2.0 * len(NUMBERS), width=2.0 * len(CHANGES))
        panels = figure.subplots(len(NUMBERS), len(CHANGES), sharex=True, sharey="row")
        for line, (column, label) in zip(panels, NUMBERS.items(), strict=True):
            for ax, kind in zip(line, CHANGES, strict=True):
                shown = pd.concat([clean, table[table["kind"] == kind]])
                for method, rows in shown.groupby("method", sort=False):
                    ax.plot(rows["degree"], rows[column], marker="o", label=method)
            line[0].set_ylabel(label)
        for ax, kind in zip(panels[0], CHANGES, strict=True):
            ax.set_title(kind)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        add_caption(figure, "Degree 0: the images as they are. Means over test patients.")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.shift", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument("--output", type=Path, default=Path("shift"), help="default: shift")
    return write_files(lambda: study(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    sys.exit(main())
