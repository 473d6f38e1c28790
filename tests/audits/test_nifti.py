"""NIfTI files: which of them are predictions."""

import nibabel
import numpy as np
import pytest

from nacl_monai.audits.layouts import find_own
from tests.audits.conftest import CLASSES, save


@pytest.mark.parametrize(
    ("name", "twice"),
    [("{case}_{channel}", "patient0_scan0_1"), ("{case}/{channel}", "patient0_scan0/1")],
)
def test_file_that_is_there_with_two_endings_is_refused(name, twice, study, run):
    """One of both was taken without a word."""
    place = study.per_class(name=name, names="012")
    image = nibabel.load(place / f"{twice}.nii.gz")
    nibabel.save(image, place / f"{twice}.nii")

    code, _, err = run(place, study.labels)

    assert code == 1
    first, second = (place / f"{twice}{ending}" for ending in (".nii", ".nii.gz"))
    assert f"{second}: has the name of {first}; leave one of them out" in err


@pytest.mark.parametrize(("names", "other"), [("012", "01"), (list(CLASSES), "Anterior")])
def test_files_of_one_class_are_a_fault(names, other, study, run):
    """Numbers may begin with zeros, and names may be in capitals, but not one of them in both ways."""
    place = study.per_class(names=names)
    case = next(iter(study.cases))
    save(place / f"{case}_{other}.nii.gz", study.cases[case][0][1])

    code, out, err = run(place, study.labels)

    assert code == 1
    assert "has the name of" in err
    assert f"{case}_{other}.nii.gz" in err
    assert "Mean over 2 cases" in out


def test_maps_of_an_earlier_audit_are_no_predictions(study, run):
    """Else the folder would be audited as it was then."""
    predictions = study.channels()
    words = (predictions, study.labels, "--write", "nifti")
    assert run(*words, output="channels/audit")[0] == 0

    code, out, err = run(*words, output="channels/audit")
    assert code == 0, err
    assert f"{predictions}: one channel per class, 3 cases" in out
    maps = predictions / "audit/nifti"
    assert f"{maps}: this project's inference" in run(maps, study.labels)[1]


def test_names_beside_maps_are_those_of_their_classes(study, run):
    """Where no dataset.json names them; a table of other values counts for nothing."""
    maps = study.root / "first/nifti"
    words = ("--no-pictures", "--regions", "foreground")
    assert run(study.channels(), study.labels, *words, "--write", "nifti", output="first")[0] == 0
    table = maps / "labels.txt"
    for names, source in (
        (list(CLASSES)[1:], f"({table})"),
        (["class_1", "class_2"], "(the number of channels; name them with --dataset dataset.json)"),
    ):
        code, out, err = run(maps, study.labels, *words, output="again")

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

    assert [one.case for one in find_own(tmp_path)] == ["a", "c"]
