"""An evaluation says what it is of, takes its place in whole, and is never shown as what it is not."""

import errno
import hashlib
import json
import shutil
from unittest.mock import ANY

import nibabel
import pandas as pd
import pytest

from nacl_monai.cli import main
from nacl_monai.training import CaseBins
from tests.configurations.conftest import arguments, contents, one_line

pytestmark = pytest.mark.slow


@pytest.fixture
def run(run_of, tmp_path):
    """A run's folder to be changed, and an evaluation of it with more words."""
    dataset, dataset_dir, folder = run_of("hippocampus")
    copy = shutil.copytree(folder, tmp_path / "run")
    shared = ["--dataset_dir", dataset_dir, "--cache_dir", folder.parent / "cache"]

    def words(*more):
        return arguments("evaluating", dataset, *shared, "--output_dir", copy, *more)

    return copy, words


def compare(capfd, *folders):
    """`nacl-monai compare`: its exit code, what it printed, and its errors."""
    capfd.readouterr()
    code = main(["compare", *map(str, folders), "--output", str(folders[0] / "compared")])
    return code, *capfd.readouterr()


def test_record_is_of_the_weights_split_settings_and_set(bundle, run):
    """A setting of the command and one of the run's config.json among them."""
    folder, words = run

    assert bundle(*words("--calibration::num_bins", 10))[0] == 0

    record = json.loads((folder / "evaluation/evaluation.json").read_text())
    for name, file in (("weights", "model.pt"), ("split", "split.json")):
        assert record[name] == hashlib.sha256((folder / file).read_bytes()).hexdigest()
    assert record["set"] == "test"
    assert record["settings"]["calibration::num_bins"] == 10
    assert record["settings"]["spatial_size::1"] == 64
    assert "dataset_dir" not in record["settings"]


def test_validation_cases_are_never_called_test_cases(bundle, run, capfd):
    """Neither by the evaluation nor by a comparison; nor do they take the place of the test's."""
    folder, words = run
    before = contents(folder / "evaluation")
    code, errors = bundle(*words("--cases_to_evaluate", "val"))
    assert code == 1
    assert "holds the evaluation of the test cases; choose another --evaluation_dir" in one_line(
        errors
    )
    assert contents(folder / "evaluation") == before
    shutil.rmtree(folder / "evaluation")
    assert bundle(*words("--cases_to_evaluate", "val"))[0] == 0

    code, text, _ = compare(capfd, folder)

    assert code == 0
    assert "validation cases; HD95" in text
    assert "test cases" not in text
    cases = pd.read_csv(folder / "evaluation/cases.csv")
    assert set(cases["patient"]) == set(json.loads((folder / "split.json").read_text())["val"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--cases_to_evaluate", "val"), "its validation cases are not those of"),
        (("--calibration::num_bins", 10), "calibration::num_bins (15, now 10)"),
        (("--calibration::regions", ["foreground"]), "calibration::regions"),
        (("--structures", {"whole": [1, 2]}), "structures::"),
    ],
    ids=["set", "bins", "regions", "structures"],
)
def test_evaluations_that_are_not_alike_are_not_compared(bundle, run_of, run, capfd, more, said):
    """One line with the difference, and no table."""
    folder, words = run
    shutil.rmtree(folder / "evaluation")
    assert bundle(*words(*more))[0] == 0

    code, _, errors = compare(capfd, run_of("hippocampus")[2], folder)

    assert code == 1
    assert said in one_line(errors)


def test_other_images_than_the_run_recorded_are_not_evaluated(bundle, run, tmp_path):
    """Inverted in a copy of the dataset, under the same names; nor is a calibrator fitted to them."""
    folder, words = run
    plain = words()
    place = plain.index("--dataset_dir") + 1
    copy = shutil.copytree(plain[place], tmp_path / "data")
    moved = [*plain[:place], str(copy), *plain[place + 1 :]]
    assert bundle(*moved) == (0, ANY)
    before = contents(folder)
    for file in (copy / "imagesTr").glob("[!.]*.nii.gz"):
        image = nibabel.load(file)
        nibabel.save(nibabel.Nifti1Image(-image.get_fdata(), image.affine), file)

    calibrating = ["run", "calibrating", *moved[2:], "--calibrator", "temperature_all"]
    calibrating = [word for word in calibrating if word not in {"--reliability_interval", "0"}]
    for command in (moved, calibrating):
        code, errors = bundle(*command)

        assert code == 1
        assert f"has other bytes than {folder}/data.json recorded; put it back" in one_line(errors)
        assert contents(folder) == before


def test_earlier_evaluation_stays_until_the_next_is_finished(bundle, run, monkeypatch):
    """A full disk near the end; the next attempt finds nothing of the failed one."""
    folder, words = run
    before = contents(folder / "evaluation")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(CaseBins, "write", refuse)
        code, errors = bundle(*words("--calibration::num_bins", 10))
    assert code == 1
    assert "No space left" in one_line(errors)
    assert contents(folder / "evaluation") == before
    assert (folder / ".evaluation.new/cases.csv").is_file()

    assert bundle(*words())[0] == 0
    again = contents(folder / "evaluation")
    assert again.keys() == before.keys()
    assert again["cases.csv"] == before["cases.csv"]
    assert again["evaluation.json"] == before["evaluation.json"]
    assert not list(folder.glob(".evaluation*"))
