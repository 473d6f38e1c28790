"""What follows a training is beside it in a grid."""

from nacl_monai.paper.afterwards import after_training, followed
from nacl_monai.paper.exhibits import EXHIBITS, proposed_and
from nacl_monai.paper.grid import MAIN_LOSSES
from nacl_monai.posthoc import METHODS


def test_what_follows_each_training_of_the_main_tables():
    """In their order, the plain method first."""
    names = [entry.name for entry in after_training().methods]

    assert names == [
        f"{loss}{after}"
        for loss in MAIN_LOSSES
        for after in ("", "+temperature_all", "+temperature_union", "+ensemble")
    ]


def test_every_calibrator_follows_the_three_losses_that_are_compared():
    """None is left out."""
    names = [entry.name for entry in EXHIBITS["posthoc"].grid().methods]

    assert names == [
        f"{loss}{after}"
        for loss in ("cross_entropy", "dice_ce", "nacl")
        for after in (
            *("", "+temperature_all"),
            *(f"+{name}_{one.region}" for name, one in METHODS.items()),
        )
    ]


def test_any_grid_is_followed():
    """Its methods keep their settings and their order."""
    names = [one.name for one in followed(proposed_and(penalty="l2"), ("vector_all",)).methods]

    assert names == ["nacl", "nacl+vector_all", "nacl_penalty=l2", "nacl_penalty=l2+vector_all"]
