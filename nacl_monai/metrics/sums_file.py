"""A file of sums, ``bins.npz`` or ``promise.npz``: arrays by name, what was counted, a checksum of both.

======================== ====================================================================
``definition``           what was counted, as JSON
``checksum``             SHA-256 of all other arrays, with their names, types and shapes
======================== ====================================================================

Whatever joins files of sums refuses other definitions. Nothing here needs torch, so that a promise can
be made of sums without it.
"""

from __future__ import annotations

import hashlib
import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nacl_monai.differences import differences, first_of, listed
from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path

#: What NumPy raises over an NPZ file that is damaged, or is none.
UNREADABLE_NPZ = (
    EOFError,
    MemoryError,  # a header may announce too much
    OSError,
    RuntimeError,  # of a compression or a password that a flipped bit announces
    SyntaxError,  # a header is Python
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
DEFINITION, CHECKSUM = "definition", "checksum"

Arrays = dict[str, npt.NDArray[Any]]


def write_sums(file: str | Path, arrays: Mapping[str, Any], definition: Mapping[str, Any]) -> Path:
    """Writes a file of sums, whole or not at all; returns its path.

    Args:
        file: The file, whatever it is called.
        arrays: Names and sums.
        definition: What was counted.

    Raises:
        InputError: If it cannot be written.
    """
    held = {key: np.asarray(values) for key, values in arrays.items()}
    held[DEFINITION] = np.array(json.dumps(definition, ensure_ascii=False))
    held[CHECKSUM] = np.array(arrays_checksum(held))
    with atomic_path(file) as temporary, temporary.open("wb") as stream:  # savez would add .npz
        # By the name, the types that NumPy's stubs expect are those of its options.
        np.savez_compressed(stream, **held)  # type: ignore[arg-type]
    return Path(file)


def read_sums(
    path: Path, keys: Sequence[str], missing: str, edited: str, optional: Sequence[str] = ()
) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a file of sums, and what was counted; the latter is empty where it records nothing.

    Args:
        path: The file.
        keys: The arrays that it must hold.
        missing: What to do where it is missing or lacks one.
        edited: What to do where it is not as it was written.
        optional: Arrays that are returned where it holds them.

    Raises:
        InputError: If it is refused.
    """
    own = [key for key in (DEFINITION, CHECKSUM) if key not in keys]
    arrays = read_arrays(path, keys, missing, (*optional, *own))
    if not {DEFINITION, CHECKSUM} & arrays.keys():
        return arrays, {}
    checksum = str(arrays.pop(CHECKSUM, ""))
    if checksum != arrays_checksum(arrays):
        raise InputError(f"{path}: is not as it was written, its checksum differs; {edited}")
    try:
        definition = json.loads(str(arrays.pop(DEFINITION)))
    except (KeyError, RecursionError, ValueError):
        definition = None
    if not isinstance(definition, dict):
        raise InputError(f"{path}: is not as it was written, its definition cannot be; {edited}")
    return arrays, definition


def arrays_checksum(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """The SHA-256 of arrays with their names, types and shapes, in whatever order they are."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].dtype.str} {arrays[key].shape}\n".encode())
        digest.update(arrays[key].tobytes())
    return digest.hexdigest()


def read_arrays(
    path: Path, keys: Sequence[str], remedy: str, optional: Sequence[str] = ()
) -> Arrays:
    """Arrays of an NPZ file by their names.

    Args:
        path: The file.
        keys: The arrays that it must hold; any other is left alone.
        remedy: What the user can do where it does not, for the message.
        optional: Arrays that are returned where it holds them.

    Raises:
        InputError: If the file is missing, is not an NPZ file or lacks an array.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            arrays = {key: archive[key] for key in (*keys, *optional) if key in archive}
    except UNREADABLE_NPZ as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable NPZ file ({reason}); {remedy}") from error
    if missing:
        raise InputError(f"{path}: no array {listed(missing)}; {remedy}")
    return arrays


def check_joined(parts: Sequence[Any], remedy: str) -> None:
    """Refuses to join sums that were counted otherwise than the first.

    Args:
        parts: Records or curves; ``counted()`` says what must be alike in them.
        remedy: What to do.

    Raises:
        InputError: If it refuses; it names the difference.
    """
    first, *others = parts
    for other in others:
        if unlike := first_of(differences(first.counted(), other.counted())):
            raise InputError(f"{other.path}: differs from {first.path} in {unlike}; {remedy}")


def check_shards(parts: Sequence[Any]) -> None:
    """Refuses shards that are not all of one division, each once; what is no shard goes with any.

    Raises:
        InputError: If one is missing, doubled, or of another division.
    """
    shards = [
        (part.path, part.definition["shard"]) for part in parts if part.definition.get("shard")
    ]
    given = [shard for _, shard in shards]
    wanted = [f"{k}/{len(given)}" for k in range(1, len(given) + 1)]
    if sorted(given) != sorted(wanted):
        path, shard = next(one for one in shards if one[1] not in wanted or given.count(one[1]) > 1)
        raise InputError(
            f"{path}: is shard {shard} of those given, {listed(given)}; give all shards of one "
            "division together, each once"
        )
