"""``python -m nacl_monai.nnunet`` prints a folder for a variable of the shell."""

import subprocess
import sys

from nacl_monai.errors import InputError
from nacl_monai.nnunet import __main__


def test_the_folder_is_printed_alone(monkeypatch, capsys, tmp_path):
    """A variable takes whatever is printed."""
    monkeypatch.setattr(__main__, "trainers_folder", lambda: tmp_path)

    assert __main__.main([]) == 0
    assert capsys.readouterr().out == f"{tmp_path}\n"


def test_an_error_is_one_line_and_nothing_for_the_variable(monkeypatch, capsys):
    """It goes to the other stream."""

    def refuse():
        raise InputError("nnunetv2: is not installed here; install it")

    monkeypatch.setattr(__main__, "trainers_folder", refuse)

    assert __main__.main([]) == 1
    assert capsys.readouterr() == ("", "error: nnunetv2: is not installed here; install it\n")


def test_the_command_imports_neither_torch_nor_nnunet():
    """A shell that starts waits for it."""
    code = (
        "import sys; from nacl_monai.nnunet.__main__ import main; main([]); "
        "sys.exit(any(name in sys.modules for name in ['torch', 'monai', 'nnunetv2']))"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
