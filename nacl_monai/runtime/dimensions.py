"""Words of a command that would have no effect in the number of dimensions that is trained."""

from __future__ import annotations

from nacl_monai.errors import SettingError
from nacl_monai.runtime.overrides import leaves, references
from nacl_monai.runtime.running import given_overrides, running_parser

_OF_PATCHES = ("patch", "patches_per_volume", "class_centered")
_OF_SLICES = ("spatial_size", "discard_empty_slices")
# What happens to volumes before they are cut, in 3-D too.
_READING = ("preprocessing", "cropping")


def check_dims(dims: int) -> None:
    """Refuses overrides that only the other kind of training follows.

    Args:
        dims: 2 for a training on slices, 3 for one on patches.

    Raises:
        SettingError: If the command sets something of patches in 2-D, or of slices in 3-D. Where a
            dataset's preprocessing or cropping makes volumes of ``spatial_size``, it is of both.
    """
    idle = _OF_PATCHES if dims == 2 else _OF_SLICES
    for key in map(_top_level, given_overrides() or {}):
        if key not in idle or (dims == 3 and key in _used_in_reading()):
            continue
        if dims == 2:
            raise SettingError(f"--{key}: is of patches; add --dims 3, or leave it out")
        raise SettingError(
            f"--{key}: is of slices, and --dims 3 trains on patches; write --patch instead, or leave "
            "it out"
        )


def _top_level(key: str) -> str:
    return key.partition("::")[0]


def _used_in_reading() -> set[str]:
    parser = running_parser()
    read = [parser.get(key) for key in _READING]
    return {_top_level(key) for _, value in leaves(read) for key in references(value)}
