"""Names and numbers that no evaluation can keep are one line, wherever they come from."""

import json

import numpy as np
import pytest
import torch
from metric_samples import measured

from nacl_monai import audit
from nacl_monai.audits.__main__ import main
from nacl_monai.data.check import check_label_classes
from nacl_monai.data.formats import label_values
from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric, adaptive_calibration_error, calibration_bins
from nacl_monai.metrics import pixelwise_calibration_error as pixelwise
from nacl_monai.predictions.channels import with_structures

PROBS = torch.full((1, 2, 4, 4), 0.5)
LABELS = torch.zeros(1, 4, 4, dtype=torch.long)
NAMES = ["background", "top-1"]


def record_of_names():
    measured(PROBS, LABELS).record(["a"], NAMES)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        (record_of_names, "classes"),
        (lambda: audit(PROBS, LABELS, classes=NAMES), "classes"),
        (lambda: check_label_classes(NAMES, [[0], [1]]), "classes"),
        (
            lambda: label_values("dataset.json", {"background": 0, "top-1": 1}),
            "dataset.json: labels",
        ),
        (
            lambda: label_values("dataset.json", {"0": "background", "1": "top-1"}),
            "dataset.json: labels",
        ),
        (lambda: with_structures(None, ["top-1=1"], "sigmoid"), "--structures"),
    ],
)
def test_class_of_the_name_of_the_predicted_one_is_refused(name, where):
    """In training, evaluation, a new dataset, audits on the command line and in Python."""
    with pytest.raises(InputError, match=f"{where}: 'top-1' is what the predicted class is called"):
        name()


@pytest.mark.parametrize("num_bins", [0, 2.5, 10_001, 1_000_000_000])
@pytest.mark.parametrize(
    "measure",
    [
        lambda n: CalibrationMetric(num_bins=n),
        lambda n: calibration_bins(PROBS, LABELS, num_bins=n),
        lambda n: adaptive_calibration_error(PROBS, LABELS, num_bins=n),
        lambda n: pixelwise(PROBS, LABELS, num_bins=n),
        lambda n: audit(PROBS, LABELS, num_bins=n),
    ],
)
def test_number_of_bins_that_cannot_be_is_refused_at_once(measure, num_bins):
    """Before memory for them is asked for."""
    with pytest.raises(InputError, match=f"num_bins: is {num_bins}; use a whole number, 1 or more"):
        measure(num_bins)


def test_command_refuses_too_many_bins_before_it_reads(tmp_path, capsys):
    """Nothing is written."""
    for folder in ("predictions", "labels"):
        (tmp_path / folder).mkdir()
    np.savez(tmp_path / "predictions/a.npz", probabilities=PROBS[0].numpy())
    (tmp_path / "labels/dataset.json").write_text(json.dumps({"labels": {"background": 0}}))
    words = ["audit", str(tmp_path / "predictions"), str(tmp_path / "labels")]
    words += ["--output", str(tmp_path / "out"), "--num-bins", "1000000000"]

    assert main(words) in (1, 2)
    assert capsys.readouterr().err == (
        "error: --num-bins: is 1000000000; use a whole number, 1 or more and at most 10000\n"
    )
    assert not (tmp_path / "out").exists()
