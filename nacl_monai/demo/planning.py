"""What the demo trains on which data, and where the data are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nacl_monai.bundles.__main__ import replaced
from nacl_monai.errors import InputError, SettingError
from nacl_monai.menus import dataset_file
from nacl_monai.wheel import shipped

#: The dataset whose images are in the package.
DATASET = "hippocampus"
_FOLDER = "demo/Task04_Hippocampus"
_TRAINING = {
    DATASET: (
        *("--max_epochs", "24", "--batch_size", "8"),
        *("--split_proportions", "{'train': 22, 'val': 4, 'test': 10}"),
    ),
    "acdc": ("--max_epochs", "22", "--batch_size", "8", "--spatial_size", "[96, 96]"),
}
_DECIDED = {
    "--loss": "it trains CE+DSC and NACL",
    "--network_def": "both have the same",
    "--output_dir": "write --output DIR",
}
_WITH_OWN_DATA = ("--max_epochs", "10")


@dataclass(frozen=True)
class Plan:
    """What is trained on what.

    Attributes:
        dataset: One of the bundles.
        folder: Its data.
        output: Folder of the runs, of the table and of the pictures.
        phantom: Whether the data are a phantom that has yet to be written.
        training: Words of the trainings, which evaluations follow.
    """

    dataset: str
    folder: Path
    output: Path
    phantom: bool = False
    training: Sequence[str] = field(default=())


def plan(
    dataset: str = DATASET,
    folder: Path | None = None,
    output: Path | None = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """Decides what the demo does.

    Args:
        dataset: One of the bundles.
        folder: Its data. Without one, ``hippocampus`` is the package's MRI data, and
            ``acdc`` a phantom.
        output: Folder for what is made, by default ``runs/demo/DATASET``.
        overrides: More ``--key value`` of the trainings.

    Raises:
        SettingError: If a word is one that the demo decides.
        InputError: If there is no such dataset, or it comes without data and no folder is given.

    Example:
        >>> plan("acdc").folder.as_posix(), plan("acdc").phantom
        ('runs/demo/phantom', True)
    """
    dataset_file(dataset)
    for word in overrides:
        if reason := _DECIDED.get(word.partition("=")[0]):
            raise SettingError(f"{word}: is not for the demo to be told ({reason}); leave it out")
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name that of the unpacked download")
    phantom = folder is None and dataset == "acdc"
    own = folder is not None and dataset == DATASET
    usual = _WITH_OWN_DATA if own else _TRAINING.get(dataset, _WITH_OWN_DATA)
    return Plan(
        dataset,
        folder or (Path("runs/demo/phantom") if phantom else _data_of(dataset)),
        output.absolute() if output else Path("runs/demo", dataset),
        phantom,
        replaced(usual, overrides),
    )


def _data_of(dataset: str) -> Path:
    """The folder of the images in the package."""
    if dataset != DATASET:
        raise InputError(f"{dataset}: comes without data; name their folder: --dataset_dir DIR")
    return shipped(_FOLDER)
