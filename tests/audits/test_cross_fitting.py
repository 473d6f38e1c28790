"""A calibrator of saved predictions is fitted to some patients, and tested on others."""

import hashlib
import json
import math
import re
import shlex
import shutil
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from html import unescape
from io import StringIO
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

from nacl_monai import audit, predictions, read_audit
from nacl_monai.audits.calibrate import AFTER, BEFORE
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.inference.records import own_checksum
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.posthoc import (
    METHODS,
    SIGMOID_METHODS,
    Calibrator,
    DistanceTemperatures,
    Fit,
    fit_method,
    logits_of,
    read_calibrator,
)
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.identity import check_unseen, known_by
from nacl_monai.predictions.options import Options
from nacl_monai.reports import verdicts
from tests.predictions.conftest import SPACING, Study, sigmoid_cases, softmax_cases, undraw

#: The regions of the audits.
AUDITED = ("foreground", "union")
PATTERN = ["--patient-pattern", r"(patient\d+)_"]
FIT = Fit("temperature", {"temperature": 2.0}, 0.5, 0.25, 0.0, "union", ("a",), 10)
OF_A_RUN = Calibrator(FIT, ["a"], "dataset", weights="…", average="probabilities")


@pytest.fixture
def study(tmp_path):
    """Eight cases of four people, from a network that is too sure."""
    return Study(tmp_path, softmax_cases(cases=8))


@pytest.fixture
def regions(regions):
    """Six cases of three people."""
    regions.cases = sigmoid_cases(cases=6)
    return regions


@pytest.fixture
def undrawn(undrawn, monkeypatch):  # noqa: ARG001
    """The page of the calibrator as well, which `calibrated` writes."""
    monkeypatch.setattr("nacl_monai.reports.write_calibrated", lambda *_, **__: None)


@pytest.fixture
def calibrate(study, run):
    """Runs the command on the study; returns exit code, standard output and errors."""

    def command(*args, predictions=None, labels=None):
        folders = [predictions or study.nnunet(), labels or study.labels]
        method = [] if "--method" in args else ["--method", "temperature"]
        args = ["--regions", "union", "--no-pictures", *method, *args]
        return run(*folders, *args, verb="calibrate", output="out")

    return command


@pytest.fixture
def fitted(calibrate, tmp_path):
    """Runs it without a fault; returns the calibrator's record."""

    def command(*args, **folders):
        code, _, err = calibrate(*args, **folders)
        assert code == 0, err
        return record_in(tmp_path / "out")

    return command


def record_in(folder):
    return json.loads((folder / "calibrator.json").read_text())


def settings_in(folder):
    return json.loads((folder / "evaluation.json").read_text())["settings"]


@dataclass
class Calibrated:
    """What one run of the command wrote and printed."""

    study: Study
    folder: Path
    printed: str
    args: list

    @property
    def record(self):
        return record_in(self.folder)

    def cases(self, audit):
        return pd.read_csv(self.folder / audit / "cases.csv", index_col="case")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """The study, calibrated in two folds; read, never changed."""
    root = tmp_path_factory.mktemp("study")
    study, printed = Study(root, softmax_cases(cases=8)), StringIO()
    args = ["calibrate", study.nnunet(), study.labels, *PATTERN, "--regions", "union"]
    args += ["--method", "temperature", "--folds", 2, "--output", root / "out"]
    with redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        undraw(patch)
        assert main([*map(str, args)]) == 0
    return Calibrated(study, root / "out", printed.getvalue(), args)


def slow_temperature(cases, patients, ignored=(), margin=3):
    """The temperature of the smallest mean NLL near the prediction, each patient the same."""

    def nll(log):
        by_patient = {}
        for case, (probs, label) in cases.items():
            patient = case.split("_")[0]
            if patient not in patients:
                continue
            far = distance_transform_edt(probs.argmax(0) == 0, sampling=SPACING)
            kept = (far <= margin) & ~np.isin(label, ignored)
            powers = probs[:, kept].astype(np.float64) ** (1 / np.exp(log))
            right = np.take_along_axis(powers / powers.sum(0), label[kept][None], 0)
            by_patient.setdefault(patient, []).extend(-np.log(right[0]))
        return np.mean([np.mean(values) for values in by_patient.values()])

    found = minimize_scalar(nll, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    return np.exp(found.x)


PEOPLE = {"patient0", "patient1", "patient2", "patient3"}


def test_calibrator_is_fitted_to_all_patients(calibrated):
    """An independent search ends at the same temperature; the file says whose the voxels are."""
    assert calibrated.record["patients"] == sorted(PEOPLE)
    assert calibrated.record["cases"] == sorted(calibrated.study.cases)
    assert calibrated.record["patient_pattern"] == PATTERN[1]
    assert calibrated.record["parameters"]["temperature"] == pytest.approx(
        slow_temperature(calibrated.study.cases, PEOPLE), rel=1e-4
    )
    assert "over 4 patients, NLL" in calibrated.printed


def temperature_of(folds):
    """Patient → the temperature of the fold."""
    return {name: fold["parameters"]["temperature"] for fold in folds for name in fold["patients"]}


def test_distance_to_the_predicted_border_is_the_default(study, run, tmp_path):
    """Each case is audited by the fold's curve over mm, which its file says."""
    args = [*PATTERN, "--folds", 2, "--regions", "all", "--no-pictures"]
    code, out, err = run(study.nnunet(), study.labels, *args, verb="calibrate", output="out")
    assert code == 0, err
    record = record_in(tmp_path / "out")
    assert "signed_distance_all: knots -9 -6 -4 -3 -2 -1 0 1 2 3 5 8, temperatures" in out
    assert "\nUp to 3 mm inside the predicted border it says " in out
    assert (record["method"], record["parameters"]["unit"]) == ("signed_distance", "mm")
    found = pd.read_csv(tmp_path / "out/after/cases.csv", index_col="case")["nll_all"]
    for fold in record["folds"]:
        module = DistanceTemperatures(**fold["parameters"])
        for case in (name for name in study.cases if name.split("_")[0] in fold["patients"]):
            probs, label = study.cases[case]
            logits = module(logits_of(torch.from_numpy(probs))[None], spacing=[*SPACING])
            expected = cross_entropy(logits.double(), torch.from_numpy(label)[None].long())
            assert found[case] == pytest.approx(expected.item(), rel=1e-3)


def test_nobody_is_tested_on_what_was_fitted_to_them(calibrated):
    """Each patient is in one fold, whose temperature is that of all others; the audit shows it."""
    cases, folds = calibrated.study.cases, calibrated.record["folds"]

    assert sorted(name for fold in folds for name in fold["patients"]) == sorted(PEOPLE)
    assert len(folds) == 2
    for fold in folds:
        expected = slow_temperature(cases, PEOPLE - set(fold["patients"]))
        assert fold["parameters"]["temperature"] == pytest.approx(expected, rel=1e-4)
    temperatures = temperature_of(folds)
    of_cases = [temperatures[case.split("_")[0]] for case in cases]
    check_errors(calibrated.cases("after"), cases, of_cases)


def test_no_promise_is_made_behind_calibrators_of_folds(calibrated):
    """No calibrator file would fit it; without a calibrator it is counted."""
    assert (calibrated.folder / "before/promise.npz").is_file()
    assert not (calibrated.folder / "after/promise.npz").exists()


def test_bins_say_what_is_behind_them(calibrated):
    """So that no sum of calibrated probabilities is joined to one of others."""
    named = [read_audit(calibrated.folder / name).run.bins.calibrator for name in (BEFORE, AFTER)]

    checksum = settings_in(calibrated.folder / AFTER)["calibrator_checksum"]
    assert named == [[], ["temperature_near", checksum]]


def check_errors(table, cases, temperatures):
    """The table has the errors of the metric in memory on powers of the saved probabilities."""
    metric = CalibrationMetric(regions=AUDITED)
    for (probs, label), temperature in zip(cases.values(), temperatures, strict=True):
        powers = probs.astype(np.float64) ** (1 / temperature)
        metric([powers / powers.sum(0)], [label])
    for place, region in enumerate(AUDITED):
        expected = metric.case_bins()[:, place].ece()
        np.testing.assert_allclose(table[f"ece_{region}"], expected, atol=1e-6)


def test_before_is_the_plain_audit(calibrated):
    """Its errors are those of the saved probabilities."""
    cases = calibrated.study.cases

    check_errors(calibrated.cases("before"), cases, [1.0] * len(cases))


def test_each_question_is_answered_by_what_the_audits_wrote(calibrated):
    """In what is printed and on the page, which ends with the command that makes it again."""
    runs = [read_audit(calibrated.folder / name).run for name in (BEFORE, AFTER)]

    sentences = verdicts(*runs)
    assert "\n".join(sentences) in calibrated.printed
    page = unescape(re.sub("</?span>", "", (calibrated.folder / "page.html").read_text()))
    assert all(sentence in page for sentence in sentences)
    (command,) = re.findall("Made by: <code>nacl-monai (.*)</code>", page)
    assert shlex.split(command) == [*map(str, calibrated.args)]


def test_script_needs_no_package(calibrated):
    """TorchScript of the same module."""
    scripted = torch.jit.load(calibrated.folder / "calibrator.ts")
    logits = torch.randn(1, 3, 4, 4)

    temperature = calibrated.record["parameters"]["temperature"]
    torch.testing.assert_close(scripted(logits), logits / temperature)


def test_without_patients_the_units_are_cases(calibrate, tmp_path):
    """Each is a unit of its own, in the folds as in the words."""
    _, out, _ = calibrate("--folds", "20")

    record = record_in(tmp_path / "out")
    assert record["known_by"] == "case"
    assert [len(fold["patients"]) for fold in record["folds"]] == [1] * 8
    assert "over 8 cases, NLL" in out


def test_ignored_voxels_are_not_fitted(fitted, study):
    """A label that says nothing counts neither in the fit nor in the audits."""
    for _, label in study.cases.values():
        label[:4] = 3
    study.dataset = {"labels": {**study.dataset["labels"], "ignore": 3}}

    expected = slow_temperature(study.cases, PEOPLE, ignored=[3])
    assert fitted(*PATTERN)["parameters"]["temperature"] == pytest.approx(expected, rel=1e-4)


def test_case_that_no_audit_takes_is_not_fitted(calibrate, study, tmp_path):
    """Splines leave probabilities a little below 0; it is named once, and others are fitted."""
    study.cases["patient3_scan7"][0][:, 0, 0, 0] = -1e-4, 0.5, 0.5001

    code, _, err = calibrate(predictions=study.channels())

    assert code == 1
    assert err.count("patient3_scan7.nii.gz: reaches from -0.0001 to") == 1
    record = record_in(tmp_path / "out")
    assert len(record["cases"]) == len(pd.read_csv(tmp_path / "out/after/cases.csv")) == 7


OF_CLASSES = (
    "is not for 3 classes by softmax … choose from signed_distance, "
    "distance, temperature, class_temperatures, vector"
)
OF_STRUCTURES = (
    "is not for 2 overlapping structures by sigmoid … choose from signed_distance, "
    "distance, sigmoid_temperature, structure_temperatures, platt"
)


@pytest.mark.parametrize(
    ("kind", "args", "message"),
    [
        ("study", ["--folds", "1"], "--folds: is 1; give 2 or more"),
        ("study", ["--jobs", "0"], "--jobs: is 0; give 1 or more"),
        ("study", ["--patient-pattern", "(patient)"], "patient: is the only patient, who cannot"),
        ("study", ["--patient-pattern", "patient"], "has 0 groups"),
        *(
            ("study", ["--method", name], f"--method {name}: {OF_CLASSES}")
            for name in ("platt", "local_temperatures", "magic")
        ),
        *(
            ("regions", ["--method", name], f"--method {name}: {OF_STRUCTURES}")
            for name in ("temperature", "vector", "local_temperatures")
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(kind, args, message, request, calibrate, tmp_path):
    """In one line, and nothing is written."""
    chosen = request.getfixturevalue(kind)
    code, _, err = calibrate(*args, predictions=chosen.nnunet(), labels=chosen.labels)

    assert code != 0
    assert all(part in err for part in message.split(" … "))
    assert not (tmp_path / "out").exists()


def test_each_structure_is_audited_through_the_temperature_of_other_people(
    regions, fitted, tmp_path
):
    """The errors are those of the metric in memory, on the sigmoid of logits / T."""
    folders = {"predictions": regions.nnunet(), "labels": regions.labels}
    record = fitted(*PATTERN, "--folds", 3, "--method", "sigmoid_temperature", **folders)

    names = ["whole", "posterior"]
    assert (record["method"], record["channels"]) == ("sigmoid_temperature", names)
    temperatures = temperature_of(record["folds"])
    assert len(set(temperatures.values())) == 3
    metric = CalibrationMetric(regions=["union"], structures=names)
    for case, (probs, label) in regions.cases.items():
        inside = probs.astype(np.float64)
        odds = (inside / (1 - inside)) ** (1 / temperatures[case.split("_")[0]])
        metric([odds / (1 + odds)], [np.stack([label > 0, label == 2])])
    found = pd.read_csv(tmp_path / "out/after/cases.csv")[[f"ece_union_{name}" for name in names]]
    np.testing.assert_allclose(found, metric.case_bins().ece(), atol=1e-5)


def test_structures_of_other_people_are_audited_through_it(regions, fitted, audited, tmp_path):
    """By the same structures."""
    fitted(*PATTERN, "--method", "platt", predictions=regions.nnunet(), labels=regions.labels)
    cases = {"patient9_": regions.cases["patient0_scan0"]}
    other = Study(tmp_path / "other", cases, regions.dataset)
    args = [*PATTERN, "--calibrator", tmp_path / "out/calibrator.json"]

    folder = audited(other.nnunet(), other.labels, *args)
    assert settings_in(folder)["calibrator"] == "platt_near"


def test_help_names_every_method(capsys):
    """Without loading one."""
    with pytest.raises(SystemExit):
        main(["calibrate", "--help"])

    tokens = set(re.findall(r"\w+", capsys.readouterr().out))
    assert {*METHODS, *SIGMOID_METHODS} <= tokens


def test_predictions_in_the_output_stay(study, calibrate, tmp_path):
    """Those that an audit has written into the folder that the next one replaces."""
    place = tmp_path / "out/before/nifti"
    shutil.copytree(study.channels(), place)

    assert calibrate(predictions=place)[0] == 2
    assert len(list(place.iterdir())) == len(study.cases) + 1


NAMES = ["background", "anterior", "posterior"]
CHANNELS = Channels("softmax", {name: (k,) for k, name in enumerate(NAMES)})
SINGLE = r"patient(\d+)_"
OF_SCAN = {"cases": ["patient0_scan0"], "activation": "softmax", "channels": NAMES}
BY_PATTERN = Calibrator(FIT, ["patient0"], "pattern", patient_pattern=PATTERN[1], **OF_SCAN)
BY_NUMBER = Calibrator(FIT, ["0"], "pattern", patient_pattern=SINGLE, **OF_SCAN)
BY_CASE = Calibrator(FIT, ["patient0_scan0"], "case", **OF_SCAN)
BY_TABLE = Calibrator(FIT, ["Ada"], "table", **OF_SCAN)
BOTH = "patient0_scan0,Ada later,Ada"


@pytest.mark.parametrize(
    ("calibrator", "case", "pattern", "table", "message"),
    [
        (BY_PATTERN, "patient0_scan0", PATTERN[1], None, "was fitted on patient0, who cannot test"),
        (BY_PATTERN, "patient0_scan0", None, None, "was fitted on patient0"),
        (BY_CASE, "patient0_scan0", PATTERN[1], None, "was fitted on patient0"),
        (BY_PATTERN, "patient0_later", SINGLE, None, "was fitted on 0, who"),
        (BY_NUMBER, "patient0_later", PATTERN[1], None, "was fitted on 0, who"),
        (BY_CASE, "patient0_later", PATTERN[1], None, "was fitted on patient0, who"),
        (BY_PATTERN, "patient0_later", None, None, "was fitted on patient0, who"),
        (BY_PATTERN, "patient0_later", None, "patient0_later,namesake", "is of 'namesake', but of"),
        (BY_TABLE, "later", None, None, "was fitted to patients whom a table names"),
        (BY_TABLE, "later", "(later)", None, "was fitted to patients whom a table names"),
        (BY_TABLE, "later", None, BOTH, "was fitted on Ada, who cannot test it"),
        (BY_CASE, "later", None, BOTH, "was fitted on Ada, who cannot test it"),
        (BY_CASE, "later", None, "later,Ada", "has no patient for the case 'patient0_scan0'"),
        (OF_A_RUN, "later", None, None, "is a calibrator of a run, not of saved predictions"),
        (
            replace(BY_CASE, channels=["background", "left", "right"]),
            *("later", None, None, "was fitted to background, left, right by softmax, but these"),
        ),
        (BY_PATTERN, "patient1_scan0", PATTERN[1], None, None),
        (BY_TABLE, "later", None, "later,Bo", None),
    ],
)
def test_calibrator_is_of_this_model_and_of_other_people(
    calibrator, case, pattern, table, message, tmp_path
):
    """Both must know the patients in one way, whatever a pattern or a table calls them."""
    options = Options(patient_pattern=pattern, patients=table and tmp_path / "patients.csv")
    if table:
        (tmp_path / "patients.csv").write_text("\n".join(["case,patient", *table.split()]))
    cases = [predictions.Case(case, None, ())]
    study = predictions.Study(tmp_path, "", None, CHANNELS, options, cases)
    with pytest.raises(InputError, match=message) if message else nullcontext():
        check_unseen(tmp_path / "calibrator.json", calibrator, study)


def test_record_says_how_patients_were_known(tmp_path):
    """By a table, by a pattern, or not at all."""
    options = (Options(patients=tmp_path / "t.csv"), Options(patient_pattern="(.)"), Options())

    assert [*map(known_by, options)] == ["table", "pattern", "case"]


@pytest.mark.parametrize(
    "damage",
    [
        {"channels": None},
        {"method": "magic"},
        {"parameters": {"temperature": -1.0}},
        {"parameters": {"scale": 1.0}},
        {"patient_pattern": "(patient"},
        {"patient_pattern": 5},
        {"known_by": "pattern", "patient_pattern": None},
        {"known_by": "table", "patient_pattern": r"(patient\d+)_"},
        {"margin": -1.0},
        {"margin": math.inf},
        {"margin": "wide"},
        {"parameters": {"temperature": 10**400}},
        {"parameters": {"temperature": True}},
        {"parameters": {"temperature": [[1.0]]}},
        {"patients": "Ada"},
        {"patients": [1]},
        {"nll": math.nan},
        {"moved": 2},
        {"folds": [1]},
        {"calibrators": {"a": {}}},
        {"members": ["a"]},
    ],
)
@pytest.mark.parametrize("is_sealed", [False, True])
def test_damaged_calibrator_is_refused(damage, is_sealed, calibrated, tmp_path):
    """In one line that names it, and a crafted one with a right checksum, too; so is one missing."""
    file = tmp_path / "calibrator.json"
    with pytest.raises(InputError, match=r"calibrator.json: no such file"):
        read_calibrator(file)
    record = {**calibrated.record, **damage}
    record["checksum"] = own_checksum(record) if is_sealed else record["checksum"]
    file.write_text(json.dumps(record))

    with pytest.raises(
        InputError, match=r"json: is not as it was written, .*; write it anew"
    ) as error:
        read_calibrator(file)
    assert is_sealed != ("its checksum differs" in str(error.value))


def test_edited_temperature_is_refused(calibrated, tmp_path):
    """Though a temperature of 50 can be; and so is one without any checksum, which nobody writes."""
    file = tmp_path / "calibrator.json"
    record = {**calibrated.record, "parameters": {"temperature": 50.0}}
    file.write_text(json.dumps(record))
    with pytest.raises(InputError, match="its checksum differs"):
        read_calibrator(file)

    del record["checksum"]
    file.write_text(json.dumps(record))
    with pytest.raises(InputError, match="it has no checksum"):
        read_calibrator(file)


CURVE = {"knots": [0.0, 8.0], "unit": "mm"}


@pytest.mark.parametrize(
    ("method", "parameters", "activation", "line"),
    [
        ("temperature", {"temperature": 1e300}, "softmax", "is beyond where a search ends"),
        ("temperature", {"temperature": 1e-300}, "softmax", "is beyond where a search ends"),
        ("temperature", {"temperature": [1.0, 2.0]}, "softmax", "not as it was written"),
        ("sigmoid_temperature", {"temperature": 2.0}, "softmax", "is not for softmax"),
        ("platt", {"scales": [1.0] * 2, "biases": [0.0] * 2}, "sigmoid", "are not of 3 channels"),
        ("class_temperatures", {"temperatures": [1.0] * 4}, "softmax", "are not of 3 channels"),
        ("distance", {"temperatures": [[1.0, 2.0]] * 2, **CURVE}, "softmax", "not of 3 channels"),
        ("distance", {"temperatures": [[1.0, 2.0]] * 2, **CURVE}, "sigmoid", "not of 3 channels"),
        ("distance", {"temperatures": [1.0, 2.0], **CURVE}, "sigmoid", "not of 3 channels"),
        ("distance", {"temperatures": [1.0, 2.0], "knots": [0.0, 8.0]}, "softmax", "the unit of"),
        ("distance", {"temperatures": [1.0, 2.0], **CURVE}, "softmax", ""),
        ("distance", {"temperatures": [[1.0, 2.0]] * 3, **CURVE}, "sigmoid", ""),
        ("class_temperatures", {"temperatures": [1.0] * 3}, "softmax", ""),
        ("vector", {"scales": [1.0] * 3, "biases": [0.0] * 3}, "softmax", ""),
    ],
)
def test_reading_checks_what_a_fit_to_such_channels_guarantees(
    method, parameters, activation, line, calibrated, tmp_path
):
    """Ranges, the unit, and the number of curves, in a file with a right checksum."""
    assert len(calibrated.record["channels"]) == 3
    changes = {"method": method, "parameters": parameters, "activation": activation}
    record = {**calibrated.record, **changes}
    file = tmp_path / "calibrator.json"
    file.write_text(json.dumps({**record, "checksum": own_checksum(record)}))
    with pytest.raises(InputError, match=line) if line else nullcontext():
        read_calibrator(file)


def test_margin_of_a_fit_is_three_where_its_file_is_older(calibrated, tmp_path):
    """And none where its region has no margin."""
    assert calibrated.record["margin"] == 3
    file = tmp_path / "calibrator.json"
    for region, margin in (("near", 3), ("all", None)):
        record = {**calibrated.record, "region": region}
        del record["margin"]
        file.write_text(json.dumps({**record, "checksum": own_checksum(record)}))
        assert read_calibrator(file).margin == margin


#: Other patients of the same network.
OTHERS = {
    case.replace("patient", "patient2"): pair
    for case, pair in softmax_cases(seed=7, cases=2).items()
}


@pytest.fixture
def through(calibrated, tmp_path):
    """The words that audit other patients through a calibrator."""

    def command(file=calibrated.folder / "calibrator.json", cases=OTHERS):
        other = Study(tmp_path / "test", cases)
        return [other.nnunet(), other.labels, *PATTERN, "--calibrator", file]

    return command


def test_numbers_are_of_the_calibrated_probabilities(calibrated, through, audited):
    """Those of the metric in memory, on powers of the saved ones; the record says through what."""
    folder = audited(*through())

    temperature = calibrated.record["parameters"]["temperature"]
    check_errors(pd.read_csv(folder / "cases.csv"), OTHERS, [temperature] * 2)
    assert settings_in(folder)["calibrator"] == "temperature_near"
    sha256 = hashlib.sha256((calibrated.folder / "calibrator.json").read_bytes()).hexdigest()
    assert read_audit(folder).run.bins.calibrator == ["temperature_near", sha256]


@pytest.mark.parametrize("margin", [0, 2.5])
def test_margin_is_that_of_the_fit(margin, calibrate, study, through, audited, refused, tmp_path):
    """The fit is to what is so near, and whatever tests it says the same."""
    code, out, err = calibrate("--margin", margin, *PATTERN, "--folds", 2)

    assert code == 0, err
    record, file = record_in(tmp_path / "out"), tmp_path / "out/calibrator.json"
    assert record["margin"] == margin
    expected = slow_temperature(study.cases, PEOPLE, margin=margin)
    assert record["parameters"]["temperature"] == pytest.approx(expected, rel=1e-4)
    assert f"--margin {margin:g} --calibrator {file}" in out
    for part in (BEFORE, AFTER):
        assert settings_in(tmp_path / "out" / part)["calibration::margin"] == margin
    message = f"fitted within {margin:g} mm of predictions, not 3 mm; give --margin {margin:g}"
    refused(message, *through(file))
    assert not (tmp_path / "audit").exists()
    audited(*through(file), "--margin", margin)


def test_patient_of_the_fit_is_refused(through, refused, tmp_path):
    """Before a volume is read."""
    refused("was fitted on patient0, who cannot test it", *through(cases=softmax_cases(cases=2)))
    assert not (tmp_path / "audit").exists()


def test_audit_in_python_is_the_commands(through, audited, tmp_path):
    """Its file says through what, and keeps the fine bins, as the command's does."""
    predictions, labels, *_, file = args = through()
    found = audit(predictions, labels, calibrator=file)

    of_command, of_python = map(read_audit, (audited(*args), found.save(tmp_path / "p.npz")))
    assert of_python.run.bins.calibrator == of_command.run.bins.calibrator
    assert found.error("adaptive_ece") == of_command.error("adaptive_ece")


def test_segmentation_beside_is_of_what_was_saved(fitted, tmp_path):
    """Scales of classes change labels, and are not a fault for that."""
    assert fitted(*PATTERN, "--method", "class_temperatures")["region"] == "near"
    assert (tmp_path / "out/after/cases.csv").is_file()


def test_temperature_where_its_search_ends_is_refused(calibrate, study, tmp_path):
    """Two patients of whom the network is worse than chance; nothing is written."""
    cases = list(study.cases.items())[:4]
    study.cases = {case: (probs[[1, 2, 0]], label) for case, (probs, label) in cases}

    code, _, err = calibrate(*PATTERN, "--channels-as-given")

    assert code == 1
    assert "temperature_near: fitted to patient0" in err
    assert "ends with temperature 100, where the search ends" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_equal_one(fitted, tmp_path):
    """In both audits, of which the second goes through a calibrator for each fold."""
    tables = []
    for jobs in "12":
        fitted(*PATTERN, "--folds", "2", "--jobs", jobs)
        parts = [tmp_path / "out" / part / "cases.csv" for part in (BEFORE, AFTER)]
        tables.append([file.read_text() for file in parts])
    assert tables[0] == tables[1]


def test_maps_are_written_before_and_after(fitted, tmp_path):
    """As those of an audit; the temperature changes the probabilities and no label."""
    fitted(*PATTERN, "--write", "nifti", "--folds", "2")

    for name in ("probabilities", "label"):
        file = f"nifti/patient0_scan0_{name}.nii.gz"
        before, after = (
            nibabel.load(tmp_path / "out" / p / file).get_fdata() for p in (BEFORE, AFTER)
        )
        assert np.allclose(before, after) == (name == "label")


def test_logits_of_patients_are_in_the_output_s_hidden_folder(fitted, tmp_path, monkeypatch):
    """Which the next run removes where one was killed; nothing of them stays."""
    places = []

    def fit(method, voxels, *near):
        places.extend(path for _, path in voxels._volumes)
        return fit_method(method, voxels, *near)

    monkeypatch.setattr("nacl_monai.audits.calibrate.fit_method", fit)
    (tmp_path / ".out.new/.partial-0/nacl-monai-0").mkdir(parents=True)  # of one that was killed
    fitted(*PATTERN)

    assert places
    assert all(place.is_relative_to(tmp_path / ".out.new") for place in places)
    assert not list(tmp_path.glob(".out*"))
    assert not list((tmp_path / "out").glob(".partial*"))


def test_full_disk_ends_the_fit(calibrate, monkeypatch):
    """It is not a fault of the cases that found no room, and none is left out for it."""

    def refuse(*_):
        raise RuntimeError("iostream error")

    monkeypatch.setattr(torch, "save", refuse)
    code, _, err = calibrate(*PATTERN)

    assert code == 1
    assert "choose another folder" in err
    assert "fault: " not in err
