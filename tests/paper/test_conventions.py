"""DSC and HD95 of structures that are absent, by the authors' conventions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics import DiceMetric

from nacl_monai.errors import InputError
from nacl_monai.metrics import expected_dice, hausdorff_distance, structure_masks
from nacl_monai.paper.__main__ import main
from nacl_monai.paper.conventions import CONVENTIONS, as_authors

STRUCTURES = {"a": [1], "b": [2]}
CASES = Path("cases.csv")


def evaluated(prediction, label):
    """The columns of one case as an evaluation writes them, rounded as in a file."""
    prediction, label = (
        torch.tensor(values)[None, None, :, None, None] for values in (prediction, label)
    )
    probs = 0.94 * torch.nn.functional.one_hot(prediction[:, 0], 3).movedim(-1, 1) + 0.02
    masks = [structure_masks(volume, STRUCTURES, dim=1) for volume in (prediction, label)]
    row = {
        "dice": DiceMetric(reduction="none")(*masks)[0],
        "hd95": hausdorff_distance(*masks)[0],
        "expected_dice": expected_dice(probs, STRUCTURES)[0],
    }
    columns = {
        f"{metric}_{name}": round(values[k].item(), 6)
        for metric, values in row.items()
        for k, name in enumerate(STRUCTURES)
    }
    return columns | {metric: values.nanmean().item() for metric, values in row.items()}


def authors_scores(prediction, label):
    """The rule in their code, of one structure: absent, missed, or as measured; None for the latter."""
    if not label.any():
        return 1, 0
    if not prediction.any():
        return 0, 0
    return None


VOLUMES = {
    "both": ([0, 1, 2, 2], [0, 1, 2, 0]),
    "missed": ([0, 0, 2, 2], [0, 1, 2, 2]),
    "elsewhere": ([1, 0, 2, 2], [0, 1, 2, 2]),
    "absent": ([0, 0, 2, 2], [0, 0, 2, 2]),
    "absent but predicted": ([0, 1, 2, 2], [0, 0, 2, 2]),
    "nothing at all": ([0, 0, 0, 0], [0, 0, 0, 0]),
}


def test_scores_are_those_of_the_authors_rule():
    """From label and prediction, for every way in which a structure can be absent."""
    table = pd.DataFrame({name: evaluated(*pair) for name, pair in VOLUMES.items()}).T
    scored = as_authors(table, CASES)

    for name, (prediction, label) in VOLUMES.items():
        for structure, (value,) in STRUCTURES.items():
            masks = (np.array(volume) == value for volume in (prediction, label))
            measured = tuple(table.loc[name, [f"dice_{structure}", f"hd95_{structure}"]])
            expected = authors_scores(*masks) or measured
            got = tuple(scored.loc[name, [f"dice_{structure}", f"hd95_{structure}"]])
            assert got == expected, (name, structure)
    assert scored.loc["missed", ["dice", "hd95"]].tolist() == [0.5, 0]
    assert scored.loc["nothing at all", ["dice", "hd95"]].tolist() == [1, 0]
    assert scored["expected_dice"].equals(table["expected_dice"])


def test_earlier_evaluation_is_scored_where_nothing_is_in_doubt():
    """Without an expected DSC, a DSC of 0 may be a miss or a hit elsewhere: refused by name."""
    table = pd.DataFrame({"dice_a": [0.5, np.nan], "hd95_a": [2.0, np.nan]}, index=["x", "y"])
    assert as_authors(table, CASES)["dice"].tolist() == [0.5, 1]

    with pytest.raises(InputError, match=r"cases.csv: dice_a of case 'x' is 0, and no expected"):
        as_authors(table.assign(dice_a=[0.0, np.nan]), CASES)


def test_own_conventions_change_nothing():
    """What an evaluation writes is by them."""
    table = pd.DataFrame({name: evaluated(*pair) for name, pair in VOLUMES.items()}).T

    assert CONVENTIONS["project"].score(table, CASES).equals(table)


def test_difference_is_printed_where_conventions_agree(grid, tmp_path):
    """ECE always, DSC by the authors' conventions alone, CECE never; the paper's number always."""
    shown = {}
    for name in CONVENTIONS:
        for table in ("table1", "table2"):
            output = tmp_path / name
            words = [table, str(grid), "--output", str(output), "--conventions", name]
            assert main(words) == 0
            rows = pd.read_csv(output / f"{table}.csv").query("dataset == 'acdc'")
            assert rows[rows["paper"].notna()]["metric"].nunique() == 2
            shown[name] = shown.get(name, set()) | set(rows[rows["difference"].notna()]["metric"])
            command = json.loads((output / f"{table}.json").read_text())["command"]
            assert ("--conventions authors" in command) == (name == "authors")

    assert shown == {"project": {"ece_foreground"}, "authors": {"ece_foreground", "dice", "hd95"}}
