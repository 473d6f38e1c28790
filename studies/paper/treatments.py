"""NACL beside the other losses, each with the same treatment after training.

A temperature behind one loss and none behind another compares temperatures, not losses. Here whatever
follows training is the same on both sides.
"""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from nacl_monai.evaluations.tables import csv_text
from nacl_monai.paper.comparisons import Comparison, compare_methods, comparison_to_markdown
from nacl_monai.paper.exhibits import POSTHOC_NAMES
from nacl_monai.paper.grid import AFTERWARDS, PROPOSED, Method, main_grid, method_label
from nacl_monai.paper.results import Results

#: Proper scores, the order in which to trust voxels, and the paper's two regions.
METRICS = ("nll_all", "brier_all", "aurc_all", "aurc_union", "ece_foreground", "ece_union")
TREATMENTS = ((), *((name,) for name in dict.fromkeys((*POSTHOC_NAMES, *AFTERWARDS))))


def same_treatment(results: Results) -> Iterator[tuple[Method, Comparison]]:
    """NACL with each treatment that it and another loss were given, against these; a family each."""
    for after in TREATMENTS:
        grid = main_grid()
        methods = tuple(replace(method, after=after) for method in grid.methods)
        treated = results.select(replace(grid, methods=methods))
        reference = Method(PROPOSED, after=after)
        compared = compare_methods(treated, METRICS, reference.name)
        if len(compared.tests):
            yield reference, compared


def treatments_to_text(results: Results) -> tuple[str, str]:
    """The tests in Markdown, a table for each treatment, and as CSV."""
    found = list(same_treatment(results))
    parts = [
        f"**{method_label(method)}, and the others alike**\n\n{comparison_to_markdown(compared)}"
        for method, compared in found
    ]
    tests = [compared.tests.assign(reference=method.name) for method, compared in found]
    return "\n".join(parts), csv_text(pd.concat([pd.DataFrame(), *tests], ignore_index=True))
