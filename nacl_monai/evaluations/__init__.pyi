from .evaluated import Evaluated, Run, check_alike, read_evaluated, read_run, read_runs, read_tested
from .evaluation_files import read_cases
from .slices import CaseMap
from .statistics import Estimate, estimate, paired_tests, patient_scores, pooled_band, rank_biserial
from .tables import best_places, csv_text, markdown_table, rank_correlations

__all__ = [
    "CaseMap",
    "Estimate",
    "Evaluated",
    "Run",
    "best_places",
    "check_alike",
    "csv_text",
    "estimate",
    "markdown_table",
    "paired_tests",
    "patient_scores",
    "pooled_band",
    "rank_biserial",
    "rank_correlations",
    "read_cases",
    "read_evaluated",
    "read_run",
    "read_runs",
    "read_tested",
]
