"""A trained run as a stock, self-contained MONAI bundle: a folder, and a zip of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import monai.bundle
from monai.bundle import ConfigParser, ReferenceResolver

from nacl_monai.errors import InputError
from nacl_monai.export.fragments import Config, run_configs
from nacl_monai.export.metadata import bundle_metadata
from nacl_monai.runtime.command_line import leaves
from nacl_monai.runtime.weights import load_weights

# Where an exported bundle reads and writes; everything lies below its own folder.
_PATHS = {
    "train": {
        "output_dir": "$@bundle_root + '/output'",
        "cache_dir": "$@bundle_root + '/cache'",
    },
    "evaluate": {
        "output_dir": "$@bundle_root + '/output'",
        "cache_dir": "$@bundle_root + '/cache'",
        "split_file": "$@bundle_root + '/configs/split.json'",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
    },
    "inference": {
        "output_dir": "$@bundle_root + '/predictions'",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
    },
}

# Keys of inference that nothing refers to, but MONAI asks for.
_ALWAYS = {"imports", "bundle_root", "dataset_dir"}


def export_bundle(
    run: str | Path,
    output: str | Path,
    dataset: str,
    overrides: Mapping[str, Any] | None = None,
    bundles: str | Path = "bundles",
) -> list[Path]:
    """Packs ``run`` into the folder ``output`` and into ``output.zip``.

    The folder holds ``configs/`` (training, evaluation, inference; metadata and its schema; logging; the
    patients of each set), ``models/model.pt`` and ``model.ts``, ``docs/`` and the license. It is
    complete the moment it has its name.

    Args:
        run: Folder of a finished training.
        output: Folder to make; its last part is the bundle's name.
        dataset: Name of the dataset that the run was trained on.
        overrides: Keys and values that the run was trained with, where it has no record of them.
        bundles: Folder of the sources; the license lies beside it.

    Returns the folder and the zip.

    Raises:
        InputError: ``output`` is there already, ``run`` has no weights or others than of that network, a
            dataset or key does not exist.
    """
    run, output, bundles = Path(run), Path(output), Path(bundles)
    zipped = output.with_name(f"{output.name}.zip")
    for path in (output, zipped):
        if path.exists():
            raise InputError(f"{path}: is already there; remove it, or choose another --output")
    configs = run_configs(bundles, dataset, overrides or {}, run)
    configs = {kind: _self_contained(config, kind) for kind, config in configs.items()}
    load_weights(
        ConfigParser(configs["inference"]).get_parsed_content("network_def"), run / "model.pt"
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export_", dir=output.parent) as temporary:
        folder = Path(temporary) / output.name
        for part in ("configs", "models", "docs"):
            (folder / part).mkdir(parents=True)
        metadata = bundle_metadata(bundles, dataset, configs, run)
        for name, content in {**configs, "metadata": metadata}.items():
            _write_json(folder / f"configs/{name}.json", content)
        _copy_files(run, folder, bundles, dataset)
        how = _write_torchscript(folder, metadata["network_data_format"]["inputs"]["image"])
        _write_readme(folder, bundles, dataset, metadata, how)
        archive = shutil.make_archive(f"{folder}", "zip", root_dir=temporary, base_dir=folder.name)
        Path(archive).rename(zipped)
        folder.rename(output)
    return [output, zipped]


def _self_contained(config: Config, kind: str) -> Config:
    """The configuration with its network in place of the menu, and paths below ``bundle_root``.

    Of inference only what it uses is kept, since the rest would ask for this package.
    """
    parser = ConfigParser(config)
    network = config["network_def"]
    while isinstance(network, str) and network.startswith("@"):
        network = parser[network[1:]]
    rest = {key: value for key, value in config.items() if key != "networks"}
    config = {"bundle_root": ".", **rest, "network_def": network, **_PATHS[kind]}
    if kind == "inference":
        used = _used_by("inference", config)
        config = {key: value for key, value in config.items() if key in used | _ALWAYS}
        config["dataset"] = "@dataset_def"  # the name by which MONAI knows what is segmented
    return config


def _used_by(key: str, config: Config) -> set[str]:
    """The top-level keys that ``key`` refers to, however indirectly, and ``key``."""
    used, found = set(), {key}
    while found:
        used |= found
        references = {
            reference.partition("::")[0]
            for name in found
            for _, value in leaves(config[name])
            if isinstance(value, str)
            for reference in ReferenceResolver.match_refs_pattern(value)
        }
        found = references - used
    return used


def _copy_files(run: Path, folder: Path, bundles: Path, dataset: str) -> None:
    for source, target in {
        run / "model.pt": "models/model.pt",
        run / "split.json": "configs/split.json",
        bundles / "common/logging.conf": "configs/logging.conf",
        bundles / "common/meta_schema.json": "configs/meta_schema.json",
        bundles / dataset / "docs/data_license.txt": "docs/data_license.txt",
        bundles.absolute().parent / "LICENSE": "LICENSE",
    }.items():
        if not source.is_file():
            raise InputError(f"{source}: is missing, and belongs into the bundle")
        shutil.copyfile(source, folder / target)


def _write_torchscript(folder: Path, image: Mapping[str, Any]) -> str:
    """Writes ``models/model.ts``, scripted or, where that fails, traced; returns which."""

    def write(use_trace: bool) -> None:
        monai.bundle.ckpt_export(
            net_id="network_def",
            filepath=str(folder / "models/model.ts"),
            ckpt_file=str(folder / "models/model.pt"),
            meta_file=str(folder / "configs/metadata.json"),
            config_file=str(folder / "configs/inference.json"),
            use_trace=use_trace,
            input_shape=[1, image["num_channels"], *image["spatial_shape"]],
            converter_kwargs={"verify": True},
        )

    try:
        write(use_trace=False)
    except Exception:  # whatever of Python the compiler does not know, in many kinds of error
        write(use_trace=True)
        return "trace"
    return "script"


def _write_readme(
    folder: Path, bundles: Path, dataset: str, metadata: Mapping[str, Any], how: str
) -> None:
    template = (bundles / "common/README.md").read_text(encoding="utf-8")
    metrics = metadata["eval_metrics"]
    table = "\n".join(f"| {name} | {value:.4f} |" for name, value in metrics.items())
    text = template.format(
        **metadata,
        bundle=folder.name,
        metrics=f"| | mean |\n| --- | ---: |\n{table}" if table else "The run was not evaluated.",
        how="scripted" if how == "script" else "traced",
        trace="" if how == "script" else " --use_trace True",
        requirements=" ".join(
            f'"{name}=={number}"'
            for name, number in {
                "monai": metadata["monai_version"],
                **metadata["required_packages_version"],
            }.items()
        ),
    )
    data = (bundles / dataset / "docs/README.md").read_text(encoding="utf-8")
    (folder / "docs/README.md").write_text(
        text + "\n" + data.replace("# ", "## Data: ", 1), encoding="utf-8"
    )


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
