"""Reliability curves are the numbers that a slow loop finds in the bins."""

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.reports import pooled_band, read_run, read_runs, reliability_curve
from nacl_monai.reports.reliability import BAND_RESAMPLES
from tests.evaluated_runs import slow_curve


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
