"""docs/nnunet.md is what the trainers are, and its commands run as they are printed."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from nacl_monai.menus import read_menu
from nacl_monai.nnunet import TRAINERS
from tests.same import same_bits

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "nnunet.md").read_text(encoding="utf-8")
DEMO = ROOT / "demo" / "Task04_Hippocampus"
COMMANDS = [
    line for line in GUIDE.split("```bash\n")[1].split("```")[0].splitlines() if line[0] != "#"
]
INSTALL, EXPORT, TRAIN, PREDICT, AUDIT, CALIBRATE = COMMANDS
SUBCLASS, STAND_IN = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
TRYOUT = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)[1]
HAND_ON = re.search(r"`(nnUNetv2_export_model_to_zip [^`]*)`", GUIDE)[1]
LABELS = {"background": 0, "anterior": 1, "posterior": 2}
REGIONS = {"background": 0, "hippocampus": [1, 2], "posterior": 2}

#: The trainers of the guide, by the same names, for as long as a test lasts.
SHORT = """
import json
import os

from nacl_monai import nnunet
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class Short:
    def __init__(self, plans, configuration, fold, dataset_json, device=None):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ.get("EPOCHS", 2))
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 4, 1


class nnUNetTrainerDiceNACL(Short, nnunet.nnUNetTrainerDiceNACL):
    loss_settings = json.loads(os.environ.get("SETTINGS", "{}"))


class nnUNetTrainerShort(Short, nnUNetTrainer):
    pass
"""


def test_the_table_has_every_trainer_with_its_settings():
    """Loss, settings and their values are the menu's."""
    rows = GUIDE.split("| alone | with Dice |")[1].split("\n\n")[0].splitlines()[2:]
    shown = {}
    for row in rows:
        alone, with_dice, loss, settings = (cell.strip() for cell in row.strip("|").split("|"))
        values = dict(re.findall(r"`(\w+)` ([\w.]+)", settings))
        shown |= {name.strip("`"): (loss.strip("`"), values) for name in (alone, with_dice) if name}

    menu = read_menu("losses")
    assert shown.keys() == TRAINERS.keys()
    for name, (loss, _) in TRAINERS.items():
        settings = {key: str(value) for key, value in menu[loss].settings.items()}
        settings.pop("dice_weight", None)  # nnU-Net's own Dice
        assert shown[name] == (menu[loss].target.rsplit(".", 1)[1], settings)


def test_every_trainer_of_the_guide_exists():
    """But for nnU-Net's own, and the reader's."""
    named = set(re.findall(r"nnUNetTrainer\w*", GUIDE))

    assert named - set(TRAINERS) == {
        "nnUNetTrainer",
        "nnUNetTrainer_250epochs",
        "nnUNetTrainer_Xepochs",
        "nnUNetTrainerDiceNACL__nnUNetPlans__2d",
        "nnUNetTrainerDiceNACL_weight02_250epochs",
        "nnUNetTrainerDiceNACL_tryout",
        "nnUNetTrainerDiceNACL_tryout__nnUNetPlans__2d",
    }


def test_the_tutorial_has_its_files_from_the_package(tmp_path, monkeypatch):
    """Where nothing of the project is but what a wheel carries."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package/shipped").mkdir()
    (tmp_path / "package/shipped/demo").symlink_to(ROOT / "demo")
    monkeypatch.setattr("nacl_monai.wheel.__file__", str(tmp_path / "package/wheel.py"))
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "docs/tutorials/audit.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    names = {}
    for cell in cells[:2]:
        exec(cell, names)

    predicted = {file.stem for file in (tmp_path / "softmax/fold_0/validation").glob("*.npz")}
    assert {file.name for file in Path("labels").iterdir()} == {f"{n}.nii.gz" for n in predicted}
    assert not any(str(ROOT) in cell or "parents" in cell for cell in cells)


def test_the_subclass_of_the_guide_trains_with_what_it_says(start):
    """Settings and epochs."""
    names = {}
    exec(SUBCLASS, names)
    trainer = start(names["nnUNetTrainerDiceNACL_weight02_250epochs"])

    assert trainer._build_loss().loss.ce.penalties[0].weight == 0.2
    assert trainer.num_epochs == 250


class Workplace:
    """A folder with twenty cases, in nnU-Net's layout, and a shell of somebody who uses nnU-Net."""

    def __init__(self, root):
        self.root = root
        processes = {f"nnUNet_{name}": "1" for name in ("n_proc_DA", "def_n_proc", "npp", "nps")}
        folders = {
            f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")
        }
        commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, **processes, **folders, "PATH": commands}
        self.environment.pop("nnUNet_extTrainer", None)
        (root / "short").mkdir()
        (root / "short" / "short.py").write_text(SHORT)

    def run(self, line, code=0, **environment):
        """Runs a line as it is, on a CPU where there is no GPU; returns what it printed."""
        if (
            line.startswith(("nnUNetv2_train", "nnUNetv2_predict"))
            and not torch.cuda.is_available()
        ):
            line += " -device cpu"
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.root,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def dataset(self, name, **description):
        """Sixteen cases that train, six of them in the fold's validation: patients are not divided."""
        cases = sorted(file.name.split(".")[0] for file in (DEMO / "imagesTr").glob("h*.nii.gz"))[
            :20
        ]
        raw, planned = self.root / "raw" / name, self.root / "preprocessed" / name
        for case in cases:
            train = case in cases[:16]
            images = raw / "imagesTr" if train else self.root / "images"
            labels = raw / "labelsTr" if train else self.root / "labels"
            for folder, kind, end in ((images, "imagesTr", "_0000"), (labels, "labelsTr", "")):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(DEMO / kind / f"{case}.nii.gz", folder / f"{case}{end}.nii.gz")
        described = {"channel_names": {"0": "MRI"}, "numTraining": 16, "file_ending": ".nii.gz"}
        (raw / "dataset.json").write_text(json.dumps({**described, **description}))
        self.run(f"nnUNetv2_plan_and_preprocess -d {name[7:10]} -c 2d -np 1 -npfp 1")
        split = [{"train": cases[:10], "val": cases[10:16]}]
        (planned / "splits_final.json").write_text(json.dumps(split))

    def results(self, dataset, trainer):
        """The folder of a trained fold."""
        return self.root / "results" / dataset / f"{trainer}__nnUNetPlans__2d" / "fold_0"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """One that knows our trainers, by the guide's own line, and the short ones before them."""
    pytest.importorskip("nnunetv2")
    place = Workplace(tmp_path_factory.mktemp("nnunet"))
    folder = place.run(f"{EXPORT}; printenv nnUNet_extTrainer").stdout.strip()
    place.environment["nnUNet_extTrainer"] = f"{place.root / 'short'}{os.pathsep}{folder}"
    return place


@pytest.fixture(scope="module")
def trained(workplace):
    """A training by the guide's command, and its prediction."""
    workplace.dataset("Dataset004_Hippocampus", labels=LABELS)
    workplace.run(TRAIN)
    workplace.run(PREDICT)
    return workplace


@pytest.mark.nightly
def test_the_extra_installs_nnunet(workplace):
    """The one with which these tests run; the package itself alone would be installed anew."""
    out = workplace.run(f"cd '{ROOT}'; {INSTALL} --dry-run").stdout

    (missing,) = re.findall(r"Would install (.*)", out)
    assert "Requirement already satisfied: nnunetv2>=" in out
    assert f"nacl-monai-{version('nacl-monai')}" in missing.split()


@pytest.mark.nightly
def test_the_try_out_ends_with_a_page(workplace):
    """Line by line as it is printed, each of which succeeds."""
    workplace.run(f"set -e\n{TRYOUT}")

    assert (workplace.root / "tryout/audit/page.html").is_file()


@pytest.mark.nightly
def test_predictions_are_audited_and_calibrated(trained):
    """By the last two of the five commands, and through the calibrator by the one below them."""
    out = trained.run(AUDIT).stdout
    assert "nnU-Net v2, 4 cases, 3 classes by softmax" in out
    assert (trained.root / "audit" / "page.html").is_file()

    out = trained.run(CALIBRATE).stdout
    assert "nnU-Net v2, 6 of 16 labeled cases, 3 classes by softmax" in out
    assert "signed_distance_all: knots -9 -6 -4" in out

    (line,) = re.findall(r"`(nacl-monai audit [^`]*--calibrator [^`]*)`", GUIDE)
    trained.run(line)
    assert (trained.root / "after" / "page.html").is_file()


@pytest.mark.nightly
def test_a_model_is_handed_on_without_this_project(trained):
    """The zip, nnU-Net and the guide's file give the same probabilities; without it, the message."""
    trained.run(HAND_ON)
    receiver = trained.root / "receiver"
    receiver.mkdir()
    (receiver / "stand_in.py").write_text(STAND_IN)
    there = {"nnUNet_results": str(receiver), "nnUNet_extTrainer": str(receiver)}
    trained.run("nnUNetv2_install_pretrained_model_from_zip model.zip", **there)
    predict = PREDICT.replace("-o predictions", "-o received")
    trained.run(predict, **there)

    files = sorted((trained.root / "predictions").glob("*.npz"))
    assert len(files) == 4
    for file in files:
        received = np.load(trained.root / "received" / file.name)["probabilities"]
        same_bits(received, np.load(file)["probabilities"], "the same model on the same machine")
    error = trained.run(predict, 1, nnUNet_results=str(receiver), nnUNet_extTrainer="").stderr
    (message,) = re.findall(r"nnU-Net says `([^`]*)`", GUIDE)
    assert message in error


@pytest.mark.nightly
def test_a_training_goes_on_where_it_ended(trained):
    """With ``--c``, and with the settings with which it began alone."""
    fold = trained.results("Dataset004_Hippocampus", "nnUNetTrainerDiceNACL")
    changed = json.dumps({"penalty_weight": 0.2})
    refused = trained.run(f"{TRAIN} --c", 1, EPOCHS="3", SETTINGS=changed).stderr
    assert re.search(r"^error: nnUNetTrainerDiceNACL: loss_settings is .*0\.2.*0\.1", refused, re.M)
    assert "Traceback" not in refused

    before = set(fold.glob("training_log_*.txt"))
    trained.run(f"{TRAIN} --c", EPOCHS="3")
    (log,) = set(fold.glob("training_log_*.txt")) - before
    assert re.findall(r": Epoch (\d+)", log.read_text()) == ["2"]


@pytest.mark.nightly
def test_regions_are_refused_in_one_line_and_audited_and_calibrated(workplace):
    """Our trainer names itself and nnU-Net's, whose predictions are taken structure by structure."""
    name = "Dataset104_Regions"
    workplace.dataset(name, labels=REGIONS, regions_class_order=[1, 2])
    train = TRAIN.replace("train 4 ", "train 104 ")
    refused = workplace.run(train, 1).stderr
    assert re.search(r"^error: nnUNetTrainerDiceNACL: .* has regions; train these", refused, re.M)
    assert "Traceback" not in refused

    # After two epochs the logits may be worse than chance, of which no temperature can be learned.
    workplace.run(train.replace("nnUNetTrainerDiceNACL", "nnUNetTrainerShort"), EPOCHS="8")
    predictions = workplace.results(name, "nnUNetTrainerShort") / "validation"
    folders = f"'{predictions}' '{workplace.root / 'raw' / name / 'labelsTr'}'"
    out = workplace.run(f"nacl-monai audit {folders} --output regions").stdout
    assert "6 of 16 labeled cases, 2 overlapping structures by sigmoid" in out
    calibrate = f"nacl-monai calibrate {folders} --output regions_calibrated --region all"
    out = workplace.run(calibrate).stdout
    assert "signed_distance_all: knots -9 -6 -4" in out
