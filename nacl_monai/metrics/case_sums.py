"""Sums over cases: the part of the metric of calibration that needs no MONAI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, cast

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.bins import CalibrationBins, ScoreSums, VoxelSums
from nacl_monai.metrics.columns import COLLECTORS, score_columns
from nacl_monai.metrics.decisions import Decisions, decision_numbers, problem_decisions
from nacl_monai.metrics.fine_bins import FineBins, SparseFineBins
from nacl_monai.metrics.pooled import Pooled
from nacl_monai.metrics.raters import HumanBins, masks_of_raters, of_raters, rater_sums
from nacl_monai.metrics.record import Measurement, Record
from nacl_monai.metrics.regions import REGIONS, RegionPieces, case_spacings, region_masks
from nacl_monai.metrics.voxels import (
    OUTSIDE_INSIDE,
    LabeledVoxels,
    as_tensor,
    binary_problems,
    checked_voxels,
)
from nacl_monai.runs import TOP, check_class_names

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
    """The sums of a measurement over cases, and the numbers that follow from them.

    A subclass keeps the sums of cases: a metric of MONAI, or `CaseSums`.

    Args:
        measurement: What is measured.
    """

    def __init__(self, measurement: Measurement) -> None:
        super().__init__()
        self.measurement = measurement
        # Bins are always kept, since they say which regions are empty, and reports are drawn from them.
        needed = {CalibrationBins, *(error.sums for error in measurement.computed.values())}
        self._kinds = [kind for kind in COLLECTORS if kind in needed]
        human: list[type[VoxelSums]] = [HumanBins] if measurement.num_raters > 1 else []
        decided: list[type[VoxelSums]] = [Decisions] if measurement.decided else []
        self._gathered_kinds = [*self._kinds, *human, *decided]

    @property
    def region_names(self) -> tuple[str, ...]:
        """The names of the regions, in the order of the buffers' second axis."""
        return self.measurement.region_names

    @property
    def decided(self) -> tuple[str, ...]:
        """The names of the structures that decisions are on."""
        return self.measurement.decided

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
        number = self.measurement.num_raters
        of_each = zip(of_raters(y, number), masks_of_raters(mask, y_pred.ndim, number), strict=True)
        raters = [self._problems(y_pred, labels, counted) for labels, counted in of_each]
        sums = [self._sums(problem, y) for problem in zip(*raters, strict=True)]
        return [torch.cat(parts, 1) for parts in zip(*sums, strict=True)]

    def _problems(
        self, y_pred: torch.Tensor, y: torch.Tensor, mask: torch.Tensor | None
    ) -> Iterable[LabeledVoxels]:
        """The checked voxels; with structures, those of each."""
        what = self.measurement
        if not what.structures:
            how = (what.ignore_index, what.from_logits, what.step)
            return [checked_voxels(y_pred, y, mask, *how)]
        probs = y_pred.float().sigmoid() if what.from_logits else y_pred
        return binary_problems(probs, y, what.structures, mask, what.ignore_index, what.step)

    def _sums(self, raters: Sequence[LabeledVoxels], image: torch.Tensor) -> list[torch.Tensor]:
        """The sums of one problem; ``image`` knows its spacing if anything does."""
        cases, *spatial = raters[0].labels.shape
        axes, what = (cases, len(spatial), image), self.measurement
        of_width = partial(case_spacings, what.spacing, *axes)
        of_margin = partial(case_spacings, what.margin_spacing, *axes)
        predicted: dict[str, torch.Tensor | None] = {}
        decided: list[torch.Tensor] = []
        if what.decided:
            against = raters if what.rater is None else [raters[what.rater]]
            classes = {"inside": [1]} if what.structures else what.decisions or {}
            decisions, near = problem_decisions(against, classes, of_margin(), what.margin)
            decided = decisions.tensors()
            whole = {*chain(*classes.values())} == {*range(1, raters[0].probs.shape[1])}
            if whole and what.functions.get("near") is REGIONS["near"]:
                predicted["near"] = near  # distances are computed once

        def masks_of(voxels: LabeledVoxels) -> list[torch.Tensor | None]:
            widths = (what.boundary_width, of_width, what.margin, of_margin)
            return region_masks(what.functions, voxels, *widths, predicted)

        def collected(pieces: RegionPieces) -> list[VoxelSums]:
            return [COLLECTORS[kind](pieces, what) for kind in self._kinds]

        sums = rater_sums(raters, what.rater, masks_of, collected, what.num_bins)
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
            name: error.compute(sums[error.sums], self.measurement)
            for name, error in self.measurement.computed.items()
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
        channels = sums.counts.shape[2]
        numbered = [*map(str, range(channels - 1))] if classes is None else classes
        names = list(OUTSIDE_INSIDE if self.measurement.structures else numbered)
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
            definition=self.measurement.definition(calibrator, ignored),
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
        regions = self.measurement.functions
        if self.measurement.structures:
            for position, region in enumerate(regions):
                of_region = slice(position, None, len(regions))
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
        for region in dict.fromkeys((*self.region_names, *self.measurement.functions)):
            for name in (f"{error}_{region}" for error in self.measurement.computed):
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
        >>> sums = CaseSums(Measurement(errors=["ece"], regions=["foreground"]))
        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> sums.add(probs, torch.tensor([[[[1, 1, 0]]]]))
        >>> round(sums.aggregate()["ece_foreground"], 6)
        0.25
    """

    def __init__(self, measurement: Measurement) -> None:
        super().__init__(measurement)
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
