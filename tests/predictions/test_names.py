"""Names of files: which are predictions, and which prediction and label map are of one case."""

import subprocess
import sys

import nibabel
import numpy as np
import pandas as pd
import pytest

from nacl_monai import audit
from nacl_monai.errors import InputError, SettingError
from nacl_monai.predictions.layouts import find_own
from nacl_monai.predictions.names import Names
from tests.predictions.conftest import CLASSES, save
from tests.predictions.test_contract import check_numbers

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
def test_names_need_not_be_equal(way, renamed, study, audited, tmp_path):
    """The case is called by the group, or as its prediction is."""
    table = tmp_path / "pairs.csv"
    rows = [f"pred_{case}_softmax,{case}_seg" for case in study.cases]
    table.write_text("\n".join(["prediction,label", *rows]))
    folder = audited(*renamed, *(PATTERNS if way == "expressions" else ["--pairs", table]))

    check_numbers(folder, study.metric())
    cases = pd.read_csv(folder / "cases.csv")["case"]
    name = "{}" if way == "expressions" else "pred_{}_softmax"
    assert cases.tolist() == [name.format(case) for case in study.cases]


def test_nearest_pair_is_shown_with_the_option_that_joins_it(renamed, audited, refused):
    """What is printed can be typed."""
    message = "nearest are 'pred_patient0_scan0_softmax' and 'patient0_scan0_seg'"
    line = refused(message, *renamed)
    assert " ".join(f"{w}" if w[0] == "-" else f"'{w}'" for w in PATTERNS) in line
    audited(*renamed, *PATTERNS)
    with pytest.raises(InputError, match=message):
        audit(*renamed)


WITHOUT_TORCH = """
import sys
from nacl_monai.cli import main
code = main(sys.argv[1:])
sys.exit(code if "torch" not in sys.modules else 99)
"""


def test_other_names_are_refused_before_torch_is_loaded(renamed, tmp_path):
    """In a process of its own, since this one has it."""
    args = ["audit", *map(str, renamed), "--output", str(tmp_path / "audit")]
    command = [sys.executable, "-c", WITHOUT_TORCH, *args]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 1, done.stderr
    assert "nearest are" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--prediction-name", "("], 2, "--prediction-name: '(' is not a regular expression"),
        (["--label-name", ".+"], 2, "--label-name: '.+' has 0 groups; put one"),
        (["--pairs", "x.csv", *PATTERNS], 2, "--pairs: lists all names; leave out the expressions"),
        (["--pairs", "missing.csv"], 1, "missing.csv: cannot be read as a table"),
        (
            ["--prediction-name", "other_(.+)"],
            1,
            "has a name as --prediction-name, --label-name or",
        ),
    ],
)
def test_names_that_cannot_be_meant_are_refused(args, code, message, renamed, refused):
    """Before the first volume is read."""
    refused(message, *renamed, *args, code=code)


def test_name_is_fitted_as_a_whole():
    """A part of it would join cases that only begin alike."""
    names = Names(prediction="(case_1)")

    assert names.of_prediction("case_1") == "case_1"
    assert names.of_prediction("case_10") is None
    with pytest.raises(SettingError, match="has 2 groups"):
        Names(label="(a)(b)")


@pytest.mark.parametrize(
    ("name", "twice"),
    [("{case}_{channel}", "patient0_scan0_1"), ("{case}/{channel}", "patient0_scan0/1")],
)
def test_file_that_is_there_with_two_endings_is_refused(name, twice, study, refused):
    """One of both was taken without a word."""
    place = study.per_class(name=name, names="012")
    first, second = (place / f"{twice}{ending}" for ending in (".nii", ".nii.gz"))
    nibabel.save(nibabel.load(second), first)

    message = f"{second}: has the name of {first}; leave one of them out"
    refused(message, place, study.labels)


@pytest.mark.parametrize(("names", "other"), [("012", "01"), (list(CLASSES), "Anterior")])
def test_files_of_one_class_are_a_fault(names, other, study, fault_of):
    """Numbers may begin with zeros, and names may be in capitals, but not one of them in both ways."""
    place = study.per_class(names=names)
    case = next(iter(study.cases))
    save(place / f"{case}_{other}.nii.gz", study.cases[case][0][1])

    line = fault_of(f"{case}_{other}.nii.gz", place, study.labels)
    assert "has the name of" in line


def test_maps_of_an_earlier_audit_are_no_predictions(study, run):
    """Else the folder would be audited as it was then."""
    predictions = study.channels()
    args = (predictions, study.labels, "--write", "nifti")
    assert run(*args, output="channels/audit")[0] == 0

    code, out, err = run(*args, output="channels/audit")
    assert code == 0, err
    assert f"{predictions}: one channel per class, 3 cases" in out
    maps = predictions / "audit/nifti"
    assert f"{maps}: this project's inference" in run(maps, study.labels)[1]


def test_names_beside_maps_are_those_of_their_classes(study, run):
    """Where no dataset.json names them; a table of other values counts for nothing."""
    maps = study.root / "first/nifti"
    args = ("--no-pictures", "--regions", "foreground")
    assert run(study.channels(), study.labels, *args, "--write", "nifti", output="first")[0] == 0
    table = maps / "labels.txt"
    for names, source in (
        (list(CLASSES)[1:], f"({table})"),
        (["class_1", "class_2"], "(the number of channels; name them with --dataset dataset.json)"),
    ):
        code, out, err = run(maps, study.labels, *args, output="again")

        assert code == 0, err
        assert f"3 classes by softmax {source}" in out
        header = (study.root / "again/cases.csv").read_text().splitlines()[0].split(",")
        assert {f"dice_{name}" for name in names} <= {*header}
        table.write_text(table.read_text().replace("    2  ", "    3  "))


@pytest.mark.parametrize("name", ["._a_probabilities", ".audit.new/nifti/b_probabilities"])
def test_hidden_files_are_no_predictions(name, tmp_path):
    """As macOS adds them, or an audit that was killed."""
    for shown in ("a_probabilities", "session/c_probabilities", name):
        save(tmp_path / f"{shown}.nii.gz", np.zeros((2, 2, 2, 2), np.float32))

    assert [prediction.case for prediction in find_own(tmp_path)] == ["a", "c"]
