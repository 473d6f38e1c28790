"""A folder that is written to belongs to one process at a time."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from filelock import FileLock

from nacl_monai.errors import InputError
from nacl_monai.files import lock_folder, unlock_folder
from tests.conftest import save_nifti

HOLD = """
import sys
from nacl_monai.files import lock_folder
lock_folder(sys.argv[1])
print(flush=True)
sys.stdin.read()
"""


def refusal(folder):
    with pytest.raises(InputError) as caught:
        lock_folder(folder)
    return str(caught.value)


@pytest.mark.parametrize("end", ["killed", "done"])
def test_second_process_is_refused_as_long_as_the_first_lives(tmp_path, end):
    """A killed one leaves the file, which stops nobody."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        first.stdout.readline()
        assert refusal(tmp_path) == (
            f"{tmp_path}: another process is writing there; wait for it, or choose another folder"
        )
        if end == "killed":
            first.kill()

    assert [path.name for path in tmp_path.iterdir()] == ([".lock"] if end == "killed" else [])
    lock_folder(tmp_path)
    unlock_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_same_process_may_take_its_folder_again(tmp_path, monkeypatch):
    """A training and its evaluation may be in one process; a relative path is the same folder."""
    lock_folder(tmp_path / "a/b")
    monkeypatch.chdir(tmp_path)
    lock_folder("a/b")
    assert (tmp_path / "a/b/.lock").is_file()

    unlock_folder("a/b")
    unlock_folder("a/b")
    assert not (tmp_path / "a/b/.lock").exists()


def test_folder_of_the_same_name_is_another(tmp_path):
    """One that was moved away is no longer held, and the new one is."""
    lock_folder(tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "moved")
    other = FileLock(tmp_path / "run/.lock")
    (tmp_path / "run").mkdir()
    with other.acquire(timeout=0):
        assert "another process" in refusal(tmp_path / "run")

    lock_folder(tmp_path / "run")
    with pytest.raises(TimeoutError):
        other.acquire(timeout=0)
    unlock_folder(tmp_path / "run")


def test_file_of_the_lock_may_be_elsewhere(tmp_path):
    """Beside a folder that is to be replaced."""
    lock_folder(tmp_path / "audit", tmp_path / ".audit.lock")
    assert [path.name for path in tmp_path.iterdir()] == [".audit.lock"]

    unlock_folder(tmp_path / "audit")
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_made_is_named(tmp_path):
    """With what the operating system says."""
    (tmp_path / "file").touch()

    assert refusal(tmp_path / "file/run") == (
        f"{tmp_path}/file/run: cannot be written (Not a directory); choose another folder"
    )


ELSEWHERE = """
import signal, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
for name in ("SIGKILL", "SIGPIPE", "SIGHUP", "SIGALRM"):
    delattr(signal, name)
from nacl_monai.cli import main
predictions, labels, output = sys.argv[1:]
commands = {}
for command in ("audit", "calibrate", "train"):
    try:
        commands[command] = main([command, "--help"])
    except SystemExit as end:
        commands[command] = end.code
assert commands == {"audit": 0, "calibrate": 0, "train": 0}, commands
sys.exit(main(["audit", predictions, labels, "--output", output]))
"""


@pytest.mark.slow
def test_commands_need_no_module_of_one_operating_system_alone(tmp_path):
    """An audit is made where there are neither ``fcntl`` nor ``resource``, nor most signals."""
    voxels = np.zeros((2, 4, 4, 1), np.float32)
    voxels[1, :2] = 0.9
    voxels[0] = 1 - voxels[1]
    save_nifti(voxels.transpose(1, 2, 3, 0), tmp_path / "predictions/a_probabilities.nii.gz")
    save_nifti(voxels[1].round().astype(np.uint8), tmp_path / "labels/a.nii.gz")

    ended = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", ELSEWHERE]
        + [tmp_path / name for name in ("predictions", "labels", "audit")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "audit/summary.json").is_file()
    assert not list(tmp_path.glob(".*"))
    assert [path.name for path in (tmp_path / "audit").glob(".*")] == [".written.json"]
