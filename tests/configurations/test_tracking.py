"""`--tracking mlflow`: a training and its evaluation are in one local store, with what they measured."""

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.configurations.conftest import arguments

pytestmark = pytest.mark.slow

mlflow = pytest.importorskip("mlflow")


def test_training_and_evaluation_are_tracked_with_their_numbers(bundle, shared, tmp_path):
    """Both are finished runs of one name in the dataset's experiment, with the numbers of the files."""
    folder, store = tmp_path / "run", f"sqlite:///{tmp_path}/mlflow.db"
    args = [*shared, "--tracking", "mlflow", "--tracking_uri", store, "--reliability_interval"]
    bundle.done(*arguments("training", "hippocampus", *args, 2, "--max_epochs", 2))
    bundle.done(*arguments("evaluating", "hippocampus", *args, 1))

    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("hippocampus")
    evaluation, training = client.search_runs(experiment.experiment_id)

    assert [run.info.run_name for run in (training, evaluation)] == ["run", "run"]
    assert [run.info.status for run in (training, evaluation)] == ["FINISHED", "FINISHED"]
    curves = EventAccumulator(str(folder / "tensorboard")).Reload()
    for tag, ours in (("train_loss", "loss"), ("val_dice", "val_dice")):
        history = client.get_metric_history(training.info.run_id, tag)
        logged = sorted((metric.step, metric.value) for metric in history)
        shown = [event.value for event in curves.Scalars(ours)]
        np.testing.assert_allclose([value for _, value in logged], shown, rtol=1e-6)
    (shown,) = curves.Images("reliability")
    assert shown.step == curves.Scalars("val_dice")[-1].step
    for run, file in ((training, "epoch_0002.png"), (evaluation, "epoch_0001.png")):
        (logged,) = client.list_artifacts(run.info.run_id, "reliability")
        assert logged.path == f"reliability/{file}"
    assert (folder / "evaluation/reliability.png").stat().st_size > 10_000
    cases = pd.read_csv(folder / "evaluation/cases.csv")
    metrics = evaluation.data.metrics
    assert metrics["ece_foreground"] == pytest.approx(cases["ece_foreground"].mean(), abs=1e-5)
    assert metrics["cece_union"] == pytest.approx(cases["cece_union"].mean(), abs=1e-5)
    trained = {"config.json", "run.json", "split.json", "validation.csv"}
    evaluated = {"evaluation.json", "cases.csv", "summary.json", "bins.npz", "reliability.png"}
    for run, files in ((training, trained), (evaluation, evaluated)):
        logged = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert logged == {"reliability", *files}
        assert run.data.params["loss"] == "NACLLoss"
        assert run.data.params["loss.penalty_weight"] == "0.1"
        assert run.data.params["seed"] == "0"
    assert not list(folder.glob("config_*"))
