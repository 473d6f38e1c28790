"""``make mutants``: small changes of the code, drawn by a seed, which the tests of a room must notice.

A room is a package with a folder of tests of its name. Changes are made in a copy; each that no quick
test notices is printed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = (
    *("losses", "metrics", "inference", "posthoc"),
    *("predictions", "evaluations", "audits", "promises", "reports"),
)
_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_LEFT = (".git", ".venv*", "build", "runs", "dist", "*cache*", "*.egg-info", "__pycache__")


def changes(source: str) -> Iterator[tuple[int, str, str]]:
    """Each change of a module's functions: line, its text, and what replaces it."""
    lines = source.splitlines()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    nodes = {
        id(node): node
        for function in functions
        for part in function.body
        for node in ast.walk(part)
    }
    for node in nodes.values():
        if isinstance(node, ast.expr) and node.lineno == node.end_lineno and (new := changed(node)):
            line = lines[node.lineno - 1].encode()
            start, end = line[: node.col_offset], line[node.end_col_offset :]
            yield node.lineno, line.decode(), f"{start.decode()}({new}){end.decode()}"


def changed(node: ast.AST) -> str:
    """An expression otherwise; empty where nothing is changed."""
    new: ast.AST | None = None
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        new = ast.Compare(node.left, [_SWAPS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in _SWAPS:
        new = ast.BinOp(node.left, _SWAPS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        new = ast.BoolOp(_SWAPS[type(node.op)](), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        new = node.operand
    elif isinstance(node, ast.IfExp):
        new = ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        new = ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
    return "" if new is None else ast.unparse(ast.fix_missing_locations(new))


def drawn(seed: int, number: int) -> list[tuple[str, Path, int, str, str]]:
    """Some changes of all rooms: room, module, line, old and new text."""
    every = [
        (room, file.relative_to(ROOT), *change)
        for room in ROOMS
        for file in sorted((ROOT / "nacl_monai" / room).rglob("*.py"))
        for change in changes(file.read_text(encoding="utf-8"))
    ]
    return random.Random(seed).sample(  # noqa: S311 - no secret
        every, min(number, len(every))
    )


def passes(copy: Path, room: str) -> bool:
    """Whether the quick tests of a room pass."""
    arguments = [
        "-q",
        "-x",
        "-m",
        "not slow and not nightly",
        "-p",
        "no:cacheprovider",
        f"tests/{room}",
    ]
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False)
    return ended.returncode == 0


def main() -> int:
    """Draws and tries changes; returns 1 where no test notices one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--number", type=int, default=50)
    options = parser.parse_args()
    print(f"seed {options.seed}: --seed {options.seed} draws the same changes", flush=True)
    tried = drawn(options.seed, options.number)
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_LEFT), symlinks=True)
        for room in sorted({room for room, *_ in tried}):
            if not passes(copy, room):
                print(f"{room}: its tests fail without a change; mend them first")
                return 1
        for room, file, line, old, new in tried:
            source = (copy / file).read_text(encoding="utf-8")
            lines = source.splitlines()
            lines[line - 1] = new
            (copy / file).write_text("\n".join([*lines, ""]), encoding="utf-8")
            if passes(copy, room):
                alive += 1
                print(f"alive: {file}:{line}: {old.strip()} → {new.strip()}", flush=True)
            (copy / file).write_text(source, encoding="utf-8")
    print(f"{alive} of {len(tried)} changes live")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
