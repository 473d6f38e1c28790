"""A calibrator is the run's own, fitted on other patients than those that it is tested on."""

import itertools
import json
from dataclasses import replace

import pytest
import torch

from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import checksum
from nacl_monai.metrics import REGIONS
from nacl_monai.posthoc import METHODS, Calibrator, Fit, read_calibrator, write_calibrator
from nacl_monai.runs import RunFolder
from nacl_monai.training import calibrated_network, fit_calibrator
from nacl_monai.training.calibrators import Steps, read_name

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
    said = {"weights": checksum(run.model), "average": "probabilities", **changes}
    calibrator = Calibrator(replace(FIT, patients=patients), patients, "dataset", **said)
    return write_calibrator(run.calibrated(NAME).calibrator, calibrator)


def test_temperature_is_behind_the_network(run):
    """Half the logits for a temperature of two."""
    image = torch.rand(2, 1, 4, 4)

    assert torch.equal(calibrated_network(NETWORK, run, NAME, CASES)(image), NETWORK(image) / 2)


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
    fit = ("temperature_union", NETWORK, lambda *_: LOGITS[None], [VOLUME], "cpu", run)
    behind = (NETWORK, run, "temperature_union", CASES)

    fit_calibrator(*fit, checkpoint=other)
    calibrated_network(*behind, checkpoint=other)
    with pytest.raises(InputError, match="was fitted to another model.pt; fit it again"):
        calibrated_network(*behind)
    run.model.unlink()
    fit_calibrator(*fit, checkpoint=str(other))
    calibrated_network(*behind, checkpoint=str(other))


@pytest.mark.parametrize("fitted", ["probabilities", "logits"])
def test_calibrator_is_of_the_average_that_it_was_fitted_to(run, fitted):
    """Where windows overlap, a mean of logits is more certain than one of probabilities."""
    other = {"probabilities": "logits", "logits": "probabilities"}[fitted]
    fit = ("temperature_union", NETWORK, lambda *_: LOGITS[None], [VOLUME], "cpu", run)
    behind = (NETWORK, run, "temperature_union", CASES)

    fit_calibrator(*fit, average=fitted)

    calibrated_network(*behind, average=fitted)
    with pytest.raises(
        InputError,
        match=f"fitted to the average of {fitted}, not of {other}; write --average {fitted}, or fit",
    ):
        calibrated_network(*behind, average=other)


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
        record = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))

    with pytest.raises(InputError, match=r"calibrator.json: is damaged; fit the calibrator again"):
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


@pytest.mark.parametrize(("method", "region"), [*itertools.product(METHODS, REGIONS)])
def test_name_says_method_region_and_where_the_ensemble_is(method, region):
    """Behind the mean, in front of it, or without one."""
    assert read_name(f"{method}_{region}") == Steps(method, region)
    assert read_name(f"ensemble_{method}_{region}") == Steps(method, region, of_mean=True)
    assert read_name(f"{method}_{region}_ensemble") == Steps(method, region, of_members=True)


@pytest.mark.parametrize(
    "name",
    [
        *(None, "", "temperature", "platt_union", "temperature_edge", "_ensemble", "ensemble_"),
        *("ensemble_ensemble", "ensemble_temperature", "ensemble_temperature_union_ensemble"),
    ],
)
def test_other_names_are_refused(name):
    """The message says what a name is made of, with the choices."""
    with pytest.raises(SettingError, match="write <method>_<region> with a method out of temper"):
        read_name(name)
