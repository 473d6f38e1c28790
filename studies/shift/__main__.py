"""``python -m studies.shift DATA RUN … [--output DIR]``: what images that change leave of calibration.

The paper argues that calibrators which follow training fail where new images are unlike those of their
fit (section 2.1), and does not test it. Here the images of the test patients are changed, by degrees,
and every run segments them as trained and behind each calibrator that was fitted on clean images
(``nacl-monai calibrate RUN``). With three trainings of a loss, each change has paired tests: behind a
loss, the distance against what else follows it; and CE+DSC behind the distance, the usual choice,
against each loss as trained.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from monai.transforms import Compose

from nacl_monai.cli import write_files
from nacl_monai.evaluations.evaluated import Run, run_of_bins
from nacl_monai.evaluations.statistics import ENOUGH_TRAININGS, paired_tests, patient_scores
from nacl_monai.evaluations.tables import csv_text, markdown_table
from nacl_monai.files import write_text
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.metrics.structures import structure_dice, structure_masks
from nacl_monai.paper.grid import method_label
from nacl_monai.posthoc import METHODS, read_calibrator
from nacl_monai.progress import progress_bar
from nacl_monai.reports.style import add_caption, house_style, new_figure, save_png
from nacl_monai.runs import RunFolder
from studies.penalty import leading
from studies.runs import behind, evaluation_of
from studies.shift.corruptions import CHANGES, Corrupt

#: Column of a run → what it is called.
NUMBERS = {
    "dice": "DSC",
    "ece_near": "ECE near the prediction",
    "nll_all": "NLL, all voxels",
    "contour_misses": "5% contour misses",
}
#: The default of calibrate, and what one would train without these tests.
DISTANCE = "+distance_all"
USUAL = "dice_ce" + DISTANCE
CLEAN = ("", 0)
DEGREES = (1, 2, 3, 4)


class Trained:
    """A run's network, its test cases, and what may follow it.

    Args:
        folder: The run.
        data: The folder of its dataset.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        config = evaluation_of(RunFolder(folder), data, "test", data)  # nothing is cached
        self.name, _, seed = folder.name.removeprefix("unet_").partition("_seed")
        self.seed = int(seed or 0)
        self.classes, self.structures = config["classes"], config["structures"]
        self.network = config.get_parsed_content("trained_network").eval()
        self.inferer = config.get_parsed_content("inferer")
        self.reading = config.get_parsed_content("reading")
        self.cases = config.get_parsed_content("split")["test"]
        files = sorted(folder.glob("calibrated/*/calibrator.json"))
        self.fits = {file.parent.name: read_calibrator(file).fit for file in files}

    def measured(self, kind: str, degree: int) -> Iterator[tuple[str, Run]]:
        """Method and numbers of test patients whose images are changed, as trained and calibrated."""
        what = {"errors": ["ece", "nll"], "regions": ["all", "near"], "margin_spacing": "pixdim"}
        metrics = {
            name: CalibrationMetric(**what, decisions=self.structures) for name in ("", *self.fits)
        }
        dice: dict[str, list[float]] = {name: [] for name in metrics}
        first, *rest = self.reading
        read = Compose([first, Corrupt(kind, degree), *rest])
        for case in self.cases:
            data = read(dict(case))
            image, label = data["image"].as_tensor(), data["label"]
            sizes = label.pixdim.tolist()
            with torch.no_grad():
                logits = self.inferer(image[None], self.network)[0]
            for name, metric in metrics.items():
                fit = self.fits.get(name)
                seen = image if fit and METHODS[fit.method].sees_image else None
                after = behind(fit.module, logits, seen, sizes) if fit else logits
                metric([after.softmax(0)], [label])
                maps = after.argmax(0, keepdim=True), label.as_tensor()
                masks = (structure_masks(labels, self.structures)[None] for labels in maps)
                dice[name].append(float(structure_dice(*masks).nanmean()))
        names = [case["case"] for case in self.cases]
        patients = [case.get("patient", case["case"]) for case in self.cases]
        for name, metric in metrics.items():
            run = run_of_bins(metric.record(names, self.classes, patients), name)
            method = "+".join(filter(None, [self.name, name]))
            yield method, replace(run, metrics=run.metrics.assign(dice=dice[name]))


Measured = Mapping[tuple[str, int], Run]


def row_of(run: Run) -> dict[str, float]:
    """The numbers of one training, with intervals over patients."""
    row = {}
    for column in NUMBERS:
        number = run.number(column)
        low, high = number.interval() if number else (float("nan"),) * 2
        row |= {column: number.mean if number else float("nan")}
        row |= {f"{column}_low": low, f"{column}_high": high}
    return row


def tested(measured: Measured) -> Iterator[pd.DataFrame]:
    """Paired tests over patients and trainings, of the losses that have enough trainings."""
    seeds = Counter(method for method, _ in measured)
    methods = [method for method, count in seeds.items() if count >= ENOUGH_TRAININGS]
    losses = [method for method in methods if "+" not in method]
    if not losses:
        return
    arrays = leading.packed({key: run.bins for key, run in measured.items()})
    cases = pd.concat(
        run.metrics.assign(patient=run.patients, method=method, seed=seed)
        for (method, seed), run in measured.items()
    )
    scores = {"nll_all": patient_scores(cases, "nll_all")}
    scores |= {name: leading.scores(arrays, name) for name in leading.LEADING}
    families = {
        f"behind {loss}": (loss + DISTANCE, [m for m in methods if m.split("+")[0] == loss])
        for loss in losses
    }
    for family, (reference, compared) in (families | {"choice": (USUAL, losses)}).items():
        alike = list(dict.fromkeys([reference, *compared]))
        if reference in methods and len(alike) > 1:
            for name, table in scores.items():
                tests = paired_tests(table[alike], reference, name).reset_index()
                yield tests.assign(family=family, reference=reference, metric=name)


def study(data: Path, runs: Sequence[Path], output: Path, degrees: Sequence[int]) -> Iterator[Path]:
    """Writes all numbers and tests, and a table and a picture of each method's means."""
    rows, tests = [], [pd.DataFrame()]
    trained = [Trained(folder, data) for folder in runs]
    changed = [(kind, degree) for kind in CHANGES for degree in degrees]
    with progress_bar([CLEAN, *changed], description="Changes", unit="change") as changes:
        for kind, degree in changes:
            change = {"kind": kind, "degree": degree}
            measured = {
                (method, net.seed): run
                for net in trained
                for method, run in net.measured(kind, degree)
            }
            for (method, seed), run in measured.items():
                rows.append({"method": method, "seed": seed, **change, **row_of(run)})
            tests += [found.assign(**change) for found in tested(measured)]
    table = pd.DataFrame(rows)
    yield write_text(output / "shift.csv", csv_text(table))
    if len(tests) > 1:
        yield write_text(output / "shift_tests.csv", csv_text(pd.concat(tests)))
    yield write_text(output / "shift.md", strongest(table))
    save_png(draw(table), output / "shift.png")
    yield output / "shift.png"


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Every number of each method and change, the mean of its trainings."""
    grouped = table.fillna({"kind": ""}).groupby(["method", "kind", "degree"], sort=False)
    return grouped[list(NUMBERS)].mean().reset_index()


def strongest(table: pd.DataFrame) -> str:
    """Error near the prediction (what the 5% contour misses) and NLL, clean and at the last degree."""
    found = means(table)
    found = found[found["degree"].isin([0, found["degree"].max()])]
    cells = [
        f"{row.ece_near:.3f} ({row.contour_misses:.0%}) {row.nll_all:.3f}".replace("%", " %")
        for row in found.itertuples()
    ]
    wide = found.assign(cell=cells).pivot(index="method", columns="kind", values="cell")
    rows = [
        [method_label(method), *wide.loc[method, ["", *CHANGES]]]
        for method in found["method"].unique()
    ]
    return markdown_table(["", "clean", *CHANGES], rows, "l" + "r" * (1 + len(CHANGES))) + "\n"


def draw(table: pd.DataFrame) -> Figure:
    """A column of panels for each kind of change: every number against its degree."""
    table = means(table)
    clean = table[table["degree"] == 0]
    with house_style():
        figure = new_figure(height=2.0 * len(NUMBERS), width=2.0 * len(CHANGES))
        panels = figure.subplots(len(NUMBERS), len(CHANGES), sharex=True, sharey="row")
        for line, (column, label) in zip(panels, NUMBERS.items(), strict=True):
            for ax, kind in zip(line, CHANGES, strict=True):
                shown = pd.concat([clean, table[table["kind"] == kind]])
                for method, rows in shown.groupby("method", sort=False):
                    ax.plot(rows["degree"], rows[column], marker="o", label=method_label(method))
            line[0].set_ylabel(label)
        for ax, kind in zip(panels[0], CHANGES, strict=True):
            ax.set_title(kind)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        caption = "Degree 0: the images as they are. Means over test patients and trainings."
        add_caption(figure, caption)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.shift", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument("--output", type=Path, default=Path("shift"), help="default: shift")
    parser.add_argument(
        "--degrees", nargs="+", type=int, choices=DEGREES, default=DEGREES, help="default: all"
    )
    return write_files(lambda: study(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    sys.exit(main())
