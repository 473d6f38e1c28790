"""Errors for people end a command of nnU-Net in one line."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        ("InputError('a: is wrong; mend it')", ["error: a: is wrong; mend it"]),
        ("KeyError('a')", ["Traceback (most recent call last):", "KeyError: 'a'"]),
    ],
)
def test_only_errors_for_people_lose_their_traceback(error, lines):
    """The exit code is 1 in both cases."""
    code = (
        "from nacl_monai.errors import InputError\n"
        "from nacl_monai.nnunet.trainers import one_line_errors\n"
        f"one_line_errors(); raise {error}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    shown = done.stderr.splitlines()
    assert done.returncode == 1
    assert [shown[0], *shown[1:][-1:]] == lines
