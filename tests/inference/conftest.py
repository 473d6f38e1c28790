"""Refusals of inference, and empty files."""

from pathlib import Path

import pytest


@pytest.fixture
def refusal():
    """The line with which a call ends the process, with exit code 1, since it is a text."""

    def of(function, *arguments):
        with pytest.raises(SystemExit) as caught:
            function(*arguments)
        assert isinstance(caught.value.code, str)
        assert "\n" not in caught.value.code
        assert caught.value.code.startswith("error: ")
        return caught.value.code.removeprefix("error: ")

    return of


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Makes empty files below the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()

    return make
