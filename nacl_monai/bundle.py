"""What the bundles ask of the package at their start: strictness, and errors in one line.

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
from pathlib import Path
from pickle import UnpicklingError
from types import TracebackType
from typing import Any

import monai.bundle
import torch
from monai.bundle import ConfigParser, ReferenceResolver
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS
from torch import nn

from nacl_monai.errors import InputError

_RUN_ARGUMENTS = set(inspect.signature(monai.bundle.run).parameters) - {"override"}


def one_line_errors() -> None:
    """From now on an `InputError` ends the process with its message alone and exit code 1.

    MONAI wraps what its configurations raise, so the chain of causes is searched. Every other
    exception keeps its traceback.
    """

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            sys.__excepthook__(kind, error, traceback)
        else:
            print(f"error: {cause}", file=sys.stderr)

    sys.excepthook = hook


def check_command_line(argv: Sequence[str] | None = None) -> None:
    """Refuses overrides that no configuration key answers to, and references to nothing.

    Args:
        argv: Words of the command, default those of this process. Words that are not of
            ``python -m monai.bundle run`` are left alone: called from Python, MONAI has checked its
            own keyword arguments.

    Raises:
        InputError: An override's key is not in the configuration (``--lerning_rate 0.1``), a
            reference points to nothing (``--loss @losses::nalc``), or a choice from a menu is given
            without its menu (``--loss nacl``).
    """
    arguments = _run_arguments(sys.argv if argv is None else argv)
    if "config_file" not in arguments:
        return
    parser = ConfigParser(ConfigParser.load_config_files(arguments.pop("config_file")))
    overrides = {
        key.replace("#", "::"): value
        for key, value in arguments.items()
        if key not in _RUN_ARGUMENTS | _tracking_keys(arguments.get("tracking"))
        and not key.startswith("_meta_")
    }
    for key, value in overrides.items():
        if key not in parser:
            raise InputError(
                f"--{key}: there is no such key in the configuration{_nearest(key, parser)}"
            )
        _check_choice(key, value, parser)
    parser.update(overrides)
    for key, value in _leaves(parser.get()):
        _check_references(key, value, parser)


def refuse_to_overwrite(file: str | Path) -> None:
    """Raises an `InputError` if ``file``, the result of a run, is already there."""
    if Path(file).exists():
        raise InputError(
            f"{file}: a trained model is already there; choose another output_dir "
            "(--output_dir DIR), or remove that folder to train anew"
        )


def load_weights(network: nn.Module, file: str | Path) -> None:
    """Loads the state dictionary in ``file`` into ``network``.

    Raises:
        InputError: The file is missing or damaged, or belongs to another network.
    """
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{file}: no trained model there; train first") from None
    except (UnpicklingError, EOFError, OSError, RuntimeError) as error:
        raise InputError(f"{file}: is damaged; train again") from error
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{file}: does not fit the network; choose the one it was trained with "
            "(--network_def, classes, in_channels)"
        ) from error


def _run_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """The ``--key value`` and ``--key=value`` pairs of a ``monai.bundle run`` command."""
    if len(argv) < 2 or argv[1] != "run" or "monai" not in Path(argv[0]).parts:
        return {}
    words = list(argv[2:])
    arguments: dict[str, Any] = {}
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            continue
        key, equals, value = word[2:].partition("=")
        if not equals and words and not words[0].startswith("--"):
            value = words.pop(0)
        arguments[key] = _literal(value)
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


def _nearest(key: str, parser: ConfigParser) -> str:
    known = [known for known, _ in _leaves(parser.get(), inner=True)]
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"; did you mean --{nearest[0]}?" if nearest else ""


def _check_choice(key: str, value: Any, parser: ConfigParser) -> None:
    default = parser.get(key)
    chosen_from_menu = isinstance(default, str) and default.startswith("@")
    if chosen_from_menu and isinstance(value, str) and value[:1] not in ("@", "$", "%"):
        menu = default.rpartition("::")[0]
        raise InputError(f"--{key} {value}: write it as a reference, --{key} {menu}::{value}")


def _check_references(key: str, value: Any, parser: ConfigParser) -> None:
    if not isinstance(value, str) or not value.startswith(("@", "$")):
        return
    for target in ReferenceResolver.match_refs_pattern(
        ConfigParser.resolve_relative_ids(key, value)
    ):
        if target in parser:
            continue
        menu, _, _ = target.rpartition("::")
        choices = parser.get(menu) if menu in parser else None
        hint = f"; choose from: {', '.join(choices)}" if isinstance(choices, Mapping) else ""
        raise InputError(f"{key}: there is no {target} in the configuration{hint}")


def _leaves(config: Any, prefix: str = "", inner: bool = False) -> Iterator[tuple[str, Any]]:
    """Every ``(a::b::c, value)`` below ``config``; with ``inner`` the branches too."""
    if isinstance(config, Mapping | list):
        pairs = config.items() if isinstance(config, Mapping) else enumerate(config)
        for name, value in pairs:
            key = f"{prefix}::{name}" if prefix else str(name)
            if inner and isinstance(value, Mapping | list):
                yield key, value
            yield from _leaves(value, key, inner)
    else:
        yield prefix, config
