"""The whole comparison of runs: one table, reliability diagrams, confidence maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nacl_monai.files import write_text
from nacl_monai.reports import tables
from nacl_monai.reports.maps import draw_maps
from nacl_monai.reports.reliability import draw_reliability
from nacl_monai.reports.runs import read_runs
from nacl_monai.reports.style import save_figure


def write_comparison(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    case: str | None = None,
    show: Sequence[str] = ("confidence",),
) -> tuple[str, list[Path]]:
    """Compares evaluated runs; nothing is written unless everything could be read and drawn.

    Args:
        folders: run folders, each with ``evaluation/``; a cross-validation by its name without the
            fold. Evaluated on the same test volumes.
        output: folder for ``comparison.md``, ``comparison.csv``, ``reliability.png``/``.svg`` and
            ``maps.png``/``.svg``.
        names: one name per run; by default those of the folders.
        case: test volume in the maps; by default the one of median Dice.
        show: what the maps show, "confidence", "entropy" or both.

    Returns:
        The table as text for a terminal, and the paths of the files.

    Raises:
        InputError: if a run cannot be read, or if the runs cannot be compared.
    """
    output = Path(output)
    runs = read_runs(folders, names)
    table = tables.comparison_table(runs)
    maps, reliability = draw_maps(runs, case, show), draw_reliability(runs)
    return tables.to_text(table), [
        write_text(output / "comparison.md", tables.to_markdown(table)),
        write_text(output / "comparison.csv", tables.to_csv(table)),
        *save_figure(reliability, output / "reliability"),
        *save_figure(maps, output / "maps"),
    ]
