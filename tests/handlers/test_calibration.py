"""The calibration handler puts equations 10 and 11 into the engine's metrics."""

import numpy as np
import pytest

from tests.handlers.conftest import expected_calibration_error, probabilities_of


def errors(volume, region):
    """ECE and CECE of one volume by plain loops."""
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
def test_mean_over_volumes(evaluated, region):
    """The engine's metrics are the errors of each volume, averaged over volumes."""
    _, engine, volumes = evaluated

    expected = np.mean([errors(volume, region) for volume in volumes.values()], axis=0)

    np.testing.assert_allclose(expected[0], engine.state.metrics[f"ece_{region}"], atol=1e-6)
    np.testing.assert_allclose(expected[1], engine.state.metrics[f"cece_{region}"], atol=1e-6)
