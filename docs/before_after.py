"""Draws what twelve numbers change: the reliability of a network and its 5% contour, before and after.

It is of what ``nacl-monai demo --quick`` wrote::

    python docs/before_after.py runs/demo/quick docs/images/before_after.png
"""

import sys
from pathlib import Path

import numpy as np

from nacl_monai import read_audit
from nacl_monai.evaluations import Run
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.names import images_of_cases
from nacl_monai.predictions.options import Use, options_of
from nacl_monai.reports import reliability_curve, save_png
from nacl_monai.reports.style import OKABE_ITO, add_caption, house_style, new_figure
from nacl_monai.runs import TOP

SHARE = 0.05


def contour(probability: np.ndarray) -> np.ndarray:
    """The smallest set above a threshold that by the probabilities leaves out at most `SHARE`."""
    ordered = np.sort(probability, axis=None)[::-1]
    kept = np.searchsorted(np.cumsum(ordered), (1 - SHARE) * ordered.sum())
    return probability >= ordered[min(kept, len(ordered) - 1)]


def readings(demo: Path, **options: object) -> dict:
    """Case → its probabilities and labels, of the people who tested the network."""
    study = find(
        demo / "predictions/test",
        demo / "labels/test",
        options_of(Use.AUDIT, {"patients": demo / "patients.csv", **options}),
    )
    return {case.name: study.read(case) for case in study.cases}


def foreground(reading: object) -> tuple[np.ndarray, np.ndarray]:
    """The probability of any structure, and where one is labeled."""
    return 1 - reading.probs[0].numpy(), reading.labels[0].classes.numpy() > 0


def missed(reading: object) -> float:
    """The share of the label that is outside the contour."""
    probability, label = foreground(reading)
    return float(1 - contour(probability)[label].mean())


def draw_reliability(axis: object, run: Run, color: str) -> None:
    """How often the network is right, by what it says."""
    curve = reliability_curve(run, "near", TOP)
    axis.plot([0, 1], [0, 1], color="gray", linestyle="--", linewidth=1)
    shown = curve.share > 0.001
    axis.plot(curve.confidence[shown], curve.accuracy[shown], "o-", color=color, linewidth=2)
    axis.set(xlim=(0.35, 1), ylim=(0.35, 1), xlabel="it says", ylabel="it is right", aspect="equal")


def draw_contour(axis: object, reading: object, image: np.ndarray, color: str) -> None:
    """Label and contour on the image, in the plane with most of the label."""
    probability, label = foreground(reading)
    plane = int(label.sum((0, 2)).argmax())
    inside = np.argwhere(label[:, plane])
    (z, x), (top, right) = inside.min(0).clip(6) - 6, inside.max(0) + 7
    window = np.s_[z:top, plane, x:right]
    axis.imshow(image[window], cmap="gray", origin="lower")
    axis.contour(label[window], [0.5], colors=OKABE_ITO["green"], linewidths=2)
    axis.contour(contour(probability)[window], [0.5], colors=color, linewidths=2, linestyles="--")
    axis.set(xticks=[], yticks=[])


def main(demo: Path, picture: Path) -> None:
    """Draws both rows; the case is that of the median that is missed before."""
    before, after = (
        readings(demo, **options)
        for options in ({}, {"calibrator": demo / "calibrated/calibrator.json"})
    )
    case = sorted(before, key=lambda name: missed(before[name]))[len(before) // 2]
    image = before[case].image(images_of_cases(demo / "images/test", [case])[case])
    with house_style():
        figure = new_figure(3.4, width=10)
        axes = figure.subplots(1, 4)
        rows = (
            ("as trained", "audit", before, "vermillion"),
            ("twelve numbers behind it", "calibrated", after, "blue"),
        )
        for left, right, (name, folder, several, color) in zip(
            axes[::2], axes[1::2], rows, strict=True
        ):
            run = read_audit(demo / "report" / folder).run
            draw_reliability(left, run, OKABE_ITO[color])
            left.set_title(f"{name}\nECE {run.number('ece_near').mean:.3f}")
            draw_contour(right, several[case], image, OKABE_ITO[color])
            right.set_title(f"5% contour\nmisses {missed(several[case]):.1%}")
        add_caption(
            figure,
            "How often the network is right by what it says, near its prediction, in nine people; label "
            f"(green) and the contour that by probabilities leaves out {SHARE:.0%}, in the median case, "
            f"{case}.",
        )
    save_png(figure, picture)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
