"""``python -m studies.labels DATA RUN …``: labels that are wrong, slices to correct, mean volumes.

Nobody whom the network was trained on is looked at. Each person is behind `distance`, fitted to the
other half. A tenth of the cases gets a wrong label (`studies.labels.faults`), and somebody looks at a
tenth, by each score; found is the share of wrong labels among them, over many draws. The best score in
the mean over networks and data sets is to be taken. `studies.labels.slices` corrects a fifth of the
slices, and `studies.labels.means` draws people again and again; both are of the same probabilities.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from nacl_monai.evaluations.statistics import estimate
from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.inference.promised import MM3_PER_ML
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.metrics.decisions import structure_decisions
from nacl_monai.runs import RunFolder
from studies.fits.__main__ import Scan, calibrated, scans
from studies.labels import means
from studies.labels.faults import FAULTS
from studies.labels.means import coverage
from studies.labels.slices import ORDERS, corrected
from studies.runs import parser_of_runs

#: Larger where a label looks wrong.
SCORES = (
    *("surprise", "its Dice alone", "its volume alone", "1 − Dice", "ECE near", "soft minimum"),
    "chance",
)
SPOILED, DRAWS, RESAMPLED = 0.1, 50, 200
_SOFTNESS = 0.1  # cleanlab's default
Array = npt.NDArray[np.float64]


def unseen(run: Path, data: Path, cache: Path) -> tuple[list[Scan], dict[str, list[int]]]:
    """The scans of all whom a run was not trained on, and the structures."""
    sets = [scans(RunFolder(run), data, cache, cases) for cases in ("val", "test")]
    return [*sets[0][0], *sets[1][0]], sets[0][1]


def scored(
    probs: torch.Tensor,
    labels: torch.Tensor,
    structures: dict[str, list[int]],
    spacing: tuple[float, ...],
) -> list[float]:
    """All but the last of `SCORES` of a case with a label map, ``(1, *spatial)``."""
    volumes = structure_decisions(probs[None], labels[None], structures, spacing=spacing)
    dice = volumes.dice()
    metric = CalibrationMetric(errors=["ece"], regions=["near"], margin_spacing=spacing)
    metric(probs[None], labels[None])
    of_label = probs.gather(0, labels.long())[0].flatten().double()
    soft = (of_label @ ((1 - of_label) / _SOFTNESS).softmax(0)).item()
    of_volume = (volumes.expected - volumes.labeled).abs() / (volumes.expected + volumes.labeled)
    return [
        volumes.surprise().amax().item(),
        (volumes.expected_dice() - dice).nan_to_num(0).amax().item(),
        of_volume.nan_to_num(0).amax().item(),
        1 - dice.nan_to_num(0 if (labels > 0).any() else 1).amin().item(),
        metric.case_errors()["ece"][0, 0].item(),
        1 - soft,
    ]


def volumes_of(
    probs: torch.Tensor, label: torch.Tensor, structures: dict[str, list[int]], voxel: float
) -> Iterator[dict[str, float | str]]:
    """The rows of ``volumes.csv`` of a case, in ml."""
    predicted = probs.argmax(0)
    for name, classes in structures.items():
        counts = (
            torch.isin(part, torch.tensor(classes)).sum().item() for part in (label, predicted)
        )
        expected = probs[classes].sum(dtype=torch.float64).item()
        sizes = zip(("labeled", "predicted", "expected"), (*counts, expected), strict=True)
        yield {"structure": name, **{key: round(size * voxel, 6) for key, size in sizes}}


def of_network(
    several: Sequence[Scan], probs: Sequence[torch.Tensor], structures: dict[str, list[int]]
) -> Array:
    """Scores ``(cases, 1 + faults, scores)``; the first are those of the labels as they are."""
    drawn, rows = np.random.default_rng(0), []
    maps = [scan.label[0].long().numpy() for scan in several]
    for k, (scan, inside) in enumerate(zip(several, probs, strict=True)):
        rest = [place for place, each in enumerate(several) if each.patient != scan.patient]
        other = maps[drawn.choice(rest)]
        tried = [maps[k], *(fault(maps[k], other, drawn) for fault in FAULTS.values())]
        wrong = (torch.from_numpy(labels)[None] for labels in tried)
        rows.append([scored(inside, part, structures, scan.spacing) for part in wrong])
        sys.stderr.write(f"\r{k + 1} of {len(several)}")
    return np.array(rows)


def found(scores: Array, chosen: npt.NDArray[np.intp], drawn: np.random.Generator) -> Array:
    """The share of wrong labels that each score finds, by fault and, in the end, of all.

    Args:
        scores: Those of `of_network`.
        chosen: The cases; some may be there several times.
        drawn: What chance draws.
    """
    number = max(1, round(SPOILED * len(chosen)))
    hits = np.zeros((2, len(SCORES), len(FAULTS)))
    for _ in range(DRAWS):
        spoiled = drawn.permutation(len(chosen))[:number]
        kinds = np.zeros(len(chosen), int)
        kinds[spoiled] = 1 + drawn.integers(len(FAULTS), size=number)
        values = scores[chosen, kinds]
        values = np.column_stack([values, drawn.random(len(chosen))])
        for place, column in enumerate(values.T):
            looked = np.argsort(-column, kind="stable")[:number]
            np.add.at(hits[0, place], kinds[looked][kinds[looked] > 0] - 1, 1)
            np.add.at(hits[1, place], kinds[spoiled] - 1, 1)
    with np.errstate(invalid="ignore"):
        return np.column_stack([hits[0] / hits[1], hits[0].sum(1) / hits[1].sum(1)])


def table(scores: Array, patients: Sequence[str]) -> list[list[str]]:
    """A row for each score: of all faults, how much more surprise finds, and by fault.

    Intervals are over people.
    """
    drawn, owners = np.random.default_rng(0), np.array(patients)
    people = np.unique(owners)
    of_people = {name: np.flatnonzero(owners == name) for name in people}
    resampled = []
    for _ in range(RESAMPLED):
        names = drawn.choice(people, len(people))
        resampled.append(found(scores, np.concatenate([of_people[n] for n in names]), drawn))
    values = np.mean([found(scores, np.arange(len(owners)), drawn) for _ in range(40)], 0)
    shares = np.array([each[:, -1] for each in resampled])
    ends = np.quantile(shares, [0.025, 0.975], axis=0).T
    more = np.quantile(shares[:, :1] - shares, [0.025, 0.975], axis=0).T
    return [
        [
            name,
            f"{v[-1]:.0%} [{low:.0%}, {high:.0%}]",
            f"{values[0, -1] - v[-1]:+.0%} [{less:+.0%}, {most:+.0%}]" if k else "",
            *(f"{share:.0%}" for share in v[:-1]),
        ]
        for k, (name, v, (low, high), (less, most)) in enumerate(
            zip(SCORES, values, ends, more, strict=True)
        )
    ]


def sizes(volumes: pd.DataFrame) -> list[list[str]]:
    """By what share of the mean labeled volume a case's is off, predicted and expected, over people."""
    rows = []
    for key, of_it in volumes.groupby(["network", "structure"], sort=False):
        off = of_it[["predicted", "expected"]].sub(of_it["labeled"], axis=0).abs()
        people = (off / of_it["labeled"].mean()).groupby(of_it["person"]).mean()
        less = people["expected"] - people["predicted"]
        scores = [people[["predicted"]], people[["expected"]], less.to_frame()]
        rows.append([*map(str, key), *(estimate([part.to_numpy()]).text() for part in scores)])
    return rows


def main() -> None:
    """Writes three tables to a folder, and prints what follows from them in Markdown."""
    parser = parser_of_runs("studies.labels", __doc__)
    parser.add_argument("--output", type=Path, default=Path("labels"))
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[Any]] = {name: [] for name in ("scores", "slices", "volumes")}
    for path in chosen.runs:
        several, structures = unseen(path, chosen.data, chosen.cache)
        patients = [scan.patient for scan in several]
        probs = [logits.softmax(0) for logits in calibrated(several, "distance")]
        scores = of_network(several, probs, structures)
        for k, kind in enumerate(["as it is", *FAULTS]):
            part = pd.DataFrame(scores[:, k].round(5), columns=SCORES[:-1])
            tables["scores"].append(part.assign(network=path.name, person=patients, label=kind))
        drawn = np.random.default_rng(0)
        for scan, inside in zip(several, probs, strict=True):
            beside = {"network": path.name, "person": scan.patient}
            label = scan.label[0].long()
            dice = corrected(inside, label, structures, scan.spacing, drawn)
            row = dict(zip(("as it is", *ORDERS), np.round(dice, 5).tolist(), strict=True))
            tables["slices"].append(pd.DataFrame([beside | row]))
            sizes = volumes_of(inside, label, structures, float(np.prod(scan.spacing)) / MM3_PER_ML)
            tables["volumes"].append(pd.DataFrame([beside | row for row in sizes]))
    for name, parts in tables.items():
        pd.concat(parts).to_csv(chosen.output / f"{name}.csv", index=False)
    sys.stdout.write("\n\n".join(pages(chosen.output)) + "\n")


def pages(folder: Path) -> Iterator[str]:
    """The tables in Markdown, from the three files of a folder."""
    scores, slices, volumes = (
        pd.read_csv(folder / f"{name}.csv") for name in ("scores", "slices", "volumes")
    )
    rows: list[list[str]] = []
    for network, of_it in scores.groupby("network", sort=False):
        kinds = [of_it[of_it["label"] == kind] for kind in ("as it is", *FAULTS)]
        values = np.stack([part[[*SCORES[:-1]]].to_numpy() for part in kinds], 1)
        rows += [[str(network), *row] for row in table(values, kinds[0]["person"].tolist())]
    header = ["network", "score", "found", "surprise finds more", *FAULTS]
    yield markdown_table(header, rows, "ll" + "r" * (len(header) - 2))
    rows = []
    for network, of_it in slices.groupby("network", sort=False):
        people = of_it.drop(columns="network").groupby("person").mean()
        texts = [estimate([people[[name]].to_numpy()]).text() for name in people]
        more = [
            estimate([(people["doubt"] - people[name]).to_numpy()[:, None]])
            for name in ("area", "chance")
        ]
        rows.append([str(network), *texts, *(each.text() for each in more)])
    header = ["network", "as it is", *ORDERS, "doubt − area", "doubt − chance"]
    yield markdown_table(header, rows, "l" + "r" * (len(header) - 1))
    header = ["network", "structure", "predicted", "expected", "expected − predicted"]
    yield markdown_table(header, sizes(volumes), "llrrr")
    found = []
    for _, of_it in volumes.groupby(["network", "structure"], sort=False):
        people = of_it[["person", "labeled", "predicted"]].groupby("person").mean()
        found.append(coverage(*people.to_numpy().T))
    yield markdown_table(
        ["interval", "labels", "covers", "width"], means.rows(np.array(found)), "lrrr"
    )


if __name__ == "__main__":
    main()
