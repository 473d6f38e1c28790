"""The quick demo: a trained network that the package carries, on people whom it was not trained on."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from nacl_monai.bundles.scripts import write_scripts
from nacl_monai.cli import main as run_command
from nacl_monai.demo.steps import FOLDER
from nacl_monai.errors import InputError
from nacl_monai.files import read_object, write_text
from nacl_monai.output import check_new_file
from nacl_monai.wheel import shipped

#: The export, whose ``docs/README.md`` is its model card; its scripts are those of this version.
MODEL = "demo/hippocampus"
# What the steps behind the network need, which is loaded while it runs.
_NEEDED = ("nacl_monai.promises.report", "nacl_monai.promises.pictures")


def run_quick(output: Path = Path("runs/demo/quick")) -> None:
    """Segments, calibrates, and makes a report; each command is printed.

    The calibrator is fitted to the validation people of the training, and so tests nobody. Test people
    are audited without and with it, and calibrate the promise; the last of them is new.

    Args:
        output: The new folder for the model, images, labels, predictions and what commands write.

    Raises:
        InputError: If something is at ``output``, or a step fails, whose error is printed.
    """
    check_new_file(output)
    model, data = output / "model", shipped(FOLDER)
    shutil.copytree(shipped(MODEL), model)
    shutil.copyfile(shipped("LICENSE"), model / "LICENSE")
    write_scripts(model)
    split = read_object(model / "configs/split.json", "install the package again")
    rows = ["case,patient"]
    *tested, last = split["test"]
    parts = {"calibration": split["val"], "test": tested, "new": [last]}
    for place, patients in parts.items():
        for patient in patients:
            second = 2 * int(patient.removeprefix("person_"))  # both sides of a person
            for case in (f"hippocampus_{number:03d}" for number in (second - 1, second)):
                rows.append(f"{case},{patient}")
                for kind in ("images", "labels"):
                    (output / kind / place).mkdir(parents=True, exist_ok=True)
                    file = f"{case}.nii.gz"
                    shutil.copyfile(data / f"{kind}Tr" / file, output / kind / place / file)
    shutil.copyfile(data / "dataset.json", output / "labels/dataset.json")  # names of classes
    table = output / "patients.csv"
    write_text(table, "\n".join([*rows, ""]))
    _segment(model, output)

    def command(*command_line: object) -> None:
        arguments = list(map(str, command_line))
        print(f"\n$ {shlex.join(['nacl-monai', *arguments])}", flush=True)
        if code := run_command(arguments):
            raise InputError(f"{arguments[0]}: ended with exit code {code}; see the error above")

    def people(part: str) -> list[object]:
        return [output / "predictions" / part, output / "labels" / part, "--patients", table]

    calibrated, report = output / "calibrated", output / "report"
    fit = ("--folds", 4, "--no-pictures")
    command("calibrate", *people("calibration"), *fit, "--output", calibrated)
    behind = ("--calibrator", calibrated / "calibrator.json")
    new = ("--new", output / "predictions/new", "--new-images", output / "images/new")
    images = ("--images", output / "images/test")
    command("report", *people("test"), *behind, *new, *images, "--output", report)
    print(f"\nopen {report / 'page.html'}")


def _segment(model: Path, output: Path) -> None:
    """Runs the export as any bundle of MONAI's, whose output goes to ``segment.log``."""
    log = output / "segment.log"
    arguments = ["-m", "monai.bundle", "run", "inference", "--config_file"]
    arguments += [str(model / "configs/inference.json"), "--bundle_root", str(model)]
    arguments += ["--images", str(output / "images/*/*.nii.gz")]
    arguments += ["--output_dir", str(output / "predictions")]
    print(f"$ {shlex.join(['python', *arguments])}", flush=True)
    with log.open("wb") as stream:
        network = subprocess.Popen(
            [sys.executable, *arguments], stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            for module in _NEEDED:
                import_module(module)
            network.wait()
        finally:
            network.kill()  # where this process is ended; one that has ended stays as it is
    for cache in [*model.rglob("__pycache__")]:
        shutil.rmtree(cache)  # an export has none
    if network.returncode:
        end = log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
        raise InputError("\n".join([f"{log}: the network failed; its last lines:", *end]))
