"""The sums and counts of logits are read as written, and the figures show them."""

import numpy as np
import pytest

from nacl_monai.reports import draw_class_logits, draw_epoch_logits, read_runs
from nacl_monai.reports.logits import LEVELS, EpochLogits, read_class_logits, read_epoch_logits
from tests.reports.conftest import refused


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
                np.testing.assert_array_equal(line.get_ydata(), values)
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


class TestClassLogitsFile:
    def test_absent_class_has_no_mean(self, copies, change_arrays):
        """Nothing is divided by nothing, without a warning."""

        def without_class(arrays):
            arrays["counts"][2], arrays["sums"][2] = 0, 0

        change_arrays(copies[0] / "evaluation" / "logits.npz", without_class)

        means = read_class_logits(copies[0]).means

        assert np.isnan(means).any(axis=1).tolist() == [False, False, True, False]

    def test_cross_validation_has_to_name_a_fold(self, copies):
        """Logits are of one network; the message names a fold to choose."""
        fold = copies[0].rename(copies[0].with_name("unet_nacl_fold=0_seed1"))
        folder = fold.with_name("unet_nacl_seed1")

        assert refused(read_class_logits, folder) == (
            f"{folder}: logits are drawn of single runs; name a fold, such as {fold}"
        )


@pytest.mark.parametrize(
    ("name", "read", "said"),
    [
        ("evaluation/logits.npz", read_class_logits, "and (4,); evaluate the run again"),
        ("logit_histogram.npz", read_epoch_logits, "not (30, 242); train the run again"),
    ],
)
def test_misshapen_file_is_refused(copies, change_arrays, name, read, said):
    """The line names it, and the shape that it should have."""
    path = copies[1] / name
    change_arrays(path, lambda arrays: arrays.update(counts=arrays["counts"][:-1]))

    line = refused(read, copies[1])
    assert line.startswith(f"{path}: ")
    assert line.endswith(said)


class TestEpochLogitsFile:
    logits = EpochLogits(
        epochs=np.arange(1, 3),
        edges=np.array([0.0, 1.0, 3.0]),
        counts=np.array([[1, 2, 3, 4], [0, 0, 10, 0]]),
    )

    def test_shares_are_of_all_voxels_of_the_epoch(self):
        """Those below and above the edges count, but have no bin."""
        np.testing.assert_allclose(self.logits.shares, [[0.2, 0.3], [0.0, 1.0]])

    def test_quantiles_beyond_the_edges_are_the_edges(self):
        """Half of the second bin's ten voxels are below its middle."""
        quantiles = self.logits.quantiles([0.05, 0.5, 0.95])

        np.testing.assert_allclose(quantiles[0], [0, 1 + 2 * 2 / 3, 3])
        assert quantiles[1, 1] == pytest.approx(2)

    def test_quantiles_are_those_of_voxels_spread_evenly(self):
        """Each bin's voxels are at equal distances."""
        counts = np.random.default_rng(0).integers(0, 50, (2, 12))
        counts[:, [0, -1]] = 0
        edges, levels = np.arange(11) / 2, [0.1, 0.5, 0.9]

        quantiles = EpochLogits(np.arange(2), edges, counts).quantiles(levels)

        for row, values in zip(counts[:, 1:-1], quantiles, strict=True):
            bins = zip(edges[:-1], edges[1:], row, strict=True)
            fine = np.concatenate([np.linspace(low, high, 1000 * n) for low, high, n in bins])
            np.testing.assert_allclose(np.quantile(fine, levels), values, atol=1e-3)
