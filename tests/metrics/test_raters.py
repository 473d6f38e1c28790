"""Several raters: bins against their share, by loops over voxels that know no bins of the project."""

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric, region_mask
from nacl_monai.metrics.raters import check_raters, class_votes
from tests.metrics.oracles import measured, same_sums
from tests.same import same_bits, same_values

REGIONS = ("all", "foreground", "union", "boundary")


def drawn(raters=3, seed=0, shape=(5, 6, 4), classes=3):
    """Probabilities of a case, and labels of raters that differ in some voxels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (classes, *shape))
    truth = np.zeros(shape, int)
    truth[1:4, 1:4, 1:3] = rng.integers(0, classes, (3, 3, 2))
    labels = np.stack(
        [
            np.where(rng.random(shape) < 0.15, rng.integers(0, classes, shape), truth)
            for _ in range(raters)
        ]
    )
    probs = np.exp(logits) / np.exp(logits).sum(0)
    return torch.from_numpy(probs)[None], torch.from_numpy(labels)[None]


def slow_curve(probs, shares, inside, channel, bins=15):
    """Mean confidence and mean share per bin, and the number of voxels, voxel by voxel.

    ``channel`` None is the predicted class.
    """
    sums = defaultdict(lambda: [0, 0.0, Fraction(0)])
    for place in zip(*np.nonzero(inside), strict=True):
        p = probs[(slice(None), *place)]
        c = int(p.argmax()) if channel is None else channel
        k = max(0, int(np.ceil(p[c] * bins)) - 1)
        sums[k][0] += 1
        sums[k][1] += p[c]
        sums[k][2] += shares[c][place]
    return sums


def shares_of(labels, classes=3):
    """The exact share of raters with each class, an array of fractions per class."""
    return [
        np.vectorize(lambda n: Fraction(int(n), len(labels)), otypes=[object])((labels == c).sum(0))
        for c in range(classes)
    ]


def in_any(region, probs, labels):
    """The voxels that are in a region by any rater."""
    prediction = probs.argmax(1)
    return np.any(
        [region_mask(region, rater, prediction)[0].numpy() for rater in labels[0, :, None]], 0
    )


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("raters", [2, 3, 5])
def test_bins_hold_the_share_exactly(region, raters):
    """Accuracy of a bin is the mean share of raters, as a fraction, of each class and of the top one."""
    probs, labels = drawn(raters)
    bins = measured(probs, labels, regions=[region], num_raters=raters).case_bins()[0, 0]
    shares, inside = shares_of(labels[0].numpy()), in_any(region, probs, labels)

    for row, channel in enumerate([None, 0, 1, 2]):
        expected = slow_curve(probs[0].numpy(), shares, inside, channel)
        voxels = sum(n for n, _, _ in expected.values())
        ece = sum(abs(confidence - float(share)) for _, confidence, share in expected.values())
        assert bins.counts[row].sum().item() == raters * voxels
        for k in range(15):
            n, confidence, share = expected[k]
            assert bins.counts[row, k].item() == raters * n
            assert bins.positives[row, k].item() == raters * share
            assert bins.confidences[row, k].item() == pytest.approx(raters * confidence, abs=1e-9)
        assert bins.errors("ece")[row].item() == pytest.approx(ece / voxels, abs=1e-12)


def test_share_itself_is_perfectly_calibrated():
    """A probability of 0.6 is right where three of five raters mark the voxel."""
    _, labels = drawn(5)
    shares = torch.from_numpy(class_votes(labels[0], 3).numpy() / 5)[None]

    metric = measured(shares, labels, errors=["ece", "cece", "confidence_gap"], num_raters=5)

    for name, value in metric.aggregate().items():
        if not name.startswith("empty"):
            assert value == pytest.approx(0, abs=1e-12), name


def test_scores_are_those_of_the_share():
    """NLL is the cross-entropy with the share; Brier the mean of those against each rater."""
    probs, labels = drawn(4)
    share = class_votes(labels[0], 3)[None] / 4
    one_hot = (labels[:, :, None] == torch.arange(3)[:, None, None, None]).double()
    brier = (probs[:, None] - one_hot).square().sum(2).mean()

    options = {"errors": ["nll", "brier"], "regions": ["all"], "num_raters": 4}

    numbers = measured(probs, labels, **options).aggregate()

    assert numbers["nll_all"] == pytest.approx(
        -(share * probs.log()).sum(1).mean().item(), abs=1e-6
    )
    assert numbers["brier_all"] == pytest.approx(brier.item(), abs=1e-6)


def test_against_one_rater_is_the_metric_of_that_rater():
    """To the bit, whatever the others say."""
    probs, labels = drawn(3)
    for rater in range(3):
        chosen = measured(probs, labels, num_raters=3, rater=rater)
        alone = measured(probs, labels[:, rater])

        same_sums(chosen.case_bins(), alone.case_bins())
        same_bits(chosen.aggregate(), alone.aggregate(), "the same operations on the same voxels")
        assert alone.case_human_bins() is None


@pytest.mark.parametrize("rater", [None, 1])
def test_raters_are_predicted_by_the_share_of_the_others(rater):
    """Over the voxels of the model's region: how often a rater marks what k of the others mark."""
    probs, labels = drawn(4)
    options = {"regions": ["union"], "num_raters": 4, "rater": rater}

    human = measured(probs, labels, **options).case_human_bins()[0, 0]

    maps = labels[0].numpy()
    chosen = range(4) if rater is None else [rater]
    inside = in_any("union", probs, labels if rater is None else labels[:, [rater]])
    seen = {share: [0, 0] for share in (0, 1, 2, 3)}
    for place in zip(*np.nonzero(inside), strict=True):
        for r in chosen:
            of_others = sum(int(maps[(s, *place)] == 2) for s in range(4) if s != r)
            seen[of_others][0] += 1
            seen[of_others][1] += maps[(r, *place)] == 2
    for of_others, k in {0: 0, 1: 4, 2: 9, 3: 14}.items():  # 1/3 is the upper end of the fifth bin
        n, marked = seen[of_others]
        assert human.counts[3, k].item() == n
        assert human.positives[3, k].item() == marked
        assert human.confidences[3, k].item() == pytest.approx(n * of_others / 3, abs=1e-3)


def test_voxels_that_a_rater_ignores_do_not_count():
    """Neither for the share nor for the other raters as predictors, but for those alone."""
    probs, labels = drawn(3)
    labels[0, 1, :2] = 255
    kept = torch.ones(labels.shape[2:], dtype=torch.bool)
    kept[:2] = False
    options = {"regions": ["all"], "num_raters": 3}

    ignoring = measured(probs, labels, ignore_index=255, **options)
    masked = measured(probs, labels.where(labels != 255, 0), kept[None], **options)
    alone = measured(probs, labels, ignore_index=255, rater=0, **options)

    same_sums(ignoring.case_bins(), masked.case_bins())
    same_sums(ignoring.case_human_bins(), masked.case_human_bins())
    assert alone.case_bins().voxels().item() == labels[0, 0].numel()
    assert alone.case_human_bins().voxels().item() == int(kept.sum())


def test_masks_may_be_those_of_each_rater():
    """As ignored voxels are."""
    probs, labels = drawn(3)
    masks = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)) < 0.7

    each, common = (
        measured([probs[0]], [labels[0]], [mask], regions=["foreground"], num_raters=3)
        for mask in (masks[0], masks[0].all(0, keepdim=True))
    )

    same_sums(each.case_bins(), common.case_bins())


def test_structures_may_overlap():
    """Each is a problem of its own, with the regions that any rater gives it."""
    probs, labels = drawn(3)
    inside = torch.stack([1 - probs[0, 0], probs[0, 2]])[None]
    masks = torch.stack([labels > 0, labels == 2], 2).to(torch.uint8)
    options = {"regions": ["foreground"], "num_raters": 3}

    metric = measured(inside, masks, structures=["whole", "tail"], **options)

    for k, name in enumerate(("whole", "tail")):
        alone = measured(inside[:, [k]], masks[:, :, [k]], structures=[name], **options)
        voxels = masks[0, :, k].bool().any(0)
        share = masks[0, :, k].float().mean(0)[voxels].mean().item()
        bins = metric.case_bins()[0, k]
        assert bins.counts[2].sum().item() == 3 * int(voxels.sum())
        assert bins.positives[2].sum().item() / bins.counts[2].sum().item() == pytest.approx(share)
        same_sums(bins, alone.case_bins()[0, 0])


@given(st.permutations(range(4)), st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_order_of_the_raters_does_not_matter(order, seed):
    """The counts are the same, to the last."""
    probs, labels = drawn(4, seed)

    first, second = (
        measured(probs, of_raters, num_raters=4) for of_raters in (labels, labels[:, list(order)])
    )

    for bins, permuted in (
        (first.case_bins(), second.case_bins()),
        (first.case_human_bins(), second.case_human_bins()),
    ):
        same_values(bins.counts, permuted.counts)
        same_values(bins.positives, permuted.positives)


def test_raters_that_all_agree_are_one():
    """Each voxel counts as often as there are raters; every error is that of one of them."""
    probs, labels = drawn(1)
    expected = measured(probs, labels).aggregate()

    three = measured(probs, labels.expand(1, 3, *labels.shape[2:]), num_raters=3)

    for name, value in three.aggregate().items():
        # AURC is a mean over as many ranks as voxels count.
        tolerance = 0.02 if name.startswith("aurc") else 1e-9
        assert value == pytest.approx(expected[name], abs=tolerance, nan_ok=True), name  # above
    assert three.case_human_bins().ece().abs().max().item() == 0


def test_labels_without_the_axis_of_raters_are_refused():
    """The shape is named."""
    probs, labels = drawn(3)

    with pytest.raises(InputError, match="with 2 raters"):
        CalibrationMetric(num_raters=2)(probs, labels)
    with pytest.raises(InputError, match="pass .batch, raters, .spatial."):
        CalibrationMetric(num_raters=3)(probs, labels[:, 0])


@pytest.mark.parametrize("args", [(0, None), (3, 3), (3, -1), (1, 1)])
def test_rater_that_is_none_is_refused(args):
    """As is having no rater at all."""
    with pytest.raises(InputError, match="rater"):
        check_raters(*args)
