"""Means of every experiment."""

import csv
from collections import defaultdict

import pytest

from nacl_monai.paper import mean_scores, read_results


def test_by_a_loop(grid):
    """Over volumes of a patient, over seeds, over patients, with the CSV module and loops."""
    found = mean_scores(read_results([grid / "acdc"]), ["dice", "ece_foreground"], resamples=10)
    found = found.query("network == 'unet' and fraction == 1").set_index(["column", "method"])

    for loss, seeds in (("dice_ce", 2), ("nacl", 2), ("svls", 1)):
        for column in ("dice", "ece_foreground"):
            runs = []
            for seed in range(seeds):
                path = grid / "acdc" / f"unet_{loss}_seed{seed}" / "evaluation" / "cases.csv"
                patients = defaultdict(list)
                with path.open() as file:
                    for row in csv.DictReader(file):
                        patients[row["patient"]].append(float(row[column]))
                means = [sum(values) / len(values) for values in patients.values()]
                runs.append(sum(means) / len(means))
            row = found.loc[(column, loss)]
            assert row["mean"] == pytest.approx(sum(runs) / seeds)
            assert (row["patients"], row["seeds"]) == (4, seeds)
            if seeds == 2:
                assert row["seed_sd"] == pytest.approx(abs(runs[0] - runs[1]) / 2**0.5)


def test_one_row_per_experiment(grid):
    """Networks and fractions are experiments of their own; a column that is nowhere makes no row."""
    found = mean_scores(read_results([grid]), ["dice", "dice_liver"], resamples=10)

    assert len(found) == 10 + 2
    assert set(found["column"]) == {"dice"}
