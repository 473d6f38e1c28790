"""``nacl-monai promise PREDICTIONS LABELS``, ``promise --apply promise.json NEW``, and ``triage``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nacl_monai.audits.names import check_names
from nacl_monai.audits.options import Options, add_audit_options, add_options, add_shard, as_one
from nacl_monai.cli import attempted
from nacl_monai.counting import check_share, number_within
from nacl_monai.errors import InputError, SettingError
from nacl_monai.output import check_output
from nacl_monai.runs import PROMISE_REMEDY

_IMAGES = "images for the pictures of its page, which show probabilities otherwise"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 1 where a case had a fault."""
    words = vars(_parser().parse_args(sys.argv[1:] if argv is None else argv))
    run: Callable[..., Sequence[InputError]] = words.pop("run")
    del words["command"]
    faults, code = attempted(lambda: run(**words))
    return 1 if faults else code


def _promise(
    given: Sequence[Path],
    output: Path,
    apply: Path | None = None,
    level: Sequence[float] | None = None,
    **options: Any,
) -> Sequence[InputError]:
    settings = {name: options.pop(name) for name in ("family", "margin") if name in options}
    images = options.pop("images", None)
    *first, last = given
    given = as_one(given, options) if apply else [*as_one(first, options), last]
    of_control = [options.pop(name) for name in ("control", "confidence")]
    said = Options(**options)
    # All that can be checked before anything heavy is loaded.
    for number in level or ():
        check_share("--level", number)
    check_share("--confidence", of_control[1])
    check_output(output, "promise", read=[*given, *said.files])
    for option, of_folders in (("--shard", said.shard), ("--images", images)):
        if of_folders and (apply or len(given) != 2 or not all(map(Path.is_dir, given))):
            raise SettingError(
                f"{option}: is of a folder of predictions and one of labels; leave it out"
            )
    if apply is not None:
        _check_there(apply, given[0])
    elif len(given) == 2:
        check_names(given[0], given[1], said.names)
    from nacl_monai.promises import command
    from nacl_monai.promises.control import Control

    if apply is not None:
        if len(given) > 1 or len(level or ()) > 1:
            raise InputError(f"--apply: takes one folder and one level; {given[-1]} is too much")
        return command.apply_folder(apply, given[0], output, said, level[0] if level else None)
    if said.shard:
        return command.count_shard(given[0], given[1], output, said)
    controls = [Control(one, *of_control).check() for one in level or (0.05, 0.1)]
    return command.promise_folders(given, output, said, controls, images, **settings)


def _triage(
    promise: Path,
    new: Sequence[Path],
    output: Path,
    budget: str = "20%",
    labels: Path | None = None,
    images: Path | None = None,
    **options: Any,
) -> Sequence[InputError]:
    first, *others = as_one(new, options)
    said = Options(**options)
    if others:
        raise SettingError(
            f"NEW: is one folder, or several with --ensemble; {others[0]} is too much"
        )
    number_within(budget, 1)
    check_output(output, "triage", read=[promise, first, *said.files])
    _check_there(promise, first)
    from nacl_monai.promises import command

    return command.triage_folder(promise, first, output, said, budget, labels, images)


def _check_there(promise: Path, new: Path) -> None:
    """Refuses what is missing, as is done later of what is damaged."""
    if not promise.exists():
        raise InputError(f"{promise}: no such file; {PROMISE_REMEDY}")
    if not new.exists():
        raise InputError(f"{new}: is not a folder; give the folder of the predictions")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai", description="Contours, volumes and lists of cases with a guarantee."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    what = "contours, volumes and Dice with a guarantee, by calibration patients"
    promise = commands.add_parser("promise", help=what, argument_default=argparse.SUPPRESS)
    promise.set_defaults(run=_promise)
    add = promise.add_argument
    given = (
        "a folder of predictions and one of label maps; or a run; or promise.npz of several sites; "
        "with --apply a folder of new predictions"
    )
    add("given", nargs="+", type=Path, metavar="FOLDER", help=given)
    add("--output", type=Path, default=Path("promise"), metavar="DIR", help="default: promise")
    add("--apply", type=Path, metavar="FILE", help="promise.json, to be applied to new predictions")
    levels = "the largest shares that contours miss, or of which intervals fail (default: 0.05 0.1)"
    add("--level", nargs="+", type=float, metavar="α", help=levels)
    family = "what contours are (default: within, a threshold within a margin)"
    add("--family", choices=["within", "threshold", "margin"], help=family)
    margin = "of that family, in mm, fixed before these patients are seen (default: 3)"
    add("--margin", type=float, metavar="MM", help=margin)
    control = "over patients on average (default), or with --confidence over calibration patients"
    add("--control", choices=["mean", "most"], default="mean", help=control)
    of_most = "of --control most (default: 0.9)"
    add("--confidence", type=float, default=0.9, metavar="P", help=of_most)
    add("--images", type=Path, metavar="DIR", help=_IMAGES)
    add_options(promise)
    add_audit_options(promise)
    add_shard(promise)

    what = "the new cases that someone must look at, the most doubtful first"
    triage = commands.add_parser("triage", help=what, argument_default=argparse.SUPPRESS)
    triage.set_defaults(run=_triage)
    add = triage.add_argument
    add("promise", type=Path, metavar="PROMISE", help="promise.json")
    new = "the folder of the new predictions; of an ensemble, one for each member"
    add("new", nargs="+", type=Path, metavar="NEW", help=new)
    add("--output", type=Path, default=Path("triage"), metavar="DIR", help="default: triage")
    budget = "how many cases can be looked at, or which share (default: 20%%)"
    add("--budget", metavar="N", help=budget)
    labels = "label maps, if there are any, to say how many of the worst tenth are found"
    add("--labels", type=Path, metavar="DIR", help=labels)
    add("--images", type=Path, metavar="DIR", help=_IMAGES)
    add_options(triage)
    add_audit_options(triage)
    return parser


if __name__ == "__main__":
    sys.exit(main())
