"""The command nacl-monai: what it shows, completes and keeps to itself; nothing is imported early."""

import logging
import os
import shlex
import subprocess
import sys
import warnings

import pytest

from nacl_monai import __version__
from nacl_monai.cli import COMMANDS, VERBOSE, attempted, bold, main, quieten
from nacl_monai.errors import InputError
from nacl_monai.progress import progress_bar


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
    assert error.startswith(
        "error: walk: no such command; choose from: audit, calibrate, promise, "
    )
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


def test_interruption_is_one_line(capsys):
    """With the exit code of a shell for a process that SIGINT ends."""

    def interrupted():
        raise KeyboardInterrupt

    assert attempted(interrupted) == (None, 130)
    assert capsys.readouterr().err == "error: interrupted\n"


def test_python_runs_the_package(capsys):
    """``python -m nacl_monai`` is ``nacl-monai``: its words, its exit code."""
    command = [sys.executable, "-m", "nacl_monai", "audti"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == main(["audti"]) == 2
    assert done.stderr == capsys.readouterr().err
    assert "did you mean audit?" in done.stderr


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
    "args", [["check", "acdc", "DIR"], ["audit", "A", "B"], ["dicom", "A", "B"]]
)
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1mm"])
def test_distance_is_finite_and_not_negative(args, value, capsys):
    """Nothing is farther than a distance that is not a number."""
    with pytest.raises(SystemExit) as ended:
        main([*args, f"--affine_tolerance={value}"])

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


SAID = """
import logging, sys, warnings
from nacl_monai.cli import quieten
quieten()
from monai.apps.utils import get_logger
for name in ("scripts", "workflows"):
    logger = get_logger(f"monai.bundle.{name}")
    logger.info("a notice")
    logger.error("an error")
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").warning("a notice")
warnings.warn("a notice", FutureWarning)
warnings.warn("a notice", UserWarning)
warnings.warn("of numbers", RuntimeWarning)
"""


@pytest.mark.slow
def test_errors_and_warnings_of_numbers_are_heard():
    """Notices are not, even those of loggers that MONAI makes and sets up later."""
    kept = {key: value for key, value in os.environ.items() if key != VERBOSE}
    command = [sys.executable, "-W", "default", "-c", SAID]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=True)
    heard = done.stdout + done.stderr

    assert "a notice" not in heard
    assert heard.count("an error") == 2
    assert "RuntimeWarning: of numbers" in heard


def test_verbose_hears_everything(monkeypatch):
    """The variable goes to whatever a command starts."""
    monkeypatch.setenv(VERBOSE, "1")
    logger = logging.getLogger("monai.bundle.scripts")
    before = list(logger.filters)
    quieten()

    assert logger.filters == before
    with pytest.warns(FutureWarning, match="a notice"):
        warnings.warn("a notice", FutureWarning, stacklevel=1)


@pytest.mark.parametrize(("args", "expected"), [([], []), (["--verbose"], ["1"])])
def test_command_is_quiet_unless_asked(args, expected):
    """``nacl-monai --verbose COMMAND`` says so to its process and to all that it starts."""
    code = (
        "import os, sys; from nacl_monai import cli; "
        f"sys.argv[1:] = {[*args, '--help']}; cli.main(); "
        "print([v for k, v in os.environ.items() if k == 'NACL_VERBOSE'])"
    )
    kept = {key: value for key, value in os.environ.items() if key != VERBOSE}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == str(expected)


def test_bar_says_what_is_counted(capsys, monkeypatch):
    """Description, unit and number, on standard error and by the first process alone."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar(description="Training", unit="slice", total=3) as bar:
        bar.update(3)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Training: 100%" in printed.err
    assert "3/3" in printed.err
    assert "slice" in printed.err
    monkeypatch.setattr("nacl_monai.progress.process_rank", lambda: 1)
    assert progress_bar([1], description="a", unit="b").disable


@pytest.mark.parametrize(("terminal", "seconds"), [(True, 0.1), (False, 30.0)])
def test_file_gets_a_line_every_half_minute(monkeypatch, terminal, seconds):
    """A terminal's bar moves ten times a second; a log grows by a line in 30 seconds."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)

    assert progress_bar([1], description="a", unit="b").mininterval == seconds


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "nacl-monai"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("builtins.print", printed.append)
        assert main(["completion", "bash"]) == 0
    path.write_text(printed[0])
    (path.parent / "my_run").mkdir()
    return path


def completed(file, *args):
    """What bash offers for the last of the words."""
    quoted = " ".join(f"'{word}'" for word in args)
    position = f"COMP_WORDS=({quoted}); COMP_CWORD={len(args) - 1}"
    code = f'. "$0"; {position}; _shtab_nacl_monai 2> /dev/null; echo "${{COMPREPLY[*]}}"'
    done = subprocess.run(
        ["bash", "-c", code, file], cwd=file.parent, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("args", "offered"),
    [
        ([""], list(COMMANDS)),
        (["cal"], ["calibrate"]),
        (["--v"], ["--verbose"]),
        (["audit", "--ra"], ["--raters", "--rater-names"]),
        (["nnunet", "--ra"], []),
        (["train", "--bundles", "my"], ["my_run"]),
        (["compare", "my"], ["my_run"]),
    ],
)
def test_words_are_those_of_the_command(file, args, offered):
    """And of no other; files where it takes any value."""
    assert completed(file, "nacl-monai", *args) == offered


def test_script_of_zsh_is_printed(capsys):
    """For its own completion."""
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef nacl-monai")


def test_error_has_a_line_of_its_own(capsys):
    """Below the progress bar in which it happened, and none is open any more."""
    bar = progress_bar(total=3, description="Training", unit="batch")

    def work():
        bar.update()
        raise InputError("a: is empty; fill it")

    assert attempted(work) == (None, 1)

    *_, last = capsys.readouterr().err.splitlines()
    assert last == "error: a: is empty; fill it"


def test_version_is_that_of_the_package(capsys):
    """As whoever reports a fault is asked for."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nacl-monai {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ["audit", "a", "b", "--outptu", "x"],
            "--outptu: no such option of nacl-monai audit; did you mean --output?",
        ),
        (
            ["calibrate", "a", "b", "--methd", "x"],
            "--methd: no such option of nacl-monai calibrate; did you mean --method?",
        ),
        (
            ["report", "a", "b", "--outp"],
            "--outp: no such option of nacl-monai report; did you mean --output?",
        ),
        (["view"], "PREDICTIONS: missing; nacl-monai view --help says what it is"),
        (
            ["report", "a", "b", "c"],
            "report: takes a folder of predictions and one of label maps, or several of predictions "
            "with --ensemble; new patients: --new c",
        ),
    ],
)
def test_mistake_is_answered_in_one_line(arguments, answer, capsys):
    """An unknown option with the nearest of the same command; nothing is abbreviated."""
    code = None
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    assert code
    assert capsys.readouterr().err == f"error: {answer}\n"


@pytest.mark.parametrize("value", [[], ["much"]])
def test_wrong_or_missing_value_is_answered_by_the_help_of_its_option(value, capsys):
    """In one line, and no other option is in it."""
    with pytest.raises(SystemExit, match="2"):
        main(["promise", "a", "b", "--level", *value])
    error = capsys.readouterr().err
    assert error.startswith("error: --level: ")
    assert "; --level α [α ...]: the largest shares of patients" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "word", ["audit", "calibrate", "promise", "triage", "report", "view", "maps"]
)
def test_help_has_examples_that_the_command_takes(word, capsys):
    """``help audit`` is ``audit --help``; the usage is a line."""
    with pytest.raises(SystemExit, match="0"):
        main([word, "--help"])
    text = capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["help", word])
    assert capsys.readouterr().out == text
    usage, _, _ = text.partition("\n\n")
    assert usage.count("\n") == 0
    examples = text.partition("\nexamples:\n")[2].splitlines()
    assert examples
    for example in examples:
        assert main(shlex.split(example)[1:]) == 1  # its folders are missing here


def test_help_without_a_command_lists_them(capsys):
    """As without a word."""
    assert main(["help"]) == main([]) == 0
    first, _, second = capsys.readouterr().out.rpartition("usage: ")
    assert first == f"usage: {second}"


@pytest.mark.parametrize(
    ("terminal", "color", "expected"),
    [(True, None, True), (True, "1", False), (False, None, False)],
)
def test_bold_is_for_a_terminal_that_may_color(terminal, color, expected, monkeypatch):
    """NO_COLOR, whatever its value, says that it may not."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if color is not None:
        monkeypatch.setenv("NO_COLOR", color)
    assert (bold("so") == "\x1b[1mso\x1b[0m") is expected


def test_bar_says_nothing_in_a_pipe(capsys):
    """Of what takes less than half a minute."""
    list(progress_bar(range(3), description="Reading", unit="case"))
    assert capsys.readouterr().err == ""
