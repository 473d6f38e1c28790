"""Means of every experiment."""

import csv
from collections import defaultdict

import pytest

from nacl_monai.paper import mean_scores, read_results


def test_mean_is_over_cases_then_seeds_then_patients(grid):
    """With the CSV module and loops."""
    table = mean_scores(read_results([grid / "acdc"]), ["dice", "ece_foreground"])
    table = table.query("network == 'unet' and fraction == 1").set_index(["column", "method"])

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
            row = table.loc[(column, loss)]
            assert row["mean"] == pytest.approx(sum(runs) / seeds)
            assert (row["patients"], row["seeds"]) == (4, seeds)
            if seeds == 2:
                assert row["seed_sd"] == pytest.approx(abs(runs[0] - runs[1]) / 2**0.5)


def test_networks_and_fractions_are_experiments_of_their_own(grid):
    """A column that is nowhere defined makes no row."""
    table = mean_scores(read_results([grid]), ["dice", "dice_liver"])

    assert len(table) == 10 + 2
    assert set(table["column"]) == {"dice"}
