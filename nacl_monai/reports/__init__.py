"""Tables and figures from the numbers that evaluations wrote; no model is loaded.

On the command line: ``python -m nacl_monai.reports compare RUN [RUN ...] --output DIR``, and likewise
``reliability`` (any region, any class) and ``logits``. Of a whole grid of runs: ``table1 RUNS --output
DIR`` to ``figure11``, ``all`` of them, and ``report``, the page.
"""

from nacl_monai.reports.compare import write_comparison
from nacl_monai.reports.logits import draw_class_logits, draw_epoch_logits, write_logits
from nacl_monai.reports.maps import draw_maps, median_case, ranked_cases
from nacl_monai.reports.means import mean_scores
from nacl_monai.reports.page import write_page
from nacl_monai.reports.paper import read_paper
from nacl_monai.reports.ranking import rank_methods
from nacl_monai.reports.reliability import (
    ReliabilityCurve,
    bootstrap_band,
    draw_reliability,
    reliability_curve,
    write_reliability,
)
from nacl_monai.reports.reproduce import write_found, write_target
from nacl_monai.reports.result_tables import compare_methods, summarise
from nacl_monai.reports.results import Results, read_results
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
from nacl_monai.reports.verdicts import verdict

__all__ = [
    "CaseMap",
    "Interval",
    "ReliabilityCurve",
    "Results",
    "Run",
    "RunBins",
    "bootstrap_band",
    "compare_methods",
    "comparison_table",
    "draw_class_logits",
    "draw_epoch_logits",
    "draw_maps",
    "draw_reliability",
    "house_style",
    "interval",
    "mean_scores",
    "median_case",
    "new_figure",
    "paired_tests",
    "patient_scores",
    "rank_biserial",
    "rank_methods",
    "ranked_cases",
    "read_paper",
    "read_results",
    "read_run",
    "read_runs",
    "reliability_curve",
    "save_figure",
    "summarise",
    "to_csv",
    "to_markdown",
    "to_text",
    "verdict",
    "write_comparison",
    "write_found",
    "write_logits",
    "write_page",
    "write_reliability",
    "write_target",
]
