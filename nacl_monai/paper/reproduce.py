"""Each table and figure of the paper from the runs of a grid, written by one call."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.menus import dataset_names, read_menu
from nacl_monai.paper.comparisons import compare_methods, comparison_to_markdown, draw_forest
from nacl_monai.paper.exhibits import EXHIBITS, MAIN, Exhibit
from nacl_monai.paper.grid import PROPOSED
from nacl_monai.paper.results import PROJECT, NothingToShow, Results, read_results
from nacl_monai.paper.trainings import remarks
from nacl_monai.reports.style import save_figure


def write_exhibit(
    name: str,
    roots: Sequence[str | Path],
    output: str | Path,
    *,
    datasets: Collection[str] = (),
    losses: Collection[str] = (),
    seeds: Collection[int] = (),
    conventions: str = PROJECT,
    shown: str | Path | None = None,
) -> list[Path]:
    """Writes a table or figure of the paper from the runs that exist.

    Tables are ``<name>.md`` and ``.csv``; figures are ``.png`` and ``.svg``, most with
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
        conventions: How absent structures are scored, a key of `CONVENTIONS`.
        shown: The folder that the command in ``<name>.json`` names; by default ``output``.

    Returns:
        The paths of the files.

    Raises:
        InputError: If there is no such dataset or loss, if there is no run to show, or if one cannot be
            read.
    """
    options = {"datasets": datasets, "losses": losses, "seeds": seeds, "conventions": conventions}
    exhibit = EXHIBITS[name]
    found = read_results(roots, conventions)
    _check_known("datasets", datasets, found.datasets, dataset_names())
    losses_there = sorted({method.loss for method in found.methods})
    _check_known("losses", losses, losses_there, read_menu("losses"))
    results = exhibit.select(found, datasets=datasets, losses=losses, seeds=seeds)
    command = command_line(name, roots, shown or output, options)
    return _write(exhibit, results, command, Path(output))


def _check_known(
    option: str, chosen: Iterable[str], there: Collection[str], menu: Collection[str]
) -> None:
    """Refuses a name that is neither of a run nor in the menu, where a run of it may yet come."""
    for name in chosen:
        if name not in there and name not in menu:
            raise InputError(f"{option}: there is no {name}; choose from: {', '.join(there)}")


def write_all(
    roots: Sequence[str | Path],
    output: str | Path,
    *,
    conventions: str = PROJECT,
    shown: str | Path | None = None,
) -> list[Path]:
    """Writes every table and figure that has runs, and removes all others.

    Args:
        roots: Folders of runs, at any depth.
        output: The folder for the files.
        conventions: How absent structures are scored, a key of `CONVENTIONS`.
        shown: As in `write_exhibit`.

    Returns:
        The paths of the files.

    Raises:
        InputError: If there is no run of the main tables, or if one cannot be read; in the first case
            nothing is written.
    """
    results = read_results(roots, conventions)
    MAIN.select(results)
    files = []
    for name, exhibit in EXHIBITS.items():
        command = command_line(name, roots, shown or output, {"conventions": conventions})
        try:
            files += _write(exhibit, exhibit.select(results), command, Path(output))
        except NothingToShow:
            _remove(Path(output), {f"{name}.json", *_listed(Path(output), name)})
    return files


def _write(exhibit: Exhibit, results: Results, command: str, output: Path) -> list[Path]:
    """Writes the exhibits, the tests and the manifest, in place of those of other runs."""
    earlier = _listed(output, exhibit.name)
    files = exhibit.content.write(results, output / exhibit.name)
    files += _write_tests(exhibit, results, output)
    manifest: dict[str, Any] = {"exhibit": exhibit.name, "title": exhibit.title, "command": command}
    manifest["files"] = [path.name for path in files]
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    files.append(write_text(output / f"{exhibit.name}.json", text))
    _remove(output, earlier - {path.name for path in files})
    return files


def _listed(output: Path, name: str) -> set[str]:
    """The files of an exhibit that was written earlier; none, if its manifest does not say."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        manifest = json.loads((output / f"{name}.json").read_text(encoding="utf-8"))
        return {Path(file).name for file in manifest["files"]}
    return set()


def _remove(output: Path, names: Collection[str]) -> None:
    """Removes files of other runs, which would be shown beside those of these."""
    for name in names:
        (output / name).unlink(missing_ok=True)


def _write_tests(exhibit: Exhibit, results: Results, output: Path) -> list[Path]:
    """Paired tests of what a table or figure shows, and their pictures.

    None if it shows only one method.
    """
    comparison = compare_methods(results, exhibit.content.tested, PROPOSED)
    if comparison.tests.empty:
        return []
    stem = f"{exhibit.name}_tests"
    text = comparison_to_markdown(comparison, remarks(results.folders))
    files = [
        write_text(output / f"{stem}.md", text),
        write_text(output / f"{stem}.csv", csv_text(comparison.tests)),
    ]
    for metric in comparison.tests["metric"].unique():
        figure = draw_forest(comparison, str(metric))
        files += save_figure(figure, output / f"{exhibit.name}_forest_{metric}")
    return files


def command_line(
    name: str,
    roots: Sequence[str | Path],
    output: str | Path,
    options: Mapping[str, Collection[Any]],
) -> str:
    """The command that writes the same again; options at their default are left out."""
    command = ["nacl-monai", "paper", name, *map(str, roots)]
    command += ["--output", str(output)]
    for option, values in options.items():
        if values and values != PROJECT:
            arguments = [values] if isinstance(values, str) else map(str, values)
            command += [f"--{option}", *arguments]
    return shlex.join(command)
