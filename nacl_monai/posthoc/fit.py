"""What can be fitted to the logits of validation patients, and what each fit did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from nacl_monai.counting import counted
from nacl_monai.errors import InputError
from nacl_monai.posthoc.class_temperatures import ClassTemperatures, fit_class_temperatures
from nacl_monai.posthoc.local_temperatures import LocalTemperatures, fit_local_temperatures
from nacl_monai.posthoc.region_logits import RegionLogits, Voxels
from nacl_monai.posthoc.temperature import Temperature, fit_temperature
from nacl_monai.posthoc.vector_scaling import VectorScaling, fit_vector_scaling

V = TypeVar("V", bound=Iterable[Voxels])


@dataclass(frozen=True)
class Method(Generic[V]):
    """A way to calibrate logits.

    Attributes:
        module: Makes the module from logits to logits; its arguments are the names of its buffers.
        fit: Finds it by the NLL of voxels.
        sees_image: Whether it needs the image beside the logits.
        region: The voxels of the fit where nobody says which. A voxel of the background is in
            prediction ∪ label only where the network is wrong: there, whatever tells classes or places
            apart learns to distrust the background.
    """

    module: Callable[..., nn.Module]
    fit: Callable[[V], nn.Module]
    sees_image: bool = False
    region: str = "all"


#: By the name that a command asks for.
METHODS: dict[str, Method[RegionLogits]] = {
    "temperature": Method(Temperature, fit_temperature, region="union"),
    "class_temperatures": Method(ClassTemperatures, fit_class_temperatures),
    "vector": Method(VectorScaling, fit_vector_scaling),
    "local_temperatures": Method(LocalTemperatures, fit_local_temperatures, sees_image=True),
}


@dataclass(frozen=True)
class Fit:
    """A fitted calibrator, on what it was fitted, and what it does there.

    Attributes:
        method: A key of `METHODS`.
        parameters: The arguments of its module.
        nll_before: Mean NLL without it; patients weigh the same.
        nll: The same with it.
        moved: The share of the voxels whose most probable class it changes; patients weigh the same.
        region: The voxels that counted.
        patients: Whose they are.
        voxels: How many they are.
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
        return METHODS[self.method].module(**self.parameters)

    def text(self, unit: str = "patients") -> str:
        """One line: what was found, on whom, with what effect.

        Args:
            unit: What the patients are called: "cases" where nobody knows whose they are.
        """
        network = any(np.ndim(values) > 1 for values in self.parameters.values())
        found = ", ".join(
            f"{name} {' '.join(f'{value:.4g}' for value in np.atleast_1d(values))}"
            for name, values in self.parameters.items()
            if np.ndim(values) == 0 or not network
        )
        people = counted(len(self.patients), unit.removesuffix("s"))
        return (
            f"{found} over {people}, NLL {self.nll_before:.4f} → {self.nll:.4f}, "
            f"{self.moved:.2%} of the voxels change their class"
        )


def fit_method(method: str, voxels: RegionLogits) -> Fit:
    """Fits a calibrator by NLL over a region; every patient weighs the same.

    Args:
        method: A key of `METHODS`.
        voxels: The voxels of the validation patients.

    Raises:
        InputError: If the region is empty in all patients, or if the method finds nothing that fits.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[3.0, 3.0, 3.0, 3.0]], [[0.0, 0.0, 0.0, 0.0]]])
        >>> with RegionLogits("all") as voxels:
        ...     voxels.add(logits, torch.tensor([[[0, 0, 0, 1]]]), "patient001")
        ...     fit = fit_method("temperature", voxels)
        >>> round(fit.parameters["temperature"], 4)  # 3 / log(3)
        2.7307
    """
    patients = voxels.patients
    if not patients:
        raise InputError(
            f"region {voxels.region}: has no voxel in any patient of the fit; choose another region"
        )
    module = METHODS[method].fit(voxels)
    if METHODS[method].sees_image:
        nll_before, nll, moved = compared(_calibrated_slices(voxels, module))
    else:
        nll_before, nll, moved = compared(_calibrated_voxels(voxels, module))
    return Fit(
        method=method,
        parameters={name: values.tolist() for name, values in module.named_buffers()},
        nll_before=nll_before,
        nll=nll,
        moved=moved,
        region=voxels.region,
        patients=tuple(patients),
        voxels=sum(voxels.voxels_of.values()),
    )


class CalibratedVoxels(NamedTuple):
    """The voxels of a volume without and with a calibrator, ``(n, C)``, with label and weight."""

    before: torch.Tensor
    after: torch.Tensor
    labels: torch.Tensor
    weight: float


def _calibrated_voxels(voxels: RegionLogits, module: nn.Module) -> Iterator[CalibratedVoxels]:
    for logits, labels, weight in voxels:
        exact = logits.double()
        yield CalibratedVoxels(exact, module(exact), labels, weight)


def _calibrated_slices(voxels: RegionLogits, module: nn.Module) -> Iterator[CalibratedVoxels]:
    for volume in voxels.volumes():
        after = module(volume.logits, volume.image)
        before, after = (
            logits.movedim(1, -1)[volume.kept].double() for logits in (volume.logits, after)
        )
        yield CalibratedVoxels(before, after, volume.labels, volume.weight)


def compared(volumes: Iterable[CalibratedVoxels]) -> tuple[float, float, float]:
    """The mean NLL before and after in nats, and the share of voxels whose class changes.

    Patients weigh the same.
    """
    nll, moved, patients = [0.0, 0.0], 0.0, 0.0
    for volume in volumes:
        for place, logits in enumerate((volume.before, volume.after)):
            of_label = logits.log_softmax(1).gather(1, volume.labels[:, None])
            nll[place] -= volume.weight * of_label.sum().item()
        changed = volume.after.argmax(1) != volume.before.argmax(1)
        moved += volume.weight * changed.sum().item()
        patients += volume.weight * len(volume.labels)
    return nll[0] / patients, nll[1] / patients, moved / patients
