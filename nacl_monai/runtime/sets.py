"""The sets of a split, held to those of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nacl_monai.data import Case
from nacl_monai.errors import InputError
from nacl_monai.files import read_object
from nacl_monai.runs import RunFolder

_REMEDY = "train anew: --restart True"
# Sets whose cases shape the weights, or choose among them.
_SEEN = ("train", "val")


def check_sets(checkpoint: str | Path, split: Mapping[str, Sequence[Case]]) -> None:
    """Refuses a split in which a case that a training saw is in another set than then.

    Such a case would be tested, or calibrated on, though the network knows it. Cases that no training
    saw may be in any set, and those that one saw may be missing.

    Args:
        checkpoint: The run's ``model.pt``, with ``data.json`` beside it. Without that file nobody knows
            what the training saw, and nothing is refused.
        split: The cases of every set, as they are now.

    Raises:
        InputError: If a case of the training or validation set is in another one, or if ``data.json``
            is damaged.
    """
    folder = RunFolder(Path(checkpoint).parent)
    trained = read_object(folder.data, _REMEDY) if folder.data.is_file() else {}
    now = {case["case"]: part for part, cases in split.items() for case in cases}
    for part in _SEEN:
        for case in trained.get(part, {}):
            if now.get(case, part) != part:
                raise InputError(
                    f"{folder.path}: was trained with case {case} in the set {part!r}, which is in "
                    f"{now[case]!r} now; put the split back, or {_REMEDY}"
                )
