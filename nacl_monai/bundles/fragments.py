"""The configurations of a run: merged fragments of ``bundles/``, with what the run was trained with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from nacl_monai.bundles.overrides import checked_overrides
from nacl_monai.bundles.trust import check_known_code
from nacl_monai.differences import leaves, top_level
from nacl_monai.menus import fragments
from nacl_monai.runs import RunFolder
from nacl_monai.training.definitions import completed
from nacl_monai.training.run_folder import warn_of_changed_code
from nacl_monai.training.run_settings import check_agrees, read_record

Config = dict[str, Any]
KINDS = ("train", "evaluate", "inference")


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
        trust: Whether the record may execute what is in no source.

    Returns:
        ``{"train": …, "evaluate": …, "inference": …}``, each complete, with nothing evaluated.

    Raises:
        InputError: If there is no such dataset or key, or if the record is damaged, says otherwise, or
            is not trusted, see `check_known_code`.
    """
    shared = _load(*fragments(dataset, "train", bundles)[:2])
    configs = {kind: _load(*fragments(dataset, kind, bundles)) for kind in KINDS}
    folder = RunFolder(Path(run))
    file = folder.config
    record = read_record(file) if file.is_file() else {}
    warn_of_changed_code(folder, record)
    asked = {key.replace("#", "::"): value for key, value in overrides.items()}
    check_agrees(file, record, {"dataset": dataset, **asked})
    if not trust:
        check_known_code(record, file, bundles, dict(leaves(asked)).values())
    for kind, config in configs.items():
        # The trained weights replace those that the training began with.
        keys = config.keys() if kind == "train" else shared.keys() - {"pretrained"}
        config.update(_copied(record, keys))
    _override(list(configs.values()), overrides)
    return {kind: {**config, **completed(config)} for kind, config in configs.items()}


def _copied(record: Config, keys: Collection[str]) -> Config:
    return {key: deepcopy(value) for key, value in record.items() if key in keys}


def _override(configs: Sequence[Config], overrides: Mapping[str, Any]) -> None:
    """Puts each override into the configurations that have its key; one of them must."""
    for key, value in checked_overrides(reduce(or_, configs), overrides).items():
        for config in configs:
            if top_level(key) in config:
                ConfigParser(config)[key] = value


def _load(*files: Path) -> Config:
    config: Config = ConfigParser.load_config_files([str(file) for file in files])
    return config
