"""Reliability curves are those of a slow loop over the bins, and diagrams show them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from nacl_monai.evaluations import pooled_band, read_run, read_runs
from nacl_monai.evaluations.evaluated import by_rater, human_run, run_of_bins
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.reports import draw_reliability, reliability_curve
from nacl_monai.reports.reliability import BAND_RESAMPLES, OVER, UNDER, risk_curve
from tests.evaluated_runs import slow_curve
from tests.same import same_bits


def bars(axes, label):
    """Bars of one kind: from where to where they reach, by their center."""
    (container,) = (c for c in axes.containers if c.get_label() == label)
    return {
        round(bar.get_x() + bar.get_width() / 2, 6): (
            bar.get_y(),
            bar.get_y() + bar.get_height(),
            to_hex(bar.get_facecolor()),
        )
        for bar in container
    }


def diagrams(figure):
    """The diagrams and the histograms below them, left to right."""
    shown = [axes for axes in figure.axes if axes.axison]
    return (
        [axes for axes in shown if axes.get_title()],
        [axes for axes in shown if not axes.get_title()],
    )


@pytest.mark.parametrize(("region", "class_name"), [("foreground", "top-1"), ("all", "myocardium")])
class TestFigureShowsTheCurve:
    """What `test_curve_is_that_of_a_slow_loop` compares with the bins."""

    def test_bars_reach_accuracy_and_confidence(self, runs, region, class_name):
        """Blue reaches the accuracy, the gap bar spans from there to the mean confidence."""
        axes, _ = diagrams(draw_reliability(runs, region=region, class_name=class_name))

        for ax, run in zip(axes, runs, strict=True):
            curve = reliability_curve(run, region, class_name)
            blue = bars(ax, "accuracy")
            gaps = bars(ax, "overconfident") | bars(ax, "underconfident")
            used = np.flatnonzero(~np.isnan(curve.accuracy))
            assert len(used) == len(blue) > 5
            for m in used:
                center, right, claimed = (m + 0.5) / 15, curve.accuracy[m], curve.confidence[m]
                assert blue[round(center, 6)][:2] == pytest.approx((0, right))
                *ends, color = gaps[round(center, 6)]
                assert ends == pytest.approx([right, claimed])
                assert color == to_hex((OVER if claimed > right else UNDER)["facecolor"])

    def test_histogram_is_the_share_of_voxels(self, runs, region, class_name):
        """Together the bars are all voxels."""
        _, histograms = diagrams(draw_reliability(runs, region=region, class_name=class_name))

        for ax, run in zip(histograms, runs, strict=True):
            heights = [bar.get_height() for bar in ax.patches]
            assert heights == pytest.approx(reliability_curve(run, region, class_name).share)
            assert sum(heights) == pytest.approx(1)

    def test_corner_tells_the_two_errors_apart(self, runs, region, class_name):
        """One is a mean over cases, one is of all voxels; their number is below."""
        axes, _ = diagrams(draw_reliability(runs, region=region, class_name=class_name))

        name = "ECE" if class_name == "top-1" else "Error"
        for ax, run in zip(axes, runs, strict=True):
            curve = reliability_curve(run, region, class_name)
            (text,) = ax.texts
            assert text.get_text() == (
                f"{name} {curve.mean_error:.3f} (cases)\n{name} {curve.error:.3f} (pooled)\n"
                f"{curve.voxels:,} voxels"
            )


class TestFigure:
    def test_band_is_drawn(self, runs):
        """The whiskers of a bin reach from the lower to the upper end of the band."""
        axes, _ = diagrams(draw_reliability(runs, resamples=50))
        curve = reliability_curve(runs[0], resamples=50)
        used = ~np.isnan(curve.lower)

        (whiskers,) = axes[0].collections
        ends = np.array(whiskers.get_segments())[:, :, 1]

        np.testing.assert_allclose(ends, np.stack([curve.lower, curve.upper], 1)[used])

    @pytest.mark.parametrize(("empty", "message"), [(2, "(cases: 5 of 7)"), (7, "no voxels")])
    def test_cases_without_the_region_are_counted(self, copies, empty_foreground, empty, message):
        """A case without the region is left out; without any voxel the corner says so."""
        for folder in copies:
            empty_foreground(folder, empty)

        axes, _ = diagrams(draw_reliability(read_runs(copies), resamples=10))

        assert message in axes[0].texts[0].get_text()

    def test_picture_of_a_page_leaves_errors_to_its_table(self, runs):
        """So that a page has one ECE; the number of voxels stays."""
        figure = draw_reliability(runs, resamples=10, errors=False)
        (text,) = {axis.texts[0].get_text() for axis in diagrams(figure)[0]}

        assert text.endswith(" voxels")
        assert "ECE" not in text + figure.get_supxlabel()

    def test_caption_names_the_unit_of_resampling(self, runs):
        """The caption says whether cases or patients were resampled."""
        patients = [
            replace(run, patients=pd.Series(list("aabbccd"), run.metrics.index, name="patient"))
            for run in runs
        ]

        for shown, unit in ((runs, "7 cases"), (patients, "4 patients")):
            caption = draw_reliability(shown).get_supxlabel()
            assert f"{unit} are resampled 1,000 times" in caption

    @pytest.mark.parametrize(
        ("class_name", "terms"),
        [
            ("top-1", ("ECE", "Accuracy", "Confidence")),
            ("LV", ("Error", "How often it is LV", "Probability of LV")),
        ],
    )
    def test_words_are_those_of_the_class(self, runs, class_name, terms):
        """A single class has a probability, not a confidence, and an error, not an ECE."""
        figure = draw_reliability(runs, class_name=class_name, resamples=10)
        axes, histograms = diagrams(figure)

        error, accuracy, confidence = terms
        assert [ax.get_ylabel() for ax in axes] == [accuracy, ""]
        assert [ax.get_ylabel() for ax in histograms] == ["Share of voxels", ""]
        assert {ax.get_xlabel() for ax in histograms} == {confidence}
        assert axes[0].texts[0].get_text().startswith(f"{error} 0.")
        assert f"test cases. {error} (cases): mean" in figure.get_supxlabel()

    @pytest.mark.parametrize(
        ("regions", "region", "message"),
        [
            (["all", "foreground"], None, "Voxels labeled as foreground in 7 test cases."),
            (["near", "foreground"], "foreground", "Voxels labeled as foreground in 7 test cases."),
            (["near", "foreground"], None, "Voxels near what is predicted in 7 test cases."),
            (["all", "wall"], "wall", "Voxels of the region wall in 7 test cases."),
        ],
    )
    def test_caption_says_which_voxels_were_counted(self, runs, regions, region, message):
        """By the meaning of the region, or the user's name; those near the prediction lead."""
        shown = [replace(run, bins=replace(run.bins, regions=regions)) for run in runs]

        caption = draw_reliability(shown, region=region, resamples=10).get_supxlabel()

        assert caption.startswith(message)


@pytest.mark.parametrize(("region", "class_name"), [("foreground", "top-1"), ("all", "myocardium")])
def test_curve_is_that_of_a_slow_loop(runs, folders, region, class_name):
    """Accuracy, confidence and share per bin, the two errors and the number of voxels."""
    for run, folder in zip(runs, folders, strict=True):
        accuracy, confidence, share, pooled, mean, total = slow_curve(folder, region, class_name)

        curve = reliability_curve(run, region, class_name)

        np.testing.assert_allclose(curve.accuracy, accuracy)
        np.testing.assert_allclose(curve.confidence, confidence)
        np.testing.assert_allclose(curve.share, share)
        assert (curve.error, curve.mean_error) == pytest.approx((pooled, mean))
        assert (curve.cases, curve.voxels) == (7, total)


def test_band_is_that_of_the_patients(runs):
    """Cases of one patient are drawn together, as often as the caller wants, 1000 times by default."""
    patients = list("aabbccd")
    run = replace(runs[0], patients=pd.Series(patients, runs[0].metrics.index, name="patient"))
    arrays = {key: sums[:, 0] for key, sums in run.bins.select("all", "LV").arrays().items()}

    for options in ({}, {"resamples": 30}, {"seed": 5}):
        curve = reliability_curve(run, "all", "LV", **options)
        options = {"resamples": BAND_RESAMPLES, **options}
        expected = pooled_band(arrays["positives"], arrays["counts"], patients, **options)
        same_bits([curve.lower, curve.upper], expected, "the same draws from the same bins")


def test_cases_without_the_region_are_left_out(copies, empty_foreground):
    """They have no error, so that the mean is over the others; without any voxel it is undefined."""
    whole = reliability_curve(read_run(copies[0]))

    empty_foreground(copies[0], 2)
    run = read_run(copies[0])
    curve = reliability_curve(run)
    assert curve.cases == 5
    assert curve.voxels < whole.voxels
    assert curve.mean_error == pytest.approx(run.metrics["ece_foreground"].iloc[2:].mean())

    empty_foreground(copies[0], 7)
    curve = reliability_curve(read_run(copies[0]))
    assert (curve.cases, curve.voxels) == (0, 0)
    assert np.isnan([curve.mean_error, *curve.accuracy, *curve.share, *curve.lower]).all()


SHAPE = (6, 5, 4)


@pytest.fixture
def run():
    """Two cases of two classes, labeled by three raters."""
    rng = np.random.default_rng(0)
    metric = CalibrationMetric(regions=["all"], num_raters=3)
    for _ in range(2):
        inside = rng.random(SHAPE)
        labels = rng.random((3, *SHAPE)) < inside
        metric([np.stack([1 - inside, inside])], [labels.astype(int)])
    bins = metric.record(["a", "b"], ["background", "organ"], raters=["anna", "ben", "cara"])
    return run_of_bins(bins, "model")


@pytest.fixture
def single(run):
    """The same of one rater."""
    return replace(run, bins=replace(run.bins, raters=[], human=None))


def test_share_is_called_so_and_stands_alone_where_no_rater_was_kept(run, single):
    """As in a merged audit."""
    assert [shown.name for shown in by_rater(run)] == ["share of 3 raters"]
    assert by_rater(single) == [single]
    assert human_run(single) is None


def test_raters_have_the_errors_of_their_bins(run):
    """As a model has."""
    human = human_run(run)

    same_bits(human.metrics["ece_all"], run.bins.human.ece()[:, 0], "the same bins")
    assert human.unit == "cases"


def test_voxels_are_counted_once(run):
    """Not once for each rater, in diagrams and curves."""
    assert reliability_curve(run, "all").voxels == 2 * np.prod(SHAPE)
    assert risk_curve(run, "all").voxels == 2 * np.prod(SHAPE)


@pytest.mark.parametrize(
    ("name", "row", "shares"), [("top-1", 0, [0.5, 1]), ("organ", 2, [0, 0.5, 1])]
)
def test_human_line_has_a_point_for_each_share_of_the_others(run, name, row, shares):
    """Half of two others, and all of them: how often a rater says the same."""
    curve = reliability_curve(run, "all", name)
    sums = run.bins.human.pooled()[0, row]
    used = sums.counts > 0
    same = sums.positives[used] / sums.counts[used]

    np.testing.assert_allclose(curve.human[0], shares)
    np.testing.assert_allclose(curve.human[1], same)
    axes = draw_reliability([run], region="all", class_name=name).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "raters"]
    np.testing.assert_allclose(line.get_data(), [shares, same])


def test_single_rater_has_no_line(single):
    """Nor a word of raters in diagram or key."""
    figure = draw_reliability([single], region="all")

    assert "raters" not in [line.get_label() for line in figure.axes[0].lines]
    assert "raters" not in [text.get_text() for text in figure.legends[0].texts]
