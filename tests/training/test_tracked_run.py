"""MLflow's run has the parameters and files of a run, and nothing where nobody tracks."""

from types import SimpleNamespace

import pytest
from ignite.engine import Engine
from monai.handlers import MLFlowHandler

from nacl_monai.training import TrackedRun


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
def test_tracked_engine_alone_logs_what_is_there(tmp_path, tracked):
    """Files that are not there are left out, and what MONAI has logged stays."""
    tracker, engine = Tracker(), Engine(lambda *_: None)
    parameters = {"seed": 3, "loss": "NACLLoss"}
    files = [tmp_path / name for name in ("config.json", "run.json", "split.json")]
    for file in files[::2]:
        file.touch()
    TrackedRun(lambda: parameters, files).attach(engine)
    if tracked:
        tracker.attach(engine)
    engine.run([0])

    monais = {"seed": "of MONAI"}
    assert tracker.parameters == ({**parameters, **monais} if tracked else monais)
    assert tracker.files == (list(map(str, files[::2])) if tracked else [])
