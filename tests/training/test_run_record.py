"""The record of a training, on disk and in MLflow."""

import hashlib
import json

import pytest
from ignite.engine import Engine, Events
from monai.engines import Trainer

from nacl_monai.errors import InputError
from nacl_monai.runs import RunFolder
from nacl_monai.training import RunRecord, run_parameters
from nacl_monai.training.run_record import git_commit


def validator(epoch=-1, metric=-1):
    """An engine whose best metric is that of an epoch, as MONAI keeps it: -1 before the first."""
    engine = Engine(lambda *_: None)
    vars(engine.state).update(best_metric_epoch=epoch, best_metric=metric)
    return engine


def run(folder, epochs, start=0, best=validator()):  # noqa: B008
    trainer = Trainer("cpu", epochs, [0, 1], iteration_update=lambda *_: None)
    trainer.add_event_handler(
        Events.STARTED, lambda: vars(trainer.state).update(epoch=start, iteration=2 * start)
    )
    RunRecord(folder, seed=7, validator=best).attach(trainer)
    trainer.run()
    return json.loads((folder / "run.json").read_text())


def test_each_start_adds_a_session(tmp_path):
    """Each start adds a session, and a finished training adds none."""
    first = run(tmp_path, 2)
    second = run(tmp_path, 3, start=2)

    assert (first["seed"], first["finished"]) == (7, True)
    assert second["sessions"][0] == first["sessions"][0]
    assert [session["epochs"] for session in second["sessions"]] == [[1, 2], [3, 3]]
    session = second["sessions"][1]
    assert "python" in session["command"]
    assert {"python", "torch", "monai", "nacl-monai"} <= session["versions"].keys()
    assert session["seconds"] >= 0
    assert session["peak_memory_mib"] > 10
    assert run(tmp_path, 3, start=3) == second


@pytest.mark.parametrize(
    ("best", "expected"),
    [(validator(), (None, None)), (validator(2, 0.1234567), (2, 0.123457))],
    ids=["before the first validation", "afterwards"],
)
def test_best_epoch_and_its_metric_are_recorded(tmp_path, best, expected):
    """Nobody should take the last epoch for the one whose model was kept."""
    record = run(tmp_path, 3, best=best)

    assert (record["best_epoch"], record["best_metric"]) == expected


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
def trained(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "split.json").write_text("{}")
    return RunFolder(tmp_path)


def test_parameters_are_what_was_trained_with(trained):
    """References are followed, however long the chain; expressions and menus are not parameters."""
    assert run_parameters(trained) == {
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
