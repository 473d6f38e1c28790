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
#: Part of the split of its training → what these people are for.
_PARTS = {"val": "calibration", "test": "test"}
# What the steps behind the network need, which is loaded while it runs.
_NEEDED = ("nacl_monai.audits.calibrate", "nacl_monai.promises.pictures")


def run_quick(output: Path = Path("runs/demo/quick")) -> None:
    """Segments, audits, calibrates, audits again, draws both and promises; each command is printed.

    The calibrator is fitted to the validation people of the training, and so tests nobody. Test people
    are audited without and with it, and calibrate the promise.

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
    for part, place in _PARTS.items():
        for patient in split[part]:
            second = 2 * int(patient.removeprefix("person_"))  # both sides of a person
            for case in (f"hippocampus_{number:03d}" for number in (second - 1, second)):
                rows.append(f"{case},{patient}")
                for kind in ("images", "labels"):
                    (output / kind / place).mkdir(parents=True, exist_ok=True)
                    file = f"{case}.nii.gz"
                    shutil.copyfile(data / f"{kind}Tr" / file, output / kind / place / file)
    shutil.copyfile(data / "dataset.json", output / "labels/dataset.json")  # names of classes
    patients = output / "patients.csv"
    write_text(patients, "\n".join([*rows, ""]))
    _segment(model, output)

    def command(*words: object) -> None:
        given = list(map(str, words))
        print(f"\n$ {shlex.join(['nacl-monai', *given])}", flush=True)
        if code := run_command(given):
            raise InputError(f"{given[0]}: ended with exit code {code}; see the error above")

    def people(part: str) -> list[object]:
        return [output / "predictions" / part, output / "labels" / part, "--patients", patients]

    audits = output / "audit", output / "audit_calibrated"
    calibrated, diagram, promise = output / "calibrated", output / "reliability", output / "promise"
    behind = ("--calibrator", calibrated / "calibrator.json")
    fit = ("--folds", 4, "--no-pictures")
    images = ("--images", output / "images/test")
    command("audit", *people("test"), *images, "--output", audits[0])
    command("calibrate", *people("calibration"), *fit, "--output", calibrated)
    command("audit", *people("test"), *behind, "--no-pictures", "--output", audits[1])
    command("reliability", *audits, "--names", "as trained", "calibrated", "--output", diagram)
    level = ("--level", 0.2, *images)
    command("promise", *people("test"), *behind, *level, "--output", promise)
    shown = [audits[0] / "page.html", diagram / "reliability_near_top-1.png", promise / "page.html"]
    print(f"\nopen {', then '.join(map(str, shown))}")


def _segment(model: Path, output: Path) -> None:
    """Runs the export as any bundle of MONAI's; what MONAI says is in ``segment.log``."""
    log = output / "segment.log"
    words = ["-m", "monai.bundle", "run", "inference", "--config_file"]
    words += [str(model / "configs/inference.json"), "--bundle_root", str(model)]
    words += ["--images", str(output / "images/*/*.nii.gz")]
    words += ["--output_dir", str(output / "predictions")]
    print(f"$ {shlex.join(['python', *words])}", flush=True)
    with log.open("wb") as stream:
        network = subprocess.Popen(
            [sys.executable, *words],
            stdout=stream,
            stderr=subprocess.STDOUT,
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
