"""The end of the demo: the contours of a test patient, promised by all other test patients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nacl_monai.errors import InputError
from nacl_monai.files import checksum, read_object
from nacl_monai.metrics.curves import CURVES_FILE, read_curves
from nacl_monai.predictions.options import Options
from nacl_monai.promises.cases import NewCase, find_new, new_cases
from nacl_monai.promises.control import Control, level_of
from nacl_monai.promises.pictures import draw_case
from nacl_monai.promises.record import PROMISE_FILE, Promise, read_promise
from nacl_monai.promises.rules import fit
from nacl_monai.reports.style import save_png
from nacl_monai.runs import RunFolder

_PICTURE = "contours.png"


def promise_to_last(run: RunFolder, data: Path, output: Path) -> Path:
    """Writes the promise of all test patients but the last; returns the image of the last.

    Args:
        run: An evaluated run, none of whose test patients it was trained on or chosen by.
        data: The folder of the dataset.
        output: The folder for ``promise.json``.

    Raises:
        InputError: If there is a single test patient, or the run lacks a file.
    """
    curves = read_curves(run.evaluation.path)
    rest = curves.without(curves.patients[-1])
    level = level_of(len(set(rest.patients)))
    promise = fit(
        rest, [Control(level)], compare=False, sums=checksum(run.evaluation.path / CURVES_FILE)
    )
    promise.write(output / PROMISE_FILE)
    return data / _files(run, curves.cases[-1])[0]


def draw_last(run: RunFolder, data: Path, output: Path) -> str:
    """Draws the contours of the last test patient after inference; returns the sentence on the promise.

    Args:
        run: The run.
        data: The folder of the dataset.
        output: The folder of ``promise.json``, and for the picture.

    Raises:
        InputError: If the image cannot be read, or was not segmented.
    """
    file = output / PROMISE_FILE
    promise, options = read_promise(file), Options(pictures=False)
    faults: list[InputError] = []
    study = find_new(file, promise, run.path / "predictions", options)
    (case,) = new_cases(study, promise, faults)
    image, label = (case.reading.image(data / name) for name in _files(run, case.name))
    structures = promise.definition["structures"]
    labels = {name: label == channel for name, (channel,) in structures.items()}
    text = _sentence(promise, case)
    picture = draw_case(replace(case, labels=labels), list(structures), image, text)
    save_png(picture, output / _PICTURE)
    return f"{text}\nwrote {output / _PICTURE}"


def _files(run: RunFolder, case: str) -> list[str]:
    """The image and the label map of a test case, below the folder of the dataset."""
    return list(read_object(run.data, "train the run again")["test"][case])


def _sentence(promise: Promise, case: NewCase) -> str:
    names, outer = " and of ".join(promise.definition["structures"]), promise.outer[0]
    share = f"{outer.miss:.0%}"
    return (
        f"In {outer.often} like these at most {share} of {names} is outside the outer contour, and at "
        f"most {share} of the inner contour is something else. {len(promise.patients)} people "
        f"calibrated it. Neither they nor the person of {case.name} trained the network."
    )
