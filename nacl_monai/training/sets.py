"""The sets of a split and the files of their cases, held to those of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import ignite.distributed as idist

from nacl_monai.data import Case
from nacl_monai.data.cases import image_files
from nacl_monai.errors import InputError
from nacl_monai.files import read_object
from nacl_monai.progress import progress_bar
from nacl_monai.runs import RunFolder
from nacl_monai.training.recorded_files import recorded_checksum, recorded_file

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
    trained = _recorded_sets(folder)
    now = {case["case"]: part for part, cases in split.items() for case in cases}
    for part in _SEEN:
        for case in trained.get(part, {}):
            if now.get(case, part) != part:
                raise InputError(
                    f"{folder.path}: was trained with case {case} in the set {part!r}, which is in "
                    f"{now[case]!r} now; put the split back, or {_REMEDY}"
                )


def check_files(checkpoint: str | Path, cases: Sequence[Case]) -> None:
    """Refuses a case whose files are not those that the run recorded, byte by byte.

    Numbers of other files would pass for the run's. Only files whose size or time of change differs
    from the record are read.

    Args:
        checkpoint: The run's ``model.pt``, with ``data.json`` beside it. Without that file nobody knows
            the files, and nothing is refused.
        cases: The cases of one set; some may be missing in the run's record.

    Raises:
        InputError: If a file has other bytes, or if ``data.json`` is damaged.
    """
    folder = RunFolder(Path(checkpoint).parent)
    if idist.get_rank() != 0 or not folder.data.is_file():
        return
    records = {case: one for part in _recorded_sets(folder).values() for case, one in part.items()}
    known = [case for case in cases if case["case"] in records]
    for case in progress_bar(known, description="Comparing data", unit="case"):
        changed = _changed_file(case, records[case["case"]])
        if changed:
            raise InputError(
                f"{changed}: has other bytes than {folder.data} recorded; put it back, evaluate a copy "
                f"of the run without {folder.data.name}, or {_REMEDY}"
            )


def _changed_file(case: Case, records: Sequence[str]) -> str | None:
    """The first file of a case that is not the recorded one; None if all are."""
    files = [*image_files(case), case["label"]]
    if len(files) != len(records):
        return files[0]
    pairs = zip(files, records, strict=True)
    return next((file for file, record in pairs if not _is_recorded(Path(file), record)), None)


def _is_recorded(file: Path, record: str) -> bool:
    return recorded_checksum(recorded_file(file, record)) == recorded_checksum(record)


def _recorded_sets(folder: RunFolder) -> dict[str, dict[str, list[str]]]:
    """For every set and case of ``data.json`` the records of its files, the label's last; else none."""
    sets = read_object(folder.data, _REMEDY) if folder.data.is_file() else {}
    try:
        return {
            part: {case: [str(one) for one in files.values()] for case, files in cases.items()}
            for part, cases in sets.items()
        }
    except AttributeError as error:
        raise InputError(f"{folder.data}: is damaged; {_REMEDY}") from error
