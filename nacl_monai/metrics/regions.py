"""The voxels over which a metric is computed, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.boundary import boundary_band
from nacl_monai.metrics.inputs import Voxels
from nacl_monai.metrics.spacing import Spacing
from nacl_monai.metrics.voxels import LabeledVoxels, aligned

#: A function that returns a mask ``(B, *spatial)``, or None for all voxels. Its parameters say what
#: it needs: any of ``labels`` and ``prediction``, class indices ``(B, *spatial)``, and of ``width``
#: and ``spacing``. A parameter with a default other than None keeps it.
Region = Callable[..., "torch.Tensor | None"]


class _Inputs(NamedTuple):
    """What a region may ask for; each is computed when it is asked for."""

    labels: Callable[[], torch.Tensor]
    prediction: Callable[[], torch.Tensor]
    width: Callable[[], float]
    spacing: Callable[[], Spacing | Sequence[Spacing] | None]

    def apply(self, region: Region) -> torch.Tensor | None:
        """The mask of a region, which is given what its parameters name."""
        return region(**{name: getattr(self, name)() for name in _parameters(region)})


def _parameters(region: Region) -> list[str]:
    """The parameters that a function wants filled in."""
    parameters = inspect.signature(region).parameters.values()
    return [one.name for one in parameters if one.default in (one.empty, None)]


def all_voxels() -> None:
    """Every voxel."""


def foreground(labels: torch.Tensor) -> torch.Tensor:
    """The label is not background (the paper, section 4.1.2)."""
    return labels != 0


def union(labels: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """The label or the prediction is not background (the paper, section 4.2.8)."""
    return (labels != 0) | (prediction != 0)


def boundary(
    labels: torch.Tensor, width: float, spacing: Spacing | Sequence[Spacing] | None
) -> torch.Tensor:
    """A band on both sides of the boundaries between labels (:func:`boundary_band`)."""
    return boundary_band(labels, width, spacing)


#: The regions that are known by name.
REGIONS: dict[str, Region] = {
    "all": all_voxels,
    "foreground": foreground,
    "union": union,
    "boundary": boundary,
}


def named_regions(regions: Iterable[str] | Mapping[str, Region | None]) -> dict[str, Region]:
    """Name → function, for names in :data:`REGIONS` or a mapping that adds functions.

    Args:
        regions: Names, or a mapping from names to functions, where None stands for the region that
            is known by that name.

    Raises:
        InputError: If there is no region, if a name is unknown, or if a function asks for what
            no region is given.
    """
    chosen = regions if isinstance(regions, Mapping) else dict.fromkeys(regions)
    if isinstance(regions, str) or not chosen:
        raise InputError(
            f"regions: is {regions!r}; give a list of names, or a mapping to functions"
        )
    functions = {name: function or known_region(name) for name, function in chosen.items()}
    for name, function in functions.items():
        _check_parameters(name, function)
    return functions


def _check_parameters(name: str, function: Region) -> None:
    unknown = sorted(set(_parameters(function)) - set(_Inputs._fields))
    if unknown:
        raise InputError(
            f"regions: the function of {name!r} asks for {', '.join(unknown)}; name its "
            f"parameters among {', '.join(_Inputs._fields)}"
        )


def known_region(name: str) -> Region:
    """The function of a region that is known by name.

    Raises:
        InputError: If there is no such region.
    """
    if name not in REGIONS:
        raise InputError(
            f"region: {name!r} is unknown; choose one of {', '.join(REGIONS)}, or a mask"
        )
    return REGIONS[name]


def decided_by_labels(name: str) -> bool:
    """Whether a region has the same voxels whatever is predicted; nobody knows that of the user's own.

    Args:
        name: The name of a region, known or not.

    Example:
        >>> [name for name in REGIONS if decided_by_labels(name)]
        ['all', 'foreground', 'boundary']
    """
    return name in REGIONS and "prediction" not in _parameters(REGIONS[name])


def region_masks(
    regions: Mapping[str, Region],
    voxels: LabeledVoxels,
    width: float = 3.0,
    spacing: Callable[[], Spacing | Sequence[Spacing] | None] = lambda: None,
) -> list[torch.Tensor | None]:
    """The voxels of each region that count, ``(B, *spatial)``, boolean; None for all voxels.

    The prediction is computed only if a region asks for it.

    Args:
        regions: Name → function, from :func:`named_regions`.
        voxels: From :func:`voxels.checked_voxels`.
        width: The width of the region "boundary".
        spacing: Returns the spacing that the width is measured in.

    Raises:
        InputError: If a mask does not have the shape of the labels.
    """
    inputs = _Inputs(lambda: voxels.labels, lambda: voxels.prediction, lambda: width, spacing)
    masks = ((name, inputs.apply(region)) for name, region in regions.items())
    return [
        voxels.within(
            None if mask is None else aligned(f"region {name}", mask, voxels.probs).bool()
        )
        for name, mask in masks
    ]


def selected_voxels(region: str | Voxels, voxels: LabeledVoxels) -> torch.Tensor | None:
    """The voxels that count of a region given by name or as a mask; None for all voxels."""
    if not isinstance(region, str):
        return voxels.within(aligned("mask", region, voxels.probs).bool())
    return region_masks({region: known_region(region)}, voxels)[0]


def region_mask(
    region: str,
    labels: torch.Tensor,
    prediction: torch.Tensor | None = None,
    *,
    width: float = 3.0,
    spacing: Spacing | Sequence[Spacing] | None = None,
) -> torch.Tensor:
    """The voxels of a region, ``(B, *spatial)``, boolean.

    Args:
        region: A name in :data:`REGIONS`, whose functions say what each region is.
        labels: Class indices, ``(B, *spatial)``; background is 0.
        prediction: Predicted class indices, ``(B, *spatial)``; only "union" needs them.
        width: The width of the region "boundary", as in :func:`boundary_band`.
        spacing: Size of a voxel, as there.

    Raises:
        InputError: If the name is unknown, the width is not positive, or the prediction is missing.

    Example:
        >>> region_mask("foreground", torch.tensor([[[0, 1, 2]]])).tolist()
        [[[False, True, True]]]
    """

    def given_prediction() -> torch.Tensor:
        if prediction is None:
            raise InputError(f"prediction: region {region!r} needs it; pass the predicted classes")
        return prediction

    inputs = _Inputs(lambda: labels, given_prediction, lambda: width, lambda: spacing)
    mask = inputs.apply(known_region(region))
    return torch.ones_like(labels, dtype=torch.bool) if mask is None else mask
