"""The committed results are made of the committed cases, and of nothing else."""

from pathlib import Path

import pytest

from nacl_monai.paper import EXHIBITS, read_results, write_exhibit

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDERS = [str(runs.parent.relative_to(RESULTS)) for runs in sorted(RESULTS.rglob("runs"))]
TABLES = [
    (folder, table)
    for folder in FOLDERS
    for table in EXHIBITS
    if not table.startswith("figure") and (RESULTS / folder / f"{table}.json").is_file()
]


@pytest.mark.parametrize(("folder", "table"), TABLES)
def test_committed_tables_are_made_again(monkeypatch, tmp_path, folder, table):
    """Each committed table, its CSV, LaTeX and tests, byte for byte from the committed cases.

    Pictures depend on the version of matplotlib to the byte.
    """
    monkeypatch.chdir(RESULTS.parents[1])
    committed = RESULTS / folder

    for path in write_exhibit(table, [committed / "runs"], tmp_path):
        if path.suffix in (".md", ".csv", ".tex"):
            assert path.read_bytes() == (committed / path.name).read_bytes(), path.name


def test_only_small_files_are_kept():
    """No weights, nothing of a megabyte."""
    for path in RESULTS.rglob("*"):
        assert path.suffix != ".pt"
        assert path.stat().st_size < 1_000_000, path


@pytest.mark.parametrize("folder", FOLDERS)
def test_outermost_folder_is_named_for_the_dataset(folder):
    """All its runs are of that dataset."""
    assert read_results([RESULTS / folder / "runs"]).datasets == [folder.partition("/")[0]]
