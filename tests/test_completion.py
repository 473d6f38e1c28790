"""A real shell completes commands, options and files."""

import subprocess

import pytest

from nacl_monai.cli import COMMANDS, main


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


def completed(file, *words):
    """What bash offers for the last of the words."""
    given = " ".join(f"'{word}'" for word in words)
    position = f"COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}"
    code = f'. "$0"; {position}; _shtab_nacl_monai 2> /dev/null; echo "${{COMPREPLY[*]}}"'
    done = subprocess.run(
        ["bash", "-c", code, file], cwd=file.parent, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
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
def test_words_are_those_of_the_command(file, words, offered):
    """And of no other; files where it takes any value."""
    assert completed(file, "nacl-monai", *words) == offered


def test_script_of_zsh_is_printed(capsys):
    """For its own completion."""
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef nacl-monai")
