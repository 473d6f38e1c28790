"""The small files of runs from which every table and figure can be made again, as one archive."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nacl_monai.errors import InputError
from nacl_monai.evaluations import Run, read_tested
from nacl_monai.files import atomic_path
from nacl_monai.metrics.sums_file import FINE
from nacl_monai.paper.exhibits import MAIN
from nacl_monai.paper.results import ARCHIVE, first_runs, read_results
from nacl_monai.reports.maps import ranked_cases
from nacl_monai.runs import RunFolder

REGIONS = ("foreground", "union")
RECORDS = (".json", ".yaml", ".txt", ".csv")
_RUNS = Path("runs")
#: In bytes; larger files in a run's folder are not its record.
SMALL = 100_000


def write_evidence(roots: Sequence[str | Path], output: str | Path) -> list[Path]:
    """Packs what is small of evaluated runs; the same runs give the same bytes.

    These are the cases of every run, their summary, and the text files beside them that record how
    it came about. For the runs in figures 4, 5 and 11, one per loss, they are also logits, the bins of
    the regions foreground and union, and the maps of the best, median and worst case, where there
    are some.

    Args:
        roots: Folders or archives of runs of one dataset; those with other names than an experiment's
            are left out.
        output: The archive, ``NAME.tar.xz``; in it, a run is ``runs/<run>/…``.

    Returns:
        The path of the archive.

    Raises:
        InputError: If there is no run, if one cannot be read or lacks a file, if they are of several
            datasets, or if the archive has another ending; nothing is written then.
    """
    output = Path(output)
    if not output.name.endswith(ARCHIVE):
        raise InputError(f"{output}: is no name of an archive; write --output NAME{ARCHIVE}")
    results = read_results(roots)
    if len(results.datasets) > 1:
        raise InputError(
            f"{', '.join(map(str, roots))}: hold runs of {', '.join(results.datasets)}; collect one "
            "dataset at a time"
        )
    for folder in results.folders.values():
        read_tested(folder)  # nobody could tell of the copy of which weights its evaluation is
    packed: dict[Path, Path | bytes] = {}
    for experiment, folder in results.folders.items():
        copy = experiment.folder(_RUNS / RunFolder(folder).trained.path.name).path
        packed |= {copy / path.relative_to(folder): path for path in _records(folder)}
    main = results.select(MAIN.grid())  # there may be none
    for dataset in main.datasets:
        runs = first_runs(main, dataset)
        ranked = ranked_cases(runs)
        shown = sorted({ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1]})
        for run in runs:
            packed |= _pictures(run, shown, RunFolder(_RUNS / run.folder.name))
    with atomic_path(output) as temporary, tarfile.open(temporary, "w:xz", preset=9) as archive:
        for path, content in sorted(packed.items()):
            _add(archive, path, content)
    return [output]


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


def _pictures(run: Run, cases: Sequence[str], copy: RunFolder) -> dict[Path, Path | bytes]:
    """The files for figures of single runs, by their place; an evaluation need not have maps.

    Raises:
        InputError: If another file is missing.
    """
    source = RunFolder(run.folder)
    files = {
        copy.split: source.split,
        copy.logit_histogram: source.logit_histogram,
        copy.evaluation.logits: source.evaluation.logits,
    }
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: no such file; train and evaluate the run again")
    maps = {copy.evaluation.map_of(case): source.evaluation.map_of(case) for case in cases}
    kept = {to: path for to, path in maps.items() if path.is_file()}
    return {**files, **kept, copy.evaluation.bins: _bins(run)}


def _bins(run: Run) -> bytes:
    """The bins of some regions, as a file."""
    regions = [name for name in REGIONS if name in run.bins.regions]
    indices = [run.bins.regions.index(name) for name in regions]
    arrays: dict[str, Any] = dict(run.bins.sums[:, indices].arrays())
    if run.bins.fine is not None:
        arrays |= run.bins.fine[:, indices].arrays(FINE)
    arrays |= {"cases": run.bins.cases, "regions": regions, "classes": run.bins.classes}
    return _npz(arrays)


def _npz(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as a file that is not compressed: the archive does that better."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _add(archive: tarfile.TarFile, path: Path, content: Path | bytes) -> None:
    """Adds a file without what depends on the machine: its owner, its rights and its time."""
    if isinstance(content, Path) and content.suffix == ".npz":
        with np.load(content, allow_pickle=False) as arrays:
            content = _npz(arrays)
    data = content.read_bytes() if isinstance(content, Path) else content
    member = tarfile.TarInfo(path.as_posix())
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
