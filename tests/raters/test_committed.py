"""What docs/raters.md says of LIDC's raters is what the committed scores say."""

import re
from pathlib import Path

import pandas as pd
import pytest

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "raters.md").read_text(encoding="utf-8")
SCORES = pd.read_csv(DOCS / "results" / "lidc" / "scores.csv")
HELD_OUT = pd.read_csv(DOCS / "results" / "lidc" / "held_out.csv")
SHOWN = ["hard labels", "SVLS 3×3, σ 1", "NACL 3×3", "NACL 5×5", "Gaussian, σ 1 voxel"]


def scores(nodules, metric):
    """The rows of a score up to 2 mm from the border."""
    rows = SCORES[(SCORES["nodules"] == nodules) & (SCORES["band"] == 2)]
    return rows[rows["metric"] == metric]


def score(nodules, prior, metric):
    """The row of one prior."""
    rows = scores(nodules, metric)
    (row,) = rows[rows["prior"] == prior].to_dict("records")
    return row


def best(nodules, metric):
    """The least score of a blur."""
    rows = scores(nodules, metric)
    return rows[rows["family"] == "blur"]["value"].min()


@pytest.mark.parametrize("shown", SHOWN)
def test_rows_of_the_table_are_the_committed_scores(shown):
    """ECE of both choices of nodules and Brier score with intervals, and NLL."""
    prior = shown.removesuffix(" voxel")
    cells = [
        "{value:.3f} [{low:.3f}, {high:.3f}]".format(**score(nodules, prior, metric))
        for nodules, metric in (("all four", "ece"), ("two or more", "ece"), ("all four", "brier"))
    ]
    nll = f"{score('all four', prior, 'nll')['value']:.3f}"

    assert " | ".join(["", shown, *cells, nll, ""]).strip() in TEXT


def test_last_row_is_the_least_score_of_a_blur():
    """Among the widths that were tried."""
    row = re.search(r"^\| blur of the best width in mm \| (.*) \|$", TEXT, re.MULTILINE)[1]

    shown = [float(re.search(r"[\d.]+", cell)[0]) for cell in row.split("|")]
    asked = (
        ("all four", "ece"),
        ("two or more", "ece"),
        ("all four", "brier"),
        ("all four", "nll"),
    )
    least = [best(*scores) for scores in asked]
    assert shown == [round(value, 3) for value in least]


def test_held_out_patients_are_those_of_the_committed_test():
    """The fitted width against 3×3 up to 2 mm from the border."""
    rows = HELD_OUT[(HELD_OUT["nodules"] == "all four") & (HELD_OUT["band"] == 2)]
    row = rows.set_index("metric").loc
    sentence = (
        "fitted to the other half ({patients:.0f} patients each) has an ECE of {fitted:.3f} against "
        "{rival:.3f} of 3×3, difference {difference:.3f} [{low:.3f}, {high:.3f}], and a lower"
    )
    sentence = sentence.format(**row["ece"]).replace("-", "−")
    better = "NLL in {better:.0f} of {patients:.0f} patients".format(**row["nll"])

    assert f"{sentence} {better}" in " ".join(TEXT.split())
    assert row["nll", "p"] < 1e-40
