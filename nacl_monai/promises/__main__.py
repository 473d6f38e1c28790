"""``nacl-monai promise`` (``--apply``, ``--check``, ``--mean``), ``triage``, ``watch``, ``report``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nacl_monai.cli import Parser, as_one, attempted, the_folder
from nacl_monai.errors import InputError, SettingError
from nacl_monai.predictions.names import check_names
from nacl_monai.predictions.options import Options, Use, add_options, at_output, options_of
from nacl_monai.runs import PROMISE_REMEDY, curves_file

_EXAMPLES = {
    "promise": [
        "promise predictions labels --patient-pattern '(patient\\d+)_'",
        "promise predictions labels --measure 'EF = 1 - ES.LV / ED.LV' --phases '_(ED|ES)'",
        "promise --apply promise/promise.json new --output contours",
        "promise --check promise/promise.json new new_labels --chosen all",
        "promise --mean promise/promise.json new --chosen random",
    ],
    "report": ["report predictions labels", "report predictions labels --new new"],
    "triage": [
        "triage promise/promise.json new --budget 10",
        "triage triage --verdicts verdicts.csv",
    ],
    "watch": [
        "watch promise/promise.json new --labels new_labels --alarm",
        "watch promise/promise.json --forget patient007",
    ],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 1 where a case had a fault."""
    values = vars(_parser().parse_args(sys.argv[1:] if argv is None else argv))
    run: Callable[..., Sequence[InputError]] = values.pop("run")
    del values["command"]
    faults, code = attempted(lambda: run(**values))
    return 1 if faults else code


def _promise(
    folders: Sequence[Path],
    apply: Path | None = None,
    check: Path | None = None,
    mean: Path | None = None,
    **values: Any,
) -> Sequence[InputError]:
    """Promises from folders, a part of their patients, or sums; or a promise and new predictions."""
    for file, verb in ((apply, _apply), (check, _check), (mean, _mean)):
        if file is not None:
            return verb(file, folders, values)
    *first, last = folders
    paths = [*as_one(first, values), last]
    sums = len(paths) != 2 or all(map(curves_file, paths))
    use = Use.PROMISE_SUMS if sums else Use.PROMISE_FOLDERS
    if "shard" in values and not sums:
        use = Use.PROMISE_SHARD
    options, output = at_output(use, values, *paths)
    if not sums:
        check_names(paths[0], paths[1], options.patterns)
    from nacl_monai.promises import command

    run = {
        Use.PROMISE_FOLDERS: command.promise_folders,
        Use.PROMISE_SHARD: command.count_shard,
        Use.PROMISE_SUMS: command.promise_sums,
    }
    return run[use](paths, output, options)


def _at_new(
    use: Use, promise: Path, folders: Sequence[Path], values: dict[str, Any]
) -> tuple[Path, Path, Options]:
    """The new predictions that a promise is for, the folder to write, and the options."""
    new = the_folder("NEW", folders, values)
    options, output = at_output(use, values, promise, new)
    _check_there(promise, new)
    return new, output, options


def _apply(promise: Path, folders: Sequence[Path], values: dict[str, Any]) -> Sequence[InputError]:
    new, output, options = _at_new(Use.PROMISE_APPLY, promise, folders, values)
    for too_much in (options.level[1:], options.miss[1:]):
        if too_much:
            raise SettingError(f"--apply: takes one level and miss; {too_much[-1]} is too much")
    from nacl_monai.promises.apply import apply_folder

    return apply_folder(promise, new, output, options)


def _check(promise: Path, folders: Sequence[Path], values: dict[str, Any]) -> Sequence[InputError]:
    *first, labels = folders
    paths = [*as_one(first, values), labels]
    if len(paths) != 2:
        raise SettingError(
            "--check: takes a folder of predictions and one of label maps of new patients, or several "
            "of predictions with --ensemble"
        )
    options, output = at_output(Use.PROMISE_CHECK, values, promise, *paths)
    _check_there(promise, paths[0])
    check_names(paths[0], paths[1], options.patterns)
    from nacl_monai.promises.check import check_folders

    return check_folders(promise, paths, output, options)


def _mean(promise: Path, folders: Sequence[Path], values: dict[str, Any]) -> Sequence[InputError]:
    new, output, options = _at_new(Use.PROMISE_MEAN, promise, folders, values)
    from nacl_monai.promises.mean import mean_folder

    return mean_folder(promise, new, output, options)


def _watch(promise: Path, new: Sequence[Path] = (), **values: Any) -> Sequence[InputError]:
    first = the_folder("NEW", new, values) if new else None
    if first is None and not values.get("forget"):
        raise SettingError("NEW: is missing; give the folder of the new predictions")
    options, output = at_output(Use.WATCH, values, promise, *([first] if first else []))
    _check_there(promise, first or promise)
    from nacl_monai.promises.watch import watch_folder

    return watch_folder(promise, first, output, options)


def _triage(
    promise: Path, new: Sequence[Path] = (), verdicts: Sequence[Path] = (), **values: Any
) -> Sequence[InputError]:
    if verdicts:
        options_of(Use.TRIAGE_VERDICTS, values)
        if new:
            raise SettingError(f"--verdicts: are of a triage alone; {new[0]} is too much")
        from nacl_monai.promises.triage import print_verdicts

        return print_verdicts(promise, verdicts)
    if not new:
        raise SettingError("NEW: is missing; give the folder of the new predictions")
    first, output, options = _at_new(Use.TRIAGE_NEW, promise, new, values)
    from nacl_monai.promises.triage import triage_folder

    return triage_folder(promise, first, output, options)


def _report(folders: Sequence[Path], **values: Any) -> Sequence[InputError]:
    *first, last = folders
    paths = [*as_one(first, values), last]
    if len(paths) != 2:
        raise SettingError(
            "report: takes a folder of predictions and one of label maps, or several of predictions "
            f"with --ensemble; new patients: --new {(paths[2:] and folders[-1]) or 'NEW'}"
        )
    options, output = at_output(Use.REPORT, values, *paths)
    check_names(paths[0], paths[1], options.patterns)
    from nacl_monai.promises.report import report_folders

    return report_folders(paths, output, options)


def _check_there(promise: Path, new: Path) -> None:
    """Refuses missing files at once; damaged ones are refused later."""
    if not promise.exists():
        raise InputError(f"{promise}: no such file; {PROMISE_REMEDY}")
    if not new.exists():
        raise InputError(f"{new}: is not a folder; give the folder of the predictions")


def _parser() -> argparse.ArgumentParser:
    """The parser, with a part for each verb."""

    def verb(name: str, what: str, run: Callable[..., Sequence[InputError]]) -> Any:
        about: dict[str, Any] = {"help": what, "examples": _EXAMPLES[name]}
        part = commands.add_parser(name, argument_default=argparse.SUPPRESS, **about)
        part.set_defaults(run=run)
        add_options(part, Use[name.upper()])
        return part

    about = "Contours, volumes and lists of cases with a guarantee."
    parser = Parser(prog="nacl-monai", description=about)
    commands = parser.add_subparsers(dest="command", required=True)
    what = "contours, volumes and Dice with a guarantee, by calibration patients"
    promise = verb("promise", what, _promise)
    add = promise.add_argument
    inputs = (
        "a folder of predictions and one of label maps; or a run; or promise.npz of several sites; "
        "with --apply or --mean a folder of new predictions, with --check one of label maps, too"
    )
    add("folders", nargs="+", type=Path, metavar="FOLDER", help=inputs)
    add = promise.add_mutually_exclusive_group().add_argument
    add("--apply", type=Path, metavar="FILE", help="promise.json, to be applied to new predictions")
    judged = "promise.json, to be judged by new labeled patients"
    add("--check", type=Path, metavar="FILE", help=judged)
    mean = (
        "promise.json, whose labeled patients chance has drawn: the mean volumes of new ones, too"
    )
    add("--mean", type=Path, metavar="FILE", help=mean)

    what = "audit, calibrate, promise and triage in one, on one page"
    report = verb("report", what, _report)
    inputs = "a folder of predictions, and one of label maps"
    report.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help=inputs)

    what = "the new cases that someone must look at, the most doubtful first"
    add = verb("triage", what, _triage).add_argument
    add("promise", type=Path, metavar="PROMISE", help="promise.json; with --verdicts a triage")
    new = "the folder of the new predictions; of an ensemble, one for each member"
    add("new", nargs="*", type=Path, metavar="NEW", help=new)
    verdicts = "count the verdicts that its page let people download, within each budget"
    add("--verdicts", nargs="+", type=Path, metavar="CSV", help=verdicts)

    what = "whether new patients are like those of a promise, one by one, with an alarm"
    add = verb("watch", what, _watch).add_argument
    add("promise", type=Path, metavar="PROMISE", help="promise.json")
    known = f"{new}; those in the log stay as they are"
    add("new", nargs="*", type=Path, metavar="NEW", help=known)
    return parser


if __name__ == "__main__":
    sys.exit(main())
