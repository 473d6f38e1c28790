"""Errors for people: the message alone, without a traceback."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
from types import TracebackType

from monai.utils import OptionalImportError

from nacl_monai.errors import DISK_ERRORS, InputError, SettingError, causes, print_error

# What pip calls a module's package, where it is another name than the module's.
_PACKAGES = {"yaml": "pyyaml", "ignite": "pytorch-ignite", "PIL": "pillow"}
_PACKAGES |= {"skimage": "scikit-image", "sklearn": "scikit-learn", "cv2": "opencv-python"}


def one_line_errors(of_signals: bool = True) -> None:
    """From now on an `InputError` ends the process with its message alone and its exit code.

    The same goes for arguments that a component of the configuration refuses, with exit code 2, for a
    full or unwritable disk, and for Ctrl-C, after which the process ends by SIGINT (130 in a shell).
    SIGTERM ends it with exit code 143, as soon as what is half-written is removed. MONAI wraps what its
    configurations raise, so the chain of causes is searched. Every other exception keeps its traceback.

    Args:
        of_signals: Whether SIGTERM ends the process so; it is another's in a host of bundles.
    """
    sys.excepthook = _show
    if of_signals and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    # Ignite logs what it is about to raise; Python prints that unless there is a handler.
    logging.getLogger("ignite").addHandler(logging.NullHandler())


class _Terminated(BaseException):
    """SIGTERM was received."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    chain = list(causes(error))
    # A fault that names itself says more than a component that failed by it.
    faults = (find(cause) for find in (_fault, _refused_arguments) for cause in chain)
    fault = next(filter(None, faults), None)
    if fault is None:
        sys.__excepthook__(kind, error, traceback)
        return
    print_error(fault)
    sys.stdout.flush()
    if any(isinstance(cause, KeyboardInterrupt) for cause in chain):
        # As Ctrl-C ends any other, so that a shell loop around it ends as well. Python does so by
        # itself, but not once other code has run at exit, as torch's compiler does.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    if any(isinstance(cause, _Terminated) for cause in chain):
        os._exit(128 + signal.SIGTERM)  # at once, since a cluster does not wait for long
    if fault.exit_code != 1:  # which is the interpreter's own
        sys.exit(fault.exit_code)


def _refused_arguments(error: BaseException) -> InputError | None:
    """The fault of a component that MONAI could not make as the configuration says."""
    failed = re.match(r"Failed to instantiate component '([^']*)'", str(error))
    if failed and isinstance(error.__cause__, TypeError | ValueError):
        cause = error.__cause__
        reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
        return SettingError(f"{failed[1]}: {reason}; correct its arguments in the configuration")
    if isinstance(error, ModuleNotFoundError) and "Cannot locate class or function" in str(error):
        return SettingError(f"_target_: {error}; correct the name")
    return None


def _fault(error: BaseException) -> InputError | None:
    """The fault that a user can put right, if ``error`` is one."""
    goes_on = "the same command goes on where a training's last"
    match error:
        case InputError():
            return error
        case OptionalImportError():  # a package that MONAI imports where it is there
            package = re.search(r"No module named '(\w+)", str(error))
            what = package[1] if package else str(error).strip().partition("\n")[0]
            return SettingError(
                f"{what}: is needed and not installed; pip install {_PACKAGES.get(what, what)}"
            )
        case KeyboardInterrupt():
            return InputError(f"interrupted; {goes_on} epoch ended")
        case _Terminated():
            return InputError(f"ended by SIGTERM; {goes_on} iteration ended")
        case OSError() if error.errno in DISK_ERRORS:
            return InputError(
                f"{error.filename or 'a file of this run'}: {error.strerror}; free space, or choose a "
                "folder that can be written"
            )
    return None
