"""The bundles as users run them: `python -m monai.bundle run …` on phantoms in official layouts."""

import json
import logging
import runpy
import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import ROOT, forget_modules
from tests.same import same_bits

#: When a dataset's run is tested: labels exclude each other in the first two, and overlap in brats.
WHEN = {"hippocampus": (), "acdc": pytest.mark.slow, "brats": pytest.mark.slow}
FAST = {
    "acdc": ["--spatial_size", "[32, 32]"],
    "brats": ["--spatial_size", "[80, 80]"],
    "flare": ["--spatial_size", "[48, 48]"],
    "hippocampus": [],
    "kits": ["--spatial_size", "[64, 64]"],
    "mrbrains": ["--spatial_size", "[80, 80]"],
    "prostate": ["--spatial_size", "[80, 80]"],
}

#: A tiny network of slices of one channel.
NETWORK = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 3}
NETWORK |= {"channels": [4, 8, 16], "strides": [2, 2], "dropout": 0.1}

# In which fragment each is.
RUN_IDS = {"training": "train", "inference": "inference"}
RUN_IDS |= dict.fromkeys(("evaluating", "calibrating"), "evaluate")


def arguments(run_id, dataset, *overrides):
    """The words of a command, as the README shows them."""
    kind = RUN_IDS[run_id]
    files = [f"bundles/{dataset}/configs/dataset.yaml", "bundles/common/model.yaml"]
    files.append(f"bundles/common/{kind}.yaml")
    fast = [] if "--spatial_size" in overrides else FAST[dataset]
    interval = "--reliability_interval"  # a diagram takes as long as the rest of such an evaluation
    if run_id == "evaluating" and interval not in overrides:
        fast = [*fast, interval, "0"]
    return ["run", run_id, "--config_file", str(files), *fast, *map(str, overrides)]


def export_arguments(bundle, run_id, *overrides, kind="inference"):
    """The words of a command of an exported bundle."""
    files = ["--config_file", bundle / f"configs/{kind}.json", "--bundle_root", bundle]
    return ["run", run_id, *map(str, [*files, *overrides])]


def parser_of(dataset, *kinds, **changes):
    """The configuration of a dataset's bundle, with the fragments of these kinds."""
    names = [f"{dataset}/configs/dataset", "common/model", *(f"common/{kind}" for kind in kinds)]
    files = [ROOT / f"bundles/{name}.yaml" for name in names]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    places = ("dataset_dir", "output_dir", "cache_dir")
    parser.update({k: str(value) if k in places else value for k, value in changes.items()})
    return parser


@pytest.fixture(scope="session", autouse=True)
def _parsed_once():
    """A file of the bundles, which no test changes: to parse it takes half of a refused command."""
    load = ConfigParser.load_config_file
    parsed = cache(load)

    def load_config_file(filepath, **options):
        file = Path(str(filepath)).absolute()
        ours = file.is_relative_to(ROOT / "bundles")
        return deepcopy(parsed(file)) if ours else load(filepath, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigParser, "load_config_file", load_config_file)
        yield


@pytest.fixture
def bundle(monkeypatch, capfd):
    """Runs a command in this process; returns its exit code and what it wrote to standard error."""

    def run(*args, cwd=ROOT):
        return run_bundle(monkeypatch, capfd, args, cwd)

    def done(*args, cwd=ROOT):
        code, errors = run(*args, cwd=cwd)
        assert code == 0, errors

    def refused(*args, code=1, cwd=ROOT):
        ended, errors = run(*args, cwd=cwd)
        assert ended == code, errors
        return one_line(errors)

    run.done, run.refused = done, refused  # what is to succeed, and what is to end with a line
    return run


def run_module(monkeypatch, args, cwd=ROOT):
    """`python -m monai.bundle WORDS` in ``cwd``, in this process."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", *args])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    # A bundle's logging.conf would leave handlers behind that write to this test's streams.
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    # Handlers of other loggers may write to the streams of an earlier test, which are closed.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def run_words(monkeypatch, args, cwd=ROOT):
    """As the interpreter does: an exception ends in `sys.excepthook`, with its exit code or 1."""
    try:
        try:
            run_module(monkeypatch, args, cwd)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            return 1
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else 1
    return 0


def run_bundle(monkeypatch, capfd, args, cwd=ROOT):
    """`run_words`, and what they wrote to standard error."""
    capfd.readouterr()
    code = run_words(monkeypatch, args, cwd)
    return code, capfd.readouterr().err


def one_line(errors):
    """The line that says what is wrong; fails if there is a traceback."""
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, errors
    return lines[0]


def run_killed(jobs, *processes):
    """What `killed_training` prints of jobs that all ended as they should."""
    command = [sys.executable, "-m", "tests.configurations.killed_training", json.dumps(jobs)]
    done = subprocess.run(
        [*command, *processes], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def contents(folder):
    """The bytes of every visible file below a folder, but for curves, which have times in them."""
    files = [path for path in folder.rglob("[!.]*") if path.is_file()]
    kept = [path for path in files if "tensorboard" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def tensors(state, prefix=""):
    """All tensors and numbers in a state, by their place."""
    if isinstance(state, dict | list | tuple):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        return {
            key: value
            for name, part in pairs
            for key, value in tensors(part, f"{prefix}.{name}").items()
        }
    return {} if state is None else {prefix: state}


def curves(run):
    """Steps and values of every curve of a training."""
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def assert_same_training(first, second, *names):
    """Whatever two trainings have in files of these names is the same: weights, optimizer, schedule."""
    for name in names:
        states = (torch.load(run / name, weights_only=True) for run in (first, second))
        same_bits(*map(tensors, states), "a training that goes on takes the same steps")


def block_package(monkeypatch):
    """Makes this package impossible to import, and forgets the scripts of other bundles."""
    forget_modules("scripts")
    for name in [*sys.modules]:
        if name.partition(".")[0] == "nacl_monai":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "nacl_monai", None)


@pytest.fixture(scope="session")
def datasets(phantom_of):
    """Where each bundle's phantom is; written when first asked for."""

    class Phantoms(dict):
        def __missing__(self, dataset):
            return phantom_of(dataset)

    return Phantoms()


@pytest.fixture
def shared(datasets, tmp_path):
    """Words that say where the hippocampus' phantom, its cached volumes and the test's run are."""
    data = datasets["hippocampus"]
    args = ["--dataset_dir", data, "--output_dir", tmp_path / "run"]
    return [*args, "--cache_dir", data.parent / "cache"]


@pytest.fixture(scope="session")
def run_of(datasets, tmp_path_factory):
    """For a dataset: its name, its folder, and the folder of a run of two epochs, evaluated."""

    @cache
    def run(dataset):
        folder = tmp_path_factory.mktemp("runs") / dataset
        shared = ["--dataset_dir", datasets[dataset], "--output_dir", folder]
        shared += ["--cache_dir", folder.parent / "cache"]
        with pytest.MonkeyPatch.context() as monkeypatch:
            training = arguments("training", dataset, *shared, "--max_epochs", 2)
            run_module(monkeypatch, training)
            run_module(monkeypatch, arguments("evaluating", dataset, *shared))
        return dataset, datasets[dataset], folder

    return run


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=WHEN.get(name, pytest.mark.nightly)) for name in FAST],
)
def trained(request, run_of):
    """The run of every dataset in turn."""
    return run_of(request.param)
