"""The command ``nacl-monai``: every command of the package, one word each.

A command's module is imported only when its word is given, and what does the work only when the command
runs: ``--help`` and a misspelled option are answered at once, without torch and MONAI.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import logging
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, field
from enum import Flag
from importlib import import_module
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from nacl_monai import __version__
from nacl_monai.errors import InputError, SettingError, print_error, printable

Result = TypeVar("Result")
#: The variable of the environment that a command and all that it starts follow.
VERBOSE = "NACL_VERBOSE"
# A missing NVIDIA library, the place of a logging.conf, the arguments of a run.
_TALKATIVE = (
    "monai.data.nvimgcodec_pydicom_plugin",
    "monai.bundle.scripts",
    "monai.bundle.workflows",
)


class Command(NamedTuple):
    """The module of a command, and its help.

    Attributes:
        room: The package or module that has ``main(argv)``, which returns the exit code. One that has
            several commands is given the word itself, too.
        purpose: One line for the list of commands.
    """

    room: str
    purpose: str


#: Heading → command → what it is.
_GROUPS = {
    "six verbs": {
        "audit": Command(
            "audits", "how far the probabilities of nnU-Net or any tool can be trusted"
        ),
        "calibrate": Command("audits", "fit a calibrator to saved predictions or to a run"),
        "promise": Command(
            "promises", "contours, volumes and Dice with a guarantee, by calibration patients"
        ),
        "triage": Command("promises", "list the new cases that someone must look at"),
        "train": Command("bundles", "train a network, or go on with a training"),
        "reproduce": Command(
            "paper.reproduce_command", "train, evaluate and render all that the paper shows"
        ),
    },
    "predictions": {
        "report": Command("promises", "the first four verbs in one, on one page"),
        "view": Command("audits", "show predictions on one page, in three planes and in 3-D"),
        "maps": Command("audits", "write predictions as images: probabilities, entropy, labels"),
        "watch": Command("promises", "whether new patients are still like those of a promise"),
        "merge": Command("audits", "join the audits of several sites, from sums alone"),
    },
    "networks": {
        "evaluate": Command("bundles", "evaluate a trained run on its test cases"),
        "folds": Command("bundles", "cross-validate: train and evaluate every fold, and tabulate"),
        "infer": Command("bundles", "segment images with a trained run"),
        "dicom": Command("dicom", "write a map of infer as a DICOM segmentation"),
        "export": Command("bundles", "pack a trained run into a stock MONAI bundle"),
        "nnunet": Command("nnunet", "print the folder of the trainers for nnU-Net"),
        "run": Command("bundles", "run a configuration, as monai.bundle does, but strictly"),
    },
    "data": {
        "demo": Command("demo", "train and compare two networks on the MRI data in the package"),
        "new": Command("data", "write a bundle for data of your own"),
        "check": Command("data", "verify a downloaded dataset, reading it as a training does"),
        "phantom": Command("phantoms", "write a small synthetic dataset"),
        "fit-prior": Command(
            "raters", "fit the width of NACL's prior to cases that several raters labeled"
        ),
    },
    "results": {
        "compare": Command("reports", "compare evaluated runs: table, reliability, maps"),
        "draw": Command("reports", "draw reliability, errors by confidence, or the size of logits"),
        "page": Command("reports", "show all about a run or an audit on one HTML page"),
        "paper": Command("paper", "make the paper's tables and figures"),
        "completion": Command("completion", "print a script that completes commands"),
    },
}
COMMANDS = {word: command for group in _GROUPS.values() for word, command in group.items()}
_MANY = 8  # so many options make a usage too long to be read


class Parser(argparse.ArgumentParser):
    """Parses the arguments of a command strictly, and answers a mistake in one line.

    An option is never abbreviated, and what is unknown is answered with the nearest option of the same
    command; a value that is wrong or missing, with the help of its option.

    Args:
        examples: Commands without ``nacl-monai``, at the end of the help.
        **how: Those of `argparse.ArgumentParser`.
    """

    def __init__(self, *, examples: Sequence[str] = (), **how: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **how})
        self.examples = examples

    def format_help(self) -> str:
        """The help, with a short usage where options are many, and the examples."""
        places = [action for action in self._actions if not action.option_strings]
        if self.usage is None and len(self._actions) - len(places) > _MANY:
            names = (self._get_formatter()._format_args(part, str(part.metavar)) for part in places)
            self.usage = " ".join([self.prog, *names, "[OPTION …]"])
        lines = (f"  nacl-monai {example}\n" for example in self.examples)
        return super().format_help() + "".join(["\nexamples:\n" * bool(self.examples), *lines])

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of `argparse`; what no option takes is an error of the command that was called."""
        values, unknown = self.parse_known_args(args, namespace)
        if unknown:
            several = (
                part for part in self._actions if isinstance(part, argparse._SubParsersAction)
            )
            called = [part.choices[getattr(values, part.dest)] for part in several]
            word = next((word for word in unknown if word.startswith("-")), unknown[0])
            parser = (called or [self])[0]
            parser.error(parser.remedy(word.partition("=")[0]))
        return values

    def remedy(self, word: str) -> str:
        """What is wrong with a word that no option takes, and the nearest option."""
        if not word.startswith("-"):
            return f"{word}: has no place here; {self.prog} --help says what has"
        nearest = difflib.get_close_matches(word, self._option_string_actions, n=1, cutoff=0.7)
        more = f"did you mean {nearest[0]}?" if nearest else f"{self.prog} --help lists them"
        return f"{word}: no such option of {self.prog}; {more}"

    def error(self, message: str) -> NoReturn:
        """Prints one line, and exits with 2."""
        name, _, what = message.removeprefix("argument ").partition(": ")
        if message.startswith("the following arguments are required"):
            message = f"{what}: missing; {self.prog} --help says what it is"
        elif message.startswith("argument "):
            message, formatter = f"{name}: {what}", self._get_formatter()
            for action in self._actions:
                if name == "/".join(action.option_strings) and action.help:
                    usage = formatter._format_action_invocation(action)
                    message += f"; {usage}: {formatter._expand_help(action)}"
        print_error(message)
        raise SystemExit(2)


def bold(text: str) -> str:
    """The text in bold type where a person reads it in a terminal that may color."""
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"\x1b[1m{text}\x1b[0m"


def write_files(write: Callable[[], Iterable[Path]]) -> int:
    """Calls what writes files and prints their paths; an error becomes one line and its exit code."""
    files, code = attempted(lambda: list(write()))
    print_written(files or [])
    return code


def print_written(files: Iterable[Path]) -> None:
    """Says which files a command wrote, a line for each."""
    for file in files:
        print(f"wrote {printable(file)}")


def print_next(*parts: object) -> None:
    """Says in one line, as a shell takes it, which command comes next."""
    print(f"next: {shlex.join(['nacl-monai', *map(str, parts)])}", flush=True)


def attempted(write: Callable[[], Result]) -> tuple[Result | None, int]:
    """Calls what writes files; returns its result, or none, and the exit code; prints an error."""
    try:
        return write(), 0
    except InputError as error:
        print_error(error)
        return None, error.exit_code
    except KeyboardInterrupt:
        print_error("interrupted")
        return None, 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of the output is gone
        raise
    except OSError as error:
        print_error(f"{error}; choose another --output")
        return None, 1


def usage() -> str:
    """The list of commands, in groups."""
    width = max(map(len, COMMANDS))
    lines = ["usage: nacl-monai [--verbose] COMMAND …", ""]
    for heading, group in _GROUPS.items():
        lines += [f"{heading}:"]
        lines += [f"  {word:<{width}}  {command.purpose}" for word, command in group.items()]
        lines += [""]
    more = "nacl-monai help COMMAND explains one; --verbose shows what MONAI says of itself."
    return "\n".join([*lines, more])


def as_one(folders: Sequence[Path], values: dict[str, Any]) -> list[Path]:
    """The folders of models; of an ensemble the first, and the others become the option members."""
    if values.get("ensemble") is None:
        return list(folders)
    values["members"] = folders[1:]
    return list(folders[:1])


def the_folder(what: str, folders: Sequence[Path], values: dict[str, Any]) -> Path:
    """The one folder of a command on new predictions, or of an ensemble the first, as in `as_one`.

    Raises:
        SettingError: If there are several.
    """
    first, *more = as_one(folders, values)
    if more:
        raise SettingError(
            f"{what}: is one folder, or several with --ensemble; {more[0]} is too much"
        )
    return first


def option(
    group: str, travels: bool, default: Any, uses: Flag, text: str, metavar: str = "", **how: Any
) -> Any:
    """A row of the table; its annotation says whether it is a path, a number, or several of them.

    Args:
        group: The heading of the help.
        travels: Whether the next command takes it, too.
        default: The default.
        uses: The verbs with their kinds, Use.PROMISE_SUMS; in others it has no effect, and is refused.
        text: The help; the default is added to it.
        metavar: How the help calls its value.
        **how: Other arguments for argparse.
    """
    if metavar:
        how["metavar"] = metavar
    about = {"group": group, "travels": travels, "uses": uses, "help": text, "how": how}
    return field(default=default, metadata=about)


def is_path(row: Field[Any]) -> bool:
    """Whether a row is of files or folders."""
    return "Path" in str(row.type)


def flag(name: str) -> str:
    """How a command has the name of a row."""
    if name in ("affine_tolerance", "dataset_dir"):  # as bundles have them
        return f"--{name}"
    return f"--{'no-' * (name in ('pictures', 'viewer'))}{name.replace('_', '-')}"


def as_typed(row: Field[Any], value: Any) -> Any:
    """A value as a command has it: in Python, text will do for paths, and a value for several."""
    several = isinstance(row.default, tuple)
    if several and isinstance(value, (str, Path, Real)):
        value = (value,)
    if value is None:
        return None
    if is_path(row):
        return tuple(map(Path, value)) if several else Path(value)
    return str(value) if row.name == "budget" else value


def part_of(text: str) -> tuple[int, int]:
    """``3/16`` as two numbers."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of several parts, such as 3/16")
    return int(part), int(parts)


def argument(row: Field[Any]) -> dict[str, Any]:
    """What argparse takes of a row, but its name and default."""
    how, text = dict(row.metadata["how"]), row.metadata["help"]
    if is_path(row):
        how["type"] = Path
    if isinstance(row.default, tuple):
        how["nargs"] = "+"
    if isinstance(row.default, bool):
        how["action"] = "store_false" if row.default else "store_true"
    elif row.default:
        several = row.default if isinstance(row.default, tuple) else [row.default]
        text += f" (default: {' '.join(map(str, several))})"
        how.setdefault("type", type(several[0]))
    return {**how, "help": text.replace("%", "%%")}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code, 2 for an unknown command.

    If the reader of its output is gone, as after ``| head``, it ends silently.
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
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--verbose"]:
        del arguments[0]
        os.environ[VERBOSE] = "1"
    if argv is None:  # the process is this command's
        quieten()
        gc.set_threshold(700, 10, 100)  # a full collection walks all of torch: a tenth as often
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "--version"):
        print(f"nacl-monai {__version__}" if arguments[:1] == ["--version"] else usage())
        return 0
    return (
        _run_command(COMMANDS[arguments[0]], arguments)
        if arguments[0] in COMMANDS
        else _unknown(arguments[0])
    )


def _run_command(command: Command, arguments: list[str]) -> int:
    is_package = (Path(__file__).parent / command.room).is_dir()
    module = import_module(f"nacl_monai.{command.room}{'.__main__' if is_package else ''}")
    has_several = [other.room for other in COMMANDS.values()].count(command.room) > 1
    code: int = module.main(arguments if has_several else arguments[1:])
    return code


def _unknown(word: str) -> int:
    nearest = difflib.get_close_matches(word, COMMANDS, n=1)
    remedy = f"did you mean {nearest[0]}?" if nearest else f"choose from: {', '.join(COMMANDS)}"
    print_error(f"{word}: no such command; {remedy}")
    return 2


def quieten() -> None:
    """Hides MONAI's notices and warnings in this process, unless ``NACL_VERBOSE`` is set.

    Errors are shown. To be called before MONAI is imported, since importing it warns already.
    """
    if os.environ.get(VERBOSE):
        return
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(lambda record: record.levelno >= logging.ERROR)
    # MONAI repeats that configurations run code, and its deprecations, on every parse.
    for category in (UserWarning, FutureWarning):
        warnings.simplefilter("ignore", category)


if __name__ == "__main__":  # as runs of 0.4 have it in their records
    sys.exit(main())
