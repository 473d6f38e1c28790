"""A network and a loss of one's own, and MONAI's, by command line alone, as the guide has it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from nacl_monai.bundles.__main__ import main as export
from nacl_monai.bundles.__main__ import parser, run_folder, train_words
from nacl_monai.cli import main as nacl_monai
from nacl_monai.files import checksum
from tests.configurations.conftest import (
    ROOT,
    block_package,
    curves,
    export_arguments,
    one_line,
    run_bundle,
)

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "docs/own_network.md").read_text(encoding="utf-8")
(MODULE,) = re.findall(r"```python\n# my_package.py\n(.*?)```", GUIDE, re.S)
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.S)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("make ")
]
OWN, SEGRESNET = (
    [command for command in COMMANDS if any(name in word for word in command)]
    for name in ("my_package", "SegResNet")
)


def printed(args, **variables):
    """The command that make prints, which it then would run."""
    args = [word for word in args if word.partition("=")[0] not in variables]
    assignments = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "-n", "--no-print-directory", "-o", ".venv/runtime", *args, *assignments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return shlex.split(done.stdout.splitlines()[-1])


def run(args, **variables):
    """What the command does, in this process."""
    assert nacl_monai(printed(args, **variables)[1:]) == 0


@pytest.fixture(scope="module")
def place(datasets, tmp_path_factory):
    """A folder with the module of the guide, which is on the path, and where the phantom is."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "code").mkdir()
    (folder / "code/my_package.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(folder / "code")
        monkeypatch.setattr(sys, "argv", sys.argv)
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        monkeypatch.chdir(ROOT)
        data = datasets["hippocampus"]
        image = sorted((data / "imagesTr").glob("h*.nii.gz"))[0]
        args = f"--cache_dir {data.parent / 'cache'}"
        yield SimpleNamespace(folder=folder, data=data, image=image, args=args)


def follow(place, commands, run_folder, epochs=1, more=""):
    """Runs the commands of the guide, on the phantom."""
    settings = {"RUN": run_folder, "DATASET_DIR": place.data}
    args = {
        "train": f"{place.args} --max_epochs {epochs} {more}",
        "evaluate": f"{place.args} --reliability_interval 0",
        "infer": "",
        "export": f"--output {run_folder}_dist",
    }
    for command in commands:
        images = {"IMAGES": place.image} if command[0] == "infer" else {}
        run(command, **settings, **images, ARGS=args[command[0]])
    return run_folder


@pytest.fixture(scope="module")
def own(place):
    """A run with a network and a loss of one's own, evaluated, applied, exported."""
    return follow(place, OWN, place.folder / "runs/MyNet_MyLoss_seed0", epochs=2)


@pytest.fixture(scope="module")
def segresnet(place):
    """A run with MONAI's SegResNet and Tversky loss, that begins with weights of another width."""
    args = shlex.split(next(w for w in SEGRESNET[0] if w.startswith("ARGS="))[5:])
    weights = place.folder / "begin.pth"
    torch.save({"model": {"module.convInit.conv.weight": torch.ones(8, 1, 3, 3)}}, weights)
    more = f"{shlex.join(args)} --pretrained {weights} --augmentation @augmentations::strong"
    folder = place.folder / "runs/SegResNet_TverskyLoss_seed0"
    follow(place, SEGRESNET, folder, more=more)
    weights.unlink()
    return folder


def record(folder, file="config"):
    return json.loads((folder / f"{file}.json").read_text())


def test_guide_has_every_command():
    """Training, evaluation, inference, export."""
    assert [command[0] for command in OWN] == ["train", "evaluate", "infer", "export"]
    assert [command[0] for command in SEGRESNET] == ["train"]


def test_run_is_named_by_the_classes_and_records_their_arguments(own):
    """Those that were filled in among them."""
    options = parser().parse_args(printed(OWN[0])[1:])

    assert run_folder(options) == Path("runs/hippocampus/MyNet_MyLoss_seed0")
    filled_in = {"in_channels": "@in_channels", "out_channels": "$len(@classes)"}
    assert record(own)["network_def"] == {"_target_": "my_package.MyNet", **filled_in}
    assert record(own)["loss"] == {"_target_": "my_package.MyLoss"}


def test_own_run_is_evaluated_and_its_loss_is_a_curve(own):
    """The one term of the loss is the loss."""
    assert np.isfinite(pd.read_csv(own / "evaluation/cases.csv")["ece_foreground"]).all()
    steps, values = zip(*curves(own)["loss"], strict=True)
    assert np.isfinite(values).all()
    assert list(steps) == list(range(1, len(steps) + 1))


def test_evaluation_warns_of_changed_source_and_a_training_ends(place, own, monkeypatch, capfd):
    """Before anything is computed; with the source of the training there is nothing to say."""
    module = place.folder / "code/my_package.py"
    assert record(own)["own_code"] == {"my_package": checksum(module)}
    capfd.readouterr()
    follow(place, OWN[1:2], own)
    assert "has changed" not in capfd.readouterr().err
    assert evaluated_code(own) == checksum(module)
    try:
        module.write_text(MODULE + "# another version\n")
        changed = checksum(module)
        command = printed(OWN[0], RUN=own, DATASET_DIR=place.data, ARGS=place.args)
        args = ["run", *train_words(*parser().parse_known_args(command[1:]))]
        code, errors = run_bundle(monkeypatch, capfd, args)
        follow(place, OWN[1:2], own)
    finally:
        module.write_text(MODULE)

    assert code == 1
    assert f"{own}: my_package, a module of your own, has changed since" in one_line(errors)
    assert f"my_package: has changed since {own} was trained" in capfd.readouterr().err
    assert evaluated_code(own) == changed


def evaluated_code(run):
    """The checksum of the user's module in the record of an evaluation."""
    return record(run, "evaluation/evaluation")["settings"]["own_code::my_package"]


def test_export_carries_the_source_and_needs_neither_package_nor_path(
    place, own, bundle, monkeypatch, tmp_path
):
    """Its inference gives what the run's gave."""
    dist = Path(f"{own}_dist")
    assert (dist / "scripts/my_package.py").read_text() == MODULE
    block_package(monkeypatch)
    monkeypatch.setitem(sys.modules, "my_package", None)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(place.folder / "code")])
    args = ["--images", place.image, "--output_dir", tmp_path / "out"]

    bundle.done(*export_arguments(dist, "inference", *args), cwd=tmp_path)

    (name,) = {file.name for file in (own / "predictions").glob("*_probabilities.nii.gz")}
    folders = (tmp_path / "out", own / "predictions")
    found, expected = (nibabel.load(folder / name).get_fdata() for folder in folders)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    script = torch.jit.load(dist / "models/model.ts")
    assert script(torch.zeros(1, 1, 48, 64)).shape == (1, 3, 48, 64)


def test_monais_network_and_loss_have_their_settings_and_weights(segresnet):
    """What was given, and what they need to be right for these data; what was loaded is on record."""
    config, begun = record(segresnet), record(segresnet, "run")["pretrained"]

    assert config["network_def"]["init_filters"] == 8
    assert config["network_def"]["spatial_dims"] == "@dims"
    needed = {"to_onehot_y": True, "softmax": True}
    assert config["loss"] == {"_target_": "monai.losses.TverskyLoss", "alpha": 0.3, **needed}
    assert begun["loaded"] == ["convInit.conv.weight"]
    assert (len(begun["sha256"]), len(begun["missing"]) > 10) == (64, True)


def test_monais_network_is_evaluated_by_its_name_and_exported(place, segresnet):
    """Without its settings, without the file of weights, and without trust: it is MONAI's."""
    command = ["evaluate", "DATASET=hippocampus", "NETWORK=monai.networks.nets.SegResNet"]
    args = f"{place.args} --reliability_interval 0"
    run(command, RUN=segresnet, DATASET_DIR=place.data, ARGS=args)
    dist = Path(f"{segresnet}_dist")
    assert export(["export", "hippocampus", "--run", str(segresnet), "--output", str(dist)]) == 0

    script = torch.jit.load(dist / "models/model.ts")
    assert script(torch.zeros(1, 1, 48, 64)).shape == (1, 3, 48, 64)
    assert record(segresnet, "evaluation/evaluation")["set"] == "test"
