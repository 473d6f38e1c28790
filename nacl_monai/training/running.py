"""What led to a call from a configuration: its parser, and the overrides of its command.

MONAI passes neither to anybody. But whatever a configuration does, be it from a command or from Python,
happens inside its parser's `get_parsed_content`, and a command inside `monai.bundle.run`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FrameType
from typing import Any

import monai.bundle
from monai.bundle import ConfigParser


def running_parser() -> ConfigParser:
    """The configuration, overrides included, whose evaluation led to this call.

    Raises:
        RuntimeError: If none did.
    """
    frame = _frame_of(ConfigParser.get_parsed_content)
    if frame is None:
        raise RuntimeError("to be called from a configuration of monai.bundle")
    parser: ConfigParser = frame.f_locals["self"]
    return parser


def given_overrides() -> dict[str, Any] | None:
    """The keys and values that ``monai.bundle run`` was given; None if it did not lead to this call."""
    frame = _frame_of(monai.bundle.run)
    if frame is None:
        return None
    file = frame.f_locals["args_file"]
    arguments = {} if file is None else ConfigParser.load_config_file(file)
    given = {**arguments, **frame.f_locals["override"]}
    return {key.replace("#", "::"): value for key, value in given.items()}


def _frame_of(function: Callable[..., Any]) -> FrameType | None:
    """The innermost call of ``function`` that has not returned."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame
