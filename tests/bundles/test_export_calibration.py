"""A bundle with a calibrator: its network and the calibrator, together and apart."""

import json
import shutil
from functools import cache

import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser

from nacl_monai.bundles.export import export_bundle
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import checksum
from nacl_monai.posthoc import Calibrator, Fit, write_calibrator
from nacl_monai.reports import Evaluated
from nacl_monai.reports.evaluation_files import EvaluationOf
from nacl_monai.runs import RunFolder
from tests.bundles.conftest import BUNDLES

FITS = {
    "temperature_union": ("temperature", {"temperature": 3.0}),
    "vector_all": ("vector", {"scales": [0.5, 1.0, 2.0], "biases": [0.5, -0.5, 0.0]}),
}


def write_fit(run, name, parameters=None, **changes):
    """Writes a calibrator as `calibrating` does, and a trace of its evaluation."""
    method, usual = FITS[name]
    fit = Fit(
        method, parameters or usual, 0.5, 0.25, 0.0125, name.rpartition("_")[2], ("b", "d"), 7
    )
    said = {"weights": checksum(run.model), "average": "probabilities", **changes}
    folder = run.calibrated(name)
    folder.path.mkdir(parents=True)
    write_calibrator(folder.calibrator, Calibrator(fit, fit.patients, "dataset", **said))


def measured(run):
    """An evaluation that found nothing but how deep its folder is."""
    metrics = pd.DataFrame({"parts": [float(len(run.path.parts))]}, index=["c"])
    patients = pd.Series(["c"], metrics.index, name="patient")
    return Evaluated(run.path, metrics, patients, None, EvaluationOf("test", {}))


@pytest.fixture(scope="module")
def exported(trained_once, tmp_path_factory):
    """Name → a run with that calibrator, evaluated, and its bundle; its means are another matter."""
    root = tmp_path_factory.mktemp("calibrated")
    run = RunFolder(shutil.copytree(trained_once, root / trained_once.name))
    for name in FITS:
        write_fit(run, name)
        record = run.calibrated(name).evaluation.record
        record.parent.mkdir()
        record.write_text('{"settings": {"average": "logits"}}')

    @cache
    def bundle(name):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("nacl_monai.bundles.export.measured", measured)
            words = (run.path, root / name, "hippocampus", {}, BUNDLES)
            return run, export_bundle(*words, calibrator=name)[0]

    return bundle


@pytest.mark.parametrize(
    "name", ["temperature_union", pytest.param("vector_all", marks=pytest.mark.slow)]
)
def test_calibrator_is_behind_the_network(exported, name):
    """`model.ts` has both, `plain.ts` the network alone to the bit, inference both or one."""
    _, bundle = exported(name)
    models, image = bundle / "models", torch.rand(2, 1, 48, 64)
    config = ConfigParser.load_config_file(bundle / "configs/inference.json")
    parser = ConfigParser({**config, "bundle_root": str(bundle), "device": "cpu"})
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(models / "model.pt"))
    calibrator = parser.get_parsed_content("calibrator_def")

    with torch.no_grad():
        plain = network(image)
        assert torch.equal(torch.jit.load(models / "plain.ts")(image), plain)
        method, parameters = FITS[name]
        values = {key: torch.tensor(value) for key, value in parameters.items()}
        expected = (
            plain / values["temperature"]
            if method == "temperature"
            else (plain * values["scales"][:, None, None] + values["biases"][:, None, None])
        )
        torch.testing.assert_close(torch.jit.load(models / "model.ts")(image), expected)
        torch.testing.assert_close(calibrator(plain), expected)
    for calibrated in (True, False):
        parser = ConfigParser({**parser.get(), "calibrated": calibrated})
        assert parser.get_parsed_content("evaluator::calibrated") == calibrated


def test_model_card_and_metadata_say_what_is_behind_the_network(exported):
    """Which calibrator, on whom, with what effect, how to do without; the numbers are of both."""
    evaluated, bundle = exported("temperature_union")
    card = (bundle / "docs/README.md").read_text()
    metadata = json.loads((bundle / "configs/metadata.json").read_text())

    assert "`temperature_union` behind the network" in card
    assert (
        "region `union` of 2 validation patients: there the NLL fell from 0.5000 to 0.2500" in card
    )
    assert "1.25% of the voxels changed their class. `--calibrated False` leaves it out" in card
    assert "calibrated by temperature_union" in metadata["description"]
    assert metadata["eval_metrics"] == {
        "parts": len(evaluated.calibrated("temperature_union").path.parts)
    }
    assert metadata["changelog"].popitem()[1] == "weights of the run unet_nacl_seed0"


def test_windows_are_averaged_as_in_the_evaluation_on_the_card(exported):
    """Numbers of the mean of logits say nothing about the mean of probabilities."""
    _, bundle = exported("temperature_union")

    for kind in ("evaluate", "inference"):
        config = ConfigParser.load_config_file(bundle / f"configs/{kind}.json")
        assert ConfigParser({**config, "bundle_root": str(bundle)}).get("average") == "logits"
        assert config["inferer"]["average"] == "@average"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("temperature_union", {"temperature": 100.0}),
        ("temperature_union", {"temperature": 0.01}),
        ("vector_all", {"scales": [1.0, 0.01, 1.0], "biases": [0.0, 0.0, 0.0]}),
    ],
)
def test_calibrator_at_the_end_of_the_search_is_refused(run, tmp_path, name, parameters):
    """Nothing was found: the logits are worse than chance, or the patients too few."""
    run = RunFolder(run)
    write_fit(run, name, parameters)
    record = run.calibrated(name).evaluation.record
    record.parent.mkdir()
    record.touch()

    with pytest.raises(
        InputError, match=r"calibrator.json: ends with (temperature|scale) .*; fit it"
    ):
        export_bundle(run.path, tmp_path / "x", "hippocampus", {}, BUNDLES, calibrator=name)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "changes", "error", "message"),
    [
        ("temperature_all", {}, InputError, "calibrator.json: is not there; fit the calibrator"),
        ("temperature_edge", {}, SettingError, "is not a calibrator"),
        ("ensemble", {}, InputError, "is several networks, and a bundle holds one"),
        ("temperature_union", {"weights": "other"}, InputError, "was fitted to another model.pt"),
        ("temperature_union", {}, InputError, "is not evaluated, so nobody knows what it does"),
    ],
)
def test_calibrator_that_cannot_be_exported_is_refused(
    run, tmp_path, name, changes, error, message
):
    """Before anything is written."""
    write_fit(RunFolder(run), "temperature_union", **changes)

    with pytest.raises(error, match=message):
        export_bundle(run, tmp_path / "x", "hippocampus", {}, BUNDLES, calibrator=name)
    assert not (tmp_path / "x").exists()
