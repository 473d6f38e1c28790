"""The card of a model says what its evaluation found, and no more."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from nacl_monai.bundles.card import calibration_card, calibration_of, measured, write_card
from nacl_monai.reports import Evaluated
from nacl_monai.reports.evaluation_files import EvaluationOf
from nacl_monai.runs import RunFolder
from tests.evaluated_runs import write_run


def found(patients, **columns):
    """An evaluation of as many cases as there are names of patients."""
    index = pd.Index([f"case_{k}" for k in range(len(patients))], name="case")
    metrics = pd.DataFrame(columns, index, dtype=float)
    named = pd.Series(patients, index, name="patient")
    return Evaluated("run", metrics, named, None, EvaluationOf("test", {}))


def test_numbers_are_means_over_patients_with_students_intervals():
    """Two cases of one patient count as one; no error is below 0; other regions are not there."""
    ece = [0.1, 0.3, 0.4, 0.6]
    numbers = calibration_of(found(["a", "a", "b", "c"], ece_union=ece, dice=ece))

    by_patient = np.array([0.2, 0.4, 0.6])
    half = student.ppf(0.975, 2) * by_patient.std(ddof=1) / np.sqrt(3)
    assert numbers["patients"] == 3
    assert numbers["volumes"] == 4
    assert numbers["regions"].keys() == {"union"}
    assert numbers["regions"]["union"] == {
        "ece": {"mean": 0.4, "low": 0.0, "high": round(0.4 + half, 6)}
    }


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        ([0.10, 0.11, 0.12], "+0.110 [+0.085, +0.135], too high"),
        ([-0.10, -0.11, -0.12], "-0.110 [-0.135, -0.085], too low"),
        ([-0.10, 0.11, -0.02], "right on average"),
    ],
)
def test_confidence_is_too_high_or_too_low_if_its_interval_says_so(gap, words):
    """An interval that includes 0 says neither."""
    run = found(["a", "b", "c"], ece_all=np.abs(gap), confidence_gap_all=gap)

    assert words in calibration_card(run)


def test_one_patient_has_a_mean_and_no_interval():
    """The card names no direction, and the numbers of JSON have no NaN."""
    run = found(["a", "a"], ece_all=[0.1, 0.3], confidence_gap_all=[0.1, 0.3])

    card = calibration_card(run)
    assert (
        "Measured on 1 patient (2 volumes) of the test set; means over patients:\n\n| region"
        in card
    )
    assert "| 0.200 | – |\n\nThe expected" in card
    alone = {"mean": 0.2, "low": None, "high": None}
    assert calibration_of(run)["regions"]["all"] == {"ece": alone, "confidence_gap": alone}


def test_diagram_is_shown_where_there_are_bins(tmp_path):
    """In every folder that has the card; a run without an evaluation has none."""
    run = RunFolder(write_run(tmp_path / "run", temperature=0.5))
    folders = [tmp_path / "top", tmp_path / "docs"]
    for folder in folders:
        folder.mkdir()

    assert "![Reliability diagram](reliability.png)" in write_card(measured(run), *folders)
    top, docs = ((folder / "reliability.png").read_bytes() for folder in folders)
    assert top == docs
    assert top.startswith(b"\x89PNG")
    assert "reliability.png" not in calibration_card(found(["a", "b"], ece_all=[0.1, 0.2]))
    assert write_card(measured(RunFolder(tmp_path / "other")), *folders) == ""
