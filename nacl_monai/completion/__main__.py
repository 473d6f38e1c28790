"""Prints a script that completes commands and options: ``nacl-monai completion bash``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nacl_monai.completion.script import SHELLS, script


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="nacl-monai completion", description="Print a script that completes commands."
    )
    parser.add_argument("shell", choices=SHELLS, help="save what is printed where it reads it")
    print(script(parser.parse_args(argv).shell), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
