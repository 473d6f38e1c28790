"""``python -m studies.promises promise.npz …``: contours over many divisions of the patients."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.inference.records import FAMILIES, MEAN, OUTER, WITHIN
from nacl_monai.metrics import Curves, read_curves
from nacl_monai.promises.control import Control
from nacl_monai.promises.record import UNCONTROLLED
from nacl_monai.promises.rules import Rules, uncontrolled

LEVELS = (0.02, 0.05, 0.1)


def divisions(
    rules: Rules, control: Control, calibrating: int, draws: int
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """The rule that some of the patients fit, drawn anew each time, and who did not fit it."""
    rng = np.random.default_rng(0)
    for _ in range(draws):
        order = rng.permutation(len(rules.patients))
        yield rules.fitted(control, order[:calibrating]), order[calibrating:]


def divided(
    curves: Curves, level: float, kind: str, calibrating: int, draws: int
) -> Iterator[tuple[str, list[float], list[float]]]:
    """Family, mean size and mean risk of each structure among the patients who did not calibrate."""
    control = Control(level, MEAN)
    for family in FAMILIES:
        means = []
        for structure in range(len(curves.structures)):
            rules, found = Rules(curves, structure, kind, family), []
            for rule, rest in divisions(rules, control, calibrating, draws):
                size = rules.sizes[rest, rule].sum() / rules.whole[rest].sum()
                found.append((size, rules.losses[rest, rule].mean()))
            means.append(np.mean(found, 0))
        sizes, risks = np.transpose(means).tolist()
        yield family, sizes, risks
    if kind == OUTER:
        of_all = [uncontrolled(curves, k, control) for k in range(len(curves.structures))]
        wholes = [Rules(curves, k, kind, FAMILIES[0]).whole for k in range(len(of_all))]
        sizes = [size.sum() / whole.sum() for (_, size), whole in zip(of_all, wholes, strict=True)]
        yield UNCONTROLLED, sizes, [miss.mean() for miss, _ in of_all]


def person_by_person(
    curves: Curves, control: Control, calibrating: int, draws: int
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Volumes of contours that others fitted, and of the structures, ``(2, people, structures)``.

    A person's contour is the mean over the divisions in which they did not calibrate.
    """
    volumes, several = [], [Rules(curves, k, OUTER, WITHIN) for k in range(len(curves.structures))]
    for rules in several:
        sums, times = np.zeros(len(rules.patients)), np.zeros(len(rules.patients))
        for rule, rest in divisions(rules, control, calibrating, draws):
            sums[rest] += rules.sizes[rest, rule]
            times[rest] += 1
        volumes.append((sums / times, rules.whole))
    return several[0].patients, np.stack(volumes).transpose(1, 2, 0)


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m studies.promises")
    parser.add_argument("files", nargs="+", type=Path, metavar="promise.npz")
    parser.add_argument("--kind", default=OUTER)
    parser.add_argument("--calibrating", type=int, default=54, metavar="N")
    parser.add_argument("--level", nargs="+", type=float, default=LEVELS, metavar="α")
    parser.add_argument("--draws", type=int, default=200, metavar="N")
    options = parser.parse_args()
    rows = []
    for file in options.files:
        curves = read_curves(file)
        people = len(set(curves.patients))
        if options.calibrating >= people:
            parser.error(f"{file}: has {people} people; write a smaller --calibrating")
        name = f"{file.parent.name or file.stem}, {people} people"
        for level in options.level:
            for family, sizes, risks in divided(
                curves, level, options.kind, options.calibrating, options.draws
            ):
                shown = " / ".join(f"{size:.2f}" for size in sizes)
                missed = " / ".join(f"{risk:.1%}" for risk in risks)
                rows.append([name, f"{level:.0%}", family, shown, missed])
    head = ["network", "level", "family", "size", "risk"]
    sys.stdout.write(markdown_table(head, rows, "lrlrr") + "\n")


if __name__ == "__main__":
    main()
