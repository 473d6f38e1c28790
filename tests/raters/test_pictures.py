"""Pictures: what is drawn is what was scored."""

import numpy as np

from nacl_monai.raters.masks import RatedMasks
from nacl_monai.raters.pictures import draw_reliability, draw_widths
from nacl_monai.raters.priors import FAMILIES, hard, svls, window
from nacl_monai.raters.scores import score_priors


def scores():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:30, :30] - 14.5
    images = [
        RatedMasks(np.hypot(x, y) < 8 + rng.standard_normal((2, 3, 1, 1)), (1.0, 1.0), f"{k}")
        for k in range(5)
    ]
    priors = [hard(), svls(), window(3)]
    priors += [family(width) for family in FAMILIES.values() for width in (0.5, 1.0, 2.0)]
    return score_priors(images, priors, [2.0])


def test_points_are_the_bins():
    """Confidence and accuracy of every prior, and its error in the title."""
    scored = scores()
    figure = draw_reliability(scored, [0, 3], 0)

    for axes, k in zip(figure.axes, (0, 3), strict=True):
        confidence, accuracy, _ = scored.reliability(k, 0)
        points = np.ma.filled(axes.collections[0].get_offsets().astype(float), np.nan)
        np.testing.assert_allclose(points, np.c_[confidence, accuracy])
        assert axes.get_title() == (
            f"{scored.priors[k].label}\nECE {scored.errors('ece')[k, 0]:.3f}"
        )


def test_curves_are_the_scores_by_width():
    """One curve per family, one panel per kind of nodules."""
    scored = scores()
    figure = draw_widths({"all": scored, "some": scored}, "brier", 0)

    assert [axes.get_title() for axes in figure.axes] == [
        "nodules that all marked",
        "nodules that some marked",
    ]
    for axes in figure.axes:
        curves = {line.get_label(): line.get_ydata() for line in axes.lines}
        for k, family in enumerate(FAMILIES):
            expected = scored.errors("brier")[3 + 3 * k : 6 + 3 * k, 0]
            np.testing.assert_allclose(curves[family], expected)
