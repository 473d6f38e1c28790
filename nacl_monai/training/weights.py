"""The weights that a training or an evaluation begins with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import ignite.distributed as idist
import torch
from torch import nn

from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import checksum
from nacl_monai.inference.segmenter import is_intact
from nacl_monai.training.checkpoints import checkpoint_positions, load_state

Weights = dict[str, torch.Tensor]
_SHOWN = 2


def load_weights(network: nn.Module, file: str | Path) -> nn.Module:
    """Loads the state dictionary in ``file`` into ``network``, and returns it.

    Args:
        network: The network that it was trained with.
        file: As `nacl_monai.training.BestModel` writes it.

    Raises:
        InputError: If the file is missing or damaged, is not the one of the checksum beside it, belongs
            to another network, or holds NaN or infinite weights.
    """
    if not Path(file).is_file():
        raise InputError(f"{file}: no trained model there; train first")
    if not is_intact(file):
        raise InputError(
            f"{file}: is damaged, or not the file that was trained; put it back, or start the training "
            "again, which restores it if it can"
        )
    try:
        network.load_state_dict(load_state(file))
    except (UnpicklingError, RuntimeError, TypeError) as error:
        raise InputError(
            f"{file}: does not fit the network; choose the one it was trained with "
            "(--network_def, classes, in_channels)"
        ) from error
    check_finite(file, network.state_dict(), "train again")
    return network


def check_finite(file: str | Path, weights: Mapping[str, torch.Tensor], remedy: str) -> None:
    """Refuses weights that compute nothing.

    Raises:
        InputError: If one is NaN or infinite.
    """
    for name, values in weights.items():
        if not values.isfinite().all():
            raise InputError(f"{file}: holds NaN or infinite weights ({name}); {remedy}")


def load_pretrained(
    network: nn.Module, file: str | bool, checkpoints: str | Path, restart: bool = False
) -> dict[str, Any] | None:
    """Loads all tensors of ``file`` whose name and shape are those of a tensor of ``network``.

    The file holds a state dictionary, by itself or beside other things, as in a run's ``model.pt``, its
    ``checkpoints/``, or ``{"model": …}`` and ``{"state_dict": …}`` of others: the one of which most
    fits is taken. Prefixes that all names share, such as ``module.``, may be left out. One line says
    what was loaded and what was not.

    Args:
        network: It keeps its own values where the file has none that fit.
        file: False for none. A network that knows published weights has loaded them by itself, and says
            so by its attribute ``loads_pretrained``.
        checkpoints: Folder of the training's. Where there are any, it goes on, and the file is not
            needed any more.
        restart: Whether it begins anew even so.

    Returns:
        For the record of the run: ``file``, its ``sha256``, and the names of the tensors that were
        ``loaded``, are ``missing`` in it, have an ``other_shape``, or are ``unexpected``; None if
        nothing was to be loaded here.

    Raises:
        SettingError: If ``file`` is True, and the network knows no weights.
        InputError: If the file is missing, damaged, holds code, no weights that fit, or NaN.
    """
    goes_on = not restart and bool(checkpoint_positions(checkpoints))
    if not file or goes_on or getattr(network, "loads_pretrained", False):
        return None
    if file is True:
        raise SettingError(
            f"--pretrained True: {type(network).__name__} knows no published weights; name a file"
        )
    own = network.state_dict()
    weights = _most_fitting(file, own)
    fitting = _fitting(weights, own)
    check_finite(file, fitting, "choose another file")
    network.load_state_dict({**own, **fitting})
    report = {
        "file": str(file),
        "sha256": checksum(file),
        "loaded": sorted(fitting),
        "missing": sorted(own.keys() - weights.keys()),
        "other_shape": sorted((own.keys() & weights.keys()) - fitting.keys()),
        "unexpected": sorted(weights.keys() - own.keys()),
    }
    if idist.get_rank() == 0:
        print(_line(report, len(own)))
    return report


def _most_fitting(file: str, own: Weights) -> Weights:
    """The state dictionary in ``file`` of which most tensors fit the network's ``own``."""
    candidates = list(_state_dictionaries(_read(Path(file))))
    if not candidates:
        raise InputError(f"{file}: holds no state dictionary; save one: network.state_dict()")
    weights = max(candidates, key=lambda weights: len(_fitting(weights, own)))
    if not any(value.is_floating_point() for value in _fitting(weights, own).values()):
        raise InputError(
            f"{file}: holds no tensor that fits the network, but {_first(weights)}; the network has "
            f"{_first(own)}; choose a file of its weights"
        )
    return weights


def _read(file: Path) -> Any:
    if not file.is_file():
        raise InputError(f"{file}: does not exist; pass a file of weights as --pretrained")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 - such files alone need it

            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript, before it fails
            return load_state(file)
    except (UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{file}: cannot be read as weights alone (damaged, TorchScript, or with code in it); save "
            "network.state_dict()"
        ) from error


def _state_dictionaries(content: Any) -> Iterator[Weights]:
    """Every mapping of names to tensors, then also without each prefix that all names share."""
    if not isinstance(content, Mapping):
        return
    weights = _tensors(content)
    while weights:
        yield weights
        weights = _without_prefix(weights)
    for value in content.values():
        yield from _state_dictionaries(value)


def _tensors(content: Mapping[Any, Any]) -> Weights:
    return {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }


def _without_prefix(weights: Weights) -> Weights:
    """The weights without the first part of their names; none if they do not share one."""
    prefixes, _, names = zip(*(name.partition(".") for name in weights), strict=True)
    if len(set(prefixes)) > 1 or not all(names):
        return {}
    return dict(zip(names, weights.values(), strict=True))


def _fitting(weights: Weights, own: Weights) -> Weights:
    return {
        name: value
        for name, value in weights.items()
        if name in own and own[name].shape == value.shape
    }


def _first(names: Mapping[str, Any]) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more


def _line(report: Mapping[str, Any], total: int) -> str:
    rest = [
        f"{len(report[key])} {key.replace('_', ' ')} ({_first(dict.fromkeys(report[key]))})"
        for key in ("missing", "other_shape", "unexpected")
        if report[key]
    ]
    parts = [f"{len(report['loaded'])} of {total} tensors loaded", *rest]
    return f"pretrained: {report['file']}: {'; '.join(parts)}"
