"""What can be chosen: the datasets, losses and networks that ``bundles/`` declares.

The configurations are the one place where a name, a default or a label is written down. Whatever else
needs one (the command line, exports, the paper's grid, tables and figures) asks here. Files are read as
plain YAML: nothing in them is evaluated, and MONAI is not imported.

An entry of a menu carries, in MONAI's ``_desc_``, how tables and figures show it::

    nacl:
      _desc_: {label: NACL, color: vermillion, marker: "*", symbols: {penalty_weight: λ}}
      _target_: nacl_monai.losses.NACLLoss
      penalty_weight: 0.1
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nacl_monai.errors import InputError

DATASET_FILE = "configs/dataset.yaml"
_MENUS = {"losses": "common/train.yaml", "networks": "common/model.yaml"}


@dataclass(frozen=True)
class Choice:
    """One entry of a menu.

    Attributes:
        name: Its key, by which it is chosen.
        target: The class that it makes.
        settings: The class's arguments, at their defaults.
        description: Its ``_desc_``: ``label`` and whatever else tables and figures need.
    """

    name: str
    target: str
    settings: Mapping[str, Any]
    description: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The name that tables and figures show."""
        return str(self.description.get("label", self.name))


def bundles_folder(bundles: str | Path | None = None) -> Path:
    """Returns the folder of the bundles: the given one, or that of the working directory or project.

    Raises:
        InputError: If there is none.
    """
    if bundles is not None:
        candidates = [Path(bundles)]
    else:
        candidates = [Path("bundles"), Path(__file__).parents[1] / "bundles"]
    for folder in candidates:
        if (folder / "common").is_dir():
            return folder
    raise InputError(
        f"{candidates[0]}: no bundles there; run this in the project's root, or name their folder: "
        "--bundles DIR"
    )


def dataset_names(bundles: str | Path | None = None) -> list[str]:
    """Returns the datasets that have a folder in ``bundles``, in alphabetical order."""
    folder = bundles_folder(bundles)
    return sorted(file.parents[1].name for file in folder.glob(f"*/{DATASET_FILE}"))


def dataset_file(name: str, bundles: str | Path | None = None) -> Path:
    """Returns the ``dataset.yaml`` of a dataset.

    Raises:
        InputError: If there is no such dataset.
    """
    file = bundles_folder(bundles) / name / DATASET_FILE
    if not file.is_file():
        raise InputError(
            f"{name}: no such dataset; choose from: {', '.join(dataset_names(bundles)) or 'none'}"
        )
    return file


def read_dataset(name: str, bundles: str | Path | None = None) -> dict[str, Any]:
    """Returns the keys of a dataset's ``dataset.yaml``, with nothing in them evaluated.

    Raises:
        InputError: If there is no such dataset.
    """
    return _read(dataset_file(name, bundles))


def read_shared(bundles: str | Path | None = None) -> dict[str, Any]:
    """Returns the keys of ``model.yaml``, which all datasets share, with nothing in them evaluated."""
    return _read(bundles_folder(bundles) / _MENUS["networks"])


def read_menu(menu: str, bundles: str | Path | None = None) -> dict[str, Choice]:
    """Returns the menu ``losses`` or ``networks``, in the order of tables and figures.

    Example:
        >>> read_menu("losses")["nacl"].label
        'NACL'
    """
    entries = _read(bundles_folder(bundles) / _MENUS[menu])[menu]
    return {
        name: Choice(
            name=name,
            target=str(entry["_target_"]),
            settings={key: value for key, value in entry.items() if not key.startswith("_")},
            description=entry.get("_desc_", {}),
        )
        for name, entry in entries.items()
    }


def _read(file: Path) -> dict[str, Any]:
    return deepcopy(_parse(file.read_text(encoding="utf-8")))  # which callers may change


@cache
def _parse(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed
