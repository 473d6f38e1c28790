"""Reliability diagrams show the numbers of the curves, and say what they are."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from nacl_monai.reports import draw_reliability, read_runs, reliability_curve
from nacl_monai.reports.reliability import OVER, UNDER
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
