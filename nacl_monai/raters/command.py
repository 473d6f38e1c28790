"""What ``nacl-monai fit-prior`` does: fit a width, print it, and write the words of a training."""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from operator import add
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nacl_monai.audits.channels import read_dataset
from nacl_monai.counting import counted
from nacl_monai.data.patients import patients_of
from nacl_monai.data.tolerance import AFFINE_TOLERANCE
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import write_text
from nacl_monai.losses.neighborhood import extent_of
from nacl_monai.raters.fitting import Fit, fit_width
from nacl_monai.raters.folders import RatedCase, check_values, find_cases, read_cases, structure
from nacl_monai.raters.masks import RatedMasks
from nacl_monai.raters.priors import blur
from nacl_monai.raters.scores import PriorScores, score_priors

#: Widths that are tried, in the smallest voxels of the label maps.
TRIED = np.geomspace(0.3, 8.0, 14)
PREFIX = "losses::nacl::"


@dataclass(frozen=True)
class FitOptions:
    """The words of the command, see its help."""

    raters: Sequence[Path]
    output: Path
    spacing: Sequence[float] | None = None
    volumes: bool = False
    band: float = 3.0
    patient_pattern: str | None = None
    affine_tolerance: float = AFFINE_TOLERANCE

    @property
    def axes(self) -> int:
        """How many axes the network sees."""
        return 3 if self.volumes else 2


def fit_prior(options: FitOptions) -> list[Path]:
    """Fits the width of a Gaussian blur to raters, prints it, and writes the overrides of a training.

    Args:
        options: The command's options.

    Returns:
        The file that ``--args_file`` of a training takes.

    Raises:
        InputError: If the label maps do not fit each other, or the raters agree in every voxel.
    """
    _check(options)
    by_class, spacing = _scores(options)
    fits = {f"class {value}": fit_width(of, "blur") for value, of in by_class.items()}
    pooled = fit_width(reduce(add, by_class.values()), "blur")
    words = overrides(pooled.best, spacing, options.spacing or spacing)
    lines = [_line(name, fit) for name, fit in {**fits, "all classes": pooled}.items()]
    print(*lines, sep="\n")
    if pooled.doubt:
        print(f"warning: the raters cannot tell the width: {pooled.doubt}", file=sys.stderr)
    print("train with:", " ".join(f"--{key} {_word(value)}" for key, value in words.items()))
    comments = [*lines, f"{len(options.raters)} raters, {counted(pooled.patients, 'patient')}"]
    return [write_text(options.output, _arguments(comments, words))]


def _arguments(comments: Sequence[str], words: Mapping[str, object]) -> str:
    """The text of a file that ``--args_file`` takes."""
    lines = [*(f"# {line}" for line in comments), *(f"{key}: {words[key]}" for key in words)]
    return "\n".join(lines) + "\n"


def _check(options: FitOptions) -> None:
    if not 0 < options.band < math.inf:
        raise SettingError(f"--band: is {options.band:g}; give a width above 0 mm")
    sizes = options.spacing
    if sizes is not None and (
        len(sizes) != options.axes or not all(0 < size < math.inf for size in sizes)
    ):
        raise SettingError(
            f"--spacing: is {' '.join(f'{size:g}' for size in sizes)}; give {options.axes} numbers of "
            "mm, one per axis of what the network sees"
        )


def _scores(options: FitOptions) -> tuple[dict[int, PriorScores], tuple[float, ...]]:
    """The scores of each class, and the spacing of the label maps."""
    files = find_cases(options.raters)
    patients = patients_of(list(files), options.patient_pattern) or list(files)
    cases = list(read_cases(files, options.affine_tolerance))
    held = [_values(cases, rater) for rater in range(len(options.raters))]
    values = check_values(options.raters, held)
    _check_ignored(options.raters, values)
    _check_apart(options.raters, cases)
    spacings = _spacings(options, cases)
    priors = [blur(width) for width in TRIED * spacings.min()]
    scores = {
        value: score_priors(_masks(cases, patients, value, options), priors, [options.band])
        for value in values
    }
    return scores, tuple(np.median(spacings, axis=0).tolist())


def _values(cases: Sequence[RatedCase], rater: int) -> set[int]:
    """The label values that a rater's label maps hold, without the background."""
    return {int(value) for case in cases for value in np.unique(case.labels[rater]) if value}


def _check_apart(raters: Sequence[Path], cases: Sequence[RatedCase]) -> None:
    for one, other in combinations(range(len(raters)), 2):
        if all(np.array_equal(case.labels[one], case.labels[other]) for case in cases):
            raise InputError(
                f"{raters[other]}: agrees with {raters[one]} in every voxel, and "
                "without disagreement there is no width to fit; give label maps that were drawn apart"
            )


def _check_ignored(raters: Sequence[Path], values: Container[int]) -> None:
    for folder in raters:
        file = folder.resolve().parent / "dataset.json"
        ignored = read_dataset(file).ignore if file.is_file() else None
        if ignored in values:
            raise InputError(
                f"{file}: says to ignore the label {ignored}, whose border is none of a structure; give "
                "label maps without it"
            )


def _spacings(options: FitOptions, cases: Sequence[RatedCase]) -> npt.NDArray[np.float64]:
    """The spacing of every case; they must be alike where that of the training is not given."""
    spacings = np.array([case.spacing[: options.axes] for case in cases])
    if options.spacing is None and not np.allclose(spacings, spacings[:1], rtol=1e-2):
        raise SettingError(
            "--spacing: is missing, and the label maps differ in theirs; give that of the training"
        )
    return spacings


def _masks(
    cases: Sequence[RatedCase], patients: Sequence[str], value: int, options: FitOptions
) -> Iterator[RatedMasks]:
    """The masks of a class, of the cases that have it."""
    for case, patient in zip(cases, patients, strict=True):
        masks = structure(case, value, patient, options.band, options.volumes)
        if masks is not None:
            yield masks


def overrides(
    width: float, drawn_on: Sequence[float], trained_on: Sequence[float]
) -> Mapping[str, object]:
    r"""The keys of a training and their values.

    A mask on voxels of the size :math:`h` has its border up to :math:`h / 2` beside where it was drawn,
    which adds the variance :math:`h^2 / 12` to the distance between raters. It is taken off for the
    voxels that the label maps have, and added for those of the training.

    Args:
        width: In mm, fitted to label maps.
        drawn_on: The size of their voxels, in mm.
        trained_on: The size of the training's voxels, in mm.

    Example:
        >>> for key, value in overrides(2.0, [1.0, 1.0], [1.0, 2.0]).items():
        ...     print(key, value)
        losses::nacl::prior blur
        losses::nacl::sigma [2.0, 1.031]
        losses::nacl::kernel_size [13, 9]
    """
    drawn = max(width**2 - float(np.mean(np.square(drawn_on))) / 12, 0.0)
    sigma = [round(math.sqrt(drawn + size**2 / 12) / size, 3) for size in trained_on]
    sizes = [extent_of("blur", one) for one in sigma]
    alike = len(set(sigma)) == 1
    return {
        f"{PREFIX}prior": "blur",
        f"{PREFIX}sigma": sigma[0] if alike else sigma,
        f"{PREFIX}kernel_size": sizes[0] if alike else sizes,
    }


def _word(value: object) -> str:
    return f'"{value}"' if isinstance(value, list) else str(value)


def _line(name: str, fit: Fit) -> str:
    return (
        f"{name}: {fit.best:.2f} mm [{fit.low:.2f}, {fit.high:.2f}], as good from {fit.flat[0]:.2f} to "
        f"{fit.flat[1]:.2f} mm, by the Brier score up to {fit.band:g} mm from a border"
    )
