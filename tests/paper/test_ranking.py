"""Ranks by two rules, and how often each method would win by chance."""

import numpy as np
import pandas as pd
import pytest

from nacl_monai.paper.ranking import rank_methods

RNG = np.random.default_rng(3)


def by_hand(values, higher):
    """Ranks of one list by counting: how many are better, and half of those alike."""
    better = [sum((o > v) if higher else (o < v) for o in values) for v in values]
    alike = [sum(o == v for o in values) for v in values]
    return [b + (a + 1) / 2 for b, a in zip(better, alike, strict=True)]


def random_scores():
    return {
        (dataset, column): pd.DataFrame(RNG.random((n, 3)), columns=list("abc"))
        for dataset, n in (("x", 6), ("y", 4))
        for column in ("dice_1", "dice_2", "ece_foreground")
    }


def test_by_loops():
    """Sum-rank ranks means; mean-case-rank means ranks; global weighs every metric the same."""
    scores = random_scores()
    found = (
        rank_methods(scores, resamples=10)
        .set_index(["rule", "metric", "method"])["rank"]
        .sort_index()
    )

    ranks = {"sum-rank": {}, "mean-case-rank": {}}
    for (_, column), table in scores.items():
        metric, higher = column.removesuffix("_1").removesuffix("_2"), column.startswith("dice")
        of_means = by_hand([table[name].mean() for name in "abc"], higher)
        of_cases = np.mean([by_hand(list(row), higher) for row in table.to_numpy()], axis=0)
        ranks["sum-rank"].setdefault(metric, []).append(of_means)
        ranks["mean-case-rank"].setdefault(metric, []).append(of_cases)
    for rule, metrics in ranks.items():
        means = {metric: np.mean(rows, axis=0) for metric, rows in metrics.items()}
        means["global"] = np.mean([means["dice"], means["ece_foreground"]], axis=0)
        for metric, expected in means.items():
            assert found[rule, metric].to_numpy() == pytest.approx(expected)


def test_wins_by_a_loop():
    """The share of resamplings in which a method is first: of patients drawn by hand."""
    table = pd.DataFrame({"a": RNG.normal(0.50, 0.1, 8), "b": RNG.normal(0.53, 0.1, 8)})
    found = rank_methods({("x", "dice"): table}, resamples=4000)
    found = found.set_index(["rule", "metric", "method"])["wins"]

    rng, first = np.random.default_rng(99), 0.0
    for _ in range(4000):
        a, b = table.iloc[rng.integers(0, 8, 8)].mean()
        first += (a > b) + (a == b) / 2
    assert found["sum-rank", "dice", "a"] == pytest.approx(first / 4000, abs=0.03)
    assert found["sum-rank", "dice", "a"] + found["sum-rank", "dice", "b"] == pytest.approx(1)


def test_certain_winner():
    """A method that is best in every patient wins every time; equal methods share."""
    best = {("x", "ece_foreground"): pd.DataFrame({"a": [0.1] * 5, "b": [0.2] * 5, "c": [0.2] * 5})}
    found = rank_methods(best, resamples=50)

    assert (found.loc[found["method"] == "a", "wins"] == 1).all()
    assert (found.loc[found["method"] == "a", "rank"] == 1).all()
    assert (found.loc[found["method"] == "c", "rank"] == 2.5).all()


def test_undefined_patient():
    """A patient in whom one method has no score ranks nobody."""
    table = pd.DataFrame({"a": [1.0, 2.0, np.nan], "b": [2.0, 1.0, 0.0]})
    found = rank_methods({("x", "hd95"): table}, resamples=20).set_index(
        ["rule", "metric", "method"]
    )

    assert found.loc[("mean-case-rank", "hd95", "a"), "rank"] == 1.5
    assert found.loc[("mean-case-rank", "hd95", "b"), "rank"] == 1.5
