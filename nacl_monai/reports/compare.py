"""The whole comparison of runs: one table, reliability diagrams, maps of uncertainty.

Every number in the table is a mean over the cases in which it is defined; where these are not all,
their number is beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nacl_monai.evaluations.evaluated import Run, read_runs
from nacl_monai.evaluations.statistics import (
    BETTER,
    CANNOT_TELL,
    EQUIVALENT,
    SLIGHTLY,
    WORSE,
    paired_tests,
)
from nacl_monai.evaluations.tables import best_places, csv_text, markdown_table, uncounted
from nacl_monai.files import write_text
from nacl_monai.metrics import Pooled, pooled_difference
from nacl_monai.metrics.columns import (
    COMPARED_METRICS,
    DECISIONS,
    LEADING,
    METRICS,
    PAPER_METRICS,
    PROPER_SCORES,
)
from nacl_monai.reports.maps import draw_maps
from nacl_monai.reports.reliability import draw_reliability
from nacl_monai.reports.style import save_figure

#: Above what is for comparison with the paper: where the label decides, the truth has an error.
_PAPER = "The paper's measures, over regions that the label decides"
#: The smallest difference of shares that matters: of an error near 0, 5 % of its value are nothing.
SHARE_MARGIN = 0.01


def comparison_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Every metric in ``cases.csv``, averaged over the cases in which it is defined.

    Args:
        runs: From `nacl_monai.evaluations.read_runs`.

    Returns:
        One row per method (the index), in the given order. Columns: ``cases``, the number of test
        cases; then each metric, of single structures and of all, followed by ``n(<metric>)``, the
        number of cases in which it is defined; and ``<number>_pooled``, of all cases together.
    """
    rows = {}
    counts = {"cases": 0}
    for run in runs:
        row: dict[str, float] = {"cases": len(run.metrics)}
        for metric in run.metrics.columns:
            row[metric] = float(run.metrics[metric].mean())
            row[_count_of(metric)] = int(run.metrics[metric].count())
            counts[_count_of(metric)] = 0
        pooled = run.bins.pooled_numbers.items()
        rows[run.name] = row | {f"{name}_pooled": number.value for name, number in pooled}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table = table.fillna(counts).astype(dict.fromkeys(counts, int)).copy()
    table.attrs |= {"cases": runs[0].scope.cases, "caution": runs[0].caution}
    table.attrs["pooled"] = {run.name: run.bins.pooled_numbers for run in runs}
    return table.rename_axis("method")


def comparison_markdown(table: pd.DataFrame, tests: Sequence[str] = ()) -> str:
    """The main metrics of a `comparison_table` in Markdown, the best of each in bold, and the paper's.

    Args:
        table: The table.
        tests: What `difference_lines` says.
    """
    parts = []
    for metrics in (COMPARED_METRICS, PAPER_METRICS):
        shown = _shown(table, metrics, "**{}**")
        rows = [[str(method), *cells] for method, *cells in shown.itertuples(name=None)]
        text = markdown_table(["Method", *shown.columns], rows, "l" + "r" * len(shown.columns))
        parts += [text] if len(shown.columns) else []
    lines = [parts[0], "", *_notes(table, "Bold: best of the column"), *([""] if tests else [])]
    lines += [f"- {line}" for line in tests]
    lines += ["", f"{_PAPER}.", "", *parts[1:]] if len(parts) > 1 else []
    return "\n".join(lines) + "\n"


def comparison_text(table: pd.DataFrame, tests: Sequence[str] = ()) -> str:
    """The same for a terminal, a row per number, a star before the best of each."""
    main, paper = (_shown(table, m, "*{}").T for m in (COMPARED_METRICS, PAPER_METRICS))
    lines = [
        main.rename_axis(None, axis=1).to_string(),
        "",
        *_notes(table, "*: best of the row"),
        *tests,
    ]
    if len(paper):
        lines += ["", f"{_PAPER}:", paper.rename_axis(None, axis=1).to_string()]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Difference:
    """A run minus another by one number whose zero is the truth, and what it says of the run."""

    metric: str
    names: tuple[str, str]
    ends: tuple[float, float, float]
    decision: str

    @property
    def text(self) -> str:
        """One line."""
        shown = METRICS[self.metric]
        change = " ".join(shown.difference(*self.ends))
        return f"{shown.label}, {' minus '.join(self.names)}: {change}, {self.decision}."


def proper_differences(runs: Sequence[Run]) -> list[Difference]:
    """How the first run differs from each other.

    Proper scores are tested patient by patient in pairs (`nacl_monai.evaluations.paired_tests`); the
    difference of the ECE near the prediction is over patients who are drawn for both.
    """
    first, *rest = runs
    found = []
    for metric in PROPER_SCORES:
        known = [run for run in runs if metric in run.metrics]
        if known[:1] != [first] or not rest:
            continue
        scores = {run.name: run.metrics[metric].groupby(run.patients).mean() for run in known}
        by_patient = pd.DataFrame(scores).rename_axis("patient")
        table = by_patient.assign(seed=0).set_index("seed", append=True)
        for name, row in paired_tests(table, first.name, metric).iterrows():
            ends = row["difference"], row["low"], row["high"]
            found.append(Difference(metric, (first.name, str(name)), ends, row["decision"]))
    for other in rest:
        apart = near_difference(first, other)
        if apart is not None:
            names, ends = (first.name, other.name), (apart.value, *apart.interval())
            found.append(Difference("ece_near", names, ends, pooled_decision(apart)))
    return found


def difference_lines(runs: Sequence[Run]) -> list[str]:
    """`proper_differences`, a line each."""
    return [difference.text for difference in proper_differences(runs)]


def near_difference(run: Run, other: Run) -> Pooled | None:
    """How much larger the ECE near the prediction is than another run's; None where not counted."""
    ours, theirs = run.bins.bins_of("near"), other.bins.bins_of("near")
    if ours is None or theirs is None:
        return None
    return pooled_difference(ours, theirs, list(run.patients))


def pooled_decision(change: Pooled) -> str:
    """Whether the first of two errors of all cases together is better by more than chance.

    Returns:
        One of `nacl_monai.evaluations.statistics.OUTCOMES`; within `SHARE_MARGIN` it is equivalent, or
        slightly better or worse.
    """
    small = change.low > -SHARE_MARGIN and change.high < SHARE_MARGIN
    if change.low > 0 or change.high < 0:
        return SLIGHTLY * small + (BETTER if change.high < 0 else WORSE)
    return EQUIVALENT if small else CANNOT_TELL


def write_comparison(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    case: str | None = None,
    show: Sequence[str] = ("confidence",),
) -> tuple[str, list[Path]]:
    """Compares evaluated runs; nothing is written unless everything could be read and drawn.

    Args:
        folders: Run folders that were evaluated on the same test cases; a cross-validation goes by
            its name without the fold.
        output: Folder for ``comparison.md``, ``comparison.csv``, ``reliability.png``/``.svg`` and
            ``maps.png``/``.svg``; no maps where one is an audit, which knows no images.
        names: One name per run; by default those of the folders.
        case: The test case in the maps; by default the one of median Dice.
        show: What the maps show, "confidence", "entropy" or both.

    Returns:
        The table as text for a terminal, and the paths of the files.

    Raises:
        InputError: If a run cannot be read, or if the runs cannot be compared.
    """
    output = Path(output)
    runs = read_runs(folders, names)
    table = comparison_table(runs)
    # An audit has no images, and so no maps.
    maps = None if any(run.audited for run in runs) else draw_maps(runs, case, show)
    reliability, tests = draw_reliability(runs, errors=False), difference_lines(runs)
    return comparison_text(table, tests), [
        write_text(output / "comparison.md", comparison_markdown(table, tests)),
        write_text(output / "comparison.csv", csv_text(table.reset_index(), decimals=None)),
        *save_figure(reliability, output / "reliability"),
        *([] if maps is None else save_figure(maps, output / "maps")),
    ]


def _count_of(metric: object) -> str:
    """The column of a metric's number of cases; ``<metric>_n`` is the score of a structure ``n``."""
    return f"n({metric})"


def _compared(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, str]:
    """Those of the metrics that are there, and their columns: of all cases together if they are."""
    columns = {
        metric: f"{metric}_pooled" if f"{metric}_pooled" in table else metric for metric in metrics
    }
    return {
        metric: column
        for metric, column in columns.items()
        if column in table and (column != metric or metric not in DECISIONS)
    }


def _shown(table: pd.DataFrame, metrics: Sequence[str], best: str) -> pd.DataFrame:
    """The cells of metrics as text, those of the best put into ``best``."""
    shown = pd.DataFrame(index=table.index)
    for metric, column in _compared(table, metrics).items():
        cells = []
        for method, place in zip(table.index, best_places(table[column], metric), strict=True):
            text, ending = _cell(table.loc[method], table.attrs["pooled"][method], metric, column)
            cells.append((best.format(text) if place == 0 else text) + ending)
        shown[METRICS[metric].heading] = cells
    return shown


def _cell(
    row: pd.Series[float], pooled: Mapping[str, Pooled], metric: str, column: str
) -> tuple[str, str]:
    """The number, and what is behind it: its interval, or the number of cases where not all have it."""
    number = METRICS[metric].text(row[column]) if not pd.isna(row[column]) else "undefined"
    if column != metric:
        if metric not in pooled:
            return "not counted", ""
        if metric not in LEADING:
            return number, ""
        number, *ends = pooled[metric].text(METRICS[metric].decimals, "undefined").split(" ", 1)
        return number, "".join(f" {text}" for text in ends)
    n = row[_count_of(metric)]
    return number, "" if n == row["cases"] else f" (n={n:.0f})"


def _notes(table: pd.DataFrame, best: str) -> list[str]:
    """The caption that the numbers need."""
    unit = "; HD95 in voxels" * ("hd95" in table)
    notes = [f"Mean over {table['cases'].iloc[0]} {table.attrs['cases']}{unit}."]
    if any(f"{name}_pooled" in table for name in (*LEADING, *DECISIONS)):
        notes[0] += (
            " Near the prediction, and of contours and what is expected: all cases together, without "
            "the bias of noise, mean over structures."
        )
    if len(table) > 1:
        notes[0] += f" {best}."
    if table.attrs["caution"]:
        notes.append(table.attrs["caution"])
    if missing := uncounted(table.attrs["pooled"].values()):
        notes.append(missing.strip())
    partial = [
        METRICS[metric].label
        for metric, column in _compared(table, (*COMPARED_METRICS, *PAPER_METRICS)).items()
        if column == metric and (table[_count_of(metric)] < table["cases"]).any()
    ]
    if partial:
        notes.append(
            f"n: cases in which {' and '.join(partial)} could be computed, where not in all; "
            "such means may be over different cases."
        )
    return notes
