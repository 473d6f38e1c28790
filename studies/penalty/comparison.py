"""``python -m studies.penalty.comparison RUNS OUTPUT``: the chosen penalty beside others, tested.

RUNS holds a run of each loss and seed, ``unet_nacl_mixed_seed0`` and so on, evaluated on its test
patients (`nacl-monai evaluate`) and perhaps calibrated (`nacl-monai calibrate`). A loss is compared with
others that were given the same treatment after training, and with what was proposed beyond the paper.
Methods with fewer trainings than NACL mixed are shown and not tested.

``numbers.csv`` follows from ``cases.csv``, as means over people, and from ``leading.npz``
(`studies.penalty.leading`). ``evaluated.csv`` has what no committed file gives again: of promises, whose
curves are too large, what no test is of, and what evaluations said whose bins were not kept. With
``--add`` the methods of RUNS join those that OUTPUT has.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from nacl_monai.cli import write_files
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluation_files import read_evaluation_of
from nacl_monai.evaluations.statistics import (
    ENOUGH_TRAININGS,
    cells_of,
    estimate,
    paired_tests,
    patient_scores,
)
from nacl_monai.evaluations.tables import csv_text, markdown_table
from nacl_monai.files import atomic_path, write_text
from nacl_monai.inference.records import MEAN
from nacl_monai.metrics import Curves, read_curves
from nacl_monai.metrics.columns import METRICS
from nacl_monai.metrics.record import Record, read_record
from nacl_monai.paper.comparisons import Comparison, comparison_to_markdown
from nacl_monai.paper.grid import MAIN_LOSSES, method_label
from nacl_monai.promises.control import Control
from studies.penalty import leading
from studies.promises.__main__ import divided, person_by_person

CHOSEN = "nacl_mixed"
LOSSES = ("dice_ce", "cross_entropy", "nacl", CHOSEN)
#: The default of calibrate.
DISTANCE = "+distance_all"
TREATMENTS = (
    *("", "+temperature_near", "+temperature_all", "+local_temperatures_all"),
    *(DISTANCE, "+ensemble"),
)
#: What one would choose from.
CHOICE = ("dice_ce", "cross_entropy+local_temperatures_all", "nacl")
#: Beyond the paper, with their authors' values.
RIVALS = ("ml1ace", "crac", "sdc", "dca")
#: The paper's others.
OTHERS = tuple(loss for loss in MAIN_LOSSES if loss not in LOSSES)
TESTED = ("nll_all", "brier_all", "dice", "ece_union", "ece_foreground")
#: Columns of the cases that are kept.
MEANS = (*TESTED, "hd95", "ece_boundary", "ece_all")
#: A promise at this level, of so many people for all others, over so many divisions.
LEVEL, CALIBRATING, DRAWS = 0.05, 24, 200
#: Column of the table → its digits.
SHOWN = {
    "dice": 3,
    "ece_near": 3,
    "nll_all": 4,
    "brier_all": 4,
    "contour_misses": 3,
    "contour_size": 2,
    "expected_volume_error": 3,
    "promised_size": 2,
    "promised_size_without_probabilities": 2,
    "promised_interval": 2,
}
#: Below a table with such columns.
NOT_AGAIN = (
    "†: as the evaluations said. What they are made of was not kept, so they are not recomputable, "
    "and not tested."
)
HEADS = {
    "promised_size_without_probabilities": "the same by a margin alone",
    "promised_interval": "volume interval, factor",
}


def evaluations(runs: Path, network: str) -> Iterator[tuple[str, int, Path]]:
    """Method, seed and folder of every evaluation of a network."""
    for loss in (*LOSSES, *RIVALS, *OTHERS):
        for after in TREATMENTS:
            for run in sorted(runs.glob(f"{network}_{loss}_seed?")):
                within = run / "calibrated" / after[1:] if after else run
                if (within / "evaluation/cases.csv").is_file():
                    yield loss + after, int(run.name[-1]), within / "evaluation"


def collected(runs: Path, network: str = "unet") -> tuple[pd.DataFrame, Mapping, pd.DataFrame]:
    """The cases of every evaluation, the arrays of ``leading.npz``, and what else evaluations say."""
    cases, promises = [], []
    records, contours = dict[tuple[str, int], Record](), {}
    for method, seed, folder in evaluations(runs, network):
        table = pd.read_csv(folder / "cases.csv")
        read_evaluation_of(folder.parent, table["patient"])  # of other weights, it is refused
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        table = table[["case", "patient", *MEANS]]
        cases.append(table.assign(dataset=summary["dataset"], method=method, seed=seed))
        if (folder / "bins.npz").is_file():
            records[method, seed] = read_record(folder / "bins.npz")
        curves = read_curves(folder / "promise.npz") if (folder / "promise.npz").is_file() else None
        if curves is not None and len(set(curves.patients)) > CALIBRATING:
            promises.append({"method": method, "seed": seed, **promised(curves)})
            control = Control(LEVEL, MEAN)
            _, contours[method, seed] = person_by_person(curves, control, CALIBRATING, DRAWS)
    if not cases:
        raise InputError(f"{runs}: holds no evaluated run of {network}; evaluate one")
    arrays, evaluated = leading.packed(records, contours), pd.DataFrame(promises)
    known = [name for name in evaluated if name in leading.tested(arrays)]
    return pd.concat(cases), arrays, evaluated.drop(columns=known)


def joined(
    cases: pd.DataFrame, arrays: leading.Arrays, folder: Path
) -> tuple[pd.DataFrame, Mapping]:
    """The cases and arrays of a folder's methods, and those of others on the same cases."""
    known, kept = pd.read_csv(folder / "cases.csv"), dict(np.load(folder / "leading.npz"))
    same = set(known["case"]) == set(cases["case"])
    if not same or not np.array_equal(kept["cases"], arrays["cases"]):
        raise InputError(
            f"{folder}: is of other cases; evaluate the runs on those of its cases.csv"
        )
    if kept.keys() != arrays.keys() or (folder / "evaluated.csv").exists():
        raise InputError(f"{folder}: has other numbers than these runs; compare all runs at once")
    if both := sorted({*known["method"]} & {*cases["method"]}):
        raise InputError(f"{folder}: has {both[0]}; leave its runs out")
    of_all = {"cases", "patients"}
    arrays = {k: v if k in of_all else np.concatenate([kept[k], v]) for k, v in arrays.items()}
    return pd.concat([known, cases]), arrays


def promised(curves: Curves) -> dict[str, float]:
    """Size and miss of a contour with a guarantee, and the factor around a volume."""
    found = {}
    for kind, names in (("outer", ("size", "miss")), ("volume", ("interval", "outside"))):
        for family, sizes, risks in divided(curves, LEVEL, kind, CALIBRATING, DRAWS):
            end = {"within": "", "margin": "_without_probabilities"}.get(family)
            if end is not None:
                means = pd.Series(sizes).mean(), pd.Series(risks).mean()
                pairs = zip(names, means, strict=True)
                found |= {f"promised_{name}{end}": value for name, value in pairs}
    return found


def numbers_of(cases: pd.DataFrame, arrays: leading.Arrays) -> pd.DataFrame:
    """Each training's means over people, and its numbers of all cases together."""
    people = cases.groupby(["method", "seed", "patient"], sort=False)[list(MEANS)].mean()
    means = people.groupby(["method", "seed"], sort=False).mean().reset_index()
    return means.merge(leading.numbers(arrays), "left") if arrays else means


def table(numbers: pd.DataFrame, evaluated: pd.DataFrame, arrays: leading.Arrays) -> str:
    """A row per method: the mean of its trainings, each, and the interval of a leading number."""
    shown = [name for name in SHOWN if name in {*numbers, *evaluated}]
    intervals = {name: leading.scores(arrays, name) for name in leading.tested(arrays)}
    trained = numbers.merge(evaluated, "left") if len(evaluated) else numbers
    rows = []
    for method, trainings in trained.groupby("method", sort=False):
        cells = [
            _cell(trainings[name].dropna(), SHOWN[name]) + _interval(intervals, name, str(method))
            for name in shown
        ]
        rows.append([method_label(str(method)), *cells])
    heads = [_head(name) + " †" * (name in evaluated) for name in shown]
    text = markdown_table(["method", *heads], rows, "l" + "r" * len(heads)) + "\n"
    return f"{text}\n{NOT_AGAIN}\n" if "†" in text else text


def _head(name: str) -> str:
    return HEADS[name] if name in HEADS else METRICS[name].heading


def _interval(scores: Mapping[str, pd.DataFrame], name: str, method: str) -> str:
    """That of a leading number over people and trainings, of a method whose bins were kept."""
    if name not in scores or method not in scores[name]:
        return ""
    ends = estimate([cells_of(scores[name][method])]).interval()
    low, high = (f"{max(0.0, end):.{SHOWN[name]}f}" for end in ends)
    return f" [{low}, {high}]"


def _cell(values: pd.Series, digits: int) -> str:
    """The mean, and each training."""
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"{values.mean():.{digits}f} ({each})" if len(values) else "–"


def families() -> Iterator[tuple[str, str, Iterable[str]]]:
    """Name, reference and others of a family: each treatment, of one loss, a choice, rivals, others."""
    for after in TREATMENTS:
        losses = (*LOSSES, *OTHERS) if after == DISTANCE else LOSSES
        yield after[1:] or "as trained", CHOSEN + after, [loss + after for loss in losses]
    for loss in (*LOSSES, *OTHERS):
        yield f"behind {loss}", loss + DISTANCE, [loss + after for after in TREATMENTS]
    yield "choice", CHOSEN, CHOICE
    yield "rivals", CHOSEN, RIVALS
    yield "others", CHOSEN, OTHERS


def compared(cases: pd.DataFrame, arrays: leading.Arrays) -> Iterator[tuple[str, Comparison]]:
    """The chosen penalty against the others of each family."""
    (dataset,) = cases["dataset"].unique()
    trainings = cases.groupby("method")["seed"].nunique()
    for family, reference, rivals in families():
        enough = trainings.index[trainings >= trainings.get(reference, 0)]
        alike = cases[cases["method"].isin(enough.intersection([reference, *rivals]))]
        methods = list(alike["method"].unique())
        if reference not in methods or len(methods) < 2:
            continue
        scores = {name: patient_scores(alike, name) for name in TESTED}
        # A signed rank is of scores, not of pseudo-values.
        if trainings[reference] >= ENOUGH_TRAININGS:
            scores |= led(arrays, reference, methods)
        found = [
            paired_tests(table, reference, name)
            .reset_index()
            .assign(dataset=dataset, metric=name, reference=reference, family=family)
            for name, table in scores.items()
        ]
        yield family, Comparison(reference, pd.concat(found, ignore_index=True))


def led(arrays: leading.Arrays, reference: str, methods: Iterable[str]) -> dict[str, pd.DataFrame]:
    """The scores of the numbers that lead, of those methods whose bins were kept."""
    kept = [name for name in methods if name in arrays.get("methods", ())]
    if reference not in kept or len(kept) < 2:
        return {}
    return {name: leading.scores(arrays, name)[kept] for name in leading.tested(arrays)}


def written(
    cases: pd.DataFrame, arrays: leading.Arrays, evaluated: pd.DataFrame, output: Path
) -> Iterator[Path]:
    """Writes the table and the tests, and what they are made of."""
    comparisons = list(compared(cases, arrays))
    texts = [f"**{family}**\n\n{comparison_to_markdown(tests)}" for family, tests in comparisons]
    tests = pd.concat([pd.DataFrame(), *(comparison.tests for _, comparison in comparisons)])
    numbers = numbers_of(cases, arrays)
    if arrays:
        with atomic_path(output / "leading.npz") as path, path.open("wb") as file:
            np.savez_compressed(file, **arrays)
        yield output / "leading.npz"
    for name, text in (
        ("cases.csv", csv_text(cases)),
        ("numbers.csv", csv_text(numbers)),
        *([("evaluated.csv", csv_text(evaluated))] if len(evaluated) else []),
        ("comparison.md", "\n".join([table(numbers, evaluated, arrays), *texts])),
        ("tests.csv", csv_text(tests)),
    ):
        write_text(output / name, text)
        yield output / name


def main(argv: list[str] | None = None) -> int:
    """Runs the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.penalty.comparison")
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("output", type=Path, metavar="OUTPUT")
    parser.add_argument("--network", default="unet", help="default: unet; unet3d in 3-D")
    parser.add_argument("--add", action="store_true", help="add them to the methods of OUTPUT")
    options = parser.parse_args(argv)

    def files() -> Iterator[Path]:
        cases, arrays, evaluated = collected(options.runs, options.network)
        if options.add:
            cases, arrays = joined(cases, arrays, options.output)
        return written(cases, arrays, evaluated, options.output)

    return write_files(files)


if __name__ == "__main__":
    sys.exit(main())
