"""The files of modules, and which modules are the user's own."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path
from sysconfig import get_path


def source_files(names: Iterable[str]) -> dict[str, str]:
    """The files of modules and of the user's that these import, however indirectly.

    Args:
        names: Names of modules; a name that is none, or whose module has no source, has no file.

    Returns:
        Every file once, with the name of its module.
    """
    waiting, files = {*names}, dict[str, str]()
    while waiting:
        name = waiting.pop()
        file = source_file(name)
        if file and file not in files:
            files[file] = name
            if is_users(name):
                package = name if Path(file).stem == "__init__" else name.rpartition(".")[0]
                imported = imported_names(Path(file).read_bytes(), package)
                waiting |= {*filter(is_users, imported)}
    return files


def source_file(name: str) -> str | None:
    """The file of a module, if it is one in Python; it need not be loaded, and nothing is imported."""
    where = sys.modules.get(name) or _spec(name)
    file = getattr(where, "__file__", None) or getattr(where, "origin", None)
    return file if file and Path(file).suffix == ".py" and Path(file).is_file() else None


def _spec(name: str) -> ModuleSpec | None:
    """`importlib.util.find_spec` without importing the module's packages."""
    top, *parts = name.split(".")
    with suppress(ValueError):  # no name, or a script's
        spec = find_spec(top)
        for part in parts:
            within = spec and spec.submodule_search_locations
            # Under its last name: a package without __init__ asks for the one above it, if it is named.
            spec = PathFinder.find_spec(part, [*within]) if within else None
        return spec
    return None


def is_users(name: str) -> bool:
    """Whether a module is neither installed, and known by its version, nor of this package."""
    file = source_file(name)
    if file is None or name.partition(".")[0] == "nacl_monai":
        return False
    is_standard = Path(file).is_relative_to(get_path("stdlib"))
    return not (is_standard or {"site-packages", "dist-packages"} & {*Path(file).parts})


def imported_names(source: str | bytes, package: str = "") -> set[str]:
    r"""The names of all modules that a source may import anywhere, even within its functions.

    Args:
        source: In Python. In ``from a import b``, both ``a`` and ``a.b`` may be modules.
        package: What relative imports refer to; without it they are left out.

    Example:
        >>> sorted(imported_names("import numpy as np\nfrom a import b\nfrom . import c"))
        ['a', 'a.b', 'numpy']
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            with suppress(ImportError):  # a script of a package, which no longer knows its own
                base = resolve_name("." * node.level + (node.module or ""), package)
                found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found
