"""What follows a training without another one, and is evaluated apart.

A calibrator is fitted on the run's validation patients; an ensemble takes the other seeds' networks in.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from monai.inferers.inferer import Inferer
from torch import nn

from nacl_monai.data import CachedVolumes
from nacl_monai.data.cases import Case, split_unit
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import checksum, read_object, write_text
from nacl_monai.metrics import REGIONS
from nacl_monai.posthoc import ENSEMBLE, METHODS, Behind, RegionLogits, fit_method, module_of
from nacl_monai.progress import progress_bar
from nacl_monai.runs import RunFolder
from nacl_monai.runtime.ensembles import ensemble_of, find_members


def fit_calibrator(
    name: str | None,
    network: nn.Module,
    inferer: Inferer,
    volumes: CachedVolumes,
    device: torch.device | str,
    run: RunFolder,
) -> None:
    """Fits a calibrator on whole volumes, and writes it into the run's folder.

    ``calibrated/<name>/calibrator.json`` says the method and the region of its name, what was fitted,
    the NLL before and after, the patients of the fit, and of which weights it is. The name "ensemble"
    fits nothing: the file then says which trainings are its members.

    Args:
        name: ``<method>_<region>``, such as "temperature_union", or "ensemble".
        network: With its trained weights.
        inferer: Applies the network to a volume.
        volumes: Of the validation patients.
        device: Where the network is.
        run: The run that was trained.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If the fit refuses, or `nacl_monai.runtime.ensembles.find_members` does.
    """
    method, region = _parts(name)
    weights = checksum(run.model)
    if method == ENSEMBLE:
        members = find_members(run)
        _write(
            run, name, {"method": method, "patients": [], "members": members, "weights": weights}
        )
        print(f"{name}: {', '.join(members)}")
        return
    with RegionLogits(region) as voxels, torch.no_grad():
        network.eval()
        for index in progress_bar(range(len(volumes)), description="Calibrating", unit="volume"):
            item = volumes[index]
            logits: Any = inferer(item["image"][None].to(device), network)
            seen = item["image"] if METHODS[method].sees_image else None
            voxels.add(logits[0], item["label"], split_unit(cast("Case", item)), image=seen)
        fit = fit_method(method, voxels)
    _write(run, name, {**asdict(fit), "weights": weights})
    print(f"{name}: {fit.text()}")


def calibrated_network(
    network: nn.Module, run: RunFolder, name: str | None, cases: Collection[Case]
) -> nn.Module:
    """The network with one of its run's calibrators behind it, or with the others of its ensemble.

    Args:
        network: With its trained weights.
        run: The run that was trained.
        name: Of a calibrator that `fit_calibrator` wrote; None for the network as it is.
        cases: Those that will be evaluated.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If it was not fitted yet, on other weights, or on a patient of ``cases``.
    """
    if name is None:
        return network
    record = read_calibrator(run, name)
    file = run.calibrated(name).calibrator
    seen = {split_unit(case) for case in cases} & set(record["patients"])
    if seen:
        raise InputError(
            f"{file}: was fitted on patient {min(seen)}, who cannot test it; evaluate the test set"
        )
    if name == ENSEMBLE:
        return ensemble_of(network, run, record["members"])
    calibrator = module_of(record)
    return Behind(network, calibrator).to(next(network.parameters()).device)


def read_calibrator(run: RunFolder, name: str) -> Mapping[str, Any]:
    """What `fit_calibrator` wrote of a calibrator.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If it was not fitted yet, on other weights, or if its file is damaged.
    """
    method, _ = _parts(name)
    file = run.calibrated(name).calibrator
    record = _read(file, method)
    if record["weights"] != checksum(run.model):
        raise InputError(f"{file}: was fitted to another {run.model.name}; fit it again")
    return record


def _parts(name: str | None) -> tuple[str, str]:
    """Method and region; an ensemble has no region."""
    if name == ENSEMBLE:
        return name, ""
    method, _, region = (name or "").rpartition("_")
    if method not in METHODS or region not in REGIONS:
        raise SettingError(
            f"--calibrator {name}: is no calibrator; write {ENSEMBLE}, or <method>_<region> "
            f"with a method out of {', '.join(METHODS)} and a region out of {', '.join(REGIONS)}"
        )
    return method, region


def _write(run: RunFolder, name: str | None, record: Mapping[str, Any]) -> None:
    write_text(run.calibrated(name).calibrator, json.dumps(record, indent=2) + "\n")


def _read(file: Path, method: str) -> Mapping[str, Any]:
    if not file.is_file():
        raise InputError(f"{file}: is not there; fit the calibrator first (run id calibrating)")
    remedy = "fit the calibrator again"
    record = read_object(file, remedy)
    try:
        if record["method"] != method or not {"weights", "patients"} <= record.keys():
            raise KeyError
        if method == ENSEMBLE:
            dict(record["members"])
        else:
            module_of(record)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(f"{file}: is damaged; {remedy}") from error
    return record
