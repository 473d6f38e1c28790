"""The experiments of a grid, as trained and with whatever follows their training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nacl_monai.paper.grid import MAIN_LOSSES, Grid, grid_of
from nacl_monai.posthoc import ENSEMBLE

#: What follows a training; the evaluation of the ensemble is in the first seed's folder.
AFTERWARDS = ("temperature_all", "temperature_union", ENSEMBLE)


def after_training(losses: Sequence[str] = MAIN_LOSSES, names: Sequence[str] = AFTERWARDS) -> Grid:
    """The experiments of some losses, each also with whatever follows training."""
    return followed(grid_of(losses), names)


def followed(grid: Grid, names: Sequence[str] = AFTERWARDS) -> Grid:
    """The experiments of a grid, each also with whatever follows training."""
    after: list[tuple[str, ...]] = [(), *((name,) for name in names)]
    methods = (replace(method, after=steps) for method in grid.methods for steps in after)
    return replace(grid, methods=tuple(methods))
