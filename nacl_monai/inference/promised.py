"""A promise applied to probabilities: contours, volumes and bounds of Dice, with MONAI alone.

``nacl-monai promise --apply`` and every exported bundle compute this; see ``nacl_monai.promises``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .records import CONTOURS, DICE, FINGERPRINT, INNER, MARGIN, MARGIN_ONLY, MARGINS, VOLUME

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]
#: The file of an applied promise.
APPLIED = "promised.csv"
#: An inner contour has so much of the predicted structure, or nothing.
LEAST = 0.25
#: Probabilities are summed in these units, so that no order of voxels changes a bit.
SCALE = 2.0**32
_BYTES = 255
_BLOCK = 2**18  # voxels at a time
_ROUNDING = 1e-6  # of a distance in mm
#: What is wrong with a case that calibrated.
VERY_PREDICTION = "has the very prediction of a patient who calibrated the promise"
_SAME = 2e-6  # what rounded statistics of one case differ by
_SLACK = 1.1  # how many times as large or small a voxel may be as those of the calibration patients
#: A milliliter.
MM3_PER_ML = 1000


class Levels(NamedTuple):
    """The probability and margin of each voxel of a structure, which decide its sets.

    Attributes:
        probs: Its probability, float32 or float64.
        margins: The position of the smallest margin that holds it, int8.
    """

    probs: Array
    margins: Array

    def above(self, thresholds: Sequence[float]) -> npt.NDArray[np.bool_]:
        """The voxels that reach the threshold of their margin, one for each of `MARGINS`."""
        inside: npt.NDArray[np.bool_] = self.probs >= np.asarray(thresholds)[self.margins]
        return inside

    def expected(self, margin: float) -> float:
        """The sum of the probabilities within a margin."""
        units = np.rint(self.probs[self.margins <= MARGINS.index(margin)] * SCALE)
        return int(units.astype(np.int64).sum()) / SCALE


def structure_levels(
    probs: torch.Tensor,
    structures: Mapping[str, Sequence[int]],
    spacing: Sequence[float],
    overlapping: bool = False,
) -> Iterator[Levels]:
    """The levels of each structure of a case.

    Args:
        probs: ``(C, *spatial)``, any floating dtype, or uint8 for ``round(255 p)``.
        structures: Name → channels; the probability of several exclusive classes is their sum.
        spacing: The size of a voxel along each spatial axis, in mm.
        overlapping: Whether each channel is a structure of its own, as after a sigmoid.
    """
    most = None if overlapping else _most(probs)
    for channels in structures.values():
        planes = [_exact(probs[k]) for k in channels]
        inside = planes[0] if len(planes) == 1 else sum(plane.astype(float) for plane in planes)
        predicted = np.asarray(inside > 0.5) if most is None else np.zeros(most.shape, np.bool_)
        for k in channels if most is not None else ():
            predicted |= most == k
        yield Levels(np.asarray(inside), _margins(predicted, spacing))


def _exact(plane: torch.Tensor) -> Array:
    """A channel in single precision at least, which NumPy computes with."""
    if plane.is_floating_point():
        values: Array = (plane.float() if plane.dtype.itemsize < 4 else plane).numpy()
        return values
    return plane.float().div_(_BYTES).numpy()


def _most(probs: torch.Tensor) -> Array:
    """The most probable class of each voxel, the first of several."""
    classes = np.zeros(probs.shape[1:], np.min_scalar_type(len(probs)))
    rows = max(1, _BLOCK * len(classes) // max(1, classes.size))
    for start in range(0, len(classes), rows):
        found = classes[start : start + rows]
        largest, *further = map(_exact, probs[:, start : start + rows])
        for k, plane in enumerate(further, 1):
            found[plane > largest] = k
            largest = np.maximum(largest, plane)
    return classes


def _margins(predicted: Array, spacing: Sequence[float]) -> Array:
    """The position of the smallest margin that holds each voxel."""
    import torch  # noqa: PLC0415 - whoever makes a promise has no voxels, and starts without it

    from .distances import ROUNDED, bounding_box, squared_distances  # noqa: PLC0415 - as above

    margins = np.full(predicted.shape, len(MARGINS) - 1, np.int8)
    mask, beyond = torch.from_numpy(predicted), MARGINS[-2] * ROUNDED
    near = bounding_box(mask, [int(beyond / size) for size in spacing])
    if near is not None:  # beyond the widest margin no distance is needed
        squared = squared_distances(mask[near], beyond, [*spacing], torch.float64)
        distances, found = squared.sqrt_().sub_(_ROUNDING).numpy(), margins[near]
        found[:] = 0
        for margin in MARGINS[:-1]:
            found += distances > margin
    return margins


@dataclass(frozen=True)
class Applied:
    """The promises about one structure of one case.

    Attributes:
        structure: Its name.
        prediction: Where it is predicted, boolean, of the shape of the voxels.
        contours: "outer" and "inner", boolean, of the shape of the voxels.
        expected: The expected volume in ml.
        volume: The ends of its interval.
        dice: The lower bound of Dice; NaN where none is promised.
        expected_dice: Dice as the probabilities expect it.
        volumes: Those of the contours in ml.
    """

    structure: str
    prediction: npt.NDArray[np.bool_]
    contours: Mapping[str, npt.NDArray[np.bool_]]
    expected: float
    volume: tuple[float, float]
    dice: float
    expected_dice: float
    volumes: Mapping[str, float]

    @property
    def predicted(self) -> bool:
        """Whether it is predicted anywhere."""
        return bool(self.prediction.any())


def fingerprint(
    structures: Sequence[Applied], spacing: Sequence[float]
) -> dict[str, dict[str, float]]:
    """What a case is recognized by, under whatever name: structure → expected Dice, logarithm of ml."""
    voxel = float(np.prod(spacing)) / MM3_PER_ML
    found = {}
    for part in structures:
        volume = np.log(part.prediction.sum() * voxel) if part.predicted else 0.0
        found[part.structure] = dict(
            zip(FINGERPRINT, (part.expected_dice, float(volume)), strict=True)
        )
    return found


def known_case(
    case: Mapping[str, Mapping[str, float]], known: Mapping[str, Mapping[str, Sequence[float]]]
) -> str:
    """The fault of a case that has the predictions of one that calibrated, under whatever name.

    The statistics that both have are compared, those of all structures. They say nothing where nothing
    is predicted, or where every probability is 0 or 1.

    Args:
        case: Structure → statistic → its value, as from `fingerprint`.
        known: Structure → statistic → its values of those who calibrated.
    """
    if not known or all(of_structure[FINGERPRINT[0]] in (0, 1) for of_structure in case.values()):
        return ""
    unlike = [
        abs(np.array(known[structure][name]) - value)
        for structure, of_structure in case.items()
        for name, value in of_structure.items()
        if name in known[structure]
    ]
    is_known = (np.max(unlike, axis=0) < _SAME).any()
    return f"{VERY_PREDICTION}; leave it out" if is_known else ""


def unlike_spacing(spacing: Sequence[float], seen: Sequence[Sequence[float]]) -> str:
    """The fault of a voxel's size, by the smallest and largest of the calibration patients."""
    if len(spacing) != len(seen[0]):
        return (
            f"there are {len(spacing)} axes, but the images of the calibration patients had "
            f"{len(seen[0])}; calibrate with images like this one"
        )
    for size, low, high in zip(sorted(spacing), *seen, strict=True):
        if not low / _SLACK <= size <= high * _SLACK:
            return (
                f"a voxel is {size:.3g} mm wide, but those of the calibration patients were "
                f"{low:.3g} to {high:.3g} mm; calibrate with images like this one"
            )
    return ""


def apply_kept(
    kept: Sequence[Mapping[str, Any]],
    definition: Mapping[str, Any],
    probs: torch.Tensor,
    spacing: Sequence[float],
) -> list[Applied]:
    """The promises about each structure of a new case.

    Args:
        kept: The promises of one level, as ``promise.json`` has them.
        definition: Its structures and activation.
        probs: ``(C, *spatial)``, floating.
        spacing: The size of a voxel along each spatial axis, in mm.
    """
    of_structure: dict[str, dict[str, Any]] = {}
    for promise in kept:
        margin = np.inf if promise["margin"] == "all" else promise["margin"]
        of_structure.setdefault(promise["structure"], {})[promise["kind"]] = {
            **promise,
            "margin": margin,
        }
    structures, overlapping = definition["structures"], definition["activation"] == "sigmoid"
    levels = structure_levels(probs, structures, spacing, overlapping)
    voxel = float(np.prod(spacing)) / MM3_PER_ML
    return [
        _applied(name, of_level, of_structure.get(name, {}), voxel)
        for name, of_level in zip(structures, levels, strict=True)
    ]


def _applied(name: str, levels: Levels, kept: Mapping[str, Any], voxel: float) -> Applied:
    prediction = np.asarray(levels.margins == 0)
    predicted = int(prediction.sum())
    contours = {kind: levels.above(kept[kind]["values"]) for kind in CONTOURS if kind in kept}
    if INNER in contours and contours[INNER].sum() < LEAST * predicted:
        contours[INNER] = np.zeros_like(contours[INNER])
    expected, low, high, bound = (float("nan"),) * 4
    if (of_volume := kept.get(VOLUME)) is not None:
        plain = of_volume["family"] == MARGIN_ONLY  # without probabilities
        expected = (predicted if plain else levels.expected(of_volume["margin"])) * voxel
        (q,) = of_volume["values"]
        low, high = ((expected + voxel) * np.exp([-q, q]) - voxel).tolist()
    if (of_dice := kept.get(DICE)) is not None:
        plain = of_dice["family"] == MARGIN_ONLY
        dice = 1.0 if plain else _expected_dice(levels, of_dice["margin"], predicted)
        bound = float(np.clip(dice - of_dice["values"][0], 0, 1))
    return Applied(
        name,
        prediction,
        contours,
        expected,
        (max(0.0, low), high),
        bound,
        _expected_dice(levels, MARGIN, predicted),
        {kind: float(mask.sum()) * voxel for kind, mask in contours.items()},
    )


def _expected_dice(levels: Levels, margin: float, predicted: int) -> float:
    """It is 0 where nothing is predicted."""
    if not predicted:
        return 0.0
    return float(dice_of(levels.expected(0.0), predicted, levels.expected(margin)))


def dice_of(both: Any, size: Any, other: Any) -> Any:
    """Dice of two sets by their sizes and that of what is in both; of probabilities, by their sums.

    Expected Dice has in ``both`` the probabilities of the predicted voxels, in ``size`` their number,
    and in ``other`` the probabilities of all voxels within a margin.
    """
    return 2 * both / (size + other)


def table_rows(case: str, structures: Sequence[Applied]) -> list[dict[str, Any]]:
    """The rows of ``promised.csv`` of one case."""
    return [
        {
            "case": case,
            "structure": applied.structure,
            "volume_ml": applied.expected,
            "volume_low_ml": applied.volume[0],
            "volume_high_ml": applied.volume[1],
            "dice_low": applied.dice,
            **{f"{kind}_ml": volume for kind, volume in applied.volumes.items()},
        }
        for applied in structures
    ]


def unlike_model(
    definition: Mapping[str, Any],
    classes: Sequence[str],
    structures: Mapping[str, Sequence[int]],
    calibrator: str | None,
) -> str:
    """The differences from the model whose predictions were promised; empty if there are none."""
    ours = {
        "the classes": [*classes, "by softmax"],
        "the structures": [f"{name} {[*channels]}" for name, channels in structures.items()],
        "the calibrator": [calibrator or "none"],
        "the ensemble": ["none"],
    }
    theirs = {
        "the classes": [*definition["channels"], f"by {definition['activation']}"],
        "the structures": [
            f"{name} {[*channels]}" for name, channels in definition["structures"].items()
        ],
        "the calibrator": definition["calibrator"] or ["none"],
        "the ensemble": definition.get("ensemble") or ["none"],
    }
    return "; ".join(
        f"{what} {', '.join(map(str, theirs[what]))}, but the model has {', '.join(ours[what])}"
        for what in ours
        if ours[what] != theirs[what]
    )
