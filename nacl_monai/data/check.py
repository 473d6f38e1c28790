"""Checking a download before anyone trains on it: ``nacl-monai check acdc DIR``.

The expectations of a dataset are in its ``bundles/*/configs/dataset.yaml`` and read from there, so the
same command checks a dataset of one's own. Cases are read as a training reads them, by the same
`nacl_monai.data.LoadCase`, but all faults are collected instead of the first one raised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from monai.bundle import ConfigParser

from nacl_monai.data.cases import LabeledCase, names_of, reported, split_unit
from nacl_monai.data.faults import check_not_repeated
from nacl_monai.data.loading import LoadCase, LoadedCase, LostVoxels, preprocess_label
from nacl_monai.data.volumes import transforms_hash
from nacl_monai.errors import (
    FOLDER_REMEDY,
    InputError,
    SettingError,
    check_no_code,
    check_no_formula,
)
from nacl_monai.menus import check_fragments, dataset_file, fragments, read_dataset, read_shared
from nacl_monai.progress import progress_bar
from nacl_monai.runs import check_class_names
from nacl_monai.words import counted

_DECLARED = ("classes", "label_values", "in_channels", "official_cases")
_USED = ("cases::_target_", "structures", "preprocessing", "cropping", "spatial_size")
_MOST_CLASSES = 256
_SHOWN = (
    *("modalities", "spatial_size", "preprocessing", "cropping"),
    *("split_proportions", "draw_split"),
)
_HIDDEN = ("keys", "_target_", "_mode_", "allow_missing_keys")


def check_dataset(
    dataset: str,
    dataset_dir: str | Path,
    *,
    bundles: str | Path | None = None,
    subset: bool = False,
    affine_tolerance: float | None = None,
    preprocess: bool = False,
) -> DatasetSummary:
    """Reads all files of a dataset, and compares them with what its bundle expects.

    Args:
        dataset: Name of a dataset in ``bundles``.
        dataset_dir: The unpacked download.
        bundles: Folder of the bundles; that of the working directory or of the package if None.
        subset: Whether fewer cases than the official download has are accepted.
        affine_tolerance: How far apart the files of a case may put a voxel, in mm; as the bundle says if
            None.
        preprocess: Whether to run the bundle's preprocessing and cropping too, and count what they lose.
            A class of which a case loses every voxel is a fault: it would become background there, and
            be missing from the means.

    Returns:
        The numbers of the sound cases, and the faults of the others.

    Raises:
        InputError: If there is no such dataset, if what its bundle declares does not agree, or if
            ``dataset_dir`` is missing or in another layout.
    """
    parser = _declared(dataset, dataset_dir, bundles)
    if affine_tolerance is not None:
        parser["affine_tolerance"] = affine_tolerance
    content = partial(_content, parser, dataset_file(dataset, bundles))
    declared = {key: content(key) for key in _DECLARED}
    check_label_classes(declared["classes"], declared["label_values"])
    check_structures(declared["classes"], content("structures"))
    check_official_cases(declared["official_cases"])
    summary = DatasetSummary(dataset, **declared, ignore_index=parser.get("ignore_index"))
    load_case: LoadCase = content("load_case")
    steps, spatial_size = content("reading")[1:], content("spatial_size")
    if preprocess:
        transforms_hash(steps)
    find = content("cases")  # a function of one's own may raise the first fault instead
    reports = "report_fault" in signature(find).parameters
    cases = find(report_fault=summary.faults.append) if reports else find()
    known: dict[str, str] = {}
    for case in progress_bar(cases, description=f"Checking {dataset}", unit="case"):
        loaded = load_case.read(case, summary.faults.append)
        if loaded is not None:
            with reported(summary.faults.append):
                check_no_formula(dataset_dir, names_of(case))
                check_not_repeated(case, loaded.fingerprints, known)
                summary.add(case, loaded)
                if preprocess:
                    _check_preprocessed(case, loaded, summary, steps, spatial_size)
    _check_whole(summary, dataset_dir, subset)
    return summary


def _declared(dataset: str, dataset_dir: str | Path, bundles: str | Path | None) -> ConfigParser:
    """The bundle's declarations about the data in a folder."""
    check_no_code(dataset_dir, [str(dataset_dir)], FOLDER_REMEDY)
    for kind in ("train", "evaluate", "inference"):
        check_fragments(fragments(dataset, kind, bundles))
    parser = ConfigParser({**read_dataset(dataset, bundles), **read_shared(bundles)})
    parser["dataset_dir"] = str(dataset_dir)
    missing = [key for key in (*_DECLARED, *_USED) if key not in parser]
    if missing:
        raise InputError(
            f"{dataset_file(dataset, bundles)}: has no {', '.join(missing)}; add it, as another bundle "
            "has it"
        )
    parser["cases::_mode_"] = "callable"
    parser["load_case::ignore_index"] = parser.get("ignore_index")
    return parser


def _content(parser: ConfigParser, file: Path, key: str) -> Any:
    """The value of a key; an error of MONAI becomes one line."""
    try:
        return parser.get_parsed_content(key)
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        cause: BaseException = error
        while not isinstance(cause, InputError) and cause.__cause__:
            cause = cause.__cause__
        reason = str(cause).strip().splitlines()[0]
        raise SettingError(f"{file}: {key} cannot be used ({reason}); correct it") from error


def _check_preprocessed(
    case: LabeledCase,
    loaded: LoadedCase,
    summary: DatasetSummary,
    steps: Sequence[Callable[[Any], Any]],
    spatial_size: Sequence[int],
) -> None:
    """Adds to the summary what a case loses; classes that it loses altogether are a fault."""
    volume: Any = {"image": loaded.image, "label": loaded.label}
    found = preprocess_label(case, volume, steps, summary.classes, spatial_size)
    summary.lost = [*(summary.lost or ()), *found]
    gone = [entry.name for entry in found if entry.lost == entry.voxels]
    if gone:
        raise InputError(
            f"{case['label']}: preprocessing and cropping lose all of {', '.join(gone)}; correct the "
            "bundle's `preprocessing` or `cropping`, or remove the case"
        )


def _check_whole(summary: DatasetSummary, dataset_dir: str | Path, subset: bool) -> None:
    """A training refuses classes of which nothing can be learned, and cases may be missing."""
    number = len(summary.units)
    absent = [name for k, name in enumerate(summary.classes) if not summary.holders[k]]
    if number and absent:
        line = f"classes: {', '.join(absent)} in none of the {number} sound labels; remove it from "
        summary.faults.append(InputError(f"{line}classes, label_values and structures"))
    if number < summary.official_cases and not subset:
        line = (
            f"{dataset_dir}: {number} sound cases, but the official download has "
            f"{summary.official_cases}; unpack it again, or accept fewer, as where you removed "
            "some, with --subset"
        )
        summary.faults.append(InputError(line))


@dataclass
class DatasetSummary:
    """The sound cases of a dataset, and the faults of the others.

    Attributes:
        dataset: The dataset's name.
        classes: Names of the classes.
        label_values: For each class, the values on disk that become it.
        in_channels: Channels that an image must have.
        official_cases: How many cases the official download has.
        ignore_index: The value on disk of unlabeled voxels; None if all are labeled.
        faults: What is wrong, each in one line that names the file.
        units: What a split follows for each sound case: its patient, or itself.
        patients_known: Whether the patient of every case is known.
        shapes: Voxels along each axis, of each sound case.
        spacings: Size of a voxel in mm, of each sound case.
        voxels: Number of voxels of each label value, over all sound cases.
        holders: Number of sound cases that hold each class, by index.
        lost: What preprocessing and cropping take away, by case and class; None if nobody has looked.
    """

    dataset: str
    classes: list[str]
    label_values: list[list[int]]
    in_channels: int
    official_cases: int
    ignore_index: int | None = None
    faults: list[InputError] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    patients_known: bool = True
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    spacings: list[tuple[float, ...]] = field(default_factory=list)
    voxels: Counter[float] = field(default_factory=Counter)
    holders: Counter[int] = field(default_factory=Counter)
    lost: list[LostVoxels] | None = None

    def add(self, case: LabeledCase, loaded: LoadedCase) -> None:
        """Counts a sound case."""
        self.units.append(split_unit(case))
        self.patients_known &= "patient" in case
        self.shapes.append(tuple(loaded.label.shape[1:]))
        self.spacings.append(tuple(loaded.label.pixdim.tolist()))
        self.voxels.update(loaded.counts)
        rows = enumerate(self._rows().values())
        self.holders.update(index for index, values in rows if {*values} & loaded.counts.keys())

    def table(self) -> str:
        """Returns the number of cases, the ranges of shape and spacing, and a line per class.

        A second table has a line for each case and class of which preprocessing loses voxels.
        """
        people = counted(len(set(self.units)), "patient")
        patients = f" of {people}" if self.patients_known else ""
        lines = [
            f"{self.dataset}: {counted(len(self.units), 'sound case')}{patients} "
            f"(official: {self.official_cases} cases), {self.in_channels} channel(s)"
        ]
        if self.units:
            lines += [
                f"shape    {_range(self.shapes, '{:d}')}",
                f"spacing  {_range(self.spacings, '{:.2f}')} mm",
            ]
        return "\n".join([*lines, self._class_table().to_string(index=False), *self._lost_lines()])

    def _lost_lines(self) -> list[str]:
        if self.lost is None:
            return []
        if not self.lost:
            return ["preprocessing and cropping lose no voxel of any class"]
        table = pd.DataFrame(self.lost, columns=["case", "class", "voxels", "lost"])
        table["%"] = [f"{100 * entry.lost / entry.voxels:.3f}" for entry in self.lost]
        return ["lost by preprocessing and cropping:", table.to_string(index=False)]

    def _rows(self) -> dict[str, list[int]]:
        """The values on disk of each class, and of ignored voxels."""
        rows = dict(zip(self.classes, self.label_values, strict=False))
        return rows if self.ignore_index is None else {**rows, "(ignored)": [self.ignore_index]}

    def _class_table(self) -> pd.DataFrame:
        total = max(1, sum(self.voxels.values()))
        rows = self._rows()
        voxels = [sum(self.voxels[value] for value in values) for values in rows.values()]
        return pd.DataFrame(
            {
                "class": list(rows),
                "values": [", ".join(map(str, values)) for values in rows.values()],
                "voxels": voxels,
                "%": [f"{100 * number / total:.3f}" for number in voxels],
                "cases": [self.holders[index] for index in range(len(rows))],
            }
        )


def _range(values: list[tuple[Any, ...]], form: str) -> str:
    """The smallest and the largest value along each axis: ``154×154×6 to 428×512×18``."""
    ends = (end(np.array(values), axis=0).tolist() for end in (np.min, np.max))
    return " to ".join("×".join(map(form.format, sizes)) for sizes in ends)


def check_label_classes(classes: Sequence[str], label_values: Sequence[Sequence[int]]) -> None:
    """Checks that every class has its values on disk, and an index that fits into a byte, as labels do.

    Args:
        classes: Names of all classes, background first.
        label_values: For each class, the values on disk that become it.

    Raises:
        SettingError: If two classes have one name, or they differ in number, or are too many.
    """
    if not isinstance(classes, list) or len({*map(str, classes)}) < len(classes):
        raise SettingError(f"classes: are {classes}; write a list of names, each once")
    check_class_names(map(str, classes))
    if len(classes) > _MOST_CLASSES:
        raise SettingError(
            f"classes: are {len(classes)}, and labels are kept in bytes; declare at most {_MOST_CLASSES}"
        )
    if len(label_values) != len(classes):
        raise SettingError(
            f"classes: names {len(classes)} ({', '.join(classes)}), but label_values has the values of "
            f"{len(label_values)} classes; set both alike"
        )


def check_structures(classes: Sequence[str], structures: Any) -> None:
    """Checks that every structure is of classes that are there, as an evaluation needs them.

    Args:
        classes: Names of all classes, background first.
        structures: What should be the indices of the classes of each structure.

    Raises:
        SettingError: If it is something else.
    """
    if not isinstance(structures, dict):
        raise SettingError(
            f"structures: are {structures}; write for each name a list of places in `classes`"
        )
    for name, indices in structures.items():
        is_list = isinstance(indices, list) and all(type(index) is int for index in indices)
        if not is_list or not 0 < len(indices) == len({*indices} & {*range(len(classes))}):
            raise SettingError(
                f"structures: {name} is of the classes {indices}; write a list of places in `classes`, "
                f"from 0 to {len(classes) - 1}, each once"
            )


def check_official_cases(number: Any) -> None:
    """Checks how many cases the official download should have.

    Raises:
        SettingError: If it is not a whole number from 1.
    """
    if type(number) is not int or number < 1:
        raise SettingError(f"official_cases: is {number}; write how many cases there are")


def settings_lines(dataset: str, bundles: str | Path | None = None) -> str:
    """The keys of a ``dataset.yaml`` that decide what a network sees and who is tested, one a line.

    Args:
        dataset: Its name.
        bundles: Folder of the bundles.

    Raises:
        InputError: If there is no such dataset.
    """
    keys = read_dataset(dataset, bundles)
    structures = {
        name: " ∪ ".join(str(keys["classes"][index]) for index in indices)
        for name, indices in keys.get("structures", {}).items()
    }
    shown = {"structures": structures, **{key: keys[key] for key in _SHOWN if key in keys}}
    width = max(map(len, shown))
    return "\n".join(f"{key:<{width}}  {_in_words(value)}" for key, value in shown.items())


def _in_words(value: Any) -> str:
    """A value on one line; a step by its name and what differs from step to step.

    Example:
        >>> _in_words(["@to_ras", {"_target_": "Spacingd", "keys": ["image"], "pixdim": [1, 1, 3]}])
        'to_ras; Spacingd(pixdim=1, 1, 3)'
    """
    if isinstance(value, list):  # a semicolon parts steps, in whose words there are commas
        separator = "; " if "_target_" in str(value) or "@" in str(value) else ", "
        return separator.join(map(_in_words, value)) or "none"
    if not isinstance(value, Mapping):
        return str(value).removeprefix("@") or '""'
    if "_target_" not in value:
        return ", ".join(f"{key}: {_in_words(item)}" for key, item in value.items())
    return _step_in_words(value)


def _step_in_words(step: Mapping[str, Any]) -> str:
    settings = [f"{key}={_in_words(item)}" for key, item in step.items() if key not in _HIDDEN]
    return f"{str(step['_target_']).rpartition('.')[2]}({', '.join(settings)})"
