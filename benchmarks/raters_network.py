"""Does a prior of the raters' width help a network? ``make raters-network``.

Hearts of the cardiac phantom are labeled by annotators whose borders deviate from the true one by a
known width. NACL's width is fitted to two of them; networks are trained on the first one's labels, with
cross-entropy, with NACL's windows, and with blurs of half, once and twice the fitted width; and each is
audited on other patients against three annotators that no training saw. All of it are the commands of
the package, which go on where they were interrupted: what is in the folder of runs is not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

import torch
import yaml
from raters_network_page import write_results

import nacl_monai.audits.__main__
import nacl_monai.bundles.__main__  # noqa: F401
from nacl_monai.cli import main as nacl_monai_main
from nacl_monai.losses.neighborhood import extent_of

DEVIATION = 3.0  # mm, of each annotator's border about the true one
PATIENTS, SEEDS, EPOCHS = 10, (0, 1, 2), 16
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


def call(*words: object) -> None:
    """Runs a command of the package in this process; ends with what it printed where it fails."""
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = nacl_monai_main(list(map(str, words)))
    if code:
        raise RuntimeError(f"{' '.join(map(str, words))}\n{printed.getvalue()[-3000:]}")


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
         "--regions", "boundary")  # fmt: skip
    print(f"{method}, seed {seed}", flush=True)


def widths_in_mm(runs: Path) -> Mapping[str, float]:
    """The standard deviation of each method's weights in mm; that of the labels as they are is 0."""
    windows = {f"NACL, {k}×{k}": ((k**2 - 1) / 12) ** 0.5 * SPACING for k in (3, 5)}
    blurs = {name: share * sigma_of(runs) * SPACING for name, share in SHARES.items()}
    return {"CE": 0.0, **windows, **blurs}


def write_page(runs: Path, output: Path) -> None:
    """Writes the results."""
    lines = (runs / "prior.yaml").read_text().splitlines()
    facts = {
        "deviation": DEVIATION,
        "apart": 2**0.5 * DEVIATION,
        "patients": PATIENTS,
        "epochs": EPOCHS,
        "trainings": len(SEEDS),
        "spacing": SPACING,
        "fitted": next(line.lstrip("# ") for line in lines if "all classes" in line),
    }
    widths = widths_in_mm(runs)
    audits = {
        method: [folder_of(runs, method, seed) / "audit" for seed in SEEDS] for method in widths
    }
    write_results(audits, widths, FITTED, facts, output)


def main() -> None:
    """Runs what is missing, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/raters_network"))
    parser.add_argument("--output", type=Path, default=Path("docs/results/raters_network"))
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, one thread each")
    options = parser.parse_args()
    write_phantoms(options.runs)
    words = fit(options.runs)
    torch.set_num_threads(1)
    asked = [(options.runs, method, of, seed) for seed in SEEDS for method, of in words.items()]
    # A process for each, forked from this one, in which everything is imported already.
    with get_context("fork").Pool(options.jobs, maxtasksperchild=1) as pool:
        pool.starmap(experiment, asked, chunksize=1)
    write_page(options.runs, options.output)


if __name__ == "__main__":
    main()
