"""Stops a training that has diverged."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys

from nacl_monai.errors import InputError
from nacl_monai.handlers.case_handler import batch_entries
from nacl_monai.handlers.logits import network_logits


class StopOnDivergence:
    """Stops training as soon as the loss or the logits are NaN or infinite.

    The device is asked once per iteration, before the optimizer's step, so that the weights remain
    as they were. The checkpoints of earlier epochs remain as well.

    Raises:
        InputError: If the loss or a logit is NaN or infinite; it names the epoch, the iteration, and
            the cases of the batch with such logits, or all its cases if only the loss is wrong.
    """

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._check)

    def _check(self, engine: Engine) -> None:
        state: Any = engine.state
        loss = state.output[CommonKeys.LOSS].detach()
        finite = torch.isfinite(network_logits(engine)).flatten(1).all(dim=1)
        if (torch.isfinite(loss) & finite.all()).item():
            return
        cases = batch_entries(engine, "case")
        diverged = [case for case, fine in zip(cases, finite.tolist(), strict=True) if not fine]
        raise InputError(
            f"epoch {state.epoch}, iteration {state.iteration}: the training has diverged, loss "
            f"{loss.item():g}, in a batch with {', '.join(dict.fromkeys(diverged or cases))}; lower "
            "the learning_rate, or look at these cases; the states of the epochs before are kept"
        )
