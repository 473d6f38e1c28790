"""Schedules, seeds, progress, trainings that have failed, and what is learned from the logits."""

import copy
import random
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, Trainer
from monai.handlers import ValidationHandler
from monai.inferers import SimpleInferer, SliceInferer
from monai.transforms import RandScaleIntensity

from nacl_monai.errors import InputError, SettingError
from nacl_monai.losses import (
    ComposedLoss,
    CRaCLoss,
    CRaCPenalty,
    CrossEntropyLoss,
    DeepSupervisionLoss,
    DiceCELoss,
    ForeignLoss,
    NACLLoss,
)
from nacl_monai.training import (
    EpochSeed,
    LogitHistogram,
    Multipliers,
    Position,
    Progress,
    ScheduleState,
    StopOnDivergence,
    check_interval,
    last_step,
    logits,
    loss_and_terms,
    next_step,
)
from nacl_monai.training.epochs import refusal_of_length
from tests.conftest import refused
from tests.same import same_bits, same_values
from tests.training.conftest import CLASSES, trainer_of


def test_longer_interval_is_refused():
    """No model would be kept; one up to the number of epochs leaves a validation."""
    for epochs, interval in ((1, 1), (3, 3), (100, 2)):
        check_interval(epochs, interval)
    with pytest.raises(SettingError, match="--val_interval 4: .* write a whole number from 1 to 3"):
        check_interval(3, 4)


def config(epochs, scheduler=None, **more):
    step = {"_target_": "nacl_monai.training.half_of_epochs", "max_epochs": "@max_epochs"}
    drop = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": step, "gamma": 0.1}
    adam = {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.1}
    scheduler = {**(scheduler or drop), "optimizer": "@train::optimizer"}
    train = {"optimizer": adam, "lr_scheduler": scheduler, "trainer": {"epochs": "@max_epochs"}}
    return {"max_epochs": epochs, "train": train, **more}


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 9, 100, 101])
def test_rate_falls_once_after_half_of_the_epochs(epochs):
    """Whether their number is even or odd; of one epoch there is nothing to lower."""
    parser = ConfigParser(config(epochs))
    parser["train::optimizer::params"] = [torch.nn.Parameter(torch.zeros(1))]
    scheduler = parser.get_parsed_content("train::lr_scheduler")
    rates = []
    for _ in range(epochs):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()

    expected = [0.1 if epoch < epochs / 2 else 0.01 for epoch in range(epochs)]
    assert rates == pytest.approx(expected)


def scheduler_of(name, **settings):
    return {"_target_": f"torch.optim.lr_scheduler.{name}", **settings}


@pytest.mark.parametrize(
    ("now", "earlier", "begun", "message"),
    [
        (config(12), 10, 5, "epoch 6 is 0.01, that of 12 epochs 0.1"),  # it has just fallen
        (config(12), 10, 4, ""),
        (config(10), 9, 9, ""),  # which falls after five epochs, too
        (config(11), 10, 10, "epoch 6 is 0.01, that of 11 epochs 0.1"),
        (config(20), 10, 10, "epoch 6 is 0.01, that of 20 epochs 0.1"),
        (config(9), 10, 3, "only be made longer"),
        # Schedulers that know no length allow any; those that end with the training none.
        (config(8, scheduler_of("ConstantLR", factor=1.0)), 4, 4, ""),
        (config(8, scheduler_of("ExponentialLR", gamma=0.9)), 4, 4, ""),
        (
            config(8, scheduler_of("CosineAnnealingLR", T_max="@max_epochs")),
            4,
            4,
            "rate of epoch 2",
        ),
        (config(8, scheduler_of("ReduceLROnPlateau", factor=0.5)), 4, 4, "on more than the epoch"),
    ],
)
def test_length_may_change_as_long_as_no_learning_rate_does(now, earlier, begun, message):
    """Neither one that was nor one that is still ahead; every scheduler is asked itself."""
    refusal = refusal_of_length(now, earlier, begun)

    assert message in refusal
    assert bool(message) == bool(refusal)


def test_anything_else_that_depends_on_the_length_refuses():
    """Such as a loss that is warmed up."""
    refusal = refusal_of_length(config(12, loss={"warmup": "$@max_epochs // 2"}), 10, 1)

    assert refusal == "loss::warmup depends on max_epochs"


def test_state_has_no_settings_and_an_earlier_one_that_has_is_read():
    """The step of the configuration counts, not that of the file."""
    network = torch.nn.Linear(1, 1)
    optimizers = [torch.optim.Adam(network.parameters()) for _ in range(2)]
    pairs = zip(optimizers, (2, 3), strict=True)
    schedulers = [torch.optim.lr_scheduler.StepLR(*pair, gamma=0.1) for pair in pairs]
    schedulers[0].optimizer.step()
    schedulers[0].step()

    state = ScheduleState(schedulers[0]).state_dict()
    assert "step_size" not in state
    ScheduleState(schedulers[1]).load_state_dict(schedulers[0].state_dict())
    assert (schedulers[1].last_epoch, schedulers[1].step_size) == (1, 3)
    assert ScheduleState(schedulers[1]).state_dict() == state


@pytest.mark.parametrize("iterations", [1, 5])
def test_epochs_follow_each_other_without_a_gap(iterations):
    """The steps of an epoch begin where those of the one before end."""
    steps = 0
    for epoch in range(4):
        assert last_step(epoch, range(iterations)) == steps
        assert next_step(Position(epoch), range(iterations)) == steps + 1
        assert next_step(Position(epoch, iterations), range(iterations)) == steps + iterations + 1
        steps += iterations


def test_terms_are_those_of_the_latest_loss():
    """They are asked for in every iteration, not when the handler is made."""
    loss_function = DeepSupervisionLoss(CrossEntropyLoss())
    for seed in range(2):
        torch.manual_seed(seed)
        loss = loss_function(torch.randn(1, 2, 4, 4), torch.ones(1, 1, 4, 4))
        shown = loss_and_terms({"loss": loss}, loss_function)

        assert list(shown) == ["loss", "cross_entropy"]
        assert shown["loss"] == loss.item()
        assert shown == loss_and_terms([{"loss": loss}, {"loss": None}], loss_function)
        assert float(shown["cross_entropy"]) == pytest.approx(loss.item())


def draws(seed, epochs, start=0):
    """What every generator gives in each epoch, and the order of the samples."""
    data = Dataset([torch.full((1,), float(k)) for k in range(6)], RandScaleIntensity(0.5, prob=1))
    seen = []

    def iteration(_, batch):
        numbers = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
        seen.append((*batch.flatten().tolist(), *numbers))

    trainer = Trainer("cpu", epochs, DataLoader(data, shuffle=True), iteration_update=iteration)
    EpochSeed(seed).attach(trainer)

    def begin():
        trainer.state.epoch, trainer.state.iteration = start, 6 * start

    trainer.add_event_handler(Events.STARTED, begin)
    trainer.run()
    return [seen[k : k + 6] for k in range(0, len(seen), 6)]


def test_epoch_alone_equals_the_same_epoch_after_others():
    """An epoch done alone is the same as after others; epochs and seeds differ."""
    first, second, third = draws(0, 3)

    assert draws(0, 3, start=1) == [second, third]
    assert first != second
    drawn = draws(1, 2)
    assert drawn != [first, second]
    assert drawn[0] != second  # of seed and epoch, and not of their sum


@pytest.mark.parametrize("deterministic", [False, True])
def test_gpu_takes_its_fastest_kernels_unless_the_same_bits_are_asked_for(
    monkeypatch, deterministic
):
    """Whatever MONAI's seeding sets."""
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", not deterministic)
    monkeypatch.setattr(cudnn, "benchmark", deterministic)
    data = DataLoader(Dataset([0]))
    trainer = Trainer("cpu", 1, data, iteration_update=lambda *_: None)
    EpochSeed(0, deterministic).attach(trainer)
    trainer.run()

    assert (cudnn.deterministic, cudnn.benchmark) == (deterministic, not deterministic)


def train(images, loss=lambda logits, _: logits.nan_to_num(0, 0, 0).mean(), network=None, epochs=2):
    batches = [
        {"case": f"case{k}", "image": torch.full((2, 3, 3), image), "label": torch.zeros(1, 3, 3)}
        for k, image in enumerate(images)
    ]
    options = {"epochs": epochs, "optimizer": 0.0, "batch_size": 2}
    network = network or torch.nn.Conv2d(2, 2, 1)
    trainer = trainer_of(network, batches, loss, [StopOnDivergence()], **options)
    trainer.run()
    return trainer


@pytest.mark.parametrize(
    ("value", "message"), [(2, "hold 2, but there are 2 classes"), (0.5, "hold 0.5")]
)
@pytest.mark.parametrize(
    "form", [CrossEntropyLoss(), ForeignLoss(torch.nn.CrossEntropyLoss(), "indices")]
)
def test_label_that_is_no_class_ends_the_training_before_its_step(value, message, form):
    """In whichever batch it is, by the loss's own line, and losses elsewhere check at once as before."""
    labels = [torch.zeros(1, 3, 3), torch.full((1, 3, 3), value)]
    batches = [{"image": torch.randn(2, 3, 3), "label": label} for label in labels]
    network = torch.nn.Conv2d(2, 2, 1)
    trainer = trainer_of(network, batches, form, [StopOnDivergence()], epochs=1, optimizer=0.1)
    weights = []
    trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda: weights.append(network.weight.detach().clone())
    )
    with pytest.raises(InputError, match=message):
        trainer.run()

    assert trainer.state.iteration == 2
    same_bits(weights[1], network.weight, "a step that is refused changes nothing")
    assert not torch.allclose(*weights)
    with pytest.raises(InputError, match=message):
        form(torch.zeros(1, 2, 3, 3), labels[1][None])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize(("times", "hopeless"), [(9.9, False), (10.1, True), (1e11, True)])
def test_epoch_that_is_worse_than_knowing_nothing_ends_the_training(scale, times, hopeless):
    """The second of two epochs; the limit is 10 times the loss of zero logits, or 10 if that is less."""

    def loss(logits, _):
        at_zero = (logits == 0).all()
        value = torch.where(at_zero, scale, times * max(scale, 1))
        return value + 0 * logits.mean()

    if not hopeless:  # however large finite logits are
        assert train([1.0, 2.0, 1e30], loss=loss).state.epoch == 2
        return
    line = f"mean loss {times * max(scale, 1):g}, where a network that knows nothing has {scale:g};"
    line = f"epoch 2: the training has diverged, {line} lower the"
    assert refused(train, [1.0, 2.0, 3.0], loss=loss).startswith(line)


def test_first_epoch_may_be_hopeless_unless_it_is_the_last():
    """Networks without normalization begin with large logits."""
    bad = [True, True, False, False]

    def loss(logits, _):
        at_zero = bool((logits == 0).all())
        return logits.mean() * 0 + (0.1 if at_zero or not bad.pop(0) else 1e3)

    assert train([1.0, 2.0, 3.0], loss=loss).state.epoch == 2
    bad += [True, True]
    with pytest.raises(InputError, match="epoch 1: the training has diverged, mean loss 1000"):
        train([1.0, 2.0, 3.0], loss=loss, epochs=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_case_whose_logits_are_not_finite_is_named(value):
    """The case whose logits are NaN or infinite is named, its neighbor in the batch is not."""
    with pytest.raises(InputError, match="epoch 1, iteration 2: .* in a batch with case3;"):
        train([0.0, 1.0, 2.0, value])


def test_all_cases_are_named_if_only_the_loss_is_not_finite():
    """If only the loss is NaN, all cases of the batch are named; they change no weight."""
    network = torch.nn.Conv2d(2, 2, 1)
    before = [weights.clone() for weights in network.parameters()]
    with pytest.raises(InputError, match="iteration 1: .* loss nan, .* with case0, case1;"):
        train([0.0, 1.0], loss=lambda logits, _: logits.mean() * torch.nan, network=network)
    torch.testing.assert_close(list(network.parameters()), before)


def test_bar_counts_iterations_and_shows_the_latest_validation(capsys, monkeypatch):
    """The bar ends at epochs × batches, with the epoch, the loss and the validator's metrics."""
    monkeypatch.setattr("nacl_monai.progress.QUIET", 0.0)  # as in a terminal
    validator = Engine(lambda *_: None)
    validator.state.metrics["val_dice"] = 0.75
    trainer = Engine(lambda *_: [{"loss": 0.5}, {"loss": 0.5}])
    Progress("Training", validator=validator, metrics=["val_dice", "absent"]).attach(trainer)

    trainer.run([1, 2, 3], max_epochs=2)

    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "epoch=2/2, loss=0.500, val_dice=0.750" in shown
    assert "absent" not in shown


def test_exception_is_not_swallowed():
    """Ignite leaves it to whoever handles it, as the bar does, to raise it again."""
    engine = Engine(lambda *_: 1 / 0)
    Progress("Evaluating").attach(engine)

    with pytest.raises(ZeroDivisionError):
        engine.run([1])


def test_profile_sums_the_logits_before_softmax(evaluated):
    """Sums of |logit| per true class over all volumes, from before the softmax."""
    output_dir, _, volumes = evaluated
    profile = np.load(output_dir / "logits.npz")
    sums, counts = np.zeros((3, 3)), np.zeros(3, int)
    for volume in volumes.values():
        logits, label = volume["image"].double().numpy(), volume["label"][0].numpy()
        for true in range(3):
            counts[true] += (label == true).sum()
            sums[true] += np.abs(logits[:, label == true]).sum(axis=1)

    assert list(profile["classes"]) == CLASSES
    assert (profile["sums"].dtype, profile["counts"].dtype) == (np.float64, np.int64)
    np.testing.assert_allclose(sums, profile["sums"], rtol=1e-12)
    same_values(counts, profile["counts"])


class Network(torch.nn.Module):
    """Returns its input times a number that is learned, as one tensor or in one of two other ways."""

    def __init__(self, kind="tensor"):
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
    options = {"epochs": 3, "optimizer": 1.0, "batch_size": 2, "decollate": decollate}
    trainer = trainer_of(network, batches, loss, [LogitHistogram(tmp_path)], **options)
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
        same_values(np.histogram(largest, edges)[0], counts)
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
    same_values(histogram["counts"], [np.histogram(largest, edges)[0]])


def cases(*shape, number=3):
    """Images that are logits of three classes, and labels."""
    return [
        {"image": torch.randn(3, *shape), "label": torch.randint(3, (1, *shape)).float()}
        for _ in range(number)
    ]


def train_with(loss, validation, inferer=None, epochs=3, every=1, **schedule):
    """Trains with a loss; returns by what the network multiplied images at each validation."""
    torch.manual_seed(0)
    network = Network()
    loader = DataLoader(validation, batch_size=1)
    evaluator = SupervisedEvaluator("cpu", loader, network, inferer=inferer or SimpleInferer())
    learning = Multipliers(loss, evaluator, inferer, **schedule)
    handlers = [ValidationHandler(every, evaluator), learning]
    factors = []
    evaluator.add_event_handler(Events.EPOCH_STARTED, lambda: factors.append(network.scale.item()))
    trainer_of(network, cases(4, 5), loss, handlers, epochs=epochs, optimizer=0.01).run()
    return factors


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


@pytest.mark.parametrize(("epochs", "every"), [(3, 1), (5, 2)])
def test_images_are_measured_as_they_are(epochs, every):
    """Every validation is one update, from its cases and the network of its time; no other epoch is."""
    loss, validation = CRaCLoss(), cases(6, 5)
    factors = train_with(loss, validation, epochs=epochs, every=every)

    assert len(set(factors)) == loss.penalties[0].updates == epochs // every
    check(loss, expected(factors, validation))


@pytest.mark.parametrize("wrapped", [False, True])
def test_volumes_are_measured_slice_by_slice_where_the_network_sees_slices(wrapped):
    """Neighbors are those of the training; the penalty may be a part of any loss."""
    loss, validation = CRaCLoss(), cases(6, 5, 4)
    if wrapped:
        loss = DeepSupervisionLoss(ComposedLoss(DiceCELoss(), [CRaCPenalty()]))
    factors = train_with(loss, validation, SliceInferer(roi_size=(6, 5), spatial_dim=2))

    check(loss, expected(factors, validation))


def test_schedule_is_handed_on():
    """Growth at every update."""
    schedule = {"growth": 2.0, "decrease": 0.1, "interval": 1, "largest": 0.5}
    loss, validation = CRaCLoss(), cases(6, 5)
    factors = train_with(loss, validation, epochs=5, **schedule)

    state = expected(factors, validation, **schedule)
    assert state["penalty_parameters"].unique().tolist() == [0.5]
    check(loss, state)


def test_other_losses_are_left_alone():
    """They have nothing to learn, and no handler is registered."""
    loss = NACLLoss()
    before = copy.deepcopy(loss.state_dict())
    train_with(loss, cases(6, 5))

    assert loss.state_dict() == before == {}


def test_processes_learn_from_the_cases_of_all(monkeypatch):
    """What another process has measured counts; one may have seen no case at all."""
    mine, other_cases = cases(6, 5, number=2), cases(6, 5, number=3)
    measured = CRaCPenalty().measure
    theirs = [measured(2 * case["image"][None], case["label"][None]) for case in other_cases]
    monkeypatch.setattr(logits, "gathered", lambda value: [value, theirs, []])
    loss = CRaCLoss()
    factors = train_with(loss, mine, epochs=1)
    ours = [measured(factors[0] * case["image"][None], case["label"][None]) for case in mine]
    sums, voxels = zip(*theirs, *ours, strict=True)
    penalty = CRaCPenalty()
    penalty.update(sum(sums), sum(voxels))

    check(loss, penalty.state_dict())


def test_schedule_that_is_misspelled_is_refused_at_once():
    """And not at the first validation, when hours may have passed."""
    with pytest.raises(TypeError, match="grwoth"):
        Multipliers(torch.nn.Identity(), Engine(lambda *_: None), grwoth=1.3)
