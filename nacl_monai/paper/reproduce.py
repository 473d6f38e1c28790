"""Each table and figure of the paper from the runs of a grid, written by one call."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError
from nacl_monai.files import write_text
from nacl_monai.paper.claims import claims_to_markdown, judge_claims
from nacl_monai.paper.comparisons import compare_methods, comparison_to_markdown
from nacl_monai.paper.exhibits import EXHIBITS, MAIN, Exhibit
from nacl_monai.paper.forest import draw_forest
from nacl_monai.paper.grid import PROPOSED
from nacl_monai.paper.results import Results, read_results
from nacl_monai.paper.verdicts import verdict
from nacl_monai.reports.style import save_figure
from nacl_monai.reports.tables import csv_text


def write_exhibit(
    name: str,
    roots: Sequence[str | Path],
    output: str | Path,
    *,
    datasets: Collection[str] = (),
    losses: Collection[str] = (),
    seeds: Collection[int] = (),
) -> list[Path]:
    """Writes a table or figure of the paper from whatever runs of it are there.

    Tables are ``<name>.md``, ``.csv`` and ``.tex``; figures are ``.png`` and ``.svg``, most with
    their numbers in ``.csv``. Beside tables and figure 10 are paired tests, ``<name>_tests.md`` and
    ``.csv``, and a forest plot of each metric, ``<name>_forest_<metric>``. ``<name>.json`` lists the
    files and the command.

    Args:
        name: A key of `nacl_monai.paper.exhibits.EXHIBITS`.
        roots: Folders of runs, at any depth.
        output: The folder for the files.
        datasets: Only these; by default all.
        losses: Only these; by default all.
        seeds: Only these; by default all.

    Returns:
        The paths of the files.

    Raises:
        InputError: If there is no run to show, or if one cannot be read.
    """
    narrowed = {"datasets": datasets, "losses": losses, "seeds": seeds}
    exhibit = EXHIBITS[name]
    results = exhibit.select(read_results(roots), datasets=datasets, losses=losses, seeds=seeds)
    return _write(exhibit, results, _command(name, roots, output, narrowed), Path(output))


def write_all(roots: Sequence[str | Path], output: str | Path) -> list[Path]:
    """Writes every table and figure of which there are runs, and what they say.

    ``verdicts.md`` has three sentences per dataset; ``claims.md`` and ``.csv`` have every claim of the
    paper.

    Args:
        roots: Folders of runs, at any depth.
        output: The folder for the files.

    Returns:
        The paths of the files.

    Raises:
        InputError: If there is no run of the main tables, or if one cannot be read.
    """
    results = read_results(roots)
    files = []
    for name, exhibit in EXHIBITS.items():
        try:
            chosen = exhibit.select(results)
        except InputError:
            continue
        files += _write(exhibit, chosen, _command(name, roots, output, {}), Path(output))
    main = MAIN.select(results)
    sentences = [verdict(MAIN.select(main, datasets=[name]), name) for name in main.datasets]
    judged = judge_claims(results)
    return [
        *files,
        write_text(Path(output) / "verdicts.md", "\n\n".join(sentences) + "\n"),
        write_text(Path(output) / "claims.md", claims_to_markdown(judged)),
        write_text(Path(output) / "claims.csv", csv_text(judged)),
    ]


def _write(exhibit: Exhibit, results: Results, command: str, output: Path) -> list[Path]:
    """Writes what is shown, what is tested, and the manifest."""
    files = exhibit.content.write(results, output / exhibit.name)
    files += _write_tests(exhibit, results, output)
    manifest = {
        "exhibit": exhibit.name,
        "title": exhibit.title,
        "command": command,
        "files": [path.name for path in files],
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    return [*files, write_text(output / f"{exhibit.name}.json", text)]


def _write_tests(exhibit: Exhibit, results: Results, output: Path) -> list[Path]:
    """Paired tests of what a table or figure shows, and their pictures.

    None if it shows one method alone.
    """
    comparison = compare_methods(results, exhibit.content.tested, PROPOSED)
    if comparison.tests.empty:
        return []
    stem = f"{exhibit.name}_tests"
    files = [
        write_text(output / f"{stem}.md", comparison_to_markdown(comparison)),
        write_text(output / f"{stem}.csv", csv_text(comparison.tests)),
    ]
    for metric in comparison.tests["metric"].unique():
        figure = draw_forest(comparison, str(metric))
        files += save_figure(figure, output / f"{exhibit.name}_forest_{metric}")
    return files


def _command(
    name: str,
    roots: Sequence[str | Path],
    output: str | Path,
    narrowed: Mapping[str, Collection[Any]],
) -> str:
    """The command line that writes the same again."""
    command = ["nacl-monai", "paper", name, *map(str, roots)]
    command += ["--output", str(output)]
    for option, values in narrowed.items():
        command += [f"--{option}", *map(str, values)] if values else []
    return shlex.join(command)
