"""Evaluation and inference of a run are done as the run's own ``config.json`` says."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.bundle import ConfigParser

from nacl_monai.errors import InputError, print_line
from nacl_monai.evaluations.evaluation_files import check_trained
from nacl_monai.files import checksum, git_commit, read_object
from nacl_monai.runs import RunFolder
from nacl_monai.training.definitions import ARGUMENTS, given_overrides, running_parser
from nacl_monai.training.hints import is_made_later, referred
from nacl_monai.training.run_folder import FREE_KEYS, OWN_CODE, code_checksums, warn_of_changed_code
from nacl_monai.words import differences, first_of, leaves, top_level

#: Keys that an evaluation or inference has for itself: where it writes, what it scores, how many windows
#: pass the network at once and what of them is averaged, and what concerned only its training. Those of
#: `run_folder.FREE_KEYS` are free as well: no training records them.
FREE_TO_EVALUATE = (
    *("average", "checkpoint", "complete", "dataset_label", "experiment_name", "flip_axes"),
    *("imports", "initialize", "inferer::sw_batch_size", "network_arguments", "official_cases"),
    *("pretrained", "run_folder", "split", "strictly", "structures", "tracking_uri"),
)
# Keys that say where an evaluation reads and writes, and what is done before it.
_WHERE = (
    *FREE_KEYS,
    *("checkpoint", "complete", "evaluation_dir", "experiment_name", "initialize"),
    *("flip_axes", "network_arguments", "strictly", "tracking_uri"),
)
#: Definitions of a configuration, and what their parameters are called.
_DEFINITIONS = {"network_def": "network", "loss": "loss"}


def follow_run(checkpoint: str | Path) -> None:
    """Puts what a run was trained with in place of what the calling configuration says.

    This holds for every key that both have, such as network, classes, label values, preprocessing and
    sizes, but for :data:`FREE_TO_EVALUATE`. Everything after this call is computed with them.

    Args:
        checkpoint: The run's ``model.pt``, with ``config.json`` beside it. Without that file the
            configuration stays as it is, with a warning.

    Raises:
        InputError: If ``config.json`` is damaged or has changed since the training, if the run was
            trained on another dataset, or if the command asks for another value than the run's.
    """
    run = RunFolder(Path(checkpoint).parent)
    if not run.config.is_file():
        _warn_without_record(run)
        return
    parser = running_parser()
    record = read_trained_config(run.config)
    warn_of_changed_code(run, record)
    overrides = given_overrides()
    # As the configuration has them by now, with what completes a definition.
    asked = parser.get() if overrides is None else _at(parser, overrides)
    check_agrees(run.config, record, {"dataset": parser.get("dataset")})
    check_agrees(run.config, record, asked)
    changes = _follow(parser, record, _at(parser, filter(_is_free, overrides or ())))
    if changes and idist.get_rank() == 0:
        print(f"{run.config}: followed in {first_of(changes)}")


def _warn_without_record(run: RunFolder) -> None:
    if run.model.is_file() and idist.get_rank() == 0:
        print_line(
            "warning",
            f"{run.config}: is missing, so nobody knows whether network, classes and preprocessing are "
            "those of the training",
        )


def _follow(parser: ConfigParser, record: Mapping[str, Any], free: Mapping[str, Any]) -> list[str]:
    """Puts a record into a configuration, but for what is ``free``; returns what that changes."""
    shared = [key for key in parser.get() if key in record and not _is_free(key)]
    before = _settings(_at(parser, shared))
    parser.update({key: record[key] for key in shared})
    parser.update({key: value for key, value in free.items() if key in parser})
    parser.parse()
    return differences(before, _settings(_at(parser, shared)))


def _at(parser: ConfigParser, keys: Iterable[str]) -> dict[str, Any]:
    """The values of those of ``keys`` that a configuration has."""
    return {key: parser[key] for key in keys if key in parser}


def evaluation_settings() -> dict[str, Any]:
    """Every key of the calling configuration that decides a number, as ``{"a::b::c": value}``.

    The checksums of the user's own modules, as they are now, are among them.
    """
    config = running_parser().get()
    return _settings({**config, OWN_CODE: code_checksums(config)}, free=_WHERE)


def read_trained_config(file: Path) -> dict[str, Any]:
    """The configuration that a run was trained with.

    Raises:
        InputError: If the file is not a configuration, or has changed since the training.
    """
    record = read_object(file, "put it back, or train anew: --restart True")
    check_trained(RunFolder(file.parent))
    return record


def check_agrees(file: Path, record: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuses settings that contradict a run's record.

    Args:
        file: The record's file.
        record: What the run was trained with.
        asked: Keys, ``a::b::c`` among them, and the values that are asked for.

    Raises:
        InputError: If a key that both have, and that is not free, has another value.
    """
    parser = ConfigParser(dict(record))
    both = {key: value for key, value in asked.items() if top_level(key) in record}
    changes = _contradictions(_settings(_at(parser, both)), _settings(both))
    if changes:
        raise InputError(
            f"{file}: the run was trained with another {first_of(changes)}; leave that out, or name "
            "another run"
        )


def _contradictions(trained: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The differences; a named class is compared with the arguments that are named."""
    compared = {
        key: value
        for key, value in trained.items()
        if key in asked or top_level(key) not in ARGUMENTS
    }
    return differences(compared, asked)


def _settings(
    config: Mapping[str, Any], free: Collection[str] = FREE_TO_EVALUATE
) -> dict[str, Any]:
    """All that is not free, as ``{"a::b::c": value}``."""
    plain = json.loads(json.dumps(config, default=str))
    return {key: value for key, value in leaves(plain) if not _is_free(key, free)}


def _is_free(key: str, free: Collection[str] = FREE_TO_EVALUATE) -> bool:
    parts = key.split("::")
    within = set(accumulate(parts, "{}::{}".format))
    return not within.isdisjoint(free) or "_desc_" in parts


def run_parameters(run: RunFolder) -> dict[str, Any]:
    """The settings of a run's training, in single values.

    Args:
        run: With or without a ``config.json``.

    Returns:
        Every key of the configuration that is a number, a switch or a word; ``network`` and ``loss``,
        the names of their classes, with their settings, such as ``loss.penalty_weight``; ``git_commit``
        of this package's source; and ``split_sha256``.

    Raises:
        InputError: If ``config.json`` is damaged.
    """
    record = read_trained_config(run.config) if run.config.is_file() else {}
    parser = ConfigParser(record)
    found = {
        key: value
        for key, value in record.items()
        if isinstance(value, bool | int | float | str) and not is_made_later(value)
    }
    for key, name in _DEFINITIONS.items():
        found |= dict(_parameters(name, referred(record.get(key), parser)))
    sums = {"split_sha256": checksum(run.split)} if run.split.is_file() else {}
    return {**found, "git_commit": git_commit(), **sums}


def _parameters(name: str, definition: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(definition, Mapping):
        yield name, str(definition["_target_"]).rpartition(".")[2]
        for key, value in definition.items():
            if not key.startswith("_"):
                yield f"{name}.{key}", value
