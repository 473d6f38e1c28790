"""How saved numbers become the probabilities that are measured, by softmax or a mean, and their checks.

Those of a prediction: its channels, their order, range and sums, and the segmentation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import torch

from nacl_monai.data.faults import check_affine, on_one_grid
from nacl_monai.errors import InputError, print_line
from nacl_monai.metrics.structures import class_counts, structure_masks
from nacl_monai.metrics.voxels import dequantized
from nacl_monai.posthoc import OUTPUTS
from nacl_monai.predictions.channels import Channels, read_dataset_json, with_structures
from nacl_monai.predictions.images import Image, Labels, Prediction, Probabilities, turned
from nacl_monai.predictions.layouts import (
    Layout,
    check_one_layout,
    in_order,
    labels_instead,
    recognized,
)
from nacl_monai.predictions.names import Names, named_once
from nacl_monai.predictions.options import LOGITS, Options
from nacl_monai.tensors import sum_tolerance, top1
from nacl_monai.words import listed


def named(predictions: Iterable[Prediction], patterns: Names) -> list[Prediction]:
    """The predictions under the names of their cases; without those that have none.

    Raises:
        InputError: If two have one name.
    """
    cases = ((patterns.of_prediction(prediction.case), prediction) for prediction in predictions)
    found = [replace(prediction, case=case) for case, prediction in cases if case is not None]
    named_once((prediction.case, prediction.file) for prediction in found)
    return found


def read_as_asked(
    folder: Path,
    layout: Layout,
    predictions: Sequence[Prediction],
    channels: Channels,
    options: Options,
    stems: Collection[str],
) -> Layout:
    """The layout, read as options say: saved logits as probabilities, several folders as one model.

    Args:
        folder: The first folder.
        layout: Its layout.
        predictions: Its cases.
        channels: What the channels mean.
        options: The command's.
        stems: Names of cases, as `recognized` takes them.

    Raises:
        InputError: If a member has other cases or channels.
    """
    layout = _of_logits(layout, channels, options)
    if not options.members:
        return layout
    by_case = {prediction.case: prediction for prediction in predictions}
    members: list[Member] = [(layout.read, by_case)]
    places = [folder, *options.members]
    if len({place.resolve() for place in places}) < len(places):
        raise InputError(
            f"{places[-1]}: one folder of the ensemble is given twice; give each member once"
        )
    for place in options.members:
        its_layout, stored = recognized(place, stems)
        its_layout = replace(its_layout, read=Digested(its_layout.read))
        its_cases = {prediction.case: prediction for prediction in named(stored, options.patterns)}
        if unlike := sorted(members[0][1].keys() ^ its_cases.keys()):
            raise InputError(
                f"{place}: {listed(unlike, most=3)}: only here or only in {folder}; an ensemble takes "
                "the same cases of every member"
            )
        its_channels = _channels_of(place, its_layout, channels, options)
        check_one_layout(place, stored, its_channels)
        if not its_channels.alike(channels):
            raise InputError(
                f"{place}: is of {', '.join(its_channels.names)}, but {folder} of "
                f"{', '.join(channels.names)}; an ensemble takes the same channels of every member"
            )
        members.append((_of_logits(its_layout, channels, options).read, its_cases))
    return replace(layout, read=_Ensemble(members, channels, options.ensemble == LOGITS))


def _channels_of(place: Path, layout: Layout, channels: Channels, options: Options) -> Channels:
    """The channels of a member: those of the first, unless its own folder says more."""
    dataset = None if options.dataset else layout.dataset(place)
    if dataset is None:
        return channels
    found = read_dataset_json(dataset, options.activation)
    if options.structures:
        return with_structures(found, options.structures, options.activation)
    return found


def _of_logits(layout: Layout, channels: Channels, options: Options) -> Layout:
    if not options.from_logits:
        return layout
    read = partial(activated, read=layout.read, activation=channels.activation)
    return replace(layout, read=read)


def activated(
    prediction: Prediction, read: Callable[[Prediction], Probabilities], activation: str
) -> Probabilities:
    """The probabilities of saved logits.

    Raises:
        InputError: If nothing is beyond 0 and 1, as in probabilities.
    """
    predicted = read(prediction)
    logits = torch.from_numpy(predicted.voxels).float()
    if logits.min() >= 0 and logits.max() <= 1:
        raise InputError(
            f"{prediction.file}: reaches from 0 to 1 at most, as probabilities do; leave out "
            "--from-logits"
        )
    probs = OUTPUTS[activation].probs_of(logits).numpy()
    return replace(predicted, voxels=probs, whole=False, step=None)


@dataclass(frozen=True)
class Digested:
    """Reads predictions with a digest of what is stored, by which a second name is found.

    Attributes:
        read: The layout's function.
    """

    read: Callable[[Prediction], Probabilities]

    def __call__(self, prediction: Prediction) -> Probabilities:
        """The probabilities of a case as they are stored.

        Raises:
            InputError: If they cannot be read.
        """
        predicted = self.read(prediction)
        voxels = predicted.voxels
        if all((channel == channel[:1, :1, :1]).all() for channel in voxels):  # mostly by the first
            return predicted
        digest = hashlib.blake2b(np.ascontiguousarray(voxels).data, digest_size=16)
        digest.update(repr((voxels.shape, voxels.dtype.str)).encode())
        return replace(predicted, digest=digest.hexdigest())


#: How a member of an ensemble is read, and its cases by name.
Member = tuple[Callable[[Prediction], Probabilities], Mapping[str, Prediction]]


@dataclass(frozen=True)
class _Ensemble:
    r"""Reads several predictions of a case as one: each is checked, then all are averaged.

    The mean of probabilities is :math:`\frac{1}{M} \sum_m p_m`; that of logits, as nnU-Net has it, is
    :math:`\mathrm{softmax}(\frac{1}{M} \sum_m \log p_m)`, since the constant that a softmax removes from
    logits is removed from their mean, too.

    Attributes:
        members: Each one's function and cases.
        channels: What the channels mean.
        logits: Whether the mean is of logits.
    """

    members: Sequence[Member]
    channels: Channels
    logits: bool

    def __call__(self, prediction: Prediction) -> Probabilities:
        """The mean probabilities of a case.

        Raises:
            InputError: If one cannot be read, is not what it should be, is on another grid, or is
                another's copy.
        """
        outputs, total = OUTPUTS[self.channels.activation], torch.zeros(())
        first: Probabilities | None = None
        masks, files = [], dict[str, Path]()
        for read, cases in self.members:
            of_member = in_order(cases[prediction.case], self.channels)
            predicted = read(of_member)
            check_channels(of_member, predicted, self.channels)
            check_agreement(predicted, predicted.segmentation, self.channels)
            first = first or predicted
            if predicted.digest and predicted.digest in files:
                raise InputError(
                    f"{predicted.file}: has the very probabilities of {files[predicted.digest]}, so "
                    "that one member would weigh twice; give each member once"
                )
            files[predicted.digest] = predicted.file
            if not _on_one_grid(predicted, first):
                raise InputError(
                    f"{predicted.file}: is on another grid than {first.file}; predict the case again"
                )
            probs = torch.from_numpy(predicted.voxels)
            masks += [predicted_masks(probs, self.channels)]
            inside = dequantized(probs[None])[0][0].float()
            total = total + (outputs.logits_of(probs, predicted.step) if self.logits else inside)
        mean = total / len(masks)
        if self.logits:
            mean = outputs.probs_of(mean)
        elif not self.channels.overlapping:
            mean = mean / mean.sum(0)  # rounding of storage
        assert first is not None  # noqa: S101 - there are two members or more
        return replace(
            first,
            voxels=mean.numpy(),
            whole=False,
            segmentation=None,
            step=None,
            pairwise_dice=pairwise_dice(masks),
        )


def _on_one_grid(first: Probabilities, second: Probabilities) -> bool:
    """Whether two predictions have the same shape, and are in the same place where a file says so."""
    alike = first.voxels.shape == second.voxels.shape and first.turned == second.turned
    if first.affine is None or second.affine is None:
        return alike
    return alike and on_one_grid(first.shape, first.affine, second.affine)


def pairwise_dice(members: Sequence[torch.Tensor]) -> list[float]:
    """How far the members of an ensemble agree: of each structure, the mean Dice of every two of them.

    It is 1 for two members that do not predict the structure at all.

    Args:
        members: The masks of each, ``(S, *spatial)``.

    Example:
        >>> masks = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]])  # Dice 2/3, 0, 0
        >>> [round(value, 4) for value in pairwise_dice(list(masks))]
        [0.2222]
    """
    dice = [
        torch.where(sizes > 0, 2 * (first * second).flatten(1).sum(1) / sizes, 1)
        for first, second in combinations(members, 2)
        for sizes in [(first.flatten(1).sum(1) + second.flatten(1).sum(1)).double()]
    ]
    return [float(value) for value in torch.stack(dice).mean(0)]


_PERCENT = 100
#: Where no byte of any case is above it, the bytes may not be 255ths: percent, or 200ths.
_LOW_BYTE = 200
_FAR = 0.2  # so much larger is Dice in the right order; half of it where it is half as far from 1
#: So far beyond 0 and 1 rounding or resampling takes a probability.
_NEGLIGIBLE = 1e-3
#: So large a share of the foreground may have another most probable class than the segmentation.
_UNLIKE = 0.01


def check_channels(prediction: Prediction, predicted: Probabilities, channels: Channels) -> None:
    """Refuses with a plain message what the metric would refuse later, before the label is read.

    Raises:
        InputError: If there are other channels than the classes, label maps, logits, or sums that only
            a sigmoid has.
    """
    file, voxels = prediction.file, predicted.voxels
    if (predicted.whole and _are_labels(voxels, channels)) or _are_masks(voxels):
        raise labels_instead(file)
    if len(voxels) != len(channels.values):
        raise InputError(
            f"{file}: has {len(voxels)} channels, but there are {channels.describe()}: "
            f"{', '.join(channels.names)}; give the dataset.json of these predictions with --dataset"
        )
    _check_range(file, voxels, channels)
    if not channels.overlapping:
        _check_sums(file, voxels)


def _are_labels(voxels: npt.NDArray[Any], channels: Channels) -> bool:
    """Whether nothing is above 1; but in bytes, structures that are nowhere have the probability 0."""
    nowhere = channels.overlapping and voxels.dtype == np.uint8 and not voxels.any()
    return bool(voxels.max(initial=0) <= 1) and not nowhere


def _are_masks(voxels: npt.NDArray[Any]) -> bool:
    """Whether nothing is between 0 and 1, and a channel has both: no network draws such a boundary."""
    highest = 255 if voxels.dtype == np.uint8 else 1
    planes = (plane for channel in voxels for plane in channel)
    if not all(
        ((plane == 0) | (plane == highest)).all() for plane in planes
    ):  # mostly by the first
        return False
    return any((channel == 0).any() and (channel == highest).any() for channel in voxels)


def _check_range(file: Path, voxels: npt.NDArray[Any], channels: Channels) -> None:
    low, high = float(voxels.min()), float(voxels.max())
    if np.isnan(low):
        raise InputError(f"{file}: holds NaN; predict the case again, or leave it out")
    # As far as the metric takes it: a calibrator is fitted to what can be audited.
    over = 0 if channels.overlapping else sum_tolerance(torch.from_numpy(voxels).dtype)
    if voxels.dtype == np.uint8:
        if high == _PERCENT and (voxels == high).sum() > (voxels == high - 1).sum():
            raise _percent(file)  # an end of the scale, and no peak
        return
    if -_NEGLIGIBLE < low < 0 and high <= 1 + _NEGLIGIBLE:
        raise InputError(
            f"{file}: reaches from {low:.4g} to {high:.6g}, which is rounded beyond 0 and 1, as by "
            "resampling; clip it: np.clip(probabilities, 0, 1)"
        )
    if not 0 <= low <= high <= 1 + over:
        raise InputError(
            f"{file}: reaches from {low:.4g} to {high:.6g}, beyond 0 and 1, as logits do; save "
            f"probabilities, after {channels.activation}"
        )


def _percent(file: Path) -> InputError:
    return InputError(
        f"{file}: reaches to 100, as percent do, but whole numbers are taken for 255ths; save "
        "probabilities from 0 to 1"
    )


def _check_sums(file: Path, voxels: npt.NDArray[Any]) -> None:
    stored, off = torch.from_numpy(voxels), 0.0
    for plane in stored.unbind(1):
        probs, tolerance = dequantized(plane[None])
        off = max(off, float((probs.sum(1, dtype=torch.float32) - 1).abs().max()))
    if off > (tolerance or sum_tolerance(probs.dtype)):
        sums = voxels.sum(0, dtype=np.int64) if voxels.dtype == np.uint8 else np.zeros(1)
        if np.abs(sums - _PERCENT).max() <= len(voxels):  # each is rounded by itself
            raise _percent(file)
        raise InputError(
            f"{file}: the sum over a voxel's classes is off 1 by {off:.4g}; if each channel is a "
            "structure of its own, say --activation sigmoid"
        )


def highest_byte(predicted: Probabilities, labels: Sequence[Labels]) -> int | None:
    """The highest of a case's bytes; None of other numbers, and where nothing is labeled or likely.

    Args:
        predicted: The probabilities.
        labels: Of the case, by each rater; empty where there are none.
    """
    something = any(rater.classes.any() for rater in labels) if labels else predicted.voxels.any()
    if predicted.voxels.dtype != np.uint8 or not something:
        return None
    return int(predicted.voxels.max())


def warn_of_bytes(folder: Path, bytes_of_cases: set[int | None]) -> None:
    """Warns where the highest bytes of all cases that have some may be no 255ths."""
    known = [byte for byte in bytes_of_cases if byte is not None]
    if known and max(known) <= _LOW_BYTE:
        print_line(
            "warning",
            f"{folder}: no byte of any case is above {max(known)}, but bytes are taken for 255ths; if "
            "that one is sure, save numbers from 0 to 1, not percent or the like",
        )


def warn_of_voxels(calibrator: Path | None, unlike: Mapping[str, Path]) -> None:
    """Warns where voxels are of another size than those to which a calibrator by distance was fitted.

    Args:
        calibrator: Its file.
        unlike: The difference → the first file that has it; empty of files that have none.
    """
    if fault := next(filter(None, unlike), ""):
        print_line("warning", f"{unlike[fault]}: {calibrator} is by distance, and {fault}")


def check_agreement(predicted: Probabilities, image: Image | None, channels: Channels) -> None:
    """Compares the probabilities with the segmentation beside them, if there is one.

    They differ if one of them is of another prediction, or if axes were turned unnoticed. Classes that
    are equal in the stored precision both agree. Background in both does not count: it would hide a
    lesion. Structures that overlap are painted over each other in the order
    that ``dataset.json`` has, and are not compared without one.

    Args:
        predicted: The probabilities.
        image: The segmentation, from their source.
        channels: What they mean.

    Raises:
        InputError: If more than one in a hundred of the voxels in which either has a foreground differ.
    """
    file = predicted.source
    if image is None or (channels.overlapping and not channels.painted):
        return
    check_affine(str(file), image.affine)
    voxels = turned(image.voxels, image.affine) if predicted.turned else image.voxels
    if voxels.shape != predicted.voxels.shape[1:]:
        raise InputError(f"{predicted.file}: has another shape than {file}; predict the case again")
    if channels.overlapping:
        shown, unlike = _painted(predicted.voxels, voxels, channels)
    else:
        shown = _most_probable(predicted.classes, channels)
        unlike = _unlike(predicted.voxels, shown, voxels, channels)
    share = unlike.sum() / max(1, np.count_nonzero((shown != 0) | (voxels != 0)))
    if share > _UNLIKE:
        raise InputError(
            f"{predicted.file}: its most probable classes are not those of {file} in {share:.1%} of the "
            "foreground; predict the case again, or move the segmentation away"
        )


def segmented(probs: npt.NDArray[Any], channels: Channels) -> npt.NDArray[Any]:
    """The label map of probabilities, as nnU-Net makes it.

    With exclusive classes, each voxel has the label value of the most probable, the first of several;
    structures that overlap are painted where they are above one half, each over those before.

    Args:
        probs: ``(C, *spatial)``.
        channels: What they mean; of structures that overlap, also how they are painted.
    """
    if channels.overlapping:
        return _painted(probs, np.zeros(probs.shape[1:], np.int64), channels)[0]
    return _most_probable(top1(torch.from_numpy(probs), 0)[1], channels)


def _most_probable(classes: torch.Tensor, channels: Channels) -> npt.NDArray[Any]:
    """The label values of the most probable classes."""
    values = np.array([values[0] for values in channels.values.values()])
    shown: npt.NDArray[Any] = values.astype(np.min_scalar_type(values.max()))[classes.numpy()]
    return shown


def _unlike(
    probs: npt.NDArray[Any],
    shown: npt.NDArray[Any],
    segmentation: npt.NDArray[Any],
    channels: Channels,
) -> npt.NDArray[Any]:
    """Where a segmentation has no label value of a most probable class, a flat array of these voxels."""
    places = np.flatnonzero(shown != segmentation)
    stored, has = probs.reshape(len(probs), -1)[:, places], segmentation.ravel()[places]
    largest, unlike = stored.max(0), np.ones(len(places), np.bool_)
    for values, plane in zip(channels.values.values(), stored, strict=True):
        unlike &= (has != values[0]) | (largest - plane > _step(probs.dtype))
    return unlike


def _painted(
    probs: npt.NDArray[Any], segmentation: npt.NDArray[Any], channels: Channels
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The structures above one half, painted over each other, and where the segmentation is unlike."""
    half = 127.5 if probs.dtype == np.uint8 else 0.5
    shown, unsure = np.zeros(segmentation.shape, np.int64), np.zeros(segmentation.shape, np.bool_)
    for value, plane in zip(channels.painted, probs, strict=True):
        shown[plane > half] = value
        unsure |= np.abs(plane - half) <= _step(probs.dtype)
    return shown, (shown != segmentation) & ~unsure


def _step(dtype: np.dtype[Any]) -> float:
    """How far apart two equal probabilities may be stored."""
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 1.0


def predicted_masks(probs: torch.Tensor, channels: Channels) -> torch.Tensor:
    """The mask of every predicted structure, ``(S, *spatial)``, uint8."""
    if not channels.overlapping:
        return structure_masks(top1(probs, 0)[1][None], channels.structures)
    return (probs > (127.5 if probs.dtype == torch.uint8 else 0.5)).to(torch.uint8)


def channel_dice(
    probs: torch.Tensor, labels: Labels, channels: Channels, classes: torch.Tensor | None = None
) -> npt.NDArray[np.float64]:
    """Dice of what each channel predicts, a row, with what the labels say of each, a column.

    Args:
        probs: ``(C, *spatial)``.
        labels: Those of the case.
        channels: What the channels mean.
        classes: The most probable class of each voxel, where it is known.
    """
    if channels.overlapping:
        both, sizes = _counts_of_masks(predicted_masks(probs, channels), labels)
    else:
        classes = top1(probs, 0)[1] if classes is None else classes
        both = class_counts(classes, labels.classes, len(probs), labels.mask)
        sizes = both.sum(1)[:, None] + both.sum(0)
    return (2 * both.double() / sizes).nan_to_num().numpy()


def _counts_of_masks(inside: torch.Tensor, labels: Labels) -> tuple[torch.Tensor, torch.Tensor]:
    """How many voxels two masks share, and have together, a plane at a time."""
    both = torch.zeros(len(inside), len(inside), dtype=torch.float64)
    sizes = torch.zeros_like(both)
    for place in range(inside.shape[1]):
        kept = ... if labels.mask is None else labels.mask[place]
        pair = [masks[:, place][:, kept].flatten(1) for masks in (inside, labels.classes)]
        first, second = (masks.float() for masks in pair)
        both += first @ second.T
        sizes += first.sum(1)[:, None] + second.sum(1)
    return both, sizes


def check_order(
    place: Path | str,
    dice: npt.NDArray[np.float64],
    channels: Channels,
    option: str = "--channels-as-given",
) -> None:
    """Refuses channels that agree with the labels far better in another order.

    Args:
        place: The folder of the predictions, or what else the message begins with.
        dice: From `channel_dice`, the mean over cases.
        channels: What the channels mean.
        option: The option that accepts their order.

    Raises:
        InputError: If Dice of the channels that would change places is larger by 0.2, or by 0.1 and half
            as far from 1.
    """
    places = np.arange(len(dice))
    if (dice.diagonal() == dice.max(1)).all():
        return
    order = scipy.optimize.linear_sum_assignment(dice + 1e-6 * np.eye(len(dice)), maximize=True)[1]
    moved = order != places
    if not moved.any():
        return
    as_given, other = dice.diagonal()[moved].mean(), dice[places, order][moved].mean()
    better = other - as_given
    if better > _FAR or (better > _FAR / 2 and 1 - other < (1 - as_given) / 2):
        names = ", ".join(channels.names[k] for k in order)
        raise InputError(
            f"{place}: the channels agree far better with the labels as {names} (mean Dice {other:.2f} "
            f"instead of {as_given:.2f}) than as {', '.join(channels.names)}; put them in the order of "
            f"the classes, or say {option}"
        )
