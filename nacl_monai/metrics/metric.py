"""MONAI's metrics of calibration and decisions, and of distances, which accumulate over a dataset.

Each takes batches or lists of cases, tensors or arrays, and gathers its numbers over processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ignite.distributed as idist
import torch
from monai.metrics.hausdorff_distance import HausdorffDistanceMetric
from monai.metrics.metric import Cumulative, CumulativeIterationMetric

from nacl_monai.errors import InputError
from nacl_monai.metrics.case_sums import CalibrationSums, of_each_case
from nacl_monai.metrics.columns import DEFAULT_ERRORS
from nacl_monai.metrics.record import Measurement
from nacl_monai.metrics.regions import REGIONS, Region, Spacing, case_spacings
from nacl_monai.metrics.structures import hausdorff_distance
from nacl_monai.metrics.voxels import as_tensor
from nacl_monai.words import in_our_words, with_settings_of


class GatheredTogether(Cumulative):
    """A base for metrics of MONAI that takes arrays, and refuses to gather where a process saw no case.

    In MONAI, such a process does not take part, and the others wait for it forever. Here every process
    raises, so that all of them end. In lists, each case has its own mask, and none is left out. Name it
    before MONAI's class among the bases.
    """

    def __call__(self, y_pred: Any, y: Any = None, mask: Any = None, **unused: Any) -> Any:
        """Adds a batch, or a list of cases; see the class and `inputs` for the forms.

        Args:
            y_pred: Predictions, tensors or arrays.
            y: Labels, if the metric needs them.
            mask: The voxels that count.
            **unused: None; MONAI's signature has them.

        Raises:
            InputError: If there are any, such as the ``spacing`` that MONAI's metric takes here.
        """
        for name in unused:
            raise InputError(
                f"{name}: is given with a batch, and would not be used; give it to "
                f"{type(self).__name__} where that is made"
            )
        return super().__call__(as_tensor(y_pred), as_tensor(y), mask=as_tensor(mask))  # type: ignore[misc]

    def _compute_list(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        return of_each_case(self._compute_tensor, y_pred, y=y, **kwargs)  # type: ignore[attr-defined]

    def update(self, y_pred: Any, y: Any = None, **kwargs: Any) -> None:
        """Calls the metric, as torchmetrics names it."""
        self(y_pred, y, **kwargs)

    def compute(self) -> Any:
        """Returns what ``aggregate`` returns, as torchmetrics names it."""
        return self.aggregate()

    def _sync(self) -> None:
        # Only one process reads what is gathered already, such as the one that writes the files.
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        if several and not self._synced:
            seen: Any = idist.all_gather(int(self._buffers is not None))
            idle = [rank for rank, any_case in enumerate(map(int, seen)) if not any_case]
            if idle:
                raise InputError(
                    f"process {idle[0]} of {len(seen)}: has seen no case, so that nothing can be "
                    "gathered; start fewer processes, or give each of them a case"
                )
        super()._sync()  # type: ignore[no-untyped-call]


class CalibrationMetric(CalibrationSums, GatheredTogether, CumulativeIterationMetric):
    """Calibration errors of several regions, and decisions on structures, per case and pooled.

    The buffers hold sums, not voxels: ``3 × (1 + C) × num_bins`` numbers per case and region; and, if
    asked for, 3072 more for bins of equal mass, smooth ECE and selective prediction, 3 for scores, and
    ``3 × (1 + C) × num_bins`` for the thresholded CECE; and 8 for the contour, volume and Dice of a
    structure (`nacl_monai.metrics.decisions`). They are gathered over processes like those of any MONAI
    metric, so that distributed evaluation gives the numbers of a single process.

    Args:
        num_bins: The number of equal bins.
        errors: Names in :data:`ERRORS`: ece, ace, mce, confidence_gap, adaptive_ece, cece, nll,
            brier, aurc, error_auroc, all of them by default; thresholded_cece, smooth_ece.
        regions: Names in :data:`REGIONS`, all by default; or a mapping from names of your own to
            functions that return a mask, whose parameters are any of ``labels`` and ``prediction``,
            class indices ``(B, *spatial)``. None in place of a function is the region that is known
            by that name.
        include_background: Whether the background counts in the class-wise error.
        include_absent: Whether classes without a voxel in the region count in the class-wise error
            (:meth:`CalibrationBins.class_errors` says why they should).
        boundary_width: The width of the regions "boundary" and "predicted_boundary", in voxels, or in
            the unit of ``spacing``.
        spacing: Size of a voxel; "pixdim" reads it from the labels' metadata; None for voxels.
        margin: How far the region "near" and the contours and volumes of decisions reach beyond what is
            predicted, in voxels, or in the unit of ``margin_spacing``.
        margin_spacing: Size of a voxel, as ``spacing``, which the paper leaves out.
        structures: Names of structures that may overlap, one channel each, as a sigmoid gives them. Each
            is a problem of its own with two classes, outside and inside (`overlapping`), and its own
            regions, such as ``foreground_<structure>``, and its own decisions. Empty where exactly one
            class is right, as for a softmax.
        decisions: There, the classes of each structure whose contour, volume and Dice are measured.
        from_logits: Whether logits are given in place of probabilities. Softmax is applied to
            them, or sigmoid where there are structures.
        ignore_index: Voxels with this label are in no region; for structures, in the mask of any.
        num_raters: The number of raters, who are the second axis of the labels if they are several,
            ``(B, raters, *spatial)`` or ``(B, raters, structures, *spatial)``. The numbers are then
            those against the share of the raters (`raters` has the equation).
        rater: The one of them whom the numbers are against, in place of the share.
        threshold: For thresholded_cece, which counts only probabilities above it.
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

    @in_our_words
    @with_settings_of(Measurement)
    def __init__(
        self,
        num_bins: int = 15,
        errors: Iterable[str] = DEFAULT_ERRORS,
        regions: Iterable[str] | Mapping[str, Region | None] = tuple(REGIONS),
        **settings: Any,
    ) -> None:
        super().__init__(Measurement(num_bins, errors, regions, **settings))

    def _all_sums(self) -> Any:
        return self.get_buffer()  # type: ignore[no-untyped-call]


class BoundedHausdorffMetric(GatheredTogether, HausdorffDistanceMetric):
    """MONAI's metric with the distances of :func:`hausdorff_distance`.

    Args:
        include_background: Whether the first channel counts; True for overlapping structures
            (:func:`structure_masks`), which have no background.
        percentile: Which percentile of the surface distances.
        spacing: Size of a voxel along each axis; "pixdim" reads that of each case from the labels'
            metadata; None measures in voxels, as the paper does.
        reduction: As in MONAI, e.g. "mean", "mean_batch", "none"; NaN is left out.
        get_not_nans: As in MONAI.
    """

    def __init__(
        self,
        include_background: bool = False,
        percentile: float = 95.0,
        spacing: Spacing | str | None = None,
        reduction: str = "mean",
        get_not_nans: bool = False,
    ) -> None:
        super().__init__(
            include_background=include_background,
            percentile=percentile,
            reduction=reduction,
            get_not_nans=get_not_nans,
        )
        self.spacing = spacing
        self.rank = percentile

    def _compute_tensor(
        self,
        y_pred: torch.Tensor,
        y: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        if y is None:
            raise InputError("label: is missing; a distance needs one")
        if not len(y):
            return hausdorff_distance(y_pred, y)
        spacing = case_spacings(self.spacing, len(y), y.ndim - 2, y)
        first = 0 if self.include_background else 1
        return hausdorff_distance(y_pred[:, first:], y[:, first:], spacing, self.rank, mask)
