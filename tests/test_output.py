"""A command's folder is written aside and takes its place at once."""

import argparse
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nacl_monai import output as module
from nacl_monai.cli import main
from nacl_monai.completion import whole_parser
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import write_text
from nacl_monai.output import (
    RECORD,
    abandon_output,
    aside_of,
    open_output,
    written_folder,
)
from tests.conftest import save_nifti
from tests.predictions.conftest import undraw


def write(output, files, command="compare", **options):
    """Writes a folder of texts."""
    with written_folder(output, command, **options) as folder:
        for name, text in files.items():
            write_text(folder / name, text)


def content(folder):
    """The visible files below a folder and what is in them."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def refusal(output, error=InputError, **options):
    """The line with which a folder is refused, before anything is written."""
    before = sorted(output.parent.rglob("*"))
    with pytest.raises(error) as caught:
        write(output, {"a": "new"}, **options)
    assert sorted(output.parent.rglob("*")) == before
    return str(caught.value)


def test_next_folder_has_nothing_of_the_earlier(tmp_path):
    """The whole is replaced, and nothing is left beside it."""
    write(tmp_path / "deep/output", {"a": "1", "maps/b": "2"})
    write(tmp_path / "deep/output", {"a": "3", "c": "4"})

    assert content(tmp_path) == {"deep/output/a": "3", "deep/output/c": "4"}
    assert sorted(path.name for path in tmp_path.rglob(".*")) == [RECORD]


def test_files_of_users_and_of_other_commands_stay(tmp_path):
    """Links stay links."""
    output = tmp_path / "output"
    write(output, {"a": "1", "maps/b": "2"})
    write(output, {"c": "3"}, command="reliability")
    write_text(output / "maps/notes", "mine")
    (output / "link").symlink_to("maps/notes")
    write(output, {"a": "4"})

    expected = {"a": "4", "c": "3", "maps/notes": "mine", "link": "mine"}
    assert content(output) == expected
    assert (output / "link").is_symlink()
    assert json.loads((output / RECORD).read_text()) == {"compare": ["a"], "reliability": ["c"]}


def test_copies_replace_links_where_the_file_system_knows_none(tmp_path, monkeypatch):
    """As on FAT."""
    write(tmp_path / "output", {"a": "1"})
    write_text(tmp_path / "output/notes", "mine")

    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write(tmp_path / "output", {"a": "2"})

    assert content(tmp_path / "output") == {"a": "2", "notes": "mine"}


def test_file_of_another_is_not_replaced(tmp_path):
    """Nor is anything else then."""
    output = tmp_path / "output"
    write(output, {"b": "1"})
    write_text(output / "a", "mine")

    with pytest.raises(InputError) as caught:
        write(output, {"a": "new"})
    assert str(caught.value) == (
        f"{output}: holds a, which `nacl-monai compare` did not write, and so is not replaced; what was "
        f"written is in {tmp_path}/.output.new"
    )
    assert content(tmp_path) == {"output/a": "mine", "output/b": "1", ".output.new/a": "new"}


@pytest.mark.parametrize("call", [1, 2])
def test_folder_that_cannot_be_replaced_is_named_with_what_was_written(tmp_path, monkeypatch, call):
    """A mount point, say; hours of work are not lost."""
    write(tmp_path / "output", {"a": "old"})
    rename, calls = Path.rename, []

    def refuse(*places):
        calls.append(places)
        if len(calls) == call:
            raise OSError(16, "Device or resource busy")
        return rename(*places)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError) as caught:
        write(tmp_path / "output", {"a": "new"})

    aside = tmp_path / ".output.new"
    assert str(caught.value) == (
        f"{tmp_path}/output: cannot be replaced (Device or resource busy); what was written is in "
        f"{aside}"
    )
    assert content(tmp_path) == {"output/a": "old", ".output.new/a": "new"}


PLACES = {
    "device": "/dev/null: is not a folder; choose another --output",
    "pipe": "{0}: is not a folder; choose another --output",
    "file": "{0}: is not a folder; choose another --output",
    "dangling link": "{0}: is not a folder; choose another --output",
    "foreign folder": "{0}: holds mine, which `nacl-monai compare` did not write; choose another "
    "--output, or move it away",
    "link to a foreign folder": "{0}: holds mine, which `nacl-monai compare` did not write; choose "
    "another --output, or move it away",
    "damaged record": "{0}/.written.json: is damaged; move its folder away",
    "working folder": "{0}: is where this command runs, and would be taken away; choose another "
    "--output",
    "read-only folder": "{0}: cannot be written; choose another --output",
}


def standing(kind, folder, monkeypatch):
    """Something that is no folder of a command."""
    output = folder / "output"
    if kind == "device":
        return Path("/dev/null")
    if kind == "pipe":
        os.mkfifo(output)
    elif kind == "file":
        output.touch()
    elif kind == "dangling link":
        output.symlink_to("nowhere")
    elif kind == "foreign folder":
        output.mkdir()
        (output / "mine").touch()
    elif kind == "link to a foreign folder":
        (folder / "elsewhere").mkdir()
        (folder / "elsewhere/mine").touch()
        output.symlink_to("elsewhere")
    else:
        write(output, {"a": "1"})
        if kind == "damaged record":
            (output / RECORD).write_text("[")
        elif kind == "working folder":
            monkeypatch.chdir(output)
        else:
            access = os.access
            monkeypatch.setattr(
                os, "access", lambda path, mode: path != output and access(path, mode)
            )
    return output


@pytest.mark.parametrize("kind", PLACES)
def test_what_no_command_wrote_is_refused(tmp_path, monkeypatch, kind):
    """In one line, before anything is written."""
    output = standing(kind, tmp_path, monkeypatch)
    if kind == "device":
        with pytest.raises(InputError) as caught:
            write(output, {})
        assert str(caught.value) == PLACES[kind]
    else:
        assert refusal(output) == PLACES[kind].format(output)


@pytest.mark.parametrize("names", [5, "a", [5], ["/etc/hosts"], ["a", "../mine"], {"a": 1}])
def test_crafted_record_of_what_was_written_is_refused(tmp_path, names):
    """Its files are linked into a new folder, and so must be below it."""
    write(tmp_path / "output", {"a": "1"})
    record = tmp_path / "output" / RECORD
    record.write_text(json.dumps({"compare": names}))
    line = refusal(tmp_path / "output")
    assert line == f"{record}: is not as it was written; move its folder away"


#: The words of every command that writes a folder, but for the folder, which is last.
COMMANDS = {
    "audit": ["audit", "predictions", "labels", "--output"],
    "merge": ["merge", "a/bins.npz", "b/bins.npz", "--output"],
    "calibrate": ["calibrate", "predictions", "labels", "--output"],
    "promise": ["promise", "predictions", "labels", "--output"],
    "triage": ["triage", "promise.json", "predictions", "--output"],
    "watch": ["watch", "promise.json", "predictions", "--output"],
    "check of a promise": ["promise", "--check", "p.json", "new", "labels", "--output"],
    "compare": ["compare", "run", "--output"],
    "reliability": ["draw", "reliability", "run", "--output"],
    "selective": ["draw", "selective", "run", "--output"],
    "page": ["page", "run", "--output"],
    "logits": ["draw", "logits", "run", "--output"],
    "export": ["export", "acdc", "--run", "run", "--output"],
    "demo": ["demo", "--output"],
    "paper": ["paper", "table2", "runs", "--output"],
    "phantom": ["phantom", "acdc"],
    "new": ["new", "output", "data", "--bundles"],
}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_what_it_did_not_write(tmp_path, monkeypatch, capsys, command, kind):
    """In one line that names the place, before anything is read or written."""
    output = standing(kind, tmp_path, monkeypatch)
    if kind != "working folder":
        monkeypatch.chdir(tmp_path)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    place = output.parent if command == "new" else output

    code = main([*COMMANDS[command], str(place)])

    line = capsys.readouterr().err
    assert code in (1, 2)
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert str(place) in line or command == "new"  # which looks at the data first
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


#: The words of commands that write one file, but for its name.
WRITERS = {
    "dicom": ["dicom", "series", "map_label.nii.gz", "--output"],
    "fit-prior": ["fit-prior", "rater1", "rater2", "--output"],
}


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("kind", ["device", "pipe", "file", "dangling link", "foreign folder"])
def test_file_that_is_there_is_not_replaced(tmp_path, monkeypatch, capsys, command, kind):
    """Whatever it is, in one line, before anything is read."""
    output = standing(kind, tmp_path, monkeypatch)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}

    assert main([*WRITERS[command], str(output)]) == 1

    line = f"error: {output}: is there already; remove it, or choose another --output\n"
    assert capsys.readouterr().err == line
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("command", WRITERS)
def test_file_within_a_file_or_a_read_only_folder_is_refused(
    tmp_path, monkeypatch, capsys, command
):
    """Before anything is read."""
    (tmp_path / "file").touch()
    folder = standing("read-only folder", tmp_path, monkeypatch)
    for output, fault in (
        (tmp_path / "file/output", f"{tmp_path}/file: is not a folder"),
        (folder / "output", f"{folder}: cannot be written"),
    ):
        assert main([*WRITERS[command], str(output)]) == 1
        assert capsys.readouterr().err == f"error: {fault}; choose another --output\n"


#: The words of commands that draw and write of two runs, but for the folder, under either name.
REPORTS = ["compare", "draw reliability", "draw selective", "page", "draw logits"]


def words_of(report, folders, name, output):
    """They read one run, whose name is in what they write."""
    return [*report.split(), str(folders[0]), "--names", name, "--output", str(output)]


def visible(folder):
    """The bytes of every visible file."""
    files = [path for path in folder.rglob("[!.]*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("report", REPORTS)
def test_full_disk_is_one_line_and_leaves_what_was_there(
    folders, tmp_path, monkeypatch, capsys, report
):
    """No file could be brought to the disk."""
    assert main(words_of(report, folders, "old", tmp_path / "output")) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()

    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    assert main(words_of(report, folders, "new", tmp_path / "output")) == 1

    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "cannot be written (No space left on device)" in errors
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Two folders of predictions and labels, and the audit of each."""
    root, rng = tmp_path_factory.mktemp("sites"), np.random.default_rng(0)
    for site in ("a", "b"):
        for case in ("x", "y"):
            label = rng.integers(0, 2, (8, 8, 4)).astype(np.uint8)
            object_ = np.clip(0.2 + 0.6 * label + rng.normal(0, 0.4, label.shape), 0.01, 0.99)
            probs = np.stack([1 - object_, object_], -1).astype(np.float32)
            save_nifti(probs, root / site / f"predictions/{site}{case}_probabilities.nii.gz")
            save_nifti(label, root / site / f"labels/{site}{case}.nii.gz")
        args = [
            root / site / "predictions",
            root / site / "labels",
            "--output",
            root / site / "audit",
        ]
        with pytest.MonkeyPatch.context() as patch:
            undraw(patch)
            assert main(["audit", *map(str, args)]) == 0
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "audit SITES/a/predictions SITES/a/labels --output DISK/output",
        "merge SITES/a/audit/bins.npz SITES/b/audit/bins.npz --output DISK/output",
        "calibrate SITES/a/predictions SITES/a/labels --output DISK/output",
        "phantom acdc DISK/output",
    ],
    ids=lambda command: command.split()[0],
)
def test_disk_that_fills_up_is_one_line_and_nothing_stays(sites, small_disk, capsys, command):
    """A real one, on which the files that a command writes have no room."""
    capsys.readouterr()
    command = command.replace("SITES", str(sites)).replace("DISK", str(small_disk)).split()

    assert main(command) == 1

    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "cannot be written (" in line
    assert not list(small_disk.iterdir())


def fork(work, point=None):
    """Works in a process that is killed at a call of the operating system; its exit code, calls."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        code, calls = 1, [0]

        def counting(function):
            def call(*arguments, **options):
                calls[0] += 1
                if calls[0] == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        for name in ("link", "mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "chmod"):
            setattr(os, name, counting(getattr(os, name)))
        try:
            code = work()
            os.write(write, str(calls[0]).encode())
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), int(number or 0)


def check_kills(old, new, output, points=None):
    """At seeded points, or at all; what the next process finds is whole, and it is not stopped."""
    backup = output.parent.with_suffix(".old")
    assert fork(old)[0] == 0
    shutil.copytree(output, backup)
    code, calls = fork(new)
    assert code == 0
    whole = visible(backup), visible(output)
    assert whole[0] != whole[1]
    for point in random.Random(0).sample(range(1, calls + 1), points or calls):
        shutil.rmtree(output.parent)
        shutil.copytree(backup, output)
        assert fork(new, point)[0] == -signal.SIGKILL
        assert visible(output if output.exists() else module._beside(output, "old")) in whole
        assert fork(new)[0] == 0
        assert visible(output) == whole[1]
        assert {path.name for path in output.parent.iterdir()} == {"output"}
    return calls


@pytest.mark.nightly
@pytest.mark.parametrize("report", REPORTS)
def test_kill_of_a_report_at_any_point_leaves_the_old_or_the_new(folders, tmp_path, report):
    """Four points of each of five commands."""
    output = tmp_path / report / "output"
    old, new = (partial(main, words_of(report, folders, name, output)) for name in ("old", "new"))

    check_kills(old, new, output, 4)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("audit a/predictions a/labels", "audit b/predictions b/labels --num-bins 10"),
        ("merge a/audit/bins.npz", "merge a/audit/bins.npz b/audit/bins.npz"),
        ("calibrate a/predictions a/labels", "calibrate b/predictions b/labels"),
    ],
    ids=["audit", "merge", "calibrate"],
)
def test_kill_at_twenty_points_leaves_the_old_or_the_new(sites, tmp_path, old, new):
    """Of a command that reads predictions, or sums."""
    output = tmp_path / "command/output"
    commands = (
        [str(sites / word) if "/" in word else word for word in args.split()] for args in (old, new)
    )
    old, new = (partial(main, [*args, "--output", str(output)]) for args in commands)

    check_kills(old, new, output, 20)


def test_every_output_has_a_default_that_its_help_names():
    """No command asks for a folder that it could name by itself."""
    parsers = [("nacl-monai", whole_parser())]
    found = 0
    while parsers:
        name, parser = parsers.pop()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.items()
            elif "--output" in action.option_strings:
                found += 1
                assert not action.required, name
                assert (action.help or "").startswith("default: "), name
    assert found >= 12


def test_folder_that_must_be_new_is_never_replaced(tmp_path):
    """Nor is anything recorded in it."""
    output = tmp_path / "output"
    output.mkdir()
    write(output, {"a": "1"}, replace=False)

    assert [path.name for path in output.iterdir()] == ["a"]
    line = refusal(output, replace=False)
    assert line == f"{output}: holds a, and must be new; choose another --output, or move it away"


def test_what_is_read_is_not_replaced(tmp_path):
    """The message names the option."""
    write(tmp_path / "output", {"a": "1"})
    line = refusal(tmp_path / "output", SettingError, read=[tmp_path / "output/a"], option="--to")

    assert line.startswith(f"--to: is {tmp_path}/output, of which {tmp_path}/output/a is read")


def test_link_to_a_folder_of_its_own_is_followed(tmp_path):
    """The folder may be on another disk."""
    write(tmp_path / "disk/output", {"a": "1"})
    (tmp_path / "output").symlink_to("disk/output")
    write(tmp_path / "output", {"a": "2"})

    assert (tmp_path / "output").is_symlink()
    assert content(tmp_path / "disk") == {"output/a": "2"}


def test_second_process_is_refused(tmp_path):
    """And does not disturb the first."""
    open_output(tmp_path / "output", "compare")
    code = "import sys; from nacl_monai.output import *; open_output(sys.argv[1], 'compare')"
    second = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "output"], capture_output=True, check=False
    )

    assert b"another process is writing there" in second.stderr
    assert aside_of(tmp_path / "output").is_dir()
    abandon_output(tmp_path / "output")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", [{}, {"a": "1"}])
def test_failure_leaves_what_was_there(tmp_path, before):
    """Whatever the failure, nothing else remains, not even an empty parent."""
    if before:
        write(tmp_path / "deep/output", before)
    there = sorted(tmp_path.rglob("*"))

    def fail(error):
        with written_folder(tmp_path / "deep/output", "compare") as folder:
            write_text(folder / "a", "half")
            raise error

    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)

    assert sorted(tmp_path.rglob("*")) == there
    assert content(tmp_path) == {f"deep/output/{name}": text for name, text in before.items()}


def test_full_disk_is_one_line(small_disk):
    """Also where a file is written without `atomic_path`."""
    write(small_disk / "output", {"a": "1"})
    with (
        pytest.raises(InputError, match=r"output: cannot be written .*; choose another --output$"),
        written_folder(small_disk / "output", "compare") as folder,
    ):
        (folder / "a").write_bytes(bytes(2**19))

    assert content(small_disk) == {"output/a": "1"}


def test_folder_that_is_not_closed_is_abandoned_when_the_process_ends(tmp_path):
    """As after an error that ends a configuration."""
    code = "import sys; from nacl_monai.output import *; open_output(sys.argv[1], 'x') / 'a'; 1 / 0"
    subprocess.run([sys.executable, "-c", code, tmp_path / "a"], capture_output=True, check=False)

    assert not list(tmp_path.iterdir())


def test_error_of_what_is_read_is_no_error_of_the_folder(tmp_path):
    """It keeps its own name."""
    with pytest.raises(PermissionError), written_folder(tmp_path / "output", "compare"):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/a.nii.gz")


@pytest.mark.parametrize("points", [2, pytest.param(None, marks=pytest.mark.slow)])
def test_kill_leaves_the_old_or_the_new(tmp_path, points):
    """At two of the calls, or at every one."""
    output = tmp_path / "folder/output"

    def old():
        write(output, {"a": "old", "maps/b": "old"})
        write_text(output / "mine", "x")
        return 0

    def new():
        write(output, {"a": "new", "c": "new"})
        return 0

    assert check_kills(old, new, output, points) > 20
    assert content(output) == {"a": "new", "c": "new", "mine": "x"}
