"""The card of an exported bundle, and MONAI's ``metadata.json``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser

import nacl_monai
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations import Estimate, Evaluated, Run, markdown_table, read_tested
from nacl_monai.files import read_object, version_of
from nacl_monai.menus import dataset_folder
from nacl_monai.metrics import REGIONS, Pooled, direction
from nacl_monai.metrics.columns import LEADING, METRICS, region_label
from nacl_monai.metrics.regions import depends_on_labels
from nacl_monai.promises import Promise
from nacl_monai.reports import draw_reliability
from nacl_monai.reports.style import save_png
from nacl_monai.runs import RunFolder
from nacl_monai.training.hints import referred
from nacl_monai.words import counted, interval_text

DIAGRAM = "reliability.png"
#: What is led with, and for which value of it a model is right.
_SHOWN = {
    "dice": "1 is best",
    "hd95_mm": "0 is best; where voxels have a size",
    "ece_near": "0 for true probabilities",
    "confidence_gap_near": "0 for true probabilities; above 0 is overconfident",
    "nll_all": "compares models: least for true probabilities",
    "contour_misses": "0.05 for true probabilities",
    "contour_size": "volumes of the structure",
    "expected_volume_error": "0 is best; as a share of the volume",
}
#: The end of a bundle's name, for a run that was evaluated.
_MEASURED = " with measured confidence"


def evaluation_of_run(run: RunFolder) -> Evaluated | None:
    """The evaluation of a run on its test cases; None without one."""
    return read_tested(run.path) if run.evaluation.path.is_dir() else None


def calibration_of(run: Evaluated) -> dict[str, Any]:
    """The calibration of an evaluated run, for ``metadata.json``.

    Args:
        run: Evaluated on its test cases.

    Returns:
        ``patients`` (or ``cases``, where nobody knows whose they are) and ``volumes``, how many;
        ``pooled``: the numbers that the card leads with, of all cases together where they were counted,
        such as ``ece_near``; and ``regions``: for each region that was evaluated the mean over patients
        of ``ece`` and of ``confidence_gap``, mean confidence less the share of right voxels. All have
        the ends of their 95 % intervals (None where there is a single patient).
    """
    return {
        run.unit: int(run.patients.nunique()),
        "volumes": len(run.cases),
        "pooled": {name: _numbers(number) for name, number in _pooled(run).items()},
        "regions": {
            region: {error: _numbers(mean) for error, mean in means.items()}
            for region, means in _means(run).items()
        },
    }


def calibration_card(run: Evaluated) -> str:
    """The same as a section in Markdown: tables, what their words mean, and the diagram of the bins.

    It is empty where no calibration was measured.
    """
    if not _means(run):
        return ""
    diagram = f"![Reliability diagram]({DIAGRAM})\n\n" if run.bins else ""
    return (
        "## How far its probabilities can be trusted\n\n"
        f"Measured on {_people(run)} of the test set.\n\n"
        f"{_leading_section(run)}{_regions_section(run)}"
        "The expected calibration error (ECE) is how far the confidence is from the share of voxels "
        "that are right. Where confidence − accuracy is above 0, the model is more certain than right. "
        "All of it holds for images like these; measure your own with "
        "`nacl-monai audit PREDICTIONS LABELS`.\n\n"
        f"{diagram}"
    )


def promise_section(promise: Promise) -> str:
    """The promises that inference keeps, for whom and by whom, as a section in Markdown."""
    split = promise.definition["split"]
    whose = (
        f"of the set `{split}` of the split" if split else "whose set of the split is not recorded"
    )
    lines = "\n".join(f"- {text}" for _, text in promise.verdicts())
    return (
        f"## What it promises\n\nInference keeps these promises {promise.unit}, and not for patients of "
        "another kind. They were calibrated by "
        f"{counted(len(promise.patients), 'patient')}, {whose}.\n\n{lines}\n\n"
    )


def _leading_section(run: Evaluated) -> str:
    """The table of leading numbers; empty if nothing was counted over all cases together."""
    if not _pooled(run):
        return ""
    rows = [
        (METRICS[name].label, _text(name, number), _SHOWN[name])
        for name, number in _shown(run).items()
    ]
    return (
        f"{markdown_table(('number', 'with 95 % interval', 'reads as'), rows, 'lrl')}\n\n"
        "Near the prediction is what it segments, and all within a margin of it. Numbers near it, of "
        "contours and of volumes are of all cases together.\n\n"
    )


def _regions_section(run: Evaluated) -> str:
    """The table of regions, those of the label alone where others are led with."""
    pooled = _pooled(run)
    rows = [
        (region, region_label(region), means["ece"].text(), _direction(means.get("confidence_gap")))
        for region, means in _means(run).items()
        if not pooled or depends_on_labels(region)
    ]
    if not rows:
        return ""
    header = ("region", "its voxels", "ECE, with 95 % interval", "confidence − accuracy")
    title, bend = "", ""
    if pooled:
        title = "### The paper's measures\n\n"
        bend = "; the label decides which voxels count, so that even the truth has an error"
    return f"{title}Means over {run.unit}{bend}:\n\n{markdown_table(header, rows, 'llrl')}\n\n"


def write_card(found: Evaluated | None, *folders: Path) -> str:
    """Writes the card's diagram into every folder that has the card; returns its section.

    Args:
        found: From `evaluation_of_run`; without an evaluation there is no card.
        folders: The diagram's folders.
    """
    if found is None:
        return ""
    if found.bins is not None:
        parts = {field.name: getattr(found, field.name) for field in fields(found)}
        figure = draw_reliability([Run(**parts, name="test set")])
        for folder in folders:
            save_png(figure, folder / DIAGRAM)
    return calibration_card(found)


def _pooled(run: Evaluated) -> dict[str, Pooled]:
    """Those of all cases together that are led with, where they were counted."""
    numbers = {} if run.bins is None else run.bins.pooled_numbers
    return {
        name: numbers[name]
        for name in _SHOWN
        if name in numbers and not np.isnan(numbers[name].value)
    }


def _shown(run: Evaluated) -> dict[str, Estimate | Pooled]:
    """All that are led with; scores of cases are means."""
    numbers: dict[str, Estimate | Pooled] = {**_pooled(run)}
    for name in ("dice", "hd95_mm", "nll_all"):
        if name in run.metrics and run.metrics[name].notna().any():
            numbers[name] = run.mean(name)
    return {name: numbers[name] for name in _SHOWN if name in numbers}


def _text(name: str, number: Estimate | Pooled) -> str:
    """A number with its interval, and what its sign says."""
    text = number.text(METRICS[name].decimals)
    if name == LEADING[1] and isinstance(number, Pooled):
        return f"{text}, {direction(number)}"
    return text


def _means(run: Evaluated) -> dict[str, dict[str, Estimate]]:
    """The mean errors of each evaluated region."""
    return {
        region: {
            error: run.mean(f"{error}_{region}")
            for error in ("ece", "confidence_gap")
            if f"{error}_{region}" in run.metrics
        }
        for region in REGIONS
        if f"ece_{region}" in run.metrics
    }


def _numbers(mean: Estimate | Pooled) -> dict[str, float | None]:
    values = dict(zip(("low", "high"), mean.interval(), strict=True))
    return {
        name: None if np.isnan(value) else round(float(value), 6)
        for name, value in {"mean": mean.mean, **values}.items()
    }


def _direction(gap: Estimate | None) -> str:
    """The sentence about the confidence, by the interval of the gap."""
    if gap is None or np.isnan(gap.error):
        return "–"
    low, high = gap.interval()
    signed = interval_text(gap.mean, low, high, sign="+")
    side = "too high" if low > 0 else "too low" if high < 0 else "neither by more than chance"
    return f"{signed}, {side}"


def _people(run: Evaluated) -> str:
    """How many of whom: "20 patients (40 volumes)"."""
    count = run.patients.nunique()
    people = counted(count, run.unit.removesuffix("s"))
    return people + (f" ({len(run.cases)} volumes)" if count < len(run.cases) else "")


def bundle_metadata(
    bundles: str | Path | None,
    dataset: str,
    configs: Mapping[str, dict[str, Any]],
    run: RunFolder,
    found: Evaluated | None = None,
    packages: Collection[str] = (),
) -> dict[str, Any]:
    """The dataset's own ``metadata.json``, completed with the facts of a run.

    Args:
        bundles: Folder of the sources; that of the working directory or of the package if None.
        dataset: A dataset in it.
        configs: The configurations that are exported; the description names training's network and loss.
        run: Perhaps with a calibrator.
        found: What its evaluation found, if there was one; the means become ``eval_metrics``.
        packages: What inference requires besides.

    Returns:
        The dataset's metadata with these replaced: the versions of this package, MONAI, torch and NumPy
        as they are installed; what else inference requires; ``changelog``; ``description``, with the
        size of the test set; ``name``, without "with measured confidence" if nothing was measured;
        ``eval_metrics`` and, where there are any, ``calibration``, see
        `nacl_monai.calibration_of`; and in ``network_data_format`` the channels, sizes and
        classes of the network's input and output.

    Raises:
        InputError: If the dataset's metadata are missing or damaged, or a package is not installed.
    """
    source = dataset_folder(dataset, bundles) / "configs/metadata.json"
    metadata = read_object(required_file(source), "correct it")
    declared = metadata.get("network_data_format")
    if not (isinstance(declared, dict) and {"inputs", "outputs"} <= declared.keys()):
        raise InputError(
            f"{source}: has no network_data_format with inputs and outputs; copy it from another bundle"
        )
    train = ConfigParser(configs["train"])
    network, loss = (referred(train[key], train) for key in ("network_def", "loss"))
    window = train.get_parsed_content("window")
    seen = "2-D slices" if len(window) == 2 else "3-D patches"
    # MONAI's command line, its reader, and what the network's menu says of it
    required = ["fire", "nibabel", *network.get("_desc_", {}).get("packages", ())]
    required += ["nacl-monai"] if "nacl_monai" in json.dumps(configs["inference"]) else []
    required += sorted({*packages} - {*required})
    calibration = "" if run.trained is run else f", calibrated by {run.path.name}"
    tested = "not evaluated" if found is None else f"measured on {_people(found)} of the test set"
    name = str(metadata.get("name", ""))
    return {
        **metadata,
        "name": name.removesuffix(_MEASURED) if found is None else name,
        "version": nacl_monai.__version__,
        "changelog": {nacl_monai.__version__: f"weights of the run {run.trained.path.name}"},
        "description": f"{_class_name(network)} trained on {seen} with {_class_name(loss)}"
        f"{calibration}, {tested}",
        "monai_version": version_of("monai"),
        "pytorch_version": version_of("torch").partition("+")[0],
        "numpy_version": version_of("numpy"),
        "required_packages_version": {package: _version(package) for package in required},
        **_measured(found),
        "network_data_format": _data_format(declared, train),
    }


def required_file(file: Path) -> Path:
    """Returns a file that an export is made of.

    Raises:
        InputError: If it is missing.
    """
    if not file.is_file():
        raise InputError(f"{file}: is missing; a bundle needs it, so put it there")
    return file


def _version(package: str) -> str:
    try:
        return version_of(package)
    except ModuleNotFoundError:
        raise SettingError(
            f"{package}: is needed and not installed; pip install {package}"
        ) from None


def _class_name(definition: Mapping[str, Any]) -> str:
    return str(definition["_target_"]).rpartition(".")[2]


def _measured(found: Evaluated | None) -> dict[str, Any]:
    """The means of the test cases, and how far the probabilities can be trusted."""
    if found is None:
        return {"eval_metrics": {}}
    means = found.metrics.mean().dropna()
    scores = {str(name): round(float(mean), 6) for name, mean in means.items()}
    return {"eval_metrics": scores, "calibration": calibration_of(found)}


def _data_format(declared: dict[str, Any], train: ConfigParser) -> dict[str, Any]:
    channels, classes, window = map(train.get_parsed_content, ("in_channels", "classes", "window"))
    both = {"spatial_shape": list(window), "dtype": "float32", "is_patch_data": True}
    image = {**declared["inputs"]["image"], "num_channels": channels, **both}
    pred = {"type": "image", "format": "logits", "num_channels": len(classes), "value_range": []}
    names = {str(value): name for value, name in enumerate(classes)}
    return {"inputs": {"image": image}, "outputs": {"pred": {**pred, "channel_def": names, **both}}}
