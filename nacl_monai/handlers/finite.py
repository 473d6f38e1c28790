"""A training that has diverged stops, instead of going on with numbers that are none."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys

from nacl_monai.errors import InputError
from nacl_monai.handlers.cases import names
from nacl_monai.handlers.logits import network_logits


class StopOnDivergence:
    """Stops a training at the first batch whose loss or logits are NaN or infinite.

    The device is asked once per iteration, before the optimizer's step: the weights stay as they were.
    The checkpoints are those of the epochs before.

    Raises:
        InputError: With the epoch, the iteration and the cases of the batch; if only some have such
            logits, with those.
    """

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._check)

    def _check(self, engine: Engine) -> None:
        state: Any = engine.state
        loss = state.output[CommonKeys.LOSS].detach()
        good = torch.isfinite(network_logits(engine)).flatten(1).all(dim=1)
        if (torch.isfinite(loss) & good.all()).item():
            return
        cases = names(engine, "case")
        bad = [case for case, fine in zip(cases, good.tolist(), strict=True) if not fine] or cases
        raise InputError(
            f"epoch {state.epoch}, iteration {state.iteration}: the training has diverged, loss "
            f"{loss.item():g}, in a batch with {', '.join(dict.fromkeys(bad))}; lower the "
            "learning_rate, or look at these cases; the states of the epochs before are kept"
        )
