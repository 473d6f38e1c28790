"""Tables and figures from the numbers that evaluations wrote; no model is loaded.

On the command line: ``python -m nacl_monai.reports compare RUN [RUN ...] --output DIR``, and likewise
``reliability`` (any region, any class) and ``logits``.
"""

from nacl_monai.reports.compare import write_comparison
from nacl_monai.reports.logits import draw_class_logits, draw_epoch_logits, write_logits
from nacl_monai.reports.maps import draw_maps, median_case, ranked_cases
from nacl_monai.reports.reliability import (
    ReliabilityCurve,
    bootstrap_band,
    draw_reliability,
    reliability_curve,
    write_reliability,
)
from nacl_monai.reports.runs import CaseMap, Run, RunBins, read_run, read_runs
from nacl_monai.reports.statistics import (
    Interval,
    interval,
    paired_tests,
    patient_scores,
    rank_biserial,
)
from nacl_monai.reports.style import house_style, new_figure, save_figure
from nacl_monai.reports.tables import comparison_table, to_csv, to_markdown, to_text

__all__ = [
    "CaseMap",
    "Interval",
    "ReliabilityCurve",
    "Run",
    "RunBins",
    "bootstrap_band",
    "comparison_table",
    "draw_class_logits",
    "draw_epoch_logits",
    "draw_maps",
    "draw_reliability",
    "house_style",
    "interval",
    "median_case",
    "new_figure",
    "paired_tests",
    "patient_scores",
    "rank_biserial",
    "ranked_cases",
    "read_run",
    "read_runs",
    "reliability_curve",
    "save_figure",
    "to_csv",
    "to_markdown",
    "to_text",
    "write_comparison",
    "write_logits",
    "write_reliability",
]
