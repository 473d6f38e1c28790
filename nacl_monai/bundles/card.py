"""How far an exported model's probabilities can be trusted: its calibration card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nacl_monai.counting import counted
from nacl_monai.reports import (
    Estimate,
    Evaluated,
    Run,
    draw_reliability,
    markdown_table,
    read_tested,
)
from nacl_monai.reports.reliability import REGION_LABELS
from nacl_monai.reports.style import save_png
from nacl_monai.runs import RunFolder

DIAGRAM = "reliability.png"


def measured(run: RunFolder) -> Evaluated | None:
    """What the evaluation of a run found on its test cases; None if there was none."""
    return read_tested(run.path) if run.evaluation.path.is_dir() else None


def calibration_of(run: Evaluated) -> dict[str, Any]:
    """The calibration of an evaluated run, for ``metadata.json``.

    Args:
        run: Evaluated on its test cases.

    Returns:
        ``patients`` (or ``cases``, where nobody knows whose they are) and ``volumes``, how many; and
        ``regions``: for each region that was evaluated the mean over patients of ``ece`` and of
        ``confidence_gap``, mean confidence less the share of right voxels, with the ends of their 95 %
        intervals (None where there is a single patient).
    """
    return {
        run.unit: int(run.patients.nunique()),
        "volumes": len(run.cases),
        "regions": {
            region: {error: _numbers(mean) for error, mean in means.items()}
            for region, means in _means(run).items()
        },
    }


def calibration_card(run: Evaluated) -> str:
    """The same as a section in Markdown: a table, what its words mean, and the diagram of the bins.

    It is empty where no calibration was measured.
    """
    rows = [
        (
            region,
            REGION_LABELS[region],
            means["ece"].text(),
            _direction(means.get("confidence_gap")),
        )
        for region, means in _means(run).items()
    ]
    header = ("region", "its voxels", "ECE, with 95 % interval", "confidence − accuracy")
    if not rows:
        return ""
    shown = f"![Reliability diagram]({DIAGRAM})\n\n" if run.bins else ""
    return (
        "## How far its probabilities can be trusted\n\n"
        f"Measured on {_people(run)} of the test set; means over {run.unit}:\n\n"
        f"{markdown_table(header, rows, 'llrl')}\n\n"
        "The expected calibration error (ECE) is how far the confidence is from the share of voxels "
        "that are right: 0 is perfect. Where confidence − accuracy is above 0, the model is more "
        "certain than right. All of it holds for images like these; measure your own with "
        "`nacl-monai audit PREDICTIONS LABELS`.\n\n"
        f"{shown}"
    )


def write_card(found: Evaluated | None, *folders: Path) -> str:
    """Writes the card's diagram into every folder that has the card; returns its section.

    Args:
        found: From `measured`; without an evaluation there is no card.
        folders: The diagram's folders.
    """
    if found is None:
        return ""
    if found.bins is not None:
        figure = draw_reliability([Run(**vars(found), name="test set")])
        for folder in folders:
            save_png(figure, folder / DIAGRAM)
    return calibration_card(found)


def _means(run: Evaluated) -> dict[str, dict[str, Estimate]]:
    """For each region that was evaluated, the means of its errors."""
    found = {region: _of_region(run, region) for region in REGION_LABELS}
    return {region: means for region, means in found.items() if "ece" in means}


def _of_region(run: Evaluated, region: str) -> dict[str, Estimate]:
    columns = {error: f"{error}_{region}" for error in ("ece", "confidence_gap")}
    known = {error: name for error, name in columns.items() if name in run.metrics}
    return {error: run.mean(run.metrics[name]) for error, name in known.items()}


def _numbers(mean: Estimate) -> dict[str, float | None]:
    values = dict(zip(("low", "high"), mean.interval(), strict=True))
    return {
        name: None if np.isnan(value) else round(float(value), 6)
        for name, value in {"mean": mean.mean, **values}.items()
    }


def _direction(gap: Estimate | None) -> str:
    """What the interval of the gap says about the confidence."""
    if gap is None or np.isnan(gap.error):
        return "–"
    low, high = gap.interval()
    signed = f"{gap.mean:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"{signed}, {'too high' if low > 0 else 'too low' if high < 0 else 'right on average'}"


def _people(run: Evaluated) -> str:
    """How many of whom: "20 patients (40 volumes)"."""
    count = run.patients.nunique()
    people = counted(count, run.unit.removesuffix("s"))
    return people + (f" ({len(run.cases)} volumes)" if count < len(run.cases) else "")
