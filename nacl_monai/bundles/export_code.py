"""Code that an exported bundle needs and that its receiver cannot install, and what can be installed.

A class of one's own is in a module on PYTHONPATH, or in a package that pip installed as editable. Its
source travels in ``scripts/``, with the other such modules that it imports; what else pip installed is
named among the required packages.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn

from nacl_monai.bundles.fragments import Config
from nacl_monai.bundles.self_contained import SCRIPTS
from nacl_monai.errors import InputError
from nacl_monai.files import write_text
from nacl_monai.sources import imported_names, is_users

# Which every bundle has, or names by itself.
_THERE = {*sys.stdlib_module_names, SCRIPTS, "monai", "numpy", "torch", "nibabel"}
_OPTIONAL = re.compile(r"optional_import\(\s*[\"'](\w+)")
# Modules that travel are imported by their own names from within, too.
_INIT = '''"""What the configurations of this bundle call."""

import os
import sys

sys.path.append(os.path.dirname(__file__))
'''


@dataclass(frozen=True)
class OwnCode:
    """The modules that travel, and the packages that are to be installed.

    Attributes:
        modules: The file or the folder of each module, by the first part of its name.
        packages: Names of distributions.
    """

    modules: Mapping[str, Path]
    packages: frozenset[str]

    def moved(self, config: Config) -> Config:
        """A configuration that calls the modules where they travel."""
        return {key: self._moved(value) for key, value in config.items()}

    def _moved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._moved(below) for below in value]
        if not isinstance(value, Mapping):
            return value
        moved = {key: self._moved(below) for key, below in value.items()}
        if _module(moved) in self.modules:
            moved["_target_"] = f"{SCRIPTS}.{moved['_target_']}"
        return moved

    def write(self, bundle: Path) -> None:
        """Copies the modules into the bundle's scripts."""
        scripts = bundle / SCRIPTS
        for name, path in self.modules.items():
            if (scripts / name).exists() or (scripts / f"{name}.py").exists():
                raise InputError(f"{path}: a bundle's scripts have a module {name}; rename yours")
            _copy_module(path, scripts, name)
        if self.modules:
            write_text(scripts / "__init__.py", _INIT)


def _copy_module(path: Path, scripts: Path, name: str) -> None:
    if path.is_file():
        shutil.copyfile(path, scripts / path.name)
        return
    for file in _sources(path):
        write_text(scripts / name / file.relative_to(path), file.read_text(encoding="utf-8"))


def own_code(configs: Mapping[str, Config], network: nn.Module) -> OwnCode:
    """What the classes that configurations name need.

    Args:
        configs: By their kind. The packages are only those of inference.
        network: The network of inference.
    """
    modules, _ = _needed(configs.values())
    _, packages = _needed([configs["inference"]])
    return OwnCode(modules, frozenset(packages | optional_packages(network)))


def _needed(configs: Iterable[Config]) -> tuple[dict[str, Path], set[str]]:
    """The modules of all classes that configurations name and what these import, and distributions."""
    todo = {_module(part) for part in _components(list(configs))}
    modules: dict[str, Path] = {}
    packages: set[str] = set()
    while todo:
        name = todo.pop()
        if name in _THERE or name in modules:
            continue
        if name in _installed() and not is_users(name):
            packages.update(_installed()[name][:1])
        elif (path := _path(name)) is not None:
            modules[name] = path
            todo.update(chain.from_iterable(map(_imported, _sources(path))))
    return modules, packages


def optional_packages(network: nn.Module) -> set[str]:
    """What the modules of a network's parts import where it is there, as MONAI's ``SwinUNETR`` einops.

    Only packages that are there count.
    """
    names = {type(part).__module__ for part in network.modules()}
    sources = [inspect.getsource(sys.modules[name]) for name in names if name.startswith("monai.")]
    found = {*_OPTIONAL.findall("\n".join(sources))} - _THERE
    return {_installed()[name][0] for name in found & _installed().keys()}


@cache
def _installed() -> Mapping[str, list[str]]:
    """The distributions of every module that pip installed."""
    return {"nacl_monai": ["nacl-monai"], **packages_distributions()}


def _components(config: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(config, Mapping):
        yield config
        for value in config.values():
            yield from _components(value)
    elif isinstance(config, list):
        for value in config:
            yield from _components(value)


def _module(component: Mapping[str, Any]) -> str:
    """The first part of the name of a component's module; monai where it has none."""
    target = component.get("_target_")
    first, dot, _ = target.partition(".") if isinstance(target, str) else ("", "", "")
    return first if dot else "monai"


def _path(name: str) -> Path | None:
    """The file of a module, or the folder of a package; None if it has no source."""
    spec = find_spec(name)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _sources(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _imported(file: Path) -> set[str]:
    """The first parts of the names of all modules that a file imports, but for those beside it."""
    names = imported_names(file.read_text(encoding="utf-8"))
    return {name.partition(".")[0] for name in names}
