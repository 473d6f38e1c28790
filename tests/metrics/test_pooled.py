"""Errors of all cases together: against loops over draws and bins, and by what chance does."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationBins, calibration_bins
from nacl_monai.metrics.pooled import (
    Pooled,
    direction,
    draws,
    pooled_difference,
    pooled_error,
    pooled_gap,
    pooled_offsets,
    pooled_ratio,
)
from tests.metrics.oracles import random_case, slow_errors


def bins_of(counts, positives, confidences):
    """Bins of lists, ``(cases, M)``."""
    counts, positives = (torch.as_tensor(part) for part in (counts, positives))
    return CalibrationBins(counts, positives, torch.as_tensor(confidences, dtype=torch.float64))


def random_bins(seed=0):
    """Of six cases with three classes, ``(6, 1 + 3, 15)``."""
    return calibration_bins(*random_case((6, 3, 5, 4), seed), per_case=True)


def levels(patients, coverage=0.95):
    """The shares below and above an interval, for as many patients as there are."""
    t = student.ppf((1 + coverage) / 2, patients - 1) * math.sqrt(patients / (patients - 1))
    return [norm.cdf(-t), norm.cdf(t)]


def slow_resamples(bins, owners, statistic, resamples, seed):
    """A statistic of each draw of patients, whose cases are put together one by one."""
    names = sorted(set(owners))
    results = []
    for times in draws(len(names), resamples, seed):
        chosen = [
            case
            for name, often in zip(names, times, strict=True)
            for case in [k for k, owner in enumerate(owners) if owner == name] * int(often)
        ]
        results.append(statistic([part[chosen].sum(0) for part in bins.tensors()]))
    return results


def of_classes(sums):
    """The errors of each class of summed counts, positives and confidences, (K, M)."""
    return [slow_errors(*row) for row in zip(*(part.tolist() for part in sums), strict=True)]


def slow_error(sums):
    """The mean over classes of the ECE."""
    return np.mean([ece for ece, *_ in of_classes(sums)])


def slow_gap(sums):
    """The mean over classes of the gap."""
    return np.mean([gap for *_, gap in of_classes(sums)])


def shares(sums):
    """The excess of each bin over all voxels, class by class."""
    counts, positives, confidences = (part.double().numpy() for part in sums)
    return [(c - h) / n.sum() for n, h, c in zip(counts, positives, confidences, strict=True)]


@pytest.mark.parametrize("classes", [slice(0, 1), slice(1, None), slice(2, None)])
@pytest.mark.parametrize("owners", [list("abcdef"), list("aabbca")])
def test_error_is_that_of_a_slow_loop(classes, owners):
    """Raw, without its bias, and its interval: ECE, CECE, and CECE without background."""
    bins = random_bins()[:, classes]
    options = {"resamples": 50, "seed": 3}

    found = pooled_error(bins, owners, **options)

    raw = slow_error([part.sum(0) for part in bins.tensors()])
    resampled = slow_resamples(bins, owners, slow_error, *options.values())
    low, high = np.quantile(resampled, levels(len(set(owners))))
    assert found.raw == pytest.approx(raw)
    assert found.value == pytest.approx(max(0, 2 * raw - np.mean(resampled)))
    assert found.high == pytest.approx(max(0, 2 * raw - low))
    assert (found.patients, found.empty) == (len(set(owners)), 0)

    def noise(sums):
        return np.mean(
            [np.abs(each - mean).sum() for each, mean in zip(shares(sums), center, strict=True)]
        )

    center = shares([part.sum(0) for part in bins.tensors()])
    alone = np.quantile(
        slow_resamples(bins, owners, noise, *options.values()), levels(len(set(owners)))[1]
    )
    gap = pooled_gap(bins, owners, **options)
    lowest = max(0, gap.low, -gap.high, 2 * raw - high if raw > alone else 0)
    assert found.low == pytest.approx(min(lowest, found.value))


@pytest.mark.parametrize("owners", [list("abcdef"), list("aabbca")])
def test_gap_is_that_of_a_slow_loop(owners):
    """It has no bias, so that its interval is that of the draws."""
    bins = random_bins()[:, :1]

    found = pooled_gap(bins, owners, resamples=50, seed=3)

    resampled = slow_resamples(bins, owners, slow_gap, 50, 3)
    low, high = np.quantile(resampled, levels(len(set(owners))))
    assert found.value == found.raw == pytest.approx(slow_gap([p.sum(0) for p in bins.tensors()]))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def check_turned(found, raw, resampled):
    """What drawing four patients adds is taken away, and the interval turned around."""
    low, high = np.quantile(resampled, levels(4))
    assert found.raw == pytest.approx(raw)
    assert found.value == pytest.approx(2 * raw - np.mean(resampled))
    assert (found.low, found.high) == (pytest.approx(2 * raw - high), pytest.approx(2 * raw - low))


def test_difference_draws_the_same_patients_for_both():
    """Its interval is that of the differences, not the difference of intervals."""
    bins, rival = random_bins(0)[:, :1], random_bins(1)[:, :1]
    owners = list("aabbcd")

    found = pooled_difference(bins, rival, owners, resamples=50, seed=3)

    resampled = np.subtract(
        *(slow_resamples(sums, owners, slow_error, 50, 3) for sums in (bins, rival))
    )
    raw = np.subtract(*(slow_error([p.sum(0) for p in sums.tensors()]) for sums in (bins, rival)))
    check_turned(found, raw, resampled)


def test_offset_is_how_far_a_ratio_is_from_its_target():
    """Patient by patient in a loop, each drawn for both methods; what drawing adds is taken away."""
    rng = np.random.default_rng(5)
    missed, rival = rng.uniform(0, 4, (6, 2)), rng.uniform(0, 20, (6, 2))  # below 5 %, and above
    labeled, owners = rng.uniform(50, 100, (6, 2)), np.array(list("aabbcd"))

    found = pooled_offsets(
        (missed, labeled), (rival, labeled), 0.05, list(owners), resamples=60, seed=3
    )

    def offset(above, rows):
        return abs(np.mean([above[rows, k].sum() / labeled[rows, k].sum() for k in (0, 1)]) - 0.05)

    resampled = []
    for times in draws(4, 60, 3):
        rows = [
            r
            for who, n in zip("abcd", times, strict=True)
            for r in np.tile(np.flatnonzero(owners == who), int(n))
        ]
        resampled.append(offset(missed, rows) - offset(rival, rows))
    raw = offset(missed, range(6)) - offset(rival, range(6))
    check_turned(found, raw, resampled)


def test_same_method_differs_by_nothing():
    """Nor does it vary."""
    bins = random_bins()[:, 0]

    found = pooled_difference(bins, bins)

    assert found.value == found.low == found.high == 0


@given(st.permutations(range(6)), st.sampled_from([None, list("aabbca")]))
@settings(max_examples=10, deadline=None)
def test_order_of_the_cases_does_not_matter(order, owners):
    """Nor does where a patient's cases are; without patients each case is one, in its place."""
    bins = random_bins()[:, 0]
    owners = owners or [f"case{k}" for k in range(6)]

    found = pooled_error(bins, owners, resamples=30)
    another = pooled_error(bins[list(order)], [owners[k] for k in order], resamples=30)

    np.testing.assert_allclose(list(vars(found).values()), list(vars(another).values()), rtol=1e-9)


def test_case_twice_is_one_patient_and_no_evidence():
    """Copies of the cases of each patient narrow nothing."""
    bins, owners = random_bins()[:, 0], list("abcdef")
    twice = CalibrationBins.joined([bins, bins])

    once, both = pooled_error(bins, owners), pooled_error(twice, owners * 2)

    assert (both.low, both.high) == (pytest.approx(once.low), pytest.approx(once.high))


def test_same_seed_draws_the_same():
    """And another seed others."""
    bins = random_bins()[:, 0]

    assert pooled_error(bins, seed=1) == pooled_error(bins, seed=1)
    assert pooled_error(bins, seed=1) != pooled_error(bins, seed=2)


def test_empty_cases_are_left_out_and_counted():
    """They change no number; where all are empty there is none."""
    bins = random_bins()[:, 0]
    empty = CalibrationBins(*(torch.zeros_like(part[:2]) for part in bins.tensors()))
    owners = list("abcdef")

    found = pooled_error(CalibrationBins.joined([bins, empty]), [*owners, "a", "g"])
    nothing = pooled_error(empty)

    assert found == Pooled(**{**vars(pooled_error(bins, owners)), "empty": 2})
    assert all(map(math.isnan, (nothing.value, nothing.raw, nothing.low, nothing.high)))
    assert (nothing.patients, nothing.empty) == (0, 2)
    assert direction(pooled_gap(empty)) == "cannot tell"


def test_one_patient_has_no_interval():
    """However many cases are theirs."""
    found = pooled_error(random_bins()[:, 0], ["a"] * 6)

    assert found.value == found.raw > 0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert direction(pooled_gap(random_bins()[:, 0], ["a"] * 6)) == "cannot tell"


def test_structure_without_a_voxel_stays_out_of_the_mean():
    """As in the mean over structures of one case; the others keep their own numbers of voxels."""
    first = bins_of([[4], [4]], [[2], [2]], [[3.0], [3.0]])
    second = bins_of([[8], [0]], [[6], [0]], [[7.0], [0.0]])
    nowhere = bins_of([[0], [0]], [[0], [0]], [[0.0], [0.0]])
    tensors = zip(*(part.tensors() for part in (first, second, nowhere)), strict=True)
    stacked = CalibrationBins(*(torch.stack(parts, 1) for parts in tensors))

    assert pooled_error(stacked).raw == pytest.approx((0.25 + 0.125) / 2)


@pytest.mark.parametrize(
    ("hits", "expected"), [(0.5, "overconfident"), (0.9, "underconfident"), (0.8, "cannot tell")]
)
def test_sign_is_said_where_chance_alone_does_not_make_it(hits, expected):
    """Of a model that says 80 %, and is right as often as that or not."""
    rng = np.random.default_rng(0)
    positives = rng.binomial(100, hits, (40, 1))
    gap = pooled_gap(bins_of(np.full((40, 1), 100), positives, np.full((40, 1), 80.0)))

    assert direction(gap) == expected


def test_ratio_is_that_of_the_sums():
    """A case of which both are 0 is left out; one without a denominator counts above."""
    found = pooled_ratio([1.0, 0.0, 2.0, 1.0], [10.0, 0.0, 20.0, 0.0], list("abcd"))

    assert found.value == pytest.approx(4 / 30)
    assert (found.patients, found.empty) == (3, 1)
    assert math.isnan(pooled_ratio([1.0, 1.0], [0.0, 0.0]).value)


@pytest.mark.parametrize("patients", [5, 20])
def test_interval_of_a_gap_covers_as_often_as_it_says(patients):
    """With few patients, too: 95 %, within what 400 experiments allow."""
    rng = np.random.default_rng(1)
    values = rng.normal(0.1, 1.0, (400, patients))

    covered = 0
    for excess in values:
        found = pooled_ratio(excess, np.ones(patients), resamples=1000)
        covered += found.low <= 0.1 <= found.high

    assert covered / 400 == pytest.approx(0.95, abs=0.03)  # chance, of 400 draws


def test_interval_of_an_error_covers_it():
    """Of a model that is wrong by 0.05 in every bin, up and down, by 20 patients."""
    rng = np.random.default_rng(3)
    confidences = np.linspace(0.55, 0.9, 4)
    truth = confidences + np.array([0.05, -0.05, 0.05, -0.05])
    covered = 0
    for _ in range(200):
        right = np.clip(truth + 0.05 * rng.standard_normal((20, 1)), 0, 1)
        positives = rng.binomial(200, right)
        bins = bins_of(np.full((20, 4), 200), positives, np.tile(200 * confidences, (20, 1)))
        found = pooled_error(bins, resamples=500)
        covered += found.low <= 0.05 <= found.high

    assert covered / 200 >= 0.9


def test_text_has_the_interval_where_there_is_one():
    """And a dash where there is no number."""
    assert Pooled(0.0344, 0.04, 0.0267, 0.0412, 20, 0).text() == "0.0344 [0.0267, 0.0412]"
    assert Pooled(0.0344, 0.04, math.nan, math.nan, 1, 0).text(2) == "0.03"
    assert Pooled(*[math.nan] * 4, 0, 3).text() == "–"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: pooled_error(b, ["a"]), "patients: are 1 names for 6 cases; give one for each"),
        (lambda b: pooled_ratio([1.0] * len(b.counts), [1.0] * 6, ["a"]), "patients: are 1 names"),
        (lambda b: pooled_difference(b, b[:3]), "bins: have the shapes .*; give those of two"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    """In one line."""
    with pytest.raises(InputError, match=message):
        call(random_bins()[:, 0])
