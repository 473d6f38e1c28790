"""Fitting: the width of a disagreement that is known is found, and doubt is reported."""

from dataclasses import replace

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.raters.fitting import fit_width, halves, held_out, nearest
from nacl_monai.raters.masks import RatedMasks
from nacl_monai.raters.priors import FAMILIES, blur, window
from nacl_monai.raters.scores import score_priors

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


@pytest.mark.parametrize("spacing", [1.0, 1.6])
def test_width_of_annotators_who_deviate_is_recovered_in_mm(spacing):
    """Two errors, and the rounding of one of the masks to voxels; within the fit's own interval."""
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
        assert np.array_equal(fit.scores, scores.errors(metric)[1:, 0])
        lowest = fit.widths[fit.scores.argmin()]
        assert fit.flat[0] <= lowest <= fit.flat[1]
        assert fit.low <= fit.best <= fit.high
        assert abs(np.log(fit.best / lowest)) <= np.log(fit.widths[1] / fit.widths[0])
        assert scores.priors[nearest(scores, "blur", fit.best)].family == "blur"


def test_parabola_finds_a_minimum_between_widths():
    """Exactly, for curves that are parabolas in the logarithm."""
    from nacl_monai.raters.fitting import _lowest

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


def test_held_out_half_is_the_other_half():
    """The numbers are those of the test patients, by the nearest width that was tried."""
    scores = scored(20)
    table = held_out(scores, "blur", "NACL 3×3", band=1, seed=3).set_index("metric")
    training = halves(20, 3)
    test = scores.select(~training)
    fit = fit_width(scores.select(training), "blur", band=1)
    mine = nearest(scores, "blur", fit.best)

    assert training.sum() == 10
    for metric, row in table.iterrows():
        assert row["width"] == scores.priors[mine].width
        assert row["fitted"] == test.errors(metric)[mine, 1]
        assert row["rival"] == test.errors(metric)[0, 1]
        assert row["low"] <= row["difference"] <= row["high"]
        own = test.by_patient(metric)[:, :, 1]
        assert row["better"] == (own[:, mine] < own[:, 0]).sum()
    assert table.loc["brier", "difference"] < 0


def test_patient_without_a_voxel_in_the_band_is_no_patient():
    """The fit and its interval are those of the others."""
    scores = scored(6)
    empty = replace(
        scores,
        patients=[*scores.patients, "empty"],
        **{
            kind: np.concatenate([getattr(scores, kind), 0 * getattr(scores, kind)[:1]])
            for kind in ("counts", "positives", "confidences", "brier", "nll")
        },
    )

    found, expected = (fit_width(one, "blur") for one in (empty, scores))
    assert (found.best, found.low, found.high) == (expected.best, expected.low, expected.high)
    assert found.patients == 6
    with pytest.raises(InputError, match="--band: is 2 mm, and no voxel is so near to a border"):
        fit_width(empty.select(np.arange(7) == 6), "blur", band=0)


def test_families_without_widths_are_refused():
    """A window in voxels has none."""
    with pytest.raises(InputError, match="'window' has 0 widths"):
        fit_width(scored(2), "window")
    with pytest.raises(InputError, match="'blur' has 8 widths by 'dice'"):
        fit_width(scored(2), "blur", "dice")
    assert set(FAMILIES) == {"blur", "distance", "mean"}
