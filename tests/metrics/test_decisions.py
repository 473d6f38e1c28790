"""Contour, volume, expected Dice and triage: against slow loops over voxels, thresholds and cases."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from scipy.stats import energy_distance, spearmanr

from nacl_monai.errors import InputError, SettingError
from nacl_monai.metrics import CalibrationMetric, agreed_dice, expected_dice, volume_crps
from nacl_monai.metrics.decisions import (
    Decisions,
    contour_threshold,
    decision_numbers,
    rank_correlation,
    structure_decisions,
    worst_found,
)
from nacl_monai.metrics.pooled import Pooled
from tests.metrics.oracles import cases, random_case, slow_near

STRUCTURES = {"one": [1], "foreground": [1, 2]}


def slow_volumes(inside, predicted, labeled, counted, sizes, margin, miss):
    """The volumes of one structure of one case. Sums of exact fractions."""
    near = slow_near(predicted, margin, sizes) & counted
    seen, contour = predicted & counted, torch.zeros_like(near)

    def expected(voxels):
        return math.fsum(inside[voxels].tolist())

    if seen.any():
        thresholds = [
            t
            for t in set(inside[near].tolist())
            if expected(near & (inside < t)) <= miss * expected(near) * (1 + 1e-12)
        ]
        contour = near & (inside >= max(thresholds))
    volumes = [
        seen.sum().item(),
        (labeled & counted).sum().item(),
        (labeled & seen).sum().item(),
        expected(near) if seen.any() else 0.0,
        expected(seen),
        contour.sum().item(),
        (labeled & counted & ~contour).sum().item(),
        expected(counted),
    ]
    return [math.prod(sizes) * volume for volume in volumes]


def table(decisions):
    """``(cases, structures, volumes)``."""
    return torch.stack(decisions.tensors(), -1)


@given(
    cases(),
    st.sampled_from([0.0, 1.0, 1.5]),
    st.sampled_from([0.05, 0.0, 0.3]),
    st.sampled_from([None, (0.5, 1.0, 2.0)]),
)
@settings(max_examples=60, deadline=None)
def test_volumes_are_those_of_a_slow_loop(case, margin, miss, spacing):
    """2-D and 3-D, in voxels and mm³, with voxels that do not count, ties, and nothing predicted."""
    probs, labels, counted = case
    classes = {"one": [1], "all": [*range(1, probs.shape[1])]}
    sizes = None if spacing is None else spacing[: labels.ndim - 1]

    found = table(
        structure_decisions(
            probs, labels, classes, margin=margin, spacing=sizes, miss=miss, mask=counted
        )
    )

    for k, prediction in enumerate(probs.max(1).indices):
        for column, of_structure in enumerate(classes.values()):
            expected = slow_volumes(
                probs[k, of_structure].sum(0),
                torch.isin(prediction, torch.tensor(of_structure)),
                torch.isin(labels[k], torch.tensor(of_structure)),
                counted[k],
                sizes or (1.0,) * (labels.ndim - 1),
                margin,
                miss,
            )
            np.testing.assert_allclose(found[k, column], expected, rtol=1e-6, atol=1e-9)


@given(st.integers(0, 999), st.sampled_from([(5, 6), (3, 4, 5)]))
@settings(max_examples=20, deadline=None)
def test_overlapping_structures_are_problems_of_their_own(seed, shape):
    """Of a sigmoid or its logits; a voxel that is ignored in one mask counts for none."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 2, *shape, generator=generator)
    masks = torch.randint(0, 2, logits.shape, generator=generator)
    masks[0, 1, 0, 0] = 255

    inside, options = logits.sigmoid(), {"margin": 1.0, "ignore_index": 255}

    found = structure_decisions(inside, masks, ["WT", "TC"], **options)
    of_logits = structure_decisions(logits, masks, ["WT", "TC"], from_logits=True, **options)

    torch.testing.assert_close(table(found), table(of_logits))
    ignored = (masks == 255).any(1)
    for k in range(2):
        probs = torch.stack([1 - inside[:, k], inside[:, k]], 1)
        labels = masks[:, k].where(~ignored, 255)
        alone = structure_decisions(probs, labels, {"inside": [1]}, **options)
        torch.testing.assert_close(table(found)[:, [k]], table(alone))


@given(st.integers(0, 999), st.booleans())
@settings(max_examples=20, deadline=None)
def test_raters_have_the_mean_of_what_each_says(seed, overlapping):
    """All have one contour, since their labels have no say in it; a voxel that one ignores is out."""
    generator = torch.Generator().manual_seed(seed)
    probs, labels = random_case((2, 3, 4, 5), seed)
    raters = torch.stack([labels, labels.roll(1, -1), torch.zeros_like(labels)], 1)
    structures = {"one": [1]}
    if overlapping:
        probs, raters, structures = (
            probs[:, 1:],
            torch.stack([raters == 1, raters == 2], 2),
            ["a", "b"],
        )
        raters = raters.long()
    raters[torch.rand(raters.shape, generator=generator) < 0.1] = 255
    options = {"margin": 1.0, "ignore_index": 255}

    share = table(structure_decisions(probs, raters, structures, num_raters=3, **options))

    by_any = (raters == 255).any(1)
    each = [
        table(structure_decisions(probs, rater.where(~by_any, 255), structures, **options))
        for rater in raters.unbind(1)
    ]
    torch.testing.assert_close(share, sum(each) / 3)


def test_calibrated_network_keeps_its_promise():
    """Over labels that are drawn from the probabilities, the mean Dice is the expected one."""
    probs, _ = random_case((1, 3, 40, 50), scale=3.0)
    structures = {"1": [1], "1 or 2": [1, 2]}
    promised = expected_dice(probs, structures, margin=100)[0]
    voxels, predicted = probs[0].flatten(1).T, probs[0].argmax(0).flatten()
    generator = torch.Generator().manual_seed(1)
    drawn = torch.multinomial(voxels, 300, replacement=True, generator=generator).T
    for number, classes in enumerate(structures.values()):
        chosen, true = (torch.isin(x, torch.tensor(classes)) for x in (predicted, drawn))
        dice = 2 * (true & chosen).sum(1) / (true.sum(1) + chosen.sum())
        # Chance, of 300 draws.
        assert dice.mean().item() == pytest.approx(promised[number].item(), abs=0.002)


def test_half_precision_is_summed_exactly():
    """A float16 sum of these voxels would end at 2048."""
    probs = torch.full((1, 2, 100, 100), 0.5, dtype=torch.float16)
    probs[:, 1] = 0.5

    # All are class 0, the first of two that tie: 2 · 5000 / (5000 + 10000).
    assert expected_dice(probs, {"a": [0]}).item() == pytest.approx(2 / 3)


@given(
    st.lists(st.integers(1, 16), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.05, 0.0625, 0.25, 0.5]),
)
def test_threshold_is_the_largest_that_misses_no_more(sixteenths, miss):
    """Of all that are probabilities; exact, and whatever their order."""
    probs = torch.tensor(sixteenths) / 16

    threshold = contour_threshold(probs, miss)

    def missed(t):
        return sum(k for k in sixteenths if k / 16 < t)

    fits = [k / 16 for k in sixteenths if missed(k / 16) <= miss * sum(sixteenths)]
    assert threshold == max(fits) == contour_threshold(probs.flip(0), miss)


def test_nothing_predicted_has_no_number():
    """It is only known what was missed."""
    probs, labels = torch.tensor([[[0.9, 0.9], [0.1, 0.1]]]), torch.tensor([[1, 0]])

    found = structure_decisions(probs, labels, {"LV": [1]})

    assert (found.labeled.item(), found.missed.item(), found.expected.item()) == (1, 1, 0)
    assert math.isnan(contour_threshold(torch.zeros(0)))
    for number in (
        "contour_misses",
        "contour_size",
        "expected_volume_bias",
        "expected_dice",
        "dice",
    ):
        assert getattr(found, number)().isnan().all()


def test_nothing_labeled_has_a_dice_and_no_ratio():
    """What is predicted where there is nothing is wrong."""
    probs, labels = torch.tensor([[[0.1, 0.9], [0.9, 0.1]]]), torch.tensor([[0, 0]])

    found = structure_decisions(probs, labels, {"LV": [1]}, margin=0)

    assert found.dice().item() == 0 < found.expected_dice().item() < 1
    for number in ("contour_misses", "contour_size", "expected_volume_bias"):
        assert getattr(found, number)().isnan().all()


@given(st.integers(0, 999))
def test_surprise_is_that_of_a_slow_loop(seed):
    """The larger one of two gaps; of nothing predicted, whether the label has it."""
    generator = torch.Generator().manual_seed(seed)
    probs = (2 * torch.randn(1, 3, 6, 5, generator=generator)).softmax(1)
    labels = torch.randint(3, (1, 6, 5), generator=generator) * int(seed % 4 > 0)
    probs[:, 2] *= seed % 3 > 0
    probs[:, 0] += 1 - probs.sum(1)

    found = structure_decisions(probs, labels, {"a": [1], "b": [2]}, margin=99).surprise()[0]

    for k, surprise in zip((1, 2), found.tolist(), strict=True):
        p, y, predicted = probs[0, k].double(), labels[0] == k, probs[0].argmax(0) == k
        expected = 2 * p[predicted].sum() / (predicted.sum() + p.sum())
        true = 2 * (predicted & y).sum() / (predicted.sum() + y.sum())
        nested = 2 * min(p.sum(), y.sum()) / (p.sum() + y.sum())
        slow = max(expected - true, 1 - nested, 0) if predicted.any() else y.any()
        assert surprise == pytest.approx(float(slow), abs=1e-6)


def volumes_of(**columns):
    """Decisions of one structure in some cases, of which a test says what matters to it."""
    length = len(next(iter(columns.values())))
    names = Decisions.__dataclass_fields__
    ones = dict.fromkeys(names, [1.0] * length) | columns
    return Decisions(*(torch.tensor(ones[name], dtype=torch.float64) for name in names))


def test_numbers_over_cases_are_ratios_of_sums_and_means_over_cases():
    """A case without prediction is left out; one without label is in what needs no ratio of its own."""
    decisions = volumes_of(
        predicted=[10.0, 10.0, 10.0, 0.0],
        labeled=[8.0, 20.0, 0.0, 5.0],
        overlap=[8.0, 10.0, 0.0, 0.0],
        expected=[10.0, 14.0, 4.0, 0.0],
        expected_overlap=[9.0, 9.0, 3.0, 0.0],
        contour=[12.0, 15.0, 9.0, 0.0],
        missed=[0.0, 5.0, 0.0, 5.0],
        expected_everywhere=[11.0, 16.0, 5.0, 8.0],
    )

    found = decision_numbers(decisions, ["a", "b", "c", "c"])

    dice, expected = [16 / 18, 20 / 30, 0.0], [18 / 20, 18 / 24, 6 / 14]
    gaps = np.subtract(expected, dice)
    numbers = {name: each.value for name, each in vars(found).items() if isinstance(each, Pooled)}
    assert numbers == {
        "contour_misses": pytest.approx(5 / 28),
        "contour_size": pytest.approx(36 / 28),
        "expected_volume_bias": pytest.approx(28 / 28 - 1, abs=1e-12),
        "expected_volume_error": pytest.approx((2 / 8 + 6 / 20) / 2),
        "expected_beyond": pytest.approx(4 / 32),
        "expected_dice_bias": pytest.approx(gaps.mean()),
        "expected_dice_error": pytest.approx(abs(gaps).mean()),
    }
    assert (found.unpredicted, found.unlabeled) == (1, 1)
    assert (found.rank_correlation, found.worst_found) == (1, 1)


def test_triage_is_of_patients():
    """Whose expected Dice is the mean of their cases."""
    expected = [0.9, 0.1, 0.6, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9]
    bad = [0.9, 0.1, 0.4, 0.4, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9]
    decisions = volumes_of(
        predicted=[1.0] * 10,
        labeled=[1.0] * 10,
        overlap=bad,
        expected=[1.0] * 10,
        expected_overlap=expected,
    )

    alone = decision_numbers(decisions)
    of_patients = decision_numbers(decisions, list("aabbccddee"))

    assert (alone.worst_found, of_patients.worst_found) == (1, 0)
    assert of_patients.rank_correlation == pytest.approx(
        spearmanr([0.5, 0.6, 0.7, 0.8, 0.9], [0.5, 0.4, 0.7, 0.8, 0.9]).statistic
    )


@given(st.integers(1, 40), st.integers(0, 99))
def test_found_share_is_that_of_a_slow_loop(number, seed):
    """Of cases that are all different."""
    rng = np.random.default_rng(seed)
    expected, true = rng.permutation(number), rng.permutation(number)
    looked, worst = math.ceil(number / 5), math.ceil(number / 10)

    found = set(np.argsort(expected)[:looked]) & set(np.argsort(true)[:worst])

    assert worst_found(expected, true) == pytest.approx(len(found) / worst)


def test_cases_alike_are_found_as_by_chance():
    """An expectation that tells nothing finds as many as are looked at; the order decides nothing."""
    true = np.linspace(0, 1, 50)

    assert worst_found(np.ones(50), true) == pytest.approx(0.2)
    assert worst_found(true, true) == 1
    assert worst_found(-true, true) == 0
    assert worst_found([0.5, 0.5, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5]) == 0.5
    assert worst_found(true, np.ones(50)) == pytest.approx(0.2)
    assert math.isnan(worst_found([], []))


@given(st.lists(st.integers(0, 5), min_size=3, max_size=12), st.integers(0, 99))
def test_rank_correlation_is_that_of_scipy(expected, seed):
    """With ties, too; of fewer than three cases, or of cases all alike, there is none."""
    true = np.random.default_rng(seed).integers(0, 5, len(expected))

    found = rank_correlation(expected, true)

    if len(set(expected)) == 1 or len(set(true)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(expected, true).statistic, abs=1e-9)
    assert math.isnan(rank_correlation([0.1, 0.2], [0.1, 0.2]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"miss": 1.0}, SettingError, "miss: is 1.0; use a number from 0 to below 1"),
        ({"miss": -0.1}, SettingError, "miss: is -0.1"),
        ({"margin": -1.0}, InputError, "margin: is -1.0"),
        (
            {"structures": {"LV": [3]}},
            InputError,
            r"structures: LV is of the classes \[3\]; choose",
        ),
        ({"structures": {"LV": []}}, InputError, "structures: LV is of the classes"),
        ({"structures": ["LV"]}, InputError, "probs: have the shape"),
        ({"num_raters": 3}, InputError, "labels: have the shape"),
        ({"spacing": (1.0,)}, InputError, "spacing: is"),
    ],
)
def test_what_cannot_be_is_refused(options, error, message):
    """In one line."""
    probs, labels = random_case((2, 3, 4, 5))
    with pytest.raises(error, match=message):
        structure_decisions(probs, labels, **{"structures": STRUCTURES, **options})


@pytest.mark.parametrize("share", [{"looked": 0}, {"worst": 1.5}])
def test_share_that_is_none_is_refused(share):
    """In one line."""
    with pytest.raises(SettingError, match="(looked|worst): is .*; use a share above 0, up to 1"):
        worst_found([1.0], [1.0], **share)


def test_one_patient_for_each_case():
    """Or none is said to be anybody's."""
    with pytest.raises(InputError, match="patients: are 1 names for 2 cases; give one for each"):
        decision_numbers(volumes_of(predicted=[1.0, 1.0]), ["a"])


@pytest.mark.parametrize("structures", [STRUCTURES, ["A", "B"]])
def test_metric_keeps_the_volumes_of_every_case(structures):
    """Batch by batch or as lists, in the unit that the labels know; its numbers are those over cases."""
    probs, labels = random_case((4, 3, 5, 6))
    labels = labels[:, None]
    if structures is not STRUCTURES:
        probs, labels = probs[:, 1:], torch.cat([labels == 1, labels == 2], 1).long()
    options = {"margin": 1.0, "ignore_index": 255}
    kind = "decisions" if structures is STRUCTURES else "structures"
    how = {"errors": ["ece"], "margin_spacing": "pixdim", kind: structures, **options}
    whole, parts = (CalibrationMetric(**how) for _ in range(2))
    image = MetaTensor(labels, affine=torch.diag(torch.tensor([0.5, 2.0, 1.0, 1.0])))

    whole(probs, image)
    parts([*probs[:3]], [MetaTensor(label, affine=image.affine) for label in labels[:3]])
    parts(probs[3:], MetaTensor(labels[3:], affine=image.affine))

    expected = structure_decisions(probs, labels, structures, spacing=(0.5, 2.0), **options)
    for metric in (whole, parts):
        torch.testing.assert_close(table(metric.case_decisions()), table(expected))
    first, *_ = structures
    numbers = decision_numbers(expected[:, 0])
    assert whole.aggregate()[f"contour_misses_{first}"] == numbers.contour_misses.value
    assert whole.aggregate()[f"unpredicted_{first}"] == numbers.unpredicted
    columns = whole.columns()
    for name, values in expected.case_numbers().items():
        torch.testing.assert_close(columns[f"{name}_{first}"], values[:, 0], equal_nan=True)
        torch.testing.assert_close(columns[name], values.nanmean(1), equal_nan=True)


VOLUMES = st.lists(st.floats(0, 1000), min_size=1, max_size=7)


def crps(predicted, *raters):
    volumes = (torch.as_tensor(np.asarray(volume, float)) for volume in (predicted, raters))
    return volume_crps(*volumes).item()


@given(st.floats(0, 1000), VOLUMES)
@settings(deadline=None)
def test_it_is_the_integral(predicted, raters):
    """Of the squared distance of two distributions, which SciPy has as half of an energy distance's."""
    scipys = energy_distance(raters, [predicted]) ** 2 / 2
    assert crps(predicted, *raters) == pytest.approx(scipys, abs=1e-6)


@given(VOLUMES)
@settings(deadline=None)
def test_median_of_the_raters_is_best(raters):
    """No other volume scores less, and no score is negative."""
    best = crps(float(np.median(raters)), *raters)

    assert best >= -1e-9
    assert all(best <= crps(other, *raters) + 1e-9 for other in (*raters, 0.0, 500.0, 1000.0))


@given(st.floats(0, 1000), VOLUMES, st.floats(0.1, 10))
@settings(deadline=None)
def test_unit_is_that_of_the_volumes(predicted, raters, scale):
    """Milliliters in, milliliters out."""
    scaled = crps(scale * predicted, *(scale * volume for volume in raters))

    assert scaled == pytest.approx(scale * crps(predicted, *raters), abs=1e-6)


def test_structures_and_cases_are_scored_at_once():
    """Leading axes are those of the prediction."""
    predicted, raters = torch.rand(2, 3), torch.rand(2, 3, 4)
    found = volume_crps(predicted, raters)

    assert found.shape == (2, 3)
    assert found.dtype == torch.float64
    assert found[1, 2].item() == pytest.approx(crps(predicted[1, 2], *raters[1, 2].tolist()))


@pytest.mark.parametrize(("predicted", "raters"), [((2,), (3, 4)), ((), ()), ((2,), (2, 0))])
def test_shapes_that_do_not_fit_are_refused(predicted, raters):
    """Without raters there is no distribution."""
    with pytest.raises(InputError, match="last axis of raters"):
        volume_crps(torch.zeros(predicted), torch.zeros(raters))


def test_dice_is_over_what_all_agree_on():
    """By a loop; a disputed voxel counts neither as right nor as wrong."""
    rng = np.random.default_rng(0)
    raters = rng.random((4, 1, 2, 6, 6, 6)) < 0.6
    prediction = rng.random((1, 2, 6, 6, 6)) < 0.5
    found = agreed_dice(torch.from_numpy(prediction).int(), torch.from_numpy(raters).int())

    for structure in range(2):
        both = predicted = labeled = 0
        for place in np.ndindex(6, 6, 6):
            marks = [bool(rater[(0, structure, *place)]) for rater in raters]
            if len(set(marks)) == 1:
                mark, inside = marks[0], bool(prediction[(0, structure, *place)])
                both, predicted, labeled = (
                    both + (mark and inside),
                    predicted + inside,
                    labeled + mark,
                )
        assert found[0, structure].item() == pytest.approx(2 * both / (predicted + labeled))


def test_structure_on_which_no_voxel_is_agreed_has_no_dice():
    """As one that a label lacks."""
    raters = torch.tensor([[[[1, 0]]], [[[0, 1]]]])

    assert agreed_dice(torch.tensor([[[1, 1]]]), raters).isnan().all()
