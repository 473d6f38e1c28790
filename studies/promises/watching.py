"""``python -m studies.promises.watching CURVES``: is an alarm of watch false, and when does it come?

In each lifetime some people calibrate and others come one by one, all drawn with replacement from those
of a dataset, as from a population in which these are all there are. CURVES is a folder that
``studies.promises.cohort curves`` wrote, with people's images as they are and changed. A drift goes
from the statistics of the unchanged image to those of the changed one over 200 people. Simulated
lifetimes are of normal numbers, half of whose variance the streams have in common.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nacl_monai.cli import write_files
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.metrics.curves import Curves, read_curves
from nacl_monai.progress import progress_bar
from nacl_monai.promises.watch import FALSE, ranks, statistics_of, wealth

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Array, Array]]
NUMBERS = (19, 39, 55)
PEOPLE, DRIFT = 500, 200


def first_alarms(draw: Draw, patients: int, lifetimes: int) -> Array:
    """After how many new patients the first stream rings in each lifetime, infinite where none does.

    Args:
        draw: The numbers of who calibrates, (n, streams), and of who comes, (m, streams).
        patients: How many calibrate.
        lifetimes: How many are drawn.
    """
    rng, p_values = np.random.default_rng(patients), []
    for _ in range(lifetimes):
        known, new = draw(rng, patients)
        random = rng.uniform(size=len(new)).tolist()
        pairs = zip(known.T.tolist(), new.T.tolist(), strict=True)
        p_values.append([ranks(before, after, random) for before, after in pairs])
    heights = wealth(np.array(p_values))
    over = (heights >= np.log(heights.shape[1] / FALSE)).any(1)
    return np.where(over.any(1), over.argmax(1) + 1.0, np.inf)


def table_of(curves: Curves) -> Array:
    """The statistics of each person, (people, streams)."""
    return np.array([[*numbers.values()] for numbers in statistics_of(curves).values()]).T


def simulated(streams: int) -> Draw:
    """Draws who calibrates and who comes, of normal numbers."""

    def draw(rng: np.random.Generator, patients: int) -> tuple[Array, Array]:
        both = rng.normal(size=(patients + PEOPLE, streams + 1)) / np.sqrt(2)
        numbers = both[:, :1] + both[:, 1:]
        return numbers[:patients], numbers[patients:]

    return draw


def people(clean: Array, changed: Array, drift: int = 0) -> Draw:
    """Draws who calibrates, and who comes changed, suddenly or by and by."""

    def draw(rng: np.random.Generator, patients: int) -> tuple[Array, Array]:
        before, chosen = (rng.choice(len(clean), number) for number in (patients, PEOPLE))
        part = np.clip((np.arange(PEOPLE) + 1) / drift, 0, 1)[:, None] if drift else 1.0
        return clean[before], (1 - part) * clean[chosen] + part * changed[chosen]

    return draw


def study(folder: Path, lifetimes: int, false: int, output: Path) -> Iterator[Path]:
    """Writes ``watching.csv``, a row for each number of patients and change."""
    files = sorted(folder.glob("*_[1-4].npz"))
    clean = table_of(read_curves(folder / "clean_0.npz"))
    draws = {
        ("simulated", "none", false): simulated(clean.shape[1]),
        ("people", "none", false): people(clean, clean),
    }
    for file in files:
        changed = table_of(read_curves(file))
        draws[("people", file.stem, lifetimes)] = people(clean, changed)
        draws[("people", f"{file.stem}, drift", lifetimes)] = people(clean, changed, DRIFT)
    rows = []
    for (source, change, number), draw in progress_bar(
        [*draws.items()], description="Watching", unit="change"
    ):
        for patients in NUMBERS:
            after = first_alarms(draw, patients, number)
            rang = after[np.isfinite(after)]
            low, middle, high = np.quantile(rang, [0.1, 0.5, 0.9]) if len(rang) else [np.nan] * 3
            row = {"source": source, "change": change, "calibrated": patients}
            row |= {"lifetimes": number, "never": float(np.isinf(after).mean())}
            rows.append(row | {"median": middle, "tenth": low, "nine_tenths": high})
    yield write_text(output / "watching.csv", csv_text(pd.DataFrame(rows)))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    name = "python -m studies.promises.watching"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    parser.add_argument("folder", type=Path, metavar="CURVES", help="clean_0.npz and changed ones")
    parser.add_argument("--lifetimes", type=int, default=100, help="of each change (default: 100)")
    parser.add_argument("--false", type=int, default=1000, help="without a change (default: 1000)")
    parser.add_argument("--output", type=Path, default=Path("watching"), help="default: watching")
    return write_files(lambda: study(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    sys.exit(main())
