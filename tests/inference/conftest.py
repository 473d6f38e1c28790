"""Refusals of inference, and empty files."""

from pathlib import Path

import numpy as np
import pytest

from nacl_monai.errors import InputError

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
TURNED = np.array([[0, -2, 0, 11], [3, 0, 0, -7], [0, 0, 4, 5], [0, 0, 0, 1]], float)


@pytest.fixture
def refusal():
    """The line with which a call is refused; a command that ends with it has exit code 1."""

    def message_of(function, *arguments):
        with pytest.raises(InputError) as caught:
            function(*arguments)
        assert caught.value.exit_code == 1
        assert "\n" not in str(caught.value)
        return str(caught.value)

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
