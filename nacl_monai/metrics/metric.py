"""The calibration of a dataset, region by region, as one MONAI metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from monai.metrics.metric import CumulativeIterationMetric

from nacl_monai.errors import InputError
from nacl_monai.metrics.adaptive import equal_mass_errors, region_cells
from nacl_monai.metrics.bins import CalibrationBins, region_bins
from nacl_monai.metrics.calibration import (
    average_error,
    classwise_errors,
    confidence_gaps,
    expected_error,
    maximum_error,
)
from nacl_monai.metrics.inputs import checked, predicted_classes, without_channel
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.regions import REGIONS, region_mask
from nacl_monai.metrics.scores import region_scores
from nacl_monai.metrics.spacing import Spacing, case_spacings

Region = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_TOP1_ERRORS = {
    "ece": expected_error,
    "ace": average_error,
    "mce": maximum_error,
    "confidence_gap": confidence_gaps,
}


def _as_mapping(
    regions: Sequence[str] | Mapping[str, Region | None],
) -> Mapping[str, Region | None]:
    return regions if isinstance(regions, Mapping) else dict.fromkeys(regions)


def _both(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    """The voxels of both masks, where None stands for all voxels."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


class _Sums(NamedTuple):
    """What the metric keeps of each case and region, ``(cases, regions, …)``."""

    counts: torch.Tensor  # three times (C + 1, num_bins), see CalibrationBins
    positives: torch.Tensor
    confidences: torch.Tensor
    scores: torch.Tensor  # (2,): NLL and Brier
    cell_counts: torch.Tensor  # twice (CELLS,), see region_cells
    cell_excess: torch.Tensor

    @property
    def bins(self) -> CalibrationBins:
        return CalibrationBins(self.counts, self.positives, self.confidences)

    def pooled(self) -> _Sums:
        """The sums over all cases."""
        return _Sums(*(sums.sum(0) for sums in self))


class CalibrationMetric(CumulativeIterationMetric):
    """Every calibration error of every region, per volume and pooled, from one pass.

    The buffers hold bins, not voxels: ``3 × (C + 1) × num_bins`` numbers per case and region, and
    2048 for bins of equal mass. They are gathered over processes as those of any MONAI metric, so
    that distributed evaluation gives the numbers of a single process.

    Args:
        num_bins: The number of equal bins.
        regions: Names that :func:`region_mask` knows, or a mapping from names of your own to
            functions of ``(labels, prediction)``, both ``(B, *spatial)``, that return a mask; None
            in place of a function is the region that :func:`region_mask` knows by that name.
        include_background: Whether the background column counts in the class-wise error.
        include_absent: Whether classes without a voxel in the region count in the class-wise error
            (:func:`classwise_errors` says why they should).
        boundary_width: Of the region "boundary", in voxels, or in the unit of ``spacing``.
        spacing: Size of a voxel; "pixdim" reads it from the labels' metadata; None for voxels.

    Example:
        >>> metric = CalibrationMetric(regions=["foreground"])
        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> _ = metric(probs, torch.tensor([[[[1, 1, 0]]]]))
        >>> round(metric.aggregate()["ece_foreground"], 6)
        0.25
    """

    def __init__(
        self,
        num_bins: int = 15,
        regions: Sequence[str] | Mapping[str, Region | None] = REGIONS,
        include_background: bool = True,
        include_absent: bool = True,
        boundary_width: float = 3.0,
        spacing: Spacing | str | None = None,
    ) -> None:
        super().__init__()
        own = {} if isinstance(regions, str) else dict(_as_mapping(regions))
        if not own or not {name for name, function in own.items() if not function} <= set(REGIONS):
            raise InputError(f"regions must be among {', '.join(REGIONS)}, got {regions!r}")
        self.num_bins = num_bins
        self.regions = own
        self.include_background = include_background
        self.include_absent = include_absent
        self.boundary_width = boundary_width
        self.spacing = spacing

    @property
    def region_names(self) -> tuple[str, ...]:
        """The names of the regions, in the order of the buffers' second axis."""
        return tuple(self.regions)

    def _compute_list(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        # MONAI passes keyword arguments whole to every case; a list of masks has one for each.
        columns = [y_pred, y] if kwargs.get("mask") is None else [y_pred, y, kwargs["mask"]]
        cases = [
            self._compute_tensor(*(tensor.detach().unsqueeze(0) for tensor in case))
            for case in zip(*columns, strict=True)
        ]
        return [torch.cat(buffers) for buffers in zip(*cases, strict=True)]

    def _compute_tensor(
        self,
        y_pred: torch.Tensor,
        y: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        **_: Any,
    ) -> list[torch.Tensor]:
        """The sums of each case and region, ``(B, regions, …)``.

        Args:
            y_pred: Probabilities after softmax, ``(B, C, *spatial)``.
            y: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
            mask: Voxels to which every region is restricted, shaped like the labels.

        Raises:
            InputError: For input that is no probability or no label.
        """
        if y is None:
            raise InputError("a calibration metric needs labels")
        probs, labels = checked(y_pred, y)
        restriction = None if mask is None else without_channel("mask", mask, probs).bool()
        masks = [_both(mask, restriction) for mask in self._masks(probs, labels, y)]
        pieces = RegionPieces(probs, labels, masks)
        bins = region_bins(pieces, self.num_bins)
        return [*vars(bins).values(), region_scores(pieces), *region_cells(pieces)]

    def _masks(
        self, probs: torch.Tensor, labels: torch.Tensor, image: torch.Tensor
    ) -> list[torch.Tensor | None]:
        dims = labels.ndim - 1
        spacing = case_spacings(self.spacing, len(labels), dims, image)
        known = partial(region_mask, width=self.boundary_width, spacing=spacing)
        found = cache(lambda: predicted_classes(probs))  # which not every region asks for
        masks: list[torch.Tensor | None] = []
        for name, function in self.regions.items():
            if function is not None:
                masks.append(without_channel(f"region {name}", function(labels, found()), probs))
            elif name == "all":
                masks.append(None)  # a mask that is true everywhere would copy the volume
            else:
                masks.append(known(name, labels, found() if name == "union" else None))
        return masks

    def _gathered(self) -> _Sums:
        buffers = self.get_buffer()  # type: ignore[no-untyped-call]
        if buffers is None:
            raise InputError("no volume was given to the calibration metric")
        return _Sums(*buffers)

    def case_bins(self) -> CalibrationBins:
        """The bins of all processes' cases, ``(cases, regions, rows, bins)``."""
        return self._gathered().bins

    def case_errors(self) -> dict[str, torch.Tensor]:
        """Each error of each case, ``(cases, regions)``; NaN where a region has no voxel.

        Their names: ece, ace, mce, confidence_gap, adaptive_ece, cece, nll, brier.
        """
        return self._errors(self._gathered())

    def pooled_errors(self) -> dict[str, torch.Tensor]:
        """Each error over the voxels of all cases together, ``(regions,)``."""
        return self._errors(self._gathered().pooled())

    def class_errors(self) -> torch.Tensor:
        """The expected error of each class column of each case, ``(cases, regions, C)``."""
        return self._class_errors(self.case_bins())

    def pooled_class_errors(self) -> torch.Tensor:
        """The expected error of each class column over all cases, ``(regions, C)``."""
        return self._class_errors(self.case_bins().pooled())

    def empty_regions(self) -> torch.Tensor:
        """How many cases have no voxel in a region, ``(regions,)``: those the means leave out."""
        return (self.case_bins().counts[..., 0, :].sum(-1) == 0).sum(0)

    def aggregate(self) -> dict[str, float]:
        """All numbers by name, e.g. ``ece_foreground``, ``ece_foreground_pooled``.

        The former is the mean over the cases in which the region is not empty, ``empty_foreground``
        the number of the others. Ignite puts each into ``engine.state.metrics``.
        """
        cases, pooled, empty = self.case_errors(), self.pooled_errors(), self.empty_regions()
        numbers: dict[str, float] = {}
        for index, region in enumerate(self.region_names):
            for name, errors in cases.items():
                numbers[f"{name}_{region}"] = errors[:, index].nanmean().item()
                numbers[f"{name}_{region}_pooled"] = pooled[name][index].item()
            numbers[f"empty_{region}"] = int(empty[index])
        return numbers

    def _class_errors(self, bins: CalibrationBins) -> torch.Tensor:
        return classwise_errors(bins, include_absent=self.include_absent)

    def _errors(self, sums: _Sums) -> dict[str, torch.Tensor]:
        bins = sums.bins
        columns = classwise_errors(
            bins,
            include_background=self.include_background,
            include_absent=self.include_absent,
        )
        means = sums.scores / bins.counts[..., 0, :].sum(-1, keepdim=True)
        return {
            **{name: error(bins)[..., 0] for name, error in _TOP1_ERRORS.items()},
            "adaptive_ece": equal_mass_errors(sums.cell_counts, sums.cell_excess, self.num_bins),
            "cece": columns.nanmean(-1),
            "nll": means[..., 0],
            "brier": means[..., 1],
        }
