"""A configuration that needs no other file than those in its bundle."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from monai.bundle import ConfigParser

from nacl_monai import differences, errors, inference
from nacl_monai.bundles import command_line, error_lines, limits, overrides
from nacl_monai.bundles.fragments import Config
from nacl_monai.bundles.overrides import keys_referred_to
from nacl_monai.files import write_text
from nacl_monai.training import classes, definitions, hints, ignoring, running
from nacl_monai.training.hints import referred

#: The package of a bundle in which the code travels that its inference calls.
SCRIPTS = "scripts"
# They need no other module of this package; `inference` is a package, whose modules import each other.
_MODULES = (
    *(command_line, overrides, definitions, classes, ignoring),
    *(running, limits, hints, error_lines, errors, differences),
)
_TRAVELING = (inference, *_MODULES)

# Where an exported bundle reads and writes: everything is below its own folder. The source finds the
# device by a function of this package, which inference cannot call.
_REPLACED: dict[str, Config] = {
    "train": {
        "output_dir": "$@bundle_root + '/output'",
        "cache_dir": "$@bundle_root + '/cache'",
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
    },
}

# Lists of what is done, one step after the other.
_STEPS = {"initialize", "evaluating", "inference"}
# Keys of inference that nothing refers to, but that MONAI asks for.
_KEPT = {"imports", "bundle_root", "dataset_dir"}


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
    whole = {
        "bundle_root": ".",
        **rest,
        **_own_steps(rest),
        "network_def": network,
        **_REPLACED[kind],
    }
    return _inference_alone(whole) if kind == "inference" else whole


def _own_steps(config: Config) -> Config:
    """The steps that follow no record of a run: what it was trained with is in the configuration."""
    return {
        key: [step for step in config[key] if not _follows(step)] for key in _STEPS & config.keys()
    }


def _follows(step: Any) -> bool:
    """Whether a step looks up what the run was trained with."""
    return isinstance(step, dict) and step.get("_target_") == "nacl_monai.training.follow_run"


def write_scripts(folder: str | Path) -> None:
    """Writes the package ``scripts``, which inference needs, into ``folder`` of a bundle."""
    scripts = Path(folder) / SCRIPTS
    for file in Path(inference.__path__[0]).glob("*.py"):
        write_text(scripts / _stem(inference) / file.name, file.read_text(encoding="utf-8"))
    write_text(scripts / "__init__.py", '"""What the configurations of this bundle call."""\n')
    for module in _MODULES:
        write_text(scripts / f"{_stem(module)}.py", _scripted(inspect.getsource(module)))


def _inference_alone(config: Config) -> Config:
    used = _used_by("inference", config) | _KEPT
    alone = {key: value for key, value in config.items() if key in used}
    alone["dataset"] = "@dataset_def"  # the name by which MONAI knows what is segmented
    scripted: Config = json.loads(_scripted(json.dumps(alone)))
    return scripted


def _scripted(text: str) -> str:
    """``text`` with the names of modules in a bundle in place of those in this package."""
    for module in _TRAVELING:
        text = re.sub(rf"\b{re.escape(module.__name__)}\b", f"{SCRIPTS}.{_stem(module)}", text)
    return text


def _stem(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _used_by(key: str, config: Config) -> set[str]:
    """The top-level keys that ``key`` refers to, however indirectly, and ``key``."""
    used: set[str] = set()
    new = {key}
    while new:
        used |= new
        new = keys_referred_to([config[name] for name in new]) - used
    return used
