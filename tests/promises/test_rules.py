"""What calibration patients allow: again by slow loops, and as MAPIE's intervals are."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from nacl_monai.evaluations.statistics import studentized_interval
from nacl_monai.metrics.curves import THRESHOLDS
from nacl_monai.metrics.pooled import draws
from nacl_monai.promises import fit
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control
from nacl_monai.promises.rules import Rules, compared, uncontrolled

SPACING = (2.0, 0.5)
LEVEL, MISS = 0.2, 0.05
MEAN, EACH = Control(LEVEL, "mean"), Control(LEVEL, "each", miss=MISS)
#: Two scans of each of the first three patients.
PATIENTS = [f"p{max(k // 2, k - 3):02d}" for k in range(14)]


@pytest.fixture(scope="module")
def images():
    """The probability of a disc and a label with its border nearby; of one patient neither is there."""
    rng = np.random.default_rng(2)
    place = np.stack(np.meshgrid(*[np.arange(16)] * 2, indexing="ij"), -1) - 7.5
    sizes = rng.uniform(3, 6, len(PATIENTS)) * [*[1] * (len(PATIENTS) - 1), -1]
    away = sizes[:, None, None] - np.linalg.norm(place, axis=-1)
    labels = away + rng.normal(0, 1, (len(PATIENTS), 1, 1)) > 0
    return norm.cdf(away).astype(np.float32), labels.astype(int)


@pytest.fixture(scope="module")
def curves(images):
    inside, labels = images
    probs = np.stack([1 - inside, inside], 1)
    return curves_of_arrays(probs, labels, spacing=SPACING, patients=PATIENTS)


def means(values):
    """The mean over the cases of each patient, in the order of their names."""
    names = sorted({*PATIENTS})
    return [np.mean([v for v, p in zip(values, PATIENTS, strict=True) if p == n]) for n in names]


def by_worst(values, most=MISS):
    """Whether the worst case of each patient misses too much."""
    names = sorted({*PATIENTS})
    worst = [max(v for v, p in zip(values, PATIENTS, strict=True) if p == n) for n in names]
    return np.array(worst) > most


def allowed(losses):
    """Whether the losses of these patients control the risk of the next one."""
    return sum(losses) + 1 <= LEVEL * (len(losses) + 1) + 1e-9


@pytest.mark.parametrize(("control", "counts"), [(MEAN, means), (EACH, by_worst)])
@pytest.mark.parametrize("kind", ["outer", "inner"])
def test_contour_is_that_of_a_slow_loop_over_thresholds(images, curves, kind, control, counts):
    """From all voxels up, or from none down, to the last set that the losses of patients allow."""
    largest = np.zeros(len({*PATIENTS}))
    for threshold in THRESHOLDS if kind == "outer" else THRESHOLDS[::-1]:
        losses, sizes = [], []
        for p, label in zip(*images, strict=True):
            contour = p >= threshold
            if kind == "inner" and contour.sum() < 0.25 * (p > 0.5).sum():
                contour[:] = False
            whole = label.sum() if kind == "outer" else contour.sum()
            hit = (contour & (label > 0)).sum()
            losses.append(1 - hit / whole if whole else 0)
            sizes.append(contour.sum())
        largest = np.maximum(largest, counts(losses))
        having = largest[:-1] if kind == "outer" else largest  # of the last there is nothing
        if not allowed(having):
            break
        of_patient = np.array(means(sizes))[:-1] / np.array(means(images[1].sum((1, 2))))[:-1]
        expected = threshold, of_patient.mean()

    kept = Rules(curves, 0, kind, "threshold").kept(control)

    assert kept.values[-1] == expected[0]
    assert kept.size == pytest.approx(expected[1])


@pytest.mark.parametrize("miss", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("kind", ["outer", "inner", "volume", "dice"])
def test_a_patient_counts_with_the_worst_case(curves, kind, miss):
    """Whether it misses too much, or a number fails, by every rule."""
    singles = Rules(replace(curves, patients=curves.cases), 0, kind, "threshold").losses
    most = miss if kind in ("outer", "inner") else 0

    risks = Rules(curves, 0, kind, "threshold").risks(EACH._replace(miss=miss))

    for of_rule, losses in zip(risks.T, singles.T, strict=True):
        # Of an outer contour the last does not count.
        lost = by_worst([*losses, 0] if kind == "outer" else losses, most)
        assert of_rule.tolist() == (lost[:-1] if kind == "outer" else lost).tolist()


def test_interval_of_a_volume_is_mapie_s(curves):
    """Of log volumes, where it takes the absolute residuals of one case per patient."""
    regression = pytest.importorskip("mapie.regression")
    from sklearn.base import BaseEstimator, RegressorMixin

    class Known(RegressorMixin, BaseEstimator):
        def fit(self, *_):
            self.fitted_ = True
            return self

        def predict(self, rows):
            return rows[:, 0]

    singles = [case for case, patient in enumerate(PATIENTS) if PATIENTS.count(patient) == 1]
    for patient in ("p00", "p01", "p02"):
        curves = curves.without(patient)
    assert len(curves.cases) == len(singles)
    voxel = math.prod(SPACING) / 1000
    expected = np.log(curves.expected_volumes[:, 0, -1] + voxel)
    true = np.log(curves.volumes[:, 0] + voxel)
    theirs = regression.SplitConformalRegressor(Known().fit(), confidence_level=1 - LEVEL)
    theirs.conformalize(expected[:, None], true)
    _, ends = theirs.predict_interval(np.zeros((1, 1)))

    kept = Rules(curves, 0, "volume", "threshold").kept(EACH)

    assert kept.values[0] == pytest.approx(ends[0, 1, 0], rel=1e-9)
    assert kept.size == pytest.approx(math.exp(ends[0, 1, 0]))


def test_bound_of_dice_is_that_of_a_slow_loop(images, curves):
    """The least q of which few enough are further below what is expected; a patient is a mean."""
    gaps, pairs = [], []
    for p, label in zip(images[0].astype(float), images[1], strict=True):
        predicted, size = p > 0.5, label.sum()
        both = (predicted & (label > 0)).sum()
        dice = 2 * both / (predicted.sum() + size) if predicted.sum() + size else 1
        expects = 2 * p[predicted].sum() / (predicted.sum() + p.sum()) if predicted.any() else 0
        gaps.append(expects - dice)
        pairs.append((dice, expects))
    bounds = [q for q in gaps if allowed(means([gap > q for gap in gaps]))]

    kept = Rules(curves, 0, "dice", "threshold").kept(MEAN)

    assert kept.values[0] == pytest.approx(min(bounds), abs=1e-6)
    below = [d - min(max(e - min(bounds), 0), 1) for d, e in pairs]
    assert kept.size == pytest.approx(np.mean(means(below)), abs=1e-6)


def test_size_is_the_mean_of_the_ratios_of_patients_with_its_interval(curves):
    """Of the promise as it was made: its thresholds stay, and patients are drawn."""
    rules = Rules(curves, 0, "outer", "within")
    kept = rules.kept(MEAN)
    rule = [*map(tuple, rules.values)].index(tuple(kept.values))
    ratios = rules.sizes[:, rule] / rules.whole

    ends = studentized_interval(ratios[:, None], draws(len(ratios), 2000))[:, 0]

    assert kept.size == pytest.approx(ratios.mean())
    assert (kept.size_low, kept.size_high) == pytest.approx(tuple(ends))


def test_what_is_not_controlled_is_measured_with_an_interval(curves):
    """By "each" a share of patients, with Wilson's interval, which is no point where nobody fails."""
    for control in (MEAN, EACH):
        row = next(r for r in compared(curves, [control]) if r["family"] == "no control")
        losses, _ = uncontrolled(curves, 0, control)
        ends = studentized_interval(losses[:, None], draws(len(losses), 2000))[:, 0].clip(0, 1)
        if control is EACH:
            ends = binomtest(int(losses.sum()), len(losses)).proportion_ci(method="wilson")

        assert row["risk"] == pytest.approx(losses.mean())
        assert (row["low"], row["high"]) == pytest.approx(tuple(ends))


def test_contour_that_margins_alone_allow_is_beside(curves):
    rows = {(r["kind"], r["family"]): r for r in compared(curves, [EACH])}

    for kind in ("outer", "inner", "volume", "dice"):
        kept = Rules(curves, 0, kind, "margin").kept(EACH)
        assert rows[kind, "margin"]["size"] == kept.size


def test_patients_without_a_prediction_are_counted_and_those_who_rightly_have_none():
    """The mean over the scans of each: one has one of two rightly, one has none rightly."""
    labels = np.zeros((5, 4, 4), int)
    labels[[0, 2, 4], 1, 1] = 1
    probs = np.full((5, 2, 4, 4), 0.4)
    probs[:, 0] = 0.6
    probs[4, :, 1, 1] = 0.1, 0.9
    curves = curves_of_arrays(probs, labels, patients=["a", "a", "b", "c", "d"])

    promised = fit(curves, [Control(0.5)], compare=False)

    assert promised.absent == {"class_1": [3, 1.5]}
