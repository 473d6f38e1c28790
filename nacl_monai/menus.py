"""The choices: the datasets, losses and networks that ``bundles/`` declares.

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

from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from nacl_monai.errors import InputError, SettingError
from nacl_monai.wheel import shipped

DATASET_FILE = "configs/dataset.yaml"
#: The folder of bundles from which `nacl-monai new` makes others.
TEMPLATE = "folder"
#: The folder of what all datasets share.
_SHARED = "common"
#: Each menu, and the file in ``bundles/`` that has it.
MENUS = {"losses": "common/train.yaml", "networks": "common/model.yaml"}


@dataclass(frozen=True)
class MenuEntry:
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
    """Returns the folder of what all bundles share: the last one in which datasets are looked for.

    Raises:
        InputError: If there is none.
    """
    return search_path(bundles)[-1]


def search_path(bundles: str | Path | None) -> list[Path]:
    """Returns the folders in which datasets are looked for, in this order; the last has ``common/``.

    That is the given one, or that of the working directory. If it holds only somebody's own datasets,
    without ``common/``, those of the installed package or of the project follow.

    Raises:
        InputError: If there is none.
    """
    first = Path("bundles" if bundles is None else bundles)
    if (first / _SHARED).is_dir():
        return [first]
    own = [first] if _files(first) else []
    if own or bundles is None:
        with suppress(InputError):
            return [*own, shipped("bundles/common").parent]
    raise InputError(
        f"{first}: no bundles there; run this in the project's root, or name their folder: "
        "--bundles DIR"
    )


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/{DATASET_FILE}"))


def dataset_names(bundles: str | Path | None = None) -> list[str]:
    """Returns the datasets that have a folder in ``bundles``, in alphabetical order."""
    return sorted(
        {file.parents[1].name for folder in search_path(bundles) for file in _files(folder)}
    )


def dataset_file(name: str, bundles: str | Path | None = None) -> Path:
    """Returns the ``dataset.yaml`` of a dataset.

    Raises:
        InputError: If there is no such dataset.
    """
    folders = search_path(bundles)
    for folder in folders:
        if (folder / name / DATASET_FILE).is_file():
            return folder / name / DATASET_FILE
    if name == TEMPLATE:
        raise InputError(
            f"{name}: is the template of a dataset of your own; write that first: "
            "nacl-monai new NAME DIR"
        )
    raise InputError(
        f"{name}: no such dataset; choose from: {', '.join(dataset_names(bundles)) or 'none'}"
    )


def dataset_folder(name: str, bundles: str | Path | None = None) -> Path:
    """Returns the folder of a dataset's bundle, with ``configs/`` and ``docs/``.

    Raises:
        InputError: If there is no such dataset.
    """
    return dataset_file(name, bundles).parents[1]


def fragments(name: str, kind: str, bundles: str | Path | None = None) -> list[Path]:
    """Returns the files that make up a configuration.

    Args:
        name: A dataset.
        kind: "train", "evaluate" or "inference".
        bundles: Folder of the bundles.

    Raises:
        InputError: If there is no such dataset.
    """
    common = bundles_folder(bundles) / _SHARED
    return [dataset_file(name, bundles), common / "model.yaml", common / f"{kind}.yaml"]


def check_fragments(files: Sequence[Path]) -> None:
    """Refuses a key that a shared file would replace, since MONAI takes that of the last file.

    Files of somebody's own behind those of the bundles may replace what they like.

    Args:
        files: The files of a configuration, in their order.

    Raises:
        SettingError: If a file has a key that a shared one behind it has.
    """
    owners: dict[str, Path] = {}
    for file in files:
        keys = {key.partition("::")[0] for key in read_keys(file)}
        for key in sorted(keys & owners.keys()) if file.parent.name == _SHARED else ():
            raise SettingError(
                f"{owners[key]}: {key} is of {_SHARED}/{file.name}, which would replace it; leave it "
                f"out, and write --{key} VALUE behind the command"
            )
        owners |= dict.fromkeys(keys, file)


def read_dataset(name: str, bundles: str | Path | None = None) -> dict[str, Any]:
    """Returns the keys of a dataset's ``dataset.yaml``, with nothing in them evaluated.

    Raises:
        InputError: If there is no such dataset.
    """
    return read_keys(dataset_file(name, bundles))


def read_shared(bundles: str | Path | None = None) -> dict[str, Any]:
    """Returns the keys of ``model.yaml``, which all datasets share, with nothing in them evaluated."""
    return read_keys(bundles_folder(bundles) / MENUS["networks"])


def read_menu(menu: str, bundles: str | Path | None = None) -> dict[str, MenuEntry]:
    """Returns the menu ``losses`` or ``networks``, in the order of tables and figures.

    Example:
        >>> read_menu("losses")["nacl"].label
        'NACL'
    """
    entries = _keys_of(bundles_folder(bundles) / MENUS[menu])[menu]
    return {
        name: MenuEntry(name, str(entry["_target_"]), _settings(entry), entry.get("_desc_", {}))
        for name, entry in entries.items()
    }


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if not key.startswith("_")}


def choose_loss(name: str) -> MenuEntry:
    """The entry of a loss in the menu.

    Raises:
        InputError: If there is no such loss.
    """
    menu = read_menu("losses")
    if name not in menu:
        raise InputError(f"{name}: no such loss; choose from: {', '.join(menu)}")
    return menu[name]


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: YAML would keep the last one, without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The keys of a node and their values."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_keys(file: Path) -> dict[str, Any]:
    """Returns the keys of a file of the bundles, with nothing in them evaluated.

    Raises:
        InputError: If it is damaged, holds no keys, or has one twice.
    """
    return deepcopy(_keys_of(file))  # which callers may change


def _keys_of(file: Path) -> dict[str, Any]:
    """The same without a copy, which takes most of the time of a menu that is asked a thousand times."""
    try:
        keys = _parse(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{file}: is not YAML ({where}{reason}); correct it") from error
    if not isinstance(keys, dict):
        raise InputError(f"{file}: holds no keys; write `key: value`, as another bundle has it")
    return keys


@cache
def _parse(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - derived from the safe one
