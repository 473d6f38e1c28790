"""When the learning rate falls (section 4.1.3), and whether another number of epochs changes that."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.bundle import ConfigParser

from nacl_monai.differences import leaves
from nacl_monai.errors import SettingError

_EPOCHS = "max_epochs"
# Where the number of epochs may decide something: `refusal_of_length` looks at it there.
_KNOWN = (_EPOCHS, "train::lr_scheduler::", "train::trainer::", "training::")


def half_of_epochs(max_epochs: int) -> int:
    """The number of epochs after which the learning rate falls: half of all, rounded up.

    Rounded down, it would fall a second time in the last epoch of an odd number.

    Example:
        >>> half_of_epochs(100), half_of_epochs(3), half_of_epochs(1)
        (50, 2, 1)
    """
    return (max_epochs + 1) // 2


def check_interval(max_epochs: int, val_interval: int) -> None:
    """Refuses a training without a validation, which would keep no model.

    Raises:
        SettingError: If ``val_interval`` is larger than ``max_epochs``.
    """
    if val_interval > max_epochs:
        raise SettingError(
            f"--val_interval {val_interval}: a training of {max_epochs} epochs would end without a "
            f"validation, and keep no model; write a whole number from 1 to {max_epochs}"
        )


class ScheduleState:
    """The state of a scheduler without its settings, which are those of the configuration.

    PyTorch's own state holds both, so that a training that goes on with more epochs would keep the
    earlier ones' ``step_size``.

    Args:
        scheduler: The scheduler of the learning rate.
    """

    def __init__(self, scheduler: torch.optim.lr_scheduler.LRScheduler) -> None:
        self.scheduler = scheduler
        self._settings = set(inspect.signature(type(scheduler)).parameters) - {"last_epoch"}

    def state_dict(self) -> dict[str, Any]:
        """How far the scheduler is."""
        return self._without_settings(self.scheduler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.scheduler.load_state_dict(self._without_settings(state))

    def _without_settings(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in state.items() if key not in self._settings}


def refusal_of_length(config: Mapping[str, Any], earlier: object, epochs: int) -> str:
    """Why a training cannot be made longer; empty if it then is what it would have been from the start.

    Args:
        config: The training's configuration, with the new ``max_epochs``.
        earlier: The ``max_epochs`` that it had.
        epochs: How many epochs have begun.
    """
    length = config[_EPOCHS]
    if not (isinstance(length, int) and isinstance(earlier, int) and length > earlier):
        return "a training can only be made longer"
    others = [key for key, value in leaves(config) if _is_other_use(key, value)]
    if others:
        return f"{others[0]} depends on {_EPOCHS}"
    try:
        found, expected = (
            _rates_lengthened(config, earlier, epochs),
            _rates(_scheduler(config), length),
        )
    except TypeError:  # a step of the scheduler takes more than the epoch
        return "its learning rate depends on more than the epoch"
    return _first_unlike(found, expected)


def _is_other_use(key: str, value: object) -> bool:
    """Whether ``value`` refers to the number of epochs where nobody looks at what it decides."""
    return isinstance(value, str) and f"@{_EPOCHS}" in value and not key.startswith(_KNOWN)


def _first_unlike(found: Sequence[float], expected: Sequence[float]) -> str:
    for epoch, (rate, due) in enumerate(zip(found, expected, strict=True), start=1):
        if rate != due:
            return (
                f"the learning rate of epoch {epoch} is {rate:g}, that of {len(expected)} epochs "
                f"{due:g}"
            )
    return ""


def _rates_lengthened(config: Mapping[str, Any], earlier: int, epochs: int) -> list[float]:
    """The learning rates of ``epochs`` of a training of ``earlier``, and of the others up to now's."""
    before, now = _scheduler({**config, _EPOCHS: earlier}), _scheduler(config)
    rates = _rates(before, epochs)
    now.optimizer.load_state_dict(before.optimizer.state_dict())
    ScheduleState(now).load_state_dict(ScheduleState(before).state_dict())
    return rates + _rates(now, config[_EPOCHS] - epochs)


def _scheduler(config: Mapping[str, Any]) -> torch.optim.lr_scheduler.LRScheduler:
    """The scheduler of a configuration, of an optimizer without a network."""
    parser = ConfigParser(copy.deepcopy(dict(config)))
    parser["train::optimizer::params"] = [torch.nn.Parameter(torch.zeros(1))]
    scheduler: torch.optim.lr_scheduler.LRScheduler = parser.get_parsed_content(
        "train::lr_scheduler"
    )
    return scheduler


def _rates(scheduler: torch.optim.lr_scheduler.LRScheduler, epochs: int) -> list[float]:
    """The learning rate of each of the next epochs."""
    rates = []
    for _ in range(epochs):
        rates.append(float(scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.optimizer.step()
        scheduler.step()
    return rates
