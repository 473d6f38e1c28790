"""Reliability diagrams show the numbers that a slow loop finds in the bins."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from nacl_monai.reports import bootstrap_band, draw_reliability, read_runs, reliability_curve
from nacl_monai.reports.reliability import OVER, UNDER


def slow_curve(folder, region, row):
    """Accuracy, confidence and share per bin, pooled ECE and mean ECE, voxel sum by voxel sum."""
    with np.load(folder / "evaluation" / "bins.npz") as archive:
        r, k = list(archive["regions"]).index(region), list(archive["classes"]).index(row)
        counts, positives, confidences = (
            archive[key][:, r, k] for key in ("counts", "positives", "confidences")
        )
    cases, bins = counts.shape
    total = sum(int(counts[n, m]) for n in range(cases) for m in range(bins))
    accuracy, confidence, share, pooled = [], [], [], 0.0
    for m in range(bins):
        inside = sum(int(counts[n, m]) for n in range(cases))
        right = sum(int(positives[n, m]) for n in range(cases))
        said = sum(float(confidences[n, m]) for n in range(cases))
        accuracy.append(right / inside if inside else math.nan)
        confidence.append(said / inside if inside else math.nan)
        share.append(inside / total)
        if inside:
            pooled += inside / total * abs(right / inside - said / inside)
    errors = []
    for n in range(cases):
        error, size = 0.0, int(counts[n].sum())
        for m in range(bins):
            if counts[n, m]:
                inside = counts[n, m]
                gap = abs(positives[n, m] / inside - confidences[n, m] / inside)
                error += inside / size * gap
        errors.append(error)
    return accuracy, confidence, share, pooled, sum(errors) / cases, total


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


@pytest.mark.parametrize(("region", "row"), [("foreground", "top-1"), ("all", "myocardium")])
class TestFigureShowsTheBins:
    def test_bars(self, runs, folders, region, row):
        """Blue reaches the accuracy, the gap bar spans from there to the mean confidence."""
        axes, _ = diagrams(draw_reliability(runs, region=region, row=row))

        for ax, folder in zip(axes, folders, strict=True):
            accuracy, confidence, *_ = slow_curve(folder, region, row)
            blue = bars(ax, "accuracy")
            gaps = bars(ax, "overconfident") | bars(ax, "underconfident")
            drawn = 0
            for m, (right, said) in enumerate(zip(accuracy, confidence, strict=True)):
                center = round((m + 0.5) / 15, 6)
                if math.isnan(right):
                    assert center not in blue
                    continue
                assert blue[center][:2] == pytest.approx((0, right))
                assert gaps[center][:2] == pytest.approx((right, said))
                style = OVER if said > right else UNDER
                assert gaps[center][2] == to_hex(style["facecolor"])
                drawn += 1
            assert drawn == len(blue) > 5

    def test_histogram(self, runs, folders, region, row):
        """Below stands the share of voxels per bin; together they are all voxels."""
        _, histograms = diagrams(draw_reliability(runs, region=region, row=row))

        for ax, folder in zip(histograms, folders, strict=True):
            heights = [bar.get_height() for bar in ax.patches]
            assert heights == pytest.approx(slow_curve(folder, region, row)[2])
            assert sum(heights) == pytest.approx(1)

    def test_corner(self, runs, folders, region, row):
        """The corner says which error is which, and how many voxels were counted."""
        axes, _ = diagrams(draw_reliability(runs, region=region, row=row))

        for ax, folder in zip(axes, folders, strict=True):
            *_, pooled, mean, total = slow_curve(folder, region, row)
            name = "ECE" if row == "top-1" else "Error"
            assert [text.get_text() for text in ax.texts] == [
                f"{name} {mean:.3f} (volumes)\n{name} {pooled:.3f} (pooled)\n{total:,} voxels"
            ]


class TestFigure:
    def test_mean_error_is_the_tables(self, runs):
        """On the ground-truth foreground the mean over volumes is the table's ECE."""
        for run in runs:
            curve = reliability_curve(run)
            assert curve.mean_error == pytest.approx(run.metrics["ece_foreground"].mean())

    def test_names_and_shared_axes(self, runs):
        """Methods stand side by side under their names, on the same axes."""
        axes, histograms = diagrams(draw_reliability(runs))

        assert [ax.get_title() for ax in axes] == ["CE + Dice", "NACL"]
        assert {ax.get_xlim() + ax.get_ylim() for ax in axes} == {(0, 1, 0, 1)}
        assert len({ax.get_ylim() for ax in histograms}) == 1

    def test_diagonal(self, runs):
        """A dashed line shows perfect calibration."""
        for ax in diagrams(draw_reliability(runs))[0]:
            (line,) = ax.lines
            assert line.get_xydata().tolist() == [[0, 0], [1, 1]]

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

    def test_region_without_voxels(self, copies, change_arrays):
        """A volume without the region is left out and counted; no voxel at all is said so."""
        path = copies[0] / "evaluation" / "bins.npz"

        def empty(arrays, cases):
            for key in ("counts", "positives", "confidences"):
                arrays[key][cases, 1] = 0

        change_arrays(path, lambda arrays: empty(arrays, slice(0, 2)))
        axes, _ = diagrams(draw_reliability(read_runs(copies), resamples=10))
        assert "(volumes: 5 of 7)" in axes[0].texts[0].get_text()

        change_arrays(path, lambda arrays: empty(arrays, slice(None)))
        axes, _ = diagrams(draw_reliability(read_runs(copies), resamples=10))
        assert axes[0].texts[0].get_text() == "no voxels"

    def test_caption_names_the_unit_of_resampling(self, copies, change_cases):
        """The caption says whether volumes or patients were resampled."""
        assert "7 volumes are resampled" in draw_reliability(read_runs(copies)).get_supxlabel()

        for folder in copies:
            change_cases(folder, lambda table: table.assign(patient=list("aabbccd")))

        assert "4 patients are resampled" in draw_reliability(read_runs(copies)).get_supxlabel()


class TestBand:
    def test_two_patients_by_enumeration(self):
        """Two patients give aa, ab, ba, bb: the band spans the four pooled accuracies."""
        counts, positives = np.array([[10], [30]]), np.array([[10], [15]])

        lower, upper = bootstrap_band(counts, positives, np.array(["a", "b"]))

        assert (lower[0], upper[0]) == (15 / 30, 10 / 10)

    @pytest.mark.parametrize(("level", "expected"), [(0.4, (0.5, 0.5)), (0.8, (0.0, 1.0))])
    def test_level(self, level, expected):
        """Pooled accuracies 0, ½, ½, 1 are equally likely; the level says which lie inside."""
        counts, positives = np.array([[10], [10]]), np.array([[10], [0]])

        lower, upper = bootstrap_band(counts, positives, np.arange(2), level=level)

        assert (lower[0], upper[0]) == expected

    def test_close_to_the_normal_approximation(self):
        """With many equal patients the band is mean ± 1.96 standard errors."""
        rng = np.random.default_rng(1)
        counts = np.full((200, 1), 100)
        positives = rng.binomial(100, rng.beta(8, 2, size=(200, 1)))

        lower, upper = bootstrap_band(counts, positives, np.arange(200), resamples=4000)

        accuracy = positives / 100
        error = 1.96 * accuracy.std() / math.sqrt(200)
        assert lower[0] == pytest.approx(accuracy.mean() - error, abs=0.1 * error)
        assert upper[0] == pytest.approx(accuracy.mean() + error, abs=0.1 * error)

    def test_volumes_of_one_patient_are_drawn_together(self):
        """Two frames of each patient give the band of the patients' sums."""
        rng = np.random.default_rng(2)
        counts = rng.integers(5, 50, size=(12, 4))
        positives = rng.binomial(counts, 0.7)
        patients = np.repeat(np.arange(6), 2)

        frames = bootstrap_band(counts, positives, patients)
        summed = bootstrap_band(
            counts.reshape(6, 2, 4).sum(1), positives.reshape(6, 2, 4).sum(1), np.arange(6)
        )

        np.testing.assert_array_equal(frames, summed)

    def test_same_seed_same_band(self, runs):
        """The band is reproducible, and the seed matters."""
        one, again, other = (reliability_curve(runs[0], seed=seed).lower for seed in (0, 0, 1))

        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other, equal_nan=True)

    def test_bins_that_are_empty_in_some_resamplings(self):
        """A bin that one patient alone fills has that patient's accuracy; an empty bin has none."""
        counts, positives = np.array([[4, 0], [0, 0]]), np.array([[3, 0], [0, 0]])

        lower, upper = bootstrap_band(counts, positives, np.arange(2))

        assert (lower[0], upper[0]) == (0.75, 0.75)
        assert np.isnan([lower[1], upper[1]]).all()
