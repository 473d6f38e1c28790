"""The user's own modules that a run computes with, and which of them have changed since."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from nacl_monai.differences import leaves
from nacl_monai.files import checksum
from nacl_monai.runs import RunFolder
from nacl_monai.sources import imported_names, is_users, source_file, source_files

#: The key of a run's configuration that records them; missing where there are none.
OWN_CODE = "own_code"


def own_code(config: Mapping[str, Any]) -> dict[str, str]:
    """The checksum (SHA-256) of every module of the user's that a configuration needs, by its name.

    These are the modules of what ``_target_`` names, those under ``imports``, and all that they import;
    neither installed packages, which their version tells, nor files that a module reads as it runs.

    Example:
        >>> own_code({"network_def": {"_target_": "monai.networks.nets.UNet"}})
        {}
    """
    files = source_files(filter(is_users, _named(config)))
    return {name: checksum(Path(file)) for file, name in sorted(files.items())}


def changed_code(recorded: Mapping[str, str]) -> list[str]:
    """The recorded modules that are no longer what they were; what is gone is not among them."""
    files = {name: source_file(name) for name in recorded}
    return [name for name, file in files.items() if file and checksum(Path(file)) != recorded[name]]


def warn_of_changed_code(run: RunFolder, record: Mapping[str, Any]) -> None:
    """Says in one line which modules of the user's are not those that a run was trained with.

    Args:
        run: The run, named in the line.
        record: Its configuration; one of an earlier version has no modules.
    """
    changed = changed_code(record.get(OWN_CODE, {}))
    if changed and idist.get_rank() == 0:
        print(
            f"warning: {', '.join(changed)}: has changed since {run.path} was trained, and may compute "
            "something else now; put it back, or train anew",
            file=sys.stderr,
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
