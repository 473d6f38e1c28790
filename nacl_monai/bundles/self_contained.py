"""Configurations of a run that need no other file than those in its bundle, and the code they call.

A class of one's own is in a module on PYTHONPATH, or in a package that pip installed as editable. Its
source travels in ``scripts/``, with the other such modules that it imports; what else pip installed is
named among the required packages.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, reduce
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from itertools import chain
from operator import or_
from pathlib import Path
from pydoc import locate
from typing import Any

from monai.bundle import ConfigComponent, ConfigParser
from torch import nn

from nacl_monai.bundles.overrides import checked_overrides, joined_keys, keys_referred_to
from nacl_monai.bundles.scripts import SCRIPTS, scripted
from nacl_monai.errors import InputError
from nacl_monai.files import write_text
from nacl_monai.menus import fragments, read_keys, search_path
from nacl_monai.runs import RunFolder
from nacl_monai.sources import imported_names, is_users
from nacl_monai.training.definitions import WITHOUT, completed, components_of
from nacl_monai.training.hints import locator, referred
from nacl_monai.training.run_folder import warn_of_changed_code
from nacl_monai.training.run_settings import check_agrees, read_trained_config
from nacl_monai.words import leaves, top_level

Config = dict[str, Any]
_KINDS = ("train", "evaluate", "inference")
# Where an exported bundle reads and writes: everything is below its own folder. The source finds the
# device by a function of this package, which inference cannot call.
_REPLACED: dict[str, Config] = {
    "train": {
        "output_dir": "$@bundle_root + '/output'",
        "cache_dir": "$@bundle_root + '/cache'",
        # A host has none of this package, and MONAI no scripts before it runs.
        "initialize": [],
        "run": [
            {"_target_": f"{SCRIPTS}.error_lines.one_line_errors", "of_signals": False},
            {"_target_": f"{SCRIPTS}.command_line.refuse_host"},
        ],
    },
    "evaluate": {
        "output_dir": "$@bundle_root + '/output'",
        "cache_dir": "$@bundle_root + '/cache'",
        "split_file": "$@bundle_root + '/configs/split.json'",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
    },
    "inference": {
        "output_dir": "$@bundle_root + '/predictions'",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "promised_weights": None,  # they are stored anew; export compares them
    },
}
# What inference calls otherwise in an export, since hosts know it by these names.
_RENAMED = {"preprocessing": "image_steps", "image_reading": "preprocessing"}
# Lists of what is done, one step after the other.
_STEPS = {"initialize", "evaluating", "inference"}
_FIRST = "monai.utils.first"
# Keys of inference that nothing refers to, but that MONAI asks for.
_KEPT = {"imports", "bundle_root", "dataset_dir"}
# Which every bundle has, or names by itself.
_THERE = {*sys.stdlib_module_names, SCRIPTS, "monai", "numpy", "torch", "nibabel"}
_OPTIONAL = re.compile(r"optional_import\(\s*[\"'](\w+)")
# Modules that travel are imported by their own names from within, too.
_INIT = '''"""What the configurations of this bundle call."""

import os
import sys

sys.path.append(os.path.dirname(__file__))
'''
# Where networks and losses are that do nothing but compute.
_HARMLESS = ("monai.networks.", "monai.losses.", "nacl_monai.networks.", "nacl_monai.losses.")
_EXECUTED = ("$", "%")  # expressions, and macros, which read other files
# What runs of earlier versions were trained with, where today's bundles name something else.
_EARLIER = {"SliceInferer", "nacl_monai.data.SliceDataset"}


def run_configs(
    dataset: str,
    overrides: Mapping[str, Any],
    run: str | Path,
    bundles: str | Path | None = None,
    trust: bool = False,
) -> dict[str, Config]:
    """Configurations of training, evaluation and inference with what ``run`` was trained with.

    A run that has a record, ``config.json``, is taken at its word: training has all of it, the other
    two have what it says of the keys in the dataset's fragment and in ``model.yaml``.

    Args:
        dataset: Name of the dataset that the run was trained on.
        overrides: Keys and values beyond the sources and the record, as on the command line.
        run: Folder of the run.
        bundles: Folder of the sources; that of the working directory or of the package by default.
        trust: Whether the record may execute code that is in no source.

    Returns:
        ``{"train": …, "evaluate": …, "inference": …}``, each complete, with nothing evaluated.

    Raises:
        InputError: If there is no such dataset or key, or if the record is damaged, says otherwise, or
            is not trusted, see `check_known_code`.
    """
    shared = joined_keys(map(read_keys, fragments(dataset, "train", bundles)[:2]))
    configs = {
        kind: joined_keys(map(read_keys, fragments(dataset, kind, bundles))) for kind in _KINDS
    }
    folder = RunFolder(Path(run))
    file = folder.config
    record = read_trained_config(file) if file.is_file() else {}
    warn_of_changed_code(folder, record)
    asked = {key.replace("#", "::"): value for key, value in overrides.items()}
    check_agrees(file, record, {"dataset": dataset, **asked})
    if record and not trust:
        check_known_code(record, file, bundles, dict(leaves(asked)).values())
    for kind, config in configs.items():
        # The trained weights replace those that the training began with.
        keys = config.keys() if kind == "train" else shared.keys() - {"pretrained"}
        config.update(deepcopy({key: record[key] for key in record.keys() & keys}))
    _override(configs.values(), overrides)
    return {kind: {**config, **completed(config)} for kind, config in configs.items()}


def _override(configs: Collection[Config], overrides: Mapping[str, Any]) -> None:
    """Each override goes into the configurations that have its key; one of them must."""
    for key, value in checked_overrides(reduce(or_, configs), overrides).items():
        for config in configs:
            if top_level(key) in config:
                ConfigParser(config)[key] = value


def self_contained(config: Mapping[str, Any], kind: str) -> Config:
    """The configuration with its network in place of the menu, and paths below ``bundle_root``.

    Inference keeps only the keys that it uses, since others would ask for this package, and calls the
    scripts that travel with the bundle instead of this package.

    Args:
        config: As `run_configs` returns it.
        kind: "train", "evaluate" or "inference".
    """
    network = referred(config["network_def"], ConfigParser(dict(config)))
    rest = {key: value for key, value in config.items() if key != "networks"}
    for key in _STEPS & rest.keys():  # what the run was trained with is in the configuration
        rest[key] = [step for step in rest[key] if "training.follow_run" not in str(step)]
    if "train" in rest:  # where MONAI Label writes, before it starts what refuses it
        parts = rest["train"]["handlers"]
        handlers = [part if isinstance(part, dict) else _mapping(part) for part in parts]
        rest["train"] = {**rest["train"], "handlers": handlers}
        rest["validate"] = {**rest["validate"], "dataset": _mapping("@validate::volumes")}
    whole = {"bundle_root": ".", **rest, "network_def": network, **_REPLACED[kind]}
    return _inference_alone(whole) if kind == "inference" else whole


def _mapping(reference: str) -> Config:
    """A definition that becomes what a reference is to."""
    return {"_target_": _FIRST, "iterable": [reference]}


def _inference_alone(config: Config) -> Config:
    used = _used_by({"inference", "postprocessing"}, config) | _KEPT
    alone = {_RENAMED.get(key, key): value for key, value in config.items() if key in used}
    alone["dataset"] = "@dataset_def"  # the name by which MONAI knows what is segmented
    names = "|".join(_RENAMED)
    text = re.sub(rf"@({names})\b", lambda name: f"@{_RENAMED[name[1]]}", json.dumps(alone))
    moved: Config = json.loads(scripted(text))
    return moved


def _used_by(new: set[str], config: Config) -> set[str]:
    """These top-level keys, and those that they refer to, however indirectly."""
    used: set[str] = set()
    while new:
        used |= new
        new = keys_referred_to([config[name] for name in new]) - used
    return used


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
            if path.is_file():
                shutil.copyfile(path, scripts / path.name)
            for file in [] if path.is_file() else _sources(path):
                text = file.read_text(encoding="utf-8")
                write_text(scripts / name / file.relative_to(path), text)
        if self.modules:
            write_text(scripts / "__init__.py", _INIT)


def own_code(configs: Mapping[str, Config], network: nn.Module) -> OwnCode:
    """The modules that the classes in configurations need.

    Args:
        configs: By their kind. The packages are only those of inference.
        network: The network of inference.
    """
    modules, _ = _needed(configs.values())
    _, packages = _needed([configs["inference"]])
    return OwnCode(modules, frozenset(packages | optional_packages(network)))


def _needed(configs: Iterable[Config]) -> tuple[dict[str, Path], set[str]]:
    """The modules of all classes that configurations name and what these import, and distributions."""
    todo = {_module(part) for _, part in components_of([*configs])}
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


def check_known_code(
    record: Mapping[str, Any],
    file: str | Path,
    bundles: str | Path | None = None,
    asked: Collection[object] = (),
) -> None:
    """Refuses a record that would execute anything which the configurations in ``bundles`` do not.

    Networks and losses of MONAI and of this package are harmless, named there or not.

    Args:
        record: What ``file`` holds, with nothing in it evaluated.
        file: The record of a run, named in the message.
        bundles: Folder of the sources; that of the working directory or of the package by default.
        asked: The names from the export command, such as a class of one's own.

    Raises:
        InputError: If an expression, a macro or a ``_target_`` of the record is in no source.
    """
    known = _EARLIER | {WITHOUT, _FIRST} | _code_of_sources(bundles)
    for key, value in _code(record):
        if value not in known and value not in asked and not _is_harmless(value):
            raise InputError(
                f"{file}: {key} is {str(value)[:80]!r}, code that no bundle has; export it with "
                "--trust, if you trust whoever wrote it"
            )


def _code_of_sources(bundles: str | Path | None) -> set[str]:
    """All that the configurations in ``bundles`` execute."""
    sources = sorted(file for folder in search_path(bundles) for file in folder.rglob("*.yaml"))
    return {value for source in sources for _, value in _code(read_keys(source))}


def _is_harmless(value: object) -> bool:
    """Whether a ``_target_`` is a network or a loss of MONAI or of this package."""
    if not isinstance(value, str):
        return False
    name = ConfigComponent({"_target_": value}, locator=locator).resolve_module_name()  # type: ignore[no-untyped-call]
    if not name.startswith(_HARMLESS):
        return False
    found = locate(name)  # a name may lead on to what its module imports
    return (
        isinstance(found, type)
        and issubclass(found, nn.Module)
        and found.__module__.startswith(_HARMLESS)
    )


def _code(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every key below ``config`` whose value is executed, and the value."""
    for key, value in leaves(config):
        is_target = "_target_" in key.split("::")
        if is_target or (isinstance(value, str) and value.startswith(_EXECUTED)):
            yield key, value
