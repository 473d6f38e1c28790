from .checked import Evaluated, check_alike, read_evaluated, read_tested
from .columns import MAIN_METRICS, METRICS, Metric, metric_of, structure_of
from .compare import (
    comparison_markdown,
    comparison_table,
    comparison_text,
    write_comparison,
)
from .correlation import rank_correlations
from .curves import ReliabilityCurve, reliability_curve
from .evaluated import Run, read_run, read_runs
from .evaluation_files import CaseMap, read_cases
from .logits import draw_class_logits, draw_epoch_logits, write_logits
from .maps import draw_maps, median_case, ranked_cases
from .page import write_pages
from .paired_tests import paired_tests, rank_biserial
from .reliability import draw_reliability, write_reliability
from .resampling import pooled_band
from .run_bins import RunBins
from .selective import RiskCurve, draw_selective, risk_curve, write_selective
from .statistics import Estimate, estimate, patient_scores
from .style import house_style, new_figure, save_figure
from .tables import best_places, csv_text, markdown_table

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
    "write_pages",
    "write_reliability",
    "write_selective",
]
