"""The sums and counts of logits are read as written, and the figures show them."""

import numpy as np
import pytest

from nacl_monai.evaluations import read_runs
from nacl_monai.evaluations.logits import read_epoch_logits
from nacl_monai.reports import draw_class_logits, draw_epoch_logits
from nacl_monai.reports.logits import LEVELS
from tests.conftest import refused
from tests.same import same_bits


def panels(figure):
    """The panels of the methods, by their titles."""
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


class TestClassLogits:
    def test_bars_are_means_per_true_class(self, runs, folders):
        """Each bar is a mean |logit|: sum over count; bars of one output are side by side."""
        for name, folder in zip(("CE + Dice", "NACL"), folders, strict=True):
            profile = np.load(folder / "evaluation" / "logits.npz")
            axes = panels(draw_class_logits(runs))[name]

            for output, bars in enumerate(axes.containers):
                for true, bar in enumerate(bars):
                    expected = profile["sums"][true, output] / profile["counts"][true]
                    assert bar.get_height() == pytest.approx(expected)
                    assert round(bar.get_x() + bar.get_width() / 2) == true
            assert [label.get_text() for label in axes.get_xticklabels()] == list(
                profile["classes"]
            )

    def test_runs_of_other_classes_are_refused(self, copies, change_arrays):
        """Runs of other classes are not put side by side."""
        path = copies[1] / "evaluation" / "logits.npz"
        change_arrays(path, lambda arrays: arrays.update(classes=arrays["classes"][::-1]))

        assert "classes are not those" in refused(draw_class_logits, read_runs(copies))


class TestEpochLogits:
    def test_color_is_the_share_of_the_epochs_voxels(self, runs, folders):
        """Bins with hardly any voxel stay white."""
        figure = draw_epoch_logits(runs)
        for name, folder in zip(("CE + Dice", "NACL"), folders, strict=True):
            counts = np.load(folder / "logit_histogram.npz")["counts"]
            (mesh,) = panels(figure)[name].collections

            drawn = np.ma.filled(np.ma.masked_invalid(mesh.get_array()), 0).T

            expected = counts[:, 1:-1] / counts.sum(axis=1)[:, None]
            np.testing.assert_allclose(drawn[expected >= 1e-5], expected[expected >= 1e-5])
            assert (drawn[expected < 1e-5] == 0).all()

    def test_panels_share_the_range_that_is_used(self, runs, folders):
        """All panels reach from the lowest to the highest bin that any of them shows."""
        ends = []
        for folder in folders:
            histogram = np.load(folder / "logit_histogram.npz")
            used = np.flatnonzero(histogram["counts"][:, 1:-1].sum(axis=0))
            ends += [histogram["edges"][used[0]], histogram["edges"][used[-1] + 1]]

        for axes in panels(draw_epoch_logits(runs)).values():
            assert axes.get_ylim() == (min(ends), max(ends))

    def test_lines_are_median_and_outer_quantiles(self, runs, folders):
        """They are drawn over the epochs; median and outer lines differ in style."""
        for name, folder in zip(("CE + Dice", "NACL"), folders, strict=True):
            lines = panels(draw_epoch_logits(runs))[name].lines
            expected = read_epoch_logits(folder).quantiles(LEVELS).T

            assert len(lines) == len(LEVELS)
            for line, values in zip(lines, expected, strict=True):
                same_bits(line.get_ydata(), values, "a line holds what it is given")
            assert [line.get_linestyle() for line in lines] == [":", "-", ":"]

    def test_caption_tells_what_lies_outside_the_edges(self, copies, change_arrays):
        """Nothing is told where nothing is outside."""
        assert "Below" not in draw_epoch_logits(read_runs(copies)).get_supxlabel()

        def edit(arrays):
            arrays["counts"][:, -1] = arrays["counts"].sum(axis=1)

        change_arrays(copies[1] / "logit_histogram.npz", edit)

        caption = draw_epoch_logits(read_runs(copies)).get_supxlabel()
        assert "Below -10 or above 50: nacl 50.00%." in caption

    def test_single_epoch_is_drawn_as_dots(self, copies, change_arrays):
        """A line through one point would be invisible."""

        def first_epoch(arrays):
            arrays |= {key: arrays[key][:1] for key in ("epochs", "counts")}

        for folder in copies:
            change_arrays(folder / "logit_histogram.npz", first_epoch)

        shown = panels(draw_epoch_logits(read_runs(copies)))
        assert len(shown) == 2
        assert {line.get_marker() for axes in shown.values() for line in axes.lines} == {"o"}
