"""All results as one HTML page that needs no network: ``report.html``."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from nacl_monai.errors import InputError
from nacl_monai.files import write_text
from nacl_monai.paper import tables
from nacl_monai.paper.grid import Experiment
from nacl_monai.paper.names import dataset_label
from nacl_monai.paper.reproduce import TITLES, first_runs
from nacl_monai.paper.results import Results, read_results
from nacl_monai.paper.verdicts import verdict
from nacl_monai.reports.columns import METRICS as COLUMNS
from nacl_monai.reports.maps import draw_maps, ranked_cases
from nacl_monai.reports.reliability import draw_reliability
from nacl_monai.reports.style import SMALL_DPI, house_style

PAGE = "report.html"
METRICS = {"table1": ("dice", "hd95"), "table2": ("ece_foreground", "cece_foreground")}


def write_page(roots: Sequence[str | Path], output: str | Path) -> list[Path]:
    """Writes ``report.html`` from runs, and from the tables and figures in the same folder.

    Per dataset: a verdict, a table, reliability diagrams, and maps of the best, median and worst
    case. Then everything that `nacl_monai.paper.reproduce.write_target` has written there, and the
    commands of all runs.

    Args:
        roots: folders of runs, at any depth.
        output: folder for the page, with the tables and figures.

    Returns:
        The path of the page.

    Raises:
        InputError: there is no run of the main experiment, or one cannot be read.
    """
    output = Path(output)
    found = read_results(roots)
    main = found.select("table1")
    where = " ".join(map(str, roots))
    items = [_item(output, target) for target in TITLES if (output / f"{target}.json").is_file()]
    page = Environment(
        loader=PackageLoader("nacl_monai.paper", "."), autoescape=True, undefined=StrictUndefined
    ).get_template("page.html.j2")
    text = page.render(
        sections=[_section(main, name, f"{where} --output {output}") for name in main.datasets],
        items=items,
        runs=[
            {"folder": str(folder), "commands": make_commands(experiment, folder)}
            for experiment, folder in found.folders.items()
        ],
    )
    return [write_text(output / PAGE, text + "\n")]


def make_commands(experiment: Experiment, folder: Path) -> list[str]:
    """The commands that train and evaluate an experiment."""
    choice = f"DATASET={experiment.dataset} DATASET_DIR=… LOSS={experiment.method.loss}"
    choice += f" NETWORK={experiment.network} SEED={experiment.seed} RUN={folder}"
    arguments = f' ARGS="{" ".join(experiment.overrides)}"' if experiment.overrides else ""
    return [f"make train {choice}{arguments}", f"make evaluate {choice}"]


def _section(results: Results, dataset: str, where: str) -> dict[str, Any]:
    only = results.select("table1", datasets=[dataset])
    summary = pd.concat([tables.summarize(only, table) for table in METRICS], ignore_index=True)
    summary = summary[summary["structure"] == tables.MEAN]
    metrics = [
        metric
        for metric in ("dice", "hd95", "ece_foreground", "cece_foreground")
        if metric in set(summary["metric"])
    ]
    places: dict[tuple[str, str], int] = {}
    for metric in metrics:
        of = summary[summary["metric"] == metric]
        marks = tables.marked(of["mean"].tolist(), metric)
        places |= {(method, metric): mark for method, mark in zip(of["method"], marks, strict=True)}
    rows = []
    for method, of in summary.groupby("method", sort=False):
        cells = {row["metric"]: row for row in of.to_dict("records")}
        rows.append(
            {
                "label": tables.label_of(str(method)),
                "seeds": int(of["seeds"].iloc[0]),
                "cells": [
                    _cell(cells[metric], metric, places[str(method), metric]) for metric in metrics
                ],
            }
        )
    return {
        "key": dataset,
        "label": dataset_label(dataset),
        "verdict": verdict(only, dataset),
        "metrics": [COLUMNS[metric].heading for metric in metrics],
        "rows": rows,
        "note": tables.note(summary),
        "command": f"python -m nacl_monai.reports report {where}",
        "pictures": _pictures(only, dataset),
    }


def _cell(row: Mapping[Any, Any], metric: str, place: int) -> dict[str, str]:
    d = COLUMNS[metric].decimals
    if pd.isna(row["mean"]):
        return {"value": "", "mean": "–", "interval": "", "paper": "", "mark": ""}
    return {
        "value": f"{row['mean']:.6f}",
        "mean": f"{row['mean']:.{d}f}",
        "interval": "" if pd.isna(row["low"]) else f"{row['low']:.{d}f} to {row['high']:.{d}f}",
        "paper": ""
        if pd.isna(row["paper"])
        else f"paper {row['paper']:.{d}f} ({row['difference']:+.{d}f})",
        "mark": ("best", "second", "")[place],
    }


def _pictures(results: Results, dataset: str) -> list[dict[str, str]]:
    """Those whose files are there: small committed results have few maps and bins."""
    pictures = []
    try:
        runs = first_runs(results, dataset)
        figure = draw_reliability(runs)
        pictures.append({"title": "Reliability over all test volumes", "source": _inline(figure)})
        ranked = ranked_cases(runs)
    except InputError:
        return pictures
    middle = ranked[(len(ranked) - 1) // 2]
    for title, case in (("Best", ranked[-1]), ("Median", middle), ("Worst", ranked[0])):
        try:
            figure = draw_maps(runs, case)
        except InputError:
            continue
        pictures.append({"title": f"{title} case by Dice, {case}", "source": _inline(figure)})
    return pictures


def _item(output: Path, target: str) -> dict[str, Any]:
    """A table or figure that was written into ``output``."""
    path = output / f"{target}.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files = [output / name for name in manifest["files"]]
        pictures = [_source(file.read_bytes()) for file in files if file.suffix == ".png"]
        tables = [_table(file) for file in files if file.suffix == ".csv"]
        title, command = str(manifest["title"]), str(manifest["command"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be shown ({error}); run `make {target}` again") from error
    return {
        "target": target,
        "name": re.sub(r"(?=\d)", " ", target.capitalize(), count=1),
        "title": title,
        "pictures": pictures,
        "tables": tables,
        "make": f"make {target}",
        "command": command,
    }


def _table(file: Path) -> dict[str, Any]:
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    return {"name": file.name, "columns": list(table.columns), "rows": table.to_numpy().tolist()}


def _inline(figure: Figure) -> str:
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="png", dpi=SMALL_DPI, pil_kwargs={"optimize": True})
    return _source(buffer.getvalue())


def _source(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
