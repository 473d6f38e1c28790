"""A file is written whole or not at all."""

import errno
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path, read_object, remove_partial_files, stamp, write_text


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


def left_behind(folder):
    """A file that a killed process was writing: its lock has ended with it."""
    partial = folder / ".partial-0123456"
    partial.mkdir()
    (partial / "a.csv").write_text("half")
    (partial / ".lock").touch()


def test_next_writer_removes_what_a_killed_one_left(tmp_path):
    """Whichever file it writes; everything else stays."""
    left_behind(tmp_path)
    (tmp_path / ".lock").touch()

    write_text(tmp_path / "b.csv", "1")

    assert {path.name for path in tmp_path.iterdir()} == {".lock", "b.csv"}


def test_file_that_is_being_written_stays(tmp_path):
    """Two may write into a folder at once, even the same file."""
    with atomic_path(tmp_path / "a.csv") as first:
        first.write_text("1")
        remove_partial_files(tmp_path)
        write_text(tmp_path / "a.csv", "2")
        assert first.read_text() == "1"

    assert (tmp_path / "a.csv").read_text() == "1"
    assert len(list(tmp_path.iterdir())) == 1


def test_finished_file_stays_until_it_has_its_name(tmp_path, monkeypatch):
    """Another process may look for what killed ones left just before the file is renamed."""
    replace = Path.replace

    def late(file, target):
        remove_partial_files(tmp_path)
        return replace(file, target)

    monkeypatch.setattr(Path, "replace", late)

    assert write_text(tmp_path / "new.txt", "whole").read_text() == "whole"


def test_folder_that_is_not_there_has_no_partial_files(tmp_path):
    """Nothing is made."""
    remove_partial_files(tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_content_is_on_disk_before_the_name(tmp_path, monkeypatch):
    """The file is synchronized first, so that a power failure leaves the old file or the new."""
    synchronized = []

    def note(handle):
        synchronized.append((os.fstat(handle).st_size, (tmp_path / "a.csv").exists()))

    monkeypatch.setattr(os, "fsync", note)
    write_text(tmp_path / "a.csv", "123")

    assert synchronized == [(3, False)]


def test_text_is_utf_8_whatever_the_locale(tmp_path):
    """Text is UTF-8 whatever the locale, and the path is returned."""
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

    with pytest.raises(InputError) as refused:
        write_text(tmp_path / "file" / "below" / "a.csv", "1")
    assert str(refused.value) == f"{tmp_path / 'file'}: is not a folder; choose another folder"


def test_pipe_is_not_replaced_by_a_file(tmp_path):
    """Nor is a device; somebody reads there."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InputError, match="/pipe: is not a file; choose another name$"):
        write_text(tmp_path / "pipe", "1")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("touch", ["content", "time", "copy"])
def test_stamp_changes_with_whatever_touches_the_file(tmp_path, touch):
    """Also where size and time of modification are as before."""
    file = tmp_path / "label.nii"
    file.write_text("x")
    os.utime(file, (10**9, 10**9))
    before = stamp(file)
    assert stamp(file) == before

    if touch == "content":
        file.write_text("y")
    elif touch == "copy":
        shutil.copy2(file, tmp_path / "new")
        (tmp_path / "new").replace(file)
    os.utime(file, (10**9, 10**9))

    assert stamp(file) != before
    assert stamp(file)[:26] == f"1 bytes of {datetime.now(timezone.utc):%Y-%m-%d %H:%M}"[:26]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_object_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    """Some editors write one."""
    (tmp_path / "a.json").write_text('{"name": "Zoë"}', encoding=encoding)

    assert read_object(tmp_path / "a.json", "write it again") == {"name": "Zoë"}
