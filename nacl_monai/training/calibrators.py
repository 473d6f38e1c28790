"""Calibrators and ensembles, which follow a training without another one and are evaluated apart.

A calibrator is fitted on the run's validation patients; an ensemble takes the other seeds' networks in.
Both can follow each other, in either order, which `read_steps` reads from the calibrator's name.
"""

from __future__ import annotations

import copy
import glob
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import torch
from monai.inferers.inferer import Inferer
from torch import nn

from nacl_monai.data import CachedVolumes
from nacl_monai.data.cases import LabeledCase, split_unit
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import checksum, partial_folder, read_object
from nacl_monai.inference import Behind
from nacl_monai.inference.records import BY_DATASET, MARGIN
from nacl_monai.metrics import REGIONS
from nacl_monai.metrics.record import NEAR
from nacl_monai.metrics.regions import case_spacings, region_of_fit
from nacl_monai.posthoc import (
    ENSEMBLE,
    METHODS,
    Calibrator,
    Ensemble,
    Fit,
    RegionLogits,
    caution,
    error_by_side,
    fit_method,
    fits_to_others,
    module_of,
    read_calibrator,
    write_calibrator,
)
from nacl_monai.posthoc.sides import FEWEST
from nacl_monai.progress import progress_bar
from nacl_monai.runs import RunFolder
from nacl_monai.training.run_folder import unlike_settings
from nacl_monai.training.run_settings import read_trained_config
from nacl_monai.training.weights import load_weights
from nacl_monai.words import first_of

_REMEDY = "fit the calibrator again"
_OTHER_TRAINING = "train it the same way, or keep its folder elsewhere"
# What is measured and shown beside the metric that chooses the model leaves no trace in the weights.
_MEASURED = re.compile(r"validate::additional_metrics::|train::handlers::\d+::metrics::")


class Steps(NamedTuple):
    """The parts of a name.

    Attributes:
        method: What is fitted, a key of `nacl_monai.posthoc.METHODS`; empty where nothing is.
        region: The voxels of the fit.
        of_mean: Whether it is fitted to the mean of an ensemble.
        of_members: Whether the members are averaged, each through a calibrator of its own if there is
            a method.
    """

    method: str
    region: str
    of_mean: bool = False
    of_members: bool = False

    @property
    def joins(self) -> bool:
        """Whether several trainings are joined."""
        return self.of_mean or self.of_members


def read_steps(name: str | None) -> Steps:
    """Reads the name of a calibrator.

    Args:
        name: ``<method>_<region>``; ``ensemble``; ``ensemble_<method>_<region>``, which calibrates the
            mean of the members; or ``<method>_<region>_ensemble``, the mean of the calibrated members.

    Raises:
        SettingError: If there is no such calibrator.

    Example:
        >>> read_steps("ensemble_temperature_union")
        Steps(method='temperature', region='union', of_mean=True, of_members=False)
    """
    if name == ENSEMBLE:
        return Steps("", "", of_members=True)
    fitted = name or ""
    of_mean = fitted.startswith(f"{ENSEMBLE}_")
    of_members = fitted.endswith(f"_{ENSEMBLE}")
    fitted = fitted.removeprefix(f"{ENSEMBLE}_").removesuffix(f"_{ENSEMBLE}")
    region = region_of_fit(fitted)
    method = fitted.removesuffix(f"_{region}")
    if method not in METHODS or not region or (of_mean and of_members):
        raise SettingError(
            f"--calibrator {name}: is not a calibrator; write <method>_<region> with a method out of "
            f"{', '.join(METHODS)} and a region out of {', '.join(REGIONS)}, or {ENSEMBLE}, or both "
            f"with a _ between, in the order of the steps"
        )
    return Steps(method, region, of_mean, of_members)


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
    margin: float = MARGIN,
) -> None:
    """Fits a calibrator on whole volumes, and writes it into the run's folder.

    Of a curve by distance, it prints what is left on each side of the border in patients whom it has not
    seen. ``calibrated/<name>/calibrator.json`` says what was fitted over which region, the NLL before
    and after, the patients of the fit, which weights and ``average`` it belongs to, and which trainings
    are the members of an ensemble. A calibrator of their mean is fitted here; where each is calibrated
    by itself, all must have been fitted already.

    Args:
        name: As `read_steps` reads it.
        network: With its trained weights.
        inferer: Applies the network to a volume.
        volumes: The volumes of the validation patients.
        device: Where the network is.
        run: The run that was trained.
        ignore_index: Voxels with this label do not count.
        checkpoint: The file of the network's weights; the run's ``model.pt`` by default.
        average: What ``inferer`` averages where windows overlap.
        margin: How far the region "near" reaches around predictions, in mm.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If the fit refuses, `find_members` does, or a member's calibrator was not fitted yet.
    """
    steps = read_steps(name)
    record: dict[str, Any] = {"weights": checksum(checkpoint or run.model), "average": average}
    record["margin"] = margin if steps.region == NEAR else None
    record |= {"known_by": BY_DATASET, "members": find_members(run) if steps.joins else {}}
    if steps.of_members:
        calibrator = _joined(run, steps, record)
        done = ", ".join(calibrator.members)
    else:
        if steps.of_mean:
            network = ensemble_of(network, run, record["members"])
        network.eval()
        if caution(steps.region):
            print(caution(steps.region), file=sys.stderr)
        with (
            partial_folder(run.path) as place,
            RegionLogits(steps.region, margin=margin, folder=place) as voxels,
        ):
            for index in progress_bar(
                range(len(volumes)), description="Calibrating", unit="volume"
            ):
                item = volumes[index]
                image, patient = item["image"], split_unit(cast("LabeledCase", item))
                with torch.no_grad():
                    logits: Any = inferer(image[None].to(device), network)
                seen = image if METHODS[steps.method].sees_image else None
                known: dict[str, Any] = {"image": seen, "ignore_index": ignore_index}
                if hasattr(item["label"], "pixdim"):
                    known["voxel"] = case_spacings("pixdim", 1, image.ndim - 1, item["label"])[0]
                voxels.add(logits[0], item["label"], patient, **known)
            fit = fit_method(steps.method, voxels)
            done = "\n".join([fit.text(), *_left(fit, voxels)])
        calibrator = Calibrator(fit, fit.patients, **record)
    write_calibrator(run.calibrated(name).calibrator, calibrator)
    print(f"{name}: {done}")


def _left(fit: Fit, voxels: RegionLogits) -> list[str]:
    """What a curve by distance leaves on each side of the border, if there are people enough to say."""
    if not fit.sees_distance or len(fit.patients) < FEWEST:
        return []
    sides = error_by_side(fits_to_others(fit, voxels, fit.patients), voxels)
    return [sides.sentence(fit)] if sides else []


def _joined(run: RunFolder, steps: Steps, record: Mapping[str, Any]) -> Calibrator:
    """An ensemble to whose mean nothing is fitted, of members as they are or each with a calibrator."""
    if not steps.method:
        return Calibrator(None, (), **record)
    name = f"{steps.method}_{steps.region}"
    behind = {
        member: calibrator_of(
            beside(run, member), name, average=record["average"], margin=record["margin"]
        )
        for member in record["members"]
    }
    patients = sorted(set().union(*(calibrator.patients for calibrator in behind.values())))
    fits = {
        member: {"method": calibrator.fit.method, "parameters": calibrator.fit.parameters}
        for member, calibrator in behind.items()
        if calibrator.fit is not None
    }
    return Calibrator(None, patients, **record, calibrators=fits)


def calibrated_network(
    network: nn.Module,
    run: RunFolder,
    name: str | None,
    cases: Collection[LabeledCase],
    checkpoint: str | Path | None = None,
    average: str | None = None,
    margin: float | None = None,
) -> nn.Module:
    """The network with one of its run's calibrators behind it, or with the others of its ensemble.

    Args:
        network: With its trained weights.
        run: The run that was trained.
        name: The name of a calibrator that `fit_calibrator` wrote; None for the network as it is.
        cases: Those that will be evaluated.
        checkpoint: The file of the network's weights; the run's ``model.pt`` by default.
        average: What will be averaged where windows overlap; None for what was in the fit.
        margin: Within which the evaluation measures, in mm; None for that of the fit.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If it was not fitted yet, on other weights, another average, another margin, or a
            patient of ``cases``.
    """
    if name is None:
        return network
    calibrator = calibrator_of(run, name, checkpoint, average, margin)
    seen = {split_unit(case) for case in cases}.intersection(calibrator.patients)
    if seen:
        raise InputError(
            f"{run.calibrated(name).calibrator}: was fitted on patient {min(seen)}, who cannot test it; "
            "evaluate the test set"
        )
    device = next(network.parameters()).device
    if calibrator.members:
        network = ensemble_of(network, run, calibrator.members, calibrator.calibrators)
    if calibrator.fit is not None:
        network = Behind(network, calibrator.fit.module)
    return network.to(device)


def calibrator_of(
    run: RunFolder,
    name: str,
    checkpoint: str | Path | None = None,
    average: str | None = None,
    margin: float | None = None,
) -> Calibrator:
    """The calibrator that `fit_calibrator` wrote.

    Args:
        run: The run that was trained.
        name: The calibrator's name.
        checkpoint: The file of the weights to which it must have been fitted; the run's ``model.pt`` by
            default.
        average: What it must have been fitted to; None for either.
        margin: Within which of predictions, if its region has a margin; None for any.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If it was not fitted yet, on other weights, another average or another margin, or if
            its file is damaged.
    """
    steps = read_steps(name)
    file = run.calibrated(name).calibrator
    if not file.is_file():
        raise InputError(f"{file}: is not there; fit the calibrator first (run id calibrating)")
    calibrator = read_calibrator(file, _REMEDY)
    if not _are_steps(steps, calibrator):
        raise InputError(f"{file}: is damaged; {_REMEDY}")
    weights = Path(checkpoint or run.model)
    if calibrator.weights != checksum(weights):
        raise InputError(f"{file}: was fitted to another {weights.name}; fit it again")
    if average not in (None, calibrator.average):
        raise InputError(
            f"{file}: was fitted to the average of {calibrator.average}, not of {average}; write "
            f"--average {calibrator.average}, or fit it again"
        )
    if None not in (margin, calibrator.margin) and margin != calibrator.margin:
        raise InputError(
            f"{file}: was fitted within {calibrator.margin:g} mm of predictions, not {margin:g} mm; "
            f"write --calibration::margin {calibrator.margin:g}, or fit it again"
        )
    return calibrator


def _are_steps(steps: Steps, calibrator: Calibrator) -> bool:
    """Whether a calibrator has the steps that a name says."""
    fit, behind, members = calibrator.fit, calibrator.calibrators, calibrator.members
    if (bool(members), fit is None) != (steps.joins, steps.of_members):
        return False
    if fit is not None:
        return (fit.method, fit.region) == (steps.method, steps.region)
    return not steps.method or all(
        member in behind and behind[member]["method"] == steps.method for member in members
    )


def find_members(run: RunFolder) -> dict[str, str]:
    """The finished trainings beside a run that differ from it only in the seed or in what they measure.

    Args:
        run: A trained run, whose folder's name ends in ``_seed<n>``.

    Returns:
        The names of the folders of all members, the run's own among them, in the order of their seeds,
        and the checksum of each one's weights.

    Raises:
        InputError: If there is no other seed beside it, or if one that is there is not finished, was
            trained in another way or on other patients, or is a copy of another one.
    """
    members = [member for member in _of_any_seed(run) if member.config.is_file()]
    if len(members) < 2:
        raise InputError(
            f"{run.path}: there is no training with another seed beside it; train one first"
        )
    for member in members:
        _check_member(run, member)
    members_weights = {member.path.name: checksum(member.model) for member in members}
    owners: dict[str, str] = {}  # of weights, which must not count twice
    for name, weights in members_weights.items():
        owner = owners.setdefault(weights, name)
        if owner != name:
            raise InputError(
                f"{beside(run, name).path}: has the weights of {owner}, and is not another training; "
                "train it with another seed, or keep its folder elsewhere"
            )
    return members_weights


def _of_any_seed(run: RunFolder) -> list[RunFolder]:
    """The folders whose names differ from a run's only in the seed, in the order of the seeds."""
    match = re.fullmatch(r"(.+_seed)\d+", run.path.absolute().name)
    if match is None:
        raise InputError(f"{run.path}: not the name of a run; end it in _seed<n>")
    beside_it = run.path.absolute().parent.glob(f"{glob.escape(match[1])}*")
    folders = [path for path in beside_it if path.name.removeprefix(match[1]).isdecimal()]
    by_seed = sorted(folders, key=lambda path: int(path.name.rpartition("_seed")[2]))
    return list(map(RunFolder, by_seed))


def ensemble_of(
    network: nn.Module,
    run: RunFolder,
    members: Mapping[str, str],
    calibrators: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Ensemble:
    """The networks of an ensemble with their weights.

    Args:
        network: Any member's network.
        run: A member.
        members: From `find_members`, when the ensemble was made.
        calibrators: Method and parameters of what is behind each member's network, if anything is.

    Raises:
        InputError: If a member's weights are gone, damaged, or not the same any more.
    """
    networks = []
    for name, weights in members.items():
        file = beside(run, name).model
        member = load_weights(copy.deepcopy(network), file)
        if checksum(file) != weights:
            raise InputError(f"{file}: was trained anew since the ensemble was made; make it again")
        networks.append(Behind(member, module_of(calibrators[name])) if calibrators else member)
    return Ensemble(networks)


def beside(run: RunFolder, name: str) -> RunFolder:
    """The run whose folder is beside another one's."""
    return RunFolder(run.path.absolute().with_name(name))


def _check_member(run: RunFolder, member: RunFolder) -> None:
    if member.unfinished or not member.record.is_file():
        raise InputError(f"{member.path}: its training is not finished; finish it first")
    own, other = (read_trained_config(folder.config) for folder in (run, member))
    unlike = unlike_settings({**own, "seed": None}, {**other, "seed": None})
    changes = [change for change in unlike if not _MEASURED.match(change)]
    if changes:
        raise InputError(
            f"{member.path}: was trained with another {first_of(changes)}; {_OTHER_TRAINING}"
        )
    if _cases(member) != _cases(run):
        raise InputError(f"{member.path}: has other cases in its sets; {_OTHER_TRAINING}")


def _cases(run: RunFolder) -> dict[str, list[str]]:
    """The names of the cases of every set."""
    sets = read_object(run.data, _OTHER_TRAINING)
    return {part: sorted(cases) for part, cases in sets.items()}
