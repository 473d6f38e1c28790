"""A temperature fitted on the validation patients, applied to the test patients."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser

from nacl_monai.bundles.command_line import keys_and_values
from nacl_monai.bundles.export import export_bundle
from nacl_monai.cli import main
from nacl_monai.metrics import expected_calibration_error
from nacl_monai.metrics.record import read_record
from nacl_monai.runs import RunFolder
from nacl_monai.training.checkpoints import load_state, save_state
from tests.configurations.conftest import FAST, ROOT, arguments, run_module

pytestmark = pytest.mark.slow

NAME = "temperature_union"


@pytest.fixture(scope="module")
def acdc(run_of):
    """Words of every command, and the run."""
    dataset, dataset_dir, run = run_of("acdc")
    shared = ["--dataset_dir", dataset_dir, "--output_dir", run]
    shared += ["--cache_dir", run.parent / "cache", "--calibrator", NAME]
    return dataset, run, shared


@pytest.fixture(scope="module")
def calibrated(acdc):
    """The run with a fitted and evaluated temperature, which the test of the command makes anew."""
    dataset, run, shared = acdc
    with pytest.MonkeyPatch.context() as monkeypatch:
        for run_id in ("calibrating", "evaluating"):
            run_module(monkeypatch, arguments(run_id, dataset, *shared))
    return run / "calibrated" / NAME


def cases_of(folder):
    """The cases of an evaluation."""
    return pd.read_csv(folder / "evaluation/cases.csv", index_col="case")


def test_label_maps_stay_and_probabilities_change(calibrated, acdc):
    """The Dice of every case is the plain run's, its calibration is another; the plain one stays."""
    plain, scaled = map(cases_of, (acdc[1], calibrated))
    dice = [column for column in plain if column.startswith(("dice", "hd95"))]

    pd.testing.assert_frame_equal(plain[dice], scaled[dice])
    assert not np.allclose(plain["nll_union"], scaled["nll_union"])
    assert not np.allclose(plain["expected_dice"], scaled["expected_dice"], equal_nan=True)


def test_bins_say_what_is_behind_the_network(calibrated, acdc):
    """The plain run's name nothing."""
    files = (folder / "evaluation/bins.npz" for folder in (acdc[1], calibrated))

    assert [read_record(file).calibrator for file in files] == [[], [NAME]]


def onnx_network(file):
    """Slices to logits by onnxruntime, slice by slice."""
    session = onnxruntime.InferenceSession(file)

    def network(slices):
        logits = [session.run(None, {"image": plane[None].numpy()})[0] for plane in slices]
        return torch.from_numpy(np.concatenate(logits))

    return network


@pytest.mark.parametrize(
    "name", [pytest.param("temperature_all", marks=pytest.mark.nightly), "local_temperatures_all"]
)
def test_exported_files_have_the_calibration_that_was_reported(bundle, acdc, tmp_path, name):
    """Computed from their outputs on the test set, by MONAI's inferer and a metric in memory."""
    dataset, run, shared = acdc
    for run_id in ("calibrating", "evaluating"):
        bundle.done(*arguments(run_id, dataset, *shared[:-1], name))
    overrides = keys_and_values(FAST["acdc"])
    exported, _ = export_bundle(
        run, tmp_path / "b", "acdc", overrides, ROOT / "bundles", calibrator=name, onnx=True
    )
    models = exported / "models"
    config = ConfigParser(ConfigParser.load_config_file(exported / "configs/evaluate.json"))
    config.update({"dataset_dir": str(shared[1]), "cache_dir": str(tmp_path), "device": "cpu"})
    config["split_file"] = str(run / "split.json")
    volumes = config.get_parsed_content("volumes")
    inferer = config.get_parsed_content("inferer")
    reported = {folder: cases_of(RunFolder(run).calibrated(folder).path) for folder in (name, None)}

    labels = ["dice", "hd95"]  # label maps stay
    pd.testing.assert_frame_equal(reported[name][labels], reported[None][labels])
    for file, folder in [("model", name), ("plain", None)]:
        scripted = torch.jit.load(models / f"{file}.ts")
        for network in (scripted, onnx_network(models / f"{file}.onnx")):
            for item in volumes:
                probs = inferer(item["image"][None], network).softmax(1)
                for region in ("foreground", "union"):
                    found = expected_calibration_error(probs, item["label"][None], region=region)
                    expected = reported[folder].loc[item["case"], f"ece_{region}"]
                    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_command_shows_a_run_before_and_after(bundle, acdc, calibrated, monkeypatch, capfd):
    """It fits, evaluates, answers each question by both evaluations, and writes its page."""
    _, run, shared = acdc
    steps, start = [], subprocess.run

    def in_this_process(command, **options):
        if command[0] != sys.executable:  # git, for the record
            return start(command, **options)
        code, errors = bundle(*command[3:])
        steps.append(command[4])
        assert code == 0, errors
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", in_this_process)
    shutil.rmtree(calibrated)
    command = ["calibrate", run, *shared[:2], *shared[4:6], "--calibrator", NAME]
    assert main([str(word) for word in command]) == 0

    printed = capfd.readouterr().out
    before, after = (cases_of(folder)["nll_all"].mean() for folder in (run, calibrated))
    assert steps == ["calibrating", "evaluating"]  # the run is evaluated already
    assert f", NLL {before:.4f} → {after:.4f}." in printed
    page = re.sub("</?span>", "", (calibrated / "page.html").read_text())  # its commands' words
    assert f"--calibrator {NAME} --dataset_dir" in page
    _check_record(json.loads((calibrated / "page.json").read_text()), run, calibrated)


def _check_record(record, run, calibrated):
    """It has the means of both tables, no interval of one patient, and who fitted the calibrator."""
    fitted = json.loads((calibrated / "calibrator.json").read_text())
    assert record["calibrated_by"] == fitted["patients"]
    assert fitted["patients"]
    command = f"nacl-monai calibrate {run} --calibrator {NAME}"
    assert record["commands"]["Made by"].startswith(command)
    for when, folder in (("before", run), ("after", calibrated)):
        table = cases_of(folder)
        assert table["patient"].nunique() == 1
        rows = {row["name"]: row for row in record["numbers"] if row["when"] == when}
        for name in ("nll_all", "brier_all", "dice", "ece_union"):
            mean, low, high = (rows[name][key] for key in ("mean", "low", "high"))
            assert mean == pytest.approx(table[name].mean(), abs=1e-6)
            assert (low, high) == (None, None)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["RUN"], "--dataset_dir: is missing; say where the dataset of this run is"),
        (["RUN/nothing", "--dataset_dir", "x"], "config.json: no such file; name a training's"),
        (["RUN", "--folds", "3"], "--folds: has no effect on a run; leave it out"),
        (["a", "b", "--dataset_dir", "x"], "--dataset_dir: has no effect on a folder of"),
        (["RUN", "--calibrator", "ensemble", "--region", "all"], "leave --method and --region out"),
        (["a", "b", "--calibrator", "x"], "--calibrator: has no effect on a folder of"),
        (["RUN", "--method", "platt"], "platt: is of structures; choose from signed_distance,"),
        (
            ["RUN", "--method", "magic"],
            "magic: is not known; choose from signed_distance, distance, temp",
        ),
        (
            ["RUN", "--dataset_dir", "x", "--margin", "2"],
            "is of other settings, calibration::margin (3.0, now 2); leave them out",
        ),
        (["a", "b", "c"], "b: has no place beside saved predictions"),
    ],
)
def test_words_that_mean_nothing_are_refused(acdc, capsys, args, message):
    """Nothing that was typed is passed over."""
    try:
        code = main(["calibrate", *(word.replace("RUN", str(acdc[1])) for word in args)])
    except SystemExit as error:  # as argparse ends
        code = error.code

    assert code != 0
    assert message in capsys.readouterr().err


def test_patients_of_the_fit_cannot_test_it(bundle, calibrated, acdc):
    """Those of the validation set; their calibration would be too good to be true."""
    dataset, _, shared = acdc

    command = arguments("evaluating", dataset, *shared, "--cases_to_evaluate", "val")
    assert "who cannot test it; evaluate the test set" in bundle.refused(*command)
    assert (calibrated / "evaluation/cases.csv").is_file()


def test_ensemble_is_evaluated_in_the_folder_of_its_first_seed(bundle, acdc, tmp_path):
    """By Jensen, the NLL of mean probabilities is below the mean NLL of members that differ."""
    dataset, run, shared = acdc
    seeds = [RunFolder(tmp_path / f"unet_nacl_seed{seed}") for seed in (0, 1)]
    for copy in seeds:
        shutil.copytree(run, copy.path)
    state = load_state(RunFolder(run).model)
    save_state({name: 1.1 * value for name, value in state.items()}, seeds[1].model)
    seeds[1].model.with_name("model.pt.sha256").unlink()

    def evaluated(folder, *args):
        args = [*shared[:3], folder.path, *shared[4:-2], *args]
        bundle.done(*arguments("evaluating", dataset, *args))
        return cases_of(folder.path)["nll_all"]

    ensemble = ["--calibrator", "ensemble"]
    args = [*shared[:3], seeds[0].path, *shared[4:-2], *ensemble]
    bundle.done(*arguments("calibrating", dataset, *args))
    evaluated(seeds[0], *ensemble)
    found = cases_of(seeds[0].calibrated("ensemble").path)

    members = [evaluated(folder) for folder in seeds]
    assert (found["nll_all"] < sum(members) / 2).all()
    assert (members[0] != members[1]).all()
