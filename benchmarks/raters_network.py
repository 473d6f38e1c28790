"""Does a prior of the raters' width help a network? ``make raters-network``.

Hearts of the cardiac phantom are labeled by annotators whose borders deviate from the true one by a
known width. NACL's width is fitted to two of them; networks are trained on the first one's labels, with
cross-entropy, with NACL's windows, and with blurs of half, once and twice the fitted width; and each is
audited on other patients against three annotators that no training saw. All of it are the commands of
the package, which go on where they were interrupted: what is in the folder of runs is not done again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.figure import Figure

from nacl_monai.files import write_text
from nacl_monai.losses.widths import extent_of
from nacl_monai.reports.evaluated import read_run
from nacl_monai.reports.paired_tests import paired_tests
from nacl_monai.reports.statistics import cells_of, estimate, patient_scores
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    house_style,
    new_figure,
    save_figure,
)
from nacl_monai.reports.tables import markdown_table

DEVIATION = 3.0  # mm, of each annotator's border about the true one
PATIENTS, SEEDS, EPOCHS = 10, (0, 1, 2), 24
LABELERS, UNSEEN = (1, 2), (3, 4, 5)
SPACING = 3.2  # mm, about what slices of 64 by 64 have of this phantom
FITTED = "NACL, fitted"
SHARES = {"NACL, half": 0.5, FITTED: 1.0, "NACL, twice": 2.0}
NETWORK = [
    *("--spatial_size", "[64, 64]", "--networks::unet::channels", "[8, 16, 32, 64]"),
    *("--networks::unet::strides", "[2, 2, 2]"),
]
TRAINING = [
    *("--max_epochs", str(EPOCHS), "--val_interval", str(EPOCHS), "--batch_size", "8"),
    *("--learning_rate", "3e-3"),
    *("--split_proportions", "{'train': 8, 'val': 1, 'test': 1}"),
]
SCORES = {
    "nll_boundary": "NLL",
    "brier_boundary": "Brier",
    "ece_boundary": "ECE",
    "cece_boundary": "CECE",
    "dice": "DSC",
}

PAGE = """\
# Does the raters' width help a network?

`make raters-network` writes this folder. Annotators of the cardiac phantom have borders that deviate
from the true one by {deviation:g} mm, smoothly and at random, so that two of them are {apart:.1f} mm apart (standard
deviations). The width of NACL's prior is fitted to two annotators of {patients} patients:

> {fitted}

A small UNet is trained on the first one's labels of 8 of these patients, {epochs} epochs, slices of 64×64
({spacing:g} mm), {trainings} seeds each; the weights of the last epoch count. It is audited on the end-diastolic
images of {patients} other patients against the share of three annotators that neither fit nor training saw, over
the voxels up to 3 from a border of any of them. Brackets: 95 % intervals over patients and trainings.

![Scores by width](widths.png)

{scores}

DSC is over the voxels on which all three annotators agree.

## The fitted width against the others

Paired over patients and trainings; p by Holm over the five others.

{differences}
"""


def call(*words: object) -> None:
    """Runs a command of this environment on one thread; ends with its last lines where it fails."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("nacl-monai")), *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout[-1000:]}{done.stderr[-2000:]}")


def write_phantoms(runs: Path) -> None:
    """The training patients by both labelers, other patients by the unseen annotators."""
    for annotator in (*LABELERS, *UNSEEN):
        folder = runs / f"annotator{annotator}"
        seed = 0 if annotator in LABELERS else 1
        call("phantom", "acdc", folder / "acdc", "--cases", PATIENTS, "--seed", seed,
             "--annotator", annotator, "--deviation", DEVIATION)  # fmt: skip
        for label in sorted((folder / "acdc").glob("training/*/*_gt.nii.gz")):
            link(label, folder / "labels" / label.name.replace("_gt", ""))
    for patient in sorted((runs / f"annotator{UNSEEN[0]}" / "acdc" / "training").iterdir()):
        image = min(patient.glob("*_frame??.nii.gz"))  # at end diastole
        link(image, runs / "images" / image.name)
        for annotator in UNSEEN:
            labels = runs / f"annotator{annotator}" / "labels" / image.name
            link(labels.resolve(), runs / "unseen" / str(annotator) / image.name)


def link(file: Path, place: Path) -> None:
    """Puts a file into a folder under another name."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(file.resolve())


def fit(runs: Path) -> Mapping[str, Sequence[str]]:
    """Method → the words of its training; the widths are those that the labelers ask for."""
    folders = [runs / f"annotator{annotator}" / "labels" for annotator in LABELERS]
    call("fit-prior", *folders, "--spacing", SPACING, SPACING, "--band", 2 * DEVIATION,
         "--patient-pattern", r"(patient\d+)_", "--output", runs / "prior.yaml")  # fmt: skip
    sigma = sigma_of(runs)
    words = {
        "CE": ["--loss", "cross_entropy"],
        "NACL, 3×3": [],
        "NACL, 5×5": ["--losses::nacl::kernel_size", "5"],
    }
    for name, share in SHARES.items():
        settings = {
            "prior": "blur",
            "sigma": round(share * sigma, 3),
            "kernel_size": extent_of("blur", share * sigma),
        }
        words[name] = [
            word
            for key, value in settings.items()
            for word in (f"--losses::nacl::{key}", str(value))
        ]
    return words


def sigma_of(runs: Path) -> float:
    """The fitted width in voxels of the training."""
    return float(yaml.safe_load((runs / "prior.yaml").read_text())["losses::nacl::sigma"])


def folder_of(runs: Path, method: str, seed: int) -> Path:
    """Where an experiment is."""
    return runs / f"{method.replace(', ', '_')}_seed{seed}"


def experiment(runs: Path, method: str, words: Sequence[str], seed: int) -> None:
    """Trains, segments and audits, unless it is done."""
    folder = folder_of(runs, method, seed)
    if (folder / "audit" / "bins.npz").is_file():
        return
    cache = ["--cache_dir", runs / "cache"]
    call("train", "acdc", runs / "annotator1" / "acdc", "--run", folder, "--seed", seed,
         *words, *cache, *TRAINING, *NETWORK)  # fmt: skip
    call("infer", "acdc", runs / "images", "--run", folder, *NETWORK)
    call("audit", folder / "predictions", "--raters", *sorted((runs / "unseen").iterdir()),
         "--output", folder / "audit", "--patient-pattern", r"(patient\d+)_", "--no-pictures",
         "--structures", "RV=1", "MYO=2", "LV=3", "--regions", "boundary")  # fmt: skip
    print(f"{method}, seed {seed}", flush=True)


def read_cases(runs: Path, methods: Sequence[str]) -> pd.DataFrame:
    """One row per method, seed and case, from the audits against the share of the unseen annotators."""
    parts = []
    for method in methods:
        for seed in SEEDS:
            run = read_run(folder_of(runs, method, seed) / "audit", method)
            of = run.metrics[list(SCORES)].assign(patient=run.patients, method=method, seed=seed)
            parts.append(of.reset_index())
    return pd.concat(parts, ignore_index=True)


def score_table(cases: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % interval over patients and trainings of every method and score."""
    rows = []
    for score in SCORES:
        scores = patient_scores(cases, score)
        for method in scores:
            found = estimate([cells_of(scores[method])])
            low, high = found.interval()
            rows.append((method, score, found.mean, low, high, found.text()))
    return pd.DataFrame(rows, columns=["method", "score", "mean", "low", "high", "text"])


def test_table(cases: pd.DataFrame) -> pd.DataFrame:
    """The fitted width against every other method, paired over patients and trainings."""
    tables = [
        paired_tests(patient_scores(cases, score), FITTED, score).reset_index().assign(score=score)
        for score in SCORES
    ]
    return pd.concat(tables, ignore_index=True)


def widths_in_mm(sigma: float) -> Mapping[str, float]:
    """The standard deviation of each method's weights in mm; that of the labels as they are is 0."""
    windows = {f"NACL, {k}×{k}": ((k**2 - 1) / 12) ** 0.5 * SPACING for k in (3, 5)}
    blurs = {name: share * sigma * SPACING for name, share in SHARES.items()}
    return {"CE": 0.0, **windows, **blurs}


def draw(table: pd.DataFrame, sigma: float) -> Figure:
    """Three scores by the width that a network was trained with."""
    widths = widths_in_mm(sigma)
    with house_style():
        figure = new_figure(3.2, WIDTH)
        for axes, score in zip(figure.subplots(1, 3), list(SCORES)[:3], strict=True):
            for row in table[table["score"] == score].itertuples():
                color = "vermillion" if row.method in SHARES else "blue"
                error = [[row.mean - row.low], [row.high - row.mean]]
                at = widths[row.method]
                axes.errorbar(at, row.mean, error, fmt="o", color=OKABE_ITO[color], capsize=2)
                axes.annotate(
                    row.method.replace("NACL, ", ""), (at, row.mean), (3, 3),
                    textcoords="offset points", fontsize=7,
                )  # fmt: skip
            axes.axvline(2**0.5 * DEVIATION, color="0.6", linestyle=":", linewidth=1)
            axes.set(title=SCORES[score], xlabel="width in mm")
        add_caption(
            figure,
            f"Near borders, against annotators that no training saw; less is better. Bars: 95 % over "
            f"{PATIENTS} patients and {len(SEEDS)} trainings. Dotted: what two annotators are apart.",
        )
    return figure


def write_results(runs: Path, methods: Sequence[str], output: Path) -> None:
    """Writes tables, picture and page."""
    cases = read_cases(runs, methods)
    table, tests = score_table(cases), test_table(cases)
    sigma = sigma_of(runs)
    output.mkdir(parents=True, exist_ok=True)
    cases.to_csv(output / "cases.csv", index=False, float_format="%.6g")
    table.drop(columns="text").to_csv(output / "scores.csv", index=False, float_format="%.6g")
    tests.to_csv(output / "tests.csv", index=False, float_format="%.6g")
    save_figure(draw(table, sigma), output / "widths")
    texts = table.pivot_table("text", "method", "score", aggfunc="first")
    width = widths_in_mm(sigma)
    rows = [
        [method, f"{width[method]:.1f}", *texts.loc[method, list(SCORES)]] for method in methods
    ]
    headings = [f"{name} {'↑' if name == 'DSC' else '↓'}" for name in SCORES.values()]
    scores = markdown_table(
        ["trained with", "width in mm", *headings],
        rows, "lr" + "r" * len(SCORES),
    )  # fmt: skip
    differences = markdown_table(
        ["score", "fitted minus", "difference", "p (Holm)", "decision on the fitted"],
        [
            [SCORES[row["score"]], row["method"],
             f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
             f"{row['p_holm']:.2g}", row["decision"]]
            for row in tests.to_dict("records")
        ],
        "llrrl",
    )  # fmt: skip
    fitted = [
        line for line in (runs / "prior.yaml").read_text().splitlines() if "all classes" in line
    ]
    page = PAGE.format(
        deviation=DEVIATION, apart=2**0.5 * DEVIATION, patients=PATIENTS, epochs=EPOCHS,
        trainings=len(SEEDS), spacing=SPACING, fitted=fitted[0].lstrip("# "), scores=scores,
        differences=differences,
    )  # fmt: skip
    write_text(output / "README.md", page)


def main() -> None:
    """Runs what is missing, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/raters_network"))
    parser.add_argument("--output", type=Path, default=Path("docs/results/raters_network"))
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, one thread each")
    options = parser.parse_args()
    write_phantoms(options.runs)
    words = fit(options.runs)
    with ThreadPoolExecutor(options.jobs) as pool:
        asked = [
            pool.submit(experiment, options.runs, method, of, seed)
            for seed in SEEDS
            for method, of in words.items()
        ]
        for one in asked:
            one.result()
    write_results(options.runs, list(words), options.output)


if __name__ == "__main__":
    main()
