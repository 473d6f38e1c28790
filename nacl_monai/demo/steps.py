"""The demo's trainings, data and steps, each of which is a command of this package."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

from nacl_monai.bundles.__main__ import replaced
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import check_folder
from nacl_monai.menus import dataset_file, fragments
from nacl_monai.runs import RunFolder
from nacl_monai.wheel import shipped

#: The dataset whose images are in the package.
DATASET = "hippocampus"
FOLDER = "demo/Task04_Hippocampus"
_TRAINING = {
    DATASET: (
        *("--max_epochs", "24", "--batch_size", "8"),
        *("--split_proportions", "{'train': 22, 'val': 4, 'test': 10}"),
    ),
    "acdc": ("--max_epochs", "22", "--batch_size", "8", "--spatial_size", "[96, 96]"),
}
_DECIDED = {
    "--loss": "it trains CE+DSC and NACL",
    "--network_def": "both have the same",
    "--output_dir": "write --output DIR",
}
_WITH_OWN_DATA = ("--max_epochs", "10")
# Two trainings at once would wait for each other's threads.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
# What the first training says; every demo has it, and nothing else does.
_LOG = "dice_ce.log"


@dataclass(frozen=True)
class Plan:
    """The trainings and their data.

    Attributes:
        dataset: One of the bundles.
        folder: Its data.
        output: Folder of the runs, of the table and of the pictures.
        phantom: Whether the data are a phantom that has yet to be written.
        training: Words of the trainings, which evaluations follow.
    """

    dataset: str
    folder: Path
    output: Path
    phantom: bool = False
    training: Sequence[str] = field(default=())


def plan(
    dataset: str = DATASET,
    folder: Path | None = None,
    output: Path | None = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """Decides what the demo does.

    Args:
        dataset: One of the bundles.
        folder: Its data. Without one, ``hippocampus`` is the package's MRI data, and
            ``acdc`` a phantom.
        output: Folder for what is made, by default ``runs/demo/DATASET``.
        overrides: More ``--key value`` of the trainings.

    Raises:
        SettingError: If a word is one that the demo decides.
        InputError: If there is no such dataset, or it comes without data and no folder is given.

    Example:
        >>> plan("acdc").folder.as_posix(), plan("acdc").phantom
        ('runs/demo/phantom', True)
    """
    dataset_file(dataset)
    for word in overrides:
        if reason := _DECIDED.get(word.partition("=")[0]):
            raise SettingError(f"{word}: is not an option of the demo ({reason}); leave it out")
    data, phantom = _data(dataset, folder)
    own = folder is not None and dataset == DATASET
    usual = _WITH_OWN_DATA if own else _TRAINING.get(dataset, _WITH_OWN_DATA)
    output = output.absolute() if output else Path("runs/demo", dataset)
    return Plan(dataset, data, output, phantom, replaced(usual, overrides))


def _data(dataset: str, folder: Path | None) -> tuple[Path, bool]:
    """The folder of the data, and whether they are a phantom that has yet to be written."""
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; name that of the unpacked download")
        return folder, False
    if dataset == DATASET:
        return shipped(FOLDER), False
    if dataset == "acdc":
        return Path("runs/demo/phantom"), True
    raise InputError(f"{dataset}: comes without data; name their folder: --dataset_dir DIR")


def run(plan: Plan) -> None:
    """Trains CE+DSC and NACL, evaluates both and calibrated CE+DSC, and compares the three.

    For the data that come with the package it also draws a promise, which nine test people calibrate for
    the tenth. CE+DSC runs beside NACL and writes its output into ``dice_ce.log``. An earlier demo is
    moved aside.

    Raises:
        InputError: If a word of the trainings is wrong, or something else than a demo is in the way,
            before anything is done; or if a step fails, whose error is printed.
    """
    from nacl_monai.bundles.command_line import check_run  # noqa: PLC0415 - slow
    from nacl_monai.posthoc import METHODS  # noqa: PLC0415 - as above

    config = [str(file) for file in fragments(plan.dataset, "train")]
    arguments = ["training", "--config_file", str(config), "--dataset_dir", str(plan.folder)]
    check_run([*arguments, *plan.training])
    _move_aside(plan.output)
    plan.output.mkdir(parents=True, exist_ok=True)
    log = plan.output / _LOG
    log.touch()
    if plan.phantom:
        step("phantom", plan.dataset, str(plan.folder), "--cases", "20")
    usual, nacl = plan.output / "dice_ce", plan.output / "nacl"
    calibrate = ["calibrate", str(usual), "--dataset_dir", str(plan.folder)]
    print(f"CE+DSC trains beside NACL; its output: {log}", flush=True)
    with _beside([*_trained(plan, "dice_ce", usual), calibrate], log) as steps:
        for arguments in _trained(plan, "nacl", nacl):
            step(*arguments)
        if steps.wait():
            end = log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
            raise InputError("\n".join([f"{log}: CE+DSC failed; its last lines:", *end]))
    method, how = next(iter(METHODS.items()))
    calibrated = RunFolder(usual).calibrated(f"{method}_{how.region}").path
    names = ("--names", "CE+DSC", f"CE+DSC, {method}", "NACL")
    output = ("--output", str(plan.output / "comparison"))
    step("compare", *map(str, (usual, calibrated, nacl)), *output, *names)
    if plan.dataset == DATASET:
        _promise(plan, RunFolder(nacl))


def _promise(plan: Plan, run: RunFolder) -> None:
    from nacl_monai.demo.promised import draw_last, promise_to_last  # noqa: PLC0415 - slow

    output = plan.output / "promise"
    image = promise_to_last(run, plan.folder, output)
    arguments = ["--run", str(run.path), "--promise", str(output / "promise.json")]
    step("infer", plan.dataset, str(image), *arguments)
    print(draw_last(run, plan.folder, output))


def _trained(plan: Plan, loss: str, run: Path) -> list[list[str]]:
    """The commands that train and evaluate a loss."""
    arguments = [plan.dataset, str(plan.folder), "--run", str(run)]
    return [["train", *arguments, "--loss", loss, *plan.training], ["evaluate", *arguments]]


def _move_aside(folder: Path) -> None:
    """Moves an earlier demo aside, in place of the one that was there."""
    if not _is_demo(folder):
        return
    previous = folder.with_name(f"{folder.name}.previous")
    if _is_demo(previous):
        rmtree(previous)
    folder.rename(previous)


def _is_demo(folder: Path) -> bool:
    """Whether a demo is there; not if nothing is.

    Raises:
        InputError: If anything else is.
    """
    check_folder(folder, "choose another --output")
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    if not (folder / _LOG).is_file():
        raise InputError(f"{folder}: holds something else than a demo; choose another --output")
    return True


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "nacl_monai", *arguments]


def step(*arguments: str) -> None:
    """Runs a command of this package; its error is printed.

    Raises:
        InputError: If it fails.
    """
    done = subprocess.run(_command(arguments), env={**os.environ, **ENVIRONMENT}, check=False)
    if done.returncode:
        raise InputError(
            f"{arguments[0]}: ended with exit code {done.returncode}; see the error above"
        )


@contextmanager
def _beside(steps: Sequence[Sequence[str]], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs steps one after the other beside this process; whatever ends this process ends them."""
    script = " && ".join(shlex.join(_command(arguments)) for arguments in steps)
    environment = {**os.environ, **ENVIRONMENT}
    with log.open("wb") as output:
        beside = subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a process group of its own, which can be ended as a whole
        )
    try:
        yield beside
    finally:
        if beside.poll() is None:
            os.killpg(beside.pid, signal.SIGTERM)
            beside.wait()
