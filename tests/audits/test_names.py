"""Predictions and label maps whose names are not equal: expressions, a table, and the nearest pair."""

import subprocess
import sys

import pandas as pd
import pytest

from nacl_monai import audit
from nacl_monai.audits.names import Names
from nacl_monai.errors import InputError, SettingError
from tests.audits.test_contract import check_numbers

PATTERNS = ["--prediction-name", "pred_(.+)_softmax", "--label-name", "(.+)_seg"]


@pytest.fixture
def renamed(study):
    """``pred_CASE_softmax.nii.gz`` and ``CASE_seg.nii.gz``."""
    place, labels = study.channels(ending="_softmax"), study.labels
    for case in study.cases:
        (place / f"{case}_softmax.nii.gz").rename(place / f"pred_{case}_softmax.nii.gz")
        (labels / f"{case}.nii.gz").rename(labels / f"{case}_seg.nii.gz")
    return place, labels


@pytest.mark.parametrize("way", ["expressions", "table"])
def test_names_need_not_be_equal(way, renamed, study, run, tmp_path):
    """The case has the name of its label map."""
    table = tmp_path / "pairs.csv"
    rows = [f"pred_{case}_softmax,{case}_seg" for case in study.cases]
    table.write_text("\n".join(["prediction,label", *rows]))
    code, _, err = run(*renamed, *(PATTERNS if way == "expressions" else ["--pairs", table]))

    assert code == 0, err
    check_numbers(tmp_path / "audit", study.metric())
    cases = pd.read_csv(tmp_path / "audit/cases.csv")["case"]
    assert cases.tolist() == [f"{case}_seg" for case in study.cases]


def test_nearest_pair_is_shown_with_the_option_that_joins_it(renamed, run):
    """What is printed can be typed."""
    code, _, err = run(*renamed)

    assert code == 1
    assert "nearest are 'pred_patient0_scan0_softmax' and 'patient0_scan0_seg'" in err
    assert " ".join(f"{w}" if w[0] == "-" else f"'{w}'" for w in PATTERNS) in err
    assert run(*renamed, *PATTERNS)[0] == 0
    with pytest.raises(InputError, match="nearest are 'pred_patient0_scan0_softmax'"):
        audit(*renamed)


WITHOUT_TORCH = """
import sys
from nacl_monai.cli import main
code = main(sys.argv[1:])
sys.exit(code if "torch" not in sys.modules else 99)
"""


def test_other_names_are_refused_before_torch_is_loaded(renamed, tmp_path):
    """In a process of its own, since this one has it."""
    words = ["audit", *map(str, renamed), "--output", str(tmp_path / "audit")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True
    )

    assert done.returncode == 1, done.stderr
    assert "nearest are" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--prediction-name", "("], 2, "--prediction-name: '(' is not a regular expression"),
        (["--label-name", ".+"], 2, "--label-name: '.+' has 0 groups; put one"),
        (["--pairs", "x.csv", *PATTERNS], 2, "--pairs: says all names; leave out the expressions"),
        (["--pairs", "missing.csv"], 1, "missing.csv: is not a table of pairs; write the columns"),
        (
            ["--prediction-name", "other_(.+)"],
            1,
            "has a name as --prediction-name, --label-name or --p",
        ),
    ],
)
def test_names_that_cannot_be_meant_are_refused(words, code, said, renamed, run):
    """Before the first volume is read."""
    found, _, err = run(*renamed, *words)

    assert found == code
    assert said in err


def test_name_is_fitted_as_a_whole():
    """A part of it would join cases that only begin alike."""
    names = Names(prediction="(case_1)")

    assert names.of_prediction("case_1") == "case_1"
    assert names.of_prediction("case_10") is None
    with pytest.raises(SettingError, match="has 2 groups"):
        Names(label="(a)(b)")
