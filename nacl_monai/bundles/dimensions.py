"""Words of a command that would have no effect in the number of dimensions that is trained."""

from __future__ import annotations

from nacl_monai.bundles.overrides import keys_referred_to
from nacl_monai.differences import top_level
from nacl_monai.errors import SettingError
from nacl_monai.training.running import given_overrides, running_parser

# For each number of dimensions, the keys of the other, and what is wrong with them.
_IDLE = {
    2: (
        ("patch", "patches_per_volume", "class_centered"),
        "is of patches; add --dims 3, or leave it out",
    ),
    3: (
        ("spatial_size", "discard_empty_slices"),
        "is of slices, and --dims 3 trains on patches; write --patch instead, or leave it out",
    ),
}
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
    idle, fault = _IDLE[dims]
    for key in map(top_level, given_overrides() or {}):
        if key in idle and not (dims == 3 and key in _used_in_reading()):
            raise SettingError(f"--{key}: {fault}")


def _used_in_reading() -> set[str]:
    parser = running_parser()
    return keys_referred_to([parser.get(key) for key in _READING])
