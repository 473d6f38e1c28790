"""The script completes commands, options and files, in a real shell."""

import shutil
import subprocess

import pytest

from nacl_monai.cli import COMMANDS
from nacl_monai.completion import options_of, script


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "nacl-monai"
    path.write_text(script("bash"))
    return path


def completed(file, *words):
    """What bash offers for the last of the words."""
    given = " ".join(f"'{word}'" for word in words)
    position = f"COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}"
    code = f'. "$0"; {position}; _nacl_monai; echo "${{COMPREPLY[*]}}"'
    done = subprocess.run(["bash", "-c", code, file], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_first_word_is_a_command(file):
    """Or one of the two options of all."""
    assert completed(file, "nacl-monai", "") == [*COMMANDS, "--help", "--verbose"]
    assert completed(file, "nacl-monai", "cal") == ["calibrate"]


def test_options_are_those_of_the_command(file):
    """And of no other."""
    assert completed(file, "nacl-monai", "audit", "--ra") == ["--raters", "--rater-names"]
    assert completed(file, "nacl-monai", "phantom", "x", "--") == options_of("phantom")
    assert completed(file, "nacl-monai", "nnunet", "--ra") == []


def test_other_words_are_files(file):
    """The shell completes them by itself where the script offers nothing."""
    assert completed(file, "nacl-monai", "audit", "pre") == []
    assert "complete -o default" in file.read_text()


def test_options_are_those_that_the_parser_knows(monkeypatch):
    """A word in a text of help is none."""
    from nacl_monai.audits import __main__ as predictions

    monkeypatch.setenv("COLUMNS", "60")
    (commands,) = (a for a in predictions._parser()._actions if a.choices and "audit" in a.choices)
    options = [action.option_strings for action in commands.choices["audit"]._actions]
    known = [max(strings, key=len) for strings in options if strings]

    assert sorted(options_of("audit")) == sorted(known)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_its_script(tmp_path):
    """Bash's function, behind zsh's own words for it."""
    (tmp_path / "script").write_text(script("zsh"))
    subprocess.run(["zsh", "-f", tmp_path / "script"], check=True)
