"""``nacl-monai completion bash``: prints a script that completes commands, options and files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import shtab

from nacl_monai.cli import COMMANDS, Parser
from nacl_monai.cli import main as run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = Parser(
        prog="nacl-monai completion", description="Print a script that completes commands."
    )
    parser.add_argument(
        "shell", choices=("bash", "zsh"), help="save what is printed where it reads it"
    )
    shell = parser.parse_args(argv).shell
    print(shtab.complete(whole_parser(), shell))
    return 0


def whole_parser() -> argparse.ArgumentParser:
    """One parser with all commands, whose options are those of each command's own help."""
    root = Parser(prog="nacl-monai", description="Every command of the package.")
    root.add_argument("--verbose", action="store_true", help="show what MONAI says of itself")
    make: Any = lambda prog, **_: _parser_of(prog.split()[-1])  # noqa: E731 - what argparse calls
    commands = root.add_subparsers(parser_class=make)
    for word, command in COMMANDS.items():
        commands.add_parser(word, help=command.purpose)
    return root


def _parser_of(word: str) -> argparse.ArgumentParser:
    """The parser that prints the help of a command; it completes files where it takes any value."""
    printed: list[argparse.ArgumentParser] = []

    def keep(parser: argparse.ArgumentParser) -> None:
        printed.append(parser)

    with patch.object(argparse.ArgumentParser, "print_help", keep), suppress(SystemExit):
        run([word, "--help"])
    for action in printed[0]._actions:
        if action.nargs != 0 and action.choices is None:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return printed[0]


if __name__ == "__main__":
    sys.exit(main())
