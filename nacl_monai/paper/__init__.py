"""The paper's grid of experiments, its published numbers, and its tables and figures made anew.

On the command line: ``nacl-monai paper table1 RUNS --output DIR`` to ``figure11``; ``all`` of
them; ``report``, one page; and ``collect``, the small files that they are made from.
"""

from nacl_monai.paper.comparisons import Comparison, compare_methods
from nacl_monai.paper.exhibits import EXHIBITS, Exhibit
from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.page import write_page
from nacl_monai.paper.published import read_published
from nacl_monai.paper.ranking import rank_methods
from nacl_monai.paper.reproduce import write_all, write_exhibit
from nacl_monai.paper.results import Results, read_results
from nacl_monai.paper.summary import summarize
from nacl_monai.paper.verdicts import verdict

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
