"""Ranks of methods over many scores, and figure 2, which shows them."""

import shutil

import numpy as np
import pandas as pd
import pytest

from nacl_monai.evaluations.statistics import patient_scores
from nacl_monai.paper import EXHIBITS, rank_methods, ranking, read_results
from tests.conftest import refused
from tests.same import same_bits

NAN = float("nan")


def ranked(scores, times):
    """Ranks by rule and metric, each row of a dataset counted so many times; pandas ranks them."""
    parts = {}
    for (dataset, column), table in scores.items():
        metric = next(name for name in ("dice", "hd95", "ece_foreground") if name in column)
        ascending = metric != "dice"
        rows = table.reindex(times[dataset].index)
        rows = rows.loc[rows.index.repeat(times[dataset])]
        by_mean = rows.mean().rank(ascending=ascending)
        by_case = rows.dropna().rank(axis=1, ascending=ascending).mean()
        for rule, ranks in (("sum-rank", by_mean), ("mean-case-rank", by_case)):
            parts.setdefault(rule, {}).setdefault(metric, []).append(ranks)
    means = {
        rule: {metric: sum(ranks) / len(ranks) for metric, ranks in of_metrics.items()}
        for rule, of_metrics in parts.items()
    }
    for of_metrics in means.values():
        of_metrics["global"] = sum(of_metrics.values()) / len(of_metrics)
    return {
        (rule, metric): ranks
        for rule, of_metrics in means.items()
        for metric, ranks in of_metrics.items()
    }


def multinomials(seed, n, resamples):
    """How often each of n is drawn, resampling by resampling."""
    return np.random.default_rng(seed).multinomial(n, [1 / n] * n, resamples)


def drawings(scores, resamples):
    """How often each patient and training of a dataset counts: once, then drawing by drawing."""
    drawn = {}
    for number, dataset in enumerate(dict.fromkeys(dataset for dataset, _ in scores)):
        index = pd.concat([table for (name, _), table in scores.items() if name == dataset]).index
        patients, seeds = (sorted(index.unique(level)) for level in ("patient", "seed"))
        of_patients = multinomials(number, len(patients), resamples)
        of_seeds = multinomials((number, 1), len(seeds), resamples)
        pairs = zip(of_patients, of_seeds, strict=True)
        cells = pd.MultiIndex.from_product([patients, seeds])
        times = [np.ones(len(cells), int), *(np.outer(*pair).ravel() for pair in pairs)]
        drawn[dataset] = [pd.Series(of_cells, cells) for of_cells in times]
    return [dict(zip(drawn, times, strict=True)) for times in zip(*drawn.values(), strict=True)]


def check(scores, resamples):
    """`rank_methods` is what pandas says of each drawing."""
    tables = {
        key: rows.set_index("method")
        for key, rows in rank_methods(scores, resamples=resamples).groupby(["rule", "metric"])
    }
    once, *drawn = (ranked(scores, times) for times in drawings(scores, resamples))

    assert tables.keys() == once.keys()
    for key, ranks in once.items():
        samples = pd.DataFrame([sample[key] for sample in drawn]).dropna()
        best = np.isclose(samples, samples.min(axis=1).to_numpy()[:, None])
        expected = {
            "rank": ranks,
            "low": samples.quantile(0.025),
            "high": samples.quantile(0.975),
            "wins": (best / best.sum(axis=1, keepdims=True)).mean(axis=0),
        }
        actual = tables[key].loc[ranks.index, list(expected)]
        np.testing.assert_allclose(actual, pd.DataFrame(expected), atol=1e-9)


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
    """Patients are drawn within each dataset with its own seed, the same ones for all its scores.

    Three trainings of one dataset are drawn as well: a score counts patient × training times.
    """
    rng = np.random.default_rng(3)
    scores = {
        (dataset, column): random_table(rng, patients, seeds=seeds)
        for dataset, patients, seeds in (("x", list("pqrstu"), 3), ("y", list("vwxy"), 1))
        for column in ("dice_1", "dice_2", "ece_foreground")
    }

    check(scores, resamples=60)


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
    ranks = rank_methods({("x", "hd95"): table}, resamples=20).set_index(["rule", "metric"])

    np.testing.assert_allclose(ranks.loc[("sum-rank", "hd95"), "rank"], [NAN, 2, 1])
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
    """By rule, the global rank before the metrics, methods as they are given."""
    rng = np.random.default_rng(0)
    columns = ("dice_1", "hd95")
    table = rank_methods({("x", name): random_table(rng, list("pqrs"), "ba") for name in columns})

    assert table[["rule", "metric", "method"]].to_numpy().tolist() == [
        [rule, metric, method]
        for rule in ("sum-rank", "mean-case-rank")
        for metric in ("global", "dice", "hd95")
        for method in "ba"
    ]


def test_segmentation_is_ranked_per_structure_and_calibration_per_dataset(results):
    """The mean over structures is not a score of its own."""
    chosen = EXHIBITS["figure2"].select(results, datasets=["acdc"])
    cases = chosen.cases("acdc")
    structures = ("RV", "myocardium", "LV")
    columns = [f"{metric}_{name}" for metric in ("dice", "hd95") for name in structures]
    columns += ["ece_foreground", "cece_foreground"]
    expected = rank_methods({("acdc", name): patient_scores(cases, name) for name in columns})

    same_bits(ranking.rank_table(chosen), expected, "the same ranks of the same scores")


def test_only_methods_of_every_dataset_are_ranked(results):
    """SVLS was not run on the hippocampus."""
    ranks = ranking.rank_table(EXHIBITS["figure2"].select(results))

    assert ranks["method"].unique().tolist() == ["dice_ce", "nacl"]


def test_datasets_without_a_common_method_are_refused(grid_copy):
    """One line, instead of ranks of nobody."""
    for run in (grid_copy / "hippocampus").iterdir():
        shutil.move(run, run.with_name(run.name.replace("dice_ce", "mbls").replace("nacl", "ecp")))
    results = EXHIBITS["figure2"].select(read_results([grid_copy]))

    line = refused(ranking.rank_table, results)
    assert line.startswith("figure2: no method was run on all of acdc, hippocampus")


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
