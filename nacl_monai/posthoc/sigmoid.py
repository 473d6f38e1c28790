r"""Calibrators of structures that may overlap, one sigmoid each.

With the logit :math:`l_k` of structure :math:`k`:

.. math::

    p_k = \sigma(l_k / T), \qquad p_k = \sigma(l_k / T_k), \qquad p_k = \sigma(s_k l_k + b_k)

The first is one temperature, the second one for each structure, the third Platt scaling. Each is fitted
by the binary cross-entropy, its mean over voxels, patients and structures. A sigmoid of :math:`l` is a
softmax of 0 and :math:`l`, so that the fits are those of two classes: exact, and finite where nearly all
voxels are outside. Temperatures keep every label map, at the threshold 0.5. A bias is at most
:data:`~nacl_monai.posthoc.vector_scaling.LARGEST_BIAS` from 0, so that Platt scaling seldom changes one.

References:
    On Calibration of Modern Neural Networks (Guo et al., 2017).
    Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods
    (Platt, 1999), which has no bound, and smooths the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.posthoc.affine import fit_affine
from nacl_monai.posthoc.class_temperatures import ClassTemperatures
from nacl_monai.posthoc.fit import CalibratedVoxels, Fit, Method, compared
from nacl_monai.posthoc.region_logits import Voxels
from nacl_monai.posthoc.structure_logits import StructureLogits
from nacl_monai.posthoc.temperature import Temperature, fit_temperature
from nacl_monai.posthoc.vector_scaling import LARGEST_BIAS, VectorScaling

T = TypeVar("T")


@dataclass(frozen=True)
class StructureFit(Fit):
    """A calibrator that was fitted to structures; their names are those of its channels.

    Its NLL is a mean over structures, too, and its voxels are a sum. ``moved`` is the share of the
    voxels that move inside or outside.

    Attributes:
        structures: The names, in the order of the channels.
    """

    structures: tuple[str, ...]

    @property
    def module(self) -> nn.Module:
        """From logits to logits."""
        return SIGMOID_METHODS[self.method].module(**self.parameters)


def fit_structures(method: str, voxels: StructureLogits) -> StructureFit:
    """Fits a calibrator of sigmoid outputs by NLL; each structure of each patient weighs the same.

    Args:
        method: A key of `SIGMOID_METHODS`.
        voxels: The voxels of the validation patients.

    Raises:
        InputError: If there is no such method; if the voxels of a structure in its region are all inside
            or all outside, from which no probability can be learned; or if nothing fits.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 3.0, 3.0, 3.0], [-1.0, -1.0, -1.0, -1.0]])
        >>> masks = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 0]])
        >>> with StructureLogits(["WT", "TC"]) as voxels:
        ...     voxels.add(logits[:, None], masks[:, None], "patient001")
        ...     fit = fit_structures("structure_temperatures", voxels)
        >>> [round(temperature, 4) for temperature in fit.parameters["temperatures"]]  # 3 and 1 / log(3)
        [2.7307, 0.9102]
    """
    if method not in SIGMOID_METHODS:
        raise InputError(f"method: is {method!r}; choose from {', '.join(SIGMOID_METHODS)}")
    module = SIGMOID_METHODS[method].fit(voxels)
    nll_before, nll, moved = compared(_calibrated(voxels, module))
    return StructureFit(
        method=method,
        parameters={name: values.tolist() for name, values in module.named_buffers()},
        nll_before=nll_before,
        nll=nll,
        moved=moved,
        region=voxels.region,
        patients=tuple(sorted({name for one in voxels.problems for name in one.patients})),
        voxels=sum(sum(problem.voxels_of.values()) for problem in voxels.problems),
        structures=voxels.structures,
    )


def _fit_one(voxels: StructureLogits) -> Temperature:
    """One temperature for all structures."""
    _check_labels(voxels, voxels.region, "all structures")
    return fit_temperature(voxels)


def _fit_each(voxels: StructureLogits) -> ClassTemperatures:
    """One temperature for each structure."""
    return ClassTemperatures(
        _by_structure(voxels, lambda one: fit_temperature(one).temperature.item())
    )


def _fit_platt(voxels: StructureLogits) -> VectorScaling:
    """A scale and a bias for each structure."""
    # The first of the two logits is 0, which no scale changes; only the difference of biases counts.
    found = _by_structure(voxels, lambda one: fit_affine(one, LARGEST_BIAS / 2))
    scales = [scale for (_, scale), _ in found]
    return VectorScaling(scales, [inside - outside for _, (outside, inside) in found])


def _by_structure(voxels: StructureLogits, fit: Callable[[Iterable[Voxels]], T]) -> list[T]:
    """What a fit finds of each structure by itself, whose name precedes its refusal."""
    found = []
    for name, problem in zip(voxels.structures, voxels.problems, strict=True):
        _check_labels(problem, voxels.region, name)
        try:
            found.append(fit(problem))
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return found


def _check_labels(problem: Iterable[Voxels], region: str, name: str) -> None:
    """Refuses voxels that are all inside or all outside, or none at all."""
    seen = {int(bound) for volume in problem for bound in volume.labels.aminmax()}
    if len(seen) < 2:
        found = "all inside" if 1 in seen else "all outside" if 0 in seen else "none at all"
        raise InputError(
            f"region {region}: the voxels of {name} in it are {found}, from which no probability can be "
            "learned; choose another region, such as union or all"
        )


def _calibrated(voxels: StructureLogits, module: nn.Module) -> Iterator[CalibratedVoxels]:
    """The logits outside, 0, and inside of each structure without and with a calibrator."""
    for channel, problem in enumerate(voxels.problems):
        for logits, labels, weight in problem:
            before = logits.double()
            all_channels = before[:, 1:].expand(-1, len(voxels.structures))
            inside = module(all_channels)[:, channel]
            after = torch.stack([torch.zeros_like(inside), inside], 1)
            yield CalibratedVoxels(before, after, labels, weight)


#: By name; none is the name of a method for exclusive classes, which these do not calibrate.
SIGMOID_METHODS: dict[str, Method[StructureLogits]] = {
    "sigmoid_temperature": Method(Temperature, _fit_one, region="union"),
    "structure_temperatures": Method(ClassTemperatures, _fit_each, region="union"),
    "platt": Method(VectorScaling, _fit_platt),
}
