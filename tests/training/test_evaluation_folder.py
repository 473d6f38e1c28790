"""An evaluation is written beside the folder whose place it takes."""

import subprocess
import sys

import pytest

from nacl_monai.errors import InputError
from nacl_monai.reports.evaluation_files import evaluation_record, write_evaluation_record
from nacl_monai.runs import EvaluationFolder
from nacl_monai.training import open_evaluation


@pytest.fixture
def folder(tmp_path):
    return EvaluationFolder(tmp_path / "evaluation")


def test_what_a_killed_evaluation_left_is_removed(folder):
    """No case of it may be among those of the next."""
    (folder.aside / "maps").mkdir(parents=True)
    (folder.aside / "maps/old.npz").touch()
    (folder.aside / "cases.csv").touch()

    open_evaluation(folder, "test")

    assert [file.name for file in folder.aside.iterdir()] == [".lock"]


def test_evaluation_that_was_being_replaced_is_put_back(folder):
    """Killed between the two renamings, it is beside its place."""
    folder.replaced.mkdir()
    (folder.replaced / "cases.csv").write_text("old")

    open_evaluation(folder, "test")

    assert folder.cases.read_text() == "old"


@pytest.mark.parametrize("name", ["model.pt", "notes.txt"])
def test_folder_that_holds_anything_else_is_refused(folder, name):
    """It would be lost; nothing is made."""
    folder.path.mkdir()
    (folder.path / name).touch()

    with pytest.raises(InputError, match=f"{folder.path}: holds {name}, which is not part"):
        open_evaluation(folder, "test")

    assert not folder.aside.exists()


def test_file_of_that_name_is_refused(folder):
    """It is not a folder."""
    folder.path.touch()

    with pytest.raises(InputError, match="evaluation: is not a folder; choose another --eval"):
        open_evaluation(folder, "test")


def test_evaluation_of_another_set_is_not_replaced(folder):
    """The test's took hours, and the validation's would have its name; nothing is made."""
    write_evaluation_record(folder, evaluation_record("test", {}, {}))

    with pytest.raises(InputError) as refused:
        open_evaluation(folder, "val")

    assert str(refused.value) == (
        f"{folder.path}: holds the evaluation of the test cases; choose another --evaluation_dir for "
        "that of the val cases, or move it away"
    )
    assert not folder.aside.exists()
    open_evaluation(folder, "test")


@pytest.mark.parametrize("record", ["{", "{}"], ids=["damaged", "incomplete"])
def test_evaluation_of_nobody_knows_what_may_be_made_again(folder, record):
    """As reports ask for."""
    folder.path.mkdir()
    folder.record.write_text(record)

    open_evaluation(folder, "val")

    assert folder.aside.is_dir()


def test_hidden_files_do_not_matter(folder):
    """Locks, and what file managers and network drives leave."""
    folder.path.mkdir()
    for name in (".lock", ".DS_Store", "cases.csv"):
        (folder.path / name).touch()

    open_evaluation(folder, "test")

    assert folder.aside.is_dir()


@pytest.mark.slow
def test_second_evaluation_at_the_same_time_is_refused(folder):
    """Also after an earlier one of the same process has moved to its place."""
    open_evaluation(folder, "test")
    folder.aside.rename(folder.path)
    open_evaluation(folder, "test")
    other = (
        "import sys, nacl_monai.training as r; from nacl_monai.runs import EvaluationFolder; "
        "r.open_evaluation(EvaluationFolder(sys.argv[1]), 'test')"
    )
    result = subprocess.run(
        [sys.executable, "-c", other, folder.path], capture_output=True, text=True, check=False
    )

    assert "another process is writing there" in result.stderr
