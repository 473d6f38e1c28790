"""What a release says of itself is said once."""

import re
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def requirements(lines):
    return [Requirement(line) for line in lines if not line.startswith(("#", "nacl-monai"))]


def lines(file):
    return (ROOT / file).read_text(encoding="utf-8").splitlines()


def test_constraints_name_one_allowed_version_of_every_requirement():
    """They are public versions, such as anybody can install; nnU-Net and the site are not tested."""
    pins = {
        canonicalize_name(pin.name): str(pin.specifier)
        for pin in requirements(lines("constraints.txt"))
    }

    assert all(re.fullmatch(r"==[0-9][^+*,]*", pin) for pin in pins.values())
    together = [
        line for line in requires("nacl-monai") if not re.search('extra == "(nnunet|docs)"', line)
    ]
    for needed in requirements([*lines("requirements.txt"), *together]):
        assert needed.specifier.contains(pins[canonicalize_name(needed.name)][2:]), needed


def test_every_requirement_of_the_package_has_a_lowest_version():
    """`make test-lowest` runs the tests on it."""
    for needed in requirements(lines("requirements.txt")):
        assert ">=" in [part.operator for part in needed.specifier], needed
