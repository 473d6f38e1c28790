from .comparisons import Comparison, compare_methods
from .exhibits import EXHIBITS, Exhibit
from .means import mean_scores
from .page import write_page
from .published import read_published
from .ranking import rank_methods
from .reproduce import write_all, write_exhibit
from .results import Results, read_results
from .summary import summarize
from .verdicts import verdict

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
    "verdict",
    "write_all",
    "write_exhibit",
    "write_page",
]
