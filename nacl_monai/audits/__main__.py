"""Audits saved predictions of any tool: ``nacl-monai audit PREDICTIONS [PREDICTIONS …] LABELS``.

``nacl-monai merge`` joins audits; ``nacl-monai calibrate`` fits a calibrator to a run, on its validation
patients, and evaluates it on its test patients, or to saved predictions, across folds of their patients.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from nacl_monai.audits.names import check_names
from nacl_monai.audits.options import (
    KNOWN_REGIONS,
    Options,
    add_audit_options,
    add_margin,
    add_options,
    add_shard,
    as_one,
)
from nacl_monai.cli import attempted
from nacl_monai.errors import InputError, SettingError
from nacl_monai.output import check_output


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 1 where a case had a fault."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["calibrate"]:
        faults, code = attempted(lambda: _calibrate(given[1:]))
    else:
        words = vars(_parser().parse_args(given))
        run = words.pop("run")
        del words["command"]
        faults, code = attempted(lambda: run(**words))
    return 1 if faults else code


def _audit(
    folders: Sequence[Path],
    output: Path,
    names: Sequence[str] | None = None,
    raters: Sequence[Path] | None = None,
    rater_names: Sequence[str] | None = None,
    **options: Any,
) -> Sequence[InputError]:
    given = folders if raters else folders[:-1]
    predictions = as_one(given, options)
    said = Options(**options)
    check_output(output, "audit", read=[*folders, *(raters or ()), *said.files])
    _check_names(given, raters or folders[-1:], said)
    names = ["ensemble"] if said.members and names is None else names
    from nacl_monai.audits.command import audit_folders, distinct_names

    if raters is not None:
        called = distinct_names(raters, rater_names, "--rater-names", "raters")
        by_name = dict(zip(called, raters, strict=True))
        return audit_folders(predictions, by_name, output, said, names)
    if rater_names is not None:
        raise SettingError(
            "--rater-names: are those of --raters, which is missing; give the folders"
        )
    if not predictions:
        raise InputError(
            f"{folders[0]}: is the only folder; give predictions first, then their labels"
        )
    return audit_folders(predictions, folders[-1], output, said, names)


def _check_names(predictions: Iterable[Path], labels: Sequence[Path], options: Options) -> None:
    """Before torch is imported."""
    for predicted, labeled in product(predictions, labels):
        check_names(predicted, labeled, options.names)


def _merge(files: Sequence[Path], output: Path) -> Sequence[InputError]:
    from nacl_monai.audits.command import merge_files

    return merge_files(files, output)


def _calibrate(words: Sequence[str]) -> Sequence[InputError]:
    """Of a run or of saved predictions: two folders are those of predictions and labels."""
    parser = _calibrate_parser()
    options, others = parser.parse_known_args(words)
    given = vars(options)
    folders = given.pop("folders")
    if len(folders) > 1:
        of_run = [name for name in ("dataset_dir", "bundles", "calibrator") if name in given]
        wrong = [*map(str, folders[2:]), *others, *of_run]
        if wrong:
            parser.error(
                f"{', '.join(wrong)}: has no place beside saved predictions and their labels"
            )
        of_fit = ("output", "folds", "method", "region")
        fit = {name: given.pop(name) for name in of_fit if name in given}
        (predictions, labels), said = folders, Options(**given)
        place = fit.get("output", Path("calibrated"))
        check_output(place, "calibrate", read=[*folders, *said.files])
        _check_names([predictions], [labels], said)
        from nacl_monai.audits.calibrate import calibrate_folder

        return calibrate_folder(predictions, labels, options=said, **fit)
    dataset_dir, bundles = given.pop("dataset_dir", None), given.pop("bundles", None)
    if "margin" in given:  # of a run, its evaluation has it
        others = [*others, "--calibration::margin", f"{given.pop('margin'):g}"]
    named = (given.pop(key, None) for key in ("calibrator", "method", "region"))
    name = _name(parser, *named)
    if given:
        parser.error(f"{', '.join(given)}: is of saved predictions, whose labels are missing")
    from nacl_monai.audits.calibrate import calibrate_run

    calibrate_run(folders[0], name, dataset_dir, others, bundles)
    return []


def _name(
    parser: argparse.ArgumentParser, name: str | None, method: str | None, region: str | None
) -> str:
    """The name of a run's calibrator, given as a whole or by its parts."""
    from nacl_monai.posthoc import METHODS, SIGMOID_METHODS

    if name is not None:
        if method or region:
            parser.error("--calibrator: says method and region; leave --method and --region out")
        return name
    method = method or next(iter(METHODS))
    if method not in METHODS:
        what = "is of structures" if method in SIGMOID_METHODS else "is not known"
        parser.error(f"--method {method}: {what}; choose from {', '.join(METHODS)}")
    return f"{method}_{region or METHODS[method].region}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai", description="Calibration of saved predictions; no model is loaded."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    what = "audit saved predictions of any tool"
    # What is not said is as `Options` has it.
    audit = commands.add_parser("audit", help=what, argument_default=argparse.SUPPRESS)
    audit.set_defaults(run=_audit)
    add = audit.add_argument
    folders = (
        "folders of predictions, one per model, and last that of the label maps, unless --raters has "
        "these"
    )
    add("folders", nargs="+", type=Path, metavar="FOLDER", help=folders)
    raters = "several folders of label maps of the same cases, one per rater"
    add("--raters", nargs="+", type=Path, metavar="LABELS", help=raters)
    names = "a name per rater (default: that of the folder)"
    add("--rater-names", nargs="+", metavar="NAME", help=names)
    add("--output", type=Path, default=Path("audit"), metavar="DIR", help="default: audit")
    names = "a name per model (default: that of its folder)"
    add("--names", nargs="+", metavar="NAME", help=names)
    add_options(audit)
    add_audit_options(audit)
    add_shard(audit)
    add_margin(audit)

    merge = commands.add_parser("merge", help="join the audits of several sites, from sums alone")
    merge.set_defaults(run=_merge)
    add = merge.add_argument
    add("files", nargs="+", type=Path, metavar="BINS", help="bins.npz of an audit")
    add("--output", type=Path, default=Path("merge"), metavar="DIR", help="default: merge")
    return parser


def _calibrate_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai calibrate",
        description="Fits a calibrator, and shows what it does before and after.",
        argument_default=argparse.SUPPRESS,
    )
    folders = "a run; or a folder of predictions and that of their label maps"
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help=folders)
    methods = (
        "temperature (default), class_temperatures, vector or, of a run, local_temperatures; of "
        "structures that overlap sigmoid_temperature (default), structure_temperatures or platt"
    )
    parser.add_argument("--method", metavar="NAME", help=methods)
    region = "voxels of the fit (default: near); where the label decides, it changes what is true"
    parser.add_argument("--region", choices=KNOWN_REGIONS, help=region)
    run = parser.add_argument_group("of a run; more --key value are those of its evaluation")
    run.add_argument("--dataset_dir", type=Path, metavar="DIR", help="where its dataset is")
    name = "method, region and ensemble in one: temperature_near, ensemble"
    run.add_argument("--calibrator", metavar="NAME", help=name)
    run.add_argument("--bundles", type=Path, metavar="DIR", help="default: bundles")
    saved = parser.add_argument_group("of saved predictions")
    saved.add_argument("--folds", type=int, metavar="N", help="default: 5")
    saved.add_argument("--output", type=Path, metavar="DIR", help="default: calibrated")
    add_options(saved)
    add_margin(saved)
    return parser


if __name__ == "__main__":
    sys.exit(main())
