"""What is measured of calibration: it decides what is counted, and what a file of sums says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nacl_monai.inference.records import MARGIN
from nacl_monai.metrics.bins import check_threshold
from nacl_monai.metrics.columns import DEFAULT_ERRORS, Error, named_errors
from nacl_monai.metrics.decisions import MISS
from nacl_monai.metrics.raters import check_raters
from nacl_monai.metrics.regions import REGIONS, Region, Spacing, named_regions, region_parameters
from nacl_monai.metrics.voxels import structure_regions
from nacl_monai.runs import check_num_bins


@dataclass(frozen=True)
class Measurement:
    """The arguments of `nacl_monai.metrics.CalibrationMetric`, which documents them.

    Raises:
        InputError: As there.

    Example:
        >>> Measurement(regions=["boundary"]).definition()
        {'num_bins': 15, 'regions': {'boundary': {'width': 3.0, 'unit': 'voxels'}}, 'structures': [], \
'ignored': None, 'calibrator': []}
    """

    num_bins: int = 15
    errors: Iterable[str] = DEFAULT_ERRORS
    regions: Iterable[str] | Mapping[str, Region | None] = tuple(REGIONS)
    include_background: bool = True
    include_absent: bool = True
    boundary_width: float = 3.0
    spacing: Spacing | str | None = None
    margin: float = MARGIN
    margin_spacing: Spacing | str | None = None
    structures: Sequence[str] = ()
    decisions: Mapping[str, Sequence[int]] | None = None
    from_logits: bool = False
    ignore_index: int | None = None
    num_raters: int = 1
    rater: int | None = None
    threshold: float = 0.001
    step: float | None = None

    def __post_init__(self) -> None:
        check_num_bins(self.num_bins)
        check_raters(self.num_raters, self.rater)
        check_threshold(self.threshold)
        _ = self.computed, self.functions  # unknown names are refused at once

    @cached_property
    def computed(self) -> dict[str, Error]:
        """The errors by their names."""
        return named_errors(self.errors)

    @cached_property
    def functions(self) -> dict[str, Region]:
        """The functions of the regions by their names."""
        return named_regions(self.regions)

    @property
    def region_names(self) -> tuple[str, ...]:
        """The names of the regions; where structures may overlap, those of each."""
        return structure_regions(self.functions, self.structures)

    @property
    def decided(self) -> tuple[str, ...]:
        """The names of the structures that decisions are on."""
        return tuple(self.structures or self.decisions or ())

    def definition(
        self, calibrator: Sequence[str] = (), ignored: int | None = None
    ) -> dict[str, Any]:
        """The definition of what is counted, as files keep it.

        Args:
            calibrator: Name of what the probabilities went through, and its checksum.
            ignored: The label of voxels that do not count, where masks say which these are.
        """
        margin = _sized("margin", self.margin, self.margin_spacing)
        sizes = {"width": _sized("width", self.boundary_width, self.spacing), "margin": margin}
        regions = {name: _region(name, self.functions[name], sizes) for name in self.functions}
        on = {"structures": list(self.decided), "miss": MISS, **margin}
        return {
            "num_bins": self.num_bins,
            "regions": regions,
            "structures": list(self.structures),
            **({"decisions": on} if self.decided else {}),
            "ignored": self.ignore_index if ignored is None else ignored,
            "calibrator": list(calibrator),
        }


def _sized(name: str, size: float, spacing: Spacing | str | None) -> dict[str, Any]:
    return {name: size, "unit": "voxels" if spacing is None else "mm"}


def _region(name: str, region: Region, sizes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What decides on the voxels of a region: its width or margin, and a function of the user's own."""
    used = [sizes[parameter] for parameter in sizes if parameter in region_parameters(region)]
    sized = {key: value for part in used for key, value in part.items()}
    if REGIONS.get(name) is region:
        return sized
    return sized | {"function": str(getattr(region, "__qualname__", type(region).__name__))}
