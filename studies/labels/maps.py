"""``python -m studies.labels.maps DATA RUN …``: the label map of best expected Dice.

Of independent voxels a set S of a structure has about the expected Dice 2 Σ_S p / (|S| + Σ p), which the
most probable voxels maximize: as many of them as it takes. People are those of `studies.labels`, as
trained and behind `distance`, fitted to the other half.
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from nacl_monai.evaluations.statistics import estimate
from nacl_monai.evaluations.tables import markdown_table
from studies.fits.__main__ import calibrated
from studies.labels.__main__ import unseen
from studies.runs import parser_of_runs

WHEN = ("as trained", "calibrated")


def best_set(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """The set of best expected Dice, in the shape of the probabilities; empty where all are 0."""
    order = np.argsort(-probability, axis=None, kind="stable")
    ordered = probability.flat[order]
    inside = np.cumsum(ordered)
    expected = 2 * inside / (np.arange(1, len(ordered) + 1) + inside[-1])
    chosen = np.zeros(probability.size, bool)
    if inside[-1] > 0:
        chosen[order[: expected.argmax() + 1]] = True
    return chosen.reshape(probability.shape)


def gained(
    probs: torch.Tensor, label: torch.Tensor, structures: dict[str, list[int]]
) -> list[float]:
    """The mean Dice over structures of the largest class, and what the best sets add, of a case."""
    predicted, dice = probs.argmax(0), []
    for classes in structures.values():
        true = torch.isin(label, torch.tensor(classes)).numpy()
        largest = torch.isin(predicted, torch.tensor(classes)).numpy()
        best = best_set(probs[classes].sum(0, dtype=torch.float64).numpy())
        dice.append(
            [2 * (part & true).sum() / (part.sum() + true.sum()) for part in (largest, best)]
        )
    before, after = np.mean(dice, 0).tolist()
    return [before, after - before]


def main() -> None:
    """Writes ``maps.csv``, and prints the table of means over people."""
    parser = parser_of_runs("studies.labels.maps", __doc__)
    parser.add_argument("--output", type=Path, default=Path("maps.csv"))
    chosen = parser.parse_args()
    rows = []
    for path in chosen.runs:
        several, structures = unseen(path, chosen.data, chosen.cache)
        trained = (scan.logits for scan in several)
        for when, logits in zip(WHEN, (trained, calibrated(several, "distance")), strict=True):
            for scan, part in zip(several, logits, strict=True):
                values = np.round(gained(part.softmax(0), scan.label[0].long(), structures), 5)
                rows.append([path.name, when, scan.patient, *values.tolist()])
    table = pd.DataFrame(rows, columns=["network", "when", "person", "dice", "gain"])
    table.to_csv(chosen.output, index=False)
    sys.stdout.write(page(table) + "\n")


def page(table: pd.DataFrame) -> str:
    """Dice of the largest class and what the best set adds, with intervals over people, in Markdown."""
    found = []
    for key, of_it in table.groupby(["network", "when"], sort=False):
        people = of_it.groupby("person")[["dice", "gain"]].mean()
        dice, gain = (people[[name]].to_numpy() for name in people)
        change = estimate([gain])
        low, high = change.interval()
        text = f"{change.mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        found.append([*map(str, key), f"{dice.mean():.4f}", text])
    return markdown_table(["network", "", "DSC", "best expected Dice adds"], found, "llrr")


if __name__ == "__main__":
    main()
