"""What an earlier command left behind, its split and its cache, cannot decide a number of this one."""

import json
import shutil

import pytest
from monai.engines import SupervisedTrainer

from tests.configurations.conftest import arguments
from tests.configurations.test_errors import one_line

pytestmark = pytest.mark.slow


def test_split_is_drawn_as_the_command_says_or_the_command_is_refused(
    bundle, datasets, tmp_path, monkeypatch
):
    """A quarter that is asked for is a quarter that trains; `--restart True` draws it."""
    monkeypatch.setattr(SupervisedTrainer, "run", lambda _: None)
    dataset_dir, run = datasets["hippocampus"], tmp_path / "run"
    shared = ["--dataset_dir", dataset_dir, "--output_dir", run, "--cache_dir", tmp_path / "cache"]
    quarter = ["--train_fraction", 0.25]
    code, errors = bundle(*arguments("training", "hippocampus", *shared))
    assert code == 0, errors
    before = (run / "split.json").read_text()

    code, errors = bundle(*arguments("training", "hippocampus", *shared, *quarter))
    assert code != 0
    assert "was drawn with other train_fraction (1.0, now 0.25)" in one_line(errors)
    assert (run / "split.json").read_text() == before

    again = [*shared, *quarter, "--restart", True]
    code, errors = bundle(*arguments("training", "hippocampus", *again))
    assert code == 0, errors
    split = json.loads((run / "split.json").read_text())
    assert (len(split["train"]), split["drawn"]["train_fraction"]) == (1, 0.25)


def test_damaged_cache_changes_no_number(bundle, run_of, tmp_path):
    """An evaluation makes a damaged file anew, says so, and measures what it measured before."""
    _, dataset_dir, run = run_of("hippocampus")
    copy, cache = shutil.copytree(run, tmp_path / "run"), tmp_path / "cache"
    shared = ["--dataset_dir", dataset_dir, "--output_dir", copy, "--cache_dir", cache]
    table = (copy / "evaluation/cases.csv").read_bytes()
    bundle(*arguments("evaluating", "hippocampus", *shared))
    files = sorted(cache.rglob("*.npy"))
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    code, errors = bundle(*arguments("evaluating", "hippocampus", *shared))

    assert code == 0, errors
    assert errors.count("is damaged, and made anew") == len(files) > 0
    assert (copy / "evaluation/cases.csv").read_bytes() == table
