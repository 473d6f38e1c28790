"""A folder that is written to belongs to one process at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from nacl_monai.errors import InputError
from nacl_monai.training import lock_folder, locks


def open_files():
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
def test_second_process_is_refused_as_long_as_the_first_lives(tmp_path):
    """And not after it was killed."""
    hold = "import sys, nacl_monai.training as r; r.lock_folder(sys.argv[1]); print(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        first.stdout.readline()
        with pytest.raises(InputError) as caught:
            lock_folder(tmp_path)
        assert str(caught.value) == (
            f"{tmp_path}: another process is writing there; wait for it, or choose another folder"
        )
        first.kill()

    lock_folder(tmp_path)


def test_same_process_may_take_its_folder_again(tmp_path, monkeypatch):
    """A training and its evaluation may be in one process; a relative path is the same folder."""
    lock_folder(tmp_path / "a/b")
    monkeypatch.chdir(tmp_path)
    descriptors = open_files()
    lock_folder("a/b")

    assert open_files() == descriptors
    assert (tmp_path / "a/b/.lock").is_file()


def test_refused_folder_is_not_held(tmp_path, monkeypatch):
    """The file is closed again, and the next attempt looks anew."""

    def refuse(*_):
        raise BlockingIOError

    descriptors = open_files()
    with monkeypatch.context() as refusing:
        refusing.setattr("fcntl.lockf", refuse)
        with pytest.raises(InputError) as caught:
            lock_folder(tmp_path)
    assert open_files() == descriptors, caught.traceback

    lock_folder(tmp_path)

    assert tmp_path in locks._locks


def test_folder_that_cannot_be_made_is_named(tmp_path):
    """With what the operating system says."""
    (tmp_path / "file").touch()

    with pytest.raises(InputError) as caught:
        lock_folder(tmp_path / "file/run")
    assert str(caught.value) == (
        f"{tmp_path}/file/run: cannot be written (Not a directory); choose another folder"
    )


def test_lock_of_another_process_is_not_emptied(tmp_path):
    """The file may be any; it is opened to append."""
    (tmp_path / ".lock").write_text("x")
    lock_folder(tmp_path)

    assert (tmp_path / ".lock").read_text() == "x"
