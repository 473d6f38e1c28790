"""The grid of experiments: which trainings each table and figure of the paper is made of.

*Neighbor-aware calibration of segmentation networks with penalty-based constraints* (Murugesan
et al., 2024), section 4. A `Experiment` is one training and its evaluation; its name is its folder, and
says whatever differs from the defaults of ``bundles/common/train.yaml``. The workflow runs experiments,
the reports read them; both take them from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from nacl_monai.errors import InputError

#: The paper's datasets, in its order; and those that are not in it.
PAPER_DATASETS = ("acdc", "flare", "brats", "prostate", "kits", "mrbrains")
DATASETS = (*PAPER_DATASETS, "hippocampus")

#: The paper's losses, in its order, and plain cross-entropy: NACL without its penalty, and CE+DSC
#: without Dice.
PAPER_LOSSES = ("dice_ce", "focal", "ecp", "label_smoothing", "svls", "mbls", "nacl")
LOSSES = ("cross_entropy", *PAPER_LOSSES)

NETWORKS = ("unet", "attention_unet", "transunet", "basic_unet_plus_plus", "dynunet")

#: Datasets that are trained once per fold, so that every patient is tested once (section 4.1.1).
FOLDS = {"mrbrains": 7}

Value = str | float
Setting = tuple[str, Value]
Settings = tuple[Setting, ...]

#: Settings of a run that are not of its loss.
RUN_SETTINGS = ("train_fraction", "fold")

#: The three values of each loss's hyper-parameter in figure 6, HP1 to HP3. Of MbLS's margin its
#: caption says 3, 5, 10 and the text 5, 8, 10; the caption's include the value of the main tables.
HYPER_PARAMETERS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "focal": ("gamma", (1.0, 2.0, 3.0)),
    "ecp": ("entropy_weight", (0.1, 0.2, 0.3)),
    "label_smoothing": ("label_smoothing", (0.1, 0.2, 0.3)),
    "svls": ("sigma", (0.5, 1.0, 2.0)),
    "mbls": ("margin", (3.0, 5.0, 10.0)),
    "nacl": ("penalty_weight", (0.1, 0.2, 0.3)),
}
SIGMAS = (1.0, 2.0, 3.0)
FRACTIONS = (0.25, 0.5, 0.75, 1.0)

#: What a run has that does not set it otherwise: a setting equal to its default has no place in a
#: name, so that every figure finds the same training.
DEFAULTS: dict[str, dict[str, Value]] = {
    "nacl": {
        "prior": "mean",
        "sigma": 1.0,
        "penalty": "l1",
        "penalty_weight": 0.1,
        "space": "logits",
    },
    "focal": {"gamma": 3.0},
    "ecp": {"entropy_weight": 0.1},
    "label_smoothing": {"label_smoothing": 0.1},
    "svls": {"sigma": 2.0},
    "mbls": {"margin": 5.0, "penalty_weight": 0.1},
}
RUN_DEFAULTS: dict[str, Value] = {"train_fraction": 1.0}


@dataclass(frozen=True)
class Method:
    """A loss, and those of its hyper-parameters that are not at their default.

    Attributes:
        loss: a name from the menu of losses.
        settings: keys of the loss and their values; make one with `method`.
    """

    loss: str
    settings: Settings = ()

    @property
    def name(self) -> str:
        """For instance ``nacl_prior=gaussian``."""
        return "_".join([self.loss, *(f"{key}={value}" for key, value in self.settings)])


def _as(value: Value, default: Value | None) -> Value:
    """A whole number given for a decimal one is that decimal, so that 2 and 2.0 are one name."""
    return float(value) if isinstance(default, float) else value


def method(loss: str, **settings: Value) -> Method:
    """The method of a loss with hyper-parameters, in the order of `DEFAULTS`; defaults do not count.

    Example:
        >>> method("nacl", prior="gaussian", sigma=1.0).name
        'nacl_prior=gaussian'
    """
    defaults = DEFAULTS.get(loss, {})
    order = [key for key in defaults if key in settings]
    order += sorted(settings.keys() - defaults.keys())
    pairs = [(key, _as(settings[key], defaults.get(key))) for key in order]
    return Method(loss, tuple((key, value) for key, value in pairs if value != defaults.get(key)))


@dataclass(frozen=True)
class Experiment:
    """One training and its evaluation.

    Attributes:
        dataset: a name from the menu of datasets.
        method: the loss.
        network: a name from the menu of networks.
        settings: of the run, ``train_fraction`` and ``fold``, where not at their default.
        seed: of the training.
    """

    dataset: str
    method: Method
    network: str = "unet"
    settings: Settings = ()
    seed: int = 0

    @property
    def name(self) -> str:
        """The run's folder, ``<network>_<loss>[_<key>=<value> …]_seed<seed>``.

        Example:
            >>> Experiment("acdc", method("focal", gamma=2.0), settings=(("fold", 1),)).name
            'unet_focal_gamma=2.0_fold=1_seed0'
        """
        parts = (f"{key}={value}" for key, value in self.settings)
        return "_".join([self.network, self.method.name, *parts, f"seed{self.seed}"])

    @property
    def overrides(self) -> list[str]:
        """The words behind ``make train … ARGS=`` that set what its variables do not."""
        ours = [(f"losses::{self.method.loss}::{key}", v) for key, v in self.method.settings]
        return [word for key, v in (*ours, *self.settings) for word in (f"--{key}", str(v))]


_NAME = re.compile(
    rf"(?P<network>\w+?)_(?P<loss>{'|'.join(LOSSES)})(?P<settings>(?:_[a-z_]+=[^_=/]+)*)"
    r"_seed(?P<seed>\d+)"
)


def read_name(dataset: str, name: str) -> Experiment:
    """The experiment that a folder is named for.

    Raises:
        InputError: the name is not that of an experiment.

    Example:
        >>> read_name("acdc", "unet_nacl_penalty_weight=0.2_seed1").overrides
        ['--losses::nacl::penalty_weight', '0.2']
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"{name}: not the name of a run; expected <network>_<loss>[_<key>=<value>]_seed<n>, "
            f"with a loss out of {', '.join(LOSSES)}"
        )
    pairs = [(key, _value(text)) for key, text in _pairs(match["settings"])]
    return Experiment(
        dataset=dataset,
        method=method(match["loss"], **{k: v for k, v in pairs if k not in RUN_SETTINGS}),
        network=match["network"],
        settings=_run_settings(dict(pairs)),
        seed=int(match["seed"]),
    )


@dataclass(frozen=True)
class Target:
    """What one table or figure is made of.

    Attributes:
        methods: losses with their hyper-parameters.
        datasets: those of the paper's table or figure.
        networks: usually the UNet alone.
        fractions: shares of the training patients.
    """

    methods: tuple[Method, ...]
    datasets: tuple[str, ...] = PAPER_DATASETS
    networks: tuple[str, ...] = ("unet",)
    fractions: tuple[float, ...] = (1.0,)


def _all(losses: Iterable[str]) -> tuple[Method, ...]:
    return tuple(method(loss) for loss in losses)


MAIN = Target(_all(LOSSES))
TARGETS: dict[str, Target] = {
    "table1": MAIN,
    "table2": MAIN,
    "table3": Target((method("nacl"), method("nacl", prior="gaussian"))),
    "table4": Target((method("nacl"), method("nacl", penalty="l2"))),
    "figure1": MAIN,
    "figure2": MAIN,
    "figure3": Target((method("nacl"), method("nacl", space="softmax"))),
    "figure4": Target(_all(LOSSES), datasets=("flare", "acdc")),
    "figure5": MAIN,
    "figure6": Target(
        tuple(
            method(loss, **{key: value})
            for loss, (key, values) in HYPER_PARAMETERS.items()
            for value in values
        )
    ),
    "figure7": Target(
        tuple(
            method(loss, sigma=sigma, **settings)
            for sigma in SIGMAS
            for loss, settings in (("svls", {}), ("nacl", {"prior": "gaussian"}))
        )
    ),
    "figure8": Target(_all(("svls", "mbls", "nacl")), datasets=("flare",), networks=NETWORKS),
    "figure9": Target(_all(PAPER_LOSSES), datasets=("acdc", "flare"), fractions=FRACTIONS),
    "figure10": MAIN,
    "figure11": Target(_all(LOSSES), datasets=("brats",)),
}


def experiments(
    target: str,
    *,
    datasets: Sequence[str] = (),
    losses: Sequence[str] = (),
    networks: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    folds: Mapping[str, int] = FOLDS,
) -> Iterator[Experiment]:
    """The experiments that a table or figure needs.

    Args:
        target: a key of `TARGETS`.
        datasets: instead of the target's own; so are figures drawn of data that the paper lacks.
        losses: only these.
        networks: only these.
        seeds: a training per seed.
        folds: number of folds of the datasets that have any.
    """
    of = TARGETS[target]
    for dataset, network, way, fraction, seed in product(
        datasets or of.datasets, of.networks, of.methods, of.fractions, seeds
    ):
        if (losses and way.loss not in losses) or (networks and network not in networks):
            continue
        for fold in range(folds[dataset]) if dataset in folds else (None,):
            settings: dict[str, Value] = {"train_fraction": fraction}
            if fold is not None:
                settings["fold"] = fold
            yield Experiment(dataset, way, network, _run_settings(settings), seed)


def _run_settings(settings: Mapping[str, Value]) -> Settings:
    return tuple(
        (key, settings[key])
        for key in RUN_SETTINGS
        if key in settings and settings[key] != RUN_DEFAULTS.get(key)
    )


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for part in re.finditer(r"_([a-z_]+)=([^_=]+)", text):
        yield part[1], part[2]


def _value(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
