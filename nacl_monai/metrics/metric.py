"""The calibration of a dataset, region by region, as one MONAI metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from monai.metrics.metric import CumulativeIterationMetric

from nacl_monai.errors import InputError
from nacl_monai.metrics.adaptive import FineBins
from nacl_monai.metrics.binning import check_threshold
from nacl_monai.metrics.bins import CalibrationBins
from nacl_monai.metrics.gathering import GatheredTogether
from nacl_monai.metrics.menu import COLLECTORS, DEFAULT_ERRORS, named_errors
from nacl_monai.metrics.overlapping import binary_problems, structure_regions
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.pixelwise import FALSE_POSITIVE_WEIGHT, check_weight
from nacl_monai.metrics.raters import (
    HumanBins,
    check_raters,
    masks_of_raters,
    of_raters,
    rater_sums,
)
from nacl_monai.metrics.regions import REGIONS, Region, named_regions, region_masks
from nacl_monai.metrics.spacing import Spacing, case_spacings
from nacl_monai.metrics.sums import VoxelSums
from nacl_monai.metrics.voxels import LabeledVoxels, checked_voxels


class CalibrationMetric(GatheredTogether, CumulativeIterationMetric):
    """Calibration errors of several regions, per case and pooled, from one pass.

    The buffers hold sums, not voxels: ``3 × (1 + C) × num_bins`` numbers per case and region; and, if
    asked for, 3072 more for bins of equal mass, smooth ECE and selective prediction, 3 for the scores,
    ``3 × (1 + C) × num_bins`` for the thresholded CECE, and ``4 × num_bins`` for pECE. They are gathered
    over processes like those of any MONAI metric, so that distributed evaluation gives the numbers of a
    single process.

    Args:
        num_bins: The number of equal bins.
        errors: Names in :data:`ERRORS`: ece, ace, mce, confidence_gap, adaptive_ece, cece, nll,
            brier, aurc, error_auroc, all of them by default; thresholded_cece, smooth_ece, pece.
        regions: Names in :data:`REGIONS`, all by default; or a mapping from names of your own to
            functions that return a mask, whose parameters are any of ``labels`` and ``prediction``,
            class indices ``(B, *spatial)``. None in place of a function is the region that is known
            by that name.
        include_background: Whether the background counts in the class-wise error.
        include_absent: Whether classes without a voxel in the region count in the class-wise error
            (:meth:`CalibrationBins.class_errors` says why they should).
        boundary_width: The width of the region "boundary", in voxels, or in the unit of ``spacing``.
        spacing: Size of a voxel; "pixdim" reads it from the labels' metadata; None for voxels.
        structures: Names of structures that may overlap, one channel each, as a sigmoid gives them. Each
            is a problem of its own with two classes, outside and inside (`overlapping`), and its own
            regions, such as ``foreground_<structure>``. Empty where exactly one class is right, as for a
            softmax.
        from_logits: Whether logits are given in place of probabilities. Softmax is applied to
            them, or sigmoid where there are structures.
        ignore_index: Voxels with this label are in no region; for structures, in the mask of any.
        num_raters: The number of raters, who are the second axis of the labels if they are several,
            ``(B, raters, *spatial)`` or ``(B, raters, structures, *spatial)``. The numbers are then
            those against the share of the raters (`raters` has the equation).
        rater: The one of them whom the numbers are against, in place of the share.
        threshold: For thresholded_cece, which counts only probabilities above it.
        false_positive_weight: The weight of false positives in pece.
        step: The step between stored probabilities, where the dtype does not say, as 1/65535 of integers
            of 16 bits that a file scales. The NLL counts a stored 0 as half of it.

    Raises:
        InputError: If an error or a region is unknown, or none is given, or if there is no such rater;
            if the threshold is not in [0, 1), or the weight negative.

    Example:
        >>> metric = CalibrationMetric(errors=["ece"], regions=["foreground"])
        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> _ = metric(probs, torch.tensor([[[[1, 1, 0]]]]))
        >>> {name: round(number, 6) for name, number in metric.aggregate().items()}
        {'ece_foreground': 0.25, 'ece_foreground_pooled': 0.25, 'empty_foreground': 0}
    """

    num_bins: int
    include_background: bool
    include_absent: bool
    threshold: float
    false_positive_weight: float

    def __init__(
        self,
        num_bins: int = 15,
        errors: Iterable[str] = DEFAULT_ERRORS,
        regions: Iterable[str] | Mapping[str, Region | None] = tuple(REGIONS),
        include_background: bool = True,
        include_absent: bool = True,
        boundary_width: float = 3.0,
        spacing: Spacing | str | None = None,
        structures: Sequence[str] = (),
        from_logits: bool = False,
        ignore_index: int | None = None,
        num_raters: int = 1,
        rater: int | None = None,
        threshold: float = 0.001,
        false_positive_weight: float = FALSE_POSITIVE_WEIGHT,
        step: float | None = None,
    ) -> None:
        super().__init__()
        check_raters(num_raters, rater)
        check_threshold(threshold)
        check_weight(false_positive_weight)
        self.num_bins = num_bins
        self.errors = named_errors(errors)
        self.regions = named_regions(regions)
        self.include_background = include_background
        self.include_absent = include_absent
        self.boundary_width = boundary_width
        self.spacing = spacing
        self.structures = tuple(structures)
        self.from_logits = from_logits
        self.ignore_index = ignore_index
        self.num_raters = num_raters
        self.rater = rater
        self.threshold = threshold
        self.false_positive_weight = false_positive_weight
        self.step = step
        # Bins are always kept, since they say which regions are empty, and reports are drawn from them.
        needed = {CalibrationBins, *(error.sums for error in self.errors.values())}
        self._kinds = [kind for kind in COLLECTORS if kind in needed]
        human: list[type[VoxelSums]] = [HumanBins] if num_raters > 1 else []
        self._gathered_kinds = [*self._kinds, *human]

    @property
    def region_names(self) -> tuple[str, ...]:
        """The names of the regions, in the order of the buffers' second axis."""
        return structure_regions(self.regions, self.structures)

    def _compute_tensor(
        self,
        y_pred: torch.Tensor,
        y: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        **_: Any,
    ) -> list[torch.Tensor]:
        """The sums of each case and region, ``(B, regions, …)``.

        Args:
            y_pred: Probabilities after softmax, ``(B, C, *spatial)``, or logits.
            y: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``; see ``num_raters``.
            mask: Voxels to which every region is restricted, shaped like the labels without a channel
                per structure; with several raters for each, or for all with an axis of length 1.

        Raises:
            InputError: If the input is not a probability or not a label.
        """
        if y is None:
            raise InputError("labels: are missing; a calibration metric compares with them")
        masks = masks_of_raters(mask, y_pred.ndim, self.num_raters)
        of_each = zip(of_raters(y, self.num_raters), masks, strict=True)
        raters = [self._problems(y_pred, labels, counted) for labels, counted in of_each]
        sums = [self._sums(problem, y) for problem in zip(*raters, strict=True)]
        return [torch.cat(parts, 1) for parts in zip(*sums, strict=True)]

    def _problems(
        self, y_pred: torch.Tensor, y: torch.Tensor, mask: torch.Tensor | None
    ) -> Iterable[LabeledVoxels]:
        """The checked voxels; with structures, those of each."""
        if not self.structures:
            how = (self.ignore_index, self.from_logits, self.step)
            return [checked_voxels(y_pred, y, mask, *how)]
        probs = y_pred.float().sigmoid() if self.from_logits else y_pred
        return binary_problems(probs, y, self.structures, mask, self.ignore_index, self.step)

    def _sums(self, raters: Sequence[LabeledVoxels], image: torch.Tensor) -> list[torch.Tensor]:
        """The sums of one problem; ``image`` knows its spacing if anything does."""
        cases, *spatial = raters[0].labels.shape

        def masks_of(voxels: LabeledVoxels) -> list[torch.Tensor | None]:
            spacings = partial(case_spacings, self.spacing, cases, len(spatial), image)
            return region_masks(self.regions, voxels, self.boundary_width, spacings)

        def collected(pieces: RegionPieces) -> list[VoxelSums]:
            return [COLLECTORS[kind](pieces, self) for kind in self._kinds]

        return rater_sums(raters, self.rater, masks_of, collected, self.num_bins)

    def _gathered(self) -> dict[type[VoxelSums], VoxelSums]:
        """The sums of all processes' cases, by their kind."""
        buffers = self.get_buffer()  # type: ignore[no-untyped-call]
        if buffers is None:
            raise InputError(
                "calibration metric: has seen no case; call it before asking for numbers"
            )
        tensors = iter(buffers)
        return {kind: kind.take(tensors) for kind in self._gathered_kinds}

    def _errors(self, sums: Mapping[type[VoxelSums], VoxelSums]) -> dict[str, torch.Tensor]:
        return {name: error.compute(sums[error.sums], self) for name, error in self.errors.items()}

    def case_bins(self) -> CalibrationBins:
        """The bins of all processes' cases, ``(cases, regions, 1 + C, num_bins)``."""
        return cast("CalibrationBins", self._gathered()[CalibrationBins])

    def case_fine_bins(self) -> FineBins | None:
        """The fine bins, ``(cases, regions, FINE_BINS)``; None if no error needs them."""
        return cast("FineBins | None", self._gathered().get(FineBins))

    def case_human_bins(self) -> CalibrationBins | None:
        """The bins of raters who are predicted by the others, as `case_bins`; None of one rater."""
        return cast("CalibrationBins | None", self._gathered().get(HumanBins))

    def case_errors(self) -> dict[str, torch.Tensor]:
        """Each error of each case by name, ``(cases, regions)``; NaN where a region is empty."""
        return self._errors(self._gathered())

    def pooled_errors(self) -> dict[str, torch.Tensor]:
        """Each error over the voxels of all cases together, ``(regions,)``."""
        return self._errors({kind: sums.pooled() for kind, sums in self._gathered().items()})

    def empty_regions(self) -> torch.Tensor:
        """How many cases have no voxel in a region, ``(regions,)``: those the means leave out."""
        return (self.case_bins().voxels() == 0).sum(0)

    def by_region(self, errors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Errors ``(…, regions)`` as one ``(…)`` per name, e.g. ``ece_foreground``.

        Of overlapping structures each region is there as the mean over the structures that have voxels
        in it, too: ``ece_foreground`` beside ``ece_foreground_<structure>``.
        """
        named: dict[str, torch.Tensor] = {}
        for position, region in enumerate(self.region_names):
            named |= {f"{name}_{region}": values[..., position] for name, values in errors.items()}
        if self.structures:
            for position, region in enumerate(self.regions):
                of_region = slice(position, None, len(self.regions))
                named |= {
                    f"{name}_{region}": values[..., of_region].nanmean(-1)
                    for name, values in errors.items()
                }
        return named

    def aggregate(self) -> dict[str, float]:
        """All numbers by name, e.g. ``ece_foreground``, ``ece_foreground_pooled``.

        The former is the mean over the cases in which the region is not empty, ``empty_foreground``
        the number of the others. Ignite puts each into ``engine.state.metrics``.
        """
        cases, pooled = map(self.by_region, (self.case_errors(), self.pooled_errors()))
        empty = dict(zip(self.region_names, self.empty_regions().tolist(), strict=True))
        numbers: dict[str, float] = {}
        for region in dict.fromkeys((*self.region_names, *self.regions)):
            for name in (f"{error}_{region}" for error in self.errors):
                numbers[name] = cases[name].nanmean().item()
                numbers[f"{name}_pooled"] = pooled[name].item()
            if region in empty:
                numbers[f"empty_{region}"] = empty[region]
        return numbers
