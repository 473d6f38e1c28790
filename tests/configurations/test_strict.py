"""Whatever a command has wrong is refused before the first batch, for every bundle, in one line."""

from itertools import cycle

import pytest
import torch
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer

from tests.configurations.conftest import FAST, ROOT, arguments, one_line, run_module

MISSPELT_LOSS = {"_target_": "nacl_monai.losses.FocalLoss", "gama": 2.0}
FAULTS = {
    "override": (["--lerning_rate", 0.1], "did you mean --learning_rate?"),
    "interval": (["--val_interval", 2], "a training of 1 epochs would end without a validation"),
    "argument": (["--loss", MISSPELT_LOSS], "FocalLoss: FocalLoss.__init__() got an unexpected"),
    "component": (["--loss", {"_target_": "nacl_monai.losses.Nacl"}], "nacl_monai.losses.Nacl"),
    "size": (["--spatial_size", "[50, 66]"], "is [50, 66], which the network cannot take; choose"),
    "channels": (["--networks::unet::out_channels", 9], "returns 9 channels, but there are"),
    "classes": (["--classes", [f"organ {k}" for k in range(99)]], "label_values has the values of"),
    "structure": (["--structures", {"organ": [99]}], "structures: organ is of the classes [99]"),
    "precision": (["--precision", "half"], "precision half: not known; choose from: auto"),
    "half on a CPU": (["--precision", "float16", "--device", "cpu"], "needs a GPU"),
    "stray word": (
        ["max_epochs=1"],
        "is not an option, nor the value of one; write --max_epochs 1",
    ),
    "schedule": (["--train::optimizer::weight_decay", -1], "Adam: Invalid weight_decay value: -1"),
}


# All bundles share the code that refuses: each fault is tried on another of them.
@pytest.mark.parametrize(("dataset", "fault"), [*zip(cycle(FAST), FAULTS, strict=False)])
def test_fault_is_one_line_and_no_folder_is_made(bundle, datasets, tmp_path, dataset, fault):
    """The line says what is wrong, the exit code that it is the command, and nothing was written."""
    overrides, message = FAULTS[fault]
    shared = ["--dataset_dir", datasets[dataset], "--output_dir", tmp_path / "run"]
    shared += ["--cache_dir", datasets[dataset].parent / "cache", "--max_epochs", 1]

    code, errors = bundle(*arguments("training", dataset, *shared, *overrides))

    assert code == 2
    assert message in one_line(errors)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("run_id", "word"),
    [("training", "STRAY"), ("evaluating", "--init_id=x"), ("inference", "--final_id=x")],
)
def test_word_by_which_monai_skips_initialize_skips_nothing(bundle, run_of, run_id, word):
    """Nothing is run, and what the run's folder holds stays as it is."""
    dataset, dataset_dir, run = run_of("hippocampus")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    shared = ["--output_dir", run]
    shared += [] if run_id == "inference" else ["--dataset_dir", dataset_dir]

    code, errors = bundle(*arguments(run_id, dataset, *shared, word))

    assert code == 2
    assert one_line(errors).startswith(f"error: {word.partition('=')[0]}")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_evaluator_has_the_weights_of_the_run_whatever_leads_to_it(run_of, monkeypatch):
    """Its network is made by reading them: no order of steps can leave them out."""
    _, dataset_dir, run = run_of("hippocampus")
    monkeypatch.chdir(ROOT)
    files = ("hippocampus/configs/dataset.yaml", "common/model.yaml", "common/evaluate.yaml")
    parser = ConfigParser(ConfigParser.load_config_files([f"bundles/{file}" for file in files]))
    paths = {"dataset_dir": str(dataset_dir), "output_dir": str(run)}
    parser.update({**paths, "cache_dir": str(run.parent / "cache")})

    weights = parser.get_parsed_content("evaluator").network.state_dict()

    saved = torch.load(run / "model.pt", weights_only=True)
    assert weights.keys() == saved.keys()
    assert all(torch.equal(weights[name].cpu(), saved[name]) for name in saved)


@pytest.mark.slow
def test_seed_counts_without_initialize(datasets, tmp_path, monkeypatch):
    """The run id's own steps alone begin with the same weights, whatever was drawn before."""
    dataset_dir = datasets["hippocampus"]
    states = []
    monkeypatch.setattr(
        SupervisedTrainer, "run", lambda self: states.append(self.network.state_dict())
    )
    for name in ("one", "two"):
        shared = ["--dataset_dir", dataset_dir, "--output_dir", tmp_path / name]
        shared += ["--cache_dir", dataset_dir.parent / "cache", "--initialize", []]
        run_module(monkeypatch, arguments("training", "hippocampus", *shared))
        torch.rand(1)

    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
