"""``nacl-monai train | evaluate | infer | run``: a strict ``python -m monai.bundle run …``.

MONAI takes a misspelled override for a new key. The configurations of this project refuse it by
themselves; these commands refuse it for any other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nacl_monai.bundles.commands import add_words, evaluate_words, infer_words, shown, train_words
from nacl_monai.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    options, others = _parser().parse_known_args(words)
    import fire
    import monai.bundle

    from nacl_monai.bundles.command_line import check_run
    from nacl_monai.bundles.error_lines import one_line_errors

    one_line_errors()
    try:
        if options.words is None:
            given = words[1:]
        else:
            given = options.words(options, others)
            print(shown(given), flush=True)
        check_run(given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    fire.Fire({"run": monai.bundle.run}, command=["run", *given], name="nacl-monai")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nacl-monai", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="train|evaluate|infer|run")
    run = commands.add_parser(
        "run",
        help="run a configuration, as monai.bundle does, but strictly",
        usage="nacl-monai run RUN_ID --config_file FILES [--KEY VALUE …]",
        description="Every --KEY must be one of the configuration, or an argument of monai.bundle run.",
    )
    run.set_defaults(words=None)
    more = "Every further --KEY VALUE is one of the configuration, such as --max_epochs 50."
    for word, make_words, place, purpose, help_ in (
        ("train", train_words, "directory", "of the data", "train, or go on"),
        (
            "evaluate",
            evaluate_words,
            "directory",
            "of the data",
            "evaluate a run on its test cases",
        ),
        ("infer", infer_words, "images", "a file, a folder or a pattern", "segment images"),
    ):
        command = commands.add_parser(word, help=help_, epilog=more, allow_abbrev=False)
        add_words(command, place, purpose)
        command.set_defaults(words=make_words)
    return parser


if __name__ == "__main__":
    sys.exit(main())
