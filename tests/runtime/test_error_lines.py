"""How errors are shown."""

import errno
import os
import signal
import sys

import pytest

from nacl_monai.errors import InputError
from nacl_monai.runtime import one_line_errors


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    one_line_errors()


def shown(capsys, function):
    try:
        function()
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    return capsys.readouterr().err


def test_wrapped(capsys):
    """An input error is shown alone, however deeply MONAI has wrapped it."""

    def fail():
        try:
            try:
                raise InputError("file.nii.gz: is damaged; download it again")
            except InputError as error:
                raise RuntimeError("applying transform") from error
        except RuntimeError as error:
            raise RuntimeError("Failed to evaluate") from error

    assert shown(capsys, fail) == "error: file.nii.gz: is damaged; download it again\n"


def test_others(capsys):
    """Any other error keeps its traceback."""
    text = shown(capsys, lambda: 1 // 0)

    assert "Traceback" in text
    assert "ZeroDivisionError" in text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_disk(capsys, number):
    """A disk that can hold no more is no fault of the program's."""

    def fail():
        raise OSError(number, os.strerror(number), "runs/x")

    assert shown(capsys, fail) == f"error: runs/x: {os.strerror(number)}\n"


def test_interrupted(capsys, monkeypatch):
    """Ctrl-C is no error with a traceback, and the process ends by the signal."""
    sent = []
    monkeypatch.setattr(signal, "signal", lambda *handler: sent.append(handler))
    monkeypatch.setattr(signal, "raise_signal", sent.append)

    def fail():
        raise KeyboardInterrupt

    assert shown(capsys, fail).startswith("error: interrupted; the same command goes on")
    assert sent == [(signal.SIGINT, signal.SIG_DFL), signal.SIGINT]
