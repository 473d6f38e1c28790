"""The name of a calibrator of a run: its steps, in the order in which they follow the network."""

from __future__ import annotations

from typing import NamedTuple

from nacl_monai.errors import SettingError
from nacl_monai.metrics import REGIONS
from nacl_monai.posthoc import ENSEMBLE, METHODS


class Steps(NamedTuple):
    """What a name says.

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


def read_name(name: str | None) -> Steps:
    """Reads the name of a calibrator.

    Args:
        name: ``<method>_<region>``; ``ensemble``; ``ensemble_<method>_<region>``, which calibrates the
            mean of the members; or ``<method>_<region>_ensemble``, the mean of the calibrated members.

    Raises:
        SettingError: If there is no such calibrator.

    Example:
        >>> read_name("ensemble_temperature_union")
        Steps(method='temperature', region='union', of_mean=True, of_members=False)
    """
    if name == ENSEMBLE:
        return Steps("", "", of_members=True)
    fitted = name or ""
    of_mean = fitted.startswith(f"{ENSEMBLE}_")
    of_members = fitted.endswith(f"_{ENSEMBLE}")
    fitted = fitted.removeprefix(f"{ENSEMBLE}_").removesuffix(f"_{ENSEMBLE}")
    method, _, region = fitted.rpartition("_")
    if method not in METHODS or region not in REGIONS or (of_mean and of_members):
        raise SettingError(
            f"--calibrator {name}: is not a calibrator; write <method>_<region> with a method out of "
            f"{', '.join(METHODS)} and a region out of {', '.join(REGIONS)}, or {ENSEMBLE}, or both "
            f"with a _ between, in the order of the steps"
        )
    return Steps(method, region, of_mean, of_members)
