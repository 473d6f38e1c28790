"""The ruler: true probabilities have no error by what is led with, and have one by the paper's regions.

Images are simulated with borders whose true probabilities are known (`simulated_truth`). Nobody can do
better than these, so that a number for which zero is best must be zero for them, up to chance.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest
import torch

from nacl_monai.metrics import CalibrationMetric
from nacl_monai.metrics.decisions import decision_numbers, structure_decisions
from nacl_monai.metrics.pooled import (
    direction,
    pooled_difference,
    pooled_error,
    pooled_gap,
    pooled_ratio,
)
from nacl_monai.posthoc import METHODS, RegionLogits, fit_method
from tests.metrics.oracles import measured
from tests.metrics.simulated_truth import simulated
from tests.metrics.test_regions import PREDICTED

MANY, FEW, TOGETHER = 300, 20, 30
PAPER = ("foreground", "union", "boundary")


class Kind(NamedTuple):
    """What is simulated."""

    spread: int
    dims: int = 2
    structures: int = 1
    images: int = MANY

    @property
    def margin(self):
        """So far from a border that all but nothing of a structure is within."""
        return 4.0 * self.spread

    @property
    def classes(self):
        return {f"{k}": [k] for k in range(1, self.structures + 1)}


def kinds(*, images, quick):
    """The whole grid, of which some are quick, and the others are of minutes."""
    grid = [
        Kind(spread, dims, structures, images)
        for dims in (2, 3)
        for structures in (1, 3)
        for spread in (1, 2, 3)
    ]
    return [
        pytest.param(
            kind,
            id=f"{kind.dims}d-{kind.structures}-s{kind.spread}",
            marks=() if kind in quick else pytest.mark.nightly,
        )
        for kind in grid
    ]


many = pytest.mark.parametrize("kind", kinds(images=MANY, quick=[Kind(2)]))
few = pytest.mark.parametrize(
    "kind",
    kinds(
        images=FEW,
        quick=[Kind(2, *axes, FEW) for axes in ((2, 1), (2, 3), (3, 1))] + [Kind(3, 3, 3, FEW)],
    ),
)


@lru_cache(2)
def truth_of(kind):
    size = 48 if kind.dims == 2 else 28
    return simulated(
        *(kind.images, kind.spread), dims=kind.dims, structures=kind.structures, size=size
    )


@lru_cache(8)
def metric_of(kind, temperature=1.0, regions=("near",)):
    """The errors of a model that divides the true logits by a temperature."""
    truth = truth_of(kind)
    metric = CalibrationMetric(errors=["ece", "nll", "brier"], regions=regions)
    for start in range(0, kind.images, 50):
        images = slice(start, start + 50)
        metric((truth.logits[images] / temperature).softmax(1), truth.labels[images])
    return metric


def top1(metric, region):
    """The bins of the predicted class, ``(cases, M)``."""
    return metric.case_bins()[:, metric.region_names.index(region), 0]


def is_straight(metric, region):
    """Whether a region's numbers are those of true probabilities, with many images."""
    gap, error = pooled_gap(top1(metric, region)), pooled_error(top1(metric, region))
    return gap.low <= 0 <= gap.high and error.raw <= 0.005


@pytest.mark.parametrize("kind", kinds(images=MANY, quick=[Kind(1), Kind(2), Kind(3)]))
def test_truth_has_no_error_near_the_prediction(kind):
    """The interval of its gap holds zero, and its raw error is at most 0.005, whatever the borders."""
    metric = metric_of(kind, regions=(*PREDICTED, "all"))

    for region in metric.region_names:
        assert is_straight(metric, region), region
        assert pooled_error(top1(metric, region)).low == 0
    classes = metric.case_bins()[:, 0, 1:]
    assert pooled_error(classes).raw <= 0.005


@many
def test_truth_has_an_error_by_the_regions_of_the_paper(kind):
    """Where a label decides which voxels count, nobody's probabilities are calibrated."""
    metric = metric_of(kind, regions=PAPER)

    bent = [region for region in PAPER if not is_straight(metric, region)]

    # A band that is wide for the borders holds nearly all that is uncertain.
    wide = kind.spread == 1
    assert set(bent) >= {"foreground", "union"} if wide else set(bent) == set(PAPER)
    assert pooled_error(top1(metric, "union")).low > 0.02
    assert direction(pooled_gap(top1(metric, "union"))) == "overconfident"


@many
def test_mean_of_the_cases_errors_is_not_zero_for_the_truth(kind):
    """Not even near the prediction; proper scores of a case have no such bend."""
    metric = metric_of(kind, regions=(*PREDICTED, "all"))

    means = metric.case_errors()["ece"].nanmean(0)

    pooled = metric.pooled_errors()["ece"]
    assert (means[:3] > 0.01).all()
    assert (means > 3 * pooled).all()


@few
def test_few_images_tell_the_truth_from_a_factor_of_two(kind):
    """The interval of the error reaches zero for the truth alone; the sign is the right one.

    Of twelve kinds an interval of 95 % misses the truth of one by chance, as often as not.
    """
    true, hot, cold = (top1(metric_of(kind, t), "near") for t in (1.0, 0.5, 2.0))

    assert pooled_error(true, coverage=0.99).low == 0
    assert direction(pooled_gap(true, coverage=0.99)) == "cannot tell"
    assert direction(pooled_gap(hot)) == "overconfident"
    assert direction(pooled_gap(cold)) == "underconfident"
    for bins in (hot, cold):
        assert pooled_error(bins).low > 0.015
        assert pooled_difference(true, bins).high < 0


def test_interval_holds_zero_as_often_as_it_says():
    """In a hundred experiments of twenty images each."""
    gaps, errors = [], []
    for seed in range(20):
        truth = simulated(100, 2, seed=1000 + seed, size=32)
        metric = measured(truth.probs(), truth.labels, errors=["ece"], regions=["near"])
        for start in range(0, 100, 20):
            bins = metric.case_bins()[start : start + 20, 0, 0]
            gaps.append(pooled_gap(bins, resamples=500))
            errors.append(pooled_error(bins, resamples=500))

    # Chance, of 100 draws.
    assert np.mean([gap.low <= 0 <= gap.high for gap in gaps]) == pytest.approx(0.95, abs=0.05)
    assert np.mean([error.low == 0 for error in errors]) >= 0.9
    assert np.mean([e.value for e in errors]) < 0.75 * np.mean([e.raw for e in errors])


@many
def test_proper_scores_are_best_at_the_truth(kind):
    """Over all voxels and near the prediction, by patients in pairs; over the union they are not."""
    regions = ("near", "all", "union")
    scores = {t: metric_of(kind, t, regions).case_errors() for t in (0.5, 0.8, 1.0, 1.25, 1.5, 2.0)}

    for score in ("nll", "brier"):
        for t in (0.5, 0.8, 1.25, 2.0):
            lost = scores[t][score] - scores[1.0][score]
            for region in (0, 1):
                found = pooled_ratio(lost[:, region], torch.ones(kind.images))
                assert found.value > 0
                assert found.low > 0 or t in (0.8, 1.25)
    assert scores[1.5]["nll"][:, 2].mean() < scores[1.0]["nll"][:, 2].mean()


@many
def test_decisions_on_the_truth_are_as_expected(kind):
    """The contour misses 5 %, the volume has no bias, and the expected Dice is the true one."""
    truth = truth_of(kind)
    volumes, overconfident, underconfident = (
        structure_decisions(truth.probs(t), truth.labels, kind.classes, margin=kind.margin)
        for t in (1.0, 0.5, 2.0)
    )

    for k in range(kind.structures):
        found, hot, cold = (
            decision_numbers(drawn[:, k], resamples=500)
            for drawn in (volumes, overconfident, underconfident)
        )
        assert found.contour_misses.value == pytest.approx(0.05, abs=0.006)  # chance
        assert found.expected_volume_bias.value == pytest.approx(0, abs=0.012)  # chance
        assert found.expected_dice_bias.value == pytest.approx(0, abs=0.012)  # chance
        assert found.expected_dice_error.value < min(
            hot.expected_dice_error.value, cold.expected_dice_error.value
        )
        assert cold.contour_misses.high < 0.045 < 0.055 < hot.contour_misses.low
        assert cold.contour_size.value > found.contour_size.value > hot.contour_size.value
        assert cold.expected_dice_bias.high < 0 < hot.expected_dice_bias.low
        assert found.rank_correlation > 0.2
        assert found.unpredicted == found.unlabeled == 0


@pytest.mark.parametrize("spread", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_overlapping_structures_and_several_raters_have_no_error_either(spread):
    """Each structure near its own prediction; the share of raters who draw borders of their own."""
    truth = simulated(100, spread, structures=2, seed=5, size=32, raters=3)
    masks = truth.masks.long()
    probs = truth.sigmoid_logits.sigmoid()
    options = {"errors": ["ece"], "num_raters": 3}

    overlapping = measured(probs, masks, regions=["near"], structures=["A", "B"], **options)
    exclusive = measured(truth.probs(), truth.labels, regions=["near", "union"], **options)

    for bins in (overlapping.case_bins()[:, :, 0], top1(exclusive, "near")):
        gap = pooled_gap(bins)
        assert gap.low <= 0 <= gap.high
        assert pooled_error(bins).raw <= 0.008
    assert pooled_gap(top1(exclusive, "union")).low > 0.02
    volumes = structure_decisions(probs, masks, ["A", "B"], margin=4 * spread, num_raters=3)
    for k in range(2):
        assert decision_numbers(volumes[:, k]).contour_misses.value == pytest.approx(
            0.05,
            abs=0.006,  # chance
        )


def fitted(kind, method, region, temperature=1.0):
    """A fit to logits that are divided by a temperature; images side by side make one volume."""
    truth = truth_of(kind)
    with RegionLogits(region) as voxels:
        for start in range(0, kind.images, TOGETHER):
            images = slice(start, start + TOGETHER)
            logits = torch.cat([*truth.logits[images]], -1) / temperature
            labels = torch.cat([*truth.labels[images]], -1)[None]
            image = None
            if METHODS[method].sees_image:  # slices are along the last axis
                logits, labels = logits[..., None], labels[..., None]
                image = torch.zeros_like(logits[:1])
            voxels.add(logits, labels, f"patient{start}", image=image)
        return fit_method(method, voxels)


@many
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("region", ["near", "all"])
def test_temperature_is_found_where_the_label_has_no_say(kind, temperature, region):
    """True logits remain as they are, and no number gets worse; a factor of two is found."""
    found = fitted(kind, "temperature", region, temperature).parameters["temperature"]
    if temperature != 1:
        assert found * temperature == pytest.approx(1, rel=0.1)  # chance
        return
    assert found == pytest.approx(1, abs=0.03)  # chance
    regions = ("near", "all")
    before, after = metric_of(kind, 1.0, regions), metric_of(kind, found, regions)
    assert is_straight(after, "near")
    for score in ("nll", "brier"):
        lost = after.case_errors()[score] - before.case_errors()[score]
        assert pooled_ratio(lost[:, 1], torch.ones(kind.images)).low <= 0


@many
def test_fit_over_the_union_makes_true_probabilities_wrong(kind):
    """And says that they got better, by the numbers over that region; over all voxels they got worse."""
    fit = fitted(kind, "temperature", "union")

    assert fit.parameters["temperature"] > 1.3
    assert fit.nll < fit.nll_before
    after = metric_of(kind, fit.parameters["temperature"], ("near", "all"))
    assert pooled_error(top1(after, "near")).low > 0.02
    assert direction(pooled_gap(top1(after, "near"))) == "underconfident"
    before = metric_of(kind, 1.0, ("near", "all"))
    lost = after.case_errors()["nll"] - before.case_errors()["nll"]
    assert pooled_ratio(lost[:, 1], torch.ones(kind.images)).low > 0


@pytest.mark.slow
@pytest.mark.parametrize("region", ["near", "all"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(Kind(2), id="one"),
        pytest.param(Kind(2, 2, 3), id="three", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("method", ["class_temperatures", "vector"])
def test_fits_of_classes_return_the_truth(method, kind, region):
    """Probabilities of all voxels near the prediction remain within 0.02."""
    fit = fitted(kind, method, region)

    logits = truth_of(kind).logits
    change = (fit.module(logits).softmax(1) - logits.softmax(1)).abs().max()
    assert change < 0.03
    for temperature in (0.5, 2.0):
        module = fitted(kind, method, region, temperature).module
        change = (module(logits / temperature).softmax(1) - logits.softmax(1)).abs().max()
        assert change < 0.05


@pytest.mark.nightly
def test_local_temperatures_return_the_truth():
    """Half of the voxels in doubt have a temperature within 0.05 of 1, nearly all within 0.1.

    A network that is fitted to 300 images learns some of their noise.
    """
    kind = Kind(2)
    fit = fitted(kind, "local_temperatures", "near")

    truth = truth_of(kind)
    metric = CalibrationMetric(errors=["ece"], regions=["near"])
    temperatures = []
    for start in range(0, kind.images, 50):
        logits = truth.logits[start : start + 50]
        cooled = fit.module(logits, torch.zeros_like(logits[:, :1]))
        metric(cooled.softmax(1), truth.labels[start : start + 50])
        gaps = [(outputs[:, 1] - outputs[:, 0]).flatten() for outputs in (logits, cooled)]
        temperatures.append((gaps[0] / gaps[1])[gaps[0].abs() < 4])

    apart = (torch.cat(temperatures) - 1).abs()
    assert apart.quantile(0.5) < 0.05
    assert apart.quantile(0.95) < 0.1
    assert pooled_error(metric.case_bins()[:, 0, 0]).raw <= 0.005


def test_simulated_probabilities_are_true():
    """As many voxels of a depth belong to the structure as the probability says, in 2-D and 3-D."""
    for dims, size in ((2, 48), (3, 20)):
        truth = simulated(400, 2.0, dims=dims, size=size, seed=7)
        inside = truth.probs()[:, 1].flatten()
        labels = truth.labels.flatten().double()
        for low in np.arange(0.1, 0.9, 0.2):
            chosen = (inside > low) & (inside <= low + 0.2)
            assert labels[chosen].mean().item() == pytest.approx(
                inside[chosen].mean().item(),
                abs=0.03,  # chance
            )
        neighbors = truth.labels[:, : size // 2] != truth.labels[:, 1 : size // 2 + 1]
        assert neighbors.double().mean() < 0.1  # borders are smooth
        assert math.isclose(truth.probs().sum(1).min().item(), 1, rel_tol=1e-5)
