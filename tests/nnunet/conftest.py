"""nnU-Net's trainers without a dataset on disk: what a loss depends on is in plans and labels."""

import copy
import sys

import pytest
import torch

CONFIGURATION = {
    "batch_size": 2,
    "patch_size": [32, 32],
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {"strides": [[1, 1], [2, 2], [2, 2], [2, 2]]},
        "_kw_requires_import": [],
    },
}
LABELS = {"background": 0, "anterior": 1, "posterior": 2}


@pytest.fixture
def nnunet_results(tmp_path, monkeypatch):
    """The folder of nnU-Net's results."""
    pytest.importorskip("nnunetv2")
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which a training replaces
    return tmp_path / "results"


@pytest.fixture
def start(nnunet_results):  # noqa: ARG001 - where a trainer writes its log
    """A class of trainers → one of it, on a CPU."""

    def construct(trainer, labels=LABELS, batch_dice=True, dims=2, **dataset):
        configuration = copy.deepcopy(CONFIGURATION)
        configuration["batch_dice"] = batch_dice
        strides = configuration["architecture"]["arch_kwargs"]["strides"]
        configuration["architecture"]["arch_kwargs"]["strides"] = [
            [stride[0]] * dims for stride in strides
        ]
        plans = {
            "dataset_name": "Dataset004_Hippocampus",
            "plans_name": "nnUNetPlans",
            "continue_training": False,
            "configurations": {"2d": configuration},
        }
        described = {"labels": labels, "channel_names": {"0": "MRI"}, **dataset}
        return trainer(plans, "2d", 0, described, torch.device("cpu"))

    return construct
