"""The calibration handler puts equations 10 and 11 into the engine's metrics."""

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from nacl_monai.errors import InputError
from nacl_monai.metrics import DEFAULT_ERRORS
from nacl_monai.training import CalibrationError
from tests.training.conftest import expected_calibration_error, probabilities_of


def errors(volume, region):
    """ECE and CECE of one case by plain loops."""
    probabilities, label = probabilities_of(volume)
    prediction = probabilities.argmax(axis=0)
    inside = label != 0
    if region == "union":
        inside |= prediction != 0
    probabilities, label, prediction = probabilities[:, inside], label[inside], prediction[inside]
    ece = expected_calibration_error(probabilities.max(axis=0), prediction == label)
    cece = np.mean([expected_calibration_error(probabilities[k], label == k) for k in range(3)])
    return ece, cece


@pytest.mark.parametrize("region", ["foreground", "union"])
def test_metrics_are_the_mean_of_the_errors_of_each_case(evaluated, region):
    """The engine's metrics are the errors of each case, averaged over cases."""
    _, engine, volumes = evaluated

    expected = np.mean([errors(volume, region) for volume in volumes.values()], axis=0)

    np.testing.assert_allclose(expected[0], engine.state.metrics[f"ece_{region}"], atol=1e-6)
    np.testing.assert_allclose(expected[1], engine.state.metrics[f"cece_{region}"], atol=1e-6)


def run(calibration):
    """The engine's metrics after one batch of random probabilities."""
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(2, 3, 5, 6, generator=generator).softmax(1)
    labels = torch.randint(0, 3, (2, 1, 5, 6), generator=generator)
    pairs = zip(probs, labels, strict=True)
    output = [{"probabilities": p, "label": y} for p, y in pairs]
    engine = Engine(lambda *_: output)
    calibration.attach(engine, "calibration")
    engine.run([0])
    numbers = engine.state.metrics.pop("calibration")  # Ignite reports them together and one by one
    assert engine.state.metrics == pytest.approx(numbers)
    return numbers


def test_only_the_errors_that_are_asked_for_are_reported():
    """With two errors and one region there are five numbers."""
    metrics = run(CalibrationError(errors=["ece", "cece"]))

    assert metrics.keys() == {
        "ece_foreground",
        "ece_foreground_pooled",
        "cece_foreground",
        "cece_foreground_pooled",
        "empty_foreground",
    }


def test_all_errors_are_reported_by_default():
    """Every error of the foreground, twice, and the number of cases without it."""
    assert len(run(CalibrationError())) == 2 * len(DEFAULT_ERRORS) + 1


def test_settings_reach_the_metric():
    """Bins, regions, width and spacing are those of the metric."""
    calibration = CalibrationError(7, ["nll"], ["boundary", "all"], 2.0, "pixdim")

    metric = calibration.metric_fn
    assert (metric.options.num_bins, list(metric.errors)) == (7, ["nll"])
    assert metric.region_names == ("boundary", "all")
    assert (metric.boundary_width, metric.spacing) == (2.0, "pixdim")


@pytest.mark.parametrize("settings", [{"errors": ["dice"]}, {"regions": ["edge"]}])
def test_unknown_names_are_refused_at_once(settings):
    """A name that is unknown is refused before any case is evaluated."""
    with pytest.raises(InputError, match=r"dice|edge"):
        CalibrationError(**settings)
