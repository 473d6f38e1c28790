"""What a training was is recorded, and what an evaluation is of, which takes its place in whole."""

import hashlib
import json

import pytest
from ignite.engine import Engine, Events
from monai.engines import Trainer

from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluation_files import check_trained
from nacl_monai.output import abandon_output
from nacl_monai.runs import EvaluationFolder, RunFolder
from nacl_monai.training import EvaluationRecord, RunRecord, open_evaluation, run_parameters
from nacl_monai.training.run_record import git_commit
from tests.conftest import refused


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


def test_configuration_is_recorded_as_the_training_begins_or_goes_on(tmp_path):
    """So that a later edit is told from a training that was made longer."""
    assert "max_epochs" not in run(tmp_path, 1)  # without one
    for epochs in (2, 3):
        (tmp_path / "config.json").write_text(json.dumps({"max_epochs": epochs, "seed": 7}))
        record = run(tmp_path, epochs, start=epochs - 1)
        check_trained(RunFolder(tmp_path))

    assert record["max_epochs"] == 3


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


@pytest.fixture
def files(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "split.json").write_bytes(b"{}")
    return tmp_path / "model.pt", tmp_path / "split.json"


def evaluate(folder, files, during=lambda: None, name="cases.csv"):
    """An evaluation that writes one file aside."""
    open_evaluation(EvaluationFolder(folder), "val")
    record = EvaluationRecord(EvaluationFolder(folder), *files, "val", {"a::b": [1]})

    def step(*_):
        record.folder.aside.joinpath(name).write_text("new")
        during()

    engine = Engine(step)
    record.attach(engine)
    engine.run([0])


def test_record_holds_set_checksums_settings_and_versions(tmp_path, files):
    """The checksums are those of `sha256sum`."""
    evaluate(tmp_path / "evaluation", files)

    assert (tmp_path / "evaluation/cases.csv").read_text() == "new"
    record = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert record["set"] == "val"
    assert record["weights"] == hashlib.sha256(b"weights").hexdigest()
    assert record["split"] == hashlib.sha256(b"{}").hexdigest()
    assert record["settings"] == {"a::b": [1]}
    assert {"nacl-monai", "torch", "monai"} == record["versions"].keys()
    assert "git_commit" in record


def test_record_holds_the_checksum_of_a_calibrator(tmp_path, files):
    """If there is one; without it there is no such key."""
    fit = tmp_path / "calibrator.json"
    whose = (EvaluationFolder(tmp_path / "evaluation"), *files, "test", {}, fit)
    assert "calibrator_sha256" not in EvaluationRecord(*whose).record
    fit.write_bytes(b"{}")

    assert EvaluationRecord(*whose).record["calibrator_sha256"] == hashlib.sha256(b"{}").hexdigest()


def test_finished_evaluation_has_nothing_of_an_earlier_or_of_a_killed_one(tmp_path, files):
    """Nor is anything left aside."""
    evaluate(tmp_path / "evaluation", files, name="bins.npz")
    (tmp_path / ".evaluation.new/maps").mkdir(parents=True)
    evaluate(tmp_path / "evaluation", files)

    names = {file.name for file in tmp_path.glob("evaluation/[!.]*")}
    assert names == {"cases.csv", "evaluation.json"}
    assert not list(tmp_path.glob(".*"))


def test_earlier_evaluation_stays_until_the_end(tmp_path, files):
    """An error in between leaves it as it was."""
    folder = tmp_path / "evaluation"
    evaluate(folder, files)
    before = folder.stat()

    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        evaluate(folder, files, during=fail)

    assert folder.stat() == before
    assert not list(tmp_path.glob(".evaluation.old"))
    abandon_output(folder)


@pytest.mark.parametrize("which", [0, 1])
def test_file_that_changes_during_the_evaluation_is_named(tmp_path, files, which):
    """A training that goes on may replace the weights that were read."""
    with pytest.raises(InputError, match=f"{files[which]}: has changed during the evaluation"):
        evaluate(tmp_path / "evaluation", files, during=lambda: files[which].write_bytes(b"other"))

    assert not (tmp_path / "evaluation").exists()


def test_folder_of_other_work_is_not_replaced(tmp_path):
    """Nothing is made; `nacl_monai.output` has the other refusals."""
    folder = EvaluationFolder(tmp_path / "evaluation")
    folder.path.mkdir()
    folder.cases.touch()

    assert refused(open_evaluation, folder, "test") == (
        f"{folder.path}: holds cases.csv, which `nacl-monai evaluate` did not write; choose another "
        "--evaluation_dir, or move it away"
    )
    assert not folder.aside.exists()


def test_evaluation_of_another_set_is_not_replaced(tmp_path, files):
    """The test's took hours. That of nobody knows what may be made again, as reports ask for."""
    folder = EvaluationFolder(tmp_path / "evaluation")
    evaluate(folder.path, files)
    assert refused(open_evaluation, folder, "test") == (
        f"{folder.path}: holds the evaluation of the val cases; choose another --evaluation_dir for "
        "that of the test cases, or move it away"
    )
    assert not folder.aside.exists()

    for record in ("{", "{}"):
        folder.record.write_text(record)
        open_evaluation(folder, "test")
        assert folder.aside.is_dir()
        abandon_output(folder.path)
