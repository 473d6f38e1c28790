"""``metadata.json`` of an exported bundle, in the schema of MONAI's Model Zoo."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

import nacl_monai
from nacl_monai.bundles.card import calibration_of
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import read_object
from nacl_monai.menus import dataset_folder
from nacl_monai.reports import Evaluated
from nacl_monai.runs import RunFolder
from nacl_monai.training.hints import referred


def bundle_metadata(
    bundles: str | Path | None,
    dataset: str,
    configs: Mapping[str, dict[str, Any]],
    run: RunFolder,
    found: Evaluated | None = None,
    packages: Collection[str] = (),
) -> dict[str, Any]:
    """The dataset's own ``metadata.json``, completed by what is known of a run.

    Args:
        bundles: Folder of the sources; that of the working directory or of the package if None.
        dataset: A dataset in it.
        configs: The configurations that are exported; the description names training's network and loss.
        run: Perhaps with a calibrator.
        found: What its evaluation found, if there was one; the means become ``eval_metrics``.
        packages: What inference requires besides.

    Returns:
        The dataset's metadata with these replaced: the versions of this package, MONAI, torch and NumPy
        as they are installed; what else inference requires; ``changelog``; ``description``;
        ``eval_metrics`` and, where there are any, ``calibration``, see
        `nacl_monai.bundles.card.calibration_of`; and in ``network_data_format`` the channels, sizes and
        classes of the network's input and output.

    Raises:
        InputError: If the dataset's metadata are missing or damaged, or a package is not installed.
    """
    source = dataset_folder(dataset, bundles) / "configs/metadata.json"
    metadata = read_object(needed(source), "correct it")
    declared = metadata.get("network_data_format")
    if not (isinstance(declared, dict) and {"inputs", "outputs"} <= declared.keys()):
        raise InputError(
            f"{source}: has no network_data_format with inputs and outputs; copy it from another bundle"
        )
    train = ConfigParser(configs["train"])
    network, loss = (referred(train[key], train) for key in ("network_def", "loss"))
    window = train.get_parsed_content("window")
    seen = "2-D slices" if len(window) == 2 else "3-D patches"
    required = _required(network, configs["inference"], packages)
    return {
        **metadata,
        "version": nacl_monai.__version__,
        "changelog": {nacl_monai.__version__: f"weights of the run {run.trained.path.name}"},
        "description": f"{_class_name(network)} trained on {seen} with {_class_name(loss)}"
        f"{_calibration(run)}, and evaluated on volumes",
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {package: _version(package) for package in required},
        **_measured(found),
        "network_data_format": _data_format(declared, train),
    }


def needed(file: Path) -> Path:
    """Returns a file that an export is made of.

    Raises:
        InputError: If it is missing.
    """
    if not file.is_file():
        raise InputError(f"{file}: is missing; a bundle needs it, so put it there")
    return file


def _calibration(run: RunFolder) -> str:
    return "" if run.trained is run else f", calibrated by {run.path.name}"


def _required(
    network: Mapping[str, Any], inference: Mapping[str, Any], packages: Collection[str]
) -> list[str]:
    """All packages that inference needs beside MONAI, torch and NumPy."""
    # MONAI's command line, its reader, and what the network's menu says of it
    required = ["fire", "nibabel", *network.get("_desc_", {}).get("packages", ())]
    if "nacl_monai" in json.dumps(inference):
        required.append("nacl-monai")
    return [*required, *sorted({*packages} - {*required})]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
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
    channels, classes, window = (
        train.get_parsed_content(key) for key in ("in_channels", "classes", "window")
    )
    both = {"spatial_shape": list(window), "dtype": "float32", "is_patch_data": True}
    return {
        "inputs": {"image": {**declared["inputs"]["image"], "num_channels": channels, **both}},
        "outputs": {
            "pred": {
                "type": "image",
                "format": "logits",
                "num_channels": len(classes),
                "value_range": [],
                "channel_def": {str(value): name for value, name in enumerate(classes)},
                **both,
            }
        },
    }
