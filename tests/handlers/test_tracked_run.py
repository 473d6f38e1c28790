"""MLflow's run has what the run's folder says, and nothing where nobody tracks."""

import hashlib
import json
from types import SimpleNamespace

import pytest
from ignite.engine import Engine
from monai.handlers import MLFlowHandler

from nacl_monai.errors import InputError
from nacl_monai.handlers import TrackedRun
from nacl_monai.handlers.run_record import git_commit
from nacl_monai.handlers.tracked_run import run_parameters
from nacl_monai.runs import RunFolder

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
    """References are followed, however long the chain; expressions and menus are no parameters."""
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
    with pytest.raises(InputError, match=r"config\.json: "):
        run_parameters(RunFolder(tmp_path))


class Tracker(MLFlowHandler):
    """MONAI's handler with a client that keeps what MLflow would get."""

    def __init__(self):
        self.epoch_log = self.iteration_log = self.close_on_complete = False
        self.client, self.cur_run = self, SimpleNamespace(info=SimpleNamespace(run_id="r"))
        self.parameters, self.files = {"seed": "of MONAI"}, []

    def start(self, engine):
        pass

    complete = start

    def get_run(self, run_id):
        assert run_id == "r"
        return SimpleNamespace(data=SimpleNamespace(params=dict(self.parameters)))

    def log_param(self, run_id, name, value):
        assert run_id == "r"
        self.parameters[name] = value

    def log_artifact(self, run_id, file):
        assert run_id == "r"
        self.files.append(file)


@pytest.mark.parametrize("tracked", [True, False])
def test_tracked_engine_alone_logs_what_is_there(run, tracked):
    """Files that are not there are left out, and what MONAI has logged stays."""
    tracker, engine = Tracker(), Engine(lambda *_: None)
    TrackedRun(run, [run.config, run.record, run.split]).attach(engine)
    if tracked:
        tracker.attach(engine)
    engine.run([0])

    monais = {"seed": "of MONAI"}
    assert tracker.parameters == ({**run_parameters(run), **monais} if tracked else monais)
    files = [str(run.path / name) for name in ("config.json", "split.json")]
    assert tracker.files == (files if tracked else [])
