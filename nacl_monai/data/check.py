"""Checking a download before anyone trains on it: ``nacl-monai check acdc DIR``.

The expectations of a dataset are in its ``bundles/*/configs/dataset.yaml`` and read from there, so the
same command checks a dataset of one's own. Cases are read as a training reads them, by the same
`nacl_monai.data.LoadCase`, but all faults are collected instead of the first one raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from nacl_monai.data.cases import Case, ReportFault
from nacl_monai.data.declared import check_label_classes, check_official_cases, check_structures
from nacl_monai.data.faults import check_new
from nacl_monai.data.integrity import transforms_hash
from nacl_monai.data.loading import LoadCase, LoadedCase
from nacl_monai.data.lost import preprocess_label
from nacl_monai.data.summary import DatasetSummary
from nacl_monai.errors import InputError, SettingError
from nacl_monai.menus import (
    check_fragments,
    dataset_file,
    fragments,
    read_dataset,
    read_shared,
)
from nacl_monai.progress import progress_bar

_DECLARED = ("classes", "label_values", "in_channels", "official_cases")
_USED = ("cases::_target_", "structures", "preprocessing", "cropping", "spatial_size")


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
    cases = _find_cases(content("cases"), summary.faults.append)
    known: dict[str, str] = {}
    for case in progress_bar(cases, description=f"Checking {dataset}", unit="case"):
        loaded = load_case.read(case, summary.faults.append)
        if loaded is not None:
            with _collected(summary):
                check_new(case, loaded.fingerprints, known)
                summary.add(case, loaded)
                if preprocess:
                    _check_preprocessed(case, loaded, summary, steps, spatial_size)
    _check_classes(summary)
    if not subset:
        _check_number(summary, dataset_dir)
    return summary


def _declared(dataset: str, dataset_dir: str | Path, bundles: str | Path | None) -> ConfigParser:
    """What the bundle declares of the data in a folder."""
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
    """What a key stands for; what MONAI cannot make of it is one line."""
    try:
        return parser.get_parsed_content(key)
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        cause: BaseException = error
        while not isinstance(cause, InputError) and cause.__cause__:
            cause = cause.__cause__
        reason = str(cause).strip().splitlines()[0]
        raise SettingError(f"{file}: {key} cannot be used ({reason}); correct it") from error


def _find_cases(find: Callable[..., list[Case]], report_fault: ReportFault) -> list[Case]:
    """The cases; a function of one's own may raise the first fault instead of reporting all."""
    if "report_fault" in signature(find).parameters:
        return find(report_fault=report_fault)
    return find()


@contextmanager
def _collected(summary: DatasetSummary) -> Iterator[None]:
    try:
        yield
    except InputError as fault:
        summary.faults.append(fault)


def _check_preprocessed(
    case: Case,
    loaded: LoadedCase,
    summary: DatasetSummary,
    steps: Sequence[Callable[[Any], Any]],
    spatial_size: Sequence[int],
) -> None:
    """Adds to the summary what a case loses; classes that it loses altogether are a fault."""
    found = preprocess_label(
        case,
        {"image": loaded.image, "label": loaded.label},
        steps,
        summary.classes,
        spatial_size,
    )
    summary.lost = [*(summary.lost or ()), *found]
    gone = [one.name for one in found if one.lost == one.voxels]
    if gone:
        raise InputError(
            f"{case['label']}: preprocessing and cropping lose all of {', '.join(gone)}; correct the "
            "bundle's `preprocessing` or `cropping`, or remove the case"
        )


def _check_classes(summary: DatasetSummary) -> None:
    """A training refuses classes of which nothing can be learned."""
    absent = [name for k, name in enumerate(summary.classes) if not summary.holders[k]]
    if summary.units and absent:
        summary.faults.append(
            InputError(
                f"classes: {', '.join(absent)} in none of the {len(summary.units)} sound labels; "
                "remove it from classes, label_values and structures"
            )
        )


def _check_number(summary: DatasetSummary, dataset_dir: str | Path) -> None:
    if len(summary.units) < summary.official_cases:
        summary.faults.append(
            InputError(
                f"{dataset_dir}: {len(summary.units)} sound cases, but the official download has "
                f"{summary.official_cases}; unpack it again, or accept fewer, as where you removed "
                "some, with --subset"
            )
        )
