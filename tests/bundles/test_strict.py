"""Whatever a command has wrong is refused before the first batch, for every bundle, in one line."""

import sys

import pytest

from nacl_monai.runtime.__main__ import main
from tests.bundles.conftest import FAST, ROOT, arguments
from tests.bundles.test_errors import one_line

MISSPELT_LOSS = {"_target_": "nacl_monai.losses.FocalLoss", "gama": 2.0}
FAULTS = {
    "override": (["--lerning_rate", 0.1], "did you mean --learning_rate?"),
    "loss": (["--loss", "@losses::nalc"], "there is no losses::nalc in the configuration"),
    "network": (["--network_def", "@networks::vnet"], "there is no networks::vnet"),
    "import": (["--imports", ["$import torch", "$import torcht"]], "No module named 'torcht'"),
    "name": (["--imports", ["$from torch import nix"]], "cannot import name 'nix'"),
    "argument": (["--loss", MISSPELT_LOSS], "FocalLoss: FocalLoss.__init__() got an unexpected"),
    "component": (["--loss", {"_target_": "nacl_monai.losses.Nacl"}], "nacl_monai.losses.Nacl"),
    "bare name": (["--loss", {"_target_": "NACLLoss"}], "write nacl_monai.losses.NACLLoss"),
    "channels": (["--networks::unet::out_channels", 9], "returns 9 channels, but there are"),
    "classes": (["--classes", ["background", "organ"]], "label_values has the values of"),
    "precision": (["--precision", "half"], "precision half: not known; choose from: auto"),
    "batch": (["--precision", "float16", "--device", "$torch.device('cpu')"], "needs a GPU"),
    "half on a CPU": (["--precision", "float16", "--device", "cpu"], "needs a GPU"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dataset", FAST)
def test_fault_is_one_line_and_no_model_is_there(bundle, datasets, tmp_path, dataset, fault):
    """The line says what is wrong, and no model is there."""
    overrides, message = FAULTS[fault]
    shared = ["--dataset_dir", datasets[dataset], "--output_dir", tmp_path / "run"]
    shared += ["--cache_dir", datasets[dataset].parent / "cache", "--max_epochs", 1]

    code, errors = bundle(*arguments("training", dataset, *shared, *overrides))

    assert code == 1
    assert message in one_line(errors)
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("dataset", FAST)
def test_own_command_is_as_strict(monkeypatch, capsys, datasets, tmp_path, dataset):
    """`python -m nacl_monai.runtime run` is as strict before it hands over to MONAI."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    words = ["--dataset_dir", datasets[dataset], "--output_dir", tmp_path, "--max_epoch", 1]

    assert main(arguments("training", dataset, *words)) == 1

    line = one_line(capsys.readouterr().err)
    assert "--max_epoch: there is no such key" in line
    assert "did you mean --max_epochs" in line
    assert not list(tmp_path.iterdir())
