r"""What can be fitted to the logits of validation patients, and what each fit did.

Structures that may overlap have one sigmoid each. With the logit :math:`l_k` of structure :math:`k`:

.. math::

    p_k = \sigma(l_k / T), \qquad p_k = \sigma(l_k / T_k), \qquad p_k = \sigma(s_k l_k + b_k)

The first is one temperature, the second one for each structure, the third Platt scaling. Each is fitted
by the binary cross-entropy, its mean over voxels, patients and structures. A sigmoid of :math:`l` is a
softmax of 0 and :math:`l`, so that the fits are those of two classes: exact, and finite where nearly all
voxels are outside. Temperatures keep every label map, at the threshold 0.5. A bias is at most
:data:`~nacl_monai.posthoc.scaling.LARGEST_BIAS` from 0, so that Platt scaling seldom changes one.

References:
    On Calibration of Modern Neural Networks (Guo et al., 2017).
    Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods
    (Platt, 1999), which has no bound, and smooths the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.metrics.regions import depends_on_labels
from nacl_monai.posthoc.distance import KNOTS, SIGNED_KNOTS, DistanceTemperatures, fit_curve
from nacl_monai.posthoc.local_temperatures import LocalTemperatures, fit_local_temperatures
from nacl_monai.posthoc.probabilities import logits_of, structure_logits_of
from nacl_monai.posthoc.scaling import (
    LARGEST,
    LARGEST_BIAS,
    SMALLEST,
    ClassTemperatures,
    Temperature,
    VectorScaling,
    fit_affine,
    fit_class_temperatures,
    fit_temperature,
    fit_vector_scaling,
)
from nacl_monai.posthoc.voxels import FitVoxels, RegionLogits, StructureLogits
from nacl_monai.tensors import top1
from nacl_monai.words import counted

_T = TypeVar("_T")


@dataclass(frozen=True)
class FitMethod:
    """A way to calibrate logits.

    Attributes:
        module: Makes the module; its arguments are the names of its buffers, and the unit of distances.
            It is called with logits ``(B, C, *spatial)``, and where they are known with the image
            ``(B, M, *spatial)`` and the spacing in mm, and returns logits.
        fit: Finds it by the NLL of voxels, and where `resumes` says so from parameters that are near.
        sees_image: Whether it needs the image beside the logits.
        sees_distance: Whether it needs whole images, since it looks for the predicted border.
        region: The voxels of the fit by default. Where the label decides, a fit changes
            true probabilities: a voxel of the background is in prediction ∪ label only where the
            network is wrong, so that whatever is fitted there learns to distrust the background.
        resumes: The parameter from which a fit to some of the patients goes on; empty where it begins
            anew.
    """

    module: Callable[..., nn.Module]
    fit: Callable[..., nn.Module]
    sees_image: bool = False
    sees_distance: bool = False
    region: str = "near"
    resumes: str = ""


def caution(region: str) -> str:
    """A line of warning about the voxels of a fit, where labels decide which they are; else empty.

    Example:
        >>> caution("near"), caution("union")[:26]
        ('', 'warning: region union: the')
    """
    if not depends_on_labels(region):
        return ""
    return (
        f"warning: region {region}: the label decides its voxels, so that the fit changes even true "
        "probabilities; choose near or all"
    )


@dataclass(frozen=True)
class Fit:
    """A fitted calibrator, on what it was fitted, and what it does there.

    Patients weigh the same, and so do structures that may overlap.

    Attributes:
        method: A key of `METHODS` or `SIGMOID_METHODS`.
        parameters: The arguments of its module.
        nll_before: Mean NLL without it.
        nll: The same with it.
        moved: The share of the voxels whose most probable class it changes, or that move inside or
            outside of a structure.
        region: The voxels that counted.
        patients: Whose they are.
        voxels: How many they are; a sum over structures.
    """

    method: str
    parameters: dict[str, Any]
    nll_before: float
    nll: float
    moved: float
    region: str
    patients: tuple[str, ...]
    voxels: int

    @property
    def module(self) -> nn.Module:
        """From logits to logits."""
        return module_of({"method": self.method, "parameters": self.parameters})

    @property
    def sees_distance(self) -> bool:
        """Whether it needs whole images, since it looks for the predicted border."""
        return {**METHODS, **SIGMOID_METHODS}[self.method].sees_distance

    @property
    def bound(self) -> str:
        """The parameter that is where the search for it ends, as "temperature 100"; or nothing."""
        return self._beyond(1.001)

    def _beyond(self, least: float) -> str:
        """The first parameter that is not so many times as far inside as where the search ends."""
        ends = dict.fromkeys(("temperature", "temperatures"), (SMALLEST, LARGEST))
        ends["scales"] = 1 / LARGEST, 1 / SMALLEST
        for name, (low, high) in ends.items():
            for value in np.ravel(self.parameters.get(name, ())):
                if not low * least < value < high / least:
                    return f"{name.removesuffix('s')} {value:.4g}"
        return ""

    def _shape(self, activation: str, channels: int) -> tuple[int, ...]:
        """That of the parameters: of each channel, or the curve of all, or one of each."""
        curve = [np.size(self.parameters["knots"])] if self.sees_distance else []
        return (*[channels] * (not curve or activation == "sigmoid"), *curve)

    def fault(self, activation: str, channels: int) -> str:
        """What no fit to so many channels gives; empty if nothing is wrong.

        Args:
            activation: "softmax" or "sigmoid".
            channels: Their number.
        """
        if self.method not in OUTPUTS[activation].methods:
            return f"method {self.method} is not for {activation}"
        if beyond := self._beyond(0.999):
            return f"{beyond} is beyond where a search ends"
        if self.sees_distance and "unit" not in self.parameters:
            return "the unit of its distances is missing"
        shapes = {
            np.shape(values)
            for name, values in self.parameters.items()
            if name not in ("temperature", "knots", "unit")
        }
        if self.method != "local_temperatures" and not shapes <= {
            self._shape(activation, channels)
        }:
            return f"its parameters are not of {channels} channels"
        return ""

    def text(self, unit: str = "patients") -> str:
        """One line: the parameters, the patients and the effect.

        Args:
            unit: "patients", or "cases" if patients are unknown.
        """
        found = ", ".join(
            f"{name} {_listed(values)}"
            for name, values in self.parameters.items()
            if np.ndim(values) == 0
            or "second_bias" not in self.parameters  # no weights of a network
        )
        people = counted(len(self.patients), unit.removesuffix("s"))
        return (
            f"{found} over {people}, NLL {self.nll_before:.4f} → {self.nll:.4f}, "
            f"{self.moved:.2%} of the voxels change their class"
        )


def _listed(values: Any) -> str:
    """Numbers in a line, with a / between the curves of structures; a word as it is."""
    if isinstance(values, str):
        return values
    rows = np.atleast_2d(values)
    return " / ".join(" ".join(f"{value:.4g}" for value in row) for row in rows)


def fit_method(method: str, voxels: RegionLogits | StructureLogits, near: Fit | None = None) -> Fit:
    """Fits a calibrator by NLL over a region; every patient weighs the same, and every structure.

    Args:
        method: A key of `METHODS`; of `SIGMOID_METHODS` where structures may overlap.
        voxels: The voxels of the validation patients.
        near: The fit of the same method to some more patients, whose passes are not made again.

    Raises:
        InputError: If there is no such method; if the region is empty in all patients; if the voxels of
            a structure in its region are all inside or all outside, from which no probability can be
            learned; or if nothing fits.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[3.0, 3.0, 3.0, 3.0]], [[0.0, 0.0, 0.0, 0.0]]])
        >>> with RegionLogits("all") as voxels:
        ...     voxels.add(logits, torch.tensor([[[0, 0, 0, 1]]]), "patient001")
        ...     fit = fit_method("temperature", voxels)
        >>> round(fit.parameters["temperature"], 4)  # 3 / log(3)
        2.7307
        >>> logits = torch.tensor([[3.0, 3.0, 3.0, 3.0], [-1.0, -1.0, -1.0, -1.0]])
        >>> masks = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 0]])
        >>> with StructureLogits(["WT", "TC"]) as structures:
        ...     structures.add(logits[:, None], masks[:, None], "patient001")
        ...     fit = fit_method("structure_temperatures", structures)
        >>> [round(temperature, 4) for temperature in fit.parameters["temperatures"]]  # 3 and 1 / log(3)
        [2.7307, 0.9102]
    """
    methods = SIGMOID_METHODS if isinstance(voxels, StructureLogits) else METHODS
    if method not in methods:
        raise InputError(f"method: is {method!r}; choose from {', '.join(methods)}")
    if isinstance(voxels, RegionLogits) and not voxels.patients:
        raise InputError(
            f"region {voxels.region}: has no voxel in any patient of the fit; choose another region"
        )
    resumed = methods[method].resumes if near else ""
    start = {"start": near.parameters[resumed]} if near and resumed else {}
    module = methods[method].fit(voxels, **start)
    nll_before, nll, moved = _compared(_calibrated(methods[method], voxels, module))
    unit = {"unit": module.unit} if isinstance(module, DistanceTemperatures) else {}
    return Fit(
        method=method,
        parameters={name: values.tolist() for name, values in module.named_buffers()} | unit,
        nll_before=nll_before,
        nll=nll,
        moved=moved,
        region=voxels.region,
        patients=tuple(voxels.patients),
        voxels=voxels.count,
    )


def _calibrated(method: FitMethod, voxels: Any, module: nn.Module) -> Iterator[_Calibrated]:
    """The inputs of `_compared`: the voxels before and after a fit."""
    if method.sees_distance:
        blocks = blocks_by_distance(voxels, module)
        return ((before.T, after.T, labels, weight) for before, after, labels, _, weight in blocks)
    if isinstance(voxels, StructureLogits):
        return _calibrated_structures(voxels, module)
    return (_calibrated_slices if method.sees_image else _calibrated_voxels)(voxels, module)


#: Voxels of a volume without and with a calibrator, ``(n, C)``, their labels, the weight of each.
_Calibrated = tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]


def _calibrated_voxels(voxels: RegionLogits, module: nn.Module) -> Iterator[_Calibrated]:
    for volume in voxels:
        for logits, labels in volume.blocks():
            yield logits.T, module(logits.T), labels, volume.weight


def _calibrated_slices(voxels: RegionLogits, module: nn.Module) -> Iterator[_Calibrated]:
    for volume in voxels.volumes():
        both = volume.logits, module(volume.logits, volume.image)
        before, after = (logits.movedim(1, -1)[volume.kept].double() for logits in both)
        yield before, after, volume.labels, volume.weight


def _calibrated_structures(voxels: StructureLogits, module: nn.Module) -> Iterator[_Calibrated]:
    """The logits outside, 0, and inside of each structure."""
    for channel, problem in enumerate(voxels.problems):
        for volume in problem:
            for logits, labels in volume.blocks():
                all_channels = logits[1:].T.expand(-1, len(voxels.structures))
                inside = module(all_channels)[:, channel]
                after = torch.stack([torch.zeros_like(inside), inside], 1)
                yield logits.T, after, labels, volume.weight


def blocks_by_distance(
    voxels: RegionLogits | StructureLogits, module: Any
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float]]:
    """Blocks of voxels without and with a calibrator by distance, of each structure that may overlap.

    Args:
        voxels: The voxels.
        module: A `DistanceTemperatures`.

    Yields:
        Logits before and after, ``(C, n)``; labels; distances to the predicted border; a voxel's weight.
    """
    problems = voxels.problems if isinstance(voxels, StructureLogits) else [voxels]
    curves = module.temperatures.reshape(len(problems), -1)
    for problem, curve in zip(problems, curves, strict=True):
        for volume in problem:
            for (logits, labels), distances in volume.blocks_with_distances():
                places = module.signed(distances, logits[1:].amax(0) > logits[0])
                after = module.divided(logits, places, curve)
                yield logits, after, labels, distances, volume.weight


def _compared(volumes: Iterable[_Calibrated]) -> tuple[float, float, float]:
    """The mean NLL before and after in nats, and the share of voxels whose class changes."""
    nll, moved, patients = [0.0, 0.0], 0.0, 0.0
    for before, after, labels, weight in volumes:
        for place, logits in enumerate((before, after)):
            by_class = logits.T.contiguous()  # along voxels a processor is several times as fast
            of_label = by_class.gather(0, labels[None])[0]
            nll[place] += weight * (by_class.logsumexp(0) - of_label).sum().item()
        changed = top1(after)[1] != top1(before)[1]
        moved += weight * changed.sum().item()
        patients += weight * len(labels)
    return nll[0] / patients, nll[1] / patients, moved / patients


def _fit_distance(
    voxels: RegionLogits | StructureLogits, start: Any = None, knots: Sequence[float] = KNOTS
) -> DistanceTemperatures:
    """A curve; of structures that may overlap one each."""
    if isinstance(voxels, StructureLogits):
        near = iter(start or [None] * len(voxels.structures))
        curves: Any = _by_structure(voxels, lambda part: fit_curve(part, knots, start=next(near)))
        return DistanceTemperatures(curves, knots, voxels.problems[0].unit)
    return DistanceTemperatures(fit_curve(voxels, knots, start=start), knots, voxels.unit)


def _fit_one(voxels: StructureLogits, start: float | None = None) -> Temperature:
    """One temperature for all structures."""
    _check_labels(voxels, voxels.region, "all structures")
    return fit_temperature(voxels, start)


def _fit_each(voxels: StructureLogits, start: Sequence[float] | None = None) -> ClassTemperatures:
    """One temperature for each structure."""
    unknown: list[float | None] = [None] * len(voxels.structures)
    near = iter(start or unknown)
    found = _by_structure(voxels, lambda problem: fit_temperature(problem, next(near)))
    return ClassTemperatures([scaling.temperature.item() for scaling in found])


def _fit_platt(voxels: StructureLogits) -> VectorScaling:
    """A scale and a bias for each structure."""
    # The first of the two logits is 0, which no scale changes; only the difference of biases counts.
    found = _by_structure(voxels, lambda problem: fit_affine(problem, LARGEST_BIAS / 2))
    scales = [scale for (_, scale), _ in found]
    return VectorScaling(scales, [inside - outside for _, (outside, inside) in found])


def _by_structure(voxels: StructureLogits, fit: Callable[[Iterable[FitVoxels]], _T]) -> list[_T]:
    """The results of a fit to each structure by itself, whose name precedes a refusal."""
    found = []
    for name, problem in zip(voxels.structures, voxels.problems, strict=True):
        _check_labels(problem, voxels.region, name)
        try:
            found.append(fit(problem))
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return found


def _check_labels(problem: Iterable[FitVoxels], region: str, name: str) -> None:
    """Refuses voxels that are all inside or all outside, or none at all."""
    seen = {int(bound) for volume in problem for bound in volume.labels.aminmax()}
    if len(seen) < 2:
        found = "all inside" if 1 in seen else "all outside" if 0 in seen else "none at all"
        raise InputError(
            f"region {region}: the voxels of {name} in it are {found}, from which no probability can be "
            "learned; choose another region, such as near or all"
        )


_DISTANCE = FitMethod(
    DistanceTemperatures, _fit_distance, sees_distance=True, region="all", resumes="temperatures"
)
_SIGNED = replace(_DISTANCE, fit=partial(_fit_distance, knots=SIGNED_KNOTS))
#: By the name that a command asks for, the first where it asks for none: of exclusive classes, and of
#: structures that may overlap. Those by distance are in both; their parameters say of which one is.
METHODS: dict[str, FitMethod] = {
    "signed_distance": _SIGNED,
    "distance": _DISTANCE,
    "temperature": FitMethod(Temperature, fit_temperature, resumes="temperature"),
    "class_temperatures": FitMethod(ClassTemperatures, fit_class_temperatures),
    "vector": FitMethod(VectorScaling, fit_vector_scaling),
    "local_temperatures": FitMethod(LocalTemperatures, fit_local_temperatures, sees_image=True),
}
SIGMOID_METHODS: dict[str, FitMethod] = {
    "signed_distance": _SIGNED,
    "distance": _DISTANCE,
    "sigmoid_temperature": FitMethod(Temperature, _fit_one, resumes="temperature"),
    "structure_temperatures": FitMethod(ClassTemperatures, _fit_each, resumes="temperatures"),
    "platt": FitMethod(VectorScaling, _fit_platt),
}


def module_of(record: Mapping[str, Any]) -> nn.Module:
    """The module from logits to logits that the method and the parameters of a record make.

    Raises:
        KeyError: If there is no such method or the record lacks a key.
        TypeError: If the parameters are others than the method's.
        InputError: If a parameter is out of range.

    Example:
        >>> module_of({"method": "temperature", "parameters": {"temperature": 2}}).temperature
        tensor(2.)
    """
    return {**METHODS, **SIGMOID_METHODS}[record["method"]].module(**record["parameters"])


@dataclass(frozen=True)
class Outputs:
    """How outputs of one kind are calibrated.

    Attributes:
        methods: What can be fitted to them.
        voxels: Names of the channels, region, margin and folder → what keeps the voxels of the fit.
        logits_of: Probabilities ``(C, *spatial)`` and the step that they are stored in → logits.
        probs_of: Logits ``(C, *spatial)`` → probabilities.
    """

    methods: Mapping[str, FitMethod]
    voxels: Callable[..., RegionLogits | StructureLogits]
    logits_of: Callable[[torch.Tensor, float | None], torch.Tensor]
    probs_of: Callable[[torch.Tensor], torch.Tensor]


#: By the activation that makes probabilities of logits.
OUTPUTS = {
    "softmax": Outputs(
        METHODS,
        lambda _, region, margin, place=None: RegionLogits(region, margin=margin, folder=place),
        logits_of,
        partial(torch.softmax, dim=0),
    ),
    "sigmoid": Outputs(
        SIGMOID_METHODS,
        lambda names, region, margin, place=None: StructureLogits(
            names, region, margin=margin, folder=place
        ),
        structure_logits_of,
        torch.sigmoid,
    ),
}
