"""``python -m studies.penalty DATA [--runs DIR]``: the best of NACL's penalties, on validation people.

Every setting trains on the same 22 people of the training set of `docs/results/hippocampus`, and is
measured on 37 others of its training and validation sets. No test patient of that split is read.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from nacl_monai.cli import write_files
from nacl_monai.data import hippocampus_patient, split_patients
from nacl_monai.errors import InputError
from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.files import write_text

#: People who train; the others of the training set join those who validate.
TRAINING, VALIDATING = 22, 37
SCHEDULE = ("--max_epochs", "24", "--batch_size", "8", "--val_interval", "2")
COLUMNS = ("dice", "nll_all", "brier_all", "ece_foreground", "ece_union", "ece_boundary", "ece_all")
POOLED = (
    *("ece_near", "confidence_gap_near", "contour_misses", "contour_size"),
    "expected_volume_bias",
)


def nacl(weight: float, **settings: object) -> dict[str, object]:
    """NACL's penalty at mixed windows, or as it is set."""
    target = {"_target_": "nacl_monai.losses.NACLLoss", "penalty_weight": weight}
    return {**target, "where": "mixed", **settings}


def log_odds(weight: float, **settings: object) -> dict[str, object]:
    """The penalty on log-odds."""
    target = "studies.penalty.log_odds.LogOddsLoss"
    return {"_target_": target, "penalty_weight": weight, **settings}


WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
SETTINGS: dict[str, object] = {
    "CE": "cross_entropy",
    "CE+DSC": "dice_ce",
    "NACL": "nacl",
    **{f"mixed λ={w}": nacl(w) for w in WEIGHTS},
    **{f"mixed, log-odds λ={w}": log_odds(w) for w in (0.02, 0.05, 0.1, 0.3)},
    **{f"mixed, softmax λ={w}": nacl(w, space="softmax") for w in (0.1, 0.3, 0.5, 1.0)},
    **{f"mean over mixed λ={w}": nacl(w, mean_over="mixed") for w in (0.02, 0.05, 0.1)},
    **{f"mixed, 5×5 λ={w}": nacl(w, kernel_size=5) for w in (0.1, 0.3)},
    "mixed, 7×7 λ=0.1": nacl(0.1, kernel_size=7),
    **{
        f"mixed, blur of 1 mm λ={w}": nacl(w, prior="gaussian", width_mm=1.0, spacing=[1.0, 1.0])
        for w in (0.1, 0.3)
    },
    **{f"mixed+DSC λ={w}": nacl(w, dice_weight=1.0) for w in (0.1, 0.3)},
    "mean over mixed+DSC λ=0.1": nacl(0.1, dice_weight=1.0, mean_over="mixed"),
}


def split_people(data: Path) -> dict[str, list[str]]:
    """The people of the published split, fewer of whom train."""
    people = sorted(
        {hippocampus_patient(file.name.split(".")[0]) for file in data.glob("labelsTr/[!.]*")}
    )
    drawn = split_patients(people, {"train": 70, "val": 10, "test": 20}, seed=0)
    order = np.random.default_rng(0).permutation(drawn["train"]).tolist()
    validating = [*drawn["val"], *order[TRAINING:]][:VALIDATING]
    return {"train": sorted(order[:TRAINING]), "val": sorted(validating), "test": drawn["test"]}


def measure(name: str, seed: int, data: Path, runs: Path) -> dict[str, object]:
    """Trains a setting and measures it on the validation people; what is finished is only read."""
    run = runs / f"{name.replace(' ', '_')}_seed{seed}"
    summary = run / "validation/summary.json"
    if not summary.is_file():
        if not run.is_dir():
            write_text(run / "split.json", json.dumps(split_people(data)))
        loss = SETTINGS[name]
        arguments = ["hippocampus", str(data), "--run", str(run)]
        text = loss if isinstance(loss, str) else repr(loss)
        train = ["--loss", text, "--seed", str(seed), *SCHEDULE]
        validate = ["--cases_to_evaluate", "val", "--evaluation_dir", str(summary.parent)]
        _call("train", *arguments, *train)
        _call("evaluate", *arguments, *validate)
    numbers = json.loads(summary.read_text(encoding="utf-8"))
    means = {column: numbers["metrics"][column]["mean"] for column in COLUMNS}
    pooled = {column: numbers["pooled"][column]["value"] for column in POOLED}
    return {"setting": name, "seed": seed, **means, **pooled}


def _call(*arguments: str) -> None:
    command = [sys.executable, "-m", "nacl_monai", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{' '.join(arguments)}: {done.stderr.splitlines()[-1]}")


def study(data: Path, runs: Path, settings: Sequence[str], seeds: int, jobs: int) -> Iterator[Path]:
    """Writes ``settings.csv``, a row per training, and ``settings.md``, the means over trainings."""
    experiments = [(name, seed) for seed in range(seeds) for name in settings]
    with ThreadPoolExecutor(jobs) as pool:
        rows = list(pool.map(lambda pair: measure(*pair, data, runs), experiments))
    table = pd.DataFrame(rows)
    yield write_text(runs / "settings.csv", table.to_csv(index=False))
    yield write_text(runs / "settings.md", page(table))


def page(table: pd.DataFrame) -> str:
    """The means over trainings, the best setting first."""
    means = table.drop(columns="seed").groupby("setting", sort=False).mean().sort_values("nll_all")
    rows = [[str(row[0]), *(f"{value:.4f}" for value in row[1:])] for row in means.itertuples()]
    text = markdown_table(["setting", *means.columns], rows, "l" + "r" * len(means.columns))
    trainings = table["seed"].nunique()
    return (
        f"{len(means)} settings, {trainings} training(s) each, {VALIDATING} validation people.\n\n"
        f"{text}\n"
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.penalty", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="Task04_Hippocampus")
    add = parser.add_argument
    add("--runs", type=Path, default=Path("runs/penalty"), help="default: runs/penalty")
    add("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="SETTING")
    add("--seeds", type=int, default=2, help="trainings of each setting; default: 2")
    add("--jobs", type=int, default=1, help="trainings at once; default: 1")
    return write_files(lambda: study(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    sys.exit(main())
