"""The small files of runs from which every table and figure can be made again, fit to be committed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nacl_monai.files import atomic_path
from nacl_monai.paper.reproduce import first_runs
from nacl_monai.paper.results import read_results
from nacl_monai.reports.evaluated import Run
from nacl_monai.reports.maps import ranked_cases

REGIONS = ("foreground", "union")
#: Larger files in a run's folder are not its record.
SMALL = 100_000


def write_evidence(roots: Sequence[str | Path], output: str | Path) -> list[Path]:
    """Copies what is small of evaluated runs.

    Of every run its cases, their summary, and the text files beside them that record how it came
    about. Of the runs in figures 4, 5 and 11, one per loss, also logits, the bins of the regions
    foreground and union, and the maps of the best, median and worst case.

    Args:
        roots: folders of runs, at any depth; those whose names are no experiment's are left out.
        output: becomes ``output/<run>/…``, for runs of one dataset.

    Returns:
        The paths of the files.

    Raises:
        InputError: there is no run, or one cannot be read.
    """
    output = Path(output)
    results = read_results(roots)
    files = [
        _copy(path, output / folder.name / path.relative_to(folder))
        for folder in results.folders.values()
        for path in _records(folder)
    ]
    main = results.select("table1")
    for dataset in main.datasets:
        runs = first_runs(main, dataset)
        ranked = ranked_cases(runs)
        shown = {ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1]}
        for run in runs:
            to = output / run.folder.name
            inner = ["split.json", "logit_histogram.npz", "evaluation/logits.npz"]
            inner += [f"evaluation/maps/{case}.npz" for case in sorted(shown)]
            files += [_copy(run.folder / name, to / name) for name in inner]
            files.append(_write_bins(run, to / "evaluation" / "bins.npz"))
    return files


def _records(folder: Path) -> Iterator[Path]:
    yield from (folder / "evaluation" / name for name in ("cases.csv", "summary.json"))
    for path in sorted(folder.iterdir()):
        known = path.suffix in (".json", ".yaml", ".txt", ".csv") and path.name != "split.json"
        if known and path.stat().st_size < SMALL:
            yield path


def _copy(path: Path, to: Path) -> Path:
    with atomic_path(to) as temporary:
        shutil.copyfile(path, temporary)
    return to


def _write_bins(run: Run, path: Path) -> Path:
    regions = [name for name in REGIONS if name in run.bins.regions]
    at = [run.bins.regions.index(name) for name in regions]
    arrays: dict[str, Any] = dict(run.bins.sums[:, at].arrays())
    arrays |= {"cases": run.bins.cases, "regions": regions, "classes": run.bins.classes}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    return path
