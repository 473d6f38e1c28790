"""A file as ``data.json`` records it: its size, its time of change and its checksum, in one text."""

from __future__ import annotations

from pathlib import Path

from nacl_monai.files import checksum, stamp

_CHECKSUM = ", sha256 "


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
