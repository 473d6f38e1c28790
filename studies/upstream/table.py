"""``python -m studies.upstream.table``: mL1-ACE beside CE+DSC, from the committed cases of Task04.

Split by people, three trainings of each loss, with 95 % intervals over people and trainings.
"""

import sys
from pathlib import Path

import pandas as pd

from nacl_monai.evaluations.statistics import cells_of, difference, estimate, patient_scores
from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.metrics.columns import METRICS
from nacl_monai.paper.grid import method_label

RESULTS = Path(__file__).parents[2] / "docs/results/hippocampus/penalty"
#: What is shown → the cases of it.
TRAINED = {"2-D, 22 people train": RESULTS, "3-D, 119 people train": RESULTS / "three_d"}
LOSSES = ("cross_entropy", "dice_ce", "ml1ace")
SHOWN = ("dice", "ece_foreground", "ece_union", "ece_all", "nll_all", "brier_all")


def rows() -> list[list[str]]:
    """A row of each loss, and one of the difference."""
    found = []
    for name, folder in TRAINED.items():
        cases = pd.read_csv(folder / "cases.csv")
        scores = {
            metric: patient_scores(cases[cases["method"].isin(LOSSES)], metric) for metric in SHOWN
        }
        for loss in LOSSES:
            cells = [
                estimate([cells_of(table[loss])]).text(METRICS[metric].decimals)
                for metric, table in scores.items()
            ]
            found.append([name, method_label(loss), *cells])
        cells = []
        for metric, table in scores.items():
            gap = difference(*(cells_of(table[loss]) for loss in ("ml1ace", "dice_ce")))
            shown = METRICS[metric]
            cells.append(f"{shown.text(gap.mean, '+')} {shown.interval(*gap.interval())}")
        found.append([name, "mL1-ACE − CE+DSC", *cells])
    return found


if __name__ == "__main__":
    heads = ["", "", *(METRICS[metric].heading for metric in SHOWN)]
    sys.stdout.write(markdown_table(heads, rows(), "ll" + "r" * len(SHOWN)) + "\n")
