"""The configuration of a bundle: fragments in ``bundles/``, merged, as a run of it had them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from nacl_monai.errors import InputError
from nacl_monai.runtime.command_line import checked_overrides

Config = dict[str, Any]
KINDS = ("train", "evaluate", "inference")


def datasets(bundles: str | Path) -> list[str]:
    """Names of the datasets that have a folder in ``bundles``."""
    return sorted(file.parents[1].name for file in Path(bundles).glob("*/configs/dataset.yaml"))


def run_configs(
    bundles: str | Path, dataset: str, overrides: Mapping[str, Any], run: str | Path
) -> dict[str, Config]:
    """Configurations of training, evaluation and inference with what ``run`` was trained with.

    A run that has a record, ``config.json``, is taken at its word: training has all of it, the other
    two what the fragments of dataset and network say in it.

    Args:
        bundles: Folder of the sources.
        dataset: Which of its datasets.
        overrides: Keys and values beyond the sources and the record, as on the command line.
        run: Folder of the run.

    Returns ``{"train": …, "evaluate": …, "inference": …}``, each complete; nothing in them is evaluated.

    Raises:
        InputError: No such dataset or key, or a damaged record.
    """
    bundles = Path(bundles)
    if dataset not in datasets(bundles):
        raise InputError(
            f"there is no dataset {dataset} in {bundles}; choose from: "
            f"{', '.join(datasets(bundles)) or 'none, so name the folder: --bundles DIR'}"
        )
    shared = _load(bundles / dataset / "configs/dataset.yaml", bundles / "common/model.yaml")
    configs = {
        kind: {**deepcopy(shared), **_load(bundles / f"common/{kind}.yaml")} for kind in KINDS
    }
    record = _record(Path(run) / "config.json")
    for kind, config in configs.items():
        keys = config if kind == "train" else shared
        config.update({key: value for key, value in record.items() if key in keys})
    known = {key: value for config in configs.values() for key, value in config.items()}
    for key, value in checked_overrides(known, overrides).items():
        for config in configs.values():
            if key.partition("::")[0] in config:
                ConfigParser(config)[key] = value
    return configs


def _load(*files: Path) -> Config:
    config: Config = ConfigParser.load_config_files([str(file) for file in files])
    return config


def _record(file: Path) -> Config:
    if not file.is_file():
        return {}
    try:
        record: Config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{file}: is damaged; export another run") from None
    return record
