"""The comparison of penalties takes what it is of, and nothing beside it."""

import shutil
from itertools import product

import pandas as pd
import pytest

from nacl_monai.errors import InputError
from studies.penalty.comparison import TESTED, collected, compared, evaluations


def test_runs_of_another_network_are_not_mixed_in(tmp_path):
    """Their names end alike, and their seeds would count as seeds of this one."""
    for network in ("unet", "unet3d", "unet_authors"):
        folder = tmp_path / f"{network}_nacl_seed0/evaluation"
        folder.mkdir(parents=True)
        (folder / "cases.csv").touch()

    for network in ("unet", "unet3d"):
        folder = tmp_path / f"{network}_nacl_seed0/evaluation"
        assert list(evaluations(tmp_path, network)) == [("nacl", 0, folder)]


def test_evaluation_of_other_weights_is_refused(grid, tmp_path):
    """A training that went on has other weights than its calibrators, until they are fitted again."""
    run = tmp_path / "unet_nacl_seed1"
    shutil.copytree(grid / "acdc" / run.name, run)
    (run / "model.pt").write_bytes(b"trained on")

    with pytest.raises(InputError, match="seed1/.*is of another model.pt than the run's; evaluate"):
        collected(tmp_path)


def test_methods_with_fewer_trainings_are_not_tested():
    """A pair has the seeds of both, so one training of a loss would leave one of all others."""
    trained = [("nacl_mixed", 3), ("svls", 3), ("focal", 1)]
    cells = [
        {"method": name, "seed": seed, "patient": patient, "dataset": "acdc"}
        for name, seeds in trained
        for seed, patient in product(range(seeds), range(8))
    ]
    scores = {name: 0.1 + 0.01 * pd.Series(range(len(cells))) for name in TESTED}
    found = dict(compared(pd.DataFrame(cells).assign(**scores), {}))

    assert set(found) == {"others"}
    assert set(found["others"].tests["method"]) == {"svls"}
    assert set(found["others"].tests["trainings"]) == {3}
