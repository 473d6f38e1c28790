"""How saved numbers become the probabilities that are measured: by softmax or a mean."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from nacl_monai.data.faults import on_one_grid
from nacl_monai.differences import listed
from nacl_monai.errors import InputError
from nacl_monai.metrics.voxels import dequantized
from nacl_monai.posthoc import OUTPUTS
from nacl_monai.predictions.channels import Channels, read_dataset_json, with_structures
from nacl_monai.predictions.checks import check_agreement, check_channels, predicted_masks
from nacl_monai.predictions.images import Prediction, Probabilities
from nacl_monai.predictions.layouts import Layout, check_one_layout, in_order, recognized
from nacl_monai.predictions.names import Names, named_once
from nacl_monai.predictions.options import LOGITS, Options


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
    members: list[Member] = [
        (layout.read, {prediction.case: prediction for prediction in predictions})
    ]
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
