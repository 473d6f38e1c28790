"""Functions of the metrics need torch alone; MONAI comes with the classes that are MONAI's metrics."""

import subprocess
import sys

import pytest

from nacl_monai import metrics

CLASSES = {"BoundedHausdorffMetric", "CalibrationMetric"}
SCRIPT = """
import sys, torch
import nacl_monai.metrics as metrics
for name in sys.argv[1:]:
    getattr(metrics, name)
probs = torch.tensor([[[0.1, 0.4, 0.8], [0.9, 0.6, 0.2]]])
metrics.expected_calibration_error(probs, torch.tensor([[1, 1, 0]]))
print([name for name in ("monai", "ignite") if name in sys.modules])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("names", "loaded"), [(set(), "[]"), (CLASSES, "['monai', 'ignite']")])
def test_functions_load_no_monai(names, loaded):
    """Nor Ignite; every name that is not a class of MONAI's may be asked for."""
    asked = names or set(metrics.__all__) - CLASSES
    command = [sys.executable, "-c", SCRIPT, *sorted(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == loaded
