"""The folds of a cross-validation are parts of one training: together they test every patient once."""

from __future__ import annotations

from collections.abc import Mapping

from nacl_monai.errors import InputError
from nacl_monai.paper.grid import Experiment, Setup
from nacl_monai.reports import Evaluated


def check_folds(found: Mapping[Experiment, Evaluated]) -> None:
    """Refuses trainings of unlike folds, and folds that share a patient.

    Args:
        found: The runs of a dataset; those without a fold are of the first.

    Raises:
        InputError: If one is refused.
    """
    _check_complete(found)
    tested: dict[str, int] = {}
    for experiment, evaluated in found.items():
        fold = experiment.fold or 0
        for patient in evaluated.patients:
            if tested.setdefault(patient, fold) != fold:
                raise InputError(
                    f"{evaluated.folder}: patient {patient!r} is tested in another fold, too; train all "
                    "folds on the same data"
                )


def _check_complete(found: Mapping[Experiment, Evaluated]) -> None:
    """Every training has each fold up to the last one once."""
    folds: dict[tuple[Setup, int], list[int]] = {}
    for one in found:
        folds.setdefault((one.setup, one.seed), []).append(one.fold or 0)
    every = list(range(1 + max(one.fold or 0 for one in found)))
    for one, evaluated in found.items():
        own = sorted(folds[one.setup, one.seed])
        if own != every:
            raise InputError(
                f"{evaluated.folder}: its training has the folds {', '.join(map(str, own))}, but there "
                f"are {', '.join(map(str, every))}; evaluate each once, or move the training away"
            )
