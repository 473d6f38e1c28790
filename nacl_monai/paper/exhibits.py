"""The paper's tables and figures, and some of our own: what each is called, made of, and shows.

This is the one list of them. Another figure is a function that draws it and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.evaluations import Run
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.paper import figures, radars, ranking, tables
from nacl_monai.paper.grid import (
    MAIN_LOSSES,
    PAPER_LOSSES,
    PAPER_NETWORKS,
    PROPOSED,
    Grid,
    Value,
    after_training,
    followed,
    grid_of,
    main_grid,
    method,
)
from nacl_monai.paper.results import NothingToShow, Results, first_runs
from nacl_monai.paper.tables import COLUMNS, CORRELATION, beside_paper, correlate, summarize
from nacl_monai.paper.trainings import remarks
from nacl_monai.posthoc import METHODS
from nacl_monai.reports.logits import draw_class_logits, draw_epoch_logits
from nacl_monai.reports.style import add_caption, save_figure
from nacl_monai.runs import short_name


@dataclass(frozen=True)
class Table:
    """A table beside the paper's: Markdown and CSV.

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
        whole = {"per_structure": self.per_structure, "over_datasets": self.over_datasets}
        summary = summarize(results, self.metrics, **whole)
        return beside_paper(summary, self.number, results.conventions)

    def write(self, results: Results, stem: Path) -> list[Path]:
        """Writes the table in both formats."""
        summary, notes = self.summary(results), remarks(results.folders)
        return [
            write_text(stem.with_suffix(".md"), tables.to_markdown(summary, notes)),
            write_text(stem.with_suffix(".csv"), csv_text(summary)),
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
        summary, notes = self.summary(results), remarks(results.folders)
        return [
            write_text(stem.with_suffix(".md"), tables.methods_to_markdown(summary, notes)),
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
        if notes := remarks(results.folders):
            add_caption(figure, " ".join(notes))
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
        drawn = {
            stem.with_name(f"{name}_{dataset}"): figure
            for dataset in results.datasets
            for name, figure in self.draw(first_runs(results, dataset)).items()
        }
        return [path for place, figure in drawn.items() for path in save_figure(figure, place)]


@dataclass(frozen=True)
class Exhibit:
    """A table or figure.

    Attributes:
        name: Its make target and the stem of its files.
        title: What it shows, in a few words.
        grid: Returns the experiments that it is made of; called late, since the menus say what
            their defaults are.
        content: What it shows of them, and what is tested.
        own_runs: Whether it needs runs that the paper lacks, so that it is made when it is asked for by
            its name, and not with all others.
    """

    name: str
    title: str
    grid: Callable[[], Grid]
    content: Table | MethodTable | Plot | Pictures
    own_runs: bool = False

    def select(
        self,
        results: Results,
        *,
        datasets: Collection[str] = (),
        losses: Collection[str] = (),
        seeds: Collection[int] = (),
    ) -> Results:
        """The experiments that it shows, narrowed as `nacl_monai.paper.results.Results.select` does.

        Raises:
            NothingToShow: If there are none.
        """
        chosen = results.select(self.grid(), datasets=datasets, losses=losses, seeds=seeds)
        if not chosen.folders:
            raise NothingToShow(f"{self.name}: none of its runs exists; run `make {self.name}`")
        return chosen


def proposed_and(**settings: Value) -> Grid:
    """The proposed method at its defaults, and with some other settings."""
    return Grid((method(PROPOSED), method(PROPOSED, **settings)))


def widths() -> Grid:
    """The proposed method at its defaults, and with a blur of each width as its prior."""
    blurs = (method(PROPOSED, prior="blur", sigma=sigma, kernel_size=19) for sigma in WIDTHS)
    return Grid((method(PROPOSED), *blurs))


TABLE1 = Table("Table 1", ("dice", "hd95"), per_structure=True)
#: What a temperature trades: the error of one region against that of another.
AFTER_TRAINING = MethodTable(
    (
        *("ece_foreground", "ece_union", "ece_boundary", "ece_all"),
        *("cece_foreground", "nll_union", "nll_all"),
    ),
    tested=("ece_foreground", "ece_union", "nll_all"),
)
SELECTIVE = MethodTable(
    (
        *("aurc_union", "aurc_all", "error_auroc_union", "error_auroc_all"),
        *("dice", "expected_dice", "rank_correlation"),
    )
)
#: What each calibrator does, fitted over its own region; one temperature over all voxels, too.
POSTHOC = replace(AFTER_TRAINING, metrics=("dice", *AFTER_TRAINING.metrics))
#: The same, with DSC tested as well.
BY_REGION = replace(POSTHOC, tested=("dice", *AFTER_TRAINING.tested))
POSTHOC_NAMES = (
    *("temperature_all", "temperature_union"),
    *(f"{name}_all" for name in METHODS if name != "temperature"),
)
POSTHOC_LOSSES = ("cross_entropy", "dice_ce", PROPOSED)
#: What is trained on patches: the main losses, and the one that has been published for 3-D segmentation.
PATCH_METHODS = (
    *map(method, ("cross_entropy", "dice_ce")),
    method("ml1ace", ignore_empty_classes=False),
    method(PROPOSED),
)
#: Standard deviations of a blur in voxels; the window reaches three of the widest.
WIDTHS = (0.5, 1.0, 1.5, 2.0, 3.0)
TABLE2 = Table("Table 2", ("ece_foreground", "cece_foreground"))
_TRADEOFF = ("dice", "ece_foreground")

#: The experiments of the main tables are those of most figures.
MAIN = Exhibit("table1", "Segmentation: DSC and HD95 of every structure", main_grid, TABLE1)
_LIST = (
    MAIN,
    Exhibit(
        "table2", "Calibration: ECE and CECE over the ground-truth foreground", main_grid, TABLE2
    ),
    Exhibit(
        "table3",
        "NACL's prior: mean or Gaussian",
        partial(proposed_and, prior="gaussian"),
        Table("Table 3", _TRADEOFF, over_datasets=True),
    ),
    Exhibit(
        "table4",
        "NACL's penalty: L1 or L2",
        partial(proposed_and, penalty="l2"),
        Table("Table 4", _TRADEOFF, over_datasets=True),
    ),
    Exhibit("figure1", "DSC and ECE of every method", main_grid, Plot(radars.draw_figure1)),
    Exhibit("figure2", "Ranks by two rules", main_grid, Plot(ranking.draw_figure2)),
    Exhibit(
        "figure3",
        "NACL's penalty on logits or on softmax",
        partial(proposed_and, space="softmax"),
        Plot(figures.draw_figure3),
    ),
    Exhibit(
        "figure4",
        "Mean size of the logits per true class",
        partial(grid_of, MAIN_LOSSES, datasets=("flare", "acdc")),
        Pictures(lambda runs: {"figure4": draw_class_logits(runs)}),
    ),
    Exhibit(
        "figure5",
        "Largest logit over the epochs of training",
        main_grid,
        Pictures(lambda runs: {"figure5": draw_epoch_logits(runs)}),
    ),
    Exhibit(
        "figure6",
        "Three values of every hyper-parameter",
        radars.figure6_grid,
        Plot(radars.draw_figure6),
    ),
    Exhibit(
        "figure7",
        "NACL against SVLS with the same σ",
        figures.figure7_grid,
        Plot(figures.draw_figure7),
    ),
    Exhibit(
        "figure8",
        "Networks",
        partial(grid_of, ("svls", "mbls", "nacl"), datasets=("flare",), networks=PAPER_NETWORKS),
        Plot(figures.draw_figure8),
    ),
    Exhibit(
        "figure9",
        "Share of the training patients",
        partial(grid_of, PAPER_LOSSES, datasets=("acdc", "flare"), fractions=figures.FRACTIONS),
        Plot(figures.draw_figure9),
    ),
    Exhibit(
        "figure10",
        "DSC against calibration over prediction ∪ label",
        main_grid,
        Plot(figures.draw_figure10, tested=tuple(figures.UNION_ERRORS)),
    ),
    Exhibit(
        "figure11",
        "Predictions, confidence and reliability",
        partial(grid_of, MAIN_LOSSES, datasets=("brats",)),
        Pictures(figures.draw_figure11),
    ),
    Exhibit(
        "after_training",
        "Calibration by region: as trained, with a temperature, and as an ensemble of the seeds",
        after_training,
        AFTER_TRAINING,
    ),
    Exhibit(
        "posthoc",
        "Calibration by region: as trained, and with each calibrator",
        partial(after_training, POSTHOC_LOSSES, POSTHOC_NAMES),
        POSTHOC,
    ),
    Exhibit(
        "selective",
        "Does confidence find errors, of voxels and of cases?",
        after_training,
        SELECTIVE,
    ),
    Exhibit(
        "three_d",
        "Patches in 3-D: DSC and calibration by region",
        lambda: Grid(PATCH_METHODS, networks=(short_name(PAPER_NETWORKS[0], dims=3),)),
        BY_REGION,
        own_runs=True,
    ),
    Exhibit(
        "unet_authors",
        "The authors' network, which has no normalization: DSC and calibration by region",
        lambda: followed(grid_of(POSTHOC_LOSSES, networks=("unet_authors",))),
        BY_REGION,
        own_runs=True,
    ),
    Exhibit(
        "hyperparameters",
        "Three values of every hyper-parameter: as trained, and with a temperature",
        lambda: followed(radars.figure6_grid()),
        MethodTable(AFTER_TRAINING.metrics),
        own_runs=True,
    ),
    Exhibit(
        "widths",
        "NACL's prior: a mean over 3×3 voxels, or a blur of another width",
        widths,
        BY_REGION,
        own_runs=True,
    ),
)
#: By name: the paper's in its order, then this project's own.
EXHIBITS = {exhibit.name: exhibit for exhibit in _LIST}
