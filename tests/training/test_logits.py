"""What is learned and told from the logits."""

import copy
from unittest.mock import Mock

import numpy as np
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
from nacl_monai.training import LogitHistogram, Multipliers, logits
from tests.training.conftest import CLASSES


def test_profile_sums_the_logits_before_softmax(evaluated):
    """Sums of |logit| per true class over all volumes, from before the softmax."""
    output_dir, _, volumes = evaluated
    profile = np.load(output_dir / "logits.npz")
    sums, counts = np.zeros((3, 3)), np.zeros(3, int)
    for volume in volumes.values():
        logits, label = volume["image"].double().numpy(), volume["label"][0].numpy()
        for true in range(3):
            counts[true] += (label == true).sum()
            for output in range(3):
                sums[true, output] += np.abs(logits[output][label == true]).sum()

    assert list(profile["classes"]) == CLASSES
    assert (profile["sums"].dtype, profile["counts"].dtype) == (np.float64, np.int64)
    np.testing.assert_allclose(sums, profile["sums"], rtol=1e-12)
    np.testing.assert_array_equal(counts, profile["counts"])


class Network(torch.nn.Module):
    """Returns its input times a number that is learned, as one tensor or in one of two other ways."""

    def __init__(self, kind):
        super().__init__()
        self.scale, self.kind = torch.nn.Parameter(torch.tensor(2.0)), kind

    def forward(self, image):
        logits = self.scale * image
        return {
            "tensor": lambda: logits,
            "list": lambda: [logits, 100 * logits[..., ::2]],
            "stacked": lambda: torch.stack([logits, 100 * logits], 1),
        }[self.kind]()


def loss(logits, _):
    return (logits if isinstance(logits, torch.Tensor) else logits[0]).mean()


@pytest.mark.parametrize("decollate", [False, True])
@pytest.mark.parametrize("kind", ["tensor", "list", "stacked"])
def test_histogram_counts_the_largest_logits_of_every_epoch(tmp_path, kind, decollate):
    """Each epoch counts the largest logit of every voxel with the weights that the network had then."""
    batches = [{"image": 4 * torch.randn(2, 5, 6), "label": torch.zeros(1, 5, 6)} for _ in range(5)]
    network = Network(kind)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=3,
        train_data_loader=DataLoader(batches, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=loss,
        decollate=decollate,
        train_handlers=[LogitHistogram(tmp_path)],
    )
    seen, written = [], []

    def remember(*_):
        seen[-1].append(network.scale.item())

    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: seen.append([]))
    network.register_forward_pre_hook(remember)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda: written.append(np.load(tmp_path / "logit_histogram.npz")["epochs"].tolist()),
    )
    trainer.run()

    histogram = np.load(tmp_path / "logit_histogram.npz")
    assert written == [[1], [1, 2], [1, 2, 3]]
    assert histogram["counts"].dtype == np.int64
    images = torch.stack([item["image"] for item in batches]).split(2)
    edges = [-np.inf, *histogram["edges"], np.inf]
    for scales, counts in zip(seen, histogram["counts"], strict=True):
        batches = zip(scales, images, strict=True)
        largest = torch.cat([(scale * image).amax(1).flatten() for scale, image in batches])
        np.testing.assert_array_equal(np.histogram(largest, edges)[0], counts)
    assert histogram["counts"].sum(axis=1).tolist() == [5 * 30] * 3


def iteration(images, labels=None):
    """An engine after the forward pass of a batch, whose logits are the images."""
    output = {"pred": images, "image": images, "label": labels}
    return Mock(state=Mock(output=output, epoch=1))


def test_resumed_histogram_goes_on_with_the_earlier_epochs(tmp_path):
    """The state holds the epochs so far; what a handler adds later does not change it."""
    first = LogitHistogram(tmp_path)
    ones = torch.ones(242, dtype=torch.int64)
    first.load_state_dict({**first.state_dict(), "epochs": [1], "counts": [ones]})
    state, engine = first.state_dict(), iteration(torch.ones(1, 2, 3, 3))
    first._add(engine)
    first._write(engine)

    histogram = np.load(tmp_path / "logit_histogram.npz")
    assert state["epochs"] == [1]
    assert len(state["counts"]) == 1
    assert histogram["epochs"].tolist() == [1, 1]
    assert histogram["counts"].sum(axis=1).tolist() == [242, 9]


def test_histogram_goes_on_within_an_epoch_on_another_device(tmp_path, monkeypatch):
    """A checkpoint is read to the CPU, and the network counts where it is; "meta" acts as a GPU."""
    here, there = torch.ones(242, dtype=torch.int64), torch.ones(242, device="meta")
    counts = Mock(side_effect=[(here, torch.zeros(241)), (there, torch.zeros(241))])
    monkeypatch.setattr("nacl_monai.training.logits.maximum_logit_counts", counts)
    engine = iteration(torch.zeros(1, 2, 3))
    stopped, resumed = LogitHistogram(tmp_path), LogitHistogram(tmp_path)
    stopped._add(engine)

    resumed.load_state_dict(stopped.state_dict())
    resumed._add(engine)

    assert resumed._current.device.type == "meta"


@pytest.mark.parametrize("behind", [0, 2], ids=["label", "label and image"])
def test_histogram_counts_no_voxel_that_nobody_labeled(tmp_path, behind):
    """Whatever its logits are; the image may follow the label, as some losses need it."""
    generator = torch.Generator().manual_seed(0)
    images = 4 * torch.randn(3, 2, 5, 6, generator=generator)
    labels = torch.randint(0, 3, (3, 1, 5, 6), generator=generator)
    images.masked_fill_(labels == 2, 1e6)
    handler = LogitHistogram(tmp_path, ignore_index=2)
    engine = iteration(images, torch.cat([labels, images[:, :behind]], 1))
    handler._add(engine)
    handler._write(engine)

    histogram = np.load(tmp_path / "logit_histogram.npz")
    largest = images.amax(1)[labels[:, 0] != 2]
    edges = [-np.inf, *histogram["edges"], np.inf]
    np.testing.assert_array_equal(histogram["counts"], [np.histogram(largest, edges)[0]])


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
    monkeypatch.setattr(logits, "gathered", lambda value: [value, theirs, []])
    loss = CRaCLoss()
    factors = train(loss, mine, epochs=1)
    ours = [measured(factors[0] * case["image"][None], case["label"][None]) for case in mine]
    sums, voxels = zip(*theirs, *ours, strict=True)
    penalty = CRaCPenalty()
    penalty.update(sum(sums), sum(voxels))

    check(loss, penalty.state_dict())
