"""A trained run as a stock, self-contained MONAI bundle: a folder, and a zip of it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import monai.bundle
import torch
from monai.bundle import ConfigParser
from monai.data.torchscript_utils import load_net_with_metadata, save_net_with_metadata
from torch import nn

from nacl_monai.bundles.card import (
    bundle_metadata,
    evaluation_of_run,
    promise_section,
    required_file,
    write_card,
)
from nacl_monai.bundles.scripts import SCRIPTS, write_scripts
from nacl_monai.bundles.self_contained import OwnCode, own_code, run_configs, self_contained
from nacl_monai.data.splits import read_sets
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import (
    abandoned_folders,
    check_folder,
    checksum,
    partial_folder,
    read_object,
    write_text,
)
from nacl_monai.inference import Behind
from nacl_monai.inference.promised import unlike_model
from nacl_monai.menus import bundles_folder, dataset_folder
from nacl_monai.output import check_output
from nacl_monai.posthoc import Fit
from nacl_monai.predictions.identity import Salt
from nacl_monai.promises import Promise
from nacl_monai.promises.record import PROMISE_FILE, read_promise
from nacl_monai.runs import RunFolder, RunName
from nacl_monai.training.calibrators import calibrator_of, read_steps
from nacl_monai.training.checkpoints import load_state, save_weights
from nacl_monai.training.weights import load_weights
from nacl_monai.words import counted

# How TorchScript was made, in the words of the model card and of MONAI's command.
_HOW = {
    "script": {"how": "scripted", "trace": ""},
    "trace": {"how": "traced", "trace": " --use_trace True"},
}
_PACKAGES = ("onnx", "onnxscript")
#: The key of the exported inference; the file holds whatever code the calibrator needs.
CONFIG = {"_target_": f"{SCRIPTS}.inference.bundled", "file": "models/calibrator.ts"}
_OF_WHOLE_IMAGES = (
    " The calibrator needs the logits of a whole image, since it measures the distance to the predicted "
    "border: `torch.jit.load('models/calibrator.ts')(logits, spacing=[x, y, z])`, with logits "
    "(1, classes, H, W, D) and the size of a voxel in mm."
)


def export_bundle(
    run: str | Path,
    output: str | Path,
    dataset: str,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    bundles: str | Path | None = None,
    trust: bool = False,
    calibrator: str | None = None,
    onnx: bool = False,
    promise: Path | None = None,
    anonymous: Path | None = None,
) -> list[Path]:
    """Packs ``run`` into the folder ``output`` and into ``output.zip``.

    The folder holds ``configs/`` (training, evaluation, inference; metadata and its schema; logging; the
    patients of each set), ``models/model.pt`` with its checksum and ``model.ts``, ``scripts/``,
    ``docs/`` and the license. It is complete the moment it has its name.

    Args:
        run: Folder of a finished training.
        output: Folder to make; its last part is the bundle's name.
        dataset: Name of the dataset that the run was trained on.
        overrides: Keys and values that the run was trained with, where it has no record of them.
        bundles: Folder of the sources, beside which the license is; that of the working directory or of
            the package by default.
        trust: Whether what the run was trained with may be code that is in no source.
        calibrator: The name of one that was fitted to the run and evaluated. It is put behind the
            network in inference and in ``model.ts``; ``plain.ts`` is then the network alone.
        onnx: Whether to write ``model.onnx`` as well, with a calibrator ``plain.onnx``, too.
        promise: ``promise.json``, which inference of the bundle then keeps for every image.
        anonymous: A file with a salt, which hides the names of patients in the split and the promise.

    Returns:
        The folder and the zip.

    Raises:
        InputError: If ``output`` is there already, if ``run`` is not finished, has no weights or those
            of another network, was trained on another dataset or with code that is not trusted, if a
            dataset or key does not exist, a package that inference needs is not installed, or the
            network cannot be made, or TorchScript cannot hold it; or if
            `find_calibrator` refuses.
    """
    source, output = RunFolder(Path(run)), Path(output)
    salt = None if anonymous is None else Salt.read(anonymous)
    if onnx:
        check_onnx()
    zipped = Path(f"{output}.zip")
    _check_new(source, output, zipped)
    configs = {
        kind: self_contained(config, kind)
        for kind, config in run_configs(dataset, overrides, run, bundles, trust).items()
    }
    fitted = None if calibrator is None else find_calibrator(source, calibrator)
    evaluated, behind = source.calibrated(calibrator), ""
    average = _measured_average(evaluated)
    configs["evaluate"] |= average
    configs["inference"] |= average
    if fitted is not None:
        inferer = calibrated_inferer(configs["inference"]["inferer"])
        configs["inference"] |= {"calibrator_def": CONFIG, "inferer": inferer}
        configs["inference"]["calibrator_name"] = calibrator
        behind = described(str(calibrator), fitted)
    promised = None
    if promise is not None:
        promised = _promised(promise, source, configs["inference"], salt)
        behind += promise_section(promised)
    network = load_weights(_made_network(configs["inference"]), source.model)
    code = own_code(configs, network)
    with partial_folder(output.parent) as temporary:
        folder = temporary / output.name
        image = _write_bundle(folder, evaluated, dataset, configs, bundles, behind, code, salt)
        if fitted is not None:
            put_behind(folder / "models", fitted, "inference.json")
        if promised is not None:
            promised.write(folder / "models" / PROMISE_FILE)
        if onnx:
            write_onnx(folder / "models", network, image, fitted)
        archive = shutil.make_archive(f"{folder}", "zip", root_dir=temporary, base_dir=folder.name)
        _name_both(folder, Path(archive), output, zipped)
    return [output, zipped]


def _name_both(folder: Path, archive: Path, output: Path, zipped: Path) -> None:
    """Gives both their names, the folder last; by its first, `_check_new` knows a zip until then."""
    try:
        os.link(archive, zipped)
    except OSError:  # a file system without links
        archive.rename(zipped)
    try:
        folder.rename(output)
    except BaseException:
        zipped.unlink()
        raise


def _check_new(source: RunFolder, output: Path, zipped: Path) -> None:
    check_folder(output, "choose another --output")
    for aside in abandoned_folders(output.parent):  # by a kill before the folder had its name
        pair = (aside / zipped.name, zipped)
        if not output.exists() and all(map(Path.is_file, pair)) and pair[0].samefile(zipped):
            zipped.unlink()
    for path in (output, zipped):
        if path.exists():
            raise InputError(
                f"{path}: is already there; remove it, or choose another --output, with make OUTPUT=DIR"
            )
    check_output(output, "export", replace=False)
    if source.unfinished:
        raise InputError(f"{source.path}: its training is not finished; train on, then export it")


def _promised(file: Path, run: RunFolder, config: dict[str, Any], salt: Salt | None) -> Promise:
    """Puts a promise into the configuration of inference; returns it.

    Raises:
        InputError: If the promise is of another model than the one that is exported, of other weights,
            or of patients who trained it; or if it hides their names by another salt.
    """
    parser = ConfigParser(dict(config))
    classes, structures = (parser.get_parsed_content(key) for key in ("classes", "structures"))
    promise = read_promise(file)
    if unlike := unlike_model(promise.definition, classes, structures, config["calibrator_name"]):
        raise InputError(f"{file}: is of {unlike}; give that of this model")
    weights = promise.definition["weights"]
    if weights not in (None, checksum(run.model)):
        raise InputError(
            f"{file}: was made of other weights than {run.model}; evaluate the run again, and make its "
            "promise of that"
        )
    trained = {
        name
        for record in (run.split, run.data)
        if record.is_file()
        for name in read_object(record, "train the run again").get("train", ())
    }
    if salt is not None:
        promise, trained = salt.hidden(promise, file), {*map(salt.hide, trained)}
    elif promise.definition.get("anonymous"):
        raise InputError(
            f"{file}: hides its names, so that nobody knows whether they trained the network; give the "
            "salt that hid them with --anonymous"
        )
    if both := sorted({*promise.patients, *promise.cases} & trained):
        raise InputError(
            f"{file}: was calibrated by {both[0]}, who trained the network; make it of patients who did "
            "not: nacl-monai evaluate --cases_to_evaluate val"
        )
    config["promise"] = "$@bundle_root + '/models/promise.json'"
    return promise


def _measured_average(run: RunFolder) -> dict[str, str]:
    """What the evaluation averaged where windows overlap; the card's numbers hold for that alone."""
    file = run.evaluation.record
    record = read_object(file, "evaluate the run again") if file.is_file() else {}
    settings = record.get("settings")  # where it is damaged, `evaluation_of_run` says so
    if isinstance(settings, dict) and "average" in settings:
        return {"average": settings["average"]}
    return {}


def _made_network(config: Mapping[str, Any]) -> nn.Module:
    try:
        network: nn.Module = ConfigParser(dict(config)).get_parsed_content("network_def")
    except RuntimeError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise SettingError(
            f"network_def: cannot be made ({reason}); correct its arguments"
        ) from error
    return network


def _write_bundle(
    folder: Path,
    run: RunFolder,
    dataset: str,
    configs: Mapping[str, Any],
    bundles: str | Path | None,
    calibration: str,
    code: OwnCode,
    salt: Salt | None,
) -> Mapping[str, Any]:
    """Writes all but what a calibrator changes; returns what the metadata say of the image."""
    found = evaluation_of_run(run)
    metadata = bundle_metadata(bundles, dataset, configs, run, found, code.packages)
    moved = {kind: code.moved(config) for kind, config in configs.items()}
    for name, content in {**moved, "metadata": metadata}.items():
        write_text(folder / f"configs/{name}.json", json.dumps(content, indent=2) + "\n")
    _copy_files(run.trained, folder, bundles, dataset)
    if salt is not None:
        split = read_sets(run.trained.split).items()
        sets = {name: sorted(map(salt.hide, patients)) for name, patients in split}
        write_text(folder / "configs/split.json", json.dumps(sets, indent=1) + "\n")
    write_scripts(folder)
    code.write(folder)
    image: Mapping[str, Any] = metadata["network_data_format"]["inputs"]["image"]
    how = _write_torchscript(folder, image, configs["inference"]["network_def"])
    template = (bundles_folder(bundles) / "common/README.md").read_text(encoding="utf-8")
    versions = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    required = {name: metadata[key] for name, key in versions.items()}
    required |= metadata["required_packages_version"]
    text = template.format(
        **metadata,
        bundle=folder.name,
        # Hugging Face shows the card from the top, with the pictures there.
        probabilities=calibration + write_card(found, folder / "docs", folder),
        people=_people(read_sets(run.trained.split)),
        metrics=_table(metadata["eval_metrics"]),
        **_HOW[how],
        requirements=" ".join(f'"{name}=={number}"' for name, number in required.items()),
    )
    source = dataset_folder(dataset, bundles) / "docs/README.md"
    data = required_file(source).read_text(encoding="utf-8")
    write_text(folder / "docs/README.md", text + "\n" + data.replace("# ", "## Data: ", 1))
    return image


def _people(sets: Mapping[str, Sequence[str]]) -> str:
    """Who had which part in this run, whatever is usual of its dataset."""
    parts = (sets.get(name, ()) for name in ("train", "val", "test"))
    trained, chose, tested = (counted(len(part), "patient") for part in parts)
    return f"In this run {trained} trained, {chose} chose the epoch, and {tested} tested."


def _copy_files(run: RunFolder, folder: Path, bundles: str | Path | None, dataset: str) -> None:
    shared = bundles_folder(bundles)
    for part in ("models", "docs"):
        (folder / part).mkdir()
    for source, target in {
        run.split: "configs/split.json",
        shared / "common/logging.conf": "configs/logging.conf",
        shared / "common/meta_schema.json": "configs/meta_schema.json",
        dataset_folder(dataset, bundles) / "docs/data_license.txt": "docs/data_license.txt",
        shared.absolute().parent / "LICENSE": "LICENSE",
    }.items():
        shutil.copyfile(required_file(source), folder / target)
    save_weights(load_state(run.model), folder / "models/model.pt")  # of a GPU, for any machine


def _write_torchscript(folder: Path, image: Mapping[str, Any], network_def: Any) -> str:
    """Writes ``models/model.ts``; returns "script", or "trace" where the network cannot be scripted."""
    for how in _HOW:
        try:
            monai.bundle.ckpt_export(
                net_id="network_def",
                filepath=str(folder / "models/model.ts"),
                ckpt_file=str(folder / "models/model.pt"),
                meta_file=str(folder / "configs/metadata.json"),
                config_file=str(folder / "configs/inference.json"),
                use_trace=how == "trace",
                input_shape=[1, image["num_channels"], *image["spatial_shape"]],
                converter_kwargs={"verify": True},
                network_def=network_def,  # which need not be where it travels yet
            )
        except Exception as error:  # noqa: BLE001 - the compiler has many kinds of error
            fault = error
        else:
            return how
    reason = str(fault.__cause__ or fault).strip().partition("\n")[0]
    raise InputError(
        f"network_def: can be neither scripted nor traced ({type(fault).__name__}: {reason:.120}); "
        "write its forward so that TorchScript holds it"
    ) from fault


def _table(means: Mapping[str, float]) -> str:
    if not means:
        return "The run was not evaluated."
    rows = [f"| {name} | {mean:.4f} |" for name, mean in means.items()]
    return "\n".join(["| | mean |", "| --- | ---: |", *rows])


def newest_run(
    runs: str | Path, dataset: str, network: str, loss: str, seed: int | None = None
) -> Path:
    """The newest finished run ``runs/DATASET/NETWORK_LOSS_seedN`` with no other settings.

    A run is finished if it has a ``model.pt`` and if its ``run.json``, where there is one, says so.

    Args:
        runs: Folder of all runs.
        dataset: Folder in it.
        network: From the menu of networks.
        loss: From the menu of losses.
        seed: N; any by default.

    Raises:
        InputError: If there is none.
    """
    folder = Path(runs) / dataset
    stem, number = str(RunName(network, loss)).removesuffix("0"), r"\d+" if seed is None else seed
    models = [
        run.model
        for run in map(RunFolder, folder.glob("*"))
        if re.fullmatch(rf"{re.escape(stem)}{number}", run.path.name)
        and run.model.is_file()
        and not run.unfinished
    ]
    if not models:
        pattern = f"{stem}{'*' if seed is None else seed}"
        raise InputError(
            f"{folder / pattern}: no finished training there; train first, or name a run: --run DIR "
            "(make: RUN=DIR)"
        )
    return max(models, key=lambda model: model.stat().st_mtime).parent


def check_onnx() -> None:
    """Refuses where what torch writes ONNX with is missing.

    Raises:
        SettingError: Then.
    """
    if not all(map(find_spec, _PACKAGES)):
        raise SettingError(
            f"--onnx: needs the packages {' and '.join(_PACKAGES)}; pip install {' '.join(_PACKAGES)}"
        )


def write_onnx(
    models: Path, network: nn.Module, image: Mapping[str, Any], fitted: Fit | None = None
) -> None:
    """Writes ``model.onnx``, and with a calibrator that it can hold ``plain.onnx``, the network alone.

    Both take an ``image`` of one slice, and give its ``logits``.

    Args:
        models: The folder.
        network: With its weights.
        image: What the metadata say of the input.
        fitted: What is put behind, unless it needs whole images.
    """
    example = torch.zeros(1, image["num_channels"], *image["spatial_shape"])
    files = {"model.onnx": network}
    if fitted is not None and not fitted.sees_distance:
        files = {"plain.onnx": network, "model.onnx": Behind(network, fitted.module)}
    for name, module in files.items():
        names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
        names |= {"external_data": False, "verbose": False}
        torch.onnx.export(module.eval(), (example,), models / name, **names)


def calibrated_inferer(inferer: Any) -> dict[str, Any]:
    """The definition of inference's inferer with the calibrator behind the network.

    Raises:
        SettingError: If it is of another class, which holds none.
    """
    place = f"{SCRIPTS}.inference"
    if not isinstance(inferer, dict) or inferer.get("_target_") != f"{place}.WindowInferer":
        raise SettingError(
            "inferer: holds no calibrator; train and evaluate with nacl_monai.inference.WindowInferer, "
            "or export without --calibrator"
        )
    behind = {"calibrator": "@calibrator_def", "calibrated": "@calibrated"}
    return {**inferer, "_target_": f"{place}.CalibratedInferer", **behind}


def find_calibrator(run: RunFolder, name: str) -> Fit:
    """The calibrator of a run, if a bundle can hold it.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If it was not fitted to this run's weights, was not evaluated, or is an ensemble.
    """
    joins = read_steps(name).joins
    fit = None if joins else calibrator_of(run, name).fit
    if fit is None:
        raise InputError(
            f"--calibrator {name}: is several networks, and a bundle holds one; export each run"
        )
    if not run.calibrated(name).evaluation.record.is_file():
        raise InputError(
            f"{run.calibrated(name).path}: is not evaluated, so nobody knows what it does; evaluate it "
            f"first: make calibrate CALIBRATOR={name}"
        )
    if fit.bound:
        raise InputError(
            f"{run.calibrated(name).calibrator}: ends with {fit.bound}, where the search ends, so that "
            "nothing was learned; fit it on more patients, or export without a calibrator"
        )
    return fit


def put_behind(models: Path, fit: Fit, config: str) -> None:
    """Writes ``calibrator.ts``, and puts it behind the network in ``model.ts``.

    The network alone stays as ``plain.ts``. A calibrator that needs whole images and their spacing is
    not put there, since the input is a slice or a patch: ``model.ts`` stays the network alone.

    Args:
        models: The folder, with the network's ``model.ts``.
        fit: From `find_calibrator`.
        config: The name of the configuration that ``model.ts`` holds beside its metadata.
    """
    calibrator = torch.jit.script(fit.module.eval())
    torch.jit.save(calibrator, models / "calibrator.ts")
    if fit.sees_distance:
        print(
            "model.ts: is the network alone, since the calibrator needs whole images; inference has it, "
            "and calibrator.ts takes (logits, spacing=[…])"
        )
        return
    model, plain = models / "model.ts", models / "plain.ts"
    model.rename(plain)
    network, metadata, files = load_net_with_metadata(str(plain), more_extra_files=(config,))
    whole = torch.jit.script(Behind(network, calibrator).eval())
    save_net_with_metadata(whole, str(model), meta_values=metadata, more_extra_files=files)


def described(name: str, fit: Fit) -> str:
    """The model card's section on the calibrator: patients, effect, and how to run without it."""
    patients = counted(len(fit.patients), "validation patient")
    models = "`models/model.ts` and, if it is there, `models/model.onnx`"
    has, plain = f"Inference, {models} have", "`models/model.pt`, `plain` files"
    if fit.sees_distance:
        has, plain = "Inference has", f"`models/model.pt`, {models}"
    return (
        f"## Calibration\n\n{has} the calibrator "
        f"`{name}` behind the network, fitted by NLL over the region `{fit.region}` of "
        f"{patients}: there the NLL fell from {fit.nll_before:.4f} to {fit.nll:.4f}, and "
        f"{fit.moved:.2%} of the voxels changed their class. `--calibrated False` leaves it out of "
        f"inference. {plain}, evaluation, and what the commands above write anew are the network alone."
        f"{_OF_WHOLE_IMAGES if fit.sees_distance else ''}\n\n"
    )
