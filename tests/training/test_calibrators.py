"""What follows a training is its own, of other patients than those of its test, or of all seeds."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.inferers import SimpleInferer

from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import checksum
from nacl_monai.inference.records import own_checksum
from nacl_monai.inference.windows import spacing_of
from nacl_monai.metrics import REGIONS
from nacl_monai.posthoc import METHODS, Calibrator, Fit, read_calibrator, write_calibrator
from nacl_monai.runs import RunFolder
from nacl_monai.training import calibrated_network, fit_calibrator, with_spacing
from nacl_monai.training.calibrators import Steps, ensemble_of, find_members, read_steps
from nacl_monai.training.checkpoints import save_state
from tests.conftest import refused
from tests.same import same_bits

NAME = "temperature_foreground"
NETWORK = torch.nn.Conv2d(1, 3, 1)
FIT = Fit("temperature", {"temperature": 2.0}, 0.5, 0.25, 0.0, "foreground", ("c", "d"), 10)
# Four voxels in five are right.
LOGITS = torch.tensor([0.0, 3.0]).view(2, 1, 1).expand(2, 1, 5)
VOLUME = {"image": LOGITS[:1], "label": torch.tensor([[[1, 1, 1, 0, 1]]]), "case": "v1"}
CASES = [{"case": "a_frame01", "patient": "a"}, {"case": "b"}]


@pytest.fixture
def run(tmp_path):
    """A run whose temperature is 2, fitted on the patients c and d."""
    run = RunFolder(tmp_path)
    run.model.write_bytes(b"weights")
    write(run)
    return run


def write(run, patients=("c", "d"), **changes):
    """Writes the calibrator with some changes."""
    fields = {"weights": checksum(run.model), "average": "probabilities", **changes}
    calibrator = Calibrator(replace(FIT, patients=patients), patients, "dataset", **fields)
    return write_calibrator(run.calibrated(NAME).calibrator, calibrator)


def constant(*_):
    """An inferer that finds the same in any volume."""
    return LOGITS[None]


def test_temperature_is_behind_the_network(run):
    """Half the logits for a temperature of two."""
    image = torch.rand(2, 1, 4, 4)

    found = calibrated_network(NETWORK, run, NAME, CASES)(image)
    same_bits(found, NETWORK(image) / 2, "a division by two is exact")


def test_temperature_moves_to_the_device_of_the_network(run):
    """Logits and temperature are divided on one device."""
    behind = calibrated_network(torch.nn.Conv2d(1, 3, 1, device="meta"), run, NAME, CASES)

    assert behind.calibrator.temperature.device.type == "meta"


@pytest.mark.parametrize("patient", ["a", "b"])
def test_patient_of_the_fit_cannot_test_it(run, patient):
    """Neither a patient nor, where nobody knows patients, a case."""
    write(run, patients=("c", patient))

    with pytest.raises(InputError, match=f"was fitted on patient {patient}, who cannot test it; "):
        calibrated_network(NETWORK, run, NAME, CASES)


def test_calibrator_is_of_the_weights_that_it_was_fitted_to(run, tmp_path):
    """Whichever file they are in; the run's own are others, or are not there at all."""
    other = tmp_path / "other.pt"
    other.write_bytes(b"other weights")
    fit = ("temperature_union", NETWORK, constant, [VOLUME], "cpu", run)
    behind = (NETWORK, run, "temperature_union", CASES)

    fit_calibrator(*fit, checkpoint=other)
    calibrated_network(*behind, checkpoint=other)
    assert "was fitted to another model.pt; fit it again" in refused(calibrated_network, *behind)
    run.model.unlink()
    fit_calibrator(*fit, checkpoint=str(other))
    calibrated_network(*behind, checkpoint=str(other))


@pytest.mark.parametrize("fitted", ["probabilities", "logits"])
def test_calibrator_is_of_the_average_that_it_was_fitted_to(run, fitted):
    """Where windows overlap, a mean of logits is more certain than one of probabilities."""
    other = {"probabilities": "logits", "logits": "probabilities"}[fitted]
    behind = (NETWORK, run, "temperature_union", CASES)
    refusal = f"to the average of {fitted}, not of {other}; write --average {fitted}, or fit"

    fit_calibrator("temperature_union", NETWORK, constant, [VOLUME], "cpu", run, average=fitted)

    calibrated_network(*behind, average=fitted)
    with pytest.raises(InputError, match=refusal):
        calibrated_network(*behind, average=other)


@pytest.mark.parametrize(
    ("region", "margin", "voxels"), [("near", 0.0, 2), ("near", 1.0, 3), ("all", None, 5)]
)
def test_calibrator_is_of_the_margin_that_it_was_fitted_within(run, region, margin, voxels):
    """A region without a margin has none."""
    name = f"temperature_{region}"
    volume = {**VOLUME, "label": torch.tensor([[[0, 1, 0, 0, 1]]])}
    fit_calibrator(name, NETWORK, shifted, [volume], "cpu", run, margin=margin or 0.0)

    fit = read_calibrator(run.calibrated(name).calibrator)
    assert (fit.margin, fit.fit.voxels) == (margin, voxels)
    calibrated_network(NETWORK, run, name, CASES, margin=margin)
    if margin is None:
        calibrated_network(NETWORK, run, name, CASES, margin=3.0)
        return
    line = refused(calibrated_network, NETWORK, run, name, CASES, margin=3.0)
    remedy = f"write --calibration::margin {margin:g}"
    assert f"within {margin:g} mm of predictions, not 3 mm; {remedy}" in line


def shifted(*_):
    """Two voxels of class 1 at the left, three of class 0; each is sure."""
    return torch.tensor([[[[-3.0, -2.0, 3.0, 2.0, 1.0]], [[3.0, 2.0, -3.0, -2.0, -1.0]]]])


@pytest.mark.parametrize(
    "changes",
    [
        *(None, [], {"method": "vector"}, {"method": "ensemble"}, {"parameters": {"scales": [1]}}),
        *({"region": "all"}, {"channels": ["a", "b"]}, {"weights": None}, {"region": None}),
    ],
    ids=str,
)
def test_damaged_calibrator_is_named(run, changes):
    """A file that was cut, holds no temperature, or is of another region, is none."""
    file = write(run)
    if not changes:
        file.write_text("" if changes is None else json.dumps(changes))
    else:
        record = {**json.loads(file.read_text()), **changes, "checksum": None}
        file.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))

    with pytest.raises(InputError, match=f"{file}: is .*; fit the calibrator again"):
        calibrated_network(NETWORK, run, NAME, CASES)


def test_fit_is_recorded_with_its_patients_and_weights(run, capsys):
    """The temperature at which four voxels in five are right: 3 / log(4)."""

    def inferer(image, network):
        assert not network.training
        assert image.shape == (1, 1, 1, 5)
        return LOGITS[None]

    fit_calibrator("temperature_union", NETWORK, inferer, [VOLUME], "cpu", run)
    found = read_calibrator(run.calibrated("temperature_union").calibrator)

    temperature = 3 / torch.tensor(4.0).log().item()
    assert found.fit.parameters["temperature"] == pytest.approx(temperature, rel=1e-4)
    assert (found.patients, found.known_by) == (["v1"], "dataset")
    assert (found.weights, found.average) == (checksum(run.model), "probabilities")
    assert "temperature_union: " in capsys.readouterr().out


def test_evaluated_image_knows_the_spacing_of_its_label():
    """As a calibrator behind the network asks for it; the voxels stay."""
    affine = torch.diag(torch.tensor([0.5, 2.0, 3.0, 1.0]))
    label = MetaTensor(torch.zeros(1, 6, 5, 4), affine=affine)
    item = {"image": torch.randn(1, 6, 5, 4), "label": label}
    (batch,) = DataLoader([item], batch_size=1)

    image, _ = with_spacing(batch, "cpu")
    assert spacing_of(image) == [0.5, 2.0, 3.0]
    same_bits(image.as_tensor(), item["image"][None], "they are copied")
    assert spacing_of(with_spacing({**batch, "label": torch.zeros(1, 1, 6, 5, 4)})[0]) is None


def test_distance_is_fitted_in_the_millimeters_of_the_labels(run):
    """And in voxels where nobody knows them."""
    label = torch.tensor([[[1, 1, 1, 0, 1]]])
    for known, unit in ((MetaTensor(label, affine=torch.eye(4)), "mm"), (label, "voxels")):
        volume = {**VOLUME, "label": known}
        fit_calibrator("distance_all", NETWORK, constant, [volume], "cpu", run)
        found = read_calibrator(run.calibrated("distance_all").calibrator).fit
        assert found.parameters["unit"] == unit


def test_fit_of_a_run_says_what_is_left_on_each_side(run, capsys):
    """Inside what is predicted, two voxels in five are wrong; outside none. Four people are too few."""
    rng, volumes = np.random.default_rng(0), []
    inside = torch.zeros(1, 16, 16, dtype=torch.bool)
    inside[:, 4:12, 4:12] = True
    for k in range(8):
        wrong = inside & torch.from_numpy(rng.random(inside.shape) < 0.4)
        logits = torch.cat([torch.zeros(inside.shape), torch.where(inside, 3.0, -3.0)])
        label = MetaTensor((inside & ~wrong).long(), affine=torch.eye(4))
        volumes.append({"image": logits, "label": label, "case": f"v{k}"})

    for several, expected in ((volumes, True), (volumes[:4], False)):
        fit_calibrator("distance_all", NETWORK, lambda image, _: image, several, "cpu", run)
        out = capsys.readouterr().out
        assert ("inside the predicted border it says" in out) is expected
        assert ("compare --method signed_distance" in out) is expected


@pytest.mark.parametrize(("method", "region"), [*itertools.product(METHODS, REGIONS)])
def test_name_says_method_region_and_where_the_ensemble_is(method, region):
    """Behind the mean, in front of it, or without one."""
    assert read_steps(f"{method}_{region}") == Steps(method, region)
    assert read_steps(f"ensemble_{method}_{region}") == Steps(method, region, of_mean=True)
    assert read_steps(f"{method}_{region}_ensemble") == Steps(method, region, of_members=True)


@pytest.mark.parametrize(
    "name",
    [
        *(None, "", "temperature", "platt_union", "temperature_edge", "_ensemble", "ensemble_"),
        *("ensemble_ensemble", "ensemble_temperature", "ensemble_temperature_union_ensemble"),
    ],
)
def test_other_names_are_refused(name):
    """The message says what a name is made of, with the choices."""
    line = "write <method>_<region> with a method out of signed_distance"
    with pytest.raises(SettingError, match=line):
        read_steps(name)


IMAGE = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
NAMES = ["unet_nacl_seed0", "unet_nacl_seed2", "unet_nacl_seed10"]


def network(seed=0):
    """A network with the weights of a seed."""
    torch.manual_seed(seed)
    return torch.nn.Conv2d(1, 3, 1)


@pytest.fixture
def runs(tmp_path):
    """Three trainings that differ in their seed, and one of another loss."""
    for name in [*NAMES, "unet_dice_ce_seed1"]:
        write_run(RunFolder(tmp_path / name), int(name.partition("_seed")[2]))
    return [RunFolder(tmp_path / name) for name in NAMES]


SETS = {"train": {"a": {}, "b": {}}, "test": {"c": {}}}


def write_run(run, seed, finished=True, data=SETS, **settings):
    """Writes a training; one in its first epoch, whose ``finished`` is None, has no record yet."""
    run.path.mkdir(exist_ok=True)
    save_state(network(seed).state_dict(), run.model)
    loss = run.path.name.partition("_seed")[0]
    run.config.write_text(json.dumps({"seed": seed, "loss": loss, **settings}))
    run.record.write_text(json.dumps({"finished": finished}))
    if finished is None:
        run.record.unlink()
    run.data.write_text(json.dumps(data))


def test_members_are_the_seeds_of_the_training(runs):
    """All of them in the order of their numbers, whichever is asked; no run of another loss."""
    for run in runs:
        assert find_members(run) == {run.path.name: checksum(run.model) for run in runs}


def test_member_that_measured_something_else_is_one(runs):
    """As after an update of the package: its weights are those of the same training."""
    metrics = {"additional_metrics": {"calibration": {"regions": ["near"]}}}
    shown = {"handlers": [{"metrics": ["ece_near"]}]}
    write_run(runs[1], 2, validate=metrics, train=shown)

    assert list(find_members(runs[0])) == NAMES


def test_folder_of_another_name_is_no_member(runs):
    """A run that somebody put aside, or a file."""
    for name in ("unet_nacl_seed0_old", "unet_nacl_seed2.zip", "unet_nacl_seed"):
        write_run(RunFolder(runs[0].path.with_name(name)), 3)

    assert list(find_members(runs[0])) == NAMES


def test_ensemble_has_the_weights_of_every_member(runs):
    """The mean of the probabilities of each member's own network."""
    expected = sum(torch.softmax(network(seed)(IMAGE), 1) for seed in (0, 2, 10)) / 3

    found = ensemble_of(network(0), runs[0], find_members(runs[0]))

    torch.testing.assert_close(torch.softmax(found(IMAGE), 1), expected)


def calibrate(run, **changes):
    """Writes a run's temperature: one more than its seed, fitted on a patient named after it."""
    seed = int(run.path.name.partition("_seed")[2])
    patients = (f"v{seed}",)
    fit = Fit("temperature", {"temperature": seed + 1}, 0.5, 0.25, 0.0, "union", patients, 10)
    fields = {"weights": checksum(run.model), "average": "probabilities", **changes}
    file = run.calibrated("temperature_union").calibrator
    write_calibrator(file, Calibrator(fit, patients, "dataset", **fields))


@pytest.fixture
def calibrated(runs):
    """The three trainings, each with its temperature."""
    for run in runs:
        calibrate(run)
    return runs


JOINED = "temperature_union_ensemble"


def join(run):
    """Joins the calibrated members of a run's ensemble."""
    fit_calibrator(JOINED, network(), None, [], "cpu", run)


def test_members_are_calibrated_before_they_are_averaged(calibrated, capsys):
    """Each by its own temperature, in the order of the name's words."""
    expected = sum(torch.softmax(network(s)(IMAGE) / (s + 1), 1) for s in (0, 2, 10)) / 3

    join(calibrated[1])
    assert capsys.readouterr().out == f"{JOINED}: {', '.join(NAMES)}\n"
    found = calibrated_network(network(), calibrated[1], JOINED, [{"case": "c"}])

    torch.testing.assert_close(torch.softmax(found(IMAGE), 1), expected)


def test_mean_of_the_members_is_calibrated_as_one_network(runs):
    """The temperature is that of the mean probabilities: here 3 / log(4), at four voxels in five."""
    for run, logit in zip(runs, (2.0, 3.0, 4.0), strict=True):
        constant = torch.nn.Conv2d(1, 2, 1)
        torch.nn.init.zeros_(constant.weight)
        constant.bias.data = torch.tensor([0.0, logit])
        save_state(constant.state_dict(), run.model)
    mean = sum(1 / (1 + math.exp(-logit)) for logit in (2.0, 3.0, 4.0)) / 3
    name = "ensemble_temperature_all"

    fit_calibrator(name, constant, SimpleInferer(), [VOLUME], "cpu", runs[0])
    found = calibrated_network(constant, runs[0], name, [{"case": "c"}])

    record = json.loads(runs[0].calibrated(name).calibrator.read_text())
    assert list(record["members"]) == NAMES
    temperature = math.log(mean / (1 - mean)) / math.log(4)
    assert record["parameters"]["temperature"] == pytest.approx(temperature, rel=1e-4)
    torch.testing.assert_close(torch.softmax(found(IMAGE), 1)[:, 1], torch.full((2, 4, 4), 0.8))


def test_patient_of_any_members_fit_cannot_test_the_ensemble(calibrated):
    """Each member may have been fitted on others."""
    join(calibrated[0])

    with pytest.raises(InputError, match="was fitted on patient v2, who cannot test it"):
        calibrated_network(network(), calibrated[0], JOINED, [{"case": "v2"}])


def test_members_must_be_calibrated_first(calibrated):
    """The folder of the one that is not is named."""
    file = calibrated[1].calibrated("temperature_union").calibrator
    file.unlink()

    assert f"{file}: is not there" in refused(join, calibrated[0])


def test_members_calibrators_are_of_the_average_of_the_ensemble(calibrated):
    """One that was fitted to the mean of windows' logits is not put behind that of probabilities."""
    calibrate(calibrated[1], average="logits")

    with pytest.raises(InputError, match=r"_seed2/.*fitted to the average of logits"):
        join(calibrated[0])


@pytest.mark.parametrize("key", ["members", "calibrators"])
def test_damaged_record_of_calibrated_members_is_named(calibrated, key):
    """One that lost its members, or what is behind them."""
    join(calibrated[0])
    file = calibrated[0].calibrated(JOINED).calibrator
    record = {k: part for k, part in json.loads(file.read_text()).items() if k != key}
    file.write_text(json.dumps(record | {"checksum": own_checksum(record)}))

    with pytest.raises(InputError, match=r"calibrator.json: is damaged; fit the calibrator again"):
        calibrated_network(network(), calibrated[0], JOINED, [{"case": "c"}])


COPY = (
    "has the weights of unet_nacl_seed2, and is not another training; train it with another seed, or "
    "keep its folder elsewhere"
)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (NAMES[1], {"finished": False}, "its training is not finished; finish it first"),
        (NAMES[1], {"finished": None}, "its training is not finished; finish it first"),
        (NAMES[1], {"rate": 2}, "was trained with another rate (not set, now 2); train it"),
        (NAMES[1], {"data": {**SETS, "test": {}, "val": {"c": {}}}}, "has other cases in its sets"),
        ("unet_nacl_seed3", {}, COPY),  # which would count twice
    ],
)
def test_member_that_is_no_other_training_of_its_kind_is_refused(runs, name, changes, message):
    """The folder is named, and what differs."""
    member = RunFolder(runs[0].path.with_name(name))
    write_run(member, 2, **changes)

    assert f"{member.path}: {message}" in refused(find_members, runs[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unet_dice_ce_seed1", "there is no training with another seed beside it; train one first"),
        ("mine", "mine: not the name of a run; end it in _seed<n>"),
    ],
)
def test_folder_that_is_no_member_of_anything_is_refused(runs, name, message):
    """The other seeds are to be trained first, and to be found by their names."""
    assert message in refused(find_members, RunFolder(runs[0].path.with_name(name)))


def test_member_that_was_trained_anew_or_is_gone_is_refused(runs):
    """The ensemble that was made is not this one."""
    members = find_members(runs[0])
    write_run(runs[2], 5)
    with pytest.raises(InputError, match="seed10/model.pt: was trained anew since the ensemble"):
        ensemble_of(network(), runs[0], members)

    runs[1].model.unlink()
    with pytest.raises(InputError, match="seed2/model.pt: no trained model there"):
        ensemble_of(network(), runs[0], members)
