"""Ranks of methods over many scores, and figure 2, which shows them."""

import math
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest

from nacl_monai.errors import InputError
from nacl_monai.paper import EXHIBITS, rank_methods, ranking, read_results
from nacl_monai.reports.statistics import patient_scores

NAN = float("nan")
LOWER_IS_BETTER = ("hd95", "ece_foreground")


def by_counting(values, higher):
    """Ranks of one list: how many are better, and half of those alike; NaN has no rank."""
    ranks = []
    for value in values:
        better = sum(other > value if higher else other < value for other in values)
        alike = sum(other == value for other in values)
        ranks.append(NAN if math.isnan(value) else better + (alike + 1) / 2)
    return ranks


def weighted_mean(values, times):
    """The mean of values that are drawn so many times; NaN are left out."""
    total = number = 0.0
    for value, count in zip(values, times, strict=True):
        if count and not math.isnan(value):
            total, number = total + count * value, number + count
    return total / number if number else NAN


def rank_once(scores, drawn):
    """Ranks by rule and metric with (patient, seed) counted so many times."""
    ranks = {}
    for (dataset, column), table in scores.items():
        metric = next(name for name in ("dice", *LOWER_IS_BETTER) if column.startswith(name))
        higher = metric not in LOWER_IS_BETTER
        cells = list(drawn[dataset])
        rows = [
            [float(table[name][cell]) if cell in table.index else NAN for name in table]
            for cell in cells
        ]
        times = [drawn[dataset][cell] for cell in cells]
        means = [weighted_mean(values, times) for values in zip(*rows, strict=True)]
        cases = [
            [NAN] * len(row) if any(map(math.isnan, row)) else by_counting(row, higher)
            for row in rows
        ]
        case_means = [weighted_mean(values, times) for values in zip(*cases, strict=True)]
        ranks.setdefault(("sum-rank", metric), []).append(by_counting(means, higher))
        ranks.setdefault(("mean-case-rank", metric), []).append(case_means)
    averages = {
        key: [sum(values) / len(values) for values in zip(*rows, strict=True)]
        for key, rows in ranks.items()
    }
    for rule in ("sum-rank", "mean-case-rank"):
        rows = [values for (name, _), values in averages.items() if name == rule]
        overall = [sum(values) / len(values) for values in zip(*rows, strict=True)]
        averages = {**averages, (rule, "global"): overall}
    return averages


def interpolated(values, share):
    """A quantile by linear interpolation between the sorted values."""
    values = sorted(values)
    place = share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def multinomials(rng, n, resamples):
    """How often each of n is drawn, resampling by resampling."""
    return [rng.multinomial(n, [1 / n] * n) for _ in range(resamples)]


def by_loops(scores, resamples):
    """Everything that `rank_methods` returns, by rule, metric and method."""
    patients, seeds = {}, {}
    for (dataset, _), table in scores.items():
        patients.setdefault(dataset, set()).update(patient for patient, _ in table.index)
        seeds.setdefault(dataset, set()).update(seed for _, seed in table.index)
    draws, whole = [], {}
    for number, dataset in enumerate(patients):
        names, runs = sorted(patients[dataset]), sorted(seeds[dataset])
        counts = multinomials(np.random.default_rng(number), len(names), resamples)
        trainings = multinomials(np.random.default_rng((number, 1)), len(runs), resamples)
        draws.append([])
        for drawn, trained in zip(counts, trainings, strict=True):
            times = product(zip(names, drawn, strict=True), zip(runs, trained, strict=True))
            draws[-1].append((dataset, {(p, s): n * m for (p, n), (s, m) in times}))
        whole[dataset] = dict.fromkeys(product(names, runs), 1)
    once = rank_once(scores, whole)
    resampled = [rank_once(scores, dict(drawn)) for drawn in zip(*draws, strict=True)]
    methods = list(next(iter(scores.values())))
    expected = {}
    for key, ranks in once.items():
        rows = [drawn[key] for drawn in resampled if not any(map(math.isnan, drawn[key]))]
        firsts = [[math.isclose(rank, min(row)) for rank in row] for row in rows]
        for k, method in enumerate(methods):
            column = [row[k] for row in rows]
            expected[(*key, method)] = {
                "rank": ranks[k],
                "low": interpolated(column, 0.025),
                "high": interpolated(column, 0.975),
                "wins": sum(first[k] / sum(first) for first in firsts) / len(rows),
            }
    return expected


def check(scores, resamples):
    """`rank_methods` is what the loops say."""
    table = rank_methods(scores, resamples=resamples).set_index(["rule", "metric", "method"])
    expected = by_loops(scores, resamples)

    assert set(table.index) == set(expected)
    for key, row in expected.items():
        for name, value in row.items():
            assert table.loc[key, name] == pytest.approx(value, abs=1e-9), (key, name)


def table_of(columns, patients=None, seeds=1):
    """Scores as `patient_scores` returns them, patient by patient."""
    frame = pd.DataFrame(columns)
    patients = range(len(frame) // seeds) if patients is None else patients
    frame.index = pd.MultiIndex.from_product([patients, range(seeds)], names=["patient", "seed"])
    return frame


def random_table(rng, patients, methods="abc", seeds=1):
    scores = rng.random((seeds * len(patients), len(methods)))
    return table_of(dict(zip(methods, scores.T, strict=True)), patients, seeds)


def test_two_datasets_of_several_structures_and_metrics():
    """Patients are drawn within each dataset with its own seed, the same ones for all its scores."""
    rng = np.random.default_rng(3)
    scores = {
        (dataset, column): random_table(rng, patients)
        for dataset, patients in (("x", list("pqrstu")), ("y", list("vwxy")))
        for column in ("dice_1", "dice_2", "ece_foreground")
    }

    check(scores, resamples=60)


def test_trainings_are_drawn_with_the_patients():
    """Three seeds of one dataset and one of the other: a score counts patient × training times."""
    rng = np.random.default_rng(4)
    scores = {
        (dataset, column): random_table(rng, list("pqrst"), seeds=seeds)
        for dataset, seeds in (("x", 3), ("y", 1))
        for column in ("dice", "hd95")
    }

    check(scores, resamples=40)


def test_undefined_scores():
    """Patients and resamplings in which a method has no score are left out, where it has none."""
    rng = np.random.default_rng(8)
    few = random_table(rng, ["p", "q"])
    few.loc[("p", 0), "a"] = NAN
    many = random_table(rng, list("stuvw"))
    many.loc[("t", 0), "b"] = many.loc[("v", 0), "c"] = NAN
    scores = {
        ("x", "hd95_1"): few,
        ("x", "dice"): random_table(rng, ["p", "q"]),
        ("y", "hd95_1"): many,
        ("y", "dice"): random_table(rng, list("stuvw")),
    }

    check(scores, resamples=60)


def test_scores_of_other_patients():
    """A structure that only some patients have; the order of the rows does not count."""
    rng = np.random.default_rng(5)
    scores = {
        ("x", "dice_1"): random_table(rng, ["r", "p", "s"]),
        ("x", "dice_2"): random_table(rng, ["q", "s", "r", "t"]),
        ("y", "dice_1"): random_table(rng, ["k", "j", "i"]),
    }

    check(scores, resamples=40)


def test_method_without_any_score_has_no_rank():
    """By their means the others are ranked all the same; no resampling crowns anybody."""
    table = table_of({"a": [NAN, NAN], "b": [2.0, 1.0], "c": [1.0, 0.5]})
    ranks = rank_methods({("x", "hd95"): table}, resamples=20)
    ranks = ranks.set_index(["rule", "metric", "method"])

    assert np.isnan(ranks.loc[("sum-rank", "hd95", "a"), "rank"])
    assert ranks.loc[("sum-rank", "hd95", "b"), "rank"] == 2
    assert ranks.loc[("sum-rank", "hd95", "c"), "rank"] == 1
    assert ranks["wins"].isna().all()
    assert ranks["low"].isna().all()


def test_a_tie_up_to_rounding_is_a_tie():
    """Methods with the same ranks in another order of structures share every win."""
    rng = np.random.default_rng(1)
    values = rng.random((11, 3))
    turned = [np.roll(values, k, axis=1) for k in range(3)]
    scores = {
        ("x", f"dice_{k}"): table_of(dict(zip("abc", part.T, strict=True)))
        for k, part in enumerate(turned)
    }
    ranks = rank_methods(scores, resamples=300).set_index("rule")

    assert ranks.loc["mean-case-rank", "wins"].tolist() == pytest.approx([1 / 3] * 6)


def test_equal_means_share_a_rank_whatever_the_order_of_their_sum():
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 to the last bit."""
    table = table_of({"a": [0.1, 0.2, 0.3], "b": [0.3, 0.2, 0.1], "c": [0.9, 0.9, 0.9]})
    ranks = rank_methods({("d", "ece_foreground"): table}, resamples=20).set_index("rule")

    assert ranks.loc["sum-rank", "rank"].tolist() == [1.5, 1.5, 3] * 2  # global, and of the metric


def test_rows_are_in_the_order_in_which_figure_2_shows_them():
    """By rule, the global rank before the metrics, methods as they are given; 2000 resamplings."""
    rng = np.random.default_rng(0)
    scores = {
        ("x", "dice_1"): random_table(rng, list("pqrs"), "ba"),
        ("x", "hd95"): random_table(rng, list("pqrs"), "ba"),
    }
    table = rank_methods(scores)

    assert table[["rule", "metric", "method"]].to_numpy().tolist() == [
        [rule, metric, method]
        for rule in ("sum-rank", "mean-case-rank")
        for metric in ("global", "dice", "hd95")
        for method in "ba"
    ]
    pd.testing.assert_frame_equal(table, rank_methods(scores, resamples=2000))
    assert not table.equals(rank_methods(scores, resamples=1999))


def test_segmentation_is_ranked_per_structure_and_calibration_per_dataset(results):
    """The mean over structures is not a score of its own."""
    chosen = EXHIBITS["figure2"].select(results, datasets=["acdc"])
    cases = chosen.cases("acdc")
    structures = ("RV", "myocardium", "LV")
    columns = [f"{metric}_{name}" for metric in ("dice", "hd95") for name in structures]
    columns += ["ece_foreground", "cece_foreground"]
    expected = rank_methods({("acdc", name): patient_scores(cases, name) for name in columns})

    assert ranking.rank_table(chosen).equals(expected)


def test_only_methods_of_every_dataset_are_ranked(results):
    """SVLS was not run on the hippocampus."""
    ranks = ranking.rank_table(EXHIBITS["figure2"].select(results))

    assert ranks["method"].unique().tolist() == ["dice_ce", "nacl"]


def test_datasets_without_a_common_method_are_refused(grid_copy):
    """One line, instead of ranks of nobody."""
    for run in (grid_copy / "hippocampus").iterdir():
        shutil.move(run, run.with_name(run.name.replace("dice_ce", "mbls").replace("nacl", "ecp")))
    results = EXHIBITS["figure2"].select(read_results([grid_copy]))

    with pytest.raises(InputError, match="figure2: no method was run on all of acdc, hippocampus"):
        ranking.rank_table(results)


def test_cells_print_rank_and_wins(results):
    """Rules side by side, methods down, the global rank and the metrics across; the best is bold."""
    figure, ranks = ranking.draw_figure2(EXHIBITS["figure2"].select(results, datasets=["acdc"]))
    by_key = ranks.set_index(["rule", "metric", "method"]).sort_index()

    metrics = ("global", "dice", "hd95", "ece_foreground", "cece_foreground")
    for axes, rule in zip(figure.axes, ("sum-rank", "mean-case-rank"), strict=True):
        assert axes.get_title() == rule.capitalize()
        labels = [text.get_text() for text in axes.get_xticklabels()]
        assert labels == ["Global", "DSC", "HD95", "ECE", "CECE"]
        cells = {cell.get_position(): cell for cell in axes.texts}
        for column, metric in enumerate(metrics):
            best = by_key.loc[(rule, metric), "rank"].min()
            for row, method in enumerate(("dice_ce", "svls", "nacl")):
                rank, wins = by_key.loc[(rule, metric, method), ["rank", "wins"]]
                assert cells[column, row].get_text() == f"{rank:.1f}\n{wins:.0%}"
                assert (cells[column, row].get_fontweight() == "bold") == (rank == best)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["CE+DSC", "SVLS", "NACL"]
    assert len(figure.axes[1].get_yticks()) == 0
