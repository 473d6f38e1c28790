"""Each table and figure of the paper from the runs of a grid, written by one call."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.errors import InputError
from nacl_monai.files import write_text
from nacl_monai.paper import ablations, heatmaps, radar, scatter, tables
from nacl_monai.paper.grid import Experiment
from nacl_monai.paper.names import method_label
from nacl_monai.paper.results import Results, read_results
from nacl_monai.paper.verdicts import verdict
from nacl_monai.reports.evaluated import Run, read_runs
from nacl_monai.reports.logits import draw_class_logits, draw_epoch_logits
from nacl_monai.reports.maps import draw_maps
from nacl_monai.reports.reliability import draw_reliability
from nacl_monai.reports.style import save_figure

TITLES = {
    "table1": "Segmentation: DSC and HD95 of every target",
    "table2": "Calibration: ECE and CECE over the ground-truth foreground",
    "table3": "NACL's prior: mean or Gaussian",
    "table4": "NACL's penalty: L1 or L2",
    "figure1": "DSC and ECE of every method",
    "figure2": "Ranks by two rules",
    "figure3": "NACL's penalty on logits or on softmax",
    "figure4": "Mean size of the logits per true class",
    "figure5": "Largest logit over the epochs of training",
    "figure6": "Three values of every hyper-parameter",
    "figure7": "NACL against SVLS with the same σ",
    "figure8": "Networks",
    "figure9": "Share of the training patients",
    "figure10": "DSC against calibration over prediction ∪ target",
    "figure11": "Predictions, confidence and reliability",
}

#: Figures of means over all seeds, each with its numbers.
_PLOTS: dict[str, Callable[[Results], tuple[Figure, pd.DataFrame]]] = {
    "figure1": radar.draw_tradeoff,
    "figure2": heatmaps.draw_ranks,
    "figure3": scatter.draw_softmax,
    "figure6": radar.draw_hyper_parameters,
    "figure7": ablations.draw_sigma,
    "figure8": ablations.draw_backbones,
    "figure9": ablations.draw_fractions,
    "figure10": scatter.draw_union,
}
#: Metrics that are tested between the methods of a table or figure.
_TESTED: dict[str, Sequence[str]] = {
    **{target: layout.metrics for target, layout in tables.LAYOUTS.items()},
    "figure10": ("ece_union", "cece_union"),
}
#: Figures of single runs, those of the first seed and fold, one file per dataset.
_PICTURES: dict[str, dict[str, Callable[[Sequence[Run]], Figure]]] = {
    "figure4": {"figure4": draw_class_logits},
    "figure5": {"figure5": draw_epoch_logits},
    "figure11": {"figure11_maps": draw_maps, "figure11_reliability": draw_reliability},
}


def write_target(
    target: str,
    roots: Sequence[str | Path],
    output: str | Path,
    *,
    datasets: Collection[str] = (),
    losses: Collection[str] = (),
    seeds: Collection[int] = (),
) -> list[Path]:
    """Writes a table or figure of the paper from whatever runs of it are there.

    Tables are ``<target>.md``, ``.csv`` and ``.tex``; figures are ``.png`` and ``.svg``, most with
    their numbers in ``.csv``. With tables and figure 10 come paired tests, ``<target>_tests.md`` and
    ``.csv``. ``<target>.json`` lists the files and the command.

    Args:
        target: a key of `TITLES`.
        roots: folders of runs, at any depth.
        output: where to.
        datasets: only these; by default all.
        losses: only these; by default all.
        seeds: only these; by default all.

    Returns:
        The paths of the files.

    Raises:
        InputError: there is no run to show, or one cannot be read.
    """
    output = Path(output)
    found = read_results(roots)
    results = found.select(target, datasets=datasets, losses=losses, seeds=seeds)
    if target.startswith("table"):
        files = _write_table(results, target, output)
    elif target in _PLOTS:
        figure, numbers = _PLOTS[target](results)
        files = [
            *save_figure(figure, output / target),
            write_text(output / f"{target}.csv", tables.to_csv(numbers)),
            *_write_tests(results, target, output),
        ]
    else:
        files = _write_pictures(results, target, output)
    command = ["python", "-m", "nacl_monai.paper", target, *map(str, roots)]
    command += ["--output", str(output)]
    for option, values in (("datasets", datasets), ("losses", losses), ("seeds", seeds)):
        command += [f"--{option}", *map(str, values)] if values else []
    manifest = {
        "target": target,
        "title": TITLES[target],
        "command": shlex.join(command),
        "files": [path.name for path in files],
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    return [*files, write_text(output / f"{target}.json", text)]


def write_all(roots: Sequence[str | Path], output: str | Path) -> list[Path]:
    """Writes every table and figure of which there are runs, and what they say: ``verdicts.md``.

    Raises:
        InputError: there is no run at all, or one cannot be read.
    """
    found = read_results(roots)
    files = []
    for target in TITLES:
        try:
            found.select(target)
        except InputError:
            continue
        files += write_target(target, roots, output)
    main = found.select("table1")
    said = [verdict(main.select("table1", datasets=[name]), name) for name in main.datasets]
    return [*files, write_text(Path(output) / "verdicts.md", "\n\n".join(said) + "\n")]


def first_runs(results: Results, dataset: str) -> list[Run]:
    """One run per method, of the first seed, fold, network and fraction."""
    chosen: dict[str, tuple[Experiment, Path]] = {}
    for experiment, folder in results.folders.items():
        if experiment.dataset == dataset:
            name = method_label(experiment.method)
            if name not in chosen or _order(experiment) < _order(chosen[name][0]):
                chosen[name] = experiment, folder
    return read_runs([folder for _, folder in chosen.values()], list(chosen))


def _order(experiment: Experiment) -> tuple[object, ...]:
    return (
        experiment.network != "unet",
        experiment.seed,
        [str(value) for _, value in experiment.settings],
    )


def _write_table(results: Results, target: str, output: Path) -> list[Path]:
    summary = tables.summarize(results, target)
    files = {
        f"{target}.md": tables.to_markdown(summary),
        f"{target}.csv": tables.to_csv(summary),
        f"{target}.tex": tables.to_latex(summary),
    }
    written = [write_text(output / name, text) for name, text in files.items()]
    return [*written, *_write_tests(results, target, output)]


def _write_tests(results: Results, target: str, output: Path) -> list[Path]:
    """Paired tests of what a table or figure shows, if it shows more than one method."""
    tests = tables.compare_methods(results, _TESTED.get(target, ()))
    if tests.empty:
        return []
    return [
        write_text(output / f"{target}_tests.md", tables.comparisons_to_markdown(tests)),
        write_text(output / f"{target}_tests.csv", tables.to_csv(tests)),
    ]


def _write_pictures(results: Results, target: str, output: Path) -> list[Path]:
    figures = {}
    for dataset in results.datasets:
        runs = first_runs(results, dataset)
        for stem, draw in _PICTURES[target].items():
            figures[f"{stem}_{dataset}"] = draw(runs)
    return [path for stem, figure in figures.items() for path in save_figure(figure, output / stem)]
