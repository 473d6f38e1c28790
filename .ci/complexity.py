"""``make check``: no function above 12 by radon, which counts booleans and comprehensions, too.

Above 10 are only those that are listed here, each with its reason.
"""

from __future__ import annotations

import sys
from pathlib import Path

from radon.complexity import cc_visit
from radon.visitors import Function

MOST, USUAL = 12, 10
#: Module and function → why it is above 10.
LISTED = {
    "metrics/record.columns": "which columns there are, and which of them are asked for",
    "predictions/names.check_names": "what can be refused by names alone",
}


def main() -> int:
    """Prints what is too complex, and what is listed without need; returns the exit code."""
    root = Path(__file__).parents[1] / "nacl_monai"
    found = {
        f"{file.relative_to(root).with_suffix('')}.{block.name}": block.complexity
        for file in sorted(root.rglob("*.py"))
        for block in cc_visit(file.read_text(encoding="utf-8"))
        if isinstance(block, Function) and block.complexity > USUAL
    }
    faults = [f"{name}: is listed, and not above {USUAL}" for name in LISTED.keys() - found.keys()]
    for name, number in found.items():
        if name not in LISTED or number > MOST:
            faults.append(f"{name}: has complexity {number}; give each mode a function with a name")
    print(*faults, sep="\n", end="\n" if faults else "")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
