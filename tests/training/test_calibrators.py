"""A calibrator is the run's own, fitted on other patients than those that it is tested on."""

import json

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.files import checksum
from nacl_monai.runs import RunFolder
from nacl_monai.training import calibrated_network, fit_calibrator

NAME = "temperature_foreground"
NETWORK = torch.nn.Conv2d(1, 3, 1)
WHOLE = {"method": "temperature", "parameters": {"temperature": 2}, "weights": "", "patients": []}
WHOLE |= {"region": "foreground"}
# Four voxels in five are right.
LOGITS = torch.tensor([0.0, 3.0]).view(2, 1, 1).expand(2, 1, 5)
VOLUME = {"image": LOGITS[:1], "label": torch.tensor([[[1, 1, 1, 0, 1]]]), "case": "v1"}
CASES = [{"case": "a_frame01", "patient": "a"}, {"case": "b"}]


@pytest.fixture
def run(tmp_path):
    """A run whose temperature is 2, fitted on the patients c and d."""
    run = RunFolder(tmp_path)
    run.model.write_bytes(b"weights")
    write(run, {})
    return run


def write(run, changes):
    """Writes the calibrator with some changes."""
    parameters = {"temperature": 2.0}
    record = {"method": "temperature", "parameters": parameters, "patients": ["c", "d"]}
    record |= {"weights": checksum(run.model), "region": "foreground"}
    file = run.calibrated(NAME).calibrator
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**record, **changes}))


def test_temperature_is_behind_the_network(run):
    """Half the logits for a temperature of two."""
    image = torch.rand(2, 1, 4, 4)

    assert torch.equal(calibrated_network(NETWORK, run, NAME, CASES)(image), NETWORK(image) / 2)


def test_without_a_name_the_network_stays_itself(run):
    """Nothing is put behind it."""
    assert calibrated_network(NETWORK, run, None, CASES) is NETWORK


def test_temperature_moves_to_the_device_of_the_network(run):
    """Logits and temperature are divided on one device."""
    behind = calibrated_network(torch.nn.Conv2d(1, 3, 1, device="meta"), run, NAME, CASES)

    assert behind.calibrator.temperature.device.type == "meta"


@pytest.mark.parametrize("patient", ["a", "b"])
def test_patient_of_the_fit_cannot_test_it(run, patient):
    """Neither a patient nor, where nobody knows patients, a case."""
    write(run, {"patients": ["c", patient]})

    with pytest.raises(InputError, match=f"was fitted on patient {patient}, who cannot test it; "):
        calibrated_network(NETWORK, run, NAME, CASES)


def test_calibrator_of_other_weights_is_refused(run):
    """After another training the temperature is not the model's."""
    run.model.write_bytes(b"other weights")

    with pytest.raises(InputError, match="was fitted to another model.pt; fit it again"):
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


def test_calibrator_without_a_word_of_its_average_is_of_probabilities(run):
    """Earlier versions did not write the default down."""
    calibrated_network(NETWORK, run, NAME, CASES, average="probabilities")
    with pytest.raises(InputError, match="fitted to the average of probabilities, not of logits"):
        calibrated_network(NETWORK, run, NAME, CASES, average="logits")


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", '{"method": "vector"}', '{"method": "temperature", "parameters": 2}'),
        *(
            json.dumps({**WHOLE, "parameters": parameters})
            for parameters in ({}, {"temperature": "warm"}, {"temperature": -1}, {"scales": [1]})
        ),
        json.dumps({**WHOLE, "region": "all"}),
        *(json.dumps({k: v for k, v in WHOLE.items() if k != key}) for key in WHOLE),
    ],
)
def test_damaged_calibrator_is_named(run, content):
    """A file that was cut, holds no temperature, or is of another region, is none."""
    run.calibrated(NAME).calibrator.write_text(content)

    with pytest.raises(InputError, match=r"calibrator.json: is damaged; fit the calibrator again"):
        calibrated_network(NETWORK, run, NAME, CASES)


def test_calibrator_must_be_fitted_first(run):
    """The message says how."""
    with pytest.raises(InputError, match="is not there; fit the calibrator first"):
        calibrated_network(NETWORK, run, "temperature_all", CASES)


def test_fit_is_recorded_with_its_patients_and_weights(run, capsys):
    """The temperature at which four voxels in five are right: 3 / log(4)."""

    def inferer(image, network):
        assert not network.training
        assert image.shape == (1, 1, 1, 5)
        return LOGITS[None]

    fit_calibrator("temperature_union", NETWORK, inferer, [VOLUME], "cpu", run)
    record = json.loads(run.calibrated("temperature_union").calibrator.read_text())

    assert record["parameters"]["temperature"] == pytest.approx(
        3 / torch.tensor(4.0).log().item(), rel=1e-4
    )
    assert record["patients"] == ["v1"]
    assert record["weights"] == checksum(run.model)
    assert "temperature_union: " in capsys.readouterr().out
