"""A calibrator of saved predictions is fitted to some patients, and tested on others."""

import hashlib
import json
import pickle
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize_scalar

import nacl_monai.audits.calibrate as calibrating
from nacl_monai import audit, read_audit
from nacl_monai.audits import output
from nacl_monai.audits.calibrate import AFTER, BEFORE
from nacl_monai.audits.options import Options
from nacl_monai.audits.reading import find
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.posthoc import METHODS, SIGMOID_METHODS, Calibrator, Fit, write_calibrator
from tests.audits.conftest import Study, save, sigmoid_cases, softmax_cases

#: The files of the audits.
REGIONS = ("foreground", "union")
PATTERN = ["--patient-pattern", r"(patient\d+)_"]
FIT = Fit("temperature", {"temperature": 2.0}, 0.5, 0.25, 0.0, "union", ("a",), 10)
OF_A_RUN = Calibrator(FIT, ["a"], "dataset", weights="…", average="probabilities")


@pytest.fixture
def study(tmp_path):
    """Eight cases of four people, from a network that is too sure."""
    return Study(tmp_path, softmax_cases(cases=8))


@pytest.fixture
def calibrate(study, tmp_path, capsys):
    """Runs the command on the study; returns exit code, standard output and errors."""

    def run(*words, predictions=None):
        folders = [predictions or study.nnunet(), study.labels]
        code = main(["calibrate", *map(str, [*folders, "--output", tmp_path / "out", *words])])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures and pages, which take most of the time, are left out where they do not matter."""
    for module in (calibrating, output):
        monkeypatch.setattr(module, "draw_all", lambda *_: [])
    monkeypatch.setattr(calibrating, "write_trade_off", lambda *_: [])
    monkeypatch.setattr(output, "write_page", lambda *_: None)


@dataclass
class Calibrated:
    """What one run of the command wrote and printed."""

    study: Study
    folder: Path
    printed: str

    @property
    def record(self):
        return json.loads((self.folder / "calibrator.json").read_text())

    def cases(self, audit):
        return pd.read_csv(self.folder / audit / "cases.csv", index_col="case")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """The study, calibrated in two folds; read, never changed."""
    root = tmp_path_factory.mktemp("study")
    study, printed = Study(root, softmax_cases(cases=8)), StringIO()
    words = [
        "calibrate",
        study.nnunet(),
        study.labels,
        *PATTERN,
        *("--regions", "union", "--folds"),
        2,
        "--output",
        root / "out",
    ]
    with redirect_stdout(printed):
        assert main([str(word) for word in words]) == 0
    return Calibrated(study, root / "out", printed.getvalue())


def slow_temperature(cases, patients, ignored=()):
    """The temperature of the smallest mean NLL over prediction ∪ label, each patient the same."""

    def nll(log):
        of = {}
        for case, (probs, label) in cases.items():
            patient = case.split("_")[0]
            if patient not in patients:
                continue
            kept = ((probs.argmax(0) > 0) | (label > 0)) & ~np.isin(label, ignored)
            powers = probs[:, kept].astype(np.float64) ** (1 / np.exp(log))
            right = np.take_along_axis(powers / powers.sum(0), label[kept][None], 0)
            of.setdefault(patient, []).extend(-np.log(right[0]))
        return np.mean([np.mean(values) for values in of.values()])

    found = minimize_scalar(nll, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    return np.exp(found.x)


PEOPLE = {"patient0", "patient1", "patient2", "patient3"}


def test_calibrator_is_fitted_to_all_patients(calibrated):
    """An independent search ends at the same temperature; the file says whose the voxels are."""
    assert calibrated.record["patients"] == sorted(PEOPLE)
    assert calibrated.record["parameters"]["temperature"] == pytest.approx(
        slow_temperature(calibrated.study.cases, PEOPLE), rel=1e-4
    )
    assert "over 4 patients, NLL" in calibrated.printed


def test_nobody_is_tested_on_what_was_fitted_to_them(calibrated):
    """Each patient is in one fold, whose temperature is that of all others; the audit shows it."""
    cases, folds = calibrated.study.cases, calibrated.record["folds"]

    assert sorted(name for fold in folds for name in fold["patients"]) == sorted(PEOPLE)
    assert len(folds) == 2
    temperatures = {}
    for fold in folds:
        temperature = fold["parameters"]["temperature"]
        others = PEOPLE - set(fold["patients"])
        assert temperature == pytest.approx(slow_temperature(cases, others), rel=1e-4)
        temperatures |= dict.fromkeys(fold["patients"], temperature)
    of_cases = [temperatures[case.split("_")[0]] for case in cases]
    check_errors(calibrated.cases("after"), cases, of_cases)


def test_bins_say_what_is_behind_them(calibrated):
    """So that no sum of calibrated probabilities is joined to one of others."""
    named = [read_audit(calibrated.folder / name).run.bins.calibrator for name in (BEFORE, AFTER)]

    before, (name, checksum) = named
    assert before == []
    assert name == "temperature_union"
    settings = json.loads((calibrated.folder / AFTER / "evaluation.json").read_text())["settings"]
    assert checksum == settings["calibrator_checksum"]


def check_errors(table, cases, temperatures):
    """The table has the errors of the metric in memory on powers of the saved probabilities."""
    metric = CalibrationMetric(regions=REGIONS)
    for (probs, label), temperature in zip(cases.values(), temperatures, strict=True):
        powers = probs.astype(np.float64) ** (1 / temperature)
        metric([torch.from_numpy(powers / powers.sum(0))], [torch.from_numpy(label)])
    for place, region in enumerate(REGIONS):
        expected = metric.case_bins()[:, place].ece()
        np.testing.assert_allclose(table[f"ece_{region}"], expected, atol=1e-6)


def test_before_is_the_plain_audit(calibrated):
    """Its errors are those of the saved probabilities."""
    cases = calibrated.study.cases

    check_errors(calibrated.cases("before"), cases, [1.0] * len(cases))


def test_change_is_told_by_region(calibrated):
    """The difference of the means that the two audits wrote."""
    before, after = (calibrated.cases(name) for name in ("before", "after"))

    for region in REGIONS:
        change = (after[f"ece_{region}"] - before[f"ece_{region}"]).mean()
        assert f"  {region}: {change:.3f} [" in calibrated.printed
    assert (calibrated.folder / "trade_off.png").stat().st_size > 5_000


def test_script_needs_no_package(calibrated):
    """TorchScript of the same module."""
    scripted = torch.jit.load(calibrated.folder / "calibrator.ts")
    logits = torch.randn(1, 3, 4, 4)

    temperature = calibrated.record["parameters"]["temperature"]
    torch.testing.assert_close(scripted(logits), logits / temperature)


@pytest.mark.usefixtures("undrawn")
def test_without_patients_the_units_are_cases(calibrate, tmp_path):
    """Each is a unit of its own, in the folds as in the words."""
    _, out, _ = calibrate("--folds", "20")

    folds = json.loads((tmp_path / "out/calibrator.json").read_text())["folds"]
    assert [len(fold["patients"]) for fold in folds] == [1] * 8
    assert "over 8 cases, NLL" in out


@pytest.mark.usefixtures("undrawn")
def test_ignored_voxels_are_not_fitted(calibrate, study, tmp_path):
    """A label that says nothing counts neither in the fit nor in the audits."""
    for case, (probs, label) in study.cases.items():
        label[:4] = 3
        study.cases[case] = (probs, label)
    study.dataset = {"labels": {**study.dataset["labels"], "ignore": 3}}
    code, _, err = calibrate(*PATTERN)

    assert code == 0, err
    record = json.loads((tmp_path / "out/calibrator.json").read_text())
    assert record["parameters"]["temperature"] == pytest.approx(
        slow_temperature(study.cases, PEOPLE, ignored=[3]), rel=1e-4
    )


@pytest.mark.usefixtures("undrawn")
def test_other_cases_are_fitted_if_one_has_a_fault(calibrate, study, tmp_path):
    """It is named once, and ends the command with 1."""
    folder = study.nnunet()
    (folder / "patient1_scan2.npz").write_bytes(b"PK")

    code, _, err = calibrate(*PATTERN, predictions=folder)

    assert code == 1
    assert err.count("patient1_scan2.npz") == 1
    assert len(pd.read_csv(tmp_path / "out/after/cases.csv")) == 7


@pytest.mark.usefixtures("undrawn")
def test_case_that_no_audit_takes_is_not_fitted(calibrate, study, tmp_path):
    """Splines that resample leave probabilities a little below 0, of which logarithms know nothing."""
    probs = study.cases["patient3_scan7"][0]
    probs[:, 0, 0, 0] = -1e-4, 0.5, 0.5001

    code, _, err = calibrate(predictions=study.channels())

    assert code == 1
    assert "patient3_scan7.nii.gz: reaches from -0.0001 to" in err
    assert "beyond 0 and 1, as logits do; save probabilities" in err
    record = json.loads((tmp_path / "out/calibrator.json").read_text())
    assert len(record["cases"]) == 7


def test_failed_calibration_leaves_the_earlier_folder_whole(
    calibrate, calibrated, tmp_path, monkeypatch
):
    """Whatever fails while audits are made, the earlier folder stays as it was, whole."""
    out = Path(shutil.copytree(calibrated.folder, tmp_path / "out"))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr(calibrating, "audit_one", fail)

    assert calibrate(*PATTERN)[0] == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def fail(*_):
    raise InputError("disk: is full; free some")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "1"], "--folds: is 1; give 2 or more"),
        (["--patient-pattern", "(patient)"], "patient: is the only patient, who cannot test"),
        (["--patient-pattern", "patient"], "has 0 groups"),
    ],
)
def test_fit_that_cannot_be_tested_is_refused(calibrate, tmp_path, words, message):
    """In one line, and nothing is written."""
    code, _, err = calibrate(*words)

    assert code != 0
    assert message in err
    assert not (tmp_path / "out").exists()


class TestStructuresThatOverlap:
    """Region-based predictions, one sigmoid each."""

    @pytest.fixture
    def regions(self, tmp_path):
        """Six cases of three people."""
        cases = {
            f"patient{k // 2}_scan{k}": case
            for k, case in enumerate(sigmoid_cases(cases=6).values())
        }
        dataset = {"labels": {"background": 0, "whole": [1, 2], "posterior": [2]}}
        return Study(tmp_path, cases, {**dataset, "regions_class_order": [1, 2]})

    @pytest.mark.usefixtures("undrawn")
    def test_each_is_audited_through_the_temperature_of_other_people(self, regions, tmp_path):
        """The errors are those of the metric in memory, on the sigmoid of logits / T."""
        predictions = regions.nnunet()
        words = [regions.labels, *PATTERN, "--folds", 3, "--output", tmp_path / "out"]
        assert main([str(word) for word in ["calibrate", predictions, *words]]) == 0

        record = json.loads((tmp_path / "out/calibrator.json").read_text())
        assert record["method"] == "sigmoid_temperature"
        assert record["channels"] == ["whole", "posterior"]
        table = pd.read_csv(tmp_path / "out/after/cases.csv", index_col="case")
        temperatures = {
            name: fold["parameters"]["temperature"]
            for fold in record["folds"]
            for name in fold["patients"]
        }
        assert len(set(temperatures.values())) == 3
        for case, (probs, label) in regions.cases.items():
            temperature = temperatures[case.split("_")[0]]
            odds = (probs.astype(np.float64) / (1 - probs.astype(np.float64))) ** (1 / temperature)
            metric = CalibrationMetric(regions=["union"], structures=["whole", "posterior"])
            masks = np.stack([label > 0, label == 2])
            metric([torch.from_numpy(odds / (1 + odds))], [torch.from_numpy(masks)])
            found = [table.loc[case, f"ece_union_{name}"] for name in ("whole", "posterior")]
            np.testing.assert_allclose(found, metric.case_bins()[0].ece(), atol=1e-5)

    @pytest.mark.usefixtures("undrawn")
    def test_other_predictions_are_audited_through_it(self, regions, tmp_path, capsys):
        """Those of other people, by the same structures."""
        words = [regions.nnunet(), regions.labels, *PATTERN, "--method", "platt"]
        words = ["calibrate", *words, "--output", tmp_path / "out"]
        assert main([str(word) for word in words]) == 0
        cases = {f"patient9_{name}": case for name, case in sigmoid_cases(seed=3, cases=1).items()}
        other = Study(tmp_path / "other", cases, regions.dataset)
        words = ["audit", other.nnunet(), other.labels, *PATTERN, "--output", tmp_path / "audit"]
        words += ["--calibrator", tmp_path / "out/calibrator.json"]

        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
        settings = json.loads((tmp_path / "audit/evaluation.json").read_text())["settings"]
        assert settings["calibrator"] == "platt_all"

    @pytest.mark.parametrize("method", ["temperature", "vector", "local_temperatures"])
    def test_method_of_exclusive_classes_is_refused(self, regions, tmp_path, capsys, method):
        """The methods for structures are listed, before a volume is read."""
        words = ["calibrate", regions.nnunet(), regions.labels, "--method", method]

        assert main([str(word) for word in [*words, "--output", tmp_path / "out"]]) == 2
        err = capsys.readouterr().err
        assert f"--method {method}: is not for 2 overlapping structures by sigmoid" in err
        assert "choose from sigmoid_temperature, structure_temperatures, platt" in err
        assert not (tmp_path / "out").exists()


def test_help_names_every_method(capsys):
    """Without loading one."""
    with pytest.raises(SystemExit):
        main(["calibrate", "--help"])

    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert {*METHODS, *SIGMOID_METHODS} <= words


@pytest.mark.parametrize("method", ["platt", "local_temperatures", "magic"])
def test_method_of_other_predictions_is_refused(calibrate, method):
    """A method for structures, or for a network whose images are at hand."""
    code, _, err = calibrate("--method", method)

    assert code == 2
    assert f"--method {method}: is not for 3 classes by softmax" in err
    assert "choose from temperature, class_temperatures, vector" in err


@pytest.mark.usefixtures("undrawn")
def test_predictions_in_the_output_stay(study, tmp_path):
    """Those that an audit has written into the folder that the next one replaces."""
    place = tmp_path / "out/before/nifti"
    shutil.copytree(study.channels(), place)
    words = [place, study.labels, "--output", tmp_path / "out"]

    assert main(["calibrate", *map(str, words)]) == 2
    assert len(list(place.iterdir())) == len(study.cases) + 1


def test_calibrator_of_a_run_is_not_replaced(calibrate, tmp_path):
    """The folder is a run's, where other commands read it."""
    write_calibrator(tmp_path / "out/calibrator.json", OF_A_RUN)

    code, _, err = calibrate(*PATTERN)

    assert code == 1
    assert "holds calibrator.json, which `nacl-monai calibrate` did not write" in err
    assert not (tmp_path / "out/before").exists()


class TestAuditThroughACalibrator:
    """``nacl-monai audit … --calibrator calibrator.json``."""

    @pytest.fixture
    def file(self, calibrated, tmp_path):
        return shutil.copy(calibrated.folder / "calibrator.json", tmp_path)

    @pytest.fixture
    def audit(self, tmp_path, capsys):
        """Audits other patients of the same network."""

        def run(file, *words, first=20, dataset=None):
            cases = {
                case.replace("patient", f"patient{first}"): pair
                for case, pair in softmax_cases(seed=7, cases=2).items()
            }
            other = Study(tmp_path / "test", cases, **({"dataset": dataset} if dataset else {}))
            folders = [other.nnunet(), other.labels, "--output", tmp_path / "audit"]
            code = main(["audit", *map(str, [*folders, *PATTERN, "--calibrator", file, *words])])
            return code, cases, capsys.readouterr().err

        return run

    @pytest.mark.usefixtures("undrawn")
    def test_numbers_are_of_the_calibrated_probabilities(self, calibrated, file, audit, tmp_path):
        """Those of the metric in memory, on powers of the saved ones; the record says through what."""
        code, cases, err = audit(file)

        assert code == 0, err
        temperature = calibrated.record["parameters"]["temperature"]
        check_errors(pd.read_csv(tmp_path / "audit/cases.csv"), cases, [temperature] * 2)
        settings = json.loads((tmp_path / "audit/evaluation.json").read_text())["settings"]
        assert settings["calibrator"] == "temperature_union"
        sha256 = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        assert read_audit(tmp_path / "audit").run.bins.calibrator == ["temperature_union", sha256]

    def test_other_processes_can_read_through_it(self, file, tmp_path):
        """What reads a case goes to them pickled."""
        (pair,) = softmax_cases(cases=1).values()
        study = Study(tmp_path, {"other": pair})
        found = find(study.nnunet(), study.labels, Options(calibrator=Path(file)))
        prediction, _ = found.pairs[0]

        probs = pickle.loads(pickle.dumps(found.layout.read))(prediction).voxels

        np.testing.assert_array_equal(probs, found.layout.read(prediction).voxels)

    def test_patient_of_the_fit_is_refused(self, file, audit, tmp_path):
        """Before a volume is read."""
        code, _, err = audit(file, first="")

        assert code == 1
        assert "was fitted on patient0, who cannot test it" in err
        assert not (tmp_path / "audit").exists()

    @pytest.mark.parametrize(("fitted", "audited"), [(PATTERN, []), ([], PATTERN)])
    @pytest.mark.usefixtures("undrawn")
    def test_case_of_the_fit_is_refused(self, calibrate, study, tmp_path, fitted, audited):
        """Though only one of both commands was told whose the cases are."""
        assert calibrate(*fitted)[0] == 0
        folders = [tmp_path / "nnunet", study.labels, "--output", tmp_path / "audit"]
        calibrator = ["--calibrator", tmp_path / "out/calibrator.json"]

        assert main(["audit", *map(str, [*folders, *calibrator, *audited])]) == 1
        assert not (tmp_path / "audit").exists()

    @pytest.mark.parametrize(
        ("fitted", "audited"),
        [
            (PATTERN[1], r"patient(\d+)_"),
            (r"patient(\d+)_", PATTERN[1]),
            (None, PATTERN[1]),
        ],
    )
    @pytest.mark.usefixtures("undrawn")
    def test_patient_of_the_fit_is_refused_by_any_pattern(
        self, calibrate, tmp_path, fitted, audited
    ):
        """The pattern of the audit is not that of the fit, or the fit had none."""
        assert calibrate(*(["--patient-pattern", fitted] if fitted else []))[0] == 0
        cases = {f"patient0_later{k}": pair for k, pair in enumerate(softmax_cases().values())}
        later = Study(tmp_path / "later", cases)
        options = {"calibrator": tmp_path / "out/calibrator.json", "patient_pattern": audited}

        with pytest.raises(InputError, match="was fitted on (patient)?0, who cannot test it"):
            audit(later.nnunet(), later.labels, **options)

    @pytest.mark.usefixtures("undrawn")
    def test_audit_in_python_is_the_commands(self, file, tmp_path):
        """Its file says through what, and keeps the fine bins, as the command's does."""
        cases = {f"other{k}": pair for k, pair in enumerate(softmax_cases().values())}
        study = Study(tmp_path / "other", cases)
        folders = [study.nnunet(), study.labels]
        found = audit(*folders, calibrator=Path(file))
        words = [*folders, "--output", tmp_path / "audit", "--calibrator", file]
        assert main(["audit", *map(str, words)]) == 0

        of_command, of_python = (
            read_audit(tmp_path / "audit"),
            read_audit(found.save(tmp_path / "p.npz")),
        )
        assert of_python.run.bins.calibrator == of_command.run.bins.calibrator
        assert found.error("adaptive_ece") == of_command.error("adaptive_ece")

    @pytest.mark.usefixtures("undrawn")
    def test_patient_of_the_fit_is_refused_without_a_pattern(self, file, tmp_path):
        """The fit's own is kept for other cases of theirs; a table must not say otherwise."""
        cases = {f"patient0_later{k}": pair for k, pair in enumerate(softmax_cases().values())}
        later = Study(tmp_path / "later", cases)
        folders = [later.nnunet(), later.labels]
        table = tmp_path / "patients.csv"
        table.write_text("case,patient\n" + "".join(f"{case},namesake\n" for case in cases))

        with pytest.raises(InputError, match="was fitted on patient0, who cannot test it"):
            audit(*folders, calibrator=Path(file))
        with pytest.raises(InputError, match="is of 'namesake', but of 'patient0' by the pattern"):
            audit(*folders, calibrator=Path(file), patients=table)

    @pytest.mark.parametrize(
        ("fitted", "audited", "message"),
        [
            ("first,later", None, "was fitted to patients whom a table names"),
            ("first,later", "pattern", "was fitted to patients whom a table names"),
            ("first,later", "first,later", "was fitted on Ada, who cannot test it"),
            (None, "first,later", "was fitted on Ada, who cannot test it"),
            (None, "later", "has no patient for the case 'first0'"),
        ],
    )
    @pytest.mark.usefixtures("undrawn")
    def test_both_must_know_the_patients_in_one_way(
        self, tmp_path, capsys, fitted, audited, message
    ):
        """Where a table alone knows that two cases are of one person, it has to be there."""
        pairs = list(softmax_cases(cases=4).values())
        folders, tables = {}, {None: []}
        for name, some in (("first", pairs[:2]), ("later", pairs[2:])):
            one = Study(tmp_path / name, {f"{name}{k}": pair for k, pair in enumerate(some)})
            folders[name] = [one.nnunet(), one.labels]
        for names in ("first,later", "later"):
            table = tmp_path / f"{names}.csv"
            rows = [
                f"{n}{k},{who}" for n in names.split(",") for k, who in enumerate(("Ada", "Bo"))
            ]
            table.write_text("\n".join(["case,patient", *rows]))
            tables[names] = ["--patients", table]
        tables["pattern"] = ["--patient-pattern", r"(later\d)"]
        words = [*folders["first"], *tables[fitted], "--output", tmp_path / "out"]
        assert main(["calibrate", *map(str, words)]) == 0

        words = [*folders["later"], *tables[audited], "--output", tmp_path / "audit"]
        words += ["--calibrator", tmp_path / "out/calibrator.json"]
        assert main(["audit", *map(str, words)]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "audit").exists()

    def test_patient_of_the_fit_is_refused_in_python(self, calibrated, file):
        """The object is made by the same rules as the command's files."""
        study = calibrated.study

        with pytest.raises(InputError, match="was fitted on patient0, who cannot test it"):
            audit(study.nnunet(), study.labels, calibrator=Path(file), patient_pattern=PATTERN[1])

    def test_other_channels_are_refused(self, file, audit):
        """The calibrator is of another model."""
        labels = {"background": 0, "left": 1, "right": 2}
        code, _, err = audit(file, dataset={"labels": labels})

        assert code == 1
        assert "was fitted to background, anterior, posterior by softmax, but these are" in err

    @pytest.mark.parametrize(
        "damage",
        [
            lambda record: record.pop("channels"),
            lambda record: record.update(method="magic"),
            lambda record: record.update(parameters={"temperature": -1.0}),
            lambda record: record.update(parameters={"scale": 1.0}),
            lambda record: record.update(patient_pattern="(patient"),
            lambda record: record.update(patient_pattern=5),
        ],
    )
    def test_damaged_file_is_refused(self, file, audit, damage):
        """In one line that names it."""
        record = json.loads(Path(file).read_text())
        damage(record)
        Path(file).write_text(json.dumps(record))

        code, _, err = audit(file)

        assert code == 1
        assert f"{file}: is damaged; write it anew" in err

    def test_calibrator_of_a_run_is_named_as_such(self, file, audit):
        """It is not damaged."""
        write_calibrator(Path(file), OF_A_RUN)

        assert f"{file}: is a calibrator of a run, not of saved predictions" in audit(file)[2]

    def test_missing_file_is_refused(self, tmp_path, audit):
        """Before a volume is read."""
        code, _, err = audit(tmp_path / "nothing.json")

        assert code == 1
        assert "nothing.json: no such file" in err


@pytest.mark.usefixtures("undrawn")
def test_segmentation_beside_is_of_what_was_saved(calibrate, tmp_path):
    """Scales of classes change labels, and are not a fault for that."""
    code, _, err = calibrate(*PATTERN, "--method", "class_temperatures")

    assert code == 0, err
    assert json.loads((tmp_path / "out/calibrator.json").read_text())["region"] == "all"
    assert (tmp_path / "out/after/cases.csv").is_file()


@pytest.mark.usefixtures("undrawn")
def test_full_disk_ends_the_fit(calibrate, monkeypatch):
    """It is not a fault of the cases that found no room, and none is left out for it."""

    def refuse(*_):
        raise RuntimeError("iostream error")

    monkeypatch.setattr(torch, "save", refuse)
    code, _, err = calibrate(*PATTERN)

    assert code == 1
    assert "set TMPDIR to another folder" in err
    assert "fault: " not in err


@pytest.mark.usefixtures("undrawn")
def test_segmentation_of_another_prediction_is_a_fault(calibrate, study):
    """It is checked before the probabilities are calibrated."""
    folder = study.nnunet()
    save(
        folder / "patient0_scan0.nii.gz", np.zeros(study.cases["patient0_scan0"][1].shape, np.uint8)
    )

    code, _, err = calibrate(*PATTERN, predictions=folder)

    assert code == 1
    assert "its most probable classes are not those of" in err
