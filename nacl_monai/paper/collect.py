"""The small files of runs from which every table and figure can be made again, fit to be committed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path
from nacl_monai.metrics.adaptive import FINE
from nacl_monai.paper.exhibits import MAIN
from nacl_monai.paper.results import Results, first_runs, read_results
from nacl_monai.reports import Run, read_tested
from nacl_monai.reports.maps import ranked_cases
from nacl_monai.runs import RunFolder

REGIONS = ("foreground", "union")
RECORDS = (".json", ".yaml", ".txt", ".csv")
#: In bytes; larger files in a run's folder are not its record.
SMALL = 100_000


def write_evidence(roots: Sequence[str | Path], output: str | Path) -> list[Path]:
    """Copies what is small of evaluated runs.

    For every run these are its cases, their summary, and the text files beside them that record how
    it came about. For the runs in figures 4, 5 and 11, one per loss, they are also logits, the bins of
    the regions foreground and union, and the maps of the best, median and worst case, where there
    are some.

    Args:
        roots: Folders of runs of one dataset, at any depth; those with other names than an
            experiment's are left out.
        output: Becomes ``output/<run>/…``.

    Returns:
        The paths of the files.

    Raises:
        InputError: If there is no run, if one cannot be read or lacks a file, or if they are of several
            datasets; nothing is written then.
    """
    output = Path(output)
    results = read_results(roots)
    _check(roots, results)
    copies: dict[Path, Path] = {}
    for experiment, folder in results.folders.items():
        copy = experiment.folder(output / RunFolder(folder).trained.path.name).path
        copies |= {path: copy / path.relative_to(folder) for path in _records(folder)}
    main = results.select(MAIN.grid())  # there may be none
    pictured = {dataset: first_runs(main, dataset) for dataset in main.datasets}
    for runs in pictured.values():
        ranked = ranked_cases(runs)
        shown = sorted({ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1]})
        for run in runs:
            copies |= _pictures(run, shown, RunFolder(output / run.folder.name))
    _check_sources(copies)
    return [
        *(_copy(*pair) for pair in copies.items()),
        *(
            _write_bins(run, RunFolder(output / run.folder.name).evaluation.bins)
            for runs in pictured.values()
            for run in runs
        ),
    ]


def _check(roots: Sequence[str | Path], results: Results) -> None:
    """Refuses what nobody could tell of the copies: runs of one name, evaluations of other weights."""
    if len(results.datasets) > 1:
        raise InputError(
            f"{', '.join(map(str, roots))}: hold runs of {', '.join(results.datasets)}; collect one "
            "dataset at a time"
        )
    for folder in results.folders.values():
        read_tested(folder)


def _records(folder: Path) -> Iterator[Path]:
    """The files of a run that tables need, and those that say how it came about."""
    run = RunFolder(folder)
    yield from (run.evaluation.cases, run.evaluation.summary, run.evaluation.record)
    for path in sorted(folder.iterdir()):
        if (
            path.suffix in RECORDS
            and path not in (run.split, run.data)
            and path.stat().st_size < SMALL
        ):
            yield path


def _pictures(run: Run, cases: Sequence[str], copy: RunFolder) -> dict[Path, Path]:
    """What figures of single runs need, and where it goes; an evaluation need not have maps."""
    source = RunFolder(run.folder)
    maps = {source.evaluation.map_of(case): copy.evaluation.map_of(case) for case in cases}
    return {
        source.split: copy.split,
        source.logit_histogram: copy.logit_histogram,
        source.evaluation.logits: copy.evaluation.logits,
        **{path: to for path, to in maps.items() if path.is_file()},
    }


def _check_sources(paths: Iterable[Path]) -> None:
    """Refuses, before anything is written, what cannot be copied whole."""
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"{missing}: no such file; train and evaluate the run again")


def _copy(path: Path, to: Path) -> Path:
    with atomic_path(to) as temporary:
        shutil.copyfile(path, temporary)
    return to


def _write_bins(run: Run, path: Path) -> Path:
    """Writes the bins of some regions."""
    regions = [name for name in REGIONS if name in run.bins.regions]
    indices = [run.bins.regions.index(name) for name in regions]
    arrays: dict[str, Any] = dict(run.bins.sums[:, indices].arrays())
    if run.bins.fine is not None:
        arrays |= run.bins.fine[:, indices].arrays(FINE)
    arrays |= {"cases": run.bins.cases, "regions": regions, "classes": run.bins.classes}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    return path
