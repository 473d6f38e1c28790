"""A quiet start: what MONAI says of itself is heard by those who ask for it."""

from __future__ import annotations

import logging
import os
import warnings

#: The variable of the environment that a command and all that it starts follow.
VERBOSE = "NACL_VERBOSE"
# A missing NVIDIA library, the place of a logging.conf, the arguments of a run.
_TALKATIVE = (
    "monai.data.nvimgcodec_pydicom_plugin",
    "monai.bundle.scripts",
    "monai.bundle.workflows",
)


def quieten() -> None:
    """Hides MONAI's notices and warnings in this process, unless ``NACL_VERBOSE`` is set.

    Errors are shown. To be called before MONAI is imported, since importing it warns already.
    """
    if os.environ.get(VERBOSE):
        return
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_is_error)
    # MONAI repeats that configurations run code, and its deprecations, on every parse.
    for category in (UserWarning, FutureWarning):
        warnings.simplefilter("ignore", category)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
