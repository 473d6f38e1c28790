"""The numbers of an evaluation: a row per case, and their summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Engine

from nacl_monai.counting import counted
from nacl_monai.errors import InputError
from nacl_monai.files import write_text
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.runs import EvaluationFolder
from nacl_monai.training.calibration_error import CalibrationError
from nacl_monai.training.case_handler import CaseHandler


class CaseTable(CaseHandler):
    """Writes ``cases.csv`` and ``summary.json``, and prints the summary.

    ``cases.csv`` has one row per case: ``case``, and ``patient`` where it is known; each metric of
    each structure, ``<metric>_<structure>``, and its mean over the structures that are present,
    ``<metric>``; each calibration error over each region, ``<error>_<region>``. An undefined value
    (an absent structure, an empty region) is an empty field.
    ``summary.json`` holds the mean, the standard deviation and the number of defined values of every
    column.

    Args:
        output_dir: Folder of the two files.
        structures: Names of what was scored: foreground classes, or unions of them.
        metrics: Names of the metrics of these structures, as in ``engine.state.metric_details``.
        calibration: The evaluator's calibration metric.
        dataset: Name of the dataset, for the summary.

    Raises:
        InputError: In the end, if the evaluator has no such metric, or one of other structures.
    """

    def __init__(
        self,
        output_dir: str | Path,
        structures: Sequence[str],
        metrics: Sequence[str],
        calibration: CalibrationError,
        dataset: str,
    ) -> None:
        super().__init__()
        self.folder = EvaluationFolder(Path(output_dir))
        self.structures = list(structures)
        self.metrics = list(metrics)
        self.calibration = calibration.metric_fn
        self.dataset = dataset

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:
        """Writes both files; see the class."""
        scores = {metric: self._score(engine, metric) for metric in self.metrics}
        table = write_case_table(
            self.folder,
            score_columns(scores, self.structures) | error_columns(self.calibration),
            self.calibration.num_bins,
            self.dataset,
            cases,
            patients,
        )
        print(_readable(table))

    def _score(self, engine: Engine, metric: str) -> torch.Tensor:
        """What a metric found of every case, ``(cases, structures)``."""
        details: dict[str, torch.Tensor] = getattr(engine.state, "metric_details", {})
        if metric not in details:
            raise InputError(
                f"CaseTable: the evaluator has no metric {metric!r} with details; attach it under this "
                f"name, or choose from {', '.join(details) or 'none'}"
            )
        columns = details[metric].shape[1]
        if columns != len(self.structures):
            raise InputError(
                f"CaseTable: {metric!r} is of {columns} structures, but {len(self.structures)} are "
                f"named ({', '.join(self.structures)}); name each that the metric scores"
            )
        return details[metric]


def score_columns(
    scores: Mapping[str, torch.Tensor], structures: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Columns of the scores of structures, ``<metric>_<structure>``, and of their means, ``<metric>``.

    Args:
        scores: Metric → ``(cases, structures)``; NaN is undefined.
        structures: Their names.
    """
    columns: dict[str, torch.Tensor] = {}
    for metric, values in scores.items():
        columns |= {f"{metric}_{name}": values[:, k] for k, name in enumerate(structures)}
        columns[metric] = values.double().nanmean(dim=1)
    return columns


def error_columns(calibration: CalibrationMetric) -> dict[str, torch.Tensor]:
    """Columns of the calibration errors of every case, ``<error>_<region>``."""
    return calibration.by_region(calibration.case_errors())


def write_case_table(
    folder: EvaluationFolder,
    columns: Mapping[str, torch.Tensor],
    num_bins: int,
    dataset: str,
    cases: Sequence[str],
    patients: Sequence[str] = (),
) -> pd.DataFrame:
    """Writes ``cases.csv`` and ``summary.json`` (see `CaseTable`); returns the table.

    Args:
        folder: The folder of the two files.
        columns: One value per case each.
        num_bins: The number of bins.
        dataset: Name of the dataset, for the summary.
        cases: Names, in the order of the values.
        patients: Names in the same order; empty where nobody knows whose the cases are.
    """
    table = pd.DataFrame(
        {name: values.double().cpu().numpy() for name, values in columns.items()}, index=list(cases)
    )
    if patients:
        table.insert(0, "patient", list(patients))
    table = table.rename_axis("case").sort_index()
    write_text(folder.cases, table.to_csv(float_format="%.6f"))
    summary = {"dataset": dataset, "cases": len(table), "num_bins": num_bins, **_statistics(table)}
    write_text(folder.summary, json.dumps(summary, indent=2) + "\n")
    return table


def _statistics(table: pd.DataFrame) -> dict[str, Any]:
    numbers = table.drop(columns="patient", errors="ignore")
    statistics = numbers.agg(["mean", "std", "count"]).astype(object)
    return {
        "metrics": {
            name: {
                "mean": _number(column["mean"]),
                "std": _number(column["std"]),
                "count": int(column["count"]),
            }
            for name, column in statistics.items()
        }
    }


def _number(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 6)  # JSON has no NaN


def _readable(table: pd.DataFrame) -> str:
    columns = [
        name for name in ("dice", "hd95", "ece_foreground", "cece_foreground") if name in table
    ]
    means = ", ".join(f"{name} {table[name].mean():.4f}" for name in columns)
    return f"{counted(len(table), 'case')}, mean over cases: {means}"
