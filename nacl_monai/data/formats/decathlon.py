"""The Medical Segmentation Decathlon's format: ``dataset.json`` with ``modality`` and ``training``.

An image may be one 4-D file with all modalities (Antonelli et al. 2022).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nacl_monai.data.formats.description import (
    Description,
    check_mapping,
    read_ignored,
    read_labels,
)
from nacl_monai.data.formats.nnunet import SPLITS, read_splits
from nacl_monai.data.own_cases import entries_of
from nacl_monai.files import read_object

FILE = "dataset.json"


def is_decathlon(root: Path) -> bool:
    """Whether ``dataset.json`` is there and has a modality and a list of training cases."""
    file = root / FILE
    return file.is_file() and {"modality", "training"} <= read_object(file, "write it again").keys()


def describe_decathlon(root: Path) -> Description:
    """Reads ``dataset.json``; its test cases have no labels, and do not count.

    Raises:
        InputError: If a key is missing or cannot be meant.
    """
    file = root / FILE
    content = read_object(file, "write it again")
    check_mapping(file, content, "modality", '{"0": "MRI"}')
    check_mapping(file, content, "labels", '{"0": "background", "1": "tumor"}')
    entries_of(file, content, "training")
    return Description(
        format="the Decathlon's format",
        source=file,
        cases={
            "_target_": "nacl_monai.data.listed_cases",
            "dataset_dir": "@dataset_dir",
            "file": FILE,
            "lists": ["training"],
        },
        channels=_in_order(content["modality"]),
        labels=read_labels(file, content["labels"]),
        ignored=read_ignored(file, content["labels"]),
        folds=read_splits(root / SPLITS),
        title=str(content.get("name", "")),
    )


def _in_order(modality: dict[str, Any]) -> list[str]:
    return [str(modality[key]) for key in sorted(modality, key=lambda key: (len(key), key))]
