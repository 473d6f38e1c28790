"""A file is written whole or not at all."""

import errno
import os

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path, write_text


def test_file_appears_whole_in_a_new_folder(tmp_path):
    """The file appears in a folder that is made for it, and nothing is left beside it."""
    target = tmp_path / "new" / "numbers.csv"

    with atomic_path(target) as temporary:
        assert temporary.suffix == ".csv"
        assert not target.exists()
        temporary.write_text("1,2")

    assert target.read_text() == "1,2"
    assert list(target.parent.iterdir()) == [target]


def test_failure_keeps_the_earlier_file(tmp_path):
    """After a failure the earlier file is unchanged, and nothing is left beside it."""
    target = tmp_path / "numbers.csv"
    target.write_text("old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_text_is_utf_8_whatever_the_locale(tmp_path):
    """Text is UTF-8 whatever the locale, and the path comes back."""
    path = write_text(tmp_path / "table.md", "DSC ↑")

    assert path == tmp_path / "table.md"
    assert path.read_bytes() == "DSC ↑".encode()


def test_full_disk_is_one_error_that_names_the_file(small_disk):
    """A disk that is full is one error that names the file; the earlier file is as it was."""
    target = small_disk / "numbers.npy"
    target.write_text("old")

    with (
        pytest.raises(InputError, match=r"numbers.npy: cannot be written \(131072 requested"),
        atomic_path(target) as temporary,
    ):
        np.save(temporary, np.zeros(2**17))

    assert target.read_text() == "old"
    assert list(small_disk.iterdir()) == [target]


def test_refusal_is_found_below_a_writers_error(tmp_path):
    """The operating system's reason is found below the errors of a writer."""

    def write(_):
        try:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        except OSError as error:
            raise RuntimeError("writer failed") from error

    with (
        pytest.raises(
            InputError,
            match=r"a.pt: cannot be written \(Read-only file system\); choose another folder$",
        ),
        atomic_path(tmp_path / "a.pt") as temporary,
    ):
        write(temporary)


def test_folder_that_cannot_be_made_is_an_error(tmp_path):
    """A folder that cannot be made is an error that names the file."""
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match="a.csv: cannot be written"):
        write_text(tmp_path / "file" / "a.csv", "1")
