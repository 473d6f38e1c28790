"""``python -m studies.distance.curves DATA RUN …``: the temperatures by distance behind several losses.

Each curve is fitted to the validation people of a run; those of a loss have one color.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import pandas as pd

from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.paper.grid import loss_label
from nacl_monai.posthoc.distance import SIGNED_KNOTS
from nacl_monai.reports import draw_temperatures, save_png
from nacl_monai.runs import RunFolder
from studies.fits.__main__ import fitted, scans
from studies.runs import parser_of_runs


def main() -> None:
    """Writes ``curves.csv``, a row for each run and knot, and the picture."""
    parser = parser_of_runs("studies.distance.curves", __doc__)
    parser.add_argument("--output", type=Path, default=Path("curves.csv"))
    parser.add_argument("--picture", type=Path, default=Path("curves.png"))
    chosen = parser.parse_args()
    rows, curves, people = [], defaultdict(list), set()
    for path in chosen.runs:
        run = RunFolder(path)
        fit = fitted(scans(run, chosen.data, chosen.cache)[0], "signed_distance")
        people.add(len(fit.patients))
        sys.stderr.write(f"{path.name}: {fit.text()}\n")
        curve = fit.parameters["temperatures"]
        loss = json.loads(run.config.read_text())["loss"].removeprefix("@losses::")
        curves[loss_label(loss)].append(curve)
        rows += [(path.name, *row) for row in zip(SIGNED_KNOTS, curve, strict=True)]
    table = pd.DataFrame(rows, columns=["run", "distance", "temperature"])
    write_text(chosen.output, csv_text(table))
    text = f"Each line is a training, fitted to {'/'.join(map(str, sorted(people)))} validation people."
    save_png(draw_temperatures(curves, SIGNED_KNOTS, "mm", text), chosen.picture)


if __name__ == "__main__":
    main()
