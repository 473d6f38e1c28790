"""What a calibrator changes, region by region."""

import numpy as np
import pytest
from scipy import stats

from nacl_monai.reports.compare import draw_trade_off, trade_off_text, write_trade_off


def differences(runs, region):
    """Differences of the ECE, a number per patient: the mean over their cases."""
    before, after = runs
    change = after.metrics[f"ece_{region}"] - before.metrics[f"ece_{region}"]
    patients = before.patients
    return np.array([change[patients == one].mean() for one in sorted(set(patients))])


def test_text_has_the_mean_difference_and_its_t_interval(runs):
    """Over patients, paired, a line per region."""
    lines = trade_off_text(*runs).splitlines()

    assert lines[0] == ("Change of the ECE from CE + Dice to NACL [95 % interval], by region:")
    for region, line in zip(runs[0].bins.regions, lines[1:], strict=True):
        found = differences(runs, region)
        low, high = stats.t.interval(0.95, len(found) - 1, found.mean(), stats.sem(found))
        assert line == f"  {region}: {found.mean():.3f} [{low:.3f}, {high:.3f}]"


def test_points_are_the_means_of_the_regions(runs):
    """A point per run and region; the first run's are hollow."""
    (axes,) = draw_trade_off(runs).axes
    points = [line for line in axes.lines if line.get_marker() == "o"]

    assert [label.get_text() for label in axes.get_yticklabels()] == runs[0].bins.regions
    for run, line in zip(runs, points, strict=True):
        means = [run.mean(run.metrics[f"ece_{region}"]).mean for region in run.bins.regions]
        assert line.get_xdata() == pytest.approx(means)
    assert points[0].get_markerfacecolor() == "white"
    assert points[1].get_markerfacecolor() == points[1].get_color()


def test_lines_are_the_intervals(runs):
    """Through each point, at its height."""
    (axes,) = draw_trade_off(runs).axes
    spans = [segment[:, 0] for bars in axes.collections for segment in bars.get_segments()]
    expected = [
        run.mean(run.metrics[f"ece_{region}"]).interval()
        for run in runs
        for region in run.bins.regions
    ]

    np.testing.assert_allclose(spans, expected)


@pytest.mark.usefixtures("painted")
def test_files_are_written(runs, tmp_path):
    """As PNG and SVG."""
    files = write_trade_off(runs, tmp_path)

    assert [file.name for file in files] == ["trade_off.png", "trade_off.svg"]
    assert all(file.stat().st_size > 5_000 for file in files)
