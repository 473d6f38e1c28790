"""A run's parameters are what its folder says that it was trained with."""

import hashlib
import json

import pytest

from nacl_monai.errors import InputError
from nacl_monai.runs import RunFolder
from nacl_monai.training import run_parameters
from nacl_monai.training.run_record import git_commit

CONFIG = {
    "dataset": "acdc",
    "seed": 3,
    "learning_rate": 0.001,
    "compile": False,
    "networks": {
        "unet": {
            "_desc_": {"label": "UNet"},
            "_target_": "monai.networks.nets.UNet",
            "channels": [4, 8],
        }
    },
    "network_def": "@networks::unet",
    "losses": {"nacl": "@losses::mine", "mine": {"_target_": "NACLLoss", "penalty_weight": 0.1}},
    "loss": "@losses::nacl",
    "output_dir": "$'runs/{}'.format(@dataset)",
}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "split.json").write_text("{}")
    return RunFolder(tmp_path)


def test_parameters_are_what_was_trained_with(run):
    """References are followed, however long the chain; expressions and menus are not parameters."""
    assert run_parameters(run) == {
        "dataset": "acdc",
        "seed": 3,
        "learning_rate": 0.001,
        "compile": False,
        "network": "UNet",
        "network.channels": [4, 8],
        "loss": "NACLLoss",
        "loss.penalty_weight": 0.1,
        "git_commit": git_commit(),
        "split_sha256": hashlib.sha256(b"{}").hexdigest(),
    }


def test_run_without_a_record_has_its_commit_alone(tmp_path):
    """A damaged record is refused."""
    assert run_parameters(RunFolder(tmp_path)) == {"git_commit": git_commit()}

    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: is damaged; put it back, or train anew"):
        run_parameters(RunFolder(tmp_path))
