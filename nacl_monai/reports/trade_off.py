"""What calibration changes in each region: what helps in one can harm in another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.reports.evaluated import Run
from nacl_monai.reports.statistics import COVERAGE
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    house_style,
    new_figure,
    save_figure,
)

_COLORS = ("black", *(OKABE_ITO[name] for name in ("blue", "vermillion", "green", "purple")))
# Between the runs of a region, of the distance between regions.
_STEP = 0.16


def draw_trade_off(runs: Sequence[Run]) -> Figure:
    """The ECE of every region, one point per run, with its 95 % interval.

    Args:
        runs: The same cases without and with calibrators; the first is what the others change.
    """
    regions = runs[0].bins.regions
    with house_style():
        figure = new_figure(height=0.55 * len(regions) + 1.6, width=WIDTH * 0.75)
        axes = figure.subplots()
        for number, run in enumerate(runs):
            _draw_run(axes, run, regions, number)
        places = [-place - _STEP * (len(runs) - 1) / 2 for place in range(len(regions))]
        axes.set_yticks(places, [region.replace("_", ", ", 1) for region in regions])
        axes.set_xlim(left=0)
        axes.set_xlabel("ECE")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper center", ncols=len(runs))
        add_caption(
            figure,
            f"Mean over {len(runs[0].cases)} {runs[0].of.cases} with the {COVERAGE:.0%} interval over "
            f"{runs[0].unit}; further left is better calibrated.",
        )
    return figure


def _draw_run(axes: Axes, run: Run, regions: Sequence[str], number: int) -> None:
    color = _COLORS[number % len(_COLORS)]
    means = [run.mean(run.metrics[f"ece_{region}"]) for region in regions]
    places = [-place - _STEP * number for place in range(len(regions))]
    for mean, place in zip(means, places, strict=True):
        axes.hlines(place, *mean.interval(), color=color, linewidth=2)
    axes.plot(
        [mean.mean for mean in means],
        places,
        label=run.name,
        color=color,
        linestyle="",
        marker="o",
        markersize=7,
        markerfacecolor=color if number else "white",
    )


def trade_off_text(before: Run, after: Run) -> str:
    """What a calibrator changes, a line per region: the difference of the ECE with its interval.

    Args:
        before: Without it.
        after: The same cases with it.
    """
    lines = [f"Change of the ECE from {before.name} to {after.name} [95 % interval], by region:"]
    for region in before.bins.regions:
        column = f"ece_{region}"
        change = before.mean(after.metrics[column] - before.metrics[column])
        lines.append(f"  {region.replace('_', ', ', 1)}: {change.text()}")
    return "\n".join(lines)


def write_trade_off(runs: Sequence[Run], output: str | Path) -> list[Path]:
    """Writes ``trade_off.png`` and ``.svg``; returns the two paths.

    Args:
        runs: As for `draw_trade_off`.
        output: Folder for the figure.

    Raises:
        InputError: If a file cannot be written.
    """
    return save_figure(draw_trade_off(runs), Path(output) / "trade_off")
