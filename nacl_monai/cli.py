"""The command ``nacl-monai``: every command of the package, one word each.

A command's module is imported only when its word is given, and what does the work only when the command
runs: ``--help`` and a misspelled option are answered at once, without torch and MONAI.
"""

from __future__ import annotations

import difflib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from nacl_monai.errors import InputError
from nacl_monai.quiet import VERBOSE, quieten

Result = TypeVar("Result")


@dataclass(frozen=True)
class Command:
    """Where a command is implemented, and what it does.

    Attributes:
        module: It has ``main(argv)``, which returns the exit code.
        purpose: One line for the list of commands.
        own_words: Whether the module has several commands, and so needs the word itself.
    """

    module: str
    purpose: str
    own_words: bool = True


COMMANDS = {
    "demo": Command(
        "nacl_monai.demo.__main__",
        "train and compare two networks on the MRI data in the package",
        own_words=False,
    ),
    "check": Command(
        "nacl_monai.data.__main__", "verify a downloaded dataset, reading it as a training does"
    ),
    "new": Command("nacl_monai.data.__main__", "write a bundle for data of your own"),
    "phantom": Command(
        "nacl_monai.phantoms.__main__", "write a small synthetic dataset", own_words=False
    ),
    "train": Command("nacl_monai.bundles.__main__", "train a network, or go on with a training"),
    "evaluate": Command("nacl_monai.bundles.__main__", "evaluate a trained run on its test cases"),
    "folds": Command(
        "nacl_monai.bundles.__main__", "cross-validate: train and evaluate every fold, and tabulate"
    ),
    "infer": Command("nacl_monai.bundles.__main__", "segment images with a trained run"),
    "dicom": Command(
        "nacl_monai.dicom.__main__", "write a map of infer as a DICOM segmentation", own_words=False
    ),
    "run": Command(
        "nacl_monai.bundles.__main__", "run a configuration, as monai.bundle does, but strictly"
    ),
    "audit": Command(
        "nacl_monai.audits.__main__", "audit saved predictions of nnU-Net or any other tool"
    ),
    "merge": Command(
        "nacl_monai.audits.__main__", "join the audits of several sites, from sums alone"
    ),
    "calibrate": Command(
        "nacl_monai.audits.__main__",
        "fit a calibrator to a run or to saved predictions: before, after",
    ),
    "fit-prior": Command(
        "nacl_monai.raters.__main__",
        "fit the width of NACL's prior to cases that several raters labeled",
        own_words=False,
    ),
    "compare": Command(
        "nacl_monai.reports.__main__", "compare evaluated runs: table, reliability, maps"
    ),
    "reliability": Command(
        "nacl_monai.reports.__main__", "draw reliability diagrams of any region or class"
    ),
    "selective": Command(
        "nacl_monai.reports.__main__", "draw the error rate of the most confident voxels"
    ),
    "page": Command(
        "nacl_monai.reports.__main__", "show all about a run or an audit on one HTML page"
    ),
    "logits": Command(
        "nacl_monai.reports.__main__", "draw the size of the logits, per class and per epoch"
    ),
    "nnunet": Command(
        "nacl_monai.nnunet.__main__",
        "print the folder of the trainers for nnU-Net",
        own_words=False,
    ),
    "export": Command(
        "nacl_monai.bundles.__main__", "pack a trained run into a stock MONAI bundle"
    ),
    "paper": Command(
        "nacl_monai.paper.__main__", "make the paper's tables and figures", own_words=False
    ),
    "reproduce": Command(
        "nacl_monai.paper.reproduce_command",
        "train, evaluate and render all that the paper shows",
        own_words=False,
    ),
    "completion": Command(
        "nacl_monai.completion", "print a script that completes commands", own_words=False
    ),
}


def write_files(write: Callable[[], Iterable[Path]]) -> int:
    """Calls what writes files and prints their paths; an error becomes one line and its exit code."""
    files, code = attempted(lambda: list(write()))
    print_written(files or [])
    return code


def print_written(files: Iterable[Path]) -> None:
    """Says which files a command wrote, a line for each."""
    for file in files:
        print(f"wrote {file}")


def attempted(write: Callable[[], Result]) -> tuple[Result | None, int]:
    """Calls what writes files; returns its result, or none, and the exit code; prints an error."""
    try:
        return write(), 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return None, error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return None, 128 + signal.SIGINT
    except BrokenPipeError:  # whoever reads what is printed has gone
        raise
    except OSError as error:
        print(f"error: {error}; choose another --output", file=sys.stderr)
        return None, 1


def usage() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {word:<{width}}  {command.purpose}" for word, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: nacl-monai [--verbose] COMMAND …",
            "",
            *lines,
            "",
            "nacl-monai COMMAND --help explains one; --verbose shows what MONAI says of itself.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code, 2 for an unknown command.

    Where the reader of what it prints has gone, as ``| head`` does, it ends without a word.
    """
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 128 + signal.SIGPIPE
    return code


def _reader_has_gone() -> bool:
    """Whether it is standard output that cannot be written, and no other pipe or socket."""
    try:
        print(flush=True)
    except BrokenPipeError:
        return True
    return False


def _run(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--verbose"]:
        del words[0]
        os.environ[VERBOSE] = "1"
    if argv is None:  # the process is this command's
        quieten()
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        nearest = difflib.get_close_matches(words[0], COMMANDS, n=1)
        remedy = f"did you mean {nearest[0]}?" if nearest else f"choose from: {', '.join(COMMANDS)}"
        print(f"error: {words[0]}: no such command; {remedy}", file=sys.stderr)
        return 2
    module = import_module(command.module)
    code: int = module.main(words if command.own_words else words[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
