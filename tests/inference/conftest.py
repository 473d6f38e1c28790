"""Refusals of inference, and empty files."""

from pathlib import Path

import numpy as np
import pytest

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
TURNED = np.array([[0, -2, 0, 11], [3, 0, 0, -7], [0, 0, 4, 5], [0, 0, 0, 1]], float)


@pytest.fixture
def refusal():
    """The line with which a call ends the process, with exit code 1, since it is a text."""

    def message_of(function, *arguments):
        with pytest.raises(SystemExit) as caught:
            function(*arguments)
        assert isinstance(caught.value.code, str)
        assert "\n" not in caught.value.code
        assert caught.value.code.startswith("error: ")
        return caught.value.code.removeprefix("error: ")

    return message_of


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Makes empty files below the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()

    return make
