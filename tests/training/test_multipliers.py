"""Multipliers are learned from the violations of the validation cases."""

import copy

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.inferers import SimpleInferer, SliceInferer

from nacl_monai.losses import (
    ComposedLoss,
    CRaCLoss,
    CRaCPenalty,
    DeepSupervisionLoss,
    DiceCELoss,
    NACLLoss,
)
from nacl_monai.training import Multipliers, multipliers


class Scale(torch.nn.Module):
    """Logits are the image times a number that is learned."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, image):
        return self.factor * image


def cases(*shape, number=3):
    """Images that are logits of three classes, and labels."""
    return [
        {"image": torch.randn(3, *shape), "label": torch.randint(3, (1, *shape)).float()}
        for _ in range(number)
    ]


@pytest.fixture
def train():
    """Trains with a loss; returns the multipliers before each epoch, and what was validated with."""

    def run(loss, validation, inferer=None, epochs=3, every=1, **schedule):
        torch.manual_seed(0)
        network = Scale()
        evaluator = SupervisedEvaluator(
            device="cpu",
            val_data_loader=DataLoader(validation, batch_size=1),
            network=network,
            inferer=inferer or SimpleInferer(),
        )
        handlers = [
            ValidationHandler(every, evaluator),
            Multipliers(loss, evaluator, inferer, **schedule),
        ]
        trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=DataLoader(cases(4, 5), batch_size=1),
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
            loss_function=loss,
            train_handlers=handlers,
        )
        factors = []
        evaluator.add_event_handler(
            Events.EPOCH_STARTED, lambda: factors.append(network.factor.item())
        )
        trainer.run()
        return factors

    return run


def expected(factors, validation, **schedule):
    """The multipliers of a loop over the cases, after a validation with each factor of the network."""
    penalty = CRaCPenalty()
    for factor in factors:
        sums, voxels = torch.zeros(2, 3, dtype=torch.float64), 0
        for case in validation:
            images, labels = case["image"], case["label"]
            slices = [(images, labels)]
            if images.ndim == 4:
                slices = [(images[..., z], labels[..., z]) for z in range(images.shape[-1])]
            for image, label in slices:
                of_slice, count = penalty.measure(factor * image[None], label[None])
                sums, voxels = sums + of_slice, voxels + count
        penalty.update(sums, voxels, **schedule)
    return penalty.state_dict()


def check(loss, state):
    for name, value in state.items():
        (found,) = (v for key, v in loss.state_dict().items() if key.endswith(name))
        torch.testing.assert_close(found, value, rtol=1e-6, atol=1e-9)


def test_images_are_measured_as_they_are(train):
    """Every validation is one update, from its cases and the network of its time."""
    loss, validation = CRaCLoss(), cases(6, 5)
    factors = train(loss, validation)

    assert len(set(factors)) == 3
    check(loss, expected(factors, validation))


@pytest.mark.parametrize("wrapped", [False, True])
def test_volumes_are_measured_slice_by_slice_where_the_network_sees_slices(train, wrapped):
    """Neighbors are those of the training; the penalty may be a part of any loss."""
    loss, validation = CRaCLoss(), cases(6, 5, 4)
    if wrapped:
        loss = DeepSupervisionLoss(ComposedLoss(DiceCELoss(), [CRaCPenalty()]))
    factors = train(loss, validation, SliceInferer(roi_size=(6, 5), spatial_dim=2))

    check(loss, expected(factors, validation))


def test_schedule_is_handed_on(train):
    """Growth at every update."""
    schedule = {"growth": 2.0, "decrease": 0.1, "interval": 1, "largest": 0.5}
    loss, validation = CRaCLoss(), cases(6, 5)
    factors = train(loss, validation, epochs=5, **schedule)

    state = expected(factors, validation, **schedule)
    assert state["penalty_parameters"].unique().tolist() == [0.5]
    check(loss, state)


def test_epoch_without_a_validation_changes_nothing(train):
    """Two of five epochs are validated."""
    loss, validation = CRaCLoss(), cases(6, 5)
    factors = train(loss, validation, epochs=5, every=2)

    assert len(factors) == 2
    assert loss.penalties[0].updates == 2
    check(loss, expected(factors, validation))


def test_other_losses_are_left_alone(train):
    """They have nothing to learn, and no handler is registered."""
    loss = NACLLoss()
    before = copy.deepcopy(loss.state_dict())
    train(loss, cases(6, 5))

    assert loss.state_dict() == before == {}


def test_processes_learn_from_the_cases_of_all(train, monkeypatch):
    """What another process has measured counts; one may have seen no case at all."""
    mine, others = cases(6, 5, number=2), cases(6, 5, number=3)
    measured = CRaCPenalty().measure
    theirs = [measured(2 * case["image"][None], case["label"][None]) for case in others]
    monkeypatch.setattr(multipliers, "gathered", lambda value: [value, theirs, []])
    loss = CRaCLoss()
    factors = train(loss, mine, epochs=1)
    ours = [measured(factors[0] * case["image"][None], case["label"][None]) for case in mine]
    sums, voxels = zip(*theirs, *ours, strict=True)
    penalty = CRaCPenalty()
    penalty.update(sum(sums), sum(voxels))

    check(loss, penalty.state_dict())
