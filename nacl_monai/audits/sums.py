"""The numbers of all cases together, and the settings that they follow from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nacl_monai.audits.measuring import Measured, Settings


def scores_of(numbers: Sequence[Measured], metric: str) -> torch.Tensor:
    """A score of all cases, ``(cases, structures)``."""
    return torch.stack([torch.from_numpy(one.scores[metric]) for one in numbers])


def summed(settings: Settings, numbers: Sequence[Measured], from_logits: bool = False) -> Any:
    """The calibration metric that has seen all cases."""
    metric = settings.metric(from_logits)
    for one in numbers:
        metric.extend(*(torch.from_numpy(buffer) for buffer in one.sums))
    return metric


def as_record(settings: Settings) -> Mapping[str, Any]:
    """The settings as ``evaluation.json`` keeps them, under the keys of a run's evaluation."""
    channels = settings.channels
    return {
        "classes": channels.names,
        "label_values": [list(values) for values in channels.values.values()],
        "structures": {name: list(of) for name, of in channels.structures.items()},
        "calibration::activation": channels.activation,
        "calibration::ignore": channels.ignore,
        "calibration::num_bins": settings.num_bins,
        "calibration::regions": list(settings.regions),
        **({"calibration::raters": list(settings.raters)} if settings.raters else {}),
    }
