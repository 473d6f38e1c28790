"""``python -m studies.ruler``: the picture of ``docs/calibration.md``, drawn of true probabilities.

A model that knows the true probabilities is calibrated. Where the label decides which voxels count, its
reliability diagram says otherwise; where the prediction decides, it does not.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.cli import write_files
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.metrics.pooled import Pooled, pooled_error
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    house_style,
    new_figure,
    save_png,
)
from tests.metrics.simulated_truth import simulated

#: Images, and the standard deviation of their borders in voxels.
IMAGES, SPREAD = 300, 2
PICTURE = Path("docs/images/true_probabilities.png")
PANELS = {
    "The label decides which voxels count": ("foreground", "union", "boundary"),
    "The prediction decides which voxels count": ("near", "predicted", "predicted_boundary"),
}
LOOKS = (("vermillion", "o"), ("blue", "s"), ("green", "^"))


class Curve(NamedTuple):
    """The calibration of the true probabilities over a region.

    Attributes:
        confidence: The mean of each bin with a voxel, all images together.
        accuracy: The share of right voxels in it.
        error: The ECE of all images together.
        mean_error: The mean of the images' own ECEs.
    """

    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: Pooled
    mean_error: float


def curves() -> dict[str, Curve]:
    """Those of all voxels and of each region of the picture."""
    regions = ["all", *(region for panel in PANELS.values() for region in panel)]
    truth = simulated(IMAGES, SPREAD)
    metric = CalibrationMetric(errors=["ece"], regions=regions)
    for start in range(0, IMAGES, 50):
        images = slice(start, start + 50)
        metric(truth.probs()[images], truth.labels[images])
    means = metric.case_errors()["ece"].nanmean(0).tolist()
    found = {}
    for k, region in enumerate(regions):
        bins = metric.case_bins()[:, k, 0]
        sums = (bins.counts, bins.confidences, bins.positives)
        counts, confidences, positives = (part.sum(0).double().numpy() for part in sums)
        there = counts > 0
        confidence, accuracy = (part[there] / counts[there] for part in (confidences, positives))
        found[region] = Curve(confidence, accuracy, pooled_error(bins), means[k])
    return found


def draw(found: dict[str, Curve]) -> Figure:
    """Reliability over the regions of the label and over those of the prediction, side by side."""
    with house_style():
        figure = new_figure(height=4.6, width=WIDTH)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for ax, (title, regions) in zip(panels, PANELS.items(), strict=True):
            _draw_panel(ax, title, {region: found[region] for region in regions})
        panels[0].set_ylabel("Accuracy: the share of right voxels")
        add_caption(
            figure,
            f"True probabilities of {IMAGES} simulated images, all images together. The dashed line is "
            "a calibrated model.",
        )
    return figure


def _draw_panel(ax: Axes, title: str, found: dict[str, Curve]) -> None:
    ax.set_title(title)
    ax.plot([0.5, 1], [0.5, 1], color="black", linestyle="--", linewidth=1)
    for (region, curve), (color, marker) in zip(found.items(), LOOKS, strict=True):
        look = {"color": OKABE_ITO[color], "marker": marker, "markersize": 5, "linewidth": 1.4}
        label = f"{region}: ECE {curve.error.value:.3f}"
        ax.plot(curve.confidence, curve.accuracy, label=label, **look)
    ax.set_xlabel("Confidence: the probability of the predicted class")
    ax.legend(loc="upper left")


def write(output: Path) -> Iterator[Path]:
    """Writes the picture."""
    save_png(draw(curves()), output)
    yield output


def main(argv: Sequence[str] | None = None) -> int:
    """Draws the picture; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.ruler", description=__doc__)
    parser.add_argument("--output", type=Path, default=PICTURE, help=f"default: {PICTURE}")
    return write_files(lambda: write(parser.parse_args(argv).output))


if __name__ == "__main__":
    sys.exit(main())
