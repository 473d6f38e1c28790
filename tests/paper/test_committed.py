"""The committed results are made of the committed cases, and of nothing else."""

from pathlib import Path

import pytest

from nacl_monai.paper import read_results, write_target
from nacl_monai.paper.tables import LAYOUTS

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDERS = [str(runs.parent.relative_to(RESULTS)) for runs in sorted(RESULTS.rglob("runs"))]
TABLES = [
    (folder, table)
    for folder in FOLDERS
    for table in LAYOUTS
    if (RESULTS / folder / f"{table}.json").is_file()
]


@pytest.mark.parametrize(("folder", "table"), TABLES)
def test_tables_again(monkeypatch, tmp_path, folder, table):
    """Each committed table, its CSV, LaTeX and tests, byte for byte from the committed cases."""
    monkeypatch.chdir(RESULTS.parents[1])
    committed = RESULTS / folder

    for path in write_target(table, [committed / "runs"], tmp_path):
        if path.suffix != ".json":
            assert path.read_bytes() == (committed / path.name).read_bytes(), path.name


def test_small():
    """Only small files are kept: no weights, nothing of a megabyte."""
    for path in RESULTS.rglob("*"):
        assert path.suffix != ".pt"
        assert path.stat().st_size < 1_000_000, path


@pytest.mark.parametrize("folder", FOLDERS)
def test_runs_are_of_the_dataset(folder):
    """The outermost folder's name is that of the data."""
    assert read_results([RESULTS / folder / "runs"]).datasets == [folder.partition("/")[0]]
