"""The course of a training: its schedule, its seeds, its progress, and when it has failed."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.data.utils import set_rnd
from monai.engines import IterationEvents
from monai.utils import set_determinism
from monai.utils.enums import CommonKeys

from nacl_monai.errors import InputError, SettingError
from nacl_monai.losses import DeepSupervisionLoss
from nacl_monai.losses.inputs import checking_later
from nacl_monai.progress import progress_bar
from nacl_monai.training import Position
from nacl_monai.training.logits import network_logits
from nacl_monai.training.outputs import batch_entries, batch_files, case_names
from nacl_monai.words import leaves

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
    for key, value in leaves(config):
        if f"@{_EPOCHS}" in str(value) and not key.startswith(_KNOWN):
            return f"{key} depends on {_EPOCHS}"  # nobody looks at what it decides there
    try:
        before, now = _scheduler({**config, _EPOCHS: earlier}), _scheduler(config)
        rates = _rates(before, epochs)
        now.optimizer.load_state_dict(before.optimizer.state_dict())
        ScheduleState(now).load_state_dict(ScheduleState(before).state_dict())
        rates += _rates(now, length - epochs)
        expected = _rates(_scheduler(config), length)
    except TypeError:  # a step of the scheduler takes more than the epoch
        return "its learning rate depends on more than the epoch"
    for epoch, (rate, due) in enumerate(zip(rates, expected, strict=True), start=1):
        if rate != due:
            return (
                f"the learning rate of epoch {epoch} is {rate:g}, that of {length} epochs {due:g}"
            )
    return ""


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


def last_step(epoch: int, dataloader: Sized) -> int:
    """The step at which ``epoch`` ends: the number of iterations until then.

    Args:
        epoch: Number of the epoch, from 1; 0 stands for the start of the training.
        dataloader: The training's loader; its length is the number of iterations in an epoch.

    Example:
        >>> last_step(3, range(5))
        15
    """
    return epoch * len(dataloader)


def next_step(position: Position, dataloader: Sized) -> int:
    """The first step after ``position``, from which a resumed training writes its curves anew.

    Example:
        >>> next_step(Position(epoch=2, iterations=3), range(5))
        14
    """
    return last_step(position.epoch, dataloader) + position.iterations + 1


def loss_and_terms(
    output: Mapping[str, Any] | Sequence[Mapping[str, Any]], loss_function: DeepSupervisionLoss
) -> dict[str, float]:
    """The curves of an iteration, the loss and each of its terms, in one wait for the device.

    Args:
        output: The output of an iteration of MONAI's trainer, a dictionary, or one per sample.
        loss_function: Remembers the terms of the latest loss.
    """
    terms = {"loss": _loss_of(output), **loss_function.latest_terms}
    numbers = torch.stack([torch.as_tensor(term) for term in terms.values()])
    return dict(zip(terms, numbers.tolist(), strict=True))


def _loss_of(output: Any) -> Any:
    """The loss in the output of an iteration, decollated or not."""
    return (output if isinstance(output, Mapping) else output[0])[CommonKeys.LOSS]


@dataclass(eq=False)
class EpochSeed:
    """Seeds every generator at the start of every epoch: Python, NumPy, torch, MONAI's transforms.

    An epoch can then be repeated, alone, with the same order of samples, augmentation and dropout. This
    is why a resumed training is exact without any random state on disk. Seeds of different
    epochs, processes and runs are independent (`numpy.random.SeedSequence`).

    Args:
        seed: The run's seed.
        deterministic: Whether a GPU computes with kernels that give the same bits every time, in place
            of the fastest ones for the size of a batch. A CPU's always do.
    """

    seed: int
    deterministic: bool = False

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._seed)

    def _seed(self, engine: Engine) -> None:
        trainer: Any = engine
        entropy = np.random.SeedSequence([self.seed, engine.state.epoch, idist.get_rank()])
        seed = int(entropy.generate_state(1)[0])
        set_determinism(seed)
        torch.backends.cudnn.deterministic = self.deterministic
        torch.backends.cudnn.benchmark = not self.deterministic
        # Transforms have generators of their own. `SliceDataset` seeds them for every item, so that it
        # does not matter which worker process makes it; others follow their worker.
        set_rnd(trainer.data_loader.dataset, seed)
        trainer.data_loader.dataset.seed = seed


#: How many times the loss of a network that knows nothing, at least 1, an epoch's mean loss may be.
_MOST = 10.0


class StopOnDivergence:
    """Stops training as soon as the loss or the logits are NaN or infinite, or an epoch is hopeless.

    The device is asked once per iteration, before the optimizer's step, so that the weights remain
    as they were; whether the labels are classes, which losses check, is asked together with it. The
    checkpoints of earlier epochs remain as well.

    Numbers can stay finite to the end though the learning rate is far too large. An epoch is hopeless
    if its mean loss is above :data:`_MOST` times the loss of logits that are all zero (of the session's
    first batch; 1 if that is less). The first epoch may be, unless it is the last: networks
    without normalization begin with large logits. Attach this before what an epoch's end writes.

    Raises:
        InputError: If a label is not a class. If the loss or a logit is NaN or infinite; it names the
            epoch, the iteration, and the cases of the batch with such logits, or all its cases if only
            the loss is wrong. If an epoch is hopeless; it names the epoch and both losses.
    """

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI."""
        self._ignorant: float | None = None
        self._sum: Any = 0.0
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._check)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check_epoch)

    def _start(self, engine: Engine) -> None:
        trainer: Any = engine
        if trainer.loss_function != self._measure:  # of an earlier run of the same engine
            self._loss, trainer.loss_function = trainer.loss_function, self._measure

    def _measure(self, logits: Any, labels: Any) -> torch.Tensor:
        with checking_later() as self._checks:
            loss: torch.Tensor = self._loss(logits, labels)
        return loss

    def _check(self, engine: Engine) -> None:
        state: Any = engine.state
        loss, checks = state.output[CommonKeys.LOSS].detach(), self._checks
        if self._ignorant is None:
            self._ignorant = _ignorant_loss(engine, self._loss)
        self._sum = self._sum + torch.stack([loss.double(), torch.ones_like(loss).double()])
        finite = torch.isfinite(network_logits(engine)).flatten(1).all(dim=1)
        if torch.stack([torch.isfinite(loss), finite.all(), *(valid for valid, _ in checks)]).all():
            return
        for _, refuse in checks:
            refuse()
        cases = batch_entries(engine, "case") or case_names(batch_files(engine))
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
        if not early and mean > _MOST * max(ignorant, 1):
            raise InputError(
                f"epoch {state.epoch}: the training has diverged, mean loss {mean:g}, where a network "
                f"that knows nothing has {ignorant:g}; lower the learning_rate and train anew; the "
                "states of the epochs before are kept"
            )


def _ignorant_loss(engine: Engine, loss: Callable[..., Any]) -> float:
    """The loss of the current batch if all logits were zero."""
    trainer: Any = engine
    loss_function = copy.deepcopy(loss)  # which keeps its terms for the curves
    pred, label = (trainer.state.output[key] for key in (CommonKeys.PRED, CommonKeys.LABEL))
    with torch.no_grad():
        zeros = (
            torch.zeros_like(pred)
            if isinstance(pred, torch.Tensor)
            else [torch.zeros_like(head) for head in pred]
        )
        return float(loss_function(zeros, label))


@dataclass(eq=False)
class Progress:
    """A bar over all iterations, with the epoch, the loss and the latest validation beside it.

    Args:
        description: Shown before the bar.
        unit: Name of an iteration.
        validator: The engine whose metrics are shown, if the bar belongs to a training whose output is
            decollated.
        metrics: Names of the metrics that are shown.
    """

    description: str
    unit: str = "batch"
    validator: Engine | None = None
    metrics: Sequence[str] = ()

    def attach(self, engine: Engine) -> None:
        """Registers the bar with ``engine``; attach it after the handler that validates."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._show)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop)

    def _start(self, engine: Engine) -> None:
        state: Any = engine.state
        left = state.max_epochs * state.epoch_length - state.iteration
        self._bar = progress_bar(description=self.description, unit=self.unit, total=left)

    def _advance(self) -> None:
        self._bar.update()

    def _close(self) -> None:
        self._bar.close()

    def _show(self, engine: Engine) -> None:
        if self.validator is None:
            return
        state: Any = engine.state
        shown = {"epoch": f"{state.epoch}/{state.max_epochs}"}
        if state.output is not None:  # None if the training went on behind the epoch's iterations
            shown["loss"] = f"{_loss_of(state.output):.3f}"
        values = self.validator.state.metrics
        shown |= {name: f"{values[name]:.3f}" for name in self.metrics if name in values}
        self._bar.set_postfix(shown, refresh=False)

    def _stop(self, error: BaseException) -> None:
        self._bar.close()
        raise error
