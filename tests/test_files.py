"""A file is written whole, a folder belongs to one process; records are compared key by key.

Modules are found without being imported, and the user's own are told from installed ones.
"""

import errno
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import monai
import monai.networks.nets.unet
import numpy as np
import pytest
from filelock import FileLock

from nacl_monai import files
from nacl_monai.errors import InputError
from nacl_monai.files import (
    atomic_path,
    lock_folder,
    read_object,
    read_table,
    remove_partial_files,
    stamp,
    unlock_folder,
    write_text,
)
from nacl_monai.sources import imported_names, is_users, source_file, source_files
from nacl_monai.words import differences
from tests.conftest import refused, save_nifti


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


def test_content_is_on_disk_before_the_name(tmp_path, monkeypatch):
    """The file is synchronized first, so that a power failure leaves the old file or the new."""
    synchronized = []

    def note(handle):
        synchronized.append((os.fstat(handle).st_size, (tmp_path / "a.csv").exists()))

    monkeypatch.setattr(os, "fsync", note)
    write_text(tmp_path / "a.csv", "123")

    assert synchronized == [(3, False)]


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

    assert (
        refused(write_text, tmp_path / "file" / "below" / "a.csv", "1")
        == f"{tmp_path / 'file'}: is not a folder; choose another folder"
    )


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
    assert stamp(file)[:26] == f"1 bytes of {datetime.now(UTC):%Y-%m-%d %H:%M}"[:26]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_object_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    """Some editors write one."""
    (tmp_path / "a.json").write_text('{"name": "Zoë"}', encoding=encoding)

    assert read_object(tmp_path / "a.json", "write it again") == {"name": "Zoë"}


HOLD = """
import sys
from nacl_monai.files import lock_folder
lock_folder(sys.argv[1])
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_table_is_text(tmp_path, encoding):
    """What looks like a number, a truth or nothing is a name; a blank inside is one, too."""
    names = ["NA", "null", "1", "01", "True", "=1+1", "a b", ""]
    file = tmp_path / "table.csv"
    file.write_text("\n".join(["case,1", *(f"{name},x" for name in names)]), encoding)

    assert read_table(file, ["1"], "mend it") == {"case": names, "1": ["x"] * len(names)}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "cannot be read as a table (.*); mend it"),
        ('case,site\na,"X', "cannot be read as a table (.*); mend it"),
        ("", "has no column 'case'; mend it"),
        ("name,site\na,X", "has no column 'case'; mend it"),
        ("case,site\na,X\nb", "line 3 has other cells than the header; mend it"),
        ("case,site\na,X,Y", "line 2 has other cells than the header; mend it"),
        ("case,site,site\na,X,Y", "has two columns 'site'; leave one"),
        ("case,site,site \na,X,Y", "has blanks around 'site '; remove them"),
        ("case,site\na,X\n\ta,X", r"has blanks around '\\ta'; remove them"),
        ("case,site\na,X\nb,X\na,Y", "has 2 rows of 'a'; leave one"),
        ("case,site\na,X\n,X", "a row has no case; add it"),
    ],
)
def test_table_that_could_be_read_in_two_ways_is_refused(tmp_path, text, line):
    """In one line, which names the cell."""
    file = tmp_path / "table.csv"
    if text is not None:
        file.write_text(text)

    line = line.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(InputError, match=f"^{file}: {line}$"):
        read_table(file, ["case"], "mend it", ["case"])


def refusal(folder):
    return refused(lock_folder, folder)


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


def test_keys_of_either_side_are_compared():
    """A value that is None is not one that is missing."""
    before, now = {"a": 1, "b": None, "c": 2}, {"c": 2, "a": 3, "d": [1]}

    assert differences(before, now) == ["a (1, now 3)", "d (not set, now [1])"]


def test_long_values_are_cut():
    """A line has room for 60 letters of each."""
    assert differences({"a": "x" * 99}, {"a": "y" * 60}) == [f"a ({'x' * 60}, now {'y' * 60})"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes modules of the user's, which would end the process if they were imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**files):
        for name, text in files.items():
            file = (tmp_path / name.replace("__in__", "/")).with_suffix(".py")
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text(f"{text}\nraise SystemExit('imported')\n")
        return tmp_path

    return write


def test_file_of_a_module_is_found_without_import(mine):
    """Nor that of the package it is in."""
    folder = mine(
        package__in____init__="", package__in__nets="", single="", without__in__any__in__nets=""
    )

    assert source_file("single") == str(folder / "single.py")
    assert source_file("package.nets") == str(folder / "package/nets.py")
    assert source_file("package") == str(folder / "package/__init__.py")
    assert source_file("without.any.nets") == str(folder / "without/any/nets.py")
    assert not {"single", "package", "package.nets"} & sys.modules.keys()


@pytest.mark.parametrize(
    "name", ["", ".", "..a", "missing", "missing.a", "single.Net", "package.Net", "sys", "a b"]
)
def test_what_is_no_module_in_python_has_no_file(mine, name):
    """A class, a module in C, or nothing at all."""
    mine(single="", package__in____init__="")

    assert source_file(name) is None
    assert not is_users(name)


def test_installed_modules_and_those_of_this_package_are_not_the_user_s(mine):
    """Their versions tell what they are."""
    mine(single="", package__in____init__="", package__in__nets="")

    assert all(map(is_users, ("single", "package", "package.nets")))
    assert not any(map(is_users, ("json", "monai.networks.nets.unet", "nacl_monai.sources")))


def test_imports_of_the_user_s_modules_are_followed_and_of_no_others(mine):
    """Each file once, whoever imports it, with its module's name."""
    folder = mine(
        net="import numpy\nfrom parts import Block\nimport shared",
        parts="import shared, net\nclass Block: pass",
        shared="def later():\n    from deep.inner import value",
        deep__in____init__="",
        deep__in__inner="from . import beside",
        deep__in__beside="value = 1",
        stranger="",
    )
    names = {"net", "parts", "shared", "deep", "deep.inner", "deep.beside"}
    found = source_files(["net"])

    assert {*found.values()} == names
    assert found[str(folder / "deep/beside.py")] == "deep.beside"
    unet = str(Path(monai.networks.nets.unet.__file__))
    assert source_files(["monai.networks.nets.unet"]) == {unet: "monai.networks.nets.unet"}


def test_imports_of_any_form_are_named_and_relative_ones_by_their_package():
    """Without a package, relative ones are left out."""
    source = "import a.b as c, d\ndef f():\n    from e import g\nfrom . import h\nfrom ..i import j"
    names = {"a.b", "d", "e", "e.g"}

    assert imported_names(source) == names
    of_package = {"p.q", "p.q.h", "p.i", "p.i.j"}
    assert imported_names(source.encode(), "p.q") == names | of_package


def test_version_of_a_package_is_that_of_its_module_where_its_wheel_has_another_name(monkeypatch):
    """As MONAI's weekly one, which is called monai-weekly; what is missing is missing."""
    known = files.version

    def version(name):
        if name == "monai":
            raise PackageNotFoundError(name)
        return known(name)

    assert files.version_of("monai") == monai.__version__
    monkeypatch.setattr(files, "version", version)
    assert files.version_of("monai") == monai.__version__
    assert files.version_of("numpy") == known("numpy")
    with pytest.raises(ModuleNotFoundError):
        files.version_of("nowhere-to-be-found")
