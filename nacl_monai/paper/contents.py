"""What a table or figure consists of, and the files that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.files import write_text
from nacl_monai.paper import tables
from nacl_monai.paper.remarks import remarks
from nacl_monai.paper.results import Results, first_runs
from nacl_monai.paper.summary import COLUMNS, CORRELATION, beside_paper, correlate, summarize
from nacl_monai.reports import Run
from nacl_monai.reports.style import add_caption, save_figure
from nacl_monai.reports.tables import csv_text


class Content(Protocol):
    """What a table or figure shows of its experiments."""

    @property
    def tested(self) -> tuple[str, ...]:
        """Metrics that are tested between the methods."""

    def write(self, results: Results, stem: Path) -> list[Path]:
        """Writes the files, whose names begin with ``stem``; returns their paths."""


@dataclass(frozen=True)
class Table:
    """A table beside the paper's: Markdown, CSV and LaTeX.

    Attributes:
        number: The number of the paper's table: "Table 1".
        metrics: Columns of ``cases.csv``; all are tested.
        per_structure: With the numbers of every structure above their mean.
        over_datasets: With the mean over the datasets at the end.
    """

    number: str
    metrics: tuple[str, ...]
    per_structure: bool = False
    over_datasets: bool = False

    @property
    def tested(self) -> tuple[str, ...]:
        """All metrics of the table."""
        return self.metrics

    def summary(self, results: Results) -> pd.DataFrame:
        """Every number of the table."""
        summary = summarize(
            results,
            self.metrics,
            per_structure=self.per_structure,
            over_datasets=self.over_datasets,
        )
        return beside_paper(summary, self.number, results.conventions)

    def write(self, results: Results, stem: Path) -> list[Path]:
        """Writes the table in three formats."""
        summary, said = self.summary(results), remarks(results.folders)
        return [
            write_text(stem.with_suffix(".md"), tables.to_markdown(summary, said)),
            write_text(stem.with_suffix(".csv"), csv_text(summary)),
            write_text(stem.with_suffix(".tex"), tables.to_latex(summary, said)),
        ]


@dataclass(frozen=True)
class MethodTable:
    """A table of this project's own, a row per method: Markdown and CSV.

    Attributes:
        metrics: Columns of ``cases.csv``, and perhaps "rank_correlation"; a dataset need not have all.
        tested: Those that are tested between the methods.
    """

    metrics: tuple[str, ...]
    tested: tuple[str, ...] = ()

    def summary(self, results: Results) -> pd.DataFrame:
        """Every number of the table, in the order of its metrics; the paper has none of them."""
        parts = [summarize(results, [name for name in self.metrics if name != CORRELATION])]
        if CORRELATION in self.metrics:
            parts.append(correlate(results))
        summary = pd.concat([part for part in parts if len(part)], ignore_index=True)
        summary = summary.sort_values(
            "metric", key=lambda names: names.map(self.metrics.index), kind="stable"
        )
        return summary.assign(paper=np.nan, difference=np.nan)

    def write(self, results: Results, stem: Path) -> list[Path]:
        """Writes the table in both formats; a row of the CSV is one number."""
        summary, said = self.summary(results), remarks(results.folders)
        return [
            write_text(stem.with_suffix(".md"), tables.methods_to_markdown(summary, said)),
            write_text(stem.with_suffix(".csv"), csv_text(summary[COLUMNS])),
        ]


@dataclass(frozen=True)
class Plot:
    """One figure over all datasets, drawn from means over all seeds: PNG, SVG, and its numbers.

    Attributes:
        draw: Makes the figure and its numbers.
        tested: Metrics that are tested between the methods.
    """

    draw: Callable[[Results], tuple[Figure, pd.DataFrame]]
    tested: tuple[str, ...] = ()

    def write(self, results: Results, stem: Path) -> list[Path]:
        """Writes the figure, with what must be said of its trainings, and its numbers."""
        figure, numbers = self.draw(results)
        if said := remarks(results.folders):
            add_caption(figure, " ".join(said))
        return [*save_figure(figure, stem), write_text(stem.with_suffix(".csv"), csv_text(numbers))]


@dataclass(frozen=True)
class Pictures:
    """Figures of single runs, those of the first seed and fold: PNG and SVG for every dataset.

    Attributes:
        draw: Makes the figures of one dataset, by the stems of their files.
        tested: Nothing.
    """

    draw: Callable[[Sequence[Run]], dict[str, Figure]]
    tested: tuple[str, ...] = ()

    def write(self, results: Results, stem: Path) -> list[Path]:
        """Writes the figures of every dataset, when all are drawn."""
        figures = {
            stem.with_name(f"{name}_{dataset}"): figure
            for dataset in results.datasets
            for name, figure in self.draw(first_runs(results, dataset)).items()
        }
        return [path for place, figure in figures.items() for path in save_figure(figure, place)]
