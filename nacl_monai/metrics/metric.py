"""MONAI's metrics of calibration and decisions, and of distances, which accumulate over a dataset.

Each takes batches or lists of cases, tensors or arrays, and gathers its numbers over processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, cast

import ignite.distributed as idist
import torch
from monai.metrics.hausdorff_distance import HausdorffDistanceMetric
from monai.metrics.metric import Cumulative, CumulativeIterationMetric

from nacl_monai.errors import InputError
from nacl_monai.metrics.bins import CalibrationBins, VoxelSums, check_num_bins, check_threshold
from nacl_monai.metrics.columns import (
    COLLECTORS,
    DEFAULT_ERRORS,
    Options,
    named_errors,
    score_columns,
)
from nacl_monai.metrics.decisions import Decisions, decision_numbers, problem_decisions
from nacl_monai.metrics.fine_bins import FineBins
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.pixelwise import FALSE_POSITIVE_WEIGHT, check_weight
from nacl_monai.metrics.pooled import Pooled
from nacl_monai.metrics.raters import (
    HumanBins,
    check_raters,
    masks_of_raters,
    of_raters,
    rater_sums,
)
from nacl_monai.metrics.record import Record, definition_of
from nacl_monai.metrics.regions import (
    REGIONS,
    Region,
    Spacing,
    case_spacings,
    named_regions,
    region_masks,
)
from nacl_monai.metrics.scores import ScoreSums
from nacl_monai.metrics.structures import hausdorff_distance
from nacl_monai.metrics.voxels import (
    OUTSIDE_INSIDE,
    LabeledVoxels,
    as_tensor,
    binary_problems,
    checked_voxels,
    structure_regions,
)
from nacl_monai.runs import MARGIN, TOP, check_class_names

_NAMES = {"y": "labels"}


class GatheredTogether(Cumulative):
    """A base for metrics of MONAI that takes arrays, and refuses to gather where a process saw no case.

    In MONAI such a process takes no part, and the others wait for it forever. Here every process
    raises, so that all of them end. In lists, each case has its own mask, and none is left out. Name it
    before MONAI's class among the bases.
    """

    def __call__(self, y_pred: Any, y: Any = None, mask: Any = None, **others: Any) -> Any:
        """Adds a batch, or a list of cases; see the class and `inputs` for the forms.

        Args:
            y_pred: Predictions, tensors or arrays.
            y: Labels, if the metric needs them.
            mask: The voxels that count.
            **others: None; MONAI's signature has them.

        Raises:
            InputError: If there are any, such as the ``spacing`` that MONAI's metric takes here.
        """
        for name in others:
            raise InputError(
                f"{name}: is given with a batch, and would not be used; give it to "
                f"{type(self).__name__} where that is made"
            )
        return super().__call__(as_tensor(y_pred), as_tensor(y), mask=as_tensor(mask))  # type: ignore[misc]

    def _compute_list(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        # MONAI drops cases that have no label, and hands a whole list of masks to every case.
        beside = {"y": y, **kwargs}
        beside = {name: values for name, values in beside.items() if values is not None}
        if not len(y_pred):
            raise InputError("probs: are an empty list, without a voxel; leave empty batches out")
        for name, values in beside.items():
            if len(values) != len(y_pred):
                raise InputError(
                    f"{_NAMES.get(name, name)}: {len(values)} for {len(y_pred)} cases; give one for each"
                )
        compute: Any = self._compute_tensor  # type: ignore[attr-defined]
        results = [
            compute(case[None], **{name: values[k][None] for name, values in beside.items()})
            for k, case in enumerate(y_pred)
        ]
        if isinstance(results[0], torch.Tensor):
            return torch.cat(results)
        return [torch.cat(buffers) for buffers in zip(*results, strict=True)]

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


class CalibrationMetric(GatheredTogether, CumulativeIterationMetric):
    """Calibration errors of several regions, and decisions on structures, per case and pooled.

    The buffers hold sums, not voxels: ``3 × (1 + C) × num_bins`` numbers per case and region; and, if
    asked for, 3072 more for bins of equal mass, smooth ECE and selective prediction, 3 for the scores,
    ``3 × (1 + C) × num_bins`` for the thresholded CECE, and ``4 × num_bins`` for pECE; and 8 for the
    contour, volume and Dice of a structure (`nacl_monai.metrics.decisions`). They are gathered
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

    def __init__(
        self,
        num_bins: int = 15,
        errors: Iterable[str] = DEFAULT_ERRORS,
        regions: Iterable[str] | Mapping[str, Region | None] = tuple(REGIONS),
        include_background: bool = True,
        include_absent: bool = True,
        boundary_width: float = 3.0,
        spacing: Spacing | str | None = None,
        margin: float = MARGIN,
        margin_spacing: Spacing | str | None = None,
        structures: Sequence[str] = (),
        decisions: Mapping[str, Sequence[int]] | None = None,
        from_logits: bool = False,
        ignore_index: int | None = None,
        num_raters: int = 1,
        rater: int | None = None,
        threshold: float = 0.001,
        false_positive_weight: float = FALSE_POSITIVE_WEIGHT,
        step: float | None = None,
    ) -> None:
        super().__init__()
        check_num_bins(num_bins)
        check_raters(num_raters, rater)
        check_threshold(threshold)
        check_weight(false_positive_weight)
        self.options = Options(
            num_bins, include_background, include_absent, threshold, false_positive_weight
        )
        self.errors = named_errors(errors)
        self.regions = named_regions(regions)
        self.boundary_width = boundary_width
        self.spacing = spacing
        self.margin = margin
        self.margin_spacing = margin_spacing
        self.structures = tuple(structures)
        self.decisions = dict(decisions or {})
        self.from_logits = from_logits
        self.ignore_index = ignore_index
        self.num_raters = num_raters
        self.rater = rater
        self.step = step
        # Bins are always kept, since they say which regions are empty, and reports are drawn from them.
        needed = {CalibrationBins, *(error.sums for error in self.errors.values())}
        self._kinds = [kind for kind in COLLECTORS if kind in needed]
        human: list[type[VoxelSums]] = [HumanBins] if num_raters > 1 else []
        decided: list[type[VoxelSums]] = [Decisions] if self.decided else []
        self._gathered_kinds = [*self._kinds, *human, *decided]

    @property
    def region_names(self) -> tuple[str, ...]:
        """The names of the regions, in the order of the buffers' second axis."""
        return structure_regions(self.regions, self.structures)

    @property
    def decided(self) -> tuple[str, ...]:
        """The names of the structures that decisions are on."""
        return self.structures or tuple(self.decisions)

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
        axes = (cases, len(spatial), image)
        of_width = partial(case_spacings, self.spacing, *axes)
        of_margin = partial(case_spacings, self.margin_spacing, *axes)
        predicted: dict[str, torch.Tensor | None] = {}
        decided: list[torch.Tensor] = []
        if self.decided:
            against = raters if self.rater is None else [raters[self.rater]]
            classes = {"inside": [1]} if self.structures else self.decisions
            decisions, near = problem_decisions(against, classes, of_margin(), self.margin)
            decided = decisions.tensors()
            whole = {*chain(*classes.values())} == {*range(1, raters[0].probs.shape[1])}
            if whole and self.regions.get("near") is REGIONS["near"]:
                predicted["near"] = near  # distances are computed once

        def masks_of(voxels: LabeledVoxels) -> list[torch.Tensor | None]:
            widths = (self.boundary_width, of_width, self.margin, of_margin)
            return region_masks(self.regions, voxels, *widths, predicted)

        def collected(pieces: RegionPieces) -> list[VoxelSums]:
            return [COLLECTORS[kind](pieces, self.options) for kind in self._kinds]

        sums = rater_sums(raters, self.rater, masks_of, collected, self.options.num_bins)
        return [*sums, *decided]

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
        return {
            name: error.compute(sums[error.sums], self.options)
            for name, error in self.errors.items()
        }

    def case_bins(self) -> CalibrationBins:
        """The bins of all processes' cases, ``(cases, regions, 1 + C, num_bins)``."""
        return cast("CalibrationBins", self._gathered()[CalibrationBins])

    def case_human_bins(self) -> CalibrationBins | None:
        """The bins of raters who are predicted by the others, as `case_bins`; None of one rater."""
        return cast("CalibrationBins | None", self._gathered().get(HumanBins))

    def case_decisions(self) -> Decisions | None:
        """The volumes of all processes' cases, ``(cases, structures)``; None without structures."""
        return cast("Decisions | None", self._gathered().get(Decisions))

    def record(
        self,
        cases: Sequence[str],
        classes: Sequence[str] | None = None,
        patients: Sequence[str] = (),
        raters: Sequence[str] = (),
        calibrator: Sequence[str] = (),
        ignored: int | None = None,
    ) -> Record:
        """What was counted of all processes' cases, under names, with its definition.

        Args:
            cases: Names, in the order in which the metric has seen them.
            classes: Names of all classes, background first; numbers by default. Those of structures that
                may overlap are "outside" and "inside" whatever is given.
            patients: The patient of each case; empty where nobody knows.
            raters: Their names, where the numbers are those against the share of several.
            calibrator: Name of what the probabilities went through, and its checksum if it has one.
            ignored: The label of voxels that do not count, where masks say which these are.

        Raises:
            InputError: If there are not as many names as cases or channels of probabilities.
        """
        gathered = self._gathered()
        sums = cast("CalibrationBins", gathered[CalibrationBins])
        _, _, channels, num_bins = sums.counts.shape
        numbered = [*map(str, range(channels - 1))] if classes is None else classes
        names = list(OUTSIDE_INSIDE if self.structures else numbered)
        check_class_names(names)
        if len(names) != channels - 1:
            raise InputError(
                f"classes: {len(names)} names ({', '.join(names)}) for {channels - 1} channels of "
                "probabilities; name each, background first"
            )
        return Record(
            cases=list(cases),
            regions=list(self.region_names),
            classes=[TOP, *names],
            sums=sums,
            fine=cast("FineBins | None", gathered.get(FineBins)),
            scores=cast("ScoreSums | None", gathered.get(ScoreSums)),
            patients=list(patients) or None,
            human=cast("CalibrationBins | None", gathered.get(HumanBins)),
            decisions=cast("Decisions | None", gathered.get(Decisions)),
            raters=list(raters),
            definition=definition_of(
                self.regions,
                num_bins=num_bins,
                width=self.boundary_width,
                spacing=self.spacing,
                margin=self.margin,
                margin_spacing=self.margin_spacing,
                structures=self.structures,
                decided=self.decided,
                ignored=self.ignore_index if ignored is None else ignored,
                calibrator=calibrator,
            ),
        )

    def case_errors(self) -> dict[str, torch.Tensor]:
        """Each error of each case by name, ``(cases, regions)``; NaN where a region is empty."""
        return self._errors(self._gathered())

    def columns(self) -> dict[str, torch.Tensor]:
        """The columns of ``cases.csv``: ``<error>_<region>``, and decisions ``<number>_<structure>``."""
        decisions = self.case_decisions()
        numbers = {} if decisions is None else decisions.case_numbers()
        return self.by_region(self.case_errors()) | score_columns(numbers, self.decided)

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
        the number of the others. Those of `DecisionNumbers` are there for each structure, such as
        ``contour_misses_LV``, each case its own patient. Ignite puts each into ``engine.state.metrics``.
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
        decisions = self.case_decisions()
        for position, structure in enumerate(self.decided):
            found = decision_numbers(cast("Decisions", decisions)[:, position])
            numbers |= {
                f"{name}_{structure}": number.value if isinstance(number, Pooled) else number
                for name, number in vars(found).items()
            }
        return numbers


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
