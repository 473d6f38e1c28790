"""All results as one HTML page that needs no network: ``report.html``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.errors import InputError
from nacl_monai.evaluations import Run
from nacl_monai.evaluations.tables import best_places
from nacl_monai.files import write_text
from nacl_monai.metrics.columns import METRICS
from nacl_monai.paper.exhibits import EXHIBITS, MAIN, TABLE1, TABLE2, MethodTable
from nacl_monai.paper.grid import dataset_label, method_label
from nacl_monai.paper.reproduce import command_line
from nacl_monai.paper.results import PROJECT, Results, first_runs, read_results
from nacl_monai.paper.tables import AVERAGE, table_caption
from nacl_monai.paper.trainings import remarks
from nacl_monai.reports.maps import draw_maps, ranked_cases
from nacl_monai.reports.reliability import draw_reliability, draw_selective
from nacl_monai.reports.style import data_source, page_template, png_source

REPORT_PAGE = "report.html"


def write_report(
    roots: Sequence[str | Path],
    output: str | Path,
    *,
    conventions: str = PROJECT,
    shown: str | Path | None = None,
) -> list[Path]:
    """Writes ``report.html`` from runs, and from the tables and figures in the same folder.

    Per dataset: tables of the methods as trained and with what was fitted afterwards,
    reliability diagrams, risk–coverage curves, and maps of the best, median and worst
    case. Then everything that `nacl_monai.paper.reproduce.write_exhibit` has written there.

    Args:
        roots: Folders of runs, at any depth.
        output: The folder for the page, with the tables and figures.
        conventions: How absent structures are scored, a key of `CONVENTIONS`.
        shown: The folder that the page says it is in; by default ``output``.

    Returns:
        The path of the page.

    Raises:
        InputError: If there is no run of the main tables, or if one cannot be read.
    """
    output = Path(output)
    results = read_results(roots, conventions)
    items = [_item(output, name) for name in EXHIBITS if (output / f"{name}.json").is_file()]
    text = page_template("nacl_monai.paper").render(
        sections=[_section(results, dataset) for dataset in MAIN.select(results).datasets],
        command=command_line("report", roots, shown or output, {"conventions": conventions}),
        items=items,
    )
    return [write_text(output / REPORT_PAGE, text + "\n")]


def _section(results: Results, dataset: str) -> dict[str, Any]:
    """The page's section about one dataset."""
    chosen = MAIN.select(results, datasets=[dataset])
    tables = [_sortable("", _main_numbers(chosen), chosen)]
    for exhibit in EXHIBITS.values():
        shown = results.select(exhibit.grid(), datasets=[dataset])
        if isinstance(exhibit.content, MethodTable) and shown.folders:
            summary = exhibit.content.summary(shown)
            tables.append(_sortable(exhibit.title, summary, shown))
    content = {"tables": tables, "pictures": list(_pictures(chosen, dataset))}
    return {"key": dataset, "label": dataset_label(dataset), **content}


def _sortable(title: str, summary: pd.DataFrame, results: Results) -> dict[str, Any]:
    """A table of the means over structures, a row per method."""
    summary = summary[summary["structure"] == AVERAGE]
    metrics = list(dict.fromkeys(summary["metric"]))
    return {
        "title": title,
        "metrics": [METRICS[metric].heading for metric in metrics],
        "rows": _rows(summary, metrics),
        "note": table_caption(summary, remarks(results.folders)).replace("`", ""),  # no Markdown
    }


def _main_numbers(results: Results) -> pd.DataFrame:
    """The means of the paper's first two tables."""
    tables = (replace(table, per_structure=False) for table in (TABLE1, TABLE2))
    return pd.concat([table.summary(results) for table in tables], ignore_index=True)


def _rows(summary: pd.DataFrame, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """A row per method, its cells in the order of the metrics."""
    places: dict[str, dict[str, int]] = {}
    for metric in metrics:
        of_metric = summary[summary["metric"] == metric]
        ranked = best_places(of_metric["mean"].tolist(), metric)
        places[metric] = dict(zip(of_metric["method"], ranked, strict=True))
    rows = []
    for method, group in summary.groupby("method", sort=False):
        numbers = {row["metric"]: row for row in group.to_dict("records")}
        cells = [
            _cell(numbers.get(metric, {}), metric, places[metric].get(str(method), 2))
            for metric in metrics
        ]
        seeds = int(group["seeds"].iloc[0])
        rows.append({"label": method_label(str(method)), "seeds": seeds, "cells": cells})
    return rows


def _cell(row: Mapping[Any, Any], metric: str, place: int) -> dict[str, str]:
    """The texts of one cell."""
    if pd.isna(row.get("mean")):
        return {"value": "", "mean": "–", "interval": "", "paper": "", "mark": ""}
    text = METRICS[metric].text
    interval = "" if pd.isna(row["low"]) else f"{text(row['low'])} to {text(row['high'])}"
    paper = "" if pd.isna(row["paper"]) else f"paper {text(row['paper'])}"
    if not pd.isna(row["difference"]):
        paper += f" ({text(row['difference'], '+')})"
    return {
        "value": f"{row['mean']:.6f}",
        "mean": text(row["mean"]),
        "interval": interval,
        "paper": paper,
        "mark": ("best", "second", "")[place],
    }


def _pictures(results: Results, dataset: str) -> Iterator[dict[str, str]]:
    """Those whose files are there: small committed results have few maps and bins."""
    with suppress(InputError):
        runs = first_runs(results, dataset)
        yield _picture("Reliability over all test cases", draw_reliability(runs))
        if all(run.bins.fine is not None for run in runs):
            yield _picture("Error rate among the most confident voxels", draw_selective(runs)[0])
        yield from _maps(runs)


def _maps(runs: Sequence[Run]) -> Iterator[dict[str, str]]:
    ranked = ranked_cases(runs)
    middle = ranked[(len(ranked) - 1) // 2]
    for title, case in (("Best", ranked[-1]), ("Median", middle), ("Worst", ranked[0])):
        with suppress(InputError):
            figure = draw_maps(runs, case, rule=f"{title} Dice".lower())
            yield _picture(f"{title} case by Dice, {case}", figure)


def _picture(title: str, figure: Figure) -> dict[str, str]:
    return {"title": title, "source": png_source(figure)}


def _item(output: Path, name: str) -> dict[str, Any]:
    """The page's section about a table or figure that was written into ``output``."""
    path = output / f"{name}.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files = [output / file for file in manifest["files"]]
        return {
            "key": name,
            "name": re.sub(r"_|(?=\d)", " ", name.capitalize(), count=1),
            "title": str(manifest["title"]),
            "pictures": [data_source(file.read_bytes()) for file in files if file.suffix == ".png"],
            "tables": [_table(file) for file in files if file.suffix == ".csv"],
            "make": f"make {name}",
            "command": str(manifest["command"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be shown ({error}); run `make {name}` again") from error


def _table(file: Path) -> dict[str, Any]:
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    return {"name": file.name, "columns": list(table.columns), "rows": table.to_numpy().tolist()}
