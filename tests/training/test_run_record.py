"""run.json records a training: command, versions, time, memory."""

import json

import pytest
from ignite.engine import Engine, Events
from monai.engines import Trainer

from nacl_monai.training import RunRecord


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
