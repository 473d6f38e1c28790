"""A configuration that needs no other file than those in its bundle."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from nacl_monai.export import inference
from nacl_monai.export.fragments import Config
from nacl_monai.runtime.command_line import leaves

#: The module that travels with a bundle, as the bundle's inference calls it.
SCRIPT = "scripts.inference"

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
    script that travels with the bundle instead of `nacl_monai.export.inference`.

    Args:
        config: As `run_configs` returns it.
        kind: "train", "evaluate" or "inference".
    """
    parser = ConfigParser(dict(config))
    network = config["network_def"]
    while isinstance(network, str) and network.startswith("@"):
        network = parser[network[1:]]
    rest = {key: value for key, value in config.items() if key != "networks"}
    # What the run was trained with is in the configuration; there is no other record to follow.
    rest |= {
        key: [step for step in rest[key] if not _follows(step)] for key in _STEPS & rest.keys()
    }
    whole = {"bundle_root": ".", **rest, "network_def": network, **_REPLACED[kind]}
    return _inference_alone(whole) if kind == "inference" else whole


def _follows(step: Any) -> bool:
    """Whether a step looks up what the run was trained with."""
    return isinstance(step, dict) and step.get("_target_") == "nacl_monai.runtime.follow_run"


def write_scripts(folder: str | Path) -> None:
    """Writes the package ``scripts``, which inference needs, into ``folder`` of a bundle."""
    scripts = Path(folder) / SCRIPT.partition(".")[0]
    scripts.mkdir()
    (scripts / "__init__.py").write_text('"""What the configurations of this bundle call."""\n')
    source = inspect.getsource(inference)
    (scripts / f"{SCRIPT.rpartition('.')[2]}.py").write_text(source, encoding="utf-8")


def _inference_alone(config: Config) -> Config:
    used = _used_by("inference", config) | _KEPT
    alone = {key: value for key, value in config.items() if key in used}
    alone["dataset"] = "@dataset_def"  # the name by which MONAI knows what is segmented
    scripted: Config = json.loads(json.dumps(alone).replace(f"{inference.__name__}.", f"{SCRIPT}."))
    return scripted


def _used_by(key: str, config: Config) -> set[str]:
    """The top-level keys that ``key`` refers to, however indirectly, and ``key``."""
    used: set[str] = set()
    new = {key}
    while new:
        used |= new
        references = {
            reference.partition("::")[0]
            for name in new
            for _, value in leaves(config[name])
            if isinstance(value, str)
            for reference in ReferenceResolver.match_refs_pattern(value)
        }
        new = references - used
    return used
