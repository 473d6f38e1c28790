"""Several raters: the audits against each of them beside that against their share."""

from __future__ import annotations

from dataclasses import replace

from nacl_monai.reports.evaluated import Run, read_run, run_of_bins
from nacl_monai.reports.evaluation_files import evaluation_in

#: The folder of an audit in which those against each rater are.
RATERS = "raters"


def by_rater(run: Run) -> list[Run]:
    """An audit against the share of raters, and behind it those against each, where they were kept.

    Raises:
        InputError: If one of them cannot be read.
    """
    names, folder = run.bins.raters, evaluation_in(run.folder).path / RATERS
    share = replace(run, name=f"share of {len(names)} raters") if names else run
    return [share, *(read_run(folder / name) for name in names if (folder / name).is_dir())]


def human_run(run: Run) -> Run | None:
    """The raters, each predicted by the share of the others, as if they were a model; None of one."""
    bins = run.bins.of_raters
    if bins is None:
        return None
    return replace(run_of_bins(bins, "each by the others"), patients=run.patients)
