"""One evaluated run or audit as one HTML page that needs no network.

It says in plain words whether the probabilities are too high or too low, where, by how much, and
whether that is more than chance; then it shows the diagrams and the cases to look at.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai import reports
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import (
    DRAWN,
    PREFERRED,
    Run,
    by_rater,
    error_region,
    human_run,
    read_runs,
)
from nacl_monai.evaluations.tables import DOUBT, SUSPECTS, doubtful_labels, doubtful_text
from nacl_monai.files import check_folder
from nacl_monai.metrics import CalibrationBins, Pooled, direction, pooled_ratio
from nacl_monai.metrics.columns import AUDITED_ERRORS, AUDITED_SCORES, METRICS, Metric, shown_scores
from nacl_monai.metrics.decisions import MISS
from nacl_monai.metrics.regions import depends_on_labels
from nacl_monai.reports.style import data_source, png_source
from nacl_monai.reports.viewer import SEEN, Section, Viewed, write_sections
from nacl_monai.words import counted, interval_text, listed

_WORST = 10  # so many of the worst cases are listed
#: The place of an audit's folders in a command, if they are unknown.
_DATA = ("PREDICTIONS", "LABELS")
_Shown = Sequence[tuple[str, Metric, str]]
_ABOUT = (
    "A network gives every voxel a probability. It is calibrated if nine in ten of the voxels to which "
    "it gives 90% are right. This page says how far the probabilities in {} can be trusted."
)
_SHARE = (
    "The numbers are those against the share of the raters: a probability of 0.6 is right where three "
    "of five raters mark the voxel. A region is what is in it by any of them. The violet line in a "
    "diagram is the raters themselves: each of them, predicted by the share of the others."
)
_INTERVALS = (
    "Numbers in brackets are 95% intervals over {} (Student's t, or resampling of all cases together), "
    "cut off where no value can be. The model is called over- or underconfident only where the interval "
    "does not include 0."
)
_OF_DECISIONS = (
    "The 5% contour is the smallest that by its probabilities misses 5% of the structure: the share "
    "that it really misses, and its volume ÷ the structure's. The expected volume is the sum of the "
    "probabilities: its bias, and how far it is off in a case, as shares of the structure's. All within "
    "the margin around the prediction."
)
_OF_REGIONS = (
    "ECE: by how much the confidence in the predicted class is off. CECE: the same for the probability "
    "of every class, averaged. Where the label decides which voxels count, the last in the table, even "
    "true probabilities have an error: these numbers are for comparison with others' tables."
)
_OF_RATERS = (
    "The last line is not a model: the share of the other raters, taken as a probability, against each "
    "rater. Against the share, DSC is over the voxels on which all raters agree. Regions of a rater are "
    "those of that rater's labels."
)
_RISK = (
    "Whoever looks only at the most confident voxels should meet fewer errors: the further left, the "
    "lower the curve of a network that knows where it errs."
)


def write_pages(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    shown: str | Path | None = None,
) -> list[Path]:
    """Writes ``<name>.html`` of every evaluated run or audit; returns the paths.

    Args:
        folders: Run folders, or those of audits.
        output: The folder for the pages.
        names: One name per run; by default those of the folders.
        shown: What the pages call that folder, if it has another name later.

    Raises:
        InputError: If a run cannot be read, or a name is none of a file.
    """
    runs = read_runs(folders, names)
    for run in runs:
        if Path(run.name).name != run.name or run.name[:1] in ("", "."):
            raise InputError(f"--names: {run.name!r} is not a name of a file; choose another")
    check_folder(output, "choose another --output")  # before anything is drawn
    return [
        write_page(
            run,
            Path(output) / f"{run.name}.html",
            shlex.join(
                ["nacl-monai", "page", str(folder), "--output", str(shown or output)]
                + ["--names", run.name] * bool(names)
            ),
        )
        for run, folder in zip(runs, folders, strict=True)
    ]


def write_page(
    run: Run,
    path: Path,
    command: str,
    drawn: Mapping[str, Path] | None = None,
    *,
    pictures: bool = True,
    data: Sequence[str] = (),
    cases: Viewed | None = None,
    beside: str | None = None,
    suspects: str = SUSPECTS,
) -> Path:
    """Writes the page of an evaluated run or of an audit.

    Args:
        run: From `nacl_monai.evaluations.read_run`.
        path: The file.
        command: The command line that makes the page again.
        drawn: Region → the PNG of its reliability diagram, where there is one already.
        pictures: Whether the page has pictures, or numbers alone.
        data: What a command takes of an audit's data: its folders, and whatever says more of them.
        cases: Names of cases → their layers, from `nacl_monai.reports.viewer.viewed`.
        beside: The name of the file with what the page says, if there is to be one.
        suspects: How many labels that look wrong are listed, or which share.

    Returns:
        The path.

    Raises:
        InputError: If it cannot be written.
    """
    worst, shown = _worst_table(run), _shown(run)
    doubtful, lead = [*_suspects(run, suspects)], leading_verdict(run, data)
    head = Section(
        f"Calibration of {run.name}",
        " ".join([_ABOUT.format(_sample(run)), *_raters_text(run)]),
        [lead] if lead else [verdict(run, region) for region in _main_regions(run)],
        notes=[_INTERVALS.format(run.unit) + f" {run.caution}".rstrip()],
        numbers=numbers_of(run, shown),
    )
    sections = [
        Section(pictures=dict(_diagrams(run, drawn or {}) if pictures else ())),
        *_decisions(run, shown, data),
        worst,
        *doubtful,
        Section(pictures=dict(_maps(run) if pictures else ()), viewer=True),
        *_scores(run, shown),
        _regions(run),
        *_raters(run, pictures),
        _classes(run),
        *(_selective(run) if pictures else ()),
    ]
    return write_sections(
        path,
        head,
        sections,
        {"Made by": command, "Diagrams of any region or class": "nacl-monai draw reliability"},
        layers=_seen(run, worst, doubtful, cases),
        beside=beside,
        unsegmented=_unsegmented(run),
        cases=dict(zip(run.cases, map(str, run.patients), strict=True)),
    )


def numbers_of(run: Run, shown: _Shown | None = None) -> list[dict[str, Any]]:
    """The errors of all regions and the scores of an audit, with intervals over patients and units.

    Args:
        run: The run or audit.
        shown: Its scores; by default all.
    """
    labels = {
        f"{name}_{region}": f"{error.label}, {run.bins.label(region)}"
        for region in dict.fromkeys([*_main_regions(run), *run.bins.regions])
        for name, error in AUDITED_ERRORS.items()
    }
    labels |= {
        name: metric.label + f" of {structure}" * bool(structure)
        for name, metric, structure in (_shown(run) if shown is None else shown)
    }
    return [
        {"name": name, "label": label, "unit": "mm" if "_mm" in name else ""}
        | dict(zip(("mean", "low", "high"), (number.mean, *number.interval()), strict=True))
        for name, label in labels.items()
        if (number := run.number(name)) is not None
    ]


def leading_verdict(run: Run, data: Sequence[str] = ()) -> str:
    """The verdict on the probabilities near the prediction, in all cases, with advice.

    Args:
        run: The run or audit.
        data: As in `write_page`.

    Returns:
        Empty if the region near the prediction was not counted, or has no voxel.
    """
    bins, gap = run.bins.bins_of("near"), run.number("confidence_gap_near")
    if bins is None or not isinstance(gap, Pooled):
        return ""
    hits, voxels = (part.sum((1, 2)).numpy() for part in (bins.positives, bins.counts))
    right = pooled_ratio(hits, voxels, run.bins.patients)
    confidence = bins.confidences.sum().item() / voxels.sum()
    kind = direction(gap)
    start = "Near what it segments, this model is"
    facts = f"it says {confidence:.1%} on average, and is right {_percent(right)} of the time"
    if kind == "cannot tell":
        return f"{start} neither over- nor underconfident by more than chance: {facts}."
    if run.bins.calibrator:
        behind = run.bins.calibrator[0]
        return f"{start} {kind}, behind {behind}: {facts}. Fit that to patients like these."
    of_run = [str(run.folder), "--dataset_dir", "DATA"]
    advice = shlex.join(["nacl-monai", "calibrate", *((data or _DATA) if run.audited else of_run)])
    return f"{start} {kind}: {facts}. Calibrate it: {advice}"


def decision_verdicts(run: Run, data: Sequence[str] = ()) -> Iterator[str]:
    """A sentence on the contour and one on the volume: whether to trust them, structures together.

    The contour may be trusted if the interval of what it misses is not above what it says; a volume has
    a bias if the interval of that does not include 0.

    Args:
        run: The run or audit.
        data: As in `write_page`.

    Yields:
        Nothing where decisions were not counted, or have no interval.
    """
    numbers = run.bins.pooled_numbers
    misses, size = numbers.get("contour_misses"), numbers.get("contour_size")
    if misses and size and not np.isnan(misses.low):
        made_of = (data or _DATA) if run.audited else [str(run.folder)]
        promise = shlex.join(["nacl-monai", "promise", *made_of])
        yield _contour_verdict(misses, size, numbers["expected_beyond"], promise)
    bias, error = numbers.get("expected_volume_bias"), numbers.get("expected_volume_error")
    if bias and error and not np.isnan(bias.low):
        yield _volume_verdict(bias, error)


def _contour_verdict(misses: Pooled, size: Pooled, beyond: Pooled, promise: str) -> str:
    contour, share = f"{100 * MISS:g}% contour", _percent(misses)
    facts = f"it misses {share} and is {size.value:.2f} times as large as the structure"
    if misses.low > MISS:
        if beyond.value > MISS / 5:
            facts += f"; {beyond.value:.1%} of the expected volume is too far from it to be in any"
        return f"Do not trust the {contour}: {facts}. Make one that holds: {promise}"
    if misses.high < MISS:
        return f"The {contour} misses less than it says: {facts}."
    return f"The {contour} keeps its word as far as these cases can tell: {facts}."


def _volume_verdict(bias: Pooled, error: Pooled) -> str:
    start = f"The expected volume is off by {_percent(error)} in a case"
    if bias.low <= 0 <= bias.high:
        return f"{start}, and neither too large nor too small by more than chance."
    side = "large" if bias.value > 0 else "small"
    return f"{start}, and too {side} in all: by {_percent(bias, abs)}."


def _percent(number: Pooled, shown: Callable[[float], float] = float) -> str:
    """A share with its interval: "14.5% [11.9, 17.2]"."""
    low, high = sorted(map(shown, number.interval()))
    return interval_text(shown(number.value), low, high, 1, percent=True)


def verdict(run: Run, region: str) -> str:
    """Whether the confidence in a region is above or below the accuracy, and by more than chance.

    It is called over- or underconfident where the 95% interval of mean confidence minus accuracy,
    over patients, does not include 0.

    Raises:
        InputError: If the run has no such region.
    """
    where = run.bins.label(region)
    gap = run.number(_column(run, "confidence_gap", region))
    ece = run.number(_column(run, "ece", region))
    if gap is None or ece is None:
        return f"{where}: there are none, so nothing can be said."
    low, high = gap.interval()
    error = f"its calibration error (ECE) is {ece.text()}"
    if np.isnan(low):
        return f"{where}: one of the {run.unit} is too few to tell; {error}."
    if low > 0 or high < 0:
        kind, side = ("overconfident", "above") if low > 0 else ("underconfident", "below")
        start, end = sorted(map(abs, (low, high)))
        distance = interval_text(abs(gap.mean), start, end)
        return (
            f"{where}: the model is {kind}; its confidence is {distance} {side} its accuracy, "
            f"{error}."
        )
    return (
        f"{where}: the model is neither over- nor underconfident by more than chance; its confidence "
        f"minus its accuracy is {gap.text()}, {error}."
    )


def _main_regions(run: Run) -> list[str]:
    """Those of all structures together; others are in the table."""
    return [
        name
        for name in run.bins.whole_regions
        if {f"confidence_gap_{name}", f"ece_{name}"} <= set(map(str, run.metrics))
    ]


def _column(run: Run, error: str, region: str) -> str:
    column = f"{error}_{region}"
    if column not in run.metrics:
        raise InputError(f"{run.folder}: no column {column!r}; evaluate again")
    return column


def _sample(run: Run) -> str:
    units = f" of {counted(run.patients.nunique(), 'patient')}" if run.unit == "patients" else ""
    return f"{counted(len(run.cases), run.scope.cases.removesuffix('s'))}{units}"


def _regions(run: Run) -> Section:
    """Each region with its errors."""
    regions = dict.fromkeys([*_main_regions(run), *run.bins.regions])
    rows = []
    # Over those that the label decides, true probabilities have an error, too.
    of_label = {
        region: depends_on_labels(run.bins.region_and_structure(region)[0]) for region in regions
    }
    for region in sorted(regions, key=of_label.__getitem__):
        found = [run.number(f"{error}_{region}") for error in AUDITED_ERRORS]
        if any(found):
            texts = (number.text() if number else "–" for number in found)
            rows.append([run.bins.label(region), *texts])
    headings = ["Region", *(error.heading for error in AUDITED_ERRORS.values())]
    return Section("Calibration by region", headings=headings, rows=rows, notes=[_OF_REGIONS])


def _raters_text(run: Run) -> Iterator[str]:
    """What the numbers are against, if there are several raters."""
    if names := run.bins.raters:
        yield f"{len(names)} raters have labeled them: {', '.join(names)}. {_SHARE}"


def _raters(run: Run, pictures: bool) -> Iterator[Section]:
    """The errors against the share of raters, against each, and of the raters themselves, if any."""
    if not run.bins.raters:
        return
    columns = {"dice": METRICS["dice"].heading}
    columns |= {
        f"ece_{name}": f"{AUDITED_ERRORS['ece'].heading}, {name}" for name in _main_regions(run)
    }
    runs, human = by_rater(run), human_run(run)
    drawn = {}
    if pictures:
        figure = reports.draw_reliability(runs, region=_preferred(run)[0], errors=False)
        drawn["The model against the share of the raters, and against each of them"] = figure
    yield Section(
        "Rater by rater",
        pictures={caption: png_source(figure) for caption, figure in drawn.items()},
        headings=["Against", *columns.values()],
        rows=[
            [rater.name, *(rater.mean(c).text() if c in rater.metrics else "–" for c in columns)]
            for rater in (*runs, *([human] if human else ()))
        ],
        notes=[_OF_RATERS],
    )


def _shown(run: Run) -> _Shown:
    """The columns beside the errors of regions, each with metric and structure."""
    columns = shown_scores(map(str, run.metrics), run.bins.decided)
    return [shown for shown in columns if run.number(shown[0]) is not None]


def _text(run: Run, column: str, metric: Metric) -> str:
    number = run.number(column)
    return "–" if number is None else number.text(metric.decimals)


def _structures(run: Run, shown: _Shown) -> list[str]:
    """Those of some columns, in the order of the classes; unions of classes come last."""
    order = {name: place for place, name in enumerate(run.bins.classes)}
    named = dict.fromkeys(structure for _, _, structure in shown if structure)
    return sorted(named, key=lambda name: order.get(name, len(order)))


def _decisions(run: Run, shown: _Shown, data: Sequence[str]) -> Iterator[Section]:
    """DSC, HD95 and what was decided by the probabilities: a column for all, and for each structure."""
    advice = [*decision_verdicts(run, data)]
    names = _structures(run, shown)
    columns = {(metric.heading, structure): name for name, metric, structure in shown}
    rows = [
        [heading, *(_text(run, columns.get((heading, name), ""), metric) for name in ["", *names])]
        for heading, metric in {m.heading: m for _, m, structure in shown if structure}.items()
    ]
    if rows or advice:
        headings = ["", "all", *names]
        notes = [_OF_DECISIONS] * ("contour_misses" in run.bins.pooled_numbers)
        yield Section("What you can act on", "", advice, {}, headings, rows, notes=notes)


def _scores(run: Run, shown: _Shown) -> Iterator[Section]:
    """The columns that are not of a structure, or all if there is only one structure."""
    in_table = {metric.heading for _, metric, structure in shown if structure}
    rows = [
        [metric.heading, _text(run, name, metric)]
        for name, metric, _ in shown
        if metric.heading not in in_table
    ]
    if rows:
        yield Section("All cases together", rows=rows)


def _classes(run: Run) -> Section:
    """The calibration error of each class's probability, over a region and near boundaries or not."""
    sums, regions = run.bins.sums, run.bins.regions
    places = {run.bins.label(name): sums[:, regions.index(name)] for name in _preferred(run)}
    if {"all", "boundary"} <= set(regions):
        both = (sums[:, regions.index(name)].tensors() for name in ("all", "boundary"))
        far = CalibrationBins(*(whole - near for whole, near in zip(*both, strict=True)))
        places["Voxels away from labeled boundaries"] = far
    cells = [_class_errors(run, bins) for bins in places.values()]
    return Section(
        "Calibration by class",
        headings=["Probability of", *places],
        rows=[*zip(run.bins.classes[1:], *cells, strict=True)],
    )


def _class_errors(run: Run, bins: CalibrationBins) -> list[str]:
    """The mean calibration error of each class."""
    errors = pd.DataFrame(bins.class_errors("ece").numpy(), run.metrics.index).add_prefix("ece_")
    classes = replace(run, metrics=errors)
    return [classes.mean(str(name)).text() for name in errors]


def _preferred(run: Run) -> list[str]:
    present = [name for name in (*PREFERRED[:3], "boundary") if name in run.bins.regions]
    return present or run.bins.regions


def drawn_regions(run: Run) -> list[str]:
    """The regions whose reliability a page shows: near the predictions, or the first of the others."""
    near = [name for name in run.bins.regions if run.bins.region_and_structure(name)[0] == "near"]
    return near[:DRAWN] or _preferred(run)[:1]


def _diagrams(run: Run, drawn: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    for region in drawn_regions(run):
        if region in drawn:
            source = data_source(drawn[region].read_bytes())
        else:
            source = png_source(reports.draw_reliability([run], region=region, errors=False))
        yield f"Reliability: {run.bins.label(region)}", source


def _selective(run: Run) -> Iterator[Section]:
    if run.bins.fine is not None:
        source = png_source(reports.draw_selective([run])[0])
        yield Section("Does the confidence find the errors?", pictures={_RISK: source})


def _worst_cases(run: Run) -> pd.DataFrame:
    """The metrics of the cases with the largest errors, the worst first."""
    error = f"ece_{error_region(run.bins.regions, run.metrics)}"
    ordered = run.metrics.sort_values(error, ascending=False, kind="stable")
    return ordered[ordered[error].notna()].head(_WORST)


def _worst_table(run: Run) -> Section:
    """The worst cases, and what else is known of them."""
    region = error_region(run.bins.regions, run.metrics)
    shown: dict[str, Metric] = {
        f"{error}_{region}": AUDITED_ERRORS[error] for error in ("ece", "confidence_gap")
    }
    shown |= {name: AUDITED_SCORES[name] for name in ("dice", "hd95", "hd95_mm")}
    shown = {name: metric for name, metric in shown.items() if name in run.metrics}
    rows = [
        [str(case), *(_or_dash(row[key], metric) for key, metric in shown.items())]
        for case, row in _worst_cases(run).iterrows()
    ]
    lacking, first = listed(_unsegmented(run)), ", ".join(case for case, *_ in rows[:DRAWN])
    return Section(
        "Cases to look at",
        sentences=[
            *[f"Nothing is segmented in {lacking}."] * bool(lacking),
            *[f"Open first: {first}."] * bool(first),
        ],
        headings=["Case", *(metric.heading for metric in shown.values())],
        rows=rows,
        notes=[f"The largest ECE comes first. {run.bins.label(region)}."],
    )


def _or_dash(value: float, metric: Metric) -> str:
    return "–" if pd.isna(value) else metric.text(value)


def _suspects(run: Run, budget: str) -> Iterator[Section]:
    """The labels that look wrong."""
    doubtful = doubtful_labels(run.metrics, budget)
    if doubtful.empty:
        return
    yield Section(
        "Labels to look at",
        "A label may be wrong where it contradicts what the network expects. Surprise is the larger one "
        "of expected − true DSC, and of what the volumes alone take from a DSC of 1.",
        [doubtful_text(doubtful)],
        headings=["Case", "Structure", *(METRICS[key].label for key in DOUBT)],
        rows=[
            [str(case), found["structure"], *(_or_dash(found[key], METRICS[key]) for key in DOUBT)]
            for case, found in doubtful.iterrows()
        ],
        notes=[
            f"{len(doubtful)} of {counted(len(run.cases), 'case')}, the most surprising first. It finds "
            "neither two missing end slices nor a border between structures that is moved, and tells "
            "nothing of labels that the network was trained on."
        ],
    )


def _seen(
    run: Run, worst: Section, suspects: Sequence[Section], cases: Viewed | None
) -> list[dict[str, Any]]:
    """The layers of some cases, and what else is known of them.

    First come those without any segmentation, the worst, and those whose labels are most doubtful.
    """
    if cases is None:
        return []
    names = [heading.rstrip(" ↓↑") for heading in worst.headings[1:]]
    facts = {case: " · ".join(map("{} {}".format, names, cells)) for case, *cells in worst.rows}
    reasons = dict.fromkeys(_unsegmented(run), "nothing is segmented") | facts
    first = [*_unsegmented(run), *[*facts][:DRAWN]]
    for case, name, *_ in (row for part in suspects for row in part.rows[:DRAWN]):
        first.append(case)
        doubt = f"look at the label of {name}"
        reasons[case] = f"{reasons[case]} · {doubt}" if case in reasons else doubt
    seen = [*dict.fromkeys([*first, *reasons])][:SEEN]
    return [{**case, "reason": reasons[case["name"]]} for case in cases(seen)]


def _unsegmented(run: Run) -> list[str]:
    """The cases in which nothing is predicted: nothing is near it, and so nothing there is wrong."""
    errors = run.metrics.get("ece_near")
    return [] if errors is None else [str(case) for case in errors.index[errors.isna()]]


def _maps(run: Run) -> Iterator[tuple[str, str]]:
    """Pictures of the worst cases, where the evaluation kept a slice of each."""
    region = error_region(run.bins.regions, run.metrics)
    chosen = {"rule": "among the largest ECE", "region": region}
    for case in map(str, _worst_cases(run).index[:DRAWN]):
        try:
            figure = reports.draw_maps([run], case, ("confidence", "entropy"), **chosen)
            yield f"Case {case}", png_source(figure)
        except InputError:
            continue
