"""An evaluator whose network is known: the image itself holds the probabilities' logarithms."""

from functools import partial

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import IgniteMetricHandler, MeanDice, from_engine
from monai.transforms import Activationsd, AsDiscreted, Compose, CopyItemsd, Lambdad

from nacl_monai.metrics import BoundedHausdorffMetric, structure_masks
from nacl_monai.training import Audited, CalibrationError, LogitProfile, ReliabilityPlot

CLASSES = ["background", "left", "right"]
REGIONS = ["foreground", "union"]
STRUCTURES = {"left": [1], "right": [2], "both": [1, 2]}


class Identity(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, volume):
        return volume


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """Folder written by all handlers, the engine, and the volumes that went through it."""
    rng = np.random.default_rng(0)
    volumes = []
    for number in (2, 0, 1):  # not in alphabetical order, to see that rows keep to their case
        label = rng.integers(0, 3, (1, 6, 5, 4 + number)).astype(np.uint8)
        if number == 1:
            label[label == 2] = 0  # a volume without the class `right`
        right = label == np.arange(3)[:, None, None, None]
        logits = rng.normal(0, 2, (3, *label.shape[1:])) + 3 * right
        image = torch.tensor(logits, dtype=torch.float32)
        names = {"case": f"case{number}", "patient": f"patient{number // 2}"}
        volumes.append({**names, "image": image, "label": torch.tensor(label)})
    output_dir = tmp_path_factory.mktemp("evaluation")
    calibration = CalibrationError(num_bins=15, regions=REGIONS, decisions=STRUCTURES)
    masks = ["pred_masks", "label_masks"]
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(volumes, batch_size=1),
        network=Identity(),
        postprocessing=Compose(
            [
                Activationsd("pred", softmax=True),
                CopyItemsd("pred", names="probabilities"),
                AsDiscreted("pred", argmax=True),
                CopyItemsd(["pred", "label"], names=masks),
                Lambdad(masks, partial(structure_masks, structures=STRUCTURES)),
            ]
        ),
        key_val_metric={
            "dice": MeanDice(output_transform=from_engine(masks)),
            "hd95": IgniteMetricHandler(
                BoundedHausdorffMetric(include_background=True), output_transform=from_engine(masks)
            ),
            "calibration": calibration,
        },
        val_handlers=[
            Audited(output_dir, CLASSES, calibration, "synthetic", ["dice", "hd95"]),
            LogitProfile(output_dir, CLASSES),
            ReliabilityPlot(calibration, output_dir, name="synthetic", cases="audited"),
        ],
    )
    evaluator.run()
    return output_dir, evaluator, {volume["case"]: volume for volume in volumes}


def expected_calibration_error(confidence, correct, num_bins=15):
    """Equation 10 of the paper as a plain loop."""
    error = 0.0
    for index in range(num_bins):
        inside = (index / num_bins < confidence) & (confidence <= (index + 1) / num_bins)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return error


def trainer_of(network, cases, loss, handlers, *, epochs, optimizer, batch_size=1, **options):
    """A stock trainer of MONAI; its optimizer may be the learning rate of SGD."""
    if isinstance(optimizer, float):
        optimizer = torch.optim.SGD(network.parameters(), lr=optimizer)
    return SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(cases, batch_size=batch_size),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        train_handlers=handlers,
        **options,
    )
