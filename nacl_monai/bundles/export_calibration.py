"""A calibrator behind the network of an exported bundle: in TorchScript, and in inference."""

from __future__ import annotations

from pathlib import Path

import torch
from monai.data.torchscript_utils import load_net_with_metadata, save_net_with_metadata

from nacl_monai.counting import counted
from nacl_monai.errors import InputError
from nacl_monai.inference import Behind
from nacl_monai.posthoc import Fit
from nacl_monai.runs import RunFolder
from nacl_monai.training.calibrators import calibrator_of, read_name

#: The key of the exported inference; the file holds whatever code the calibrator needs.
CONFIG = {
    "_target_": "torch.jit.load",
    "f": "$@bundle_root + '/models/calibrator.ts'",
    "map_location": "$torch.device(@device)",
}


def find_calibrator(run: RunFolder, name: str) -> Fit:
    """What was fitted to a run, where a bundle can hold it.

    Raises:
        SettingError: If there is no such calibrator.
        InputError: If it was not fitted to this run's weights, was not evaluated, or is an ensemble.
    """
    joins = read_name(name).joins
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
    return fit


def put_behind(models: Path, fit: Fit, config: str) -> None:
    """Writes ``calibrator.ts``, and puts it behind the network in ``model.ts``.

    The network alone stays as ``plain.ts``.

    Args:
        models: The folder, with the network's ``model.ts``.
        fit: From `find_calibrator`.
        config: The name of the configuration that ``model.ts`` holds beside its metadata.
    """
    calibrator = torch.jit.script(fit.module.eval())
    torch.jit.save(calibrator, models / "calibrator.ts")
    model, plain = models / "model.ts", models / "plain.ts"
    model.rename(plain)
    network, metadata, files = load_net_with_metadata(str(plain), more_extra_files=(config,))
    whole = torch.jit.script(Behind(network, calibrator).eval())
    save_net_with_metadata(whole, str(model), meta_values=metadata, more_extra_files=files)


def described(name: str, fit: Fit) -> str:
    """The model card's section: what was fitted, on whom, with what effect, how to do without."""
    patients = counted(len(fit.patients), "validation patient")
    return (
        "## Calibration\n\n"
        "Inference, `models/model.ts` and, if it is there, `models/model.onnx` have the calibrator "
        f"`{name}` behind the network, fitted by NLL over the region `{fit.region}` of "
        f"{patients}: there the NLL fell from {fit.nll_before:.4f} to {fit.nll:.4f}, and "
        f"{fit.moved:.2%} of the voxels changed their class. `--calibrated False` leaves it out of "
        "inference. `models/model.pt`, "
        "`plain` files, evaluation, and what the commands above write anew are the network alone."
        "\n\n"
    )
