"""What a release says of itself is said once."""

import re
from importlib.metadata import version
from pathlib import Path

import nacl_monai

ROOT = Path(__file__).parents[1]


def test_version_is_written_once():
    """The package's version is in one file; pyproject, metadata and citation take it from there."""
    number = re.escape(nacl_monai.__version__)
    declared = re.compile(
        rf"(?:__version__\s*=|^version\s*[=:])\s*[\"']?{number}[\"']?", re.MULTILINE
    )
    files = [ROOT / "pyproject.toml", ROOT / "CITATION.cff", *(ROOT / "nacl_monai").rglob("*.py")]

    assert [file.name for file in files if declared.search(file.read_text(encoding="utf-8"))] == [
        "__init__.py"
    ]


def test_installed_version_is_that_of_the_package():
    """The installed distribution is built from this version."""
    assert version("nacl-monai") == nacl_monai.__version__
