"""``nacl-monai fit-prior``: fit a width, print it, and write the overrides of a training."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from operator import add
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from nacl_monai.data.cases import AFFINE_TOLERANCE, patients_of
from nacl_monai.data.faults import VoxelGrid, check_affine, check_same_grid
from nacl_monai.errors import InputError, SettingError, print_line
from nacl_monai.files import write_text
from nacl_monai.inference.orientation import orientation_to
from nacl_monai.inference.promised import Array
from nacl_monai.losses.neighborhood import extent_of
from nacl_monai.output import check_new_file
from nacl_monai.predictions.channels import read_dataset_json
from nacl_monai.predictions.images import label_files, read_image, whole_numbers
from nacl_monai.raters.priors import RatedMasks, blur
from nacl_monai.raters.scores import FittedWidth, PriorScores, fit_width, score_priors
from nacl_monai.words import counted, interval_text

#: Widths that are tried, in the smallest voxels of the label maps.
TRIED = np.geomspace(0.3, 8.0, 14)
KEYS = [f"losses::nacl::{name}" for name in ("prior", "sigma", "kernel_size")]


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
        InputError: If there is a file already, the label maps do not fit each other, or the raters agree
            in every voxel.
    """
    _check(options)
    check_new_file(options.output)
    by_class, spacing = _scores(options)
    fits = {f"class {value}": fit_width(scores, "blur") for value, scores in by_class.items()}
    pooled = fit_width(reduce(add, by_class.values()), "blur")
    settings = overrides(pooled.best, spacing, options.spacing or spacing)
    lines = [_line(name, fit) for name, fit in {**fits, "all classes": pooled}.items()]
    print(*lines, sep="\n")
    if pooled.doubt:
        print_line("warning", f"the raters cannot tell the width: {pooled.doubt}")
    quoted = {
        key: f'"{word}"' if isinstance(word, list) else word for key, word in settings.items()
    }
    print("train with:", *(f"--{key} {word}" for key, word in quoted.items()))
    lines.append(f"{len(options.raters)} raters, {counted(pooled.patients, 'patient')}")
    text = [f"# {line}\n" for line in lines] + [f"{key}: {settings[key]}\n" for key in settings]
    return [write_text(options.output, "".join(text))]


def _check(options: FitOptions) -> None:
    if not 0 < options.band < math.inf:
        raise SettingError(f"--band: is {options.band:g}; give a width above 0 mm")
    sizes = options.spacing
    if sizes and not (len(sizes) == options.axes and all(0 < s < math.inf for s in sizes)):
        raise SettingError(
            f"--spacing: is {' '.join(f'{size:g}' for size in sizes)}; give {options.axes} numbers of "
            "mm, one per axis of what the network sees"
        )


def _scores(options: FitOptions) -> tuple[dict[int, PriorScores], tuple[float, ...]]:
    """The scores of each class, and the spacing of the label maps."""
    files = rated_files(options.raters)
    patients = patients_of(list(files), options.patient_pattern) or list(files)
    cases = list(read_rated_cases(files, options.affine_tolerance))
    held = [
        {int(value) for case in cases for value in np.unique(case.labels[rater])} - {0}
        for rater in range(len(options.raters))
    ]
    values = values_of_raters(options.raters, held)
    _check_raters(options.raters, values, cases)
    spacings = _spacings(options, cases)
    priors = [blur(width) for width in TRIED * spacings.min()]
    scores = {}
    how = options.band, options.volumes
    for value in values:
        pairs = zip(cases, patients, strict=True)
        masks = (structure(case, value, patient, *how) for case, patient in pairs)
        scores[value] = score_priors(filter(None, masks), priors, [options.band])
    return scores, tuple(np.median(spacings, axis=0).tolist())


def _check_raters(
    raters: Sequence[Path], values: Container[int], cases: Sequence[RatedCase]
) -> None:
    """Refuses labels to ignore, and two raters with equal label maps."""
    for folder in raters:
        file = folder.resolve().parent / "dataset.json"
        ignored = read_dataset_json(file).ignore if file.is_file() else None
        if ignored in values:
            raise InputError(
                f"{file}: says to ignore the label {ignored}, whose border is not a structure's; give "
                "label maps without it"
            )
    for first, second in combinations(range(len(raters)), 2):
        if all(np.array_equal(case.labels[first], case.labels[second]) for case in cases):
            raise InputError(
                f"{raters[second]}: agrees with {raters[first]} in every voxel, and "
                "without disagreement there is no width to fit; give label maps that were drawn apart"
            )


def _spacings(options: FitOptions, cases: Sequence[RatedCase]) -> npt.NDArray[np.float64]:
    """The spacing of every case; they must be alike where that of the training is not given."""
    spacings = np.array([case.spacing[: options.axes] for case in cases])
    if options.spacing is None and not np.allclose(spacings, spacings[:1], rtol=1e-2):
        raise SettingError(
            "--spacing: is missing, and the label maps differ in theirs; give that of the training"
        )
    return spacings


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
    sizes = [extent_of("blur", deviation) for deviation in sigma]
    alike = len(set(sigma)) == 1
    window = (sigma[0], sizes[0]) if alike else (sigma, sizes)
    return dict(zip(KEYS, ("blur", *window), strict=True))


def _line(name: str, fit: FittedWidth) -> str:
    return (
        f"{name}, in mm: {interval_text(fit.best, fit.low, fit.high, 2)}, as good from "
        f"{fit.flat[0]:.2f} to {fit.flat[1]:.2f}, by the Brier score up to {fit.band:g} mm from a border"
    )


@dataclass(frozen=True)
class RatedCase:
    """The label maps of a case by all raters.

    Attributes:
        name: The name of the case.
        labels: ``(raters, x, y, z)``, integers; the axes run right, anterior and superior, but for an
            axis along which voxels are clearly the longest, which is the last.
        spacing: Size of a voxel along each axis, in mm.
    """

    name: str
    labels: Array
    spacing: tuple[float, ...]


def rated_files(folders: Sequence[Path]) -> Mapping[str, Sequence[Path]]:
    """Case → its label map by each rater.

    Raises:
        SettingError: If there is only one rater.
        InputError: If a folder is given twice, or lacks a case of another.
    """
    if len(folders) < 2:
        raise SettingError(f"{folders[0]}: is the only rater; give two or more folders")
    for number, folder in enumerate(folders):
        if folder.resolve() in map(Path.resolve, folders[:number]):
            raise InputError(f"{folder}: is given twice; give every rater once")
    files = [label_files(folder) for folder in folders]
    cases = sorted(set().union(*files))
    for folder, own in zip(folders, files, strict=True):
        if missing := sorted({*cases} - own.keys()):
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(
                f"{folder}: has no label map of the case {missing[0]!r}{more}; every rater needs every "
                "case, so add it, or take the case out of the other folders"
            )
    return {case: [own[case] for own in files] for case in cases}


def read_rated_cases(
    cases: Mapping[str, Sequence[Path]], affine_tolerance: float = AFFINE_TOLERANCE
) -> Iterator[RatedCase]:
    """Reads the cases.

    Args:
        cases: From `rated_files`.
        affine_tolerance: How far apart two raters' label maps may put a voxel, in mm.

    Raises:
        InputError: If a file cannot be read, is not a label map, gives its voxels no size, or is on
            another grid than the first rater's.
    """
    for name, files in cases.items():
        images = [read_image(file) for file in files]
        first = VoxelGrid(str(files[0]), images[0].shape, images[0].affine)
        for file, image in zip(files, images, strict=True):
            check_affine(str(file), image.affine)
        turn = orientation_to(images[0].affine, "RAS", slices_last=True)
        labels = []
        for file, image in zip(files, images, strict=True):
            if image.voxels.ndim != 3:
                raise InputError(f"{file}: has {len(image.voxels)} channels; a label map has one")
            grid = VoxelGrid(str(file), image.shape, image.affine)
            check_same_grid(grid, first, affine_tolerance)
            values = whole_numbers(file, image.voxels, image.step)  # (z, y, x)
            apply: Any = nibabel.orientations.apply_orientation
            labels.append(np.ascontiguousarray(apply(values.T, turn)))
        sizes = np.linalg.norm(images[0].affine[:3, :3], axis=0)[np.argsort(turn[:, 0])]
        yield RatedCase(name, np.stack(labels), tuple(sizes.tolist()))


def values_of_raters(folders: Sequence[Path], values: Sequence[set[int]]) -> list[int]:
    """The label values of all raters, without the background.

    Args:
        folders: The raters' folders.
        values: The values that the label maps of each hold.

    Raises:
        InputError: If they have other values, or none but the background.
    """
    for folder, found in zip(folders, values, strict=True):
        if found != values[0]:
            raise InputError(
                f"{folder}: holds the label values {sorted(found)}, but {folders[0]} {sorted(values[0])}"
                "; give raters who labeled the same structures by the same values"
            )
    if not values[0]:
        raise InputError(f"{folders[0]}: holds no foreground voxel; give label maps of structures")
    return sorted(values[0])


def structure(
    case: RatedCase, value: int, patient: str, margin: float, volumes: bool
) -> RatedMasks | None:
    """The masks of one label value, cut out of the image; None where no rater has it.

    Args:
        case: The case.
        value: The structure's value.
        patient: Whose case it is.
        margin: Around it, in mm.
        volumes: Whether the volume is one plane, instead of each slice along the last axis.
    """
    masks = case.labels == value
    if not masks.any():
        return None
    cut = masks[(slice(None), *_box(masks.any(axis=0), case.spacing, margin))]
    if volumes:
        return RatedMasks(cut[:, None], case.spacing, patient)
    return RatedMasks(np.moveaxis(cut, 3, 1), case.spacing[:2], patient)


def _box(mask: Array, spacing: Sequence[float], margin: float) -> Iterator[slice]:
    """The box around a mask with a margin in mm and a voxel more, axis by axis."""
    for marked, size in zip(np.nonzero(mask), spacing, strict=True):
        extra = int(np.ceil(margin / size)) + 1
        yield slice(max(0, marked.min() - extra), marked.max() + 1 + extra)
