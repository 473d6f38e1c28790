"""Reliability curves are those of a slow loop over the bins, and diagrams show them."""

import dataclasses
import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.reports import draw_reliability, pooled_band, read_run, read_runs, reliability_curve
from nacl_monai.reports.evaluated import by_rater, human_run, run_of_bins
from nacl_monai.reports.reliability import BAND_RESAMPLES, OVER, UNDER
from nacl_monai.reports.selective import risk_curve
from tests.evaluated_runs import slow_curve


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
class TestFigureShowsTheBins:
    def test_bars_reach_accuracy_and_confidence(self, runs, folders, region, class_name):
        """Blue reaches the accuracy, the gap bar spans from there to the mean confidence."""
        axes, _ = diagrams(draw_reliability(runs, region=region, class_name=class_name))

        for ax, folder in zip(axes, folders, strict=True):
            accuracy, confidence, *_ = slow_curve(folder, region, class_name)
            blue = bars(ax, "accuracy")
            gaps = bars(ax, "overconfident") | bars(ax, "underconfident")
            drawn = 0
            for m, (right, claimed) in enumerate(zip(accuracy, confidence, strict=True)):
                center = round((m + 0.5) / 15, 6)
                if math.isnan(right):
                    assert center not in blue
                    continue
                assert blue[center][:2] == pytest.approx((0, right))
                assert gaps[center][:2] == pytest.approx((right, claimed))
                style = OVER if claimed > right else UNDER
                assert gaps[center][2] == to_hex(style["facecolor"])
                drawn += 1
            assert drawn == len(blue) > 5

    def test_histogram_is_the_share_of_voxels(self, runs, folders, region, class_name):
        """Together the bars are all voxels."""
        _, histograms = diagrams(draw_reliability(runs, region=region, class_name=class_name))

        for ax, folder in zip(histograms, folders, strict=True):
            heights = [bar.get_height() for bar in ax.patches]
            assert heights == pytest.approx(slow_curve(folder, region, class_name)[2])
            assert sum(heights) == pytest.approx(1)

    def test_corner_tells_the_two_errors_apart(self, runs, folders, region, class_name):
        """One is a mean over cases, one is of all voxels; their number is below."""
        axes, _ = diagrams(draw_reliability(runs, region=region, class_name=class_name))

        for ax, folder in zip(axes, folders, strict=True):
            *_, pooled, mean, total = slow_curve(folder, region, class_name)
            name = "ECE" if class_name == "top-1" else "Error"
            assert [text.get_text() for text in ax.texts] == [
                f"{name} {mean:.3f} (cases)\n{name} {pooled:.3f} (pooled)\n{total:,} voxels"
            ]


class TestFigure:
    def test_band_is_drawn(self, runs):
        """The whiskers of a bin reach from the lower to the upper end of the band."""
        axes, _ = diagrams(draw_reliability(runs, resamples=50))
        curve = reliability_curve(runs[0], resamples=50)
        used = ~np.isnan(curve.lower)

        (whiskers,) = axes[0].collections
        ends = np.array(whiskers.get_segments())[:, :, 1]

        np.testing.assert_allclose(ends, np.stack([curve.lower, curve.upper], 1)[used])

    @pytest.mark.parametrize("n", [1, 5])
    def test_any_number_of_methods(self, folders, n):
        """One method has a figure, and more than fit into a line go on in the next."""
        runs = read_runs([folders[k % 2] for k in range(n)], [f"method {k}" for k in range(n)])

        axes, histograms = diagrams(draw_reliability(runs, resamples=10))

        assert [ax.get_title() for ax in axes] == [run.name for run in runs]
        assert len(histograms) == n

    @pytest.mark.parametrize(("empty", "said"), [(2, "(cases: 5 of 7)"), (7, "no voxels")])
    def test_cases_without_the_region_are_counted(self, copies, empty_foreground, empty, said):
        """A case without the region is left out; without any voxel the corner says so."""
        for folder in copies:
            empty_foreground(folder, empty)

        axes, _ = diagrams(draw_reliability(read_runs(copies), resamples=10))

        assert said in axes[0].texts[0].get_text()

    def test_caption_names_the_unit_of_resampling(self, copies, change_cases):
        """The caption says whether cases or patients were resampled."""
        assert (
            "7 cases are resampled 1,000 times"
            in draw_reliability(read_runs(copies)).get_supxlabel()
        )

        for folder in copies:
            change_cases(folder, lambda table: table.assign(patient=list("aabbccd")))

        assert (
            "4 patients are resampled 1,000 times"
            in draw_reliability(read_runs(copies)).get_supxlabel()
        )

    @pytest.mark.parametrize(
        ("class_name", "words"),
        [
            ("top-1", ("ECE", "Accuracy", "Confidence")),
            ("LV", ("Error", "How often it is LV", "Probability of LV")),
        ],
    )
    def test_words_are_those_of_the_class(self, runs, class_name, words):
        """A single class has a probability, not a confidence, and an error, not an ECE."""
        figure = draw_reliability(runs, class_name=class_name, resamples=10)
        axes, histograms = diagrams(figure)

        error, accuracy, confidence = words
        assert [ax.get_ylabel() for ax in axes] == [accuracy, ""]
        assert [ax.get_ylabel() for ax in histograms] == ["Share of\nvoxels", ""]
        assert {ax.get_xlabel() for ax in histograms} == {confidence}
        assert axes[0].texts[0].get_text().startswith(f"{error} 0.")
        assert f"test cases. {error} (cases): mean" in figure.get_supxlabel()

    def test_region_that_leads_is_near_the_prediction(self, copies, change_arrays):
        """Where nobody asks for another, and it was counted."""
        for folder in copies:
            change_arrays(
                folder / "evaluation/bins.npz",
                lambda arrays: arrays.update(regions=["near", "foreground"]),
            )
        runs = read_runs(copies)

        for region, voxels in ((None, "near what is predicted"), ("foreground", "labeled as")):
            caption = draw_reliability(runs, region=region, resamples=10).get_supxlabel()
            assert caption.startswith(f"Voxels {voxels}")

    def test_caption_says_which_voxels_were_counted(self, copies, runs, change_arrays):
        """A region of the package by its meaning, one of the user's own by its name."""
        caption = draw_reliability(runs, resamples=10).get_supxlabel()
        assert caption.startswith("Voxels labeled as foreground in 7 test cases.")

        for folder in copies:
            change_arrays(
                folder / "evaluation/bins.npz",
                lambda arrays: arrays.update(regions=["all", "wall"]),
            )
        caption = draw_reliability(read_runs(copies), region="wall", resamples=10).get_supxlabel()
        assert caption.startswith("Voxels of the region wall in 7 test cases.")


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


def test_mean_error_is_the_tables(runs):
    """On the foreground the mean over cases is the table's ECE."""
    for run in runs:
        assert reliability_curve(run).mean_error == pytest.approx(
            run.metrics["ece_foreground"].mean()
        )


def test_band_is_that_of_the_patients(copies, change_cases):
    """Cases of one patient are drawn together, as often as the caller wants, 1000 times by default."""
    change_cases(copies[0], lambda table: table.assign(patient=list("aabbccd")))
    run = read_runs(copies[:1])[0]
    arrays = {key: sums[:, 0] for key, sums in run.bins.select("all", "LV").arrays().items()}

    for options in ({}, {"resamples": 30}, {"seed": 5}):
        curve = reliability_curve(run, "all", "LV", **options)
        expected = pooled_band(
            arrays["positives"],
            arrays["counts"],
            list("aabbccd"),
            **{"resamples": BAND_RESAMPLES, **options},
        )
        np.testing.assert_array_equal([curve.lower, curve.upper], expected)


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


def test_unknown_region_is_refused(runs):
    """With the names to choose from."""
    with pytest.raises(InputError, match="no region 'brain'; choose from all, foreground"):
        reliability_curve(runs[0], "brain")


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


def test_share_is_called_so_and_stands_alone_where_no_rater_was_kept(run):
    """As in a merged audit."""
    assert [one.name for one in by_rater(run)] == ["share of 3 raters"]
    plain = run_of_bins(dataclasses.replace(run.bins, raters=[], human=None), "model")
    assert by_rater(plain) == [plain]
    assert human_run(plain) is None


def test_raters_have_the_errors_of_their_bins(run):
    """As a model has."""
    human = human_run(run)

    np.testing.assert_array_equal(human.metrics["ece_all"], run.bins.human.ece()[:, 0])
    assert human.unit == "cases"


def test_voxels_are_counted_once(run):
    """Not once for each rater, in diagrams and curves."""
    assert reliability_curve(run, "all").voxels == 2 * np.prod(SHAPE)
    assert risk_curve(run, "all").voxels == 2 * np.prod(SHAPE)


@pytest.mark.parametrize(("name", "row"), [("top-1", 0), ("organ", 2)])
def test_human_line_has_a_point_for_each_share_of_the_others(run, name, row):
    """Half of two others, and all of them: how often a rater says the same."""
    curve = reliability_curve(run, "all", name)
    sums = run.bins.human.pooled()[0, row]
    used = sums.counts > 0

    expected = sums.confidences[used] / sums.counts[used], sums.positives[used] / sums.counts[used]
    for drawn, numbers in zip(curve.human, expected, strict=True):
        np.testing.assert_allclose(drawn, numbers)
    shares = {"top-1": [0.5, 1], "organ": [0, 0.5, 1]}[name]
    np.testing.assert_allclose(curve.human[0], shares)
    axes = draw_reliability([run], region="all", class_name=name).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "raters"]
    np.testing.assert_allclose(line.get_ydata(), expected[1])


def test_single_rater_has_no_line(run):
    """Nor a word of raters in diagram or key."""
    plain = run_of_bins(dataclasses.replace(run.bins, raters=[], human=None), "model")
    figure = draw_reliability([plain], region="all")

    assert "raters" not in [line.get_label() for line in figure.axes[0].lines]
    assert "raters" not in [text.get_text() for text in figure.legends[0].texts]
