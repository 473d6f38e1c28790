"""``python -m studies.promises promise.npz …``: contours over many divisions of the patients."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.metrics import Curves, read_curves
from nacl_monai.promises.control import FAMILIES, MEAN, OUTER, Control
from nacl_monai.promises.fit import UNCONTROLLED, Rules, uncontrolled

LEVELS = (0.02, 0.05, 0.1)


def divided(
    curves: Curves, level: float, kind: str, calibrating: int, draws: int
) -> Iterator[tuple[str, list[float], list[float]]]:
    """Family, mean size and mean risk of each structure among the patients who did not calibrate."""
    control = Control(level, MEAN)
    for family in FAMILIES:
        sizes, risks = [], []
        for structure in range(len(curves.structures)):
            rules = Rules(curves, structure, kind, family)
            rng = np.random.default_rng(0)
            found = []
            for _ in range(draws):
                order = rng.permutation(len(rules.patients))
                rule = rules.fitted(control, order[:calibrating])
                rest = order[calibrating:]
                size = rules.sizes[rest, rule].sum() / rules.whole[rest].sum()
                found.append((size, rules.losses[rest, rule].mean()))
            size, risk = np.mean(found, 0)
            sizes.append(float(size))
            risks.append(float(risk))
        yield family, sizes, risks
    if kind == OUTER:
        of_all = [uncontrolled(curves, k, control) for k in range(len(curves.structures))]
        wholes = [Rules(curves, k, kind, FAMILIES[0]).whole for k in range(len(of_all))]
        sizes = [size.sum() / whole.sum() for (_, size), whole in zip(of_all, wholes, strict=True)]
        yield UNCONTROLLED, sizes, [miss.mean() for miss, _ in of_all]


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
