"""How outputs are calibrated: those of exclusive classes, and those of structures that overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from nacl_monai.posthoc.fit import METHODS, Fit, Method, fit_method
from nacl_monai.posthoc.probabilities import logits_of, structure_logits_of
from nacl_monai.posthoc.region_logits import RegionLogits
from nacl_monai.posthoc.sigmoid import SIGMOID_METHODS, fit_structures
from nacl_monai.posthoc.structure_logits import StructureLogits

V = TypeVar("V", RegionLogits, StructureLogits)


@dataclass(frozen=True)
class Outputs(Generic[V]):
    """How outputs of one kind are calibrated.

    Attributes:
        methods: What can be fitted to them.
        voxels: Names of the channels and region → what keeps the voxels of the fit.
        fit: Method and voxels → the fitted calibrator.
        logits_of: Probabilities ``(C, *spatial)`` and the step that they are stored in → logits.
        probs_of: Logits ``(C, *spatial)`` → probabilities.
    """

    methods: Mapping[str, Method[V]]
    voxels: Callable[[Sequence[str], str], V]
    fit: Callable[[str, V], Fit]
    logits_of: Callable[[torch.Tensor, float | None], torch.Tensor]
    probs_of: Callable[[torch.Tensor], torch.Tensor]


#: By the activation that makes probabilities of logits.
OUTPUTS: dict[str, Outputs[Any]] = {
    "softmax": Outputs(
        METHODS,
        lambda _, region: RegionLogits(region),
        fit_method,
        logits_of,
        partial(torch.softmax, dim=0),
    ),
    "sigmoid": Outputs(
        SIGMOID_METHODS, StructureLogits, fit_structures, structure_logits_of, torch.sigmoid
    ),
}


def module_of(record: Mapping[str, Any]) -> nn.Module:
    """The module from logits to logits that the method and the parameters of a record make.

    Raises:
        KeyError: If there is no such method or the record lacks a key.
        TypeError: If the parameters are others than the method's.
        InputError: If a parameter is out of range.

    Example:
        >>> module_of({"method": "temperature", "parameters": {"temperature": 2}}).temperature
        tensor(2.)
    """
    name = record["method"]
    method: Method[Any] = METHODS[name] if name in METHODS else SIGMOID_METHODS[name]
    return method.module(**record["parameters"])
