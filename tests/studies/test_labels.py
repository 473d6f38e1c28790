"""Faults of labels are what their names say, and what is found is what kept scores find."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from studies.labels.faults import FAULTS

RESULTS = Path(__file__).parents[2] / "docs/results/hippocampus/labels"
NETWORKS = {
    "CE+DSC": "unet_dice_ce_seed0",
    "CE": "unet_cross_entropy_seed0",
    "DSC++": "unet_dice_plus_plus_seed0",
}


def two_boxes():
    labels = np.zeros((12, 13, 14), int)
    labels[3:9, 2:6, 3:11], labels[3:9, 6:11, 3:11] = 1, 2
    return labels


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_what_its_name_says(name, seed):
    """In volumes: nothing else is lost, won, or given another number."""
    labels, other = two_boxes(), two_boxes()[4:, :, 1:]

    found = FAULTS[name](labels, other, np.random.default_rng(seed))

    before, after = ([(part == k).sum() for k in (1, 2)] for part in (labels, found))
    assert found.shape == labels.shape
    inside, kept = labels > 0, found[labels > 0]
    expected = {
        "shifted by 2 voxels": after == before and 0 < (found > 0)[~inside].sum() <= 2 * 9 * 8,
        "two structures swapped": after == before[::-1] and not found[~inside].any(),
        "one structure missing": sorted(after) in ([0, before[0]], [0, before[1]]),
        "a third of one missing": sum(a < b for a, b in zip(after, before, strict=True)) == 1
        and 0.15 < 1 - min(np.divide(after, before)) < 0.45,
        "two end slices missing": not found[..., [3, 10]].any()
        and sum(after) == sum(before) * 6 / 8,
        "dilated by 1": (kept == labels[inside]).all() and sum(after) > sum(before),
        "eroded by 1": sum(after) == 4 * 7 * 6,
        "inner border moved by 3": sum(after) == sum(before)
        and {*np.subtract(after, before)} == {3 * 6 * 8, -3 * 6 * 8},
        "label of another case": (found[2:10, :, :13] == other).all() and after != before,
    }
    assert expected[name]


def kept_scores():
    """Score, network and kind of label → (scans)."""
    values = defaultdict(list)
    with (RESULTS / "scores.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name in row.keys() - {"network", "person", "label"}:
                values[name, row["network"], row["label"]].append(float(row[name]))
    return {key: np.array(column) for key, column in values.items()}


def test_what_is_found_is_what_kept_scores_find():
    """By draws of the test's own, within three points; surprise finds most of all."""
    scores, drawn = kept_scores(), np.random.default_rng(5)
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    found = defaultdict(dict)
    for network, run in NETWORKS.items():
        for name in {key[0] for key in scores}:
            right, hits = scores[name, run, "as it is"], []
            for _ in range(400):
                wrong = drawn.choice(len(right), 11, replace=False)
                values = right.copy()
                for case in wrong:
                    values[case] = scores[name, run, drawn.choice([*FAULTS])][case]
                looked = np.argsort(-values, kind="stable")[:11]
                hits.append(len({*looked} & {*wrong}) / 11)
            found[network][name] = np.mean(hits)
            shown = page.split(f"| {network} | {name} | ")[1].split("%")[0]
            # Both draw, and the page has whole percents.
            assert int(shown) / 100 == pytest.approx(found[network][name], abs=0.03)
        assert max(found[network], key=found[network].get) == "surprise"
