"""The bundles as users run them: `python -m monai.bundle run …` on phantoms in official layouts."""

import logging
import runpy
import sys
from functools import cache

import pytest

from tests.conftest import ROOT, forget_modules

FAST = {
    "acdc": ["--spatial_size", "[32, 32]"],
    "brats": ["--spatial_size", "[80, 80]"],
    "flare": ["--spatial_size", "[48, 48]"],
    "hippocampus": [],
    "kits": ["--spatial_size", "[64, 64]"],
    "mrbrains": ["--spatial_size", "[80, 80]"],
    "prostate": ["--spatial_size", "[80, 80]"],
}

# In which fragment each is.
RUN_IDS = {
    "training": "train",
    "evaluating": "evaluate",
    "calibrating": "evaluate",
    "inference": "inference",
}


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


@pytest.fixture
def bundle(monkeypatch, capfd):
    """Runs a command in this process; returns its exit code and what it wrote to standard error."""
    return lambda *words: run_bundle(monkeypatch, capfd, words)


def run_module(monkeypatch, words, cwd=ROOT):
    """`python -m monai.bundle WORDS` in ``cwd``, in this process."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", *words])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    # A bundle's logging.conf would leave handlers behind that write to this test's streams.
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    # Handlers of other loggers may write to the streams of an earlier test, which are closed.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def run_words(monkeypatch, words, cwd=ROOT):
    """As the interpreter does: an exception ends in `sys.excepthook`, with its exit code or 1."""
    try:
        try:
            run_module(monkeypatch, words, cwd)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            return 1
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else 1
    return 0


def run_bundle(monkeypatch, capfd, words, cwd=ROOT):
    """`run_words`, and what they wrote to standard error."""
    capfd.readouterr()
    code = run_words(monkeypatch, words, cwd)
    return code, capfd.readouterr().err


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


@pytest.fixture(scope="session", params=list(FAST))
def trained(request, run_of):
    """The run of every dataset in turn."""
    return run_of(request.param)
