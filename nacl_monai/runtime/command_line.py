"""A strict command line.

MONAI takes a misspelt override for a new key and runs with the old value. The configurations in
``bundles/`` therefore call :func:`check_command_line` in their ``initialize``, which every
``python -m monai.bundle run`` evaluates before anything else.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import monai.bundle
from monai.bundle import ConfigExpression, ConfigParser, ReferenceResolver
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from nacl_monai.errors import InputError

_RUN_ARGUMENTS = set(inspect.signature(monai.bundle.run).parameters) - {"override"}
#: Packages whose classes and functions a configuration may name; MONAI has some of the same name.
_PACKAGES = ("data", "networks", "losses", "metrics", "handlers")


def check_command_line(argv: Sequence[str] | None = None) -> None:
    """Refuses overrides of keys that do not exist, and other slips that MONAI takes in silence.

    Args:
        argv: Words of the command, default those of this process. Words of other programs than
            ``python -m monai.bundle run`` are left alone: called from Python, MONAI has checked its
            own keyword arguments.

    Raises:
        InputError: If an override's key is not in the configuration (``--lerning_rate 0.1``), a
            reference points to nothing (``--loss @losses::nalc``), a choice from a menu is given
            without its menu (``--loss nacl``), a ``_target_`` names a class of this package without
            its module (``NACLLoss``), a module cannot be imported, or MLflow is to track the run and
            is not installed.
    """
    words = sys.argv if argv is None else argv
    if len(words) > 1 and words[1] == "run" and "monai" in Path(words[0]).parts:
        check_run(words[2:])


def check_run(words: Sequence[str]) -> None:
    """`check_command_line` for the words behind ``run``.

    Raises:
        InputError: If `check_command_line` would raise it.
    """
    arguments = _run_arguments(words)
    if "config_file" not in arguments:
        return
    if arguments.get("tracking") == "mlflow" and find_spec("mlflow") is None:
        raise InputError(
            "--tracking mlflow: MLflow is not installed; pip install 'nacl-monai[tracking]'"
        )
    config = ConfigParser.load_config_files(arguments.pop("config_file"))
    known = _RUN_ARGUMENTS | _tracking_keys(arguments.get("tracking"))
    checked_overrides(
        config,
        {
            key: value
            for key, value in arguments.items()
            if key not in known and not key.startswith("_meta_")
        },
    )


def checked_overrides(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``overrides`` with ``#`` in their keys written as ``::``.

    Args:
        config: All keys that there are, with nothing in them evaluated.
        overrides: New values of some of them.

    Raises:
        InputError: If `check_command_line` would raise it.
    """
    parser = ConfigParser(deepcopy(dict(config)))
    overrides = {key.replace("#", "::"): value for key, value in overrides.items()}
    for key, value in overrides.items():
        if key not in parser:
            raise InputError(
                f"--{key}: there is no such key in the configuration; {_remedy(key, parser)}"
            )
        _check_choice(key, value, parser)
    parser.update(overrides)
    for key, value in leaves(parser.get()):
        _check_references(key, value, parser)
        _check_target(key, value)
        _check_import(key, value)
    return overrides


def keys_and_values(words: Sequence[str]) -> dict[str, Any]:
    """The ``--key value`` and ``--key=value`` pairs among the words of a command.

    Example:
        >>> keys_and_values(["run", "--max_epochs", "3", "--loss=@losses::nacl"])
        {'max_epochs': 3, 'loss': '@losses::nacl'}
    """
    words = list(words)
    arguments: dict[str, Any] = {}
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            continue
        key, equals, value = word[2:].partition("=")
        if not equals and words and not words[0].startswith("--"):
            value = words.pop(0)
        arguments[key] = _literal(value)
    return arguments


def _run_arguments(words: Sequence[str]) -> dict[str, Any]:
    """The keys and values of a ``monai.bundle run`` command, and those of its ``args_file``."""
    arguments = keys_and_values(words)
    if "args_file" in arguments:
        arguments = {**ConfigParser.load_config_files(arguments["args_file"]), **arguments}
    return arguments


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _tracking_keys(tracking: Any) -> set[str]:
    """The keys that MONAI adds by itself when experiments are tracked."""
    if tracking is None:
        return set()
    settings: Any = (
        DEFAULT_EXP_MGMT_SETTINGS.get(tracking) if isinstance(tracking, str) else tracking
    )
    if settings is None:
        settings = ConfigParser.load_config_files(tracking)
    return {*settings["configs"], "run_name", "save_execute_config"}


def _remedy(key: str, parser: ConfigParser, prefix: str = "--") -> str:
    """The nearest key that there is, written as the user would."""
    known = [known for known, _ in leaves(parser.get(), inner=True)]
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {prefix}{nearest[0]}?" if nearest else "leave it out, or add the key"


def _check_choice(key: str, value: Any, parser: ConfigParser) -> None:
    default = parser.get(key)
    chosen_from_menu = isinstance(default, str) and default.startswith("@")
    if chosen_from_menu and isinstance(value, str) and value[:1] not in ("@", "$", "%"):
        menu = default.rpartition("::")[0]
        raise InputError(
            f"--{key} {value}: is no reference to the menu; write it as a reference, "
            f"--{key} {menu}::{value}"
        )


def _check_references(key: str, value: Any, parser: ConfigParser) -> None:
    if not isinstance(value, str) or not value.startswith(("@", "$")):
        return
    for target in ReferenceResolver.match_refs_pattern(
        ConfigParser.resolve_relative_ids(key, value)
    ):
        if target in parser:
            continue
        menu, _, _ = target.rpartition("::")
        choices = parser.get(menu) if menu and menu in parser else None
        remedy = (
            f"choose from: {', '.join(choices)}"
            if isinstance(choices, Mapping)
            else _remedy(target, parser, "@")
        )
        raise InputError(f"{key}: there is no {target} in the configuration; {remedy}")


def _check_target(key: str, value: Any) -> None:
    """MONAI takes a name without a module for one of its own, and has other classes of some names."""
    if key.rpartition("::")[2] == "_target_" and (full_name := _own_names().get(value)):
        raise InputError(
            f"{key}: {value} alone would be MONAI's class of that name, if any; write {full_name}, "
            "or MONAI's with its module"
        )


@cache
def _own_names() -> dict[str, str]:
    """For every name that the packages export, the full one."""
    modules = [import_module(f"nacl_monai.{package}") for package in _PACKAGES]
    return {name: f"{module.__name__}.{name}" for module in modules for name in module.__all__}


def _check_import(key: str, value: Any) -> None:
    """MONAI notices a module that is not there only where it is used."""
    if not ConfigExpression.is_import_statement(value):
        return
    try:
        exec(value.removeprefix("$"), {})  # noqa: S102 - an import, no more dangerous than MONAI's
    except (ImportError, SyntaxError) as error:
        statement = value.removeprefix("$")
        raise InputError(
            f"{key}: {statement} fails ({error}); correct the name, or install the package"
        ) from error


def leaves(config: Any, prefix: str = "", inner: bool = False) -> Iterator[tuple[str, Any]]:
    """Every ``(a::b::c, value)`` below ``config``; with ``inner`` the branches too."""
    if isinstance(config, Mapping | list):
        pairs = config.items() if isinstance(config, Mapping) else enumerate(config)
        for name, value in pairs:
            key = f"{prefix}::{name}" if prefix else str(name)
            if inner and isinstance(value, Mapping | list):
                yield key, value
            yield from leaves(value, key, inner)
    else:
        yield prefix, config
