"""A run's folder belongs to one configuration, and to one process at a time.

The folder decides what a command does. If there is nothing in it, it trains. If there is an
interrupted training of the same configuration, it goes on (`nacl_monai.training.Checkpoints`). If there
is a training of another configuration, it is refused, unless it is told to begin anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.bundle import ReferenceResolver

from nacl_monai.data import LabeledCase, is_drawn
from nacl_monai.data.cases import image_files, split_unit
from nacl_monai.errors import InputError, print_line
from nacl_monai.files import LOCK, checksum, lock_folder, read_object, stamp, write_text
from nacl_monai.menus import MENUS
from nacl_monai.progress import progress_bar
from nacl_monai.runs import RECORD_REMEDY, RunFolder
from nacl_monai.sources import imported_names, is_users, source_file, source_files
from nacl_monai.training.checkpoints import checkpoint_positions
from nacl_monai.training.definitions import running_parser
from nacl_monai.training.epochs import refusal_of_length
from nacl_monai.words import computing, differences, first_of, leaves

# Keys that say where and on what a training runs, but not what it computes.
FREE_KEYS: tuple[str, ...] = (
    *("_meta_", "bundle_root", "cache_dir", "dataset_dir", "device", "num_workers", "output_dir"),
    *("reliability_interval", "restart", "run_name", "save_execute_config", "split_file"),
)
_EPOCHS = "max_epochs"
_REMEDY = "choose another --output_dir, or train anew: --restart True (keeps what is there aside)"
_CHECKSUM = ", sha256 "
#: The key under which a run's configuration records the user's own modules; missing without any.
OWN_CODE = "own_code"


def open_run(output_dir: str | Path, split_file: str | Path, restart: bool = False) -> None:
    """Takes a training's folder: locks it, and records the configuration in ``config.json``.

    The configuration is the one that calls this function. If the folder's ``config.json`` says the same,
    the training goes on there. Keys in :data:`FREE_KEYS`, and how menus are shown, may differ. The file
    has the number of processes, too, and the checksums of the user's own modules.

    Args:
        output_dir: The folder; made if missing.
        split_file: Stays in its place when a training begins anew, if it was written by hand.
        restart: Whether to move the folder's contents into ``previous/1``, ``previous/2``, … below it,
            and begin anew.

    Raises:
        InputError: If another process writes there, or if there is a training of another configuration,
            of an unknown one, or without its checkpoints; with ``restart``, if another run is below.
    """
    if idist.get_rank() == 0:
        lock_folder(output_dir)
        folder = RunFolder(Path(output_dir))
        if restart:
            _move_aside(folder, Path(split_file))
        settings = running_parser().get()
        config: dict[str, Any] = {key: settings[key] for key in settings if key not in FREE_KEYS}
        config["processes"] = idist.get_world_size()
        config |= {OWN_CODE: code} if (code := code_checksums(config)) else {}
        text = json.dumps(config, indent=2, default=str) + "\n"
        _check_same(folder, json.loads(text))
        write_text(folder.config, text)
        if Path(split_file).is_file() and not is_drawn(split_file):
            print(f"{split_file}: was written by hand and is followed as it is")
    idist.barrier()


def keep_data(output_dir: str | Path, split: Mapping[str, Sequence[LabeledCase]]) -> None:
    """Binds a training's folder to its data: records the cases of every set in ``data.json``.

    A training goes on only with files of the same bytes (SHA-256) in the same sets. They may be copies
    in another place and of another time: paths are recorded below the folder that all have in common.

    The first command reads every file for its checksum, at about 1 GB/s where the disk is fast enough,
    which takes a fraction of the time of preprocessing. Later ones read only the files whose size or
    time of change differs from the record.

    Args:
        output_dir: The folder, taken by `open_run`.
        split: The cases of every set.

    Raises:
        InputError: If there is a training of other data, or of nobody knows which; or if two cases have
            the same image file.
    """
    if idist.get_rank() == 0:
        folder = RunFolder(Path(output_dir))
        _check_known(folder, folder.data)
        trained = _is_trained(folder)
        earlier = dict(leaves(read_object(folder.data, _REMEDY))) if trained else {}
        data = _described(split, earlier)
        changes = _unlike_files(earlier, dict(leaves(data)))
        if trained and changes:
            raise InputError(
                f"{folder.path}: was trained on other data, {first_of(changes, most=1)}; put them back, "
                f"or {_REMEDY}"
            )
        _check_images(folder, split, data)
        write_text(folder.data, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    idist.barrier()


def _check_images(
    folder: RunFolder, split: Mapping[str, Sequence[LabeledCase]], data: Mapping[str, Any]
) -> None:
    """Refuses two cases with the same image, known by its file before a volume is read."""
    known: dict[str, LabeledCase] = {}
    for part, cases in split.items():
        for case in cases:
            records = list(data[part][case["case"]].values())[: len(image_files(case))]
            content = " ".join(map(recorded_checksum, records))
            other = known.setdefault(content, case)
            if other is not case:
                raise InputError(
                    f"{image_files(case)[0]}: is the same image as {image_files(other)[0]}; leave one "
                    f"of the patients out: take {split_unit(other)} or {split_unit(case)}, and "
                    f'"drawn" with all in it, out of {folder.split}'
                )


def _described(
    split: Mapping[str, Sequence[LabeledCase]], earlier: Mapping[str, Any]
) -> dict[str, Any]:
    """The stamp and checksum of each file of every set and case; known ones are not read again."""
    files = _files(split)
    root = os.path.commonpath([path.parent for path in files.values()])
    data: dict[str, Any] = {part: {case["case"]: {} for case in split[part]} for part in split}
    bar = progress_bar(files.items(), description="Comparing data", unit="file")
    for (part, case, _), path in bar:
        name = path.relative_to(root).as_posix()
        data[part][case][name] = recorded_file(path, earlier.get(f"{part}::{case}::{name}"))
    return data


def _files(split: Mapping[str, Sequence[LabeledCase]]) -> dict[tuple[str, str, str], Path]:
    """Every file, by its set, its case and how the case names it."""
    return {
        (part, case["case"], file): Path(file).absolute()
        for part, cases in split.items()
        for case in cases
        for file in (*image_files(case), case["label"])
    }


def _unlike_files(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every file whose bytes differ, with both stamps."""
    both = earlier.keys() & now.keys()
    same = {n for n in both if recorded_checksum(earlier[n]) == recorded_checksum(now[n])}
    stamps = (
        {name: recorded_stamp(text) for name, text in files.items() if name not in same}
        for files in (earlier, now)
    )
    return differences(*stamps)


def _check_same(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Refuses a folder in which the training of ``config`` cannot begin or go on."""
    _check_known(folder, folder.config)
    if not folder.config.exists():
        return
    record = read_object(folder.config, _REMEDY)
    if folder.record.exists():
        read_object(folder.record, RECORD_REMEDY)
    if not unlike_settings(record, config):
        if folder.record.exists() and not checkpoint_positions(folder.checkpoints):
            raise InputError(
                f"{folder.path}: its checkpoints are gone, so it cannot go on; {_REMEDY}"
            )
    elif _is_trained(folder):
        earlier, now = record.get(OWN_CODE, {}), config.get(OWN_CODE, {})
        changed = [name for name in earlier if now.get(name, earlier[name]) != earlier[name]]
        if changed:
            raise InputError(
                f"{folder.path}: {changed[0]}, a module of your own, has changed since the training "
                f"began; put it back, or {_REMEDY}"
            )
        _check_length(folder, record, config)


def _check_known(folder: RunFolder, record: Path) -> None:
    """Refuses a training without one of its records."""
    if _is_trained(folder) and not record.exists():
        raise InputError(f"{folder.path}: holds a training but no {record.name}; {_REMEDY}")


def _check_length(folder: RunFolder, record: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuses other settings, but for more epochs that change no earlier one."""
    unlike = unlike_settings({**record, _EPOCHS: config.get(_EPOCHS)}, config)
    positions = checkpoint_positions(folder.checkpoints)
    if unlike or not positions:
        changes = first_of(unlike_settings(record, config))
        raise InputError(f"{folder.path}: was trained with another {changes}; {_REMEDY}")
    newest = positions[-1]
    begun = newest.epoch + (newest.iterations > 0)
    refusal = refusal_of_length(config, record.get(_EPOCHS), begun)
    lengths = f"{_EPOCHS} {config.get(_EPOCHS)} instead of {record.get(_EPOCHS)}"
    if refusal:
        raise InputError(f"{folder.path}: cannot go on with {lengths}: {refusal}; {_REMEDY}")
    print(f"{folder.path}: goes on with {lengths}")


def _is_trained(folder: RunFolder) -> bool:
    """Whether an epoch was trained there; a copy may have nothing but the record of it."""
    kept = folder.model.exists() or folder.record.exists()
    return kept or bool(checkpoint_positions(folder.checkpoints))


def unlike_settings(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every key of two configurations whose value differs, with both.

    Descriptions may differ, and entries of a menu that are not chosen: another version has others.
    """
    return differences(*(computing(_without_unchosen(config)) for config in (earlier, now)))


def _without_unchosen(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the entries of menus to which nothing refers."""
    texts = (str(value) for _, value in leaves(config))
    referred = {key for text in texts for key in ReferenceResolver.match_refs_pattern(text)}
    kept = dict(config)
    for menu in MENUS:
        if isinstance(config.get(menu), Mapping) and menu not in referred:
            chosen = {"::".join(key.split("::")[:2]) for key in referred}
            kept[menu] = {k: v for k, v in config[menu].items() if f"{menu}::{k}" in chosen}
    return kept


def _move_aside(folder: RunFolder, split_file: Path) -> None:
    """Moves what is in the folder into the next free folder of ``previous/``; a split by hand stays."""
    _check_alone(folder)
    staying = [folder.previous, folder.path / LOCK]
    if not is_drawn(split_file):
        staying.append(split_file)
    stay = {path.resolve() for path in staying}
    moving = [path for path in folder.path.iterdir() if path.resolve() not in stay]
    if not moving:
        return
    taken = [int(path.name) for path in folder.previous.glob("*") if path.name.isdecimal()]
    target = folder.previous / str(max(taken, default=0) + 1)
    target.mkdir(parents=True)
    # Checkpoints first: whatever an interruption then leaves is not a training to go on with.
    for path in sorted(moving, key=lambda path: path != folder.checkpoints):
        path.replace(target / path.name)


def _check_alone(folder: RunFolder) -> None:
    """Refuses a folder of runs, such as the default ``runs/<dataset>``: all would be moved."""
    configs = folder.path.rglob(folder.config.name)
    runs = {file.parent for file in configs if not file.is_relative_to(folder.previous)}
    below = sorted(runs - {folder.path})
    if below:
        raise InputError(
            f"{folder.path}: holds another run, {below[0].relative_to(folder.path)}; name this one's "
            "folder: --output_dir"
        )


def recorded_file(path: Path, known: object = None) -> str:
    """The record of a file, which is not read where a known record has its size and time of change."""
    stamped = f"{stamp(path)}{_CHECKSUM}"
    return str(known) if str(known).startswith(stamped) else stamped + checksum(path)


def recorded_stamp(record: object) -> str:
    """Size and time of change in the record of a file."""
    return str(record).partition(_CHECKSUM)[0]


def recorded_checksum(record: object) -> str:
    """The checksum in the record of a file."""
    return str(record).partition(_CHECKSUM)[2]


def code_checksums(config: Mapping[str, Any]) -> dict[str, str]:
    """The checksum (SHA-256) of every module of the user's that a configuration needs, by its name.

    These are the modules of what ``_target_`` names, those under ``imports``, and all that they import;
    neither installed packages, which their version tells, nor files that a module reads as it runs.

    Example:
        >>> code_checksums({"network_def": {"_target_": "monai.networks.nets.UNet"}})
        {}
    """
    files = source_files(filter(is_users, _named(config)))
    return {name: checksum(Path(file)) for file, name in sorted(files.items())}


def warn_of_changed_code(run: RunFolder, record: Mapping[str, Any]) -> None:
    """Says in one line which modules of the user's are not those that a run was trained with.

    Args:
        run: The run, named in the line.
        record: Its configuration. A module that is gone is not among those that have changed.
    """
    recorded = record.get(OWN_CODE, {})
    files = {name: source_file(name) for name in recorded}
    changed = [name for name, file in files.items() if file and checksum(file) != recorded[name]]
    if changed and idist.get_rank() == 0:
        print_line(
            "warning",
            f"{', '.join(changed)}: has changed since {run.path} was trained, and may compute something "
            "else now; put it back, or train anew",
        )


def _named(config: Mapping[str, Any]) -> Iterator[str]:
    """Whatever may be a module in the names of a configuration."""
    for key, value in leaves(config):
        if not isinstance(value, str):
            continue
        if key.rpartition("::")[2] == "_target_":
            yield from accumulate(value.split(".")[:-1], "{}.{}".format)
        elif value.startswith(("$import ", "$from ")):
            yield from imported_names(value.removeprefix("$"))
