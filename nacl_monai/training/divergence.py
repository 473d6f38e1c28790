"""Stops a training that has diverged."""

from __future__ import annotations

import copy
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys

from nacl_monai.errors import InputError
from nacl_monai.training.case_names import case_names
from nacl_monai.training.logits import network_logits
from nacl_monai.training.outputs import batch_entries, image_files

#: How many times the loss of a network that knows nothing, at least 1, an epoch's mean loss may be.
MOST = 10.0


class StopOnDivergence:
    """Stops training as soon as the loss or the logits are NaN or infinite, or an epoch is hopeless.

    The device is asked once per iteration, before the optimizer's step, so that the weights remain
    as they were. The checkpoints of earlier epochs remain as well.

    With a learning rate that is far too large, numbers can stay finite to the end. An epoch is hopeless
    if its mean loss is above :data:`MOST` times the loss of logits that are all zero (of the session's
    first batch; 1 if that is less). The first epoch may be, unless it is the last: networks
    without normalization begin with large logits. Attach this before what an epoch's end writes.

    Raises:
        InputError: If the loss or a logit is NaN or infinite; it names the epoch, the iteration, and
            the cases of the batch with such logits, or all its cases if only the loss is wrong. If an
            epoch is hopeless; it names the epoch and both losses.
    """

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI."""
        self._ignorant: float | None = None
        self._sum: Any = 0.0
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._check)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check_epoch)

    def _check(self, engine: Engine) -> None:
        state: Any = engine.state
        loss = state.output[CommonKeys.LOSS].detach()
        if self._ignorant is None:
            self._ignorant = _ignorant_loss(engine)
        self._sum = self._sum + torch.stack([loss.double(), torch.ones_like(loss).double()])
        finite = torch.isfinite(network_logits(engine)).flatten(1).all(dim=1)
        if (torch.isfinite(loss) & finite.all()).item():
            return
        cases = batch_entries(engine, "case") or case_names(image_files(engine))
        diverged = [case for case, fine in zip(cases, finite.tolist(), strict=True) if not fine]
        raise InputError(
            f"epoch {state.epoch}, iteration {state.iteration}: the training has diverged, loss "
            f"{loss.item():g}, in a batch with {', '.join(dict.fromkeys(diverged or cases))}; lower "
            "the learning_rate, or look at these cases; the states of the epochs before are kept"
        )

    def _check_epoch(self, engine: Engine) -> None:
        if self._ignorant is None:  # the epoch was stopped in its validation, which is done again
            return
        state: Any = engine.state
        sums: list[float] = self._sum.tolist()
        numbers = torch.tensor([*sums, self._ignorant, 1.0], dtype=torch.float64)
        total, iterations, ignorant, processes = torch.as_tensor(idist.all_reduce(numbers)).tolist()
        self._sum = 0.0
        mean, ignorant = total / iterations, ignorant / processes
        early = state.epoch == 1 < state.max_epochs
        if not early and mean > MOST * max(ignorant, 1):
            raise InputError(
                f"epoch {state.epoch}: the training has diverged, mean loss {mean:g}, where a network "
                f"that knows nothing has {ignorant:g}; lower the learning_rate and train anew; the "
                "states of the epochs before are kept"
            )


def _ignorant_loss(engine: Engine) -> float:
    """The loss of the current batch if all logits were zero."""
    trainer: Any = engine
    loss_function = copy.deepcopy(trainer.loss_function)  # which keeps its terms for the curves
    pred, label = (trainer.state.output[key] for key in (CommonKeys.PRED, CommonKeys.LABEL))
    with torch.no_grad():
        zeros = (
            torch.zeros_like(pred)
            if isinstance(pred, torch.Tensor)
            else [torch.zeros_like(head) for head in pred]
        )
        return float(loss_function(zeros, label))
