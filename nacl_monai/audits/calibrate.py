"""``nacl-monai calibrate``: fit a calibrator, and show what it does before and after.

To a run, on its validation patients, and evaluated on its test patients; or to saved predictions of any
tool, across folds of their patients.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nacl_monai.audits.options import EVALUATED_REGIONS, Options
from nacl_monai.audits.words import add_meaning, add_measures, add_patients
from nacl_monai.cli import print_written
from nacl_monai.errors import InputError
from nacl_monai.menus import fragments
from nacl_monai.runs import RunFolder


def calibrate(words: Sequence[str]) -> list[InputError]:
    """Runs the command; returns the faults of single cases.

    Raises:
        InputError: If nothing can be fitted.
    """
    parser = _parser()
    options, others = parser.parse_known_args(words)
    given = vars(options)
    folders = given.pop("folders")
    if len(folders) > 1:
        wrong = [*map(str, folders[2:]), *others]
        return _calibrate_saved(parser, folders[0], folders[1], given, wrong)
    _calibrate_run(parser, folders[0], given, others)
    return []


def _calibrate_run(
    parser: argparse.ArgumentParser, run: Path, given: dict[str, Any], overrides: Sequence[str]
) -> None:
    dataset_dir, bundles = given.pop("dataset_dir", None), given.pop("bundles", None)
    named = (given.pop(key, None) for key in ("calibrator", "method", "region"))
    name = _name(parser, *named)
    if given:
        parser.error(f"{', '.join(given)}: is of saved predictions, whose labels are missing")
    calibrate_run(run, name, dataset_dir, overrides, bundles)


def _calibrate_saved(
    parser: argparse.ArgumentParser,
    predictions: Path,
    labels: Path,
    given: dict[str, Any],
    wrong: Sequence[str],
) -> list[InputError]:
    from nacl_monai.audits.cross_fitting import calibrate_folder

    of_run = [name for name in ("dataset_dir", "bundles", "calibrator") if name in given]
    if wrong or of_run:
        parser.error(
            f"{', '.join([*wrong, *of_run])}: has no place beside saved predictions and their labels"
        )
    of_fit = ("output", "folds", "method", "region")
    fit = {name: given.pop(name) for name in of_fit if name in given}
    return calibrate_folder(predictions, labels, options=Options(**given), **fit)


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


def calibrate_run(
    run: Path,
    name: str,
    dataset_dir: Path | None = None,
    overrides: Sequence[str] = (),
    bundles: Path | None = None,
) -> None:
    """Fits a calibrator to a run, evaluates it, and shows it beside the evaluation without.

    Args:
        run: Folder of a finished training.
        name: Method and region, ``ensemble``, or both; see `nacl_monai.training.calibrator_names`.
        dataset_dir: Where the dataset is.
        overrides: More ``--key value`` of the evaluation.
        bundles: Folder of the bundles; that of the working directory or of the package if None.

    Raises:
        InputError: If the run is none, or if a step fails; its error is printed.
    """
    from nacl_monai.audits.table import audit_table
    from nacl_monai.reports import read_runs
    from nacl_monai.reports.trade_off import trade_off_text, write_trade_off
    from nacl_monai.training.run_settings import read_record

    folder = RunFolder(run)
    if not folder.config.is_file():
        raise InputError(
            f"{folder.config}: no such file; name a training's folder, or predictions and their labels"
        )
    if dataset_dir is None:
        raise InputError("--dataset_dir: is missing; say where the dataset of this run is")
    dataset = str(read_record(folder.config).get("dataset"))
    config = list(map(str, fragments(dataset, "evaluate", bundles)))
    common_words = [
        *("--config_file", str(config)),
        *("--dataset_dir", str(dataset_dir), "--output_dir", str(run), *overrides),
    ]
    chosen = ["--calibrator", name]
    if not folder.evaluation.record.is_file():
        _run("evaluating", common_words)
    _run("calibrating", [*common_words, *chosen])
    _run("evaluating", [*common_words, *chosen])
    calibrated = folder.calibrated(name)
    runs = read_runs([run, calibrated.path], [run.resolve().name, name])
    files = write_trade_off(runs, calibrated.path)
    print(audit_table(runs), trade_off_text(*runs), sep="\n\n")
    print_written(files)


def _run(run_id: str, words: Sequence[str]) -> None:
    """Runs one of the evaluation's steps as its own command, which checks every word of it."""
    command = [sys.executable, "-m", "nacl_monai.cli", "run", run_id, *words]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise InputError(f"{run_id}: ended with exit code {code}; see the error above")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai calibrate", description=__doc__, argument_default=argparse.SUPPRESS
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="a run; or a folder of predictions and that of their label maps",
    )
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="temperature (default), class_temperatures, vector or, of a run, local_temperatures; of "
        "structures that overlap sigmoid_temperature (default), structure_temperatures or platt",
    )
    parser.add_argument(
        "--region",
        choices=EVALUATED_REGIONS,
        help="voxels of the fit (default: union for a temperature, all for what tells classes apart)",
    )
    run = parser.add_argument_group("of a run; more --key value are those of its evaluation")
    run.add_argument("--dataset_dir", type=Path, metavar="DIR", help="where its dataset is")
    run.add_argument(
        "--calibrator",
        metavar="NAME",
        help="method, region and ensemble in one: temperature_union, ensemble",
    )
    run.add_argument("--bundles", type=Path, metavar="DIR", help="default: bundles")
    saved = parser.add_argument_group("of saved predictions")
    saved.add_argument("--folds", type=int, metavar="N", help="default: 5")
    saved.add_argument("--output", type=Path, metavar="DIR", help="default: calibrated")
    for add in (add_patients, add_meaning, add_measures):
        add(saved)
    return parser
