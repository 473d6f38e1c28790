"""Scores, sums of logits and selective prediction equal torch, loops over voxels and scikit-learn."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from sklearn.metrics import roc_auc_score

from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    absolute_logit_sums,
    brier_score,
    maximum_logit_counts,
    negative_log_likelihood,
    region_mask,
)
from nacl_monai.metrics.fine_bins import FineBins, aurc, error_auroc
from nacl_monai.metrics.voxels import LabeledVoxels
from tests.metrics.oracles import measured, random_case
from tests.same import same_bits


@pytest.mark.parametrize("shape", [(2, 3, 9, 8), (1, 4, 5, 6, 7)])
@pytest.mark.parametrize("region", ["all", "foreground", "union"])
def test_scores_equal_those_of_torch(shape, region):
    """NLL is torch's; Brier is the squared distance to the one-hot label; 2-D and 3-D."""
    probs, labels = random_case(shape)
    keep = region_mask(region, labels, probs.argmax(1))
    one_hot = torch.nn.functional.one_hot(labels, shape[1]).movedim(-1, 1)

    nll = torch.nn.functional.nll_loss(probs.log(), labels, reduction="none")[keep].mean()
    brier = (probs - one_hot).square().sum(1)[keep].mean()

    assert negative_log_likelihood(probs, labels, region).item() == pytest.approx(
        nll.item(), abs=1e-6
    )
    assert brier_score(probs, labels, region).item() == pytest.approx(brier.item(), abs=1e-6)


def test_sums_do_not_drift():
    """The mean over many equal voxels is the score of one, to the last digits of a double."""
    probs = torch.tensor([0.7, 0.3])[None, :, None, None].expand(1, 2, 1, 300_000)
    labels = torch.zeros(1, 1, 300_000)
    single = negative_log_likelihood(probs[..., :1], labels[..., :1], "all").item()
    brier = brier_score(probs[..., :1], labels[..., :1], "all").item()

    many = negative_log_likelihood(probs, labels, "all").item()
    assert many == pytest.approx(single, rel=1e-12)
    assert brier_score(probs, labels, "all").item() == pytest.approx(brier, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_any_precision_are_computed_in_float32_or_better(dtype):
    """Half-precision probabilities cost what these very numbers cost, without further rounding."""
    probs, labels = random_case((2, 3, 9, 8))
    probs = probs.to(dtype)
    doubles = probs.double().clamp(min=torch.finfo(dtype).tiny)
    one_hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)

    nll = torch.nn.functional.nll_loss(doubles.log(), labels)
    brier = (probs.double() - one_hot).square().sum(1).mean()

    for actual, expected in (
        (negative_log_likelihood(probs, labels, "all"), nll),
        (brier_score(probs, labels, "all"), brier),
    ):
        assert actual.dtype == torch.float64
        assert actual.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(
    ("dtype", "full", "stored", "nll"),
    [
        (torch.float32, 1, 0, 126 * math.log(2)),
        (torch.float16, 1, 0, 25 * math.log(2)),
        (torch.float16, 1, 2**-20, 20 * math.log(2)),  # below the smallest normal number
        (torch.uint8, 255, 0, math.log(510)),
    ],
)
def test_wrong_and_certain_costs_what_the_dtype_knows(dtype, full, stored, nll):
    """Not infinity: a stored 0 is less than half of the next number, and may be no less than that."""
    probs = torch.tensor([full, stored], dtype=dtype)[None, :, None, None]

    found = negative_log_likelihood(probs, torch.ones(1, 1, 1)).item()

    assert found == pytest.approx(nll, abs=1e-5)


@pytest.mark.parametrize(
    ("dtype", "full", "inside", "outside"),
    [
        (torch.float32, 1, 126, 25),
        (torch.float16, 1, 25, 12),
        (torch.uint8, 255, math.log2(510), math.log2(510)),
    ],
)
def test_certain_structures_cost_what_the_dtype_knows(dtype, full, inside, outside):
    """A sigmoid of 1 is nearer to it than half of the distance to the next smaller number."""
    probs = torch.tensor([0, full], dtype=dtype).view(2, 1, 1, 1)
    labels = torch.tensor([1, 0]).view(2, 1, 1, 1)

    metric = measured(probs, labels, errors=["nll"], regions=["all"], structures=["WT"])

    found = metric.case_errors()["nll"].flatten().tolist()
    assert found == pytest.approx([inside * math.log(2), outside * math.log(2)], rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 4, 3, 4, 5)])
def test_sums_equal_those_of_a_loop(shape):
    """Each voxel adds the absolute values of its logits to those of its label."""
    logits, labels = 5 * torch.randn(shape), torch.randint(0, shape[1], (shape[0], 1, *shape[2:]))
    sums, counts = torch.zeros(shape[1], shape[1], dtype=torch.float64), [0] * shape[1]
    vectors = logits.movedim(1, -1).reshape(-1, shape[1])
    for vector, label in zip(vectors, labels.flatten().tolist(), strict=True):
        sums[label] += vector.double().abs()
        counts[label] += 1

    actual_sums, actual_counts = absolute_logit_sums(MetaTensor(logits), labels.to(torch.uint8))

    torch.testing.assert_close(actual_sums, sums)
    assert actual_counts.tolist() == counts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_are_left_alone(dtype):
    """The evaluator makes probabilities of them afterwards."""
    logits = torch.randn(1, 3, 5, 4, dtype=dtype)
    kept = logits.clone()
    absolute_logit_sums(logits, torch.zeros(1, 1, 5, 4))
    maximum_logit_counts(logits)

    same_bits(logits, kept, "nothing is done to them")


def test_sums_of_logits_do_not_drift():
    """Float64 adds 2^24 + 1 ones, where float32 would stop one short."""
    logits = torch.ones(1, 1, 1).expand(1, 2, 2**24 + 1)

    sums, counts = absolute_logit_sums(
        logits, torch.zeros(1, 1, dtype=torch.uint8).expand(1, 2**24 + 1)
    )

    assert sums[0].tolist() == [2**24 + 1] * 2
    assert counts.tolist() == [2**24 + 1, 0]


def test_ignored_voxels_are_as_if_cut_away():
    """Whatever their label is in bytes."""
    logits, labels = torch.randn(1, 3, 40), torch.randint(0, 3, (1, 40), dtype=torch.uint8)
    labels[:, 25:] = 200
    expected = absolute_logit_sums(logits[..., :25], labels[..., :25])

    for found, wanted in zip(absolute_logit_sums(logits, labels, 200), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_last_class_may_be_absent():
    """A class without voxels has sums and a count of zero, the last one too."""
    sums, counts = absolute_logit_sums(torch.ones(1, 3, 4), torch.tensor([[[0, 1, 1, 1]]]))

    assert sums.tolist() == [[1, 1, 1], [3, 3, 3], [0, 0, 0]]
    assert counts.tolist() == [1, 3, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_counts_equal_those_of_a_loop(dtype):
    """Each voxel is counted once, by its largest logit, in the bin that it does not fall short of."""
    logits = (8 * torch.randn(2, 3, 40, 25)).to(dtype)

    counts, edges = maximum_logit_counts(logits, low=-3, high=9, per_unit=4)

    expected = [0] * (len(edges) + 1)
    for largest in logits.amax(1).flatten().tolist():
        expected[sum(edge <= largest for edge in edges.tolist())] += 1
    assert edges.tolist() == [k / 4 for k in range(-12, 37)]
    assert counts.tolist() == expected


def test_voxels_outside_the_grid_are_counted_at_its_ends():
    """Infinite logits and NaN are counted at the ends of the grid, edges in the bin above."""
    largest = [-torch.inf, -1e30, -10.25, -10.0, 49.99, 50.0, 1e30, torch.inf, torch.nan]

    counts, edges = maximum_logit_counts(torch.tensor(largest)[None, None])

    assert (edges[0], edges[-1], len(edges)) == (-10, 50, 241)
    assert {m: n for m, n in enumerate(counts.tolist()) if n} == {0: 3, 1: 1, 240: 1, 241: 4}


def test_counts_are_of_the_voxels_in_the_mask():
    """As if the others were cut away, with or without a channel; of none, all counts are zero."""
    logits, mask = 8 * torch.randn(2, 3, 40), torch.rand(2, 1, 40) < 0.5
    kept = logits.movedim(1, -1)[mask[:, 0]].T[None]
    expected, _ = maximum_logit_counts(kept)

    for form in (mask, mask[:, 0]):
        torch.testing.assert_close(maximum_logit_counts(logits, mask=form)[0], expected)
    assert maximum_logit_counts(logits, mask=torch.zeros_like(mask))[0].tolist() == [0] * 242
    with pytest.raises(InputError, match="mask: have the shape"):
        maximum_logit_counts(logits, mask=mask[..., 1:])


VOXELS = st.lists(
    st.tuples(st.sampled_from([0.5, 0.6, 0.8, 1.0]), st.booleans()), min_size=1, max_size=14
)


def collected(voxels):
    """Voxels and errors at each confidence."""
    confidences, hits = zip(*voxels, strict=True)
    fine = FineBins.exact(torch.tensor(confidences).double(), torch.tensor(hits).bool())
    return fine.counts, fine.errors


def slow_aurc(voxels):
    """Voxel by voxel, the errors of equally confident ones spread evenly."""
    confidences = sorted({confidence for confidence, _ in voxels}, reverse=True)
    met, seen, total = 0.0, 0, 0.0
    for confidence in confidences:
        wrong = [not hit for other, hit in voxels if other == confidence]
        for _ in wrong:
            met += sum(wrong) / len(wrong)
            seen += 1
            total += met / seen
    return total / len(voxels)


@given(VOXELS)
@settings(max_examples=80, deadline=None)
def test_area_is_the_mean_risk_of_all_coverages(voxels):
    """The closed form equals the loop over voxels."""
    assert aurc(*collected(voxels)).item() == pytest.approx(slow_aurc(voxels), abs=1e-12)


@given(VOXELS)
@settings(max_examples=80, deadline=None)
def test_auroc_is_that_of_scikit_learn(voxels):
    """An independent library orders the errors alike; ties count one half."""
    confidences, hits = zip(*voxels, strict=True)
    actual = error_auroc(*collected(voxels)).item()
    if len(set(hits)) == 1:
        assert math.isnan(actual)
    else:
        assert actual == pytest.approx(roc_auc_score(hits, confidences), abs=1e-12)


def test_area_is_exact_beyond_millions_of_voxels():
    """Harmonic sums of many voxels do not drift: with one error rate everywhere, it is the area."""
    counts = torch.full((1024,), 10**6)
    assert aurc(counts, counts // 4).item() == pytest.approx(0.25, rel=1e-12)


def test_without_voxels_nothing_is_defined():
    """An empty region has no risk."""
    none = torch.zeros(2, 5, dtype=torch.int64)

    assert aurc(none, none).isnan().all()
    assert error_auroc(none, none).isnan().all()
    assert aurc(none[:, :0], none[:, :0]).isnan().all()


def test_metric_adds_up_cases_and_differs_little_from_exact_voxels():
    """The fine bins of an evaluation give the numbers of all voxels to a thousandth, pooled and not."""
    probs, labels = random_case((2, 3, 30, 20))
    found = measured(probs, labels, errors=["aurc", "error_auroc"], regions=["all"]).aggregate()

    both, first, second = (
        FineBins.of_voxels(LabeledVoxels(probs[cases], labels[cases]), None)
        for cases in (slice(None), slice(0, 1), slice(1, 2))
    )
    for name, number in (("aurc", aurc), ("error_auroc", error_auroc)):
        single = [number(fine.counts, fine.errors).item() for fine in (first, second)]
        pooled = number(both.counts, both.errors).item()
        assert found[f"{name}_all"] == pytest.approx(sum(single) / 2, abs=1e-3)
        assert found[f"{name}_all_pooled"] == pytest.approx(pooled, abs=1e-3)
