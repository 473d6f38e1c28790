"""``python -m studies.penalty.comparison RUNS OUTPUT``: the chosen penalty beside others, tested.

RUNS holds a run of each loss and seed, ``unet_nacl_mixed_seed0`` and so on, evaluated on its test
patients (`nacl-monai evaluate`) and perhaps calibrated (`nacl-monai calibrate`). A loss is compared with
others that were given the same treatment after training, and with what was proposed beyond the paper.
What has fewer trainings than NACL mixed is shown and not tested.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from nacl_monai.cli import write_files
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluation_files import read_evaluation_of
from nacl_monai.evaluations.statistics import paired_tests, patient_scores
from nacl_monai.evaluations.tables import csv_text, markdown_table
from nacl_monai.files import write_text
from nacl_monai.metrics import read_curves
from nacl_monai.metrics.columns import METRICS
from nacl_monai.paper.comparisons import Comparison, comparison_to_markdown
from nacl_monai.paper.grid import MAIN_LOSSES, method_label
from studies.promises.__main__ import divided

CHOSEN = "nacl_mixed"
LOSSES = ("dice_ce", "cross_entropy", "nacl", CHOSEN)
TREATMENTS = ("", "+temperature_near", "+temperature_all", "+local_temperatures_all", "+ensemble")
#: What one would choose from.
CHOICE = ("dice_ce", "cross_entropy+local_temperatures_all", "nacl")
#: Beyond the paper, with their authors' values.
RIVALS = ("ml1ace", "crac", "sdc", "dca")
#: The paper's others.
OTHERS = tuple(loss for loss in MAIN_LOSSES if loss not in LOSSES)
TESTED = ("nll_all", "brier_all", "dice", "ece_union", "ece_foreground")
#: Columns of the cases that are kept.
MEANS = (*TESTED, "hd95", "ece_boundary", "ece_all")
POOLED = (
    *("ece_near", "confidence_gap_near", "contour_misses", "contour_size"),
    *("expected_volume_bias", "expected_volume_error"),
)
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
HEADS = {
    "promised_size": "contour with a guarantee, size",
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


def collected(runs: Path, network: str = "unet") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cases of every evaluation, and its numbers over all people."""
    cases, numbers = [], []
    for method, seed, folder in evaluations(runs, network):
        table = pd.read_csv(folder / "cases.csv")
        read_evaluation_of(folder.parent, table["patient"])  # of other weights, it is refused
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        table = table[["case", "patient", *MEANS]]
        cases.append(table.assign(dataset=summary["dataset"], method=method, seed=seed))
        pooled = summary.get("pooled", {})  # evaluations of earlier versions have none
        found = {name: pooled[name]["value"] for name in POOLED if name in pooled}
        found |= {name: summary["metrics"][name]["mean"] for name in MEANS}
        if (folder / "promise.npz").is_file():
            found |= promised(folder / "promise.npz")
        numbers.append({"method": method, "seed": seed, **found})
    if not cases:
        raise InputError(f"{runs}: holds no evaluated run of {network}; evaluate one")
    return pd.concat(cases), pd.DataFrame(numbers)


def promised(file: Path) -> dict[str, float]:
    """Size and miss of a contour with a guarantee, and the factor around a volume.

    Nothing where all people would calibrate it.
    """
    curves, found = read_curves(file), {}
    if len(set(curves.patients)) <= CALIBRATING:
        return {}
    for kind, names in (("outer", ("size", "miss")), ("volume", ("interval", "outside"))):
        for family, sizes, risks in divided(curves, LEVEL, kind, CALIBRATING, DRAWS):
            end = {"within": "", "margin": "_without_probabilities"}.get(family)
            if end is not None:
                means = pd.Series(sizes).mean(), pd.Series(risks).mean()
                pairs = zip(names, means, strict=True)
                found |= {f"promised_{name}{end}": value for name, value in pairs}
    return found


def table(numbers: pd.DataFrame) -> str:
    """A row per method: the mean of its trainings, and each."""
    rows = []
    shown = {name: digits for name, digits in SHOWN.items() if name in numbers}
    for method, trainings in numbers.groupby("method", sort=False):
        row = [method_label(str(method))]
        for name, digits in shown.items():
            values = trainings[name].dropna()
            each = ", ".join(f"{value:.{digits}f}" for value in values)
            row.append(f"{values.mean():.{digits}f} ({each})" if len(values) else "–")
        rows.append(row)
    heads = [HEADS[name] if name in HEADS else METRICS[name].heading for name in shown]
    return markdown_table(["method", *heads], rows, "l" + "r" * len(heads)) + "\n"


def families() -> Iterator[tuple[str, str, Iterable[str]]]:
    """Name, reference and others of a family: each treatment, a choice, rivals, the paper's."""
    for after in TREATMENTS:
        yield after[1:] or "as trained", CHOSEN + after, [loss + after for loss in LOSSES]
    yield "choice", CHOSEN, CHOICE
    yield "rivals", CHOSEN, RIVALS
    yield "others", CHOSEN, OTHERS


def compared(cases: pd.DataFrame) -> Iterator[tuple[str, Comparison]]:
    """The chosen penalty against the others of each family."""
    (dataset,) = cases["dataset"].unique()
    trainings = cases.groupby("method")["seed"].nunique()
    for family, reference, others in families():
        enough = trainings.index[trainings >= trainings.get(reference, 0)]
        alike = cases[cases["method"].isin(enough.intersection([reference, *others]))]
        if reference not in set(alike["method"]) or alike["method"].nunique() < 2:
            continue
        found = [
            paired_tests(patient_scores(alike, name), reference, name)
            .reset_index()
            .assign(dataset=dataset, metric=name, reference=reference, family=family)
            for name in TESTED
        ]
        yield family, Comparison(reference, pd.concat(found, ignore_index=True))


def written(cases: pd.DataFrame, numbers: pd.DataFrame, output: Path) -> Iterator[Path]:
    """Writes the table and the tests, and what they are made of."""
    comparisons = list(compared(cases))
    texts = [f"**{family}**\n\n{comparison_to_markdown(one)}" for family, one in comparisons]
    tests = pd.concat([pd.DataFrame(), *(one.tests for _, one in comparisons)])
    for name, text in (
        ("cases.csv", csv_text(cases)),
        ("numbers.csv", csv_text(numbers)),
        ("comparison.md", "\n".join([table(numbers), *texts])),
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
    given = parser.parse_args(argv)
    return write_files(lambda: written(*collected(given.runs, given.network), given.output))


if __name__ == "__main__":
    sys.exit(main())
