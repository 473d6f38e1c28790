"""What follows a training without another one, and is evaluated apart.

A calibrator is fitted on the run's validation patients; an ensemble takes the other seeds' networks in.
Both can follow each other, in either order: `nacl_monai.training.calibrator_names` reads which.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from monai.inferers.inferer import Inferer
from torch import nn

from nacl_monai.data import CachedVolumes
from nacl_monai.data.cases import Case, split_unit
from nacl_monai.errors import InputError
from nacl_monai.files import checksum, read_object, write_text
from nacl_monai.posthoc import ENSEMBLE, METHODS, Behind, RegionLogits, fit_method, module_of
from nacl_monai.progress import progress_bar
from nacl_monai.runs import RunFolder
from nacl_monai.training.calibrator_names import Steps, read_name
from nacl_monai.training.ensembles import beside, ensemble_of, find_members


def fit_calibrator(
    name: str | None,
    network: nn.Module,
    inferer: Inferer,
    volumes: CachedVolumes,
    device: torch.device | str,
    run: RunFolder,
    ignore_index: int | None = None,
    checkpoint: str | Path | None = None,
    average: str = "probabilities",
) -> None:
    """Fits a calibrator on whole volumes, and writes it into the run's folder.

    ``calibrated/<name>/calibrator.json`` says what was fitted over which region, the NLL before and
    after, the patients of the fit, which weights and ``average`` it belongs to, and which trainings are
    the members of an ensemble. A calibrator of their mean is fitted here; where each is calibrated by
    itself, all must have been fitted already.

    Args:
        name: As `nacl_monai.training.calibrator_names.read_name` reads it.
        network: With its trained weights.
        inferer: Applies the network to a volume.
        volumes: The volumes of the validation patients.
        device: Where the network is.
        run: The run that was trained.
        ignore_index: Voxels with this label do not count.
        checkpoint: The file of the network's weights; the run's ``model.pt`` by default.
        average: What ``inferer`` averages where windows overlap.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If the fit refuses, `nacl_monai.training.ensembles.find_members` does, or a member's
            calibrator was not fitted yet.
    """
    steps = read_name(name)
    record: dict[str, Any] = {"weights": checksum(checkpoint or run.model), "average": average}
    if steps.joins:
        record["members"] = find_members(run)
    if steps.of_members:
        record |= _joined(run, steps, record["members"], average)
        done = ", ".join(record["members"])
    else:
        if steps.of_mean:
            network = ensemble_of(network, run, record["members"])
        with RegionLogits(steps.region) as voxels:
            _add_volumes(voxels, steps.method, network, inferer, volumes, device, ignore_index)
            fit = fit_method(steps.method, voxels)
        record |= asdict(fit)
        done = fit.text()
    write_text(run.calibrated(name).calibrator, json.dumps(record, indent=2) + "\n")
    print(f"{name}: {done}")


def _joined(run: RunFolder, steps: Steps, members: Iterable[str], average: str) -> dict[str, Any]:
    """The record of an ensemble that fits nothing, of members as they are or each with a calibrator."""
    if not steps.method:
        return {"method": ENSEMBLE, "patients": []}
    name = f"{steps.method}_{steps.region}"
    fits = {
        member: read_calibrator(beside(run, member), name, average=average) for member in members
    }
    return {
        "method": ENSEMBLE,
        "patients": sorted(set().union(*(fit["patients"] for fit in fits.values()))),
        "calibrators": {
            member: {"method": fit["method"], "parameters": fit["parameters"]}
            for member, fit in fits.items()
        },
    }


def _add_volumes(
    voxels: RegionLogits,
    method: str,
    network: nn.Module,
    inferer: Inferer,
    volumes: CachedVolumes,
    device: torch.device | str,
    ignore_index: int | None,
) -> None:
    """Applies the network to every volume, and keeps what the fit needs of it."""
    network.eval()
    with torch.no_grad():
        for index in progress_bar(range(len(volumes)), description="Calibrating", unit="volume"):
            item = volumes[index]
            logits: Any = inferer(item["image"][None].to(device), network)
            seen = item["image"] if METHODS[method].sees_image else None
            voxels.add(
                logits[0],
                item["label"],
                split_unit(cast("Case", item)),
                image=seen,
                ignore_index=ignore_index,
            )


def calibrated_network(
    network: nn.Module,
    run: RunFolder,
    name: str | None,
    cases: Collection[Case],
    checkpoint: str | Path | None = None,
    average: str | None = None,
) -> nn.Module:
    """The network with one of its run's calibrators behind it, or with the others of its ensemble.

    Args:
        network: With its trained weights.
        run: The run that was trained.
        name: The name of a calibrator that `fit_calibrator` wrote; None for the network as it is.
        cases: Those that will be evaluated.
        checkpoint: The file of the network's weights; the run's ``model.pt`` by default.
        average: What will be averaged where windows overlap; None for what was in the fit.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If it was not fitted yet, on other weights, another average, or a patient of
            ``cases``.
    """
    if name is None:
        return network
    record = read_calibrator(run, name, checkpoint, average)
    _check_unseen(run.calibrated(name).calibrator, record["patients"], cases)
    device = next(network.parameters()).device
    if "members" in record:
        network = ensemble_of(network, run, record["members"], record.get("calibrators", {}))
    if record["method"] != ENSEMBLE:
        network = Behind(network, module_of(record))
    return network.to(device)


def _check_unseen(file: Path, patients: Iterable[str], cases: Iterable[Case]) -> None:
    """Refuses to test a calibrator on a patient of its fit."""
    seen = {split_unit(case) for case in cases}.intersection(patients)
    if seen:
        raise InputError(
            f"{file}: was fitted on patient {min(seen)}, who cannot test it; evaluate the test set"
        )


def read_calibrator(
    run: RunFolder, name: str, checkpoint: str | Path | None = None, average: str | None = None
) -> Mapping[str, Any]:
    """What `fit_calibrator` wrote of a calibrator.

    Args:
        run: The run that was trained.
        name: The calibrator's name.
        checkpoint: The file of the weights to which it must have been fitted; the run's ``model.pt`` by
            default.
        average: What it must have been fitted to; None for either.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If it was not fitted yet, on other weights or another average, or if its file is
            damaged.
    """
    steps = read_name(name)
    file = run.calibrated(name).calibrator
    record = _read(file, steps)
    weights = Path(checkpoint or run.model)
    if record["weights"] != checksum(weights):
        raise InputError(f"{file}: was fitted to another {weights.name}; fit it again")
    fitted = record.get("average", "probabilities")  # fits of earlier versions do not say
    if average not in (None, fitted):
        raise InputError(
            f"{file}: was fitted to the average of {fitted}, not of {average}; write "
            f"--average {fitted}, or fit it again"
        )
    return record


def _read(file: Path, steps: Steps) -> Mapping[str, Any]:
    if not file.is_file():
        raise InputError(f"{file}: is not there; fit the calibrator first (run id calibrating)")
    remedy = "fit the calibrator again"
    record = read_object(file, remedy)
    try:
        _check(record, steps)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(f"{file}: is damaged; {remedy}") from error
    return record


def _check(record: Mapping[str, Any], steps: Steps) -> None:
    """Raises whatever a record that is not of these steps leads to."""
    if not {"weights", "patients"} <= record.keys():
        raise KeyError
    if steps.joins:
        dict(record["members"])
    if steps.of_members:
        _check_members(record, steps.method)
    else:
        _check_fit(record, steps.method)
        if record["region"] != steps.region:
            raise ValueError


def _check_members(record: Mapping[str, Any], method: str) -> None:
    if record["method"] != ENSEMBLE:
        raise ValueError
    if method:
        for name in record["members"]:
            _check_fit(record["calibrators"][name], method)


def _check_fit(fit: Mapping[str, Any], method: str) -> None:
    if fit["method"] != method:
        raise ValueError
    module_of(fit)
