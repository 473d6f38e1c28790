"""The parts of losses: named terms, a base plus weighted penalties, and losses from elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nacl_monai.errors import InputError
from nacl_monai.losses.inputs import check_not_negative, check_option, check_values, one_hot
from nacl_monai.tensors import without_channel, without_metadata
from nacl_monai.words import in_our_words


class FunctionModule(nn.Module):
    """A module around a function: it keeps the function's keyword arguments and prints them.

    Args:
        **settings: The keyword arguments.
    """

    settings: dict[str, Any]
    #: Keywords that it takes beside those of its signature.
    accepted: frozenset[str] = frozenset()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = in_our_words(cls.__init__, cls.accepted)  # type: ignore[method-assign]

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def extra_repr(self) -> str:
        """The settings, as they would be passed."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


class SegmentationLoss(FunctionModule, ABC):
    r"""A segmentation loss :math:`\mathcal{L} = \sum_i t_i` with named terms :math:`t_i`.

    Subclasses define :meth:`terms`, which calls pure functions. Calling the module returns the sum
    and keeps the detached terms of the latest call in :attr:`latest_terms`, from which training
    curves are drawn without a second forward pass.

    Args:
        **settings: What :meth:`terms` passes on to its function, kept in ``settings``.
    """

    latest_terms: dict[str, Tensor]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.latest_terms = {}

    @abstractmethod
    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The named terms whose sum is the loss, each a scalar that includes its weight.

        Args:
            logits: Output of a network before softmax, ``(B, C, *spatial)``.
            labels: Class indices, or the shares of the classes.
        """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar: the sum of :meth:`terms`."""
        terms = self.terms(logits, labels)
        self.latest_terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack(list(terms.values())).sum()


class Penalty(FunctionModule, ABC):
    r"""A weighted penalty :math:`\lambda \mathcal{P}` to add to a loss.

    Args:
        weight: :math:`\lambda \ge 0`.
        **settings: What :meth:`value` passes on to its function, kept in ``settings``.

    Raises:
        InputError: If the weight is negative.
    """

    def __init__(self, weight: float, **settings: Any) -> None:
        super().__init__(**settings)
        check_not_negative("weight", weight)
        self.weight = weight

    @abstractmethod
    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        r"""The penalty :math:`\mathcal{P}` without its weight, a scalar."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The penalty times its weight."""
        return self.weight * self.value(logits, labels)

    def extra_repr(self) -> str:
        """The weight and the settings, as they would be passed."""
        return ", ".join(filter(None, [f"weight={self.weight!r}", super().extra_repr()]))


class ComposedLoss(SegmentationLoss):
    r"""A base loss plus penalties: :math:`\mathcal{L} + \sum_i \lambda_i \mathcal{P}_i`.

    Dice and cross-entropy with the NACL penalty, in a configuration::

        loss_function:
          _target_: nacl_monai.losses.ComposedLoss
          base: {_target_: nacl_monai.losses.DiceCELoss}
          penalties:
            - {_target_: nacl_monai.losses.NeighborhoodPenalty, weight: 0.1}

    Args:
        base: Any loss of this package, or another, see `ForeignLoss`.
        penalties: What to add to it.

    Shape:
        As for any loss. If a penalty needs the image, labels are ``(B, 1 + M, *spatial)``: the class
        indices, then the image's :math:`M` channels.

    Example:
        >>> from nacl_monai.losses import DiceCELoss, NeighborhoodPenalty
        >>> loss = ComposedLoss(DiceCELoss(), [NeighborhoodPenalty(weight=0.1)])
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'dice': tensor(0.6667), 'penalty': tensor(0.0500)}
    """

    def __init__(self, base: nn.Module, penalties: Sequence[Penalty]) -> None:
        super().__init__()
        self.base = as_segmentation_loss(base)
        self.penalties = nn.ModuleList(penalties)

    @property
    def needs_image(self) -> bool:
        """Whether ``labels`` carry the image in their further channels."""
        return any(needs_image(part) for part in (self.base, *self.penalties))

    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Those of the base, then ``penalty``, ``penalty_2``, … in the order given."""

        def labels_for(part: nn.Module) -> Tensor:
            return labels[:, :1] if self.needs_image and not needs_image(part) else labels

        # Penalties first: backward then frees the base's buffers before it computes theirs.
        values = [penalty(logits, labels_for(penalty)) for penalty in self.penalties]
        terms = dict(self.base.terms(logits, labels_for(self.base)))
        for value in values:
            number = 1 + sum(name.startswith("penalty") for name in terms)
            terms["penalty" if number == 1 else f"penalty_{number}"] = value
        return terms


def needs_image(loss: nn.Module) -> bool:
    """Whether ``labels`` must carry the image in their further channels; False for other losses."""
    return bool(getattr(loss, "needs_image", False))


def _whole(
    logits: Tensor,  # noqa: ARG001
    labels: Tensor,
    ignore_index: int | None,  # noqa: ARG001
) -> Tensor:
    labels = without_metadata(labels)
    return labels if labels.is_floating_point() else labels.long()


def _indices(logits: Tensor, labels: Tensor, ignore_index: int | None) -> Tensor:
    indices = without_channel(labels, logits)
    return check_values(indices.long(), indices, logits, ignore_index)


def _one_hot(logits: Tensor, labels: Tensor, ignore_index: int | None) -> Tensor:
    indices = _indices(logits, labels, ignore_index).unsqueeze(1)
    return one_hot(indices, logits.shape[1], ignore_index).to(logits.dtype)


#: How a loss takes its labels.
FORMS: dict[str, Callable[[Tensor, Tensor, int | None], Tensor]] = {
    "whole": _whole,
    "indices": _indices,
    "one_hot": _one_hot,
}


class ForeignLoss(SegmentationLoss):
    r"""A loss from elsewhere, as a loss of this package with one term, ``loss``.

    Any loss that takes ``(logits, labels)`` becomes one by itself as a base of `ComposedLoss` or as the
    loss of `DeepSupervisionLoss`, and every loss of a training is one of these. Name this class only for
    labels in another form than the first::

        loss:
          _target_: nacl_monai.losses.ForeignLoss
          loss: {_target_: torch.nn.CrossEntropyLoss}
          labels: indices

    Args:
        loss: Returns a scalar for logits ``(B, C, *spatial)`` before softmax, in at least float32, and
            labels.
        labels: "whole", as they are, ``(B, 1, *spatial)`` in a training, but whole numbers in int64,
            since 1 − 2 is 255 in bytes; "indices", without the channel, ``(B, *spatial)``, as torch's
            losses take them; or "one_hot", ``(B, C, *spatial)`` in the dtype of the logits.
        ignore_index: A label that is not a class, and that the loss leaves out itself; one-hot, such a
            voxel is of no class.

    Shape:
        logits ``(B, C, *spatial)``; labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.
        Only "whole" hands soft labels on.

    Raises:
        InputError: If there is no such form.

    Example:
        >>> loss = ForeignLoss(nn.CrossEntropyLoss(), labels="indices")
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'loss': tensor(0.6931)}
    """

    def __init__(
        self, loss: nn.Module, labels: str = "whole", ignore_index: int | None = None
    ) -> None:
        check_option("labels", FORMS, labels)
        super().__init__(labels=labels, ignore_index=ignore_index)
        self.loss = loss

    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``loss``."""
        formed = FORMS[self.settings["labels"]](logits, labels, self.settings["ignore_index"])
        loss = self.loss.to(logits.device)  # its class weights, if it has any
        return {"loss": loss(without_metadata(logits), formed)}


def as_segmentation_loss(loss: object) -> SegmentationLoss:
    """``loss``; one from elsewhere within a `ForeignLoss`.

    Raises:
        InputError: If it is not a module.
    """
    if isinstance(loss, SegmentationLoss):
        return loss
    if not isinstance(loss, nn.Module):
        raise InputError(
            f"loss: is {loss!r:.80}, which is not a torch.nn.Module; pass a loss's module"
        )
    return ForeignLoss(loss)
