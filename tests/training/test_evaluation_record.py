"""evaluation.json says what was evaluated; a finished evaluation takes the place of an earlier one."""

import hashlib
import json
from pathlib import Path

import pytest
from ignite.engine import Engine

from nacl_monai.errors import InputError
from nacl_monai.reports.evaluation_files import check_replaceable
from nacl_monai.runs import EvaluationFolder
from nacl_monai.training import EvaluationRecord


@pytest.fixture
def files(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "split.json").write_bytes(b"{}")
    return tmp_path / "model.pt", tmp_path / "split.json"


def evaluate(folder, files, during=lambda: None, settings=None):
    """An evaluation that writes one file aside."""
    record = EvaluationRecord(EvaluationFolder(folder), *files, "val", settings or {"a::b": [1]})

    def step(*_):
        record.folder.aside.mkdir(exist_ok=True)
        EvaluationFolder(record.folder.aside).cases.write_text("new")
        during()

    engine = Engine(step)
    record.attach(engine)
    engine.run([0])
    return record


def test_record_holds_set_checksums_settings_and_versions(tmp_path, files):
    """The checksums are those of `sha256sum`."""
    evaluate(tmp_path / "evaluation", files)

    record = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert record["set"] == "val"
    assert record["weights"] == hashlib.sha256(b"weights").hexdigest()
    assert record["split"] == hashlib.sha256(b"{}").hexdigest()
    assert record["settings"] == {"a::b": [1]}
    assert {"nacl-monai", "torch", "monai"} == record["versions"].keys()
    assert "git_commit" in record


def test_record_holds_the_checksum_of_a_calibrator(tmp_path, files):
    """If there is one; without it there is no such key."""
    fit = tmp_path / "calibrator.json"
    of = (EvaluationFolder(tmp_path / "evaluation"), *files, "test", {}, fit)
    assert "calibrator_sha256" not in EvaluationRecord(*of).record
    fit.write_bytes(b"{}")

    assert EvaluationRecord(*of).record["calibrator_sha256"] == hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize("place", ["evaluation", "link"])
def test_finished_evaluation_replaces_an_earlier_one_in_whole(tmp_path, files, place):
    """No file of the earlier one stays; a link stays a link."""
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "bins.npz").write_text("old")
    (tmp_path / "link").symlink_to(folder)
    evaluate(tmp_path / place, files)

    assert {file.name for file in folder.iterdir()} == {"cases.csv", "evaluation.json"}
    assert (tmp_path / "link").is_symlink()
    assert not list(tmp_path.glob(".*"))


def test_earlier_evaluation_stays_until_the_end(tmp_path, files):
    """An error in between leaves it as it was."""
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "cases.csv").write_text("old")

    def fail():
        assert (folder / "cases.csv").read_text() == "old"
        raise KeyError

    with pytest.raises(KeyError):
        evaluate(folder, files, during=fail)

    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("cases.csv", "old")]


@pytest.mark.parametrize("which", [0, 1])
def test_file_that_changes_during_the_evaluation_is_named(tmp_path, files, which):
    """A training that goes on may replace the weights that were read."""
    with pytest.raises(InputError, match=f"{files[which]}: has changed during the evaluation"):
        evaluate(tmp_path / "evaluation", files, during=lambda: files[which].write_bytes(b"other"))

    assert not (tmp_path / "evaluation").exists()


@pytest.mark.parametrize("name", [".git", ".dvcignore", "notes.md"])
def test_folder_of_other_work_is_not_replaced(tmp_path, name):
    """Hidden or not; it would be removed."""
    (tmp_path / "evaluation" / name).mkdir(parents=True)

    with pytest.raises(InputError, match=f"holds {name}, which is not part of an evaluation"):
        check_replaceable(EvaluationFolder(tmp_path / "evaluation"))


@pytest.mark.parametrize("name", [".lock", ".partial-x", ".DS_Store", "._cases.csv", "cases.csv"])
def test_what_processes_leave_is_replaced(tmp_path, name):
    """An evaluation that was killed, or a file manager, must not stop the next one."""
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / name).touch()

    check_replaceable(EvaluationFolder(tmp_path / "evaluation"))


@pytest.mark.parametrize("place", [".", "..", "../../evaluation"])
def test_working_directory_is_not_replaced(tmp_path, monkeypatch, place):
    """Whoever is in it would be nowhere."""
    (tmp_path / "evaluation/maps").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "evaluation/maps")

    with pytest.raises(InputError, match="is where this command runs.*choose another --output"):
        check_replaceable(EvaluationFolder(Path(place)), "--output")


def test_folder_that_cannot_be_replaced_is_named_with_what_was_written(
    tmp_path, files, monkeypatch
):
    """A mount point, say; hours of evaluation are not lost."""

    def refuse(*_):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match=r"busy\); the evaluation is in .*\.evaluation\.new"):
        evaluate(tmp_path / "evaluation", files)

    assert (tmp_path / ".evaluation.new/cases.csv").read_text() == "new"
