"""Priors are the distributions of their docstrings; scores equal a loop over pairs of raters."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from nacl_monai.errors import InputError
from nacl_monai.raters.priors import RatedMasks, blur, border_distance
from nacl_monai.raters.scores import CLIP, NUM_BINS, fit_width, score_priors
from studies.lidc.priors import hard, svls, window
from tests.same import same_bits, same_values

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
    """Patient, probabilities and answers of the voxels of every pair of raters in every plane."""
    for image in images():
        raters = [*image.masks, *[np.zeros_like(image.masks[0])] * image.absent]
        for reader in range(len(image.masks)):
            for plane in range(image.masks.shape[1]):
                mask = image.masks[reader, plane]
                if not mask.any():
                    continue
                alone = RatedMasks(np.stack([mask[None]] * 2), image.spacing, "one").planes()
                probs = prior.soften(alone)[0]
                near = np.abs(border_distance(mask, image.spacing)) <= band
                for other, answers in enumerate(raters):
                    if other != reader:
                        yield image.patient, probs[near].astype(float), answers[plane][near]


def slowly(prior, band):
    """The three scores by their definitions, every patient weighing the same."""
    by_patient = {}
    for patient, *voxels in pairs(prior, band):
        by_patient.setdefault(patient, []).append(voxels)
    gaps, brier, nll = np.zeros(NUM_BINS), [], []
    for several in by_patient.values():
        p, y = (np.concatenate(part) for part in zip(*several, strict=True))
        at = np.ceil(np.float32(p) * NUM_BINS).clip(1).astype(int) - 1
        gaps += np.bincount(at, p - y, NUM_BINS) / len(p) / len(by_patient)
        brier.append(np.mean((p - y) ** 2))
        nll.append(-np.log(np.where(y, p, 1 - p).clip(CLIP, 1 - CLIP)).mean())
    return {"ece": np.abs(gaps).sum(), "brier": np.mean(brier), "nll": np.mean(nll)}


def test_scores_equal_the_loop():
    """For every prior, band and metric; with empty planes, and raters who are absent."""
    scores = score_priors(images(), PRIORS, BANDS)

    for k, prior in enumerate(PRIORS):
        for b, band in enumerate(BANDS):
            for metric, expected in slowly(prior, band).items():
                found = scores.errors(metric)[k, b]
                assert found == pytest.approx(expected, rel=1e-5), (prior.label, metric)


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


def test_what_cannot_be_scored_is_refused():
    """No image, no metric of the name, bands that do not ascend."""
    for bands in ([], [2.0, 1.0], [0.0]):
        with pytest.raises(InputError, match="^bands: are"):
            score_priors(images(), PRIORS, bands)
    with pytest.raises(InputError, match="^images: are none"):
        score_priors([], PRIORS, BANDS)
    with pytest.raises(InputError, match="^metric: is 'dice'"):
        score_priors(images(), PRIORS, BANDS).errors("dice")


ERROR = 1.2  # mm, of a rater's border along its normal


def wavy_discs(number, spacing):
    """A disc of 30 mm in ten slices by three raters, whose borders wind about the true one."""
    rng = np.random.default_rng(number)
    size = int(80 / spacing)
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * spacing
    angle, order = np.arctan2(y, x), np.arange(1, 7).reshape(-1, 1, 1, 1, 1)
    shape = (6, 3, 10, 1, 1)
    waves = rng.normal(size=shape) * np.cos(order * angle + rng.uniform(0, 2 * np.pi, shape))
    error = ERROR * np.sqrt(2 / 6) * waves.sum(axis=0)
    return RatedMasks(np.hypot(x, y) < 30 + error, (spacing, spacing), f"{number}")


def test_width_of_annotators_who_deviate_is_recovered_in_mm():
    """Two errors, and the rounding of one of the masks to voxels; within the fit's own interval."""
    spacing = 1.6
    images = [wavy_discs(number, spacing) for number in range(1, 9)]
    scores = score_priors(images, [blur(width) for width in np.geomspace(0.8, 3.5, 11)], [3.0])
    fit = fit_width(scores, "blur")

    assert fit.doubt is None
    assert fit.low <= np.sqrt(2 * ERROR**2 + spacing**2 / 12) <= fit.high
    assert fit.high - fit.low < 0.4
    assert fit.patients == 8


def offset_discs(patients, error, seed=0):
    """Images of three raters whose discs differ in their radii."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40] - 19.5
    for patient in range(patients):
        radii = 10 + error * rng.standard_normal((3, 4, 1, 1))
        yield RatedMasks(np.hypot(x, y) < radii, (1.0, 1.0), f"{patient}")


def scored(patients=12, error=1.0):
    priors = [window(3), *(blur(width) for width in np.geomspace(0.4, 4, 8))]
    return score_priors(offset_discs(patients, error), priors, [2.0, 4.0])


def test_scores_and_flat_range_are_those_of_the_family():
    """The least score is at the width that is nearest the best, which is in the flat range."""
    scores = scored()
    for metric in ("ece", "brier", "nll"):
        fit = fit_width(scores, "blur", metric, 0)
        same_bits(fit.scores, scores.errors(metric)[1:, 0], "they are handed on")
        lowest = fit.widths[fit.scores.argmin()]
        assert fit.flat[0] <= lowest <= fit.flat[1]
        assert fit.low <= fit.best <= fit.high
        assert abs(np.log(fit.best / lowest)) <= np.log(fit.widths[1] / fit.widths[0])


def test_parabola_finds_a_minimum_between_widths():
    """Exactly, for curves that are parabolas in the logarithm."""
    from nacl_monai.raters.scores import _lowest

    widths = np.geomspace(0.5, 5, 9)
    true = np.array([0.7, 1.234, 3.3])
    curves = np.log(widths / true[:, None]) ** 2
    np.testing.assert_allclose(_lowest(widths, curves), true)
    assert _lowest(widths, np.arange(9.0)[None]).tolist() == [0.5]
    assert _lowest(widths, -np.arange(9.0)[None]).tolist() == [5.0]


def test_doubt_is_said():
    """One patient; raters farther apart than any width that was tried; all widths alike."""
    assert "one patient" in fit_width(scored(1), "blur").doubt
    assert "reaches the end" in fit_width(scored(6, error=6.0), "blur").doubt
    fit = fit_width(scored(), "blur")
    assert fit.doubt is None
    alike = replace(fit, flat=(fit.widths[0], fit.widths[-1]))
    assert "alike" in alike.doubt


def test_patient_without_a_voxel_in_the_band_is_no_patient():
    """The fit and its interval are those of the others."""
    scores = scored(6)
    nothing = RatedMasks(np.zeros((3, 1, 8, 8), bool), (1.0, 1.0), "empty")
    empty = score_priors([nothing], scores.priors, scores.bands)

    found, expected = (fit_width(rows, "blur") for rows in (scores + empty, scores))
    assert (found.best, found.low, found.high) == (expected.best, expected.low, expected.high)
    assert found.patients == 6
    with pytest.raises(InputError, match="--band: is 2 mm, and no voxel is so near to a border"):
        fit_width(empty, "blur", band=0)


def test_families_without_widths_are_refused():
    """A window in voxels has none."""
    with pytest.raises(InputError, match="'window' has 0 widths"):
        fit_width(scored(2), "window")
    with pytest.raises(InputError, match="'blur' has 8 widths by 'dice'"):
        fit_width(scored(2), "blur", "dice")


def half_plane(spacing, size=61):
    mask = np.zeros((1, 5, size), bool)
    mask[..., size // 2 :] = True
    return RatedMasks(np.stack([mask, mask]), (1.0, spacing), "one").planes()


@pytest.mark.parametrize("spacing", [0.2, 0.5])
def test_probability_is_the_distribution_of_the_distance(spacing):
    """Its standard deviation is the width, in mm, at any spacing."""
    planes = half_plane(spacing)

    expected = norm(0, 1.5).cdf(planes.distances[0, 2])
    # Distances end at corners of voxels.
    np.testing.assert_allclose(blur(1.5).soften(planes)[0, 2], expected, atol=4e-3)


def test_width_below_a_voxel_is_the_mask_itself():
    """Nothing to soften, and no error in the middle of a fit."""
    planes = half_plane(1.0)
    same_values(blur(0.05).soften(planes), planes.masks)


def distance_slowly(mask, spacing):
    """To the nearest box of a voxel of the other value."""
    result = np.zeros(mask.shape)
    for here in np.ndindex(mask.shape):
        gaps = (abs(np.argwhere(mask != mask[here]) - here) - 0.5).clip(0) * spacing
        result[here] = np.linalg.norm(gaps, axis=1).min() * (1 if mask[here] else -1)
    return result


@pytest.mark.parametrize(("shape", "spacing"), [((7, 6), (1.0, 1.0)), ((4, 5, 3), (0.5, 2.0, 3.1))])
def test_distance_is_to_the_faces_between_voxels(shape, spacing):
    """In mm, along oblique ways and for voxels of any size."""
    mask = np.random.default_rng(0).random(shape) < 0.2

    np.testing.assert_allclose(border_distance(mask, spacing), distance_slowly(mask, spacing))


def test_planes_are_those_with_a_border_of_their_own_rater():
    """A plane that a rater left empty, or filled, says nothing; the others vote without the rater."""
    masks = np.zeros((3, 2, 4, 5), bool)
    masks[0, 0, :, 2:] = masks[1, 0, :, 3:] = masks[2, 1, :2] = True
    masks[2, 0] = True
    planes = RatedMasks(masks, (1.0, 1.0), "one").planes()

    same_values(planes.masks, [masks[0, 0], masks[1, 0], masks[2, 1]])
    assert planes.votes[:, 0].tolist() == [[1, 1, 1, 2, 2], [1, 1, 2, 2, 2], [0, 0, 0, 0, 0]]
    assert planes.distances[0, 0].tolist() == [-1.5, -0.5, 0.5, 1.5, 2.5]


def test_masks_that_cannot_be_meant_are_refused():
    """One rater alone, shares in place of masks, or a spacing of other axes."""
    masks = np.zeros((2, 1, 4, 4), bool)
    for array, spacing in ((masks[:1], (1.0, 1.0)), (masks * 0.5, (1.0, 1.0)), (masks, (1.0,) * 3)):
        with pytest.raises(InputError, match="^masks: are"):
            RatedMasks(array, spacing, "one")
    assert RatedMasks(masks[:1], (1.0, 1.0), "one", absent=3).others == 3
