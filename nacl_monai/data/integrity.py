"""Whether a cached file is what was written, and by which code it was made."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from monai.data.utils import pickle_hashing
from tqdm import tqdm

from nacl_monai.errors import InputError
from nacl_monai.sources import source_files

_CHUNK = 2**20
_SUM = 8  # hexadecimal digits of a CRC-32 at the end of a file


def append_checksum(file: Path) -> None:
    """Ends ``file`` with the checksum of what is in it."""
    checksum = _checksum(file, file.stat().st_size)
    with file.open("ab") as stream:
        stream.write(checksum)


def is_whole(file: Path) -> bool:
    """Tells whether ``file`` is there and ends with its checksum; one line says that it is damaged."""
    if not file.is_file():
        return False
    size = max(0, file.stat().st_size - _SUM)
    with file.open("rb") as stream:
        stream.seek(size)
        whole = stream.read() == _checksum(file, size)
    if not whole:
        tqdm.write(f"warning: {file}: is damaged, and made anew", file=sys.stderr)
    return whole


def transforms_hash(transforms: Sequence[Any]) -> str:
    """Names what transforms are: their parameters, and the source of their modules.

    Raises:
        InputError: If a parameter cannot be written down, such as a lambda.
    """
    try:
        return str(pickle_hashing(list(transforms)).decode()) + source_hash(list(transforms))
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise InputError(
            f"preprocessing: nothing tells a step from another version of it ({error}); name a "
            "function instead of a lambda"
        ) from error


def source_hash(objects: Any) -> str:
    """Hashes the source of every module from which ``objects`` take a class or a function.

    That covers transforms that a user wrote, functions that a transform calls by name, and the user's
    modules that theirs import, however indirectly; but not files that a transform reads as it runs.

    Example:
        >>> from nacl_monai.data import LoadCase
        >>> source_hash(LoadCase([[0], [1]], 1)) == source_hash(LoadCase([[0]], 2))
        True
    """
    collector = _Modules(io.BytesIO())
    collector.dump(objects)
    content = hashlib.sha256()
    for file in sorted(source_files(collector.names)):
        content.update(Path(file).read_bytes())
    return content.hexdigest()


class _Modules(pickle.Pickler):
    """Notes the modules of all classes and functions on the way through an object."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.names: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type | FunctionType):
            self.names.add(obj.__module__)
        return NotImplemented


def _checksum(file: Path, size: int) -> bytes:
    """The checksum of the first ``size`` bytes."""
    checksum = 0
    with file.open("rb") as stream:
        while size > 0 and (part := stream.read(min(size, _CHUNK))):
            checksum, size = zlib.crc32(part, checksum), size - len(part)
    return f"{checksum:0{_SUM}x}".encode()
