"""MONAI speaks of itself to those who ask for it."""

import logging
import os
import subprocess
import sys
import warnings

import pytest

from nacl_monai.quiet import VERBOSE, quieten

SAID = """
import logging, sys, warnings
from nacl_monai.quiet import quieten
quieten()
from monai.apps.utils import get_logger
for name in ("scripts", "workflows"):
    logger = get_logger(f"monai.bundle.{name}")
    logger.info("a notice")
    logger.error("an error")
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").warning("a notice")
warnings.warn("a notice", FutureWarning)
warnings.warn("a notice", UserWarning)
warnings.warn("of numbers", RuntimeWarning)
"""


@pytest.mark.slow
def test_errors_and_warnings_of_numbers_are_heard():
    """Notices are not, even those of loggers that MONAI makes and sets up later."""
    kept = {key: value for key, value in os.environ.items() if key != VERBOSE}
    words = [sys.executable, "-W", "default", "-c", SAID]
    done = subprocess.run(words, env=kept, capture_output=True, text=True, check=True)
    heard = done.stdout + done.stderr

    assert "a notice" not in heard
    assert heard.count("an error") == 2
    assert "RuntimeWarning: of numbers" in heard


def test_verbose_hears_everything(monkeypatch):
    """The variable goes to whatever a command starts."""
    monkeypatch.setenv(VERBOSE, "1")
    logger = logging.getLogger("monai.bundle.scripts")
    before = list(logger.filters)
    quieten()

    assert logger.filters == before
    with pytest.warns(FutureWarning, match="a notice"):
        warnings.warn("a notice", FutureWarning, stacklevel=1)


@pytest.mark.parametrize(("words", "expected"), [([], []), (["--verbose"], ["1"])])
def test_command_is_quiet_unless_asked(words, expected):
    """``nacl-monai --verbose COMMAND`` says so to its process and to all that it starts."""
    code = (
        "import os, sys; from nacl_monai import cli; "
        f"sys.argv[1:] = {[*words, '--help']}; cli.main(); "
        "print([v for k, v in os.environ.items() if k == 'NACL_VERBOSE'])"
    )
    kept = {key: value for key, value in os.environ.items() if key != VERBOSE}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == str(expected)
