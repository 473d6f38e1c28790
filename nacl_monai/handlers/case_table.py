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
from nacl_monai.handlers.calibration import CalibrationError
from nacl_monai.handlers.cases import CaseHandler

PAPER_REGION = "foreground"  # its columns carry no suffix: `ece`, not `ece_foreground`


class CaseTable(CaseHandler):
    """Writes ``cases.csv`` and ``summary.json``, and prints the summary.

    ``cases.csv`` has a row per case: ``case`` and ``patient``; for each metric of targets a column
    ``<metric>_<target>`` and their mean over the targets that are present, ``<metric>``; and each
    calibration error as ``ece``, ``cece``, … for the ground-truth foreground, ``ece_<region>``, …
    for other regions. An undefined value (an absent target, an empty region) is an empty cell.
    ``summary.json`` holds mean, standard deviation and number of defined values of every column,
    and the errors of the bins pooled over all cases.

    Args:
        output_dir: Folder of the two files.
        targets: Names of what was scored: foreground classes, or unions of them.
        metrics: Names of the metrics of these targets, as in ``engine.state.metric_details``.
        calibration: The evaluator's calibration metric.
        data_set: Recorded in the summary.
    """

    def __init__(
        self,
        output_dir: str | Path,
        targets: Sequence[str],
        metrics: Sequence[str],
        calibration: CalibrationError,
        data_set: str,
    ) -> None:
        super().__init__()
        self.output_dir = Path(output_dir)
        self.targets = list(targets)
        self.metrics = list(metrics)
        self.calibration = calibration.metric_fn
        self.data_set = data_set

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:
        """Writes both files; see the class."""
        columns: dict[str, torch.Tensor] = {}
        details = cast("dict[str, torch.Tensor]", vars(engine.state)["metric_details"])
        for metric in self.metrics:
            values = details[metric].double().cpu()
            columns |= {f"{metric}_{name}": values[:, k] for k, name in enumerate(self.targets)}
            columns[metric] = values.nanmean(dim=1)
        columns |= self._by_region(self.calibration.case_errors())
        table = pd.DataFrame(
            {name: values.numpy() for name, values in columns.items()}, index=cases
        )
        table.insert(0, "patient", patients)
        table = table.rename_axis("case").sort_index()
        write_text(self.output_dir / "cases.csv", table.to_csv(float_format="%.6f"))
        write_text(
            self.output_dir / "summary.json", json.dumps(self._summary(table), indent=2) + "\n"
        )
        print(_readable(table, self.output_dir))

    def _by_region(self, errors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """``{"ece": (…, regions)}`` → ``{"ece": (…), "ece_union": (…)}``, the paper's region first."""
        return {
            name if region == PAPER_REGION else f"{name}_{region}": values[..., position].cpu()
            for position, region in sorted(
                enumerate(self.calibration.region_names), key=lambda item: item[1] != PAPER_REGION
            )
            for name, values in errors.items()
        }

    def _summary(self, table: pd.DataFrame) -> dict[str, Any]:
        statistics = table.drop(columns="patient").agg(["mean", "std", "count"]).astype(object)
        pooled = self._by_region(self.calibration.pooled_errors())
        return {
            "data_set": self.data_set,
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
            "pooled": {name: _number(value.item()) for name, value in pooled.items()},
        }


def _number(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 6)  # JSON has no NaN


def _readable(table: pd.DataFrame, output_dir: Path) -> str:
    columns = [name for name in ("dice", "hd95", "ece", "cece") if name in table]
    means = ", ".join(f"{name} {table[name].mean():.4f}" for name in columns)
    return f"{len(table)} cases, mean over cases: {means} (written to {output_dir})"
