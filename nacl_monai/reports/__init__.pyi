from .compare import (
    comparison_markdown,
    comparison_table,
    comparison_text,
    trade_off_text,
    write_comparison,
    write_trade_off,
)
from .evaluated import Evaluated, Run, check_alike, read_evaluated, read_run, read_runs, read_tested
from .evaluation_files import read_cases
from .logits import draw_class_logits, draw_epoch_logits, write_logits
from .maps import draw_maps, median_case, ranked_cases
from .page import write_page, write_pages
from .reliability import ReliabilityCurve, draw_reliability, reliability_curve, write_reliability
from .selective import RiskCurve, draw_selective, risk_curve, write_selective
from .slices import CaseMap
from .statistics import Estimate, estimate, paired_tests, patient_scores, pooled_band, rank_biserial
from .style import house_style, new_figure, page_template, png_source, save_figure, save_png
from .tables import best_places, csv_text, markdown_table, rank_correlations

__all__ = [
    "CaseMap",
    "Estimate",
    "Evaluated",
    "ReliabilityCurve",
    "RiskCurve",
    "Run",
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
    "new_figure",
    "page_template",
    "paired_tests",
    "patient_scores",
    "png_source",
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
    "save_png",
    "trade_off_text",
    "write_comparison",
    "write_logits",
    "write_page",
    "write_pages",
    "write_reliability",
    "write_selective",
    "write_trade_off",
]
