"""What σ, the network and the number of training patients change: the paper's figures 7 to 9."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.paper.grid import SIGMAS, method
from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import NETWORK_LABELS, dataset_label
from nacl_monai.paper.results import Results
from nacl_monai.paper.scatter import LOSS_STYLES, loss_key
from nacl_monai.reports.style import OKABE_ITO, WIDTH, add_caption, house_style, new_figure

PANELS = (("dice", "DSC ↑"), ("ece_foreground", "ECE ↓"))
BETTER, WORSE = OKABE_ITO["blue"], OKABE_ITO["orange"]


def draw_sigma(results: Results) -> tuple[Figure, pd.DataFrame]:
    """By how many percent NACL with a Gaussian prior beats SVLS with the same σ (figure 7).

    Returns:
        The figure and its numbers.
    """
    means = mean_scores(results, [column for column, _ in PANELS])
    found = means.set_index(["dataset", "column", "method"])["mean"]
    names = results.datasets
    rows = []
    for name in names:
        for column, _ in PANELS:
            for sigma in SIGMAS:
                svls = found.get((name, column, method("svls", sigma=sigma).name), np.nan)
                nacl = found.get(
                    (name, column, method("nacl", prior="gaussian", sigma=sigma).name), np.nan
                )
                gain = (nacl - svls) if column == "dice" else (svls - nacl)
                rows.append((name, column, sigma, svls, nacl, 100 * gain / svls))
    table = pd.DataFrame(rows, columns=["dataset", "column", "sigma", "svls", "nacl", "percent"])
    with house_style():
        figure = new_figure(len(SIGMAS) * (0.32 * len(names) + 0.6) + 1.4, WIDTH)
        panels = figure.subplots(len(SIGMAS), 2, sharex="col", sharey=True, squeeze=False)
        for line, sigma in zip(panels, SIGMAS, strict=True):
            for axes, (column, label) in zip(line, PANELS, strict=True):
                of = table[(table["sigma"] == sigma) & (table["column"] == column)]
                values = of["percent"].to_numpy()
                bars = axes.barh(
                    [dataset_label(name) for name in of["dataset"]],
                    np.nan_to_num(values),
                    color=[BETTER if value >= 0 else WORSE for value in values],
                    edgecolor="0.2",
                )
                texts = ["" if np.isnan(value) else f"{value:+.1f} %" for value in values]
                axes.bar_label(bars, texts, padding=3, fontsize=8.5)
                axes.axvline(0, color="black", linewidth=1)
                axes.margins(x=0.3)
                axes.set_title(f"{label}, σ = {sigma:g}")
        panels[0, 0].invert_yaxis()
        for axes in panels[-1]:
            axes.set_xlabel("NACL better by (%)")
        add_caption(
            figure,
            "Relative difference between NACL with a Gaussian prior and SVLS of the same σ; to the "
            "right NACL is better. Means over test patients.",
        )
    return figure, table


def draw_backbones(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC and ECE of SVLS, MbLS and NACL for every network, one row per dataset (figure 8).

    Returns:
        The figure and its numbers.
    """
    means = mean_scores(results, [column for column, _ in PANELS])
    networks = [name for name in NETWORK_LABELS if name in results.networks]
    losses = [way.loss for way in results.methods]
    width = 0.8 / len(losses)
    with house_style():
        figure = new_figure(3.0 * len(results.datasets) + 1.0, WIDTH)
        panels = figure.subplots(len(results.datasets), 2, squeeze=False)
        for line, name in zip(panels, results.datasets, strict=True):
            for axes, (column, label) in zip(line, PANELS, strict=True):
                of = means[(means["dataset"] == name) & (means["column"] == column)]
                for k, loss in enumerate(losses):
                    row = of[of["method"] == loss].set_index("network").reindex(networks)
                    axes.errorbar(
                        np.arange(len(networks)) + (k - (len(losses) - 1) / 2) * width,
                        row["mean"],
                        yerr=[row["mean"] - row["low"], row["high"] - row["mean"]],
                        linestyle="",
                        markersize=9,
                        markeredgecolor="0.2",
                        ecolor="0.5",
                        **LOSS_STYLES[loss],
                    )
                axes.set_xticks(range(len(networks)), [NETWORK_LABELS[n] for n in networks])
                axes.set_xlim(-0.6, len(networks) - 0.4)
                axes.set_title(f"{dataset_label(name)}: {label}")
        figure.legend(handles=loss_key(losses), loc="outside upper center", ncols=8)
        add_caption(figure, "Mean over test patients with 95 % intervals by bootstrap.")
    return figure, means


def draw_fractions(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC and ECE over the share of the training patients, one row per dataset (figure 9).

    Returns:
        The figure and its numbers.
    """
    means = mean_scores(results, [column for column, _ in PANELS])
    losses = [way.loss for way in results.methods]
    with house_style():
        figure = new_figure(3.2 * len(results.datasets) + 1.0, WIDTH)
        panels = figure.subplots(len(results.datasets), 2, squeeze=False)
        for line, name in zip(panels, results.datasets, strict=True):
            for axes, (column, label) in zip(line, PANELS, strict=True):
                of = means[(means["dataset"] == name) & (means["column"] == column)]
                for loss in losses:
                    row = of[of["method"] == loss].sort_values("fraction")
                    axes.plot(
                        100 * row["fraction"],
                        row["mean"],
                        markersize=8,
                        markeredgecolor="0.2",
                        **LOSS_STYLES[loss],
                    )
                axes.set_xticks(sorted(100 * of["fraction"].unique()))
                axes.set_xlabel("Training patients (%)")
                axes.set_title(f"{dataset_label(name)}: {label}")
        figure.legend(handles=loss_key(losses, linestyle="-"), loc="outside upper center", ncols=8)
        add_caption(figure, "Mean over test patients.")
    return figure, means
