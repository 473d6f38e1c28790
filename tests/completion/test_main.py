"""``nacl-monai completion``: the script, and nothing else."""

import pytest

from nacl_monai.completion import script
from nacl_monai.completion.__main__ import main


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_script_is_printed(shell, capsys):
    """For a shell that is known."""
    assert main([shell]) == 0
    assert capsys.readouterr().out == script(shell)


def test_unknown_shell_is_one_line_with_the_choices(capsys):
    """Exit code 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["fish"])

    assert exit_.value.code == 2
    assert "invalid choice: 'fish'" in capsys.readouterr().err
