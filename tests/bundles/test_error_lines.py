"""Errors that a user can put right are one line; all others keep their traceback."""

import errno
import logging
import os
import re
import signal
import sys

import pytest
from monai.bundle import ConfigParser
from monai.utils import OptionalImportError

from nacl_monai.bundles.error_lines import one_line_errors
from nacl_monai.errors import InputError


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


def test_package_is_named_as_pip_names_it(capsys):
    """What is called yaml on the index is somebody else's."""

    def fail():
        raise OptionalImportError("from yaml import load (No module named 'yaml').")

    line = "error: yaml: is needed and not installed; pip install pyyaml\n"
    assert shown_with_exit(capsys, fail) == line


def shown_with_exit(capsys, function):
    with pytest.raises(SystemExit) as stop:
        shown(capsys, function)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_input_error_is_shown_alone_however_deeply_it_is_wrapped(capsys):
    """MONAI wraps what its configurations raise, more than once."""

    def fail():
        try:
            try:
                raise InputError("file.nii.gz: is damaged; download it again")
            except InputError as error:
                raise RuntimeError("applying transform") from error
        except RuntimeError as error:
            raise RuntimeError("Failed to evaluate") from error

    assert shown(capsys, fail) == "error: file.nii.gz: is damaged; download it again\n"


@pytest.mark.parametrize(
    ("cause", "reason"), [(ValueError(), "ValueError"), (TypeError("no\nsuch"), "no")]
)
def test_component_that_refuses_without_a_word_is_one_line(capsys, cause, reason):
    """The kind of its error is all there is to say."""

    def fail():
        raise RuntimeError("Failed to instantiate component 'loss'") from cause

    line = f"error: loss: {reason}; correct its arguments in the configuration\n"
    assert shown_with_exit(capsys, fail) == line


def test_any_other_error_keeps_its_traceback(capsys):
    """It is a fault of the program, as may be a file that is not found."""
    for fault, name in ((lambda: 1 // 0, "ZeroDivisionError"), (lambda: open("x"), "NotFound")):  # noqa: PTH123, SIM115
        text = shown(capsys, fault)

        assert "Traceback" in text
        assert name in text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("file", ["runs/x", None])
def test_disk_that_can_hold_no_more_is_one_line(capsys, number, file):
    """It is not a fault of the program; an open stream has no name to say."""

    def fail():
        raise OSError(number, os.strerror(number), *([file] if file else []))

    where = file or "a file of this run"
    line = f"{where}: {os.strerror(number)}; free space, or choose a folder that can be written"
    assert shown(capsys, fail) == f"error: {line}\n"


def test_interruption_is_one_line_and_ends_by_the_signal(capsys, monkeypatch):
    """A shell loop around the process then ends as well."""
    sent = []
    monkeypatch.setattr(signal, "signal", lambda *handler: sent.append(handler))
    monkeypatch.setattr(signal, "raise_signal", sent.append)

    def fail():
        raise KeyboardInterrupt

    assert shown(capsys, fail).startswith("error: interrupted; the same command goes on")
    assert sent == [(signal.SIGINT, signal.SIG_DFL), signal.SIGINT]


@pytest.mark.parametrize(
    ("component", "line"),
    [
        ({"_target_": "UNet", "nix": 1}, r".*UNet: .*unexpected keyword.*'nix'; correct its"),
        ({"_target_": "torch.nn.Conv2d", "in_channels": -1}, r"torch.nn.Conv2d: .*; correct its"),
        ({"_target_": "torch.nn.Nix"}, r"_target_: Cannot locate class .*Nix.*; correct the name"),
    ],
)
def test_component_that_cannot_be_made_is_one_line(capsys, component, line):
    """With its name and what it refuses; the exit code is that of a slip in a command."""
    parser = ConfigParser({"x": component})

    errors = shown_with_exit(capsys, lambda: parser.get_parsed_content("x"))

    assert "Traceback" not in errors
    assert len(errors.splitlines()) == 1
    assert re.match(f"error: {line}", errors)


def test_component_that_fails_in_another_way_keeps_its_traceback(capsys):
    """Only arguments that it refuses are the user's."""
    component = {"_target_": "operator.truediv", "_mode_": "callable"}
    parser = ConfigParser({"x": {"_target_": "math.factorial"}, "y": "$@z(1, 0)", "z": component})

    assert "ZeroDivisionError" in shown(capsys, lambda: parser.get_parsed_content("y"))


def test_ignite_prints_no_error_of_its_own():
    """It logs what it is about to raise, which Python prints unless there is a handler."""
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("ignite").handlers)
