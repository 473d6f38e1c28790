"""Volumes of several raters: the CRPS is the integral, and Dice leaves out what is disputed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import energy_distance

from nacl_monai.errors import InputError
from nacl_monai.metrics import agreed_dice, volume_crps

VOLUMES = st.lists(st.floats(0, 1000), min_size=1, max_size=7)


def crps(predicted, *raters):
    volumes = (torch.as_tensor(np.asarray(one, float)) for one in (predicted, raters))
    return volume_crps(*volumes).item()


@given(st.floats(0, 1000), VOLUMES)
@settings(deadline=None)
def test_it_is_the_integral(predicted, raters):
    """Of the squared distance of two distributions, which SciPy has as half of an energy distance's."""
    scipys = energy_distance(raters, [predicted]) ** 2 / 2
    assert crps(predicted, *raters) == pytest.approx(scipys, abs=1e-6)


@given(VOLUMES)
@settings(deadline=None)
def test_median_of_the_raters_is_best(raters):
    """No other volume scores less, and no score is negative."""
    best = crps(float(np.median(raters)), *raters)

    assert best >= -1e-9
    assert all(best <= crps(other, *raters) + 1e-9 for other in (*raters, 0.0, 500.0, 1000.0))


@given(st.floats(0, 1000), VOLUMES, st.floats(0.1, 10))
@settings(deadline=None)
def test_unit_is_that_of_the_volumes(predicted, raters, scale):
    """Milliliters in, milliliters out."""
    scaled = crps(scale * predicted, *(scale * volume for volume in raters))

    assert scaled == pytest.approx(scale * crps(predicted, *raters), abs=1e-6)


def test_structures_and_cases_are_scored_at_once():
    """Leading axes are those of the prediction."""
    predicted, raters = torch.rand(2, 3), torch.rand(2, 3, 4)
    found = volume_crps(predicted, raters)

    assert found.shape == (2, 3)
    assert found.dtype == torch.float64
    assert found[1, 2].item() == pytest.approx(crps(predicted[1, 2], *raters[1, 2].tolist()))


@pytest.mark.parametrize(("predicted", "raters"), [((2,), (3, 4)), ((), ()), ((2,), (2, 0))])
def test_shapes_that_do_not_fit_are_refused(predicted, raters):
    """Without raters there is no distribution."""
    with pytest.raises(InputError, match="last axis of raters"):
        volume_crps(torch.zeros(predicted), torch.zeros(raters))


def test_dice_is_over_what_all_agree_on():
    """By a loop; a disputed voxel counts neither as right nor as wrong."""
    rng = np.random.default_rng(0)
    raters = rng.random((4, 1, 2, 6, 6, 6)) < 0.6
    prediction = rng.random((1, 2, 6, 6, 6)) < 0.5
    found = agreed_dice(torch.from_numpy(prediction).int(), torch.from_numpy(raters).int())

    for structure in range(2):
        both = predicted = labeled = 0
        for place in np.ndindex(6, 6, 6):
            marks = [bool(rater[(0, structure, *place)]) for rater in raters]
            if len(set(marks)) == 1:
                mark, said = marks[0], bool(prediction[(0, structure, *place)])
                both, predicted, labeled = both + (mark and said), predicted + said, labeled + mark
        assert found[0, structure].item() == pytest.approx(2 * both / (predicted + labeled))


def test_structure_on_which_no_voxel_is_agreed_has_no_dice():
    """As one that a label lacks."""
    raters = torch.tensor([[[[1, 0]]], [[[0, 1]]]])

    assert agreed_dice(torch.tensor([[[1, 1]]]), raters).isnan().all()
