"""Whatever is typed: a run that records what was asked, or one line, exit code 2, nothing written.

Each example is the real command in this process, up to the moment when the first epoch would begin; by
then the configuration is on disk. Which values are good is written down here by hand.
"""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from monai.engines import SupervisedTrainer

from nacl_monai.training.run_folder import FREE_KEYS
from tests.configurations.conftest import ROOT, arguments, one_line, run_words

pytestmark = pytest.mark.slow

SEEDS = st.integers(0, 2**32 - 1)
NAMES = st.from_regex(r"r[a-z_]{1,8}", fullmatch=True)
GOOD = {
    "batch_size": st.integers(1, 64),
    "channels_last": st.booleans(),
    "device": st.sampled_from(["cpu", "cpu:0"]),
    "experiment_name": NAMES,
    "inferer::overlap": st.floats(0, 0.99),
    "learning_rate": st.floats(1e-9, 1) | st.just(1),
    "loss": st.sampled_from(["@losses::mbls", "@losses::nacl", "@losses::dice_ce"]),
    "losses::nacl::ignore_index": st.integers(0, 2),
    "losses::nacl::penalty_weight": st.floats(0, 10),
    "losses::nacl::prior": st.sampled_from(["mean", "gaussian"]),
    "max_epochs": st.integers(1, 1_000_000) | st.just("$2 * 5") | st.just("@batch_size"),
    "networks::unet::channels": st.lists(st.integers(4, 8), min_size=5, max_size=5),
    "networks::unet::dropout": st.floats(0, 0.9),
    "networks::unet::norm": st.sampled_from(["BATCH", "INSTANCE"]),
    "num_workers": st.integers(0, 1),
    "precision": st.sampled_from(["auto", "float32", "bfloat16"]),
    "restart": st.booleans(),
    "seed": SEEDS,
    "spatial_size": st.sampled_from([[48, 64], (64, 64), [64, 80]]),
    "split_seed": SEEDS,
    "train::optimizer::weight_decay": st.floats(0, 1),
    "train_fraction": st.floats(0.5, 1),
}
NO_NUMBER = ["ten", "true", "True", "None", "nan", "-inf", "inf", "1e999", "{}", "", "1 2", "$1/0"]
NO_COUNT = st.sampled_from([*NO_NUMBER, "0", "1.0", "1e38"]) | st.integers(max_value=0)
NO_SEED = st.sampled_from([*NO_NUMBER, "0.5"]) | st.integers(max_value=-1) | st.integers(2**32)
NO_SHARE = st.sampled_from([*NO_NUMBER, "0", "1.01"]) | st.floats(max_value=0)
NO_SWITCH = st.sampled_from(["false", "true", "0", "1", "yes", "None", "[True]", ""])
BAD = {
    "batch_size": NO_COUNT,
    "channels_last": NO_SWITCH,
    "compile": NO_SWITCH,
    "device": st.sampled_from(["gpu", "cuda:99", "0", "meta", "None", ""]),
    "inferer::overlap": st.sampled_from([*NO_NUMBER[:8], "1", "-0.1", "[0.5, 1]"]),
    "learning_rate": NO_SHARE,
    "loss": st.sampled_from(["nacl", "@losses::nalc", "None", "3", "losses::nacl"]),
    "losses::nacl::nix": st.just("1"),
    "losses::nacl::penalty_weight": st.sampled_from([*NO_NUMBER, "-0.1"]),
    "max_epochs": NO_COUNT,
    "networks::unet::channels": st.sampled_from(["16", "[4, 8.5]", "[4]", "None", "[]"]),
    "networks::unet::drop_out": st.just("0.1"),
    "networks::unet::dropout": st.sampled_from(["2", "x", "[1]"]),
    "num_workers": st.sampled_from([*NO_NUMBER, "-1", "0.5"]),
    "output_dirs": st.just("x"),
    "precision": st.sampled_from(["half", "64", "None", "", "float16"]),
    "restart": NO_SWITCH,
    "seed": NO_SEED,
    "spatial_size": st.sampled_from(
        ["48", "[48]", "[0, 0]", "[48, -64]", "[48, x]", "[50, 66]", "None"]
    ),
    "split_seed": NO_SEED,
    "train::optimizer::weight_decay": st.sampled_from(["-1", "x"]),
    "train_fraction": NO_SHARE,
    "val_interval": NO_COUNT,
}
SLIPS = ["max_epochs=1", "STRAY", "2", "-seed=1", "-x", "--seed", "--nocompile", "--", "-", "--=1"]
SLIPS += ["--init_id=x", "--final_id=x", "--workflow_type=train", "--lerning_rate=1"]
SLIPS += ["--cache_dir=x"]


@st.composite
def commands(draw):
    """Good settings, and the bad words among them, if any."""
    keys = draw(st.lists(st.sampled_from(sorted(GOOD)), unique=True, max_size=4))
    asked = {key: draw(GOOD[key]) for key in keys}
    kind = draw(st.sampled_from(["good", "value", "slip"]))
    if kind == "good":
        return asked, []
    if kind == "slip":
        return asked, [draw(st.sampled_from(SLIPS))]
    key = draw(st.sampled_from(sorted(BAD)))
    asked.pop(key, None)
    return asked, [f"--{key}={draw(BAD[key])}"]


def expected_record(asked):
    """The configuration as the files have it, with what was asked, as JSON."""
    config = {"processes": 1}
    for file in ("hippocampus/configs/dataset.yaml", "common/model.yaml", "common/train.yaml"):
        config.update(yaml.safe_load((ROOT / "bundles" / file).read_text(encoding="utf-8")))
    for key, value in asked.items():
        *above, name = key.split("::")
        part = config
        for step in above:
            part = part[step]
        part[name] = value
    return json.loads(json.dumps({k: v for k, v in config.items() if k not in FREE_KEYS}))


def run_and_stop(command):
    """The exit code and standard error of a command whose trainer does nothing."""
    errors = io.StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(io.StringIO()):
        monkeypatch.setattr(SupervisedTrainer, "run", lambda _: None)
        with redirect_stderr(errors):
            code = run_words(monkeypatch, command)
    return code, errors.getvalue()


@pytest.fixture(scope="module")
def attack(datasets, tmp_path_factory):
    """Runs a command with the words that it is given, and holds it to the rule."""
    cache = tmp_path_factory.mktemp("cache")

    def check(asked, bad):
        root = tmp_path_factory.mktemp("run")
        shared = {"dataset_dir": datasets["hippocampus"], "output_dir": root / "run"}
        shared["cache_dir"] = root / "cache" if bad else cache
        options = [f"--{key}={value}" for key, value in {**shared, **asked}.items()]
        code, errors = run_and_stop([*arguments("training", "hippocampus", *options), *bad])
        if bad:
            assert code == 2, errors
            assert one_line(errors)
            assert not list(root.iterdir())
        else:
            assert code == 0, errors
            record = json.loads(Path(root / "run/config.json").read_text(encoding="utf-8"))
            assert record == expected_record(asked)

    return check


RULES = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(**RULES, max_examples=20, derandomize=True, database=None)
@example(command=({"max_epochs": 3, "device": "cpu:0"}, []))
@example(command=({}, ["--losses::nacl::penalty_weight=$1/0"]))
@example(command=({"networks::unet::dropout": 0.1, "spatial_size": (64, 64)}, []))
@example(command=({"seed": 1}, ["2"]))
@example(command=({}, ["--restart=false"]))
@given(command=commands())
def test_run_records_what_was_asked_or_nothing_is_written(attack, command):
    """A few commands, always the same."""
    attack(*command)


@pytest.mark.nightly
@settings(**RULES, max_examples=100)
@given(command=commands())
def test_many_runs_record_what_was_asked_or_nothing_is_written(attack, command):
    """Many commands, each time others."""
    attack(*command)
