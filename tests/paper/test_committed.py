"""The committed results are made of the committed cases, and of nothing else."""

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from nacl_monai.paper import EXHIBITS, read_results
from nacl_monai.paper.__main__ import main
from nacl_monai.paper.claims import claims_to_markdown

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDERS = [str(runs.parent.relative_to(RESULTS)) for runs in sorted(RESULTS.rglob("runs"))]
TABLES = [
    path.relative_to(RESULTS)
    for table in EXHIBITS
    for path in sorted(RESULTS.rglob(f"{table}.json"))
    if not table.startswith("figure")
]


@pytest.mark.parametrize("manifest", TABLES, ids=str)
def test_committed_tables_are_made_again(monkeypatch, tmp_path, manifest):
    """By the command that each names: its CSV, LaTeX and tests, byte for byte from the committed cases.

    Pictures depend on the version of matplotlib to the byte.
    """
    monkeypatch.chdir(RESULTS.parents[1])
    committed = RESULTS / manifest
    program, paper, *words = shlex.split(json.loads(committed.read_text())["command"])
    words[words.index("--output") + 1] = str(tmp_path)

    assert (program, paper, main(words)) == ("nacl-monai", "paper", 0)
    made = [path for path in tmp_path.iterdir() if path.suffix in (".md", ".csv", ".tex")]
    assert made
    for path in made:
        assert path.read_bytes() == committed.with_name(path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    "path", sorted(RESULTS.rglob("claims.csv")), ids=lambda path: str(path.relative_to(RESULTS))
)
def test_claims_in_words_are_those_of_the_numbers(path):
    """Made again from the table beside them."""
    judged = pd.read_csv(path, dtype={"setting": str}).fillna({"setting": ""})

    assert path.with_suffix(".md").read_text(encoding="utf-8") == claims_to_markdown(judged)


def test_only_small_files_are_kept():
    """No weights, nothing of a megabyte."""
    for path in RESULTS.rglob("*"):
        assert path.suffix != ".pt"
        assert path.stat().st_size < 1_000_000, path


def test_commands_name_no_folder_of_a_machine():
    """They are run in a clone of this project."""
    for path in RESULTS.rglob("run.json"):
        for session in json.loads(path.read_text())["sessions"]:
            assert session["command"].startswith(".venv/bin/"), path


@pytest.mark.parametrize("folder", FOLDERS)
def test_outermost_folder_is_named_for_the_dataset(folder):
    """All its runs are of that dataset."""
    assert read_results([RESULTS / folder / "runs"]).datasets == [folder.partition("/")[0]]
