"""What must look at values, found without a GPU: tensors on the meta device have none.

Whatever looks at one waits for the device, and whatever makes a tensor elsewhere fails.
"""

import traceback

import pytest
import torch

from nacl_monai.inference.windows import Behind, WindowInferer
from nacl_monai.losses import NACLLoss
from nacl_monai.losses.inputs import checking_later
from nacl_monai.posthoc import (
    ClassTemperatures,
    DistanceTemperatures,
    Ensemble,
    LocalTemperatures,
    Temperature,
    VectorScaling,
)
from tests.conftest import refused
from tests.losses.test_contract import CASES, VARIANTS, build, labels_for

SHAPES = pytest.mark.parametrize("shape", [(6, 5), (4, 6, 5)], ids=["2-D", "3-D"])
#: What looks at values, with the line that does: a box around the border saves most of a CT.
LOOKING = {
    "distance": "farthest = float(self.knots[-1])",
    "inferer": "min_non_zero = max(torch.min(importance_map).item(), 1e-3)",
}
WEIGHTS = [torch.ones(shape).tolist() for shape in ((2, 4, 3, 3), (2,), (1, 2, 3, 3), (1,))]
CALIBRATORS = {
    "temperature": Temperature(2.0),
    "class_temperatures": ClassTemperatures([1.0, 2.0, 3.0]),
    "vector": VectorScaling([1.0, 2.0, 3.0], [0.0] * 3),
    "local_temperatures": LocalTemperatures(1.0, *WEIGHTS),
    "distance": DistanceTemperatures([1.0] * 6),
}


@SHAPES
@pytest.mark.parametrize(("item", "settings"), [*CASES, *VARIANTS])
def test_loss_looks_at_no_value_but_to_check_labels(item, settings, shape):
    """Forward and backward; the checks of the step are handed to who asks for them all together."""
    loss = build(item, **settings)
    logits = torch.randn(2, 3, *shape, device="meta", requires_grad=True)
    labels = labels_for(loss, torch.zeros(2, 1, *shape, dtype=torch.long)).to("meta")
    with checking_later() as checks:
        loss(logits, labels).backward()

    assert logits.grad.device.type == "meta"
    assert checks


def test_one_hot_labels_in_place_of_an_image_are_refused_later():
    """In the words in which they are refused at once."""
    one_hot = torch.nn.functional.one_hot(torch.randint(3, (1, 4, 5)), 3).movedim(-1, 1)
    bilateral, logits = NACLLoss(prior="bilateral"), torch.randn(1, 3, 4, 5)
    with checking_later() as checks:
        bilateral(logits, one_hot)
    (refuse,) = (refuse for fine, refuse in checks if not fine)

    assert refused(refuse) == refused(bilateral, logits, one_hot)


def last_line(caught):
    """The line of a library or of ours that looked at a value, below which torch has its own."""
    cause = caught.value.__cause__ or caught.value
    frames = traceback.extract_tb(cause.__traceback__)
    return [frame.line for frame in frames if "/torch/" not in frame.filename][-1]


@pytest.mark.parametrize("name", CALIBRATORS)
def test_calibrator_looks_at_no_value_or_is_listed_with_its_line(name):
    """Behind a network, and behind each member of an ensemble."""
    network, calibrator = (
        torch.nn.Conv3d(1, 3, 3, padding=1).to("meta"),
        CALIBRATORS[name].to("meta"),
    )
    volume = torch.randn(1, 1, 12, 9, 5, device="meta")
    if name in LOOKING:
        with pytest.raises(RuntimeError) as caught:
            calibrator(network(volume), spacing=[1.0] * 3)
        assert last_line(caught) == LOOKING[name]
        return
    behind = Behind(network, calibrator)
    for model in (behind, Ensemble([behind, behind])):
        assert model(volume).device.type == "meta"


@pytest.mark.parametrize("size", [[8, 8, 4], [8, 8], [12, 9, 5]])
def test_inferer_looks_at_values_where_monai_weighs_windows(size):
    """And nowhere else: once for a volume, in a line of MONAI's."""
    network = (torch.nn.Conv3d if len(size) == 3 else torch.nn.Conv2d)(1, 3, 3, padding=1)
    volume = torch.randn(1, 1, 12, 9, 5, device="meta")
    with pytest.raises(RuntimeError) as caught:
        WindowInferer(roi_size=size)(volume, network.to("meta"))
    assert last_line(caught) == LOOKING["inferer"]
