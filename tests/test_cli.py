"""The command nacl-monai: one word per command, and nothing imported before it is needed."""

import os
import shlex
import stat
import subprocess
import sys

import pytest

from nacl_monai.cli import COMMANDS, attempted, main


def test_help_lists_every_command(capsys):
    """Without a word, and for --help, the commands are listed with what they do."""
    assert main([]) == main(["--help"]) == 0

    listed = capsys.readouterr().out
    for word, command in COMMANDS.items():
        assert f"  {word}" in listed
        assert command.purpose in listed


def test_unknown_command_is_one_line_with_the_choices(capsys):
    """A misspelled command ends in one line with exit code 2."""
    assert main(["walk", "acdc"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: walk: no such command; choose from: demo, check, ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "meant"), [("adit", "audit"), ("chek", "check"), ("Train", "train")]
)
def test_misspelled_command_is_answered_by_the_nearest(word, meant, capsys):
    """The list would hide it."""
    assert main([word]) == 2
    assert capsys.readouterr().err == f"error: {word}: no such command; did you mean {meant}?\n"


@pytest.mark.parametrize("buffering", [1, -1])
def test_reader_who_has_gone_ends_it_without_a_word(monkeypatch, capsys, buffering):
    """As ``| head`` does, whether lines are written at once or at the end."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", buffering=buffering) as printed:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", printed)
        assert main(["--help"]) == 141  # as a shell says of a process that SIGPIPE ends

    assert capsys.readouterr().err == ""


def test_other_pipe_that_breaks_is_an_error(monkeypatch):
    """What a command says to a socket or a process of its own is not what it prints."""

    def talk(_words):
        raise BrokenPipeError

    monkeypatch.setattr("nacl_monai.nnunet.__main__.main", talk)
    with pytest.raises(BrokenPipeError):
        main(["nnunet"])


@pytest.fixture(params=["pipe", "device", "file"])
def no_folder(request, tmp_path):
    """Something that is not a folder; the device is of the kind of /dev/null."""
    place = tmp_path / request.param
    if request.param == "pipe":
        os.mkfifo(place)
    elif request.param == "file":
        place.touch()
    else:
        try:
            os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root can make a device")
    return place


@pytest.mark.parametrize(
    "command",
    [
        "audit P L --output {}",
        "audit P L --output {}/below",
        "merge P/bins.npz L/bins.npz --output {}",
        "calibrate P L --output {}",
        "new mine P --bundles {}",
        "phantom acdc {}",
        "demo --output {}",
        *(f"{word} RUN --output {{}}" for word in ("compare", "reliability", "selective", "page")),
    ],
)
def test_what_is_not_a_folder_is_not_replaced_by_one(
    folders, no_folder, tmp_path, monkeypatch, capsys, command
):
    """No process could work without /dev/null, and root may replace it."""
    monkeypatch.chdir(tmp_path)
    for name in "PL":
        (tmp_path / name).mkdir()
    before = no_folder.lstat()

    words = shlex.split(command.format(no_folder).replace("RUN", str(folders[0])))
    assert main(words) == 1

    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {no_folder}: is not a folder; ")
    assert errors.count("\n") == 1
    assert (no_folder.lstat().st_ino, no_folder.lstat().st_mode) == (before.st_ino, before.st_mode)


def test_interruption_is_one_line(capsys):
    """With the exit code of a shell for a process that SIGINT ends."""

    def interrupted():
        raise KeyboardInterrupt

    assert attempted(interrupted) == (None, 130)
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_explains_itself(word, capsys):
    """``nacl-monai COMMAND --help`` shows the usage under that very name."""
    with pytest.raises(SystemExit) as exit_:
        main([word, "--help"])

    assert exit_.value.code == 0
    assert f"nacl-monai {word}" in " ".join(capsys.readouterr().out.split())


def test_exit_code_is_the_commands(tmp_path, capsys):
    """A command that fails makes nacl-monai fail, with the command's own line."""
    assert main(["compare", str(tmp_path), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "words", [["check", "acdc", "DIR"], ["audit", "A", "B"], ["dicom", "A", "B"]]
)
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1mm"])
def test_distance_is_finite_and_not_negative(words, value, capsys):
    """Nothing is farther than a distance that is not a number."""
    with pytest.raises(SystemExit) as ended:
        main([*words, f"--affine_tolerance={value}"])

    assert ended.value.code == 2
    assert f"invalid distance value: '{value}'" in capsys.readouterr().err


def test_help_imports_no_heavy_library():
    """The list of commands, and what explains one, cost no import of torch, MONAI or pandas."""
    heavy = ["torch", "monai", "ignite", "pandas", "matplotlib", "scipy", "numpy"]
    listing = ("paper", "phantom")  # what is there, which is loaded for it
    light = [word for word in COMMANDS if word not in listing]
    code = f"""
import sys
from contextlib import suppress
from nacl_monai.cli import main

main(["--help"])
for word in {light}:
    with suppress(SystemExit):
        main([word, "--help"])
sys.stderr.write(" ".join(name for name in {heavy} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert not done.stderr
    assert done.stdout.count("usage: ") == 1 + len(light)
