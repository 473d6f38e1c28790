"""A strict command line.

MONAI takes a misspelled override for a new key and runs with the old value, and a stray word for the
name of its initialization, which it then skips. Therefore whatever a configuration in ``bundles/`` runs
(``training``, ``evaluating``, ``inference``) begins with :func:`check_command_line`.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import monai.bundle
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS
from monai.utils import OptionalImportError, ensure_tuple, optional_import

from nacl_monai.bundles.overrides import checked_overrides, joined_keys, keys_referred_to
from nacl_monai.errors import InputError, SettingError
from nacl_monai.training.hints import is_made_later

#: Arguments of MONAI's command by which a part of what a configuration runs could be skipped.
_REFUSED = ("init_id", "final_id", "workflow_name", "workflow_type", "properties_path")
_NO_RUN_IDS = ("initialize", "finalize", "imports")
_RUN_ARGUMENTS = set(inspect.signature(monai.bundle.run).parameters) - {"override", *_REFUSED}
# An export holds JSON, which MONAI reads where there is no PyYAML, too.
_YAML_ERROR, _HAS_YAML = optional_import("yaml", name="YAMLError")
_UNREADABLE = (OSError, TypeError, ValueError, *([_YAML_ERROR] if _HAS_YAML else []))


def check_command_line(argv: Sequence[str] | None = None) -> None:
    """Refuses every argument of a command that MONAI would silently take for something else.

    Args:
        argv: The command, by default that of this process. Programs other than ``python -m
            monai.bundle run`` are left alone: called from Python, MONAI has checked its own keyword
            arguments.

    Raises:
        SettingError: If a word is not an option (``max_epochs=1``, ``-max_epochs 1``), or an option is
            given twice or without a value; if the run id or an override's key is not in the
            configuration (``--lerning_rate 0.1``) and no component takes it; if a value is of another
            type than the one that it replaces (``--restart false``), or out of range (``--seed -1``);
            if a file has a key twice, or one that a shared file of the bundles behind it has; if a
            reference points to nothing (``--loss @losses::nalc``), a choice from a menu is given
            without its menu (``--loss nacl``), a ``_target_`` names a class of this package without its
            module (``NACLLoss``), a module cannot be imported, or MLflow is to track the run and is not
            installed.
    """
    command = sys.argv if argv is None else argv
    if len(command) > 1 and command[1] == "run" and "monai" in Path(command[0]).parts:
        check_run(command[2:])


def refuse_host() -> NoReturn:
    """Refuses what a host of an exported bundle, such as MONAI Label, starts as ``run``: a training.

    Raises:
        InputError: Always; with how to train.
    """
    raise InputError(
        "run: a host cannot train this bundle, since its list of images has no test patients; train "
        "with the package (nacl-monai train DATASET DIR), and export the run (nacl-monai export DATASET)"
    )


def check_run(argv: Sequence[str]) -> None:
    """`check_command_line` for the arguments after ``run``.

    Raises:
        SettingError: If `check_command_line` would raise it.
    """
    arguments = _run_arguments(argv)
    if refused := sorted(arguments.keys() & _REFUSED):
        raise SettingError(f"--{refused[0]}: would skip a part of the run; leave it out")
    if "config_file" not in arguments:
        return
    tracked = _tracking_keys(arguments.get("tracking"))
    config = _loaded(arguments["config_file"], "config_file")
    _check_run_id(str(arguments.get("run_id", "run")), config)
    if config.get("bundle_root") == "." and "bundle_root" not in arguments:
        _check_is_here(arguments["config_file"])
    allowed = _RUN_ARGUMENTS | (tracked - config.keys())
    asked = {k: v for k, v in arguments.items() if not (k in allowed or k.startswith("_meta_"))}
    checked_overrides(config, asked)


def _check_is_here(config_file: Any) -> None:
    """Refuses to run an exported bundle's configuration from another folder than the bundle's."""
    file = Path(str(ensure_tuple(config_file)[0])).absolute()
    bundle = file.parents[1]
    if file.is_file() and file.parent.name == "configs" and not bundle.samefile(Path.cwd()):
        raise SettingError(
            "--bundle_root: is not given, and this is not the bundle's folder; "
            f"write --bundle_root {bundle}"
        )


def keys_and_values(argv: Sequence[str]) -> dict[str, Any]:
    """The ``--key value`` and ``--key=value`` pairs of a command.

    Values are read as Fire reads them, by which MONAI reads its commands.

    Raises:
        SettingError: If a word belongs to no pair, a key to two, if a value is None, which MONAI
            ignores, or if MONAI would read it as something else.

    Example:
        >>> keys_and_values(["--max_epochs", "3", "--loss=@losses::nacl"])
        {'max_epochs': 3, 'loss': '@losses::nacl'}
    """
    argv = list(argv)
    arguments: dict[str, Any] = {}
    while argv:
        key, equals, text = _option(argv.pop(0)).partition("=")
        if not equals and (not argv or _is_flag(argv[0])):
            raise SettingError(f"--{key}: has no value; write --{key} VALUE (True, for a switch)")
        text = text if equals else argv.pop(0)
        key, value = key.replace("#", "::"), DefaultParseValue(text)
        if key in arguments:
            raise SettingError(f"--{key}: is given twice; leave one out")
        if value is None:
            raise SettingError(
                f"--{key} None: MONAI takes it for the default; leave it out, or write '$None'"
            )
        _check_kept(key, text, value)
        arguments[key] = value
    return arguments


def _check_kept(key: str, text: str, value: Any) -> None:
    """Refuses values that Python reads otherwise: # begins a comment, and 2024_1 is a number."""
    if "#" in text and "#" not in str(value):
        raise SettingError(f"--{key} {text}: MONAI would cut it off at #; choose a name without it")
    if "_" in text and "_" not in str(value):
        raise SettingError(
            f"--{key} {text}: MONAI would read {value}; write that, or text in quotes: "
            f"--{key} \"'{text}'\""
        )


def _option(word: str) -> str:
    """The word of an option without its dashes."""
    if re.match(r"--[^-=]", word):
        return word[2:]
    key, equals, value = word.lstrip("-").partition("=")
    if key and (_is_flag(word) or equals):
        remedy = f"write --{key} {value or 'VALUE'}"
    else:
        remedy = "leave it out, or write --KEY VALUE, with quotes around a value with spaces"
    raise SettingError(f"{word}: is not an option, nor the value of one; {remedy}")


def _is_flag(word: str) -> bool:
    """Whether Fire takes ``word`` for an option; a negative number is not one."""
    return re.match(r"--|-[a-zA-Z]", word) is not None


def _run_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """The keys and values of a ``monai.bundle run`` command, and those of its ``args_file``."""
    argv = list(argv)
    if argv and not _is_flag(argv[0]):
        argv[0] = f"--run_id={argv[0]}"
    arguments = keys_and_values(argv)
    if "args_file" in arguments:
        # Its keys, such as losses::nacl::sigma, are those of a command, not of a configuration.
        file = _read(arguments["args_file"], "args_file")
        _check_merges_nothing(arguments, file)
        arguments = {**file, **arguments}
    return arguments


def _check_merges_nothing(arguments: Mapping[str, Any], file: Mapping[str, Any]) -> None:
    """Refuses two definitions of one key: MONAI gives the command's what the file's alone has."""
    for key, value in arguments.items():
        if isinstance(value, Mapping) and isinstance(file.get(key), Mapping):
            raise SettingError(
                f"--{key}: is defined in {arguments['args_file']} as well, and MONAI would join both; "
                f"leave one out, or write its parts: --{key}::NAME VALUE"
            )


def _loaded(files: Any, key: str) -> dict[str, Any]:
    """The configuration of one or several files, joined as MONAI joins them."""
    if isinstance(files, Mapping):
        return dict(files)
    if isinstance(files, str) and not Path(files).is_file():
        files = files.split(",")
    places = [Path(str(file)) for file in ensure_tuple(files)]
    parts = [_read(file, key) for file in places]
    if any(file.parent.name == "common" for file in places) and find_spec("nacl_monai"):
        # The bundles' check; an export has no bundles, and may be without this package.
        import_module("nacl_monai.menus").check_fragments(places)
    return joined_keys(parts)


def _read(file: Any, key: str) -> dict[str, Any]:
    """The keys of one file.

    Raises:
        SettingError: If it is not there, holds something else, or has a key twice.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Duplicate key")  # MONAI warns, and takes the last one
            keys: Any = ConfigParser.load_config_file(file)
    except FileNotFoundError:
        raise SettingError(f"--{key} {file}: no such file; correct its path") from None
    except OptionalImportError:
        raise SettingError(
            f"--{key} {file}: is read by PyYAML, which is not installed; "
            "pip install pyyaml, or give JSON"
        ) from None
    except UserWarning as repeated:
        name = str(repeated).partition(": ")[2].strip("`")
        raise SettingError(f"--{key} {file}: has the key {name} twice; leave one out") from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise SettingError(
            f"--{key} {file}: cannot be read ({reason:.120}); give YAML or JSON"
        ) from error
    if not isinstance(keys, dict) or not all(isinstance(name, str) for name in keys):
        raise SettingError(f"--{key} {file}: holds no keys; write KEY: VALUE, with text as the key")
    return keys


def _check_run_id(run_id: str, config: Mapping[str, Any]) -> None:
    """Refuses anything but a list of steps: MONAI would make its parts, and run nothing."""
    ids = [key for key, value in config.items() if key not in _NO_RUN_IDS and _has_steps(value)]
    if run_id not in ids:
        used = keys_referred_to(config)
        choices = ", ".join(key for key in ids if key not in used)
        raise SettingError(
            f"run {run_id}: is not a run of this configuration; choose from: {choices}"
        )


def _has_steps(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(is_made_later, value))
    return isinstance(value, str) and value.startswith("$")


def _tracking_keys(tracking: Any) -> set[str]:
    """The keys that MONAI adds by itself when experiments are tracked."""
    if tracking is None:
        return set()
    if tracking == "mlflow" and find_spec("mlflow") is None:
        raise SettingError("--tracking mlflow: MLflow is not installed; pip install mlflow")
    settings: Any = (
        DEFAULT_EXP_MGMT_SETTINGS.get(tracking) if isinstance(tracking, str) else tracking
    )
    if settings is None:
        settings = _loaded(tracking, "tracking")
    if "configs" not in settings:
        raise SettingError(f"--tracking {tracking}: has no key configs; write mlflow, or add it")
    return {*settings["configs"], "run_name", "save_execute_config"}
