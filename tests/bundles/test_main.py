"""`nacl-monai run` is MONAI's command, held to strictness whatever the configuration."""

import sys

import pytest

from nacl_monai.bundles.__main__ import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command on a configuration that knows nothing of this package."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    file = tmp_path / "config.yaml"
    file.write_text("n: 1\nrun: $print('n is', @n)\n")

    def command(*words):
        code = main(["run", *words, "--config_file", str(file)])
        return code, *capsys.readouterr()

    return command


def test_configuration_is_run_with_its_overrides(run):
    """MONAI does the work."""
    code, output, _ = run("--n", "2")

    assert code == 0
    assert "n is 2" in output


def test_slip_ends_in_one_line_before_anything_is_run(run):
    """MONAI alone would have run with the old value."""
    code, output, errors = run("--m", "2")

    assert code == 2
    assert errors.startswith("error: --m: there is no such key in the configuration; ")
    assert len(errors.splitlines()) == 1
    assert "n is" not in output


def test_errors_of_the_run_are_one_line(run):
    """The hook is in place before MONAI begins."""
    run()

    assert sys.excepthook is not sys.__excepthook__


def test_words_of_the_process_are_the_default(monkeypatch, capsys):
    """As `python -m` gives them; there is one command."""
    monkeypatch.setattr(sys, "argv", ["nacl_monai.training", "walk"])

    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert "choose from" in capsys.readouterr().err


def test_help_explains_the_command(capsys):
    """MONAI's own help would be that of another command."""
    with pytest.raises(SystemExit) as exit_:
        main(["run", "--help"])
    assert exit_.value.code == 0
    assert "usage: nacl-monai run RUN_ID" in capsys.readouterr().out
