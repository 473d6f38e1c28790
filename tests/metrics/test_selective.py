"""Selective prediction: the errors that the most confident voxels have."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_samples import measured, random_case
from sklearn.metrics import roc_auc_score

from nacl_monai.metrics.fine_bins import FineBins, aurc, error_auroc, risk_coverage
from nacl_monai.metrics.voxels import LabeledVoxels

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


@given(VOXELS)
@settings(max_examples=30, deadline=None)
def test_curve_ends_at_the_rate_of_all_errors(voxels):
    """At full coverage the risk is the error rate; the first point is that of the surest voxels."""
    coverage, risk = risk_coverage(*collected(voxels))
    surest = [not hit for confidence, hit in voxels if confidence == max(voxels)[0]]

    assert coverage[-1] == 1
    assert risk[-1].item() == pytest.approx(sum(not hit for _, hit in voxels) / len(voxels))
    assert risk[0].item() == pytest.approx(sum(surest) / len(surest))
    assert coverage[0].item() == pytest.approx(len(surest) / len(voxels))


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
