"""``nacl-monai run …``: a strict ``python -m monai.bundle run …``.

MONAI takes a misspelt override for a new key. The configurations of this project refuse it by
themselves; this command refuses it for any other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import fire
import monai.bundle

from nacl_monai.errors import InputError
from nacl_monai.runtime.command_line import check_run
from nacl_monai.runtime.error_lines import one_line_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command ``run``; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _parser().parse_known_args(words)
    one_line_errors()
    try:
        check_run(words[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    fire.Fire({"run": monai.bundle.run}, command=words, name="nacl-monai")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nacl-monai", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="run")
    commands.add_parser(
        "run",
        help="run a configuration, as monai.bundle does, but strictly",
        usage="nacl-monai run RUN_ID --config_file FILES [--KEY VALUE …]",
        description="Every --KEY must be one of the configuration, or an argument of monai.bundle run.",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
