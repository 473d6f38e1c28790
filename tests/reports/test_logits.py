"""The logit figures show the sums and counts that were written."""

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.reports import draw_class_logits, draw_epoch_logits, read_runs
from nacl_monai.reports.__main__ import main
from nacl_monai.reports.logits import LEVELS, EpochLogits, epoch_quantiles, read_epoch_logits


def panels(figure):
    """The panels of the methods, by their titles."""
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


class TestClassLogits:
    def test_bars(self, runs, folders):
        """Each bar is a mean |logit|: sum over count; bars of one output stand side by side."""
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

    def test_absent_class(self, copies, change_arrays):
        """A class without a voxel in the test set has no bars, and raises nothing."""
        path = copies[0] / "evaluation" / "logits.npz"
        change_arrays(
            path,
            lambda arrays: (arrays["counts"].__setitem__(2, 0), arrays["sums"].__setitem__(2, 0)),
        )

        axes = panels(draw_class_logits(read_runs(copies)))["ce_dice"]

        assert all(np.isnan(bars[2].get_height()) for bars in axes.containers)

    def test_other_classes(self, copies, change_arrays):
        """Runs of other classes are not put side by side."""
        path = copies[1] / "evaluation" / "logits.npz"
        change_arrays(path, lambda arrays: arrays.update(classes=arrays["classes"][::-1]))

        with pytest.raises(InputError, match="classes are not those"):
            draw_class_logits(read_runs(copies))


class TestEpochLogits:
    def test_shares(self, runs, folders):
        """The color is each bin's share of its epoch's voxels; bins without any stay white."""
        figure = draw_epoch_logits(runs)
        for name, folder in zip(("CE + Dice", "NACL"), folders, strict=True):
            counts = np.load(folder / "logit_histogram.npz")["counts"]
            (mesh,) = panels(figure)[name].collections

            drawn = np.ma.filled(np.ma.masked_invalid(mesh.get_array()), 0).T

            expected = counts[:, 1:-1] / counts.sum(axis=1)[:, None]
            np.testing.assert_allclose(drawn[expected >= 1e-5], expected[expected >= 1e-5])
            assert (drawn[expected < 1e-5] == 0).all()

    def test_range(self, runs, folders):
        """All panels reach from the lowest to the highest bin that any of them shows."""
        ends = []
        for folder in folders:
            histogram = np.load(folder / "logit_histogram.npz")
            used = np.flatnonzero(histogram["counts"][:, 1:-1].sum(axis=0))
            ends += [histogram["edges"][used[0]], histogram["edges"][used[-1] + 1]]

        for axes in panels(draw_epoch_logits(runs)).values():
            assert axes.get_ylim() == (min(ends), max(ends))

    def test_quantiles(self):
        """The quantiles are those of voxels spread evenly over their bins."""
        rng = np.random.default_rng(0)
        counts = rng.integers(0, 50, (2, 12))
        counts[:, [0, -1]] = 0
        edges = np.arange(11) / 2
        found = epoch_quantiles(EpochLogits(np.arange(2), edges, counts), [0.1, 0.5, 0.9])

        for row, quantiles in zip(counts[:, 1:-1], found, strict=True):
            fine = np.concatenate(
                [
                    edges[m] + (np.arange(1000 * n) + 0.5) / (2000 * n)
                    for m, n in enumerate(row)
                    if n
                ]
            )
            np.testing.assert_allclose(np.quantile(fine, [0.1, 0.5, 0.9]), quantiles, atol=1e-3)

    def test_lines(self, runs, folders):
        """Median and outer quantiles are drawn over the epochs."""
        for name, folder in zip(("CE + Dice", "NACL"), folders, strict=True):
            lines = panels(draw_epoch_logits(runs))[name].lines
            expected = epoch_quantiles(read_epoch_logits(folder)).T

            assert len(lines) == len(LEVELS)
            for line, values in zip(lines, expected, strict=True):
                np.testing.assert_array_equal(line.get_ydata(), values)

    def test_outside_the_grid(self, copies, change_arrays):
        """What lies outside the grid is said in the caption; nothing is said of nothing."""
        assert "Below" not in draw_epoch_logits(read_runs(copies)).get_supxlabel()

        def edit(arrays):
            arrays["counts"][:, -1] = arrays["counts"].sum(axis=1)

        change_arrays(copies[1] / "logit_histogram.npz", edit)

        caption = draw_epoch_logits(read_runs(copies)).get_supxlabel()
        assert "Below -10 or above 50: nacl 50.00%." in caption

    def test_one_epoch(self, copies, change_arrays):
        """A training of one epoch has a figure."""
        for folder in copies:
            change_arrays(
                folder / "logit_histogram.npz",
                lambda arrays: arrays.update(
                    epochs=arrays["epochs"][:1], counts=arrays["counts"][:1]
                ),
            )

        assert len(panels(draw_epoch_logits(read_runs(copies)))) == 2


@pytest.mark.parametrize("draw", [draw_class_logits, draw_epoch_logits])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_any_number_of_methods(folders, draw, n):
    """One method has a figure, and more than fit into a line go on in the next."""
    names = [f"method {k}" for k in range(n)]

    assert list(panels(draw(read_runs([folders[k % 2] for k in range(n)], names)))) == names


class TestCommand:
    def test_files(self, folders, tmp_path, capsys):
        """Both figures are written, and it says where they are."""
        code = main(["logits", *map(str, folders), "--output", str(tmp_path), "--names", "a", "b"])

        printed = capsys.readouterr()
        assert (code, printed.err) == (0, "")
        names = {
            f"{stem}.{end}" for stem in ("logits", "logit_histogram") for end in ("png", "svg")
        }
        assert {path.name for path in tmp_path.iterdir()} == names
        assert all(f"wrote {tmp_path / name}" in printed.out for name in names)

    @pytest.mark.parametrize(
        ("file", "remedy"),
        [
            ("evaluation/logits.npz", "make evaluate"),
            ("logit_histogram.npz", "train the run again"),
        ],
    )
    @pytest.mark.parametrize("content", [None, b"", "shape"])
    def test_unusable_file(self, copies, change_arrays, tmp_path, capsys, file, remedy, content):
        """A missing, damaged or misshapen file is one line that names it; nothing is written."""
        path = copies[1] / file
        if content == "shape":
            change_arrays(path, lambda arrays: arrays.update(counts=arrays["counts"][:-1]))
        else:
            path.unlink()
            path.write_bytes(content) if content is not None else None
        output = tmp_path / "report"

        code = main(["logits", *map(str, copies), "--output", str(output)])

        error = capsys.readouterr().err
        assert code == 1
        assert error.startswith(f"error: {path}: ")
        assert error.count("\n") == 1
        assert remedy in error or "evaluate the run again" in error
        assert not output.exists()
