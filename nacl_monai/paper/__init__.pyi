from .comparisons import Comparison, compare_methods
from .exhibits import EXHIBITS, Exhibit
from .page import write_report
from .ranking import rank_methods
from .reproduce import write_all, write_exhibit
from .results import Results, read_results
from .tables import mean_scores, read_published, summarize

__all__ = [
    "EXHIBITS",
    "Comparison",
    "Exhibit",
    "Results",
    "compare_methods",
    "mean_scores",
    "rank_methods",
    "read_published",
    "read_results",
    "summarize",
    "write_all",
    "write_exhibit",
    "write_report",
]
