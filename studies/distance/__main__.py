"""``python -m studies.distance DATA RUN …``: how a temperature should depend on the predicted border.

Settings are tried on the validation people of each run: fitted to three quarters of them, judged on the
others, so that everybody is judged. The rule was set before: the smallest NLL over all voxels, with the
ECE near the prediction no worse.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import torch

from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.metrics.regions import border_distances, region_mask
from nacl_monai.posthoc.distance import KNOTS
from nacl_monai.runs import RunFolder
from studies.fits.__main__ import Scan, scans
from studies.runs import parser_of_runs

MARGINS = (0.0, 1.0, 2.5, 5.0, 9.0)
PEOPLE = (2, 4, 8, 16, 25)
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """A way to let the temperature depend on where a voxel is.

    Attributes:
        knots: Distances; one of them is one temperature.
        unit: "mm"; "voxels"; or "plane", mm within a slice.
        ridge: On the knots around their mean, relative to the NLL at T = 1.
        axes: "distance"; the "margin" between the two largest logits; their "sum"; or their "grid".
        by_class: Whether each predicted class has a curve.
        inverse: Whether 1/T is linear between knots in place of log T.
        bias: Whether each class has a bias, too.
    """

    knots: tuple[float, ...] = KNOTS
    unit: str = "mm"
    ridge: float = 0.01
    axes: str = "distance"
    by_class: bool = False
    inverse: bool = False
    bias: bool = False

    def features(self, scan: Scan) -> torch.Tensor:
        """The features in which log T is linear, ``(voxels, parameters)``."""
        sizes = {"mm": scan.spacing, "voxels": (1.0,) * 3, "plane": (*scan.spacing[:2], 1e6)}
        prediction = scan.logits.max(0)[1]
        distances = border_distances(prediction[None], self.knots[-1], [*sizes[self.unit]])
        found = hats(distances.flatten(), self.knots)
        if self.axes != "distance":
            first, second = scan.logits.flatten(1).topk(2, 0).values
            margin = hats(first - second, MARGINS)
            grid = (found[:, :, None] * margin[:, None]).flatten(1)
            both = torch.cat([found, margin[:, 1:]], 1)
            found = {"margin": margin, "sum": both, "grid": grid}[self.axes]
        if self.by_class:
            of_class = torch.nn.functional.one_hot(prediction.flatten(), len(scan.logits))
            found = (found[:, :, None] * of_class[:, None]).flatten(1)
        return found


def hats(values: torch.Tensor, knots: Sequence[float]) -> torch.Tensor:
    """Each knot's share in each voxel, ``(n, K)``."""
    if len(knots) == 1:
        return torch.ones(len(values), 1)
    places = torch.tensor(knots)
    shares = ((values[:, None] - places[:-1]) / places.diff()).clamp(0, 1)
    ones, zeros = torch.ones(len(values), 1), torch.zeros(len(values), 1)
    return -torch.cat([ones, shares, zeros], 1).diff(dim=1)


@dataclass(frozen=True)
class Sample:
    """Voxels of a scan."""

    logits: torch.Tensor
    labels: torch.Tensor
    features: torch.Tensor
    near: torch.Tensor

    def calibrated(self, setting: Setting, theta: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits behind a setting, and 1/T."""
        classes = self.logits.shape[1] if setting.bias else 0
        curve = self.features @ theta[: len(theta) - classes]
        inverse = curve if setting.inverse else (-curve).exp()
        bias = theta[len(theta) - classes :] if classes else 0.0
        return self.logits * inverse[:, None] + bias, inverse


def fit(setting: Setting, of_people: Sequence[Sequence[Sample]]) -> torch.Tensor:
    """The parameters of the smallest mean NLL with the ridge; each person weighs the same."""
    sample = of_people[0][0]
    count, classes = sample.features.shape[1], sample.logits.shape[1] * setting.bias

    def objective(theta: Array) -> tuple[float, Array]:
        values, total, slopes = torch.from_numpy(theta).float(), 0.0, np.zeros(len(theta))
        for samples in of_people:
            weight = 1 / sum(len(part.labels) for part in samples) / len(of_people)
            for part in samples:
                logits, inverse = part.calibrated(setting, values)
                logs = logits.log_softmax(1)
                total -= weight * logs.gather(1, part.labels[:, None]).double().sum().item()
                surplus = logs.exp() - torch.nn.functional.one_hot(part.labels, logs.shape[1])
                by_inverse = (surplus * part.logits).sum(1)
                by_curve = by_inverse if setting.inverse else -inverse * by_inverse
                parts = [part.features.T @ by_curve, *([surplus.sum(0)] if classes else [])]
                slopes += weight * torch.cat(parts).double().numpy()
        around = theta[:count] - theta[:count].mean()
        ridge = setting.ridge * unit
        slopes[:count] += ridge * around
        return (total + ridge / 2 * (around**2).sum()) / unit, slopes / unit

    unit = 1.0
    start = np.concatenate([np.full(count, float(setting.inverse)), np.zeros(classes)])
    unit = objective(start)[0]
    low = 0.02 if setting.inverse else -4.0
    bounds = [(low, 50.0 if setting.inverse else 4.0)] * count + [(-1.0, 1.0)] * classes
    how: dict[str, Any] = {"method": "L-BFGS-B", "options": {"gtol": 1e-4, "ftol": 1e-8}}
    found: Any = scipy.optimize.minimize(objective, start, jac=True, bounds=bounds, **how)
    return torch.from_numpy(found.x).float()


def samples_of(several: Sequence[Scan], setting: Setting, share: float) -> dict[str, list[Sample]]:
    """A share of each scan's voxels, by person."""
    found: dict[str, list[Sample]] = {}
    for number, scan in enumerate(several):
        logits, labels = scan.logits.flatten(1).T.contiguous(), scan.label.flatten().long()
        prediction = scan.logits.max(0)[1][None]
        near = region_mask("near", scan.label.long(), prediction, spacing=scan.spacing)
        drawn = torch.rand(len(labels), generator=torch.Generator().manual_seed(number)) < share
        parts = (logits, labels, setting.features(scan), near.flatten())
        found.setdefault(scan.patient, []).append(Sample(*(part[drawn] for part in parts)))
    return found


def judged(
    setting: Setting, theta_of: Callable[[str], torch.Tensor], people: dict[str, list[Sample]]
) -> tuple[float, float]:
    """The mean NLL over people, and the ECE near the prediction, pooled over all."""
    nll, bins = [], torch.zeros(15, 2, dtype=torch.float64)
    for person, samples in people.items():
        total, voxels = 0.0, 0
        for sample in samples:
            logits, _ = sample.calibrated(setting, theta_of(person))
            nll_of = torch.nn.functional.cross_entropy(logits, sample.labels, reduction="sum")
            total += nll_of.item()
            voxels += len(sample.labels)
            confidence, predicted = logits[sample.near].softmax(1).max(1)
            surplus = confidence - (predicted == sample.labels[sample.near]).float()
            place = (confidence * 15).long().clamp(max=14)
            bins[:, 0].index_add_(0, place, surplus.double())
            bins[:, 1].index_add_(0, place, torch.ones_like(surplus).double())
        nll.append(total / voxels)
    return float(np.mean(nll)), float(bins[:, 0].abs().sum() / bins[:, 1].sum())


def cross_fitted(setting: Setting, several: Sequence[Scan], share: float) -> tuple[float, float]:
    """The numbers of a setting for people outside its fit."""
    sampled, people = samples_of(several, setting, share), samples_of(several, setting, 1.0)
    drawn = np.random.default_rng(0).permutation(sorted(people)).tolist()
    theta: dict[str, torch.Tensor] = {}
    for fold in range(4):
        fitting = [sampled[person] for k, person in enumerate(drawn) if k % 4 != fold]
        theta |= dict.fromkeys(drawn[fold::4], fit(setting, fitting))
    return judged(setting, theta.__getitem__, people)


def of_few(
    setting: Setting, people: dict[str, list[Sample]], count: int, draws: int
) -> tuple[float, float]:
    """The mean over draws of so many people for the fit, whom the others judge."""
    found = []
    for seed in range(draws):
        drawn = np.random.default_rng(seed).permutation(sorted(people)).tolist()
        theta = fit(setting, [people[person] for person in drawn[:count]])
        judges = {person: people[person] for person in drawn[count:]}
        found.append(judged(setting, lambda _, theta=theta: theta, judges))  # type: ignore[misc]
    nll, ece = np.mean(found, 0)
    return nll, ece


RIDGES = (0.0, 1e-3, 3e-3, 0.01, 0.03, 0.1)
#: What is tried, by what is said of it.
TRIED = {
    "nothing": None,
    "one temperature": Setting(knots=(0.0,)),
    **{f"ridge {ridge:g}": Setting(ridge=ridge) for ridge in RIDGES},
    "1/T linear": Setting(inverse=True),
    "distance in voxels": Setting(unit="voxels"),
    "distance within the slice": Setting(unit="plane"),
    "knots 0, 8": Setting((0.0, 8.0)),
    "knots 0, 3, 8": Setting((0.0, 3.0, 8.0)),
    "knots 0, 1, 3, 8": Setting((0.0, 1.0, 3.0, 8.0)),
    "knots 0, 1, 2, 3, 5": Setting((0.0, 1.0, 2.0, 3.0, 5.0)),
    "knots 0, 1, 2, 3, 5, 8, 12": Setting((*KNOTS, 12.0)),
    "knots 0, 1, …, 8": Setting(tuple(map(float, range(9)))),
    "a curve for each predicted class": Setting(by_class=True),
    "a bias beside it": Setting(bias=True),
    "margin of the logits alone": Setting(axes="margin"),
    "margin added": Setting(axes="sum"),
    "margin and distance as a grid": Setting(axes="grid"),
}


def rows(several: Sequence[Scan], share: float, draws: int) -> Iterator[list[str]]:
    """Each setting, its NLL over all voxels and its ECE near the prediction."""
    for name, setting in TRIED.items():
        if setting is None:
            people = samples_of(several, Setting((0.0,)), 1.0)
            nll, ece = judged(Setting((0.0,)), lambda _: torch.zeros(1), people)
        else:
            nll, ece = cross_fitted(setting, several, share)
        yield [name, f"{nll:.4f}", f"{ece:.4f}"]
    sampled = samples_of(several, Setting(), share)
    for count in (count for count in PEOPLE if count < len(sampled)):
        for ridge in RIDGES:
            nll, ece = of_few(Setting(ridge=ridge), sampled, count, draws)
            yield [f"{count} people, ridge {ridge:g}", f"{nll:.4f}", f"{ece:.4f}"]


def main() -> None:
    """Prints a table in Markdown for each run."""
    parser = parser_of_runs("studies.distance", __doc__)
    parser.add_argument("--share", type=float, default=0.1, help="of the voxels in a fit")
    parser.add_argument("--draws", type=int, default=5, help="of few people")
    chosen = parser.parse_args()
    for path in chosen.runs:
        several, _ = scans(RunFolder(path), chosen.data, chosen.cache)
        found = []
        for row in rows(several, chosen.share, chosen.draws):
            found.append(row)
            sys.stderr.write(f"{path.name} {row}\n")
        sys.stdout.write(f"## {path.name}\n\n")
        head = ["setting", "NLL, all voxels", "ECE near the prediction"]
        sys.stdout.write(markdown_table(head, found, "lrr") + "\n\n")


if __name__ == "__main__":
    main()
