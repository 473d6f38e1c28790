"""Data flows one way: a package imports only from those before it."""

import ast
from pathlib import Path

import pytest

import nacl_monai

PACKAGE = Path(nacl_monai.__file__).parent
ORDER = [
    "errors",
    "tensors",
    "files",
    "progress",
    "bundles",
    "runs",
    "data",
    "phantoms",
    "networks",
    "losses",
    "metrics",
    "handlers",
    "reports",
    "paper",
    "runtime",
    "export",
]
# Independent of each other, though they stand side by side.
APART = {("losses", "data"), ("metrics", "data"), ("metrics", "losses"), ("losses", "networks")}


def imported(file):
    """Names of the parts of this package that ``file`` imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("nacl_monai.")
        ):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.split(".")[1] for alias in node.names if "nacl_monai." in alias.name
            )


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_direction(file):
    """Every import points to the left in `files on disk → data → … → paper → runtime, export`."""
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for other in imported(file):
        assert ORDER.index(other) <= ORDER.index(part), f"{file} imports {other}"
        assert (part, other) not in APART, f"{file} imports {other}"


def test_parts_are_known():
    """A new package or module gets its place in the order."""
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}

    assert parts - {"__init__", "__pycache__", "py"} <= set(ORDER)
