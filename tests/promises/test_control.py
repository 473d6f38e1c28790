"""What is promised is kept: by simulation, by hand, and as MAPIE computes it."""

import itertools
import math
import warnings
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.stats import binom, binomtest, norm

from nacl_monai.errors import SettingError
from nacl_monai.inference.promised import Levels, structure_levels
from nacl_monai.inference.records import FAMILIES, MARGINS
from nacl_monai.metrics.curves import THRESHOLDS, Curves, label_curve
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import (
    Control,
    along_path,
    by_patient,
    contours_along,
    grown,
    hoeffding_bentkus,
    path_of,
)
from nacl_monai.promises.rules import Rules
from tests.same import same_values

GRID = [(n, level) for n in (19, 40, 100) for level in (0.05, 0.1, 0.2)]


def drawn(rng, draws, patients, kind):
    """Losses that grow along 60 rules, (draws, patients, rules), and the true risk of each rule."""
    rules = np.linspace(0, 1, 60)
    if kind == "steps":  # a set that misses nothing, or all of it: the most a loss can vary
        onset = rng.random((draws, patients))
        return (onset[..., None] < rules).astype(float), rules
    if kind == "ties":  # of four values, as of few voxels, with patients who have no structure
        steepness = rng.choice([0, 0.25, 0.5, 1.0], (draws, patients))
        return steepness[..., None] * rules, 0.4375 * rules
    power = rng.choice([1, 3], (draws, patients))  # smooth, and two kinds of patients
    return rules ** power[..., None], (rules + rules**3) / 2


@pytest.mark.slow  # a thousand draws of each
@pytest.mark.parametrize("kind", ["steps", "ties", "smooth"])
@pytest.mark.parametrize(("patients", "level"), GRID)
def test_mean_risk_of_a_new_patient_is_below_the_level(patients, level, kind):
    """One-sided t-test over 1,000 draws at 1 % for the whole family of tests."""
    rng = np.random.default_rng([patients, int(100 * level)])
    losses, risk = drawn(rng, 1000, patients, kind)

    risks = np.array([risk[Control(level).boldest(loss)] for loss in losses])

    error = risks.std(ddof=1) / math.sqrt(len(risks))
    assert risks.mean() <= level + norm.isf(0.01 / (3 * len(GRID))) * error


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["steps", "ties", "smooth"])
@pytest.mark.parametrize(("patients", "level"), [(45, 0.05), (100, 0.05), (40, 0.1), (19, 0.2)])
def test_most_calibrations_keep_the_level(patients, level, kind):
    """At most a share δ of 1,000 draws has a risk above it."""
    rng = np.random.default_rng([patients, int(100 * level)])
    losses, risk = drawn(rng, 1000, patients, kind)
    control = Control(level, "most", 0.9)

    fails = sum(risk[control.boldest(loss)] > level for loss in losses)

    assert binomtest(int(fails), 1000, 0.1, alternative="greater").pvalue > 0.01 / 12


def simulated(rng, patients):
    """Discs whose border is drawn somewhere near the true one; some are empty, some have a missed part.

    One in twenty has no structure, though some is predicted; one in ten a second part of which no voxel
    is more probable than the background.
    """
    place = np.stack(np.meshgrid(*[np.arange(24)] * 2, indexing="ij"), -1) - 11.5
    probs, labels = [], []
    for _ in range(patients):
        size = rng.uniform(4, 8) if rng.random() > 0.1 else 0
        away = size - np.linalg.norm(place, axis=-1)
        inside = norm.cdf((away + rng.normal(0, 1)) / rng.choice([0.5, 2])).astype(np.float32)
        probs.append(np.stack([1 - inside, inside]))
        label = (away + rng.normal(0, 1) > 0).astype(int)
        label[:3, : rng.integers(1, 24)] |= rng.random() < 0.1
        labels.append(label * (rng.random() > 0.05))
    return curves_of_arrays(probs, labels, spacing=(1.0, 1.0))


@pytest.fixture(scope="module")
def people():
    return simulated(np.random.default_rng(1), 400)


@pytest.mark.slow
@pytest.mark.parametrize("control", ["each", "mean"])
@pytest.mark.parametrize("kind", ["outer", "inner", "volume", "dice"])
@pytest.mark.parametrize(("patients", "level"), [(19, 0.1), (40, 0.05), (40, 0.2)])
def test_promises_of_images_are_kept_by_others(people, patients, level, kind, control):
    """Of 400 people, as many are drawn at a time; contours by "each" are told by what is missed.

    Outer contours are of those who have the structure.
    """
    rng, control = np.random.default_rng(1), Control(level, control, miss=0.15)
    rules = Rules(people, 0, kind, "within")
    risks = []
    for _ in range(100):
        order = rng.permutation(len(rules.patients))
        losses = rules.losses[order[patients:], rules.fitted(control, order[:patients])]
        if control.kind == "each":
            losses = losses > (0.15 if kind in ("outer", "inner") else 0)
        risks.append(losses.mean())

    error = np.std(risks, ddof=1) / math.sqrt(len(risks))
    assert np.mean(risks) <= level + norm.isf(0.01 / 24) * error


@pytest.mark.parametrize("level", [0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_patients_that_it_takes(level):
    """With the least number the most cautious rule holds, with one less not even that.

    From the useful number on, one patient may fail, or half a structure may be missed in all.
    """
    for kind, lost in (("each", 1), ("mean", 0.5), ("most", 0.5)):
        control = Control(level, kind)
        losses = np.zeros((control.useful, 1))
        losses[0] = lost

        assert control.boldest(np.zeros((control.needed, 1))) == 0
        assert control.boldest(np.zeros((control.needed - 1, 1))) is None
        assert control.boldest(losses) == 0
        assert control.boldest(losses[:-1]) is None
    each, mean = Control(level), Control(level, "mean")
    assert each.needed == mean.needed == math.ceil(round(1 / level - 1, 9))
    assert (each.useful, mean.useful) == tuple(math.ceil(round(k / level - 1, 9)) for k in (2, 1.5))


@given(st.sampled_from(["each", "mean", "most"]), st.floats(0.02, 0.98), st.floats(0.05, 0.99))
def test_useful_number_is_the_first_at_which_one_may_fail(kind, level, confidence):
    """By counting upwards; it needs no more time for a small level, and a senseless one is refused."""
    control = Control(level, kind, confidence)
    lost = 1 if kind == "each" else 0.5
    numbers = itertools.count(control.needed)
    first = next(n for n in numbers if control.holds(np.full((n, 1), lost / n)).all())

    assert control.useful == first
    assert Control(1e-9, kind).check().useful > 1e9
    with pytest.raises(SettingError, match="--level: is 1e-300, which takes more patients than"):
        Control(1e-300, kind).check()


@pytest.mark.parametrize(
    ("control", "line"),
    [
        (Control(0), "--level: is 0"),
        (Control(1.0), "--level: is 1"),
        (Control(0.1, "all"), "--control: is 'all'"),
        (Control(0.1, "most", 1.2), "--confidence: is 1.2"),
        (Control(0.1, miss=0), "--miss: is 0"),
    ],
)
def test_control_that_cannot_be_meant_is_refused(control, line):
    with pytest.raises(SettingError, match=line):
        control.check()


@given(st.lists(st.floats(0, 1), min_size=9, max_size=60), st.sampled_from([0.1, 0.2, 0.3]))
def test_interval_is_that_of_split_conformal_prediction(scores, level):
    """The ⌈(n + 1)(1 − α)⌉-th smallest score, with ties."""
    steps = np.unique(scores)[::-1]
    losses = (np.array(scores)[:, None] > steps).astype(float)

    rule = Control(level).boldest(losses)

    place = math.ceil(round((len(scores) + 1) * (1 - level), 9))
    assert steps[rule] == sorted(scores)[place - 1]


def test_p_value_is_the_formula():
    """Hoeffding's and Bentkus' bound, at risks below and above the level; of whole numbers, by hand."""
    for n, level, risk in ((20, 0.1, 0.05), (50, 0.2, 0.1), (50, 0.2, 0.3), (30, 0.05, 0.0)):
        a = min(risk, level)
        h = (a * math.log(a / level) if a else 0) + (1 - a) * math.log((1 - a) / (1 - level))
        bentkus = math.e * binom.cdf(math.ceil(round(n * risk, 9)), n, level)

        expected = min(1, math.exp(-n * h), bentkus)
        assert hoeffding_bentkus(risk, n, level) == pytest.approx(expected, rel=1e-12)


def test_a_rule_behind_a_bad_one_is_not_taken():
    """Also where the loss falls again: what is more cautious has to hold, too."""
    losses = np.tile([0, 0, 1, 0, 0.0], (30, 1))

    assert Control(0.1).boldest(losses) == 1
    assert grown(losses)[0].tolist() == [0, 0, 1, 1, 1]


def test_a_share_that_falls_again_counts_as_it_was():
    """Half of the patients lose by the second rule, the others by the third: it is that of both."""
    losses = np.array([[0, 0.3, 0], [0, 0, 0.3]] * 15)

    assert Control(0.2).holds(losses).all()
    assert Control(0.2).boldest(losses) == 1


def test_loss_of_a_patient_is_the_mean_of_their_cases():
    """Whatever the order of cases."""
    values = np.array([[1.0, 0], [0, 0], [0, 1], [0.5, 1]])

    assert by_patient(values, ["b", "a", "b", "c"]).tolist() == [[0, 0], [0.5, 0.5], [0.5, 1]]


@pytest.mark.parametrize("margin", MARGINS[:-1])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_path_orders_sets_from_none_to_all(family, margin):
    """Each is within the next and not the same: thresholds fall, and none is lower farther away."""
    path = THRESHOLDS[path_of(family, margin)]

    steps = np.diff(path, axis=0)
    assert (steps <= 0).all()
    assert (steps.min(1) < 0).all()
    assert (np.diff(path, axis=1) >= 0).all()
    assert path[[0, -1]].tolist() == [[2] * len(MARGINS), [0] * len(MARGINS)]


@pytest.mark.parametrize(("family", "margin"), [("ball", 3), ("within", 4)])
def test_family_that_there_is_not_is_refused(family, margin):
    with pytest.raises(SettingError, match=r"--family: is 'ball'|--margin: is 4; choose from 0, 1"):
        path_of(family, margin)


@pytest.mark.parametrize("family", ["within", "threshold", "margin"])
def test_sets_of_a_path_are_counted_as_they_are_drawn(family):
    """By masks, as the page of families says them."""
    rng = np.random.default_rng(3)
    levels = Levels(rng.beta(0.3, 0.6, (6, 7, 8)), rng.integers(0, 7, (6, 7, 8)).astype(np.int8))
    label = rng.random((6, 7, 8)) < 0.4
    curve = label_curve(levels, label)
    path = path_of(family)
    counts, hits = (along_path(path, curve[name]) for name in ("counts", "hits"))

    drawn = list(drawn_sets(family, levels))

    assert len(drawn) == len(path)
    for thresholds, inside, count, hit in zip(THRESHOLDS[path], drawn, counts, hits, strict=True):
        same_values(levels.above(thresholds), inside)
        assert (count, hit) == (inside.sum(), (inside & label).sum())


def drawn_sets(family, levels):
    """A threshold falls; by "margin" there is none; by "within" it falls near the prediction first.

    Farther away it is log-odds / 6, and then falls in one margin after the other.
    """
    first = {"threshold": 6, "margin": 0, "within": 3}[family]
    near = levels.margins <= first
    lowered = THRESHOLDS[[-1, 0]] if family == "margin" else THRESHOLDS[::-1]
    least, surer = 2, np.zeros_like(near)
    for threshold in lowered:
        if family == "within":
            odds = (1 / np.clip(threshold, THRESHOLDS[1], 0.5) - 1) ** (1 / 6)
            least = THRESHOLDS[max(threshold, 1 / (1 + odds)) - 1e-9 <= THRESHOLDS][0]
            surer = levels.probs >= least
        yield near & (levels.probs >= threshold) | surer
    lowered = [threshold for threshold in lowered if threshold < least]
    for wider, threshold in product(range(first + 1, len(MARGINS)), lowered):
        added = (levels.margins == wider) & (levels.probs >= threshold)
        yield (levels.margins < wider) | added | surer


def test_part_that_is_missed_as_a_whole_is_found_before_the_margin_grows():
    """A slice far from the prediction, of which the network is half sure, and a sure organ."""
    probs = np.full((8, 10, 10), 0.001)
    label = np.zeros_like(probs, bool)
    probs[2:4, 3:7, 3:7], probs[4, 3:7, 3:7] = 0.99, 0.4
    label[2:5, 3:7, 3:7] = True
    both = torch.from_numpy(np.stack([1 - probs, probs]))
    (levels,) = structure_levels(both, {"a": (1,)}, (10.0, 1.0, 1.0))
    curve = {name: part[None, None] for name, part in label_curve(levels, label).items()}
    curves = Curves(["a"], ["a"], **curve, spacings=np.array([[10.0, 1, 1]]), patients=["a"])

    for family, size in (("within", label.sum()), ("margin", label.size)):
        losses, volumes = contours_along(curves, 0, "outer", path_of(family))
        whole = int(np.flatnonzero(losses[0] == 0)[0])
        assert volumes[0, whole] == pytest.approx(size * 10 / 1000)


def at_thresholds(path, thresholds):
    """The first sets of a path that take voxels of these probabilities."""
    return [int(np.flatnonzero(THRESHOLDS[path[:, 0]] <= t)[0]) for t in thresholds]


def test_losses_by_hand():
    """Nothing is missed of an empty label, and nothing wrong in an empty contour."""
    inside = np.array([[0.9, 0.8, 0.3, 0.1]], np.float32)
    case = np.stack([1 - inside, inside])
    curves = curves_of_arrays([case, case], [np.array([[1, 0, 1, 0]]), np.zeros((1, 4), int)])
    path = path_of("threshold")
    at = at_thresholds(path, (2, 0.85, 0.5, 0.2, 0))

    outer = contours_along(curves, 0, "outer", path)[0][:, at]
    inner = contours_along(curves, 0, "inner", path)[0][:, at]

    assert outer == pytest.approx(np.array([[1, 0.5, 0.5, 0, 0], [0, 0, 0, 0, 0]]))
    assert inner == pytest.approx(np.array([[0, 0, 0.5, 1 / 3, 0.5], [0, 1, 1, 1, 1]]))


def test_few_voxels_are_no_inner_contour():
    """Eight voxels are predicted: the most probable, which is wrong, is too little by itself."""
    inside = np.array([[0.99, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.1]], np.float32)
    case = np.stack([1 - inside, inside])
    curves = curves_of_arrays([case], [np.array([[0, 1, 1, 1, 1, 1, 1, 1, 0]])], spacing=(10, 100))
    path = path_of("threshold")
    at = at_thresholds(path, (0.97, 0.85, 0.5))

    losses, volumes = contours_along(curves, 0, "inner", path)

    assert losses[0, at] == pytest.approx([0, 1 / 2, 1 / 8])
    assert volumes[0, at] == pytest.approx([0, 2, 8])


def needed_by_patients(family):
    """Curves of forty, and what each needs that at most 10 % are missed: the less, the more cautious.

    Of thresholds it is the negative of what the voxels found reach; of margins their distance.
    """
    rng = np.random.default_rng(6)
    place = np.stack(np.meshgrid(*[np.arange(20)] * 2, indexing="ij"), -1) - 9.5
    away = rng.uniform(4, 7, (40, 1, 1)) - np.linalg.norm(place, axis=-1)
    inside = norm.cdf(away + rng.normal(0, 0.3, away.shape)).astype(np.float32)
    labels = away + rng.normal(0, 2, (40, 1, 1)) > 0
    scores = []
    for probs, label in zip(inside, labels, strict=True):
        values = probs if family == "threshold" else -distance_transform_edt(probs <= 0.5)
        grid = THRESHOLDS if family == "threshold" else -np.array(MARGINS)[::-1]
        best = np.sort(values[label])[::-1]  # a share of 90 % of these must be inside
        found = best[math.ceil(round(0.9 * len(best), 9)) - 1] if len(best) else np.inf
        scores.append(-max(threshold for threshold in grid if threshold <= found))
    return curves_of_arrays(np.stack([1 - inside, inside], 1), labels.astype(int)), scores


@pytest.mark.parametrize("level", [0.03, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("family", ["threshold", "margin"])
def test_each_is_the_conformal_quantile_of_what_patients_need(level, family):
    """As ConSeMa takes it, of scores of single patients: the least set that misses 10 %."""
    curves, scores = needed_by_patients(family)
    expected = sorted(scores)[math.ceil(round(41 * (1 - level), 9)) - 1]

    kept = Rules(curves, 0, "outer", family).kept(Control(level, miss=0.1))

    if family == "margin":
        assert [value == 0 for value in kept.values] == [margin <= expected for margin in MARGINS]
    else:
        assert {*kept.values} == {-expected}


@pytest.mark.parametrize("level", [0.03, 0.05, 0.1, 0.2])
def test_threshold_of_each_is_the_quantile_of_mapie(level):
    """Its class takes the quantile of absolute residuals, here of how far below 1 one must be."""
    regression = pytest.importorskip("mapie.regression")
    from sklearn.dummy import DummyRegressor

    curves, scores = needed_by_patients("threshold")
    rows, below = np.zeros((40, 1)), 1 + np.array(scores)
    zero = DummyRegressor(strategy="constant", constant=0.0).fit(rows, below)
    theirs = regression.SplitConformalRegressor(zero, confidence_level=1 - level)
    theirs.conformalize(rows, below)
    _, ends = theirs.predict_interval(rows[:1])

    kept = Rules(curves, 0, "outer", "threshold").kept(Control(level, miss=0.1))

    assert kept.values[0] == pytest.approx(1 - ends.max(), abs=1e-12)


@pytest.mark.parametrize("level", [0.03, 0.05, 0.1, 0.2])
def test_threshold_is_that_of_mapie(level):
    """On arrays of one size, where it has one threshold for all of them."""
    control = pytest.importorskip("mapie.risk_control")
    rng = np.random.default_rng(5)
    inside = rng.beta(0.3, 0.3, (40, 16, 16)).astype(np.float32)
    labels = (rng.random(inside.shape) < inside).astype(int)
    curves = curves_of_arrays(np.stack([1 - inside, inside], 1), labels)
    path = path_of("threshold")
    losses = contours_along(curves, 0, "outer", path)[0][:, ::-1]
    rule = Control(level).boldest(losses)

    how = {"risk": "recall", "method": "crc", "target_level": 1 - level}
    how["predict_params"] = THRESHOLDS[:-1]
    theirs = control.SemanticSegmentationController(lambda _: inside[:, None], **how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.calibrate(np.zeros(len(labels)), labels.reshape(len(labels), -1, 1))

    assert THRESHOLDS[path[::-1, 0]][rule] == theirs.best_predict_param.item()


@pytest.mark.parametrize("patients", [9, 15, 19, 30, 60])
@pytest.mark.parametrize("level", [0.1, 0.2])
def test_law_of_a_calibration_is_that_of_an_order_statistic(patients, level):
    """By counting: the k-th smallest of n uniform numbers is below u where k or more of them are."""
    control = Control(level)
    kept = math.ceil(round((patients + 1) * (1 - level), 9))

    low, high = control.law(patients)

    assert control.may_fail(patients) == patients - kept
    for share, tail in ((low, 0.975), (high, 0.025)):
        assert binom.sf(kept - 1, patients, 1 - share) == pytest.approx(tail)
    assert Control(level, "mean").law(patients) is None


@pytest.mark.slow  # ten thousand calibrations of each
@pytest.mark.parametrize("patients", [9, 15, 19, 30, 60])
@pytest.mark.parametrize("grid", [None, 16])
def test_of_100_calibrations_95_fail_in_as_many_as_is_said(patients, grid):
    """Uniform needs, whose quantile is the share that fails; on a grid patients tie, and fewer fail."""
    rng, control = np.random.default_rng([patients, grid or 0]), Control(0.1)
    needs = rng.random((10_000, patients))
    needs = needs if grid is None else np.ceil(needs * grid) / grid
    shares = []
    for need in needs:
        steps = np.unique(need)[::-1]
        shares.append(1 - steps[control.boldest((need[:, None] > steps).astype(float))])
    low, high = control.law(patients)
    level, outside = (control.may_fail(patients) + 1) / (patients + 1), (shares > np.array(high))

    assert binomtest(int(outside.sum()), 10_000, 0.025, alternative="greater").pvalue > 0.001
    if grid is None:
        assert binomtest(int((shares < np.array(low)).sum()), 10_000, 0.025).pvalue > 0.001
        # Four standard errors.
        assert np.mean(shares) == pytest.approx(level, abs=4 * np.std(shares) / 100)
    assert np.mean(shares) <= level + 4 * np.std(shares) / 100


LOSSES = st.lists(st.lists(st.floats(0, 1), min_size=8, max_size=8), min_size=23, max_size=60)


@given(LOSSES, st.sampled_from(["each", "mean", "most"]))
def test_patients_left_out_in_turn_lose_no_more_than_the_level_whatever_they_lose(rows, kind):
    """So that their mean, by the promises of all others, is no check."""
    losses, control = grown(np.array(rows)), Control(0.1, kind)
    losses[:, 0] = 0
    losses = (losses > control.miss).astype(float) if kind == "each" else losses

    fitted = [control.boldest(np.delete(losses, row, 0)) for row in range(len(losses))]

    assert losses[np.arange(len(losses)), fitted].mean() <= control.level + 1e-9
