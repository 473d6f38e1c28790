"""Tables and figures from the numbers that evaluations wrote; no model is loaded.

On the command line: ``nacl-monai compare RUN [RUN ...] --output DIR``, and likewise
``reliability`` (any region, any class), ``selective`` (risk and coverage) and ``logits``.
"""

from nacl_monai.reports.checked import Evaluated, check_alike, read_evaluated, read_tested
from nacl_monai.reports.columns import MAIN_METRICS, METRICS, Metric, metric_of, structure_of
from nacl_monai.reports.compare import (
    comparison_markdown,
    comparison_table,
    comparison_text,
    write_comparison,
)
from nacl_monai.reports.correlation import rank_correlations
from nacl_monai.reports.curves import ReliabilityCurve, reliability_curve
from nacl_monai.reports.evaluated import Run, read_run, read_runs
from nacl_monai.reports.evaluation_files import CaseMap, read_cases
from nacl_monai.reports.logits import draw_class_logits, draw_epoch_logits, write_logits
from nacl_monai.reports.maps import draw_maps, median_case, ranked_cases
from nacl_monai.reports.paired_tests import paired_tests, rank_biserial
from nacl_monai.reports.reliability import draw_reliability, write_reliability
from nacl_monai.reports.resampling import pooled_band
from nacl_monai.reports.run_bins import RunBins
from nacl_monai.reports.selective import RiskCurve, draw_selective, risk_curve, write_selective
from nacl_monai.reports.statistics import Estimate, estimate, patient_scores
from nacl_monai.reports.style import house_style, new_figure, save_figure
from nacl_monai.reports.tables import best_places, csv_text, markdown_table

__all__ = [
    "MAIN_METRICS",
    "METRICS",
    "CaseMap",
    "Estimate",
    "Evaluated",
    "Metric",
    "ReliabilityCurve",
    "RiskCurve",
    "Run",
    "RunBins",
    "best_places",
    "check_alike",
    "comparison_markdown",
    "comparison_table",
    "comparison_text",
    "csv_text",
    "draw_class_logits",
    "draw_epoch_logits",
    "draw_maps",
    "draw_reliability",
    "draw_selective",
    "estimate",
    "house_style",
    "markdown_table",
    "median_case",
    "metric_of",
    "new_figure",
    "paired_tests",
    "patient_scores",
    "pooled_band",
    "rank_biserial",
    "rank_correlations",
    "ranked_cases",
    "read_cases",
    "read_evaluated",
    "read_run",
    "read_runs",
    "read_tested",
    "reliability_curve",
    "risk_curve",
    "save_figure",
    "structure_of",
    "write_comparison",
    "write_logits",
    "write_reliability",
    "write_selective",
]
