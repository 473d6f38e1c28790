"""`--tracking mlflow`: a training and its evaluation are in one local store, with what they measured."""

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.configurations.conftest import arguments

pytestmark = pytest.mark.slow

mlflow = pytest.importorskip("mlflow")


@pytest.fixture
def tracked(bundle, datasets, tmp_path):
    """Words of a command that is logged to a store of its own."""
    store = f"sqlite:///{tmp_path}/mlflow.db"
    shared = ["--dataset_dir", datasets["hippocampus"], "--output_dir", tmp_path / "mine"]
    shared += ["--cache_dir", tmp_path / "cache", "--tracking", "mlflow", "--tracking_uri", store]

    def run(run_id, *words):
        return bundle(*arguments(run_id, "hippocampus", *shared, *words))

    run.store, run.folder = store, tmp_path / "mine"
    return run


def test_training_and_evaluation_are_tracked_with_their_numbers(tracked):
    """Both are finished runs of one name in the dataset's experiment, with the numbers of the files."""
    training = ["training", "--max_epochs", 2, "--reliability_interval", 2]
    for words in (training, ["evaluating", "--reliability_interval", 1]):
        code, error = tracked(*words)
        assert code == 0, error

    client = mlflow.MlflowClient(tracked.store)
    experiment = client.get_experiment_by_name("hippocampus")
    evaluation, training = client.search_runs(experiment.experiment_id)

    assert [run.info.run_name for run in (training, evaluation)] == ["mine", "mine"]
    assert [run.info.status for run in (training, evaluation)] == ["FINISHED", "FINISHED"]
    curves = EventAccumulator(str(tracked.folder / "tensorboard")).Reload()
    for tag, ours in (("train_loss", "loss"), ("val_dice", "val_dice")):
        logged = client.get_metric_history(training.info.run_id, tag)
        np.testing.assert_allclose(
            [metric.value for metric in sorted(logged, key=lambda metric: metric.step)],
            [event.value for event in curves.Scalars(ours)],
            rtol=1e-6,
        )
    (shown,) = curves.Images("reliability")
    assert shown.step == curves.Scalars("val_dice")[-1].step
    for run, file in ((training, "epoch_0002.png"), (evaluation, "epoch_0001.png")):
        (logged,) = client.list_artifacts(run.info.run_id, "reliability")
        assert logged.path == f"reliability/{file}"
    assert (tracked.folder / "evaluation/reliability.png").stat().st_size > 10_000
    cases = pd.read_csv(tracked.folder / "evaluation/cases.csv")
    metrics = evaluation.data.metrics
    assert metrics["ece_foreground"] == pytest.approx(cases["ece_foreground"].mean(), abs=1e-5)
    assert metrics["cece_union"] == pytest.approx(cases["cece_union"].mean(), abs=1e-5)
    for run, files in (
        (training, {"config.json", "run.json", "split.json", "validation.csv"}),
        (
            evaluation,
            {"evaluation.json", "cases.csv", "summary.json", "bins.npz", "reliability.png"},
        ),
    ):
        logged = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert logged == {"reliability", *files}
        assert run.data.params["loss"] == "NACLLoss"
        assert run.data.params["loss.penalty_weight"] == "0.1"
        assert run.data.params["seed"] == "0"
    assert not list(tracked.folder.glob("config_*"))
