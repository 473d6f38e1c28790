"""A head has its tissues in layers, whatever its draw."""

import numpy as np
import pytest

from nacl_monai.phantoms.brain import (
    BRAIN_STEM,
    CEREBELLUM,
    CORTEX,
    FLUID,
    OUTSIDE,
    SCALP,
    SIGNALS,
    SKULL,
    VENTRICLE,
    WHITE_MATTER,
    draw_head,
)
from nacl_monai.phantoms.grids import Grid


@pytest.fixture(scope="module", params=range(3))
def tissues(request):
    """A head in a coarse grid whose axes run right, anterior and superior."""
    head = draw_head(np.random.default_rng(request.param))
    return Grid((48, 48, 48), (1, 1, 1), "RAS").sample(head.tissues)


def test_every_tissue_has_a_signal_in_every_sequence(tissues):
    """A sequence gives each tissue inside the head a signal."""
    inside = set(np.unique(tissues)) - {OUTSIDE}

    assert all(inside <= set(signals) for signals in SIGNALS.values())


def test_lines_from_the_center_cross_the_layers_in_order(tissues):
    """On the way forward: white matter, cortex, fluid, skull, scalp, outside."""
    line = tissues[30, 24:, 30].tolist()

    first = [line.index(tissue) for tissue in (WHITE_MATTER, SKULL, SCALP, OUTSIDE)]
    assert first == sorted(first)
    assert line[line.index(SKULL) - 1] == FLUID


def test_parts_lie_where_they_do_in_a_head(tissues):
    """Ventricles are in the middle, cerebellum and brain stem below, the cerebellum behind."""
    center = {
        part: np.argwhere(tissues == part).mean(axis=0)
        for part in (CORTEX, VENTRICLE, CEREBELLUM, BRAIN_STEM)
    }

    assert abs(center[VENTRICLE][0] - 23.5) < 2
    assert center[CEREBELLUM][2] < center[CORTEX][2]
    assert center[BRAIN_STEM][2] < center[CORTEX][2]
    assert center[CEREBELLUM][1] < center[BRAIN_STEM][1]


def test_heads_differ():
    """Two draws are two people."""
    grid = Grid((24, 24, 24), (1, 1, 1), "RAS")
    first, second = (grid.sample(draw_head(np.random.default_rng(seed)).tissues) for seed in (0, 1))

    assert 0.01 < (first != second).mean() < 0.5
