"""``make size``: modules and lines of code by room, without docstrings, comments and blank lines."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

_NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(text: str) -> int:
    """The lines of a module that hold code."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            docstrings.update(range(first.lineno, (first.end_lineno or 0) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def main(roots: list[str]) -> None:
    """Prints a line for each room, the largest last, and for each root."""
    for root in map(Path, roots):
        modules: Counter[str] = Counter()
        lines: Counter[str] = Counter()
        for file in root.rglob("*.py"):
            for name in {file.relative_to(root).parts[0], str(root)}:
                modules[name] += 1
                lines[name] += code_lines(file.read_text(encoding="utf-8"))
        for name, count in reversed(lines.most_common()):
            print(f"{name:28}{modules[name]:5}{count:7}")


if __name__ == "__main__":
    main(sys.argv[1:])
