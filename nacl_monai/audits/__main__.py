"""Audits saved predictions of any tool: ``nacl-monai audit PREDICTIONS [PREDICTIONS …] LABELS``.

``nacl-monai maps`` writes predictions as images, without labels; ``nacl-monai merge`` joins audits;
``nacl-monai calibrate`` fits a calibrator to a run, on its validation patients, and evaluates it on its
test patients, or to saved predictions, across folds of their patients.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from nacl_monai.cli import Parser, as_one, attempted, the_folder
from nacl_monai.errors import InputError, SettingError
from nacl_monai.predictions.names import check_names
from nacl_monai.predictions.options import (
    ANONYMOUS,
    Options,
    Use,
    add_options,
    at_output,
    options_of,
)

_EXAMPLES = {
    "audit": [
        "audit predictions labels",
        "audit unet nnunet labels --patient-pattern '(patient\\d+)_'",
    ],
    "calibrate": ["calibrate predictions labels", "calibrate runs/acdc/unet_ce_seed0"],
    "maps": ["maps new --calibrator calibrated/calibrator.json"],
    "view": ["view new --images images", "view new --cases case_3 case_7"],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 1 where a case had a fault."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["calibrate"]:
        faults, code = attempted(lambda: _calibrate(arguments[1:]))
    else:
        values = vars(_parser().parse_args(arguments))
        run = values.pop("run")
        del values["command"]
        faults, code = attempted(lambda: run(**values))
    return 1 if faults else code


def _audit(folders: Sequence[Path], **values: Any) -> Sequence[InputError]:
    predictions = as_one(folders if values.get("raters") else folders[:-1], values)
    options, output = at_output(Use.AUDIT, values, *folders)
    _check_names(predictions, options.raters or folders[-1:], options)
    names = options.names or (["ensemble"] if options.members else None)
    from nacl_monai.audits.command import audit_folders, distinct_names

    if options.raters:
        names_of_raters = options.rater_names or None
        called = distinct_names(options.raters, names_of_raters, "--rater-names", "raters")
        by_name = dict(zip(called, options.raters, strict=True))
        return audit_folders(predictions, by_name, output, options, names)
    if options.rater_names:
        raise SettingError(
            "--rater-names: are those of --raters, which is missing; give the folders"
        )
    if not predictions:
        raise InputError(
            f"{folders[0]}: is the only folder; give predictions first, then their labels"
        )
    return audit_folders(predictions, folders[-1], output, options, names)


def _new(verb: str, folders: Sequence[Path], **values: Any) -> Sequence[InputError]:
    """Writes or shows new predictions."""
    first = the_folder("PREDICTIONS", folders, values)
    options, output = at_output(Use[verb.upper()], values, first)
    from nacl_monai.audits import maps

    return {"maps": maps.maps_folder, "view": maps.view_folder}[verb](first, output, options)


def _check_names(predictions: Iterable[Path], labels: Sequence[Path], options: Options) -> None:
    """Before torch is imported."""
    for predicted, labeled in product(predictions, labels):
        check_names(predicted, labeled, options.patterns)


def _merge(files: Sequence[Path], output: Path, anonymous: Path | None) -> Sequence[InputError]:
    from nacl_monai.audits.command import merge_files

    return merge_files(files, output, anonymous)


def _calibrate(arguments: Sequence[str]) -> Sequence[InputError]:
    """Calibrates a run, or saved predictions and their labels; islands, of an ensemble as well."""
    parser = _calibrate_parser()
    parsed, overrides = parser.parse_known_args(arguments)
    values = vars(parsed)
    folders = values.pop("folders")
    if len(folders) == 1:
        _calibrate_run(parser, folders[0], values, overrides)
        return []
    if unknown := [word for word in overrides if word.startswith("-")]:
        parser.error(parser.remedy(unknown[0]))
    predictions, *more = as_one(folders[:-1], values)
    if wrong := [*map(str, more), *overrides]:
        parser.error(f"{', '.join(wrong)}: has no place beside saved predictions and their labels")
    use = Use.CALIBRATE_ISLANDS if "components" in values else Use.CALIBRATE_FOLDERS
    labels = folders[-1]
    options, output = at_output(use, values, predictions, labels)
    _check_names([predictions], [labels], options)
    from nacl_monai.audits.calibrate import calibrate_folder, calibrate_islands

    if options.components is not None:
        return calibrate_islands(predictions, labels, output, options)
    return calibrate_folder(predictions, labels, output, options)


def _calibrate_run(
    parser: argparse.ArgumentParser, run: Path, values: Mapping[str, Any], overrides: Sequence[str]
) -> None:
    options_of(Use.CALIBRATE_RUN, values)
    arguments = [*overrides]
    if "margin" in values:  # a run's evaluation has it
        arguments += ["--calibration::margin", f"{values['margin']:g}"]
    name = _name(parser, *map(values.get, ("calibrator", "method", "region")))
    from nacl_monai.audits.calibrate import calibrate_run

    calibrate_run(run, name, values.get("dataset_dir"), arguments, values.get("bundles"))


def _name(
    parser: argparse.ArgumentParser, name: Path | None, method: str | None, region: str | None
) -> str:
    """The name of a run's calibrator, given as a whole or by its parts."""
    from nacl_monai.posthoc import METHODS, SIGMOID_METHODS

    if name is not None:
        if method or region:
            parser.error("--calibrator: says method and region; leave --method and --region out")
        return str(name)
    method = method or next(iter(METHODS))
    if method not in METHODS:
        what = "is of structures" if method in SIGMOID_METHODS else "is not known"
        parser.error(f"--method {method}: {what}; choose from {', '.join(METHODS)}")
    return f"{method}_{region or METHODS[method].region}"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nacl-monai", description="Calibration of saved predictions; no model is loaded."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    what = "audit saved predictions of any tool"
    # `Options` has the defaults.
    audit = commands.add_parser(
        "audit", help=what, argument_default=argparse.SUPPRESS, examples=_EXAMPLES["audit"]
    )
    audit.set_defaults(run=_audit)
    add = audit.add_argument
    folders = (
        "folders of predictions, one per model, and last that of the label maps, unless --raters has "
        "these"
    )
    add("folders", nargs="+", type=Path, metavar="FOLDER", help=folders)
    add_options(audit, Use.AUDIT)

    for verb, what in (
        ("maps", "write probabilities, confidence, entropy and labels of new cases as images"),
        ("view", "show new cases on one page, in three planes and in 3-D"),
    ):
        new = commands.add_parser(
            verb, help=what, argument_default=argparse.SUPPRESS, examples=_EXAMPLES[verb]
        )
        new.set_defaults(run=partial(_new, verb))
        folders = "the folder of the predictions; of an ensemble, one for each member"
        new.add_argument("folders", nargs="+", type=Path, metavar="PREDICTIONS", help=folders)
        add_options(new, Use[verb.upper()])

    merge = commands.add_parser("merge", help="join the audits of several sites, from sums alone")
    merge.set_defaults(run=_merge)
    add = merge.add_argument
    add("files", nargs="+", type=Path, metavar="BINS", help="bins.npz of an audit")
    add("--anonymous", type=Path, metavar="SALT", help=ANONYMOUS)
    add("--output", type=Path, default=Path("merge"), metavar="DIR", help="default: merge")
    return parser


def _calibrate_parser() -> Parser:
    parser = Parser(
        prog="nacl-monai calibrate",
        description="Fits a calibrator, and shows what it does before and after. Of a run, more --key "
        "value are those of its evaluation.",
        argument_default=argparse.SUPPRESS,
        examples=_EXAMPLES["calibrate"],
    )
    folders = (
        "a run; or a folder of predictions, with --components --ensemble several, and last that of the "
        "label maps"
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help=folders)
    add_options(parser, Use.CALIBRATE)
    return parser


if __name__ == "__main__":
    sys.exit(main())
