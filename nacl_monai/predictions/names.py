"""The names of files, by which a prediction and a label map are of one case.

Nothing heavy is imported here, so that folders whose names do not match are refused at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import product
from pathlib import Path

from nacl_monai.errors import InputError, SettingError, check_no_formula
from nacl_monai.files import read_table

NIFTI = (".nii.gz", ".nii")
ENDINGS = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
CHANNEL = "_0000"  # nnU-Net ends the names of images, not of labels, so
_MOST = 50  # names of each folder that are compared for the nearest


def stem_of(file: Path) -> str:
    """The name of a file without the ending of an image.

    Example:
        >>> stem_of(Path("case_1.5mm.nii.gz"))
        'case_1.5mm'
    """
    ending = next((ending for ending in ENDINGS if file.name.lower().endswith(ending)), file.suffix)
    return file.name[: len(file.name) - len(ending)]


def images_in(folder: Path) -> list[Path]:
    """The images in a folder by name, without the hidden ones that macOS adds."""
    return sorted(
        file
        for file in folder.glob("*")
        if file.name.lower().endswith(ENDINGS) and not file.name.startswith(".")
    )


def named_once(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Files by their names, each of which one file has.

    Raises:
        InputError: If two have one name, as with two endings, or one that a spreadsheet computes.
    """
    by_name: dict[str, Path] = {}
    for name, file in files:
        check_no_formula(file.parent, [name])
        first = by_name.setdefault(name, file)
        if first != file:
            raise InputError(f"{file}: has the name of {first}; leave one of them out")
    return by_name


def images_by_name(folder: Path) -> dict[str, Path]:
    """The images in a folder by their names without ending.

    Raises:
        InputError: If two have one name.
    """
    return named_once((stem_of(file), file) for file in images_in(folder))


def images_of_cases(
    images: Path, cases: Iterable[str], option: str = "--images"
) -> dict[str, Path]:
    """The image of each case, or its first channel.

    Raises:
        InputError: If a case has none.
    """
    files, found = images_by_name(images), {}
    for case in cases:
        file = files.get(case, files.get(f"{case}{CHANNEL}"))
        if file is None:
            raise InputError(f"{images}: holds no image {case!r}; add it, or leave out {option}")
        found[case] = file
    return found


@dataclass(frozen=True)
class Names:
    """How a case is found in the names of files; by default they are equal.

    Attributes:
        prediction: A regular expression of a prediction's whole name, whose one group is the case.
        label: The same of a label map.
        pairs: A CSV file with the columns prediction and label: names of files without ending.

    Raises:
        SettingError: If an expression is not one with a single group, or if both ways are used.
    """

    prediction: str | None = None
    label: str | None = None
    pairs: Path | None = None

    def __post_init__(self) -> None:
        for option, pattern in (("prediction", self.prediction), ("label", self.label)):
            try:
                groups = 1 if pattern is None else re.compile(pattern).groups
            except re.error as error:
                raise SettingError(
                    f"--{option}-name: {pattern!r} is not a regular expression ({error})"
                ) from error
            if groups != 1:
                raise SettingError(
                    f"--{option}-name: {pattern!r} has {groups} groups; put one, of the case, in "
                    "parentheses, as in 'pred_(.+)'"
                )
        if self.pairs is not None and (self.prediction or self.label):
            raise SettingError("--pairs: lists all names; leave out the expressions beside it")

    @cached_property
    def _table(self) -> Mapping[str, str]:
        """Prediction → label map, by the CSV file."""
        assert self.pairs is not None  # noqa: S101 - whoever asks has looked
        columns = ["prediction", "label"]
        remedy = "write a table of pairs with the columns prediction and label"
        rows = read_table(self.pairs, columns, remedy, unique=columns)
        return dict(zip(rows["prediction"], rows["label"], strict=True))

    @cached_property
    def _labeled(self) -> Mapping[str, str]:
        """Label map → prediction, by the CSV file."""
        return {label: case for case, label in self._table.items()}

    @property
    def equal(self) -> bool:
        """Whether a prediction's own name is that of its case."""
        return self.prediction is None and self.pairs is None

    def of_prediction(self, name: str) -> str | None:
        """The case of a prediction; None of a file that is not meant.

        It is the group of the expression, or else the name without ``_0000``.
        """
        if self.pairs and name not in self._table:
            return None
        return name.removesuffix(CHANNEL) if self.pairs else _group(self.prediction, name)

    def of_label(self, name: str) -> str | None:
        """The case of a label map; None of a file that is not meant."""
        if self.pairs:
            case = self._labeled.get(name)
            return None if case is None else self.of_prediction(case)
        return _group(self.label, name)

    def labels(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Label maps by their cases."""
        cases = ((self.of_label(name), file) for name, file in files.items())
        return named_once((case, file) for case, file in cases if case is not None)


def _group(pattern: str | None, name: str) -> str | None:
    if pattern is None:
        return name.removesuffix(CHANNEL)
    match = re.fullmatch(pattern, name)
    return match[1] if match else None


def no_pair(
    folder: Path, labels: Path, predicted: Collection[str], labeled: Collection[str]
) -> InputError:
    """The error for folders that have no case in common: the nearest names, and how to say more."""
    some = product(sorted(predicted)[:_MOST], sorted(labeled)[:_MOST])
    first, second = max(
        some, key=lambda pair: SequenceMatcher(None, pair[0], pair[1], autojunk=False).ratio()
    )
    common = _common(first, second)
    one_name, other_name = "pred_(.+)_softmax", "(.+)_seg"  # an example
    if common:
        one_name, other_name = (
            f"{re.escape(start)}(.+){re.escape(end)}"
            for start, _, end in (name.partition(common) for name in (first, second))
        )
    return InputError(
        f"{folder}: no case has the name of a label map in {labels}; nearest are {first!r} and "
        f"{second!r}: {'if they are one case, say' if common else 'say which part is the case, as by'} "
        f"--prediction-name '{one_name}' --label-name '{other_name}', or list both in a CSV file with "
        "--pairs"
    )


def _common(first: str, second: str) -> str:
    """The longest text of whole words in both."""
    block = SequenceMatcher(None, first, second, autojunk=False).find_longest_match()
    text = first[block.a : block.a + block.size]
    common = text.strip("_-. ")
    while common and not all(
        re.search(rf"(?<![^\W_]){re.escape(common)}(?![^\W_])", name) for name in (first, second)
    ):
        common = common.rpartition("_")[0]
    return common


def check_names(folder: Path, labels: Path, names: Names) -> None:
    """Refuses two folders without matching names, before anything slow is loaded.

    Files, and names that no expression matches, are refused later.

    Raises:
        InputError: If there is no such folder, or no file or folder of the predictions begins with the
            name of a label map.
    """
    for place, what in ((labels, "label maps"), (folder, "predictions")):
        if not place.exists():
            raise InputError(f"{place}: is not a folder; give the folder of the {what}")
    if not (folder.is_dir() and labels.is_dir()):
        return
    labeled = names.labels({stem_of(file): file for file in images_in(labels)})
    cases = _predicted(folder, names)
    if not (cases and labeled):
        return
    starts = {name[: found.start()] for name in cases for found in re.finditer("_|$", name)}
    if not starts & labeled.keys():
        raise no_pair(folder, labels, cases, labeled)


def _predicted(folder: Path, names: Names) -> set[str]:
    """The names below a folder that may be those of cases."""
    files = list(folder.rglob("[!.]*"))
    predicted = {stem_of(file) for file in files} | {file.name for file in files if file.is_dir()}
    return {name for name in map(names.of_prediction, predicted) if name is not None}
