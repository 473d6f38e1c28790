"""Faults of labels are what their names say, and what is found is what kept scores find."""

import re
from collections import defaultdict
from itertools import combinations, product
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.ndimage import distance_transform_edt

from studies.labels.faults import FAULTS
from studies.labels.maps import best_set
from studies.labels.slices import ORDERS, corrected
from tests.studies.pages import RESULTS, rows_of, table_behind

NETWORKS = {
    "CE+DSC": "unet_dice_ce_seed0",
    "CE": "unet_cross_entropy_seed0",
    "DSC++": "unet_dice_plus_plus_seed0",
}
ACDC = {
    "CE+DSC": "acdc_unet_dice_ce_epoch8_seed0",
    "NACL": "acdc_unet_nacl_epoch8_seed0",
    "marks too much": "acdc_unet_tversky_over_epoch8_seed0",
}
#: Data → its folder, networks, and the score that finds most.
DATA = {
    "hippocampus": (RESULTS / "hippocampus/labels", NETWORKS, "surprise"),
    "ACDC": (RESULTS / "acdc/labels", ACDC, "soft minimum"),
}
of_data = pytest.mark.parametrize(("folder", "networks", "best"), DATA.values(), ids=DATA)


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


def kept_scores(folder):
    """Score, network and kind of label → (scans)."""
    values = defaultdict(list)
    for row in rows_of(folder / "scores.csv"):
        for name in row.keys() - {"network", "person", "label"}:
            values[name, row["network"], row["label"]].append(float(row[name]))
    return {key: np.array(column) for key, column in values.items()}


@of_data
def test_what_is_found_is_what_kept_scores_find(folder, networks, best):
    """By draws of the test's own, within three points; which finds most of all."""
    scores, drawn = kept_scores(folder), np.random.default_rng(5)
    page = (folder / "README.md").read_text(encoding="utf-8")
    found = defaultdict(dict)
    for network, run in networks.items():
        for name in {key[0] for key in scores}:
            right, hits = scores[name, run, "as it is"], []
            number = round(len(right) / 10)
            for _ in range(400):
                wrong = drawn.choice(len(right), number, replace=False)
                values = right.copy()
                for case in wrong:
                    values[case] = scores[name, run, drawn.choice([*FAULTS])][case]
                looked = np.argsort(-values, kind="stable")[:number]
                hits.append(len({*looked} & {*wrong}) / number)
            found[network][name] = np.mean(hits)
            shown = page.split(f"| {network} | {name} | ")[1].split("%")[0]
            # Both draw, and the page has whole percents.
            assert int(shown) / 100 == pytest.approx(found[network][name], abs=0.03)
        assert max(found[network], key=found[network].get) == best


def test_a_fifth_of_the_slices_is_corrected_by_each_order():
    """By a slow loop over planes, for what is drawn at random as well as by the best choice of any."""
    drawn = np.random.default_rng(0)
    label = torch.from_numpy(drawn.choice(3, (5, 6, 11), p=[0.4, 0.3, 0.3]))
    logits = torch.from_numpy(drawn.normal(0, 1, (3, 5, 6, 11)))
    logits[0, :, :, 8:], logits[0, :3, :, 2] = 9, 9  # where little is predicted, and far from it
    probs = (logits + 1.5 * torch.eye(3)[label].movedim(-1, 0)).softmax(0)
    structures, spacing = {"a": [1], "b": [2]}, (2.0, 2.0, 2.0)

    found = corrected(probs, label, structures, spacing, np.random.default_rng(1))

    predicted, p = probs.argmax(0).numpy(), probs.max(0).values.numpy()
    distances = distance_transform_edt(predicted == 0, sampling=spacing)
    near = distances <= 3
    planes = [k for k in range(11) if (1 - p[..., k])[near[..., k]].sum() > 0]
    number = round(0.2 * len(planes))

    def dice(chosen):
        mended = predicted.copy()
        mended[..., list(chosen)] = label.numpy()[..., list(chosen)]
        pairs = [(mended == k, label.numpy() == k) for k in (1, 2)]
        return np.mean([2 * (x & y).sum() / (x.sum() + y.sum()) for x, y in pairs])

    ranks = {
        "doubt": lambda k: (1 - p[..., k])[near[..., k]].sum(),
        "area": lambda k: (predicted[..., k] > 0).sum(),
        "errors": lambda k: (predicted[..., k] != label.numpy()[..., k]).sum(),
    }
    values = dict(zip(("as it is", *ORDERS), found, strict=True))
    # Dice is a quotient in single precision here, and the loop's in double.
    assert values["as it is"] == pytest.approx(dice([]), abs=1e-6)
    for order, rank in ranks.items():
        best = {rank(k): k for k in planes}
        chosen = [best[value] for value in sorted(best, reverse=True)[:number]]
        assert values[order] == pytest.approx(dice(chosen), abs=1e-6)
    every = [dice(chosen) for chosen in combinations(planes, number)]
    assert min(every) <= values["chance"] <= max(every)


def kept(folder, name):
    """Network → person → the means of their rows; of volumes by structure, too."""
    table = pd.read_csv(folder / f"{name}.csv")
    keys = [key for key in ("network", "structure") if key in table]
    return {
        of_network: rows.groupby("person").mean(numeric_only=True)
        for of_network, rows in table.groupby(keys[0] if len(keys) == 1 else keys)
    }


@of_data
def test_table_of_slices_has_the_means_of_people(folder, networks, best):  # noqa: ARG001
    page = (folder / "README.md").read_text(encoding="utf-8")
    page = page[page.index("## Which slices") :]
    for network, run in networks.items():
        people = kept(folder, "slices")[run]
        cells = page.split(f"| {network} | ")[1].split("\n")[0].split(" | ")
        columns = ["as it is", *ORDERS]
        expected = [fmean(people[name]) for name in columns]
        expected += [fmean(people["doubt"] - people[name]) for name in ("area", "chance")]
        # The table has three or four decimals.
        assert [float(cell.split()[0]) for cell in cells] == pytest.approx(expected, abs=6e-4)


@pytest.mark.slow
@of_data
def test_table_of_means_has_the_coverage_of_another_simulation(folder, networks, best):  # noqa: ARG001
    """Means and variances by hand, people drawn by other numbers: within two points of the page."""
    page = (folder / "README.md").read_text(encoding="utf-8")
    for labels in (20, 200):
        covers, widths = [], []
        for people in kept(folder, "volumes").values():
            y, f = people[["labeled", "predicted"]].to_numpy().T
            drawn, hits, lengths = np.random.default_rng(7), 0, np.zeros(2)
            for _ in range(2000):
                first, rest = (drawn.integers(len(y), size=size) for size in (labels, 300))
                share = 300 / (300 + labels)
                parts = y[first] - share * f[first], share * f[rest]
                # The interval of their sum.
                welch = stats.ttest_ind(parts[0], -parts[1], equal_var=False)
                low, high = welch.confidence_interval()
                hits += low <= y.mean() <= high
                alone = stats.t.ppf(0.975, labels - 1) * stats.sem(y[first])
                lengths += np.array([(high - low) / 2, alone])
            covers.append(hits / 2000)
            widths.append(lengths[0] / lengths[1])
        row = page.split(f"| --mean, t | {labels} | ")[1].split("\n")[0]
        least, most, narrow, wide = map(float, re.findall(r"[\d.]+", row))
        # Some standard errors of 1,000 and 2,000 draws.
        assert [100 * min(covers), 100 * max(covers)] == pytest.approx([least, most], abs=2)
        # Two decimals, and what draws differ by.
        assert [min(widths), max(widths)] == pytest.approx([narrow, wide], abs=0.02)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9]), min_size=1, max_size=7))
def test_no_other_set_has_a_better_expected_dice(values):
    """Among all sets of a few voxels, by the ratio of expectations."""
    probability = np.array(values)

    def expected(members):
        return 2 * probability[members].sum() / (members.sum() + probability.sum())

    chosen = best_set(probability)
    if probability.sum() == 0:
        assert not chosen.any()
        return
    every = [np.array(row, bool) for row in product([0, 1], repeat=len(values))]
    assert expected(chosen) == pytest.approx(max(map(expected, every)))


@of_data
def test_table_of_best_sets_is_that_of_kept_people(folder, networks, best):  # noqa: ARG001
    """Means over people, and the interval of a t test."""
    people = pd.read_csv(folder / "maps.csv").groupby(["network", "when", "person"]).mean()
    text = (folder / "README.md").read_text(encoding="utf-8")
    table = table_behind(text, "best expected Dice adds")
    assert len(table) == 2 * len(networks)
    for network, when, dice, cell in table:
        of_it = people.loc[networks[network], when]
        mean, error = of_it["gain"].mean(), stats.sem(of_it["gain"])
        low, high = stats.t.interval(0.95, len(of_it) - 1, mean, error)
        assert dice == f"{of_it['dice'].mean():.4f}"
        assert cell == f"{of_it['gain'].mean():+.4f} [{low:+.4f}, {high:+.4f}]"


@of_data
def test_how_large_without_labels_is_that_of_kept_people(folder, networks, best):  # noqa: ARG001
    """By sums over people, and the interval of a t test; the expected volume is never nearer."""
    of_person = defaultdict(lambda: defaultdict(list))
    labeled = defaultdict(list)
    for row in rows_of(folder / "volumes.csv"):
        key, true = (row["network"], row["structure"]), float(row["labeled"])
        labeled[key].append(true)
        off = [abs(float(row[name]) - true) for name in ("predicted", "expected")]
        of_person[key][row["person"]].append([*off, off[1] - off[0]])
    text = (folder / "README.md").read_text(encoding="utf-8")
    table = table_behind(text, "| expected − predicted")
    assert len(table) == len(of_person)
    for network, structure, *cells in table:
        key = networks[network], structure
        people = np.array([np.mean(rows, 0) for rows in of_person[key].values()])
        for cell, values in zip(cells, people.T / fmean(labeled[key]), strict=True):
            half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
            shown = [float(part.strip(",]")) for part in cell.replace("[", "").split()]
            expected = [values.mean(), values.mean() - half, values.mean() + half]
            # Two digits of half the width are shown.
            np.testing.assert_allclose(shown, expected, atol=6e-4 if half > 0.01 else 6e-5)
        assert people[:, 2].mean() > 0
