"""Whatever a variable of make holds reaches the program as one word, unchanged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AWKWARD = 'it\'s a `b` $HOME $(x) "q" #1, y'


@pytest.fixture
def make(tmp_path):
    """Runs make with programs that write down their words; returns the words of each call."""
    programs = tmp_path / "programs"
    programs.mkdir()
    log = tmp_path / "log"
    for name in ("python", "nacl-monai", "torchrun"):
        (programs / name).write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            f"print(json.dumps(sys.argv[1:]), file=open({str(log)!r}, 'a'))\n"
        )
        (programs / name).chmod(0o755)
    project = tmp_path / "project"
    (project / ".venv").mkdir(parents=True)
    for name in ("Makefile", "bundles", "nacl_monai", "pyproject.toml", "requirements.txt"):
        (project / name).symlink_to(ROOT / name)
    for stamp in ("runtime", "reproduce"):
        (project / ".venv" / stamp).touch()

    def run(*words, code=0, **environment):
        log.write_text("")
        done = subprocess.run(
            ["make", "--no-print-directory", f"BIN={programs}", *words],
            cwd=project,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        return [json.loads(line) for line in log.read_text().splitlines()], done.stderr

    return run


def value(words, option):
    return words[words.index(option) + 1]


@pytest.mark.parametrize("given", ["command line", "environment"])
def test_paths_reach_training_evaluation_and_inference_as_they_are(make, given):
    """Blanks, quotes, dollars, backquotes and commas are part of a name."""
    paths = {"DATASET_DIR": f"/data/{AWKWARD}", "RUN": f"runs/{AWKWARD}"}
    images = {**paths, "IMAGES": f"/{AWKWARD}/*"}

    def call(target, paths):
        if given == "environment":
            return make(target, **paths)
        return make(target, *(f"{name}={path}" for name, path in paths.items()))

    for target in ("train", "evaluate"):
        ((words, *_), _) = call(target, paths)
        assert value(words, "--dataset_dir") == paths["DATASET_DIR"]
        assert value(words, "--output_dir") == paths["RUN"]
    ((words, *_), _) = call("infer", images)
    assert value(words, "--images") == images["IMAGES"]
    assert value(words, "--checkpoint") == f"{paths['RUN']}/model.pt"


def test_folds_hand_paths_and_arguments_on(make):
    """Each fold is a call of make by make."""
    arguments = """ARGS=--spatial_size "[96, 96]" --x '$y' --z '$[1, 2]'"""
    run = f"/{AWKWARD}/unet_nacl_seed0"
    calls, _ = make("folds", "DATASET=mrbrains", "FOLDS=0 1", f"RUN={run}", arguments)

    first, _, second, _, table = calls
    for fold, words in enumerate((first, second)):
        assert value(words, "--output_dir") == f"/{AWKWARD}/unet_nacl_fold={fold}_seed0"
        assert value(words, "--fold") == str(fold)
        assert value(words, "--spatial_size") == "[96, 96]"
        assert (value(words, "--x"), value(words, "--z")) == ("$y", "$[1, 2]")
    assert table == ["compare", run, "--output", run]


def test_fold_that_is_evaluated_is_held_to_its_training(make, tmp_path):
    """The training refuses other settings or data than its own, which the table would not show."""
    run = tmp_path / "unet_nacl_seed0"
    record = tmp_path / "unet_nacl_fold=0_seed0/evaluation/evaluation.json"
    record.parent.mkdir(parents=True)
    record.touch()
    calls, _ = make("folds", "DATASET=mrbrains", "FOLDS=0 1", f"RUN={run}", "ARGS=--x 1")

    run_ids = [words[words.index("run") + 1] for words in calls if "run" in words]
    assert run_ids == ["training", "training", "evaluating"]
    assert value(calls[0], "--output_dir") == str(record.parents[1])
    assert value(calls[0], "--x") == "1"


def test_folders_of_the_reproduction_reach_its_command(make):
    """The command is given them as words."""
    ((words,), _) = make("table2", f"DATA_DIR=/{AWKWARD}", f"RUNS={AWKWARD}", "SEEDS=0")

    assert words[:2] == ["reproduce", "table2"]
    assert value(words, "--data_dir") == f"/{AWKWARD}"
    assert value(words, "--runs") == AWKWARD
    assert value(words, "--seeds") == "0"


def test_export_and_results_take_one_folder(make):
    """A blank in its name does not make it two."""
    ((words,), _) = make("export", f"RUN={AWKWARD}")
    assert value(words, "--run") == AWKWARD
    ((words, _), _) = make("results", f"RUNS={AWKWARD}")
    assert words[:3] == ["paper", "collect", AWKWARD]


def test_training_is_tracked_and_begins_with_given_weights(make):
    """As the tables' trainings are, by the same variables; `make folds` hands them on."""
    begun = ["TRACKING=mlflow", f"PRETRAINED={AWKWARD}"]
    for target in (["train"], ["folds", "DATASET=mrbrains", "FOLDS=0"]):
        ((words, *_), _) = make(*target, *begun)
        assert value(words, "--tracking") == "mlflow"
        assert value(words, "--pretrained") == AWKWARD
    ((words,), _) = make("evaluate", "TRACKING=mlflow")
    assert value(words, "--tracking") == "mlflow"
    ((words,), _) = make("train")
    assert not {"--tracking", "--pretrained"} & set(words)


def test_export_is_of_the_seed_that_is_given(make):
    """The newest of any seed otherwise."""
    ((words,), _) = make("export", "SEED=0")
    assert value(words, "--seed") == "0"
    ((words,), _) = make("export")
    assert "--seed" not in words


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("train", "LOS=ce"),
        ("export", "IMAGES=x"),
        ("calibrate", "TRACKING=mlflow"),
        ("table1", "DATASET=acdc"),
    ],
)
def test_variable_that_nothing_reads_is_refused(make, target, word):
    """It would be dropped without a word."""
    calls, errors = make(target, word, code=2)

    assert calls == []
    assert f"{word.partition('=')[0]}: is nothing that make {target} reads; leave it out" in errors


def test_dims_name_the_run(make):
    """A training on patches is told so; whatever follows finds the run by its name, and checks it."""
    ((words, *_), _) = make("train", "DIMS=3", "DATASET=hippocampus")
    assert value(words, "--dims") == "3"
    assert value(words, "--output_dir") == "runs/hippocampus/unet3d_nacl_seed0"
    for target in ("evaluate", "infer"):
        ((words, *_), _) = make(target, "DIMS=3", "DATASET=hippocampus")
        assert value(words, "--dims") == "3"
        assert any(word.startswith("runs/hippocampus/unet3d_nacl_seed0") for word in words)
    ((words,), _) = make("export", "DIMS=3")
    assert (value(words, "--network"), value(words, "--dims")) == ("unet", "3")
    ((words, *_), _) = make("train")
    assert "--dims" not in words


def test_own_bundles_are_a_folder_anywhere(make, tmp_path):
    """Its datasets are found there, with their folds; what all bundles share is the project's."""
    file = tmp_path / "my own/brain/configs/dataset.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("dataset: brain\nfolds: 2\n")
    own = [f"BUNDLES={tmp_path}/my own", "DATASET=brain"]

    ((words,), _) = make("train", *own)
    assert value(words, "--config_file") == str(
        [str(file), "bundles/common/model.yaml", "bundles/common/train.yaml"]
    )
    ((words,), _) = make("export", *own)
    assert value(words, "--bundles") == f"{tmp_path}/my own"
    calls, _ = make("folds", *own)
    assert [value(words, "--fold") for words in calls if "training" in words] == ["0", "1"]
    assert "no such dataset" in make("train", own[0], "DATASET=acdc", code=2)[1]


def test_seed_that_is_no_number_trains_nothing(make):
    """It cannot name a run."""
    calls, errors = make("train", "SEED=1 2", code=2)

    assert calls == []
    assert "SEED or DIMS: cannot name a run" in errors


def test_name_with_a_dot_is_a_class(make):
    """Its definition may have parts behind it; any other name is of the menu."""
    classes = ["NETWORK=my_package.MyNet", "LOSS=monai.losses.TverskyLoss"]
    ((words,), _) = make("train", *classes, "ARGS=--network_def::width 3")

    assert value(words, "--network_def") == "{'_target_': 'my_package.MyNet'}"
    assert value(words, "--loss") == "{'_target_': 'monai.losses.TverskyLoss'}"
    assert value(words, "--output_dir") == "runs/acdc/MyNet_TverskyLoss_seed0"
    ((words,), _) = make("evaluate", "NETWORK=my_package.MyNet")
    assert value(words, "--network_def") == "{'_target_': 'my_package.MyNet'}"
    ((words,), _) = make("train", "NETWORK=dynunet")
    assert value(words, "--network_def") == "@networks::dynunet"
