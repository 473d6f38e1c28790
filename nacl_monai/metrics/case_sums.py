"""Sums over cases: the part of the metric of calibration that needs no MONAI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, cast

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.bins import CalibrationBins, VoxelSums, check_threshold
from nacl_monai.metrics.columns import (
    COLLECTORS,
    DEFAULT_ERRORS,
    Options,
    named_errors,
    score_columns,
)
from nacl_monai.metrics.decisions import Decisions, decision_numbers, problem_decisions
from nacl_monai.metrics.fine_bins import FineBins, SparseFineBins
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
    RegionPieces,
    Spacing,
    case_spacings,
    named_regions,
    region_masks,
)
from nacl_monai.metrics.scores import ScoreSums
from nacl_monai.metrics.voxels import (
    OUTSIDE_INSIDE,
    LabeledVoxels,
    as_tensor,
    binary_problems,
    checked_voxels,
    structure_regions,
)
from nacl_monai.runs import MARGIN, TOP, check_class_names, check_num_bins
from nacl_monai.words import in_our_words

_NAMES = {"y": "labels"}


def of_each_case(compute: Callable[..., Any], y_pred: Sequence[torch.Tensor], **beside: Any) -> Any:
    """The results for lists of cases, joined along the first axis.

    MONAI drops cases that have no label, and hands a whole list of masks to every case.

    Args:
        compute: A function of a batch.
        y_pred: The predictions of each case, without an axis of the batch.
        beside: Labels and masks in the same form, by the names of the function's arguments; or None.

    Raises:
        InputError: If there is no case, or not as many labels or masks as cases.
    """
    present = {name: values for name, values in beside.items() if values is not None}
    if not len(y_pred):
        raise InputError("probs: are an empty list, without a voxel; leave empty batches out")
    for name, values in present.items():
        if len(values) != len(y_pred):
            raise InputError(
                f"{_NAMES.get(name, name)}: {len(values)} for {len(y_pred)} cases; give one for each"
            )
    results = [
        compute(case[None], **{name: values[k][None] for name, values in present.items()})
        for k, case in enumerate(y_pred)
    ]
    if isinstance(results[0], torch.Tensor):
        return torch.cat(results)
    return [torch.cat(buffers) for buffers in zip(*results, strict=True)]


class CalibrationSums:
    """The measurements of `nacl_monai.metrics.CalibrationMetric`, which documents the arguments.

    A subclass keeps the sums of cases: a metric of MONAI, or `CaseSums`.
    """

    @in_our_words
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
        step: float | None = None,
    ) -> None:
        super().__init__()
        check_num_bins(num_bins)
        check_raters(num_raters, rater)
        check_threshold(threshold)
        self.options = Options(num_bins, include_background, include_absent, threshold)
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

    def _all_sums(self) -> Sequence[torch.Tensor] | None:
        """The sums of all cases so far."""
        raise NotImplementedError

    def _compute_tensor(
        self,
        y_pred: torch.Tensor,
        y: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        **_: Any,
    ) -> list[torch.Tensor]:
        """The sums of each case and region, ``(B, regions, …)``; see `add`."""
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

    def _gathered(self, *, on_cpu: bool = False) -> dict[type[VoxelSums], VoxelSums]:
        """The sums of all processes' cases, by their kind."""
        buffers = self._all_sums()
        if buffers is None:
            raise InputError(
                "calibration metric: has seen no case; call it before asking for numbers"
            )
        tensors = (buffer.cpu() for buffer in buffers) if on_cpu else iter(buffers)
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
        """The record of all processes' cases, with names and definition.

        Args:
            cases: Names, in the order in which the metric has seen them.
            classes: Names of all classes, background first; numbers by default. Those of structures that
                may overlap are "outside" and "inside" whatever is given.
            patients: The patient of each case; empty if unknown.
            raters: Their names, where the numbers are those against the share of several.
            calibrator: Name of what the probabilities went through, and its checksum if it has one.
            ignored: The label of voxels that do not count, where masks say which these are.

        Raises:
            InputError: If there are not as many names as cases or channels of probabilities.
        """
        gathered = self._gathered(on_cpu=True)
        sums, fine = cast("CalibrationBins", gathered[CalibrationBins]), gathered.get(FineBins)
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
            fine=None if fine is None else SparseFineBins.from_arrays(fine.arrays()),
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

        For overlapping structures, each region also has the mean over the structures that have voxels
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


class CaseSums(CalibrationSums):
    """The same of cases that one process adds, without MONAI, whose import takes seconds.

    Example:
        >>> sums = CaseSums(errors=["ece"], regions=["foreground"])
        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> sums.add(probs, torch.tensor([[[[1, 1, 0]]]]))
        >>> round(sums.aggregate()["ece_foreground"], 6)
        0.25
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._added: list[Sequence[torch.Tensor]] = []

    def add(self, probs: Any, labels: Any, mask: Any = None) -> None:
        """Adds a batch, or a list of cases, tensors or arrays.

        Args:
            probs: Probabilities after softmax, ``(B, C, *spatial)``, or logits.
            labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``; see ``num_raters``.
            mask: Voxels to which every region is restricted, shaped like the labels without a channel
                per structure; with several raters for each, or for all with an axis of length 1.

        Raises:
            InputError: If the input is not a probability or not a label.
        """
        probs, labels, mask = map(as_tensor, (probs, labels, mask))
        if isinstance(probs, list):
            sums = of_each_case(self._compute_tensor, probs, y=labels, mask=mask)
        else:
            sums = self._compute_tensor(probs, labels, mask)
        self._added.append(sums)

    def _all_sums(self) -> Sequence[torch.Tensor] | None:
        """The sums of all cases so far."""
        if not self._added:
            return None
        return [torch.cat(parts) for parts in zip(*self._added, strict=True)]
