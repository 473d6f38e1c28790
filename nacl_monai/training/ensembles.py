"""The ensemble of a run: its network and those of the same training with other seeds."""

from __future__ import annotations

import copy
import glob
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from nacl_monai.differences import first_of
from nacl_monai.errors import InputError
from nacl_monai.files import checksum, read_object
from nacl_monai.inference import Behind
from nacl_monai.posthoc import Ensemble, module_of
from nacl_monai.runs import RunFolder
from nacl_monai.training.run_folder import unlike_settings
from nacl_monai.training.run_settings import read_record
from nacl_monai.training.weights import load_weights

_REMEDY = "train it the same way, or keep its folder elsewhere"
# What is measured and shown beside the metric that chooses the model leaves no trace in the weights.
_MEASURED = re.compile(r"validate::additional_metrics::|train::handlers::\d+::metrics::")


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
        one = load_weights(copy.deepcopy(network), file)
        if checksum(file) != weights:
            raise InputError(f"{file}: was trained anew since the ensemble was made; make it again")
        networks.append(Behind(one, module_of(calibrators[name])) if calibrators else one)
    return Ensemble(networks)


def beside(run: RunFolder, name: str) -> RunFolder:
    """The run whose folder is beside another one's."""
    return RunFolder(run.path.absolute().with_name(name))


def _check_member(run: RunFolder, member: RunFolder) -> None:
    if member.unfinished or not member.record.is_file():
        raise InputError(f"{member.path}: its training is not finished; finish it first")
    own, other = (read_record(folder.config) for folder in (run, member))
    unlike = unlike_settings({**own, "seed": None}, {**other, "seed": None})
    changes = [change for change in unlike if not _MEASURED.match(change)]
    if changes:
        raise InputError(f"{member.path}: was trained with another {first_of(changes)}; {_REMEDY}")
    if _cases(member) != _cases(run):
        raise InputError(f"{member.path}: has other cases in its sets; {_REMEDY}")


def _cases(run: RunFolder) -> dict[str, list[str]]:
    """The names of the cases of every set."""
    sets = read_object(run.data, _REMEDY)
    return {part: sorted(cases) for part, cases in sets.items()}
