"""``make mutants``: draws mutants of mutmut by a seed, and tries each by the quick tests of its room.

A room is a package with a folder of tests of its name. Whole, its mutants take days; some are other ones
each night.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = (
    *("losses", "metrics", "inference", "posthoc"),
    *("predictions", "evaluations", "audits", "promises"),
)
# Rooms whose tests are in another folder, too.
_TESTED_BY = dict.fromkeys(("posthoc", "predictions", "evaluations"), "audits") | {
    "inference": "promises",
    "audits": "predictions",
}
_LEFT = (
    ".git",
    ".venv*",
    "build",
    "runs",
    "dist",
    "mutants",
    "*cache*",
    "*.egg-info",
    "__pycache__",
)
# What torch compiles cannot be mutated in the same process.
_CONFIG = """[mutmut]
source_paths = nacl_monai
only_mutate = nacl_monai/{room}/*.py
pytest_add_cli_args_test_selection =
    {tests}
also_copy =
    {beside}
pytest_add_cli_args =
    -p
    no:cacheprovider
    -p
    no:xdist
    --hypothesis-profile=mutants
    -k
    not compiles and not compiled
    -m
    not slow and not nightly
"""


def mutants_of(folder: Path, room: str) -> list[str]:
    """The names by which mutmut knows the mutants that it has written, in their order."""
    names = []
    for file in sorted((folder / "mutants/nacl_monai" / room).rglob("*.py")):
        module = ".".join(file.relative_to(folder / "mutants").with_suffix("").parts)
        found = re.findall(r"def (\S+__mutmut_\d+)\(", file.read_text(encoding="utf-8"))
        names += [f"{module.removesuffix('.__init__')}.{name}" for name in dict.fromkeys(found)]
    return names


def tried(room: str, number: int, draw: random.Random) -> list[str]:
    """Tries mutants of a room; the lines of mutmut about those that no test notices."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "copy"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_LEFT), symlinks=True)
        there = (path.name for path in sorted(folder.iterdir()))
        beside = "\n    ".join(name for name in there if name not in ("nacl_monai", "tests"))
        tests = "\n    ".join(f"tests/{folder}" for folder in {room, _TESTED_BY.get(room, room)})
        config = _CONFIG.format(room=room, beside=beside, tests=tests)
        (folder / "setup.cfg").write_text(config)
        pyproject = (folder / "pyproject.toml").read_text(encoding="utf-8")
        assert "[tool.mutmut]" not in pyproject  # which would count in place of that

        def mutmut(*arguments: str) -> str:
            command = [sys.executable, "-m", "mutmut", *arguments]
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            return ended.stdout + ended.stderr

        first = mutmut(
            "run", "nobody"
        )  # writes all and asks which tests are of each, and finds none
        names = mutants_of(folder, room)
        if "nothing matches" not in first or not names:
            raise SystemExit(f"{room}: cannot be tried:\n{first[-3000:]}")
        mutmut("run", *draw.sample(names, min(number, len(names))))
        lines = [line.strip() for line in mutmut("results").splitlines()]
        alive = [
            line.partition(":")[0] for line in lines if line.endswith(("survived", "no tests"))
        ]
        return [mutmut("show", name) for name in alive]


def main() -> int:
    """Draws and tries mutants; returns 1 where no test notices one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--number", type=int, default=50)
    parser.add_argument("--rooms", nargs="+", default=ROOMS, choices=ROOMS)
    options = parser.parse_args()
    print(f"--seed {options.seed} draws the same mutants", flush=True)
    draw, alive = random.Random(options.seed), 0  # noqa: S311 - no secret
    for room in options.rooms:
        survivors = tried(room, -(-options.number // len(options.rooms)), draw)
        print(f"{room}: {len(survivors)} live", *survivors, sep="\n", flush=True)
        alive += len(survivors)
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
