"""What the configuration alone can do with losses: compose them, and give them the image."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.configurations.conftest import arguments
from tests.networks.conftest import small_overrides

pytestmark = pytest.mark.slow

DICE_WITH_PENALTY = {
    "_target_": "nacl_monai.losses.ComposedLoss",
    "base": "@losses::dice_ce",
    "penalties": [{"_target_": "nacl_monai.losses.NeighborhoodPenalty", "weight": 0.1}],
}
DYNUNET = ["--network_def", "@networks::dynunet", *small_overrides("dynunet")]
IMAGE_BESIDE_LABEL = [{"_target_": "ConcatItemsd", "keys": ["label", "image"], "name": "label"}]


@pytest.mark.parametrize(
    ("overrides", "terms"),
    [
        (["--loss", DICE_WITH_PENALTY], ["cross_entropy", "dice", "penalty"]),
        (
            ["--losses::nacl::prior", "bilateral", "--slice_transforms", IMAGE_BESIDE_LABEL],
            ["cross_entropy", "penalty"],
        ),
        (
            [*DYNUNET, "--loss_function::weights", [0.5, 0.25, 0.25]],
            ["cross_entropy", "penalty"],
        ),
        (
            ["--losses::nacl::penalty", "log_barrier", "--losses::nacl::space", "softmax"],
            ["cross_entropy", "penalty"],
        ),
    ],
    ids=["composed", "bilateral", "deep supervision", "options"],
)
def test_composed_loss_trains_and_shows_its_terms(bundle, datasets, tmp_path, overrides, terms):
    """The loss trains, and each of its terms is a curve; the curves sum to the loss."""
    shared = ["--dataset_dir", datasets["hippocampus"], "--output_dir", tmp_path / "run"]
    shared += ["--cache_dir", datasets["hippocampus"].parent / "cache", "--max_epochs", 1]

    code, errors = bundle(*arguments("training", "hippocampus", *shared, *overrides))

    assert code == 0, errors
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    curves = {tag: [e.value for e in events.Scalars(tag)] for tag in ["loss", *terms]}
    assert all(np.all(np.array(curves[term]) != 0) for term in terms)
    np.testing.assert_allclose(
        curves["loss"], sum(np.array(curves[term]) for term in terms), rtol=1e-5
    )
