"""Scores: equal to a loop over raters, pairs and voxels."""

import math

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.raters.masks import RatedMasks, border_distance
from nacl_monai.raters.priors import blur, hard, svls
from nacl_monai.raters.scores import CLIP, NUM_BINS, score_priors

BANDS = [0.9, 2.5]
PRIORS = [hard(), svls(), blur(1.1)]


def images():
    rng = np.random.default_rng(0)
    for patient, raters, absent in (("a", 2, 0), ("b", 3, 1), ("a", 3, 0)):
        y, x = np.mgrid[:12, :13]
        masks = np.stack(
            [
                [np.hypot(x - 6, (y - 5) * 0.8) < rng.uniform(2, 4.5) for _ in range(2)]
                for _ in range(raters)
            ]
        )
        masks[1, 0] = False
        yield RatedMasks(masks, (0.8, 1.0), patient, absent)


def pairs(prior, band):
    """Patient, probability and answer of every voxel of every pair of raters in every plane."""
    for image in images():
        raters = [*image.masks, *[np.zeros_like(image.masks[0])] * image.absent]
        for one in range(len(image.masks)):
            for plane in range(image.masks.shape[1]):
                mask = image.masks[one, plane]
                if not mask.any():
                    continue
                alone = RatedMasks(np.stack([mask[None]] * 2), image.spacing, "one").planes()
                probs = prior.soften(alone)[0]
                near = np.abs(border_distance(mask, image.spacing)) <= band
                for other, answers in enumerate(raters):
                    if other != one:
                        for p, y in zip(probs[near], answers[plane][near], strict=True):
                            yield image.patient, float(p), bool(y)


def slowly(prior, band):
    """The three scores by their definitions, every patient weighing the same."""
    of = {}
    for patient, p, y in pairs(prior, band):
        of.setdefault(patient, []).append((p, y))
    gaps = np.zeros(NUM_BINS)
    brier, nll = [], []
    for voxels in of.values():
        for p, y in voxels:
            gaps[max(0, math.ceil(np.float32(p) * NUM_BINS) - 1)] += (p - y) / len(voxels) / len(of)
        brier.append(np.mean([(p - y) ** 2 for p, y in voxels]))
        inside = [(min(max(p, CLIP), 1 - CLIP), y) for p, y in voxels]
        nll.append(np.mean([-math.log(p if y else 1 - p) for p, y in inside]))
    return {"ece": np.abs(gaps).sum(), "brier": np.mean(brier), "nll": np.mean(nll)}


def test_scores_equal_the_loop():
    """For every prior, band and metric; with empty planes, and raters who are absent."""
    scores = score_priors(images(), PRIORS, BANDS)

    for k, prior in enumerate(PRIORS):
        for b, band in enumerate(BANDS):
            for metric, expected in slowly(prior, band).items():
                assert scores.errors(metric)[k, b] == pytest.approx(expected, rel=1e-5), (
                    prior.label,
                    metric,
                )


def test_weights_draw_patients():
    """A patient drawn twice weighs twice; one who is alone has the patient's own score."""
    scores = score_priors(images(), PRIORS, BANDS)
    drawn = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 1.0]])

    for metric in ("brier", "nll", "ece"):
        errors = scores.errors(metric, drawn)
        np.testing.assert_allclose(errors[0], scores.errors(metric))
        np.testing.assert_allclose(errors[1:], scores.by_patient(metric))
        for k, kept in enumerate(([True, False], [False, True])):
            alone = scores.select(np.array(kept))
            np.testing.assert_allclose(alone.errors(metric), scores.by_patient(metric)[k])


def test_scores_of_two_parts_add_up():
    """A patient may have images in both."""
    every = list(images())
    parts = score_priors(every[:1], PRIORS, BANDS) + score_priors(every[1:], PRIORS, BANDS)
    whole = score_priors(every, PRIORS, BANDS)

    assert parts.patients == whole.patients
    for metric in ("ece", "brier", "nll"):
        np.testing.assert_allclose(parts.errors(metric), whole.errors(metric))


def test_reliability_is_that_of_the_error():
    """Shares sum to 1, and the gaps weighted by them to the ECE."""
    scores = score_priors(images(), PRIORS, BANDS)
    confidence, accuracy, share = scores.reliability(2, 1)

    assert share.sum() == pytest.approx(1)
    gap = np.nansum(share * np.abs(confidence - accuracy))
    assert gap == pytest.approx(scores.errors("ece")[2, 1])


def test_perfect_raters_score_zero():
    """Raters who agree are predicted by a hard mask without an error, but for the clip."""
    masks = np.zeros((2, 1, 8, 8), bool)
    masks[..., 4:] = True
    scores = score_priors([RatedMasks(masks, (1.0, 1.0), "one")], [hard()], [1.0])

    assert scores.errors("ece")[0, 0] == scores.errors("brier")[0, 0] == 0
    assert scores.errors("nll")[0, 0] == pytest.approx(-math.log1p(-CLIP))


def test_what_cannot_be_scored_is_refused():
    """No image, no metric of the name, bands that do not ascend."""
    for bands in ([], [2.0, 1.0], [0.0]):
        with pytest.raises(InputError, match="^bands: are"):
            score_priors(images(), PRIORS, bands)
    with pytest.raises(InputError, match="^images: are none"):
        score_priors([], PRIORS, BANDS)
    with pytest.raises(InputError, match="^metric: is 'dice'"):
        score_priors(images(), PRIORS, BANDS).errors("dice")
