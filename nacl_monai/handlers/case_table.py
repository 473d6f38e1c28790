"""The numbers of an evaluation: a row per case, and their summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from ignite.engine import Engine

from nacl_monai.files import write_text
from nacl_monai.handlers.calibration_error import CalibrationError
from nacl_monai.handlers.case_handler import CaseHandler
from nacl_monai.runs import EvaluationFolder


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
        columns: dict[str, torch.Tensor] = {}
        details = cast("dict[str, torch.Tensor]", vars(engine.state)["metric_details"])
        for metric in self.metrics:
            values = details[metric].double().cpu()
            columns |= {f"{metric}_{name}": values[:, k] for k, name in enumerate(self.structures)}
            columns[metric] = values.nanmean(dim=1)
        columns |= self._by_region(self.calibration.case_errors())
        table = pd.DataFrame(
            {name: values.numpy() for name, values in columns.items()}, index=cases
        )
        if patients:
            table.insert(0, "patient", patients)
        table = table.rename_axis("case").sort_index()
        write_text(self.folder.cases, table.to_csv(float_format="%.6f"))
        write_text(self.folder.summary, json.dumps(self._summary(table), indent=2) + "\n")
        print(_readable(table))

    def _by_region(self, errors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """``{"ece": (…, regions)}`` → ``{"ece_foreground": (…), "ece_union": (…), …}``."""
        return {
            f"{name}_{region}": values[..., position].cpu()
            for position, region in enumerate(self.calibration.region_names)
            for name, values in errors.items()
        }

    def _summary(self, table: pd.DataFrame) -> dict[str, Any]:
        numbers = table.drop(columns="patient", errors="ignore")
        statistics = numbers.agg(["mean", "std", "count"]).astype(object)
        return {
            "dataset": self.dataset,
            "cases": len(table),
            "num_bins": self.calibration.num_bins,
            "metrics": {
                name: {
                    "mean": _number(column["mean"]),
                    "std": _number(column["std"]),
                    "count": int(column["count"]),
                }
                for name, column in statistics.items()
            },
        }


def _number(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 6)  # JSON has no NaN


def _readable(table: pd.DataFrame) -> str:
    columns = [
        name for name in ("dice", "hd95", "ece_foreground", "cece_foreground") if name in table
    ]
    means = ", ".join(f"{name} {table[name].mean():.4f}" for name in columns)
    return f"{len(table)} cases, mean over cases: {means}"
