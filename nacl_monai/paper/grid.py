"""The grid of experiments that the paper's tables and figures are made of.

*Neighbor-aware calibration of segmentation networks with penalty-based constraints* (Murugesan
et al., 2024), section 4. An `Experiment` is one training and its evaluation. Its name is that of its
run's folder, and says whatever differs from the defaults that the menus in ``bundles/`` declare. The
workflow runs experiments, and the reports read them; both take them from here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError
from nacl_monai.menus import choose_loss, read_dataset, read_menu
from nacl_monai.metrics.regions import region_of_fit
from nacl_monai.posthoc import ENSEMBLE
from nacl_monai.runs import PATCHES, RunFolder, RunName

#: The paper's datasets, in its order.
PAPER_DATASETS = ("acdc", "flare", "brats", "prostate", "kits", "mrbrains")
#: The paper's losses, in its order.
PAPER_LOSSES = ("dice_ce", "focal", "ecp", "label_smoothing", "svls", "mbls", "nacl")
#: Those of the main tables: plain cross-entropy is NACL without its penalty, and CE+DSC without Dice.
MAIN_LOSSES = ("cross_entropy", *PAPER_LOSSES)
#: The paper's networks, in the order of figure 8; all other experiments have the first.
PAPER_NETWORKS = ("unet", "attention_unet", "transunet", "basic_unet_plus_plus", "dynunet")
#: The method that the paper proposes: it is tested against each other one.
PROPOSED = "nacl"

Value = str | float | bool


@dataclass(frozen=True)
class Method:
    """A loss, those of its hyper-parameters that are not at their default, and what follows training.

    Attributes:
        loss: A name from the menu of losses.
        settings: Arguments of the loss and their values; make one with `method`.
        after: Names that `nacl_monai.training.calibrators.read_steps` reads.
    """

    loss: str
    settings: tuple[tuple[str, Value], ...] = ()
    after: tuple[str, ...] = ()

    @property
    def joins_seeds(self) -> bool:
        """Whether all seeds together are one result."""
        return ENSEMBLE in self.after

    @property
    def name(self) -> str:
        """For instance ``nacl_prior=gaussian+temperature_union``."""
        trained = "_".join([self.loss, *(f"{key}={value}" for key, value in self.settings)])
        return "+".join([trained, *self.after])


def method(loss: str, **settings: Value) -> Method:
    """The method of a loss with some hyper-parameters, in the menu's order and without its defaults.

    A setting at its default has no place in a name, so that every figure finds the same training.

    Raises:
        InputError: If there is no such loss.

    Example:
        >>> method("nacl", prior="gaussian", sigma=1.0).name
        'nacl_prior=gaussian'
    """
    defaults = choose_loss(loss).settings
    order = (*defaults, *sorted(settings.keys() - defaults.keys()))
    pairs = [(key, _like(settings[key], defaults.get(key))) for key in order if key in settings]
    return Method(loss, tuple((key, value) for key, value in pairs if value != defaults.get(key)))


def read_method(name: str) -> Method:
    """The method that `Method.name` is the name of.

    Raises:
        InputError: If it is not the name of a method.
    """
    trained, *after = name.split("+")
    found = read_name("", f"{PAPER_NETWORKS[0]}_{trained}_seed0").method
    return replace(found, after=tuple(after))


def _like(value: Value, default: object) -> Value:
    """A whole number given for a decimal one is that decimal, so that 2 and 2.0 are one name."""
    return float(value) if isinstance(default, float) else value


@dataclass(frozen=True)
class Setup:
    """The settings of an experiment on any dataset; seeds and folds repeat it.

    Attributes:
        method: The loss with its hyper-parameters.
        network: A name from the menu of networks; ``unet3d`` is ``unet`` on patches.
        fraction: The share of the training patients.
    """

    method: Method
    network: str = PAPER_NETWORKS[0]
    fraction: float = 1.0

    @property
    def trained(self) -> Setup:
        """The same without what follows training."""
        return replace(self, method=replace(self.method, after=()))

    @property
    def entry(self) -> str:
        """The network's name in the menu: ``unet``, in 2-D and 3-D."""
        return self.network.removesuffix(PATCHES)

    @property
    def dims(self) -> int:
        """3 where it is trained on patches, else 2."""
        return 2 if self.entry == self.network else 3


@dataclass(frozen=True)
class Experiment:
    """One training and its evaluation.

    Attributes:
        dataset: A name from the menu of datasets.
        setup: What is trained.
        fold: The fold of a cross-validation; None where the dataset has none.
        seed: The training's seed.
    """

    dataset: str
    setup: Setup
    fold: int | None = None
    seed: int = 0

    @property
    def method(self) -> Method:
        """The loss with its hyper-parameters."""
        return self.setup.method

    @property
    def settings(self) -> dict[str, Value]:
        """Settings of the training that are neither the loss's nor at their default."""
        fraction = {} if self.setup.fraction == 1 else {"train_fraction": self.setup.fraction}
        fold = {} if self.fold is None else {"fold": self.fold}
        return {**fraction, **fold}

    @property
    def name(self) -> str:
        """The name of the run's folder, whatever follows the training.

        Example:
            >>> Experiment("acdc", Setup(method("focal", gamma=2.0)), fold=1).name
            'unet_focal_gamma=2.0_fold=1_seed0'
        """
        pairs = (*self.method.settings, *self.settings.items())
        settings = tuple((key, str(value)) for key, value in pairs)
        return str(RunName(self.setup.network, self.method.loss, settings, self.seed))

    def folder(self, run: Path) -> RunFolder:
        """The folder of its evaluation: the run's own, or one within."""
        return RunFolder(run).calibrated(next(iter(self.method.after), None))

    @property
    def overrides(self) -> list[str]:
        """The words behind ``nacl-monai train`` that set what its options do not."""
        loss = self.method.loss
        pairs = [(f"losses::{loss}::{key}", value) for key, value in self.method.settings]
        return [
            word for key, v in (*pairs, *self.settings.items()) for word in (f"--{key}", str(v))
        ]


def read_name(dataset: str, name: str) -> Experiment:
    """The experiment that a run's folder is named for.

    Raises:
        InputError: If the name is not that of an experiment.

    Example:
        >>> read_name("acdc", "unet_nacl_penalty_weight=0.2_seed1").overrides
        ['--losses::nacl::penalty_weight', '0.2']
    """
    run = RunName.parse(name, read_menu("losses"))
    settings = {key: _value(text) for key, text in run.settings}
    fraction, fold = settings.pop("train_fraction", 1.0), settings.pop("fold", None)
    if isinstance(fraction, str) or not (fold is None or isinstance(fold, int)):
        remedy = "train_fraction must be a number and fold a whole one"
        raise InputError(f"{name}: not the name of an experiment; {remedy}")
    setup = Setup(method(run.loss, **settings), run.network, float(fraction))
    return Experiment(dataset, setup, fold, run.seed)


def _value(text: str) -> Value:
    if text in ("False", "True"):
        return text == "True"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


@dataclass(frozen=True)
class Grid:
    """The experiments of a table or figure: all combinations.

    Attributes:
        methods: Losses with their hyper-parameters.
        datasets: Those of the paper's table or figure.
        networks: Usually only the UNet.
        fractions: Shares of the training patients.
    """

    methods: tuple[Method, ...]
    datasets: tuple[str, ...] = PAPER_DATASETS
    networks: tuple[str, ...] = PAPER_NETWORKS[:1]
    fractions: tuple[float, ...] = (1.0,)

    @property
    def setups(self) -> list[Setup]:
        """The experiments on every dataset."""
        combinations = product(self.networks, self.methods, self.fractions)
        return [Setup(method, network, fraction) for network, method, fraction in combinations]

    def is_shown_by(self, setups: Collection[Setup]) -> bool:
        """Whether a setup shows anything; in an ablation, it must be one that the main tables lack."""
        main = set(main_grid().setups)
        own, shown = ({setup.trained for setup in some} for some in (self.setups, setups))
        if main >= own:  # nothing is varied but what follows training
            own, shown = set(self.setups), set(setups)
        is_ablation = not (main >= own or main <= own)
        return bool(setups) and not (is_ablation and main >= shown)

    def experiments(
        self,
        *,
        datasets: Sequence[str] = (),
        losses: Collection[str] = (),
        networks: Collection[str] = (),
        seeds: Sequence[int] = (0,),
    ) -> Iterator[Experiment]:
        """The experiments, one for each fold of a dataset that is cross-validated.

        None, where an ablation is narrowed to experiments of the main tables.

        Args:
            datasets: Instead of the grid's own, such as data that the paper lacks.
            losses: Only these; by default all.
            networks: Only these of the menu; by default all.
            seeds: One training each. An ensemble is of all of them, and is not there if there is one.

        Raises:
            InputError: If there is no such dataset.
        """
        setups = [
            setup
            for setup in self.setups
            if admits(losses, setup.method.loss) and admits(networks, setup.entry)
        ]
        if not self.is_shown_by(setups):
            return
        for dataset, setup in product(datasets or self.datasets, setups):
            first = seeds[:1] if len(seeds) > 1 else []
            own = first if setup.method.joins_seeds else seeds
            for seed, fold in product(own, _folds(dataset)):
                yield Experiment(dataset, setup, fold, seed)


def admits(chosen: Collection[Any], value: object) -> bool:
    """Whether a value is among the chosen; where none is chosen, every value is."""
    return not chosen or value in chosen


def _folds(dataset: str) -> Iterable[int | None]:
    """Numbers of the folds, so that every patient is tested once (section 4.1.1); else just None."""
    folds = read_dataset(dataset).get("folds")
    return (None,) if folds is None else range(folds)


def grid_of(
    losses: Iterable[str],
    *,
    datasets: tuple[str, ...] = PAPER_DATASETS,
    networks: tuple[str, ...] = PAPER_NETWORKS[:1],
    fractions: tuple[float, ...] = (1.0,),
) -> Grid:
    """The grid of some losses at their defaults."""
    return Grid(tuple(method(loss) for loss in losses), datasets, networks, fractions)


def main_grid() -> Grid:
    """The experiments of tables 1 and 2."""
    return grid_of(MAIN_LOSSES)


#: Values that say by themselves what they are a value of.
VALUE_LABELS = {"gaussian": "Gaussian prior", "l2": "L2", "softmax": "on softmax"}


def loss_label(loss: str) -> str:
    """The label of a loss: "CE+DSC".

    Raises:
        InputError: If there is no such loss.
    """
    return choose_loss(loss).label


def symbol(loss: str, key: str) -> str:
    """The symbol of a loss's hyper-parameter, or its key.

    Raises:
        InputError: If there is no such loss.

    Example:
        >>> symbol("nacl", "penalty_weight")
        'λ'
    """
    return str(choose_loss(loss).description.get("symbols", {}).get(key, key))


def method_label(method: Method | str) -> str:
    """The loss, its settings that are not at their default, and what follows the training.

    Args:
        method: A method or its name.

    Raises:
        InputError: If it is not the name of a method.

    Example:
        >>> method_label("svls_sigma=1.0+temperature_union")
        'SVLS (σ = 1) + temperature (union)'
    """
    if isinstance(method, str):
        method = read_method(method)
    settings = ", ".join(
        _setting_label(symbol(method.loss, key), value) for key, value in method.settings
    )
    label = loss_label(method.loss)
    trained = f"{label} ({settings})" if settings else label
    return " + ".join([trained, *map(_after_label, method.after)])


def _setting_label(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {name}"
    return VALUE_LABELS.get(str(value), f"{name} = {_number(value)}")


def _after_label(name: str) -> str:
    """A calibrator and the region of its fit, such as "temperature (union)"; "ensemble" as it is."""
    region = region_of_fit(name)
    return f"{name.removesuffix(f'_{region}')} ({region})" if region else name


def _number(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def network_label(network: str) -> str:
    """The label of a network, or its name if it is not in the menu.

    Example:
        >>> network_label("unet"), network_label("unet3d")
        ('UNet', 'UNet (3-D)')
    """
    menu, name = read_menu("networks"), network.removesuffix(PATCHES)
    if name not in menu:
        return network
    return menu[name].label if name == network else f"{menu[name].label} (3-D)"


def dataset_label(dataset: str) -> str:
    """The label of a dataset, or its name if it has no folder in ``bundles/``."""
    try:
        return str(read_dataset(dataset).get("dataset_label", dataset))
    except InputError:
        return dataset


#: What follows a training; the evaluation of the ensemble is in the first seed's folder.
AFTERWARDS = ("temperature_all", "temperature_union", ENSEMBLE)


def after_training(losses: Sequence[str] = MAIN_LOSSES, names: Sequence[str] = AFTERWARDS) -> Grid:
    """The experiments of some losses, each also with whatever follows training."""
    return followed(grid_of(losses), names)


def followed(grid: Grid, names: Sequence[str] = AFTERWARDS) -> Grid:
    """The experiments of a grid, each also with whatever follows training."""
    after = [(), *((name,) for name in names)]
    methods = (replace(method, after=steps) for method in grid.methods for steps in after)
    return replace(grid, methods=tuple(methods))
