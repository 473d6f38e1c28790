"""``python -m studies.promises.cohort curves DATA RUN …``: do 20 new patients resemble who calibrated?

``curves`` segments the patients whom a training has not seen, as their images are and changed as in
`studies.shift`, and writes what promises are made from. ``power RUN …`` divides the patients of these
files, again and again, into those who calibrate and a cohort of others: how often the test speaks, how
far the cohort's mean Dice is from the line's, and what its contours really miss.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from monai.transforms import Compose
from scipy.stats import kstest

from nacl_monai.cli import write_files
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.inference.records import OUTER, WITHIN
from nacl_monai.metrics.curves import (
    Curves,
    curves_definition,
    curves_of_case,
    joined_curves,
    read_curves,
)
from nacl_monai.progress import progress_bar
from nacl_monai.promises.cohort import known_of, mean_dice, permutation_test
from nacl_monai.promises.control import Control
from nacl_monai.promises.rules import Rules
from nacl_monai.runs import RunFolder
from studies.runs import evaluation_of
from studies.shift.__main__ import CLEAN, DEGREES
from studies.shift.corruptions import CHANGES, Corrupt


def curves(
    data: Path, runs: Sequence[Path], sets: Sequence[str], degrees: Sequence[int], output: Path
) -> Iterator[Path]:
    """Writes ``RUN/KIND_DEGREE.npz`` for each change, of all patients but those of other sets."""
    for folder in runs:
        config = evaluation_of(RunFolder(folder), data, "test", data)  # nothing is cached
        structures = config["structures"]
        network = config.get_parsed_content("trained_network").eval()
        inferer, (first, *rest) = map(config.get_parsed_content, ("inferer", "reading"))
        split = config.get_parsed_content("split")
        known = {case["case"] for name in {*split} - {*sets} for case in split[name]}
        cases = [case for case in config.get_parsed_content("cases") if case["case"] not in known]
        patients = [case.get("patient", case["case"]) for case in cases]
        channels = {name: [k] for k, name in enumerate(config["classes"])}
        definition = curves_definition(channels, structures, "softmax", "study", known_by="table")
        changes = [CLEAN, *((kind, degree) for kind in CHANGES for degree in degrees)]
        for kind, degree in progress_bar(changes, description=folder.name, unit="change"):
            read, found = Compose([first, Corrupt(kind, degree), *rest]), []
            for case in cases:
                changed = read(dict(case))
                with torch.no_grad():
                    logits = inferer(changed["image"].as_tensor()[None], network)[0]
                label = changed["label"].as_tensor()[0]
                masks = [torch.isin(label, torch.tensor(k)) for k in structures.values()]
                size, probs = changed["label"].pixdim.tolist(), logits.softmax(0)
                part = curves_of_case(probs, masks, None, structures, size, overlapping=False)
                found.append(part)
            names = [case["case"] for case in cases]
            whole = joined_curves(names, found, patients, definition)
            yield whole.write(output / folder.name / f"{kind or 'clean'}_{degree}.npz")


def power(
    runs: Sequence[Path], patients: int, cohort: int, draws: int, output: Path
) -> Iterator[Path]:
    """Writes ``cohort.csv``, a row for each run and change."""
    rows = []
    for folder in runs:
        files = sorted(folder.glob("*.npz"), key=lambda file: (file.stem != "clean_0", file.stem))
        clean = read_curves(files[0])
        for file in progress_bar(files, description=folder.name, unit="change"):
            kind, _, degree = file.stem.rpartition("_")
            head = {"run": folder.name, "kind": kind, "degree": int(degree)}
            rows.append(head | divided(clean, read_curves(file), patients, cohort, draws))
    yield write_text(output / "cohort.csv", csv_text(pd.DataFrame(rows)))


def divided(
    clean: Curves, changed: Curves, patients: int, cohort: int, draws: int
) -> dict[str, float]:
    """Means over divisions; those of Dice and contours are over structures, too."""
    old, new = (known_of(curves, labeled=True) for curves in (clean, changed))
    names = [(s, name) for s in old for name in old[s] if name != "Dice"]
    before, after = (np.array([known[s][name] for s, name in names]).T for known in (old, new))
    rules = [
        [Rules(curves, k, OUTER, WITHIN) for curves in (clean, changed)] for k in range(len(old))
    ]
    rng, p_values, found = np.random.default_rng(0), [], []
    for _ in range(draws):
        order = rng.permutation(len(before))
        fit, later = order[:patients], order[patients:][:cohort]
        p_values.append(permutation_test(before[fit], after[later], draws=999)[0])
        for (calibrated, tested), name in zip(rules, old, strict=True):
            x, dice = (np.array(old[name][key])[fit] for key in ("expected Dice", "Dice"))
            later_x, true = (np.array(new[name][key])[later] for key in ("expected Dice", "Dice"))
            line = mean_dice(dice, x, later_x)
            rule = calibrated.fitted(Control(0.1), fit)
            missed = (tested.worst[later, rule] > 0.1).mean()
            if line:
                inside = line.low <= true.mean() <= line.high
                plain = abs(dice.mean() - true.mean())
                found.append((abs(line.value - true.mean()), plain, inside, true.mean(), missed))
    means = ("error", "error_naive", "covered", "dice", "contour_fails")
    return {
        "p_below_0.05": np.mean(np.array(p_values) <= 0.05).item(),
        "p_below_0.01": np.mean(np.array(p_values) <= 0.01).item(),
        "uniform": kstest(p_values, "uniform").pvalue.item(),
        **dict(zip(means, np.mean(found, 0).tolist(), strict=True)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.promises.cohort", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("curves")
    command.add_argument("data", type=Path, metavar="DATA", help="the dataset's folder")
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    whose = "whose patients may be in"
    command.add_argument("--sets", nargs="+", default=["val", "test"], help=whose)
    command.add_argument("--degrees", nargs="+", type=int, choices=DEGREES, default=DEGREES)
    command.set_defaults(run=curves)
    command = commands.add_parser("power")
    written = "folders that curves wrote"
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=written)
    command.add_argument("--patients", type=int, default=54, help="who calibrate (default: 54)")
    command.add_argument("--cohort", type=int, default=20, help="new ones (default: 20)")
    command.add_argument("--draws", type=int, default=200, help="divisions (default: 200)")
    command.set_defaults(run=power)
    for command in commands.choices.values():
        command.add_argument("--output", type=Path, default=Path("cohort"), help="default: cohort")
    values = vars(parser.parse_args(argv))
    run = values.pop("run")
    del values["command"]
    return write_files(lambda: run(**values))


if __name__ == "__main__":
    sys.exit(main())
