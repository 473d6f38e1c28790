"""Measurements from volumes: formulas are parsed and never run, and intervals hold as MAPIE's do."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.conformity_scores import AbsoluteConformityScore
from mapie.regression import SplitConformalRegressor
from sklearn.linear_model import LinearRegression

import nacl_monai
from nacl_monai.errors import InputError, SettingError
from nacl_monai.promises import measure, read_promise
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control, Law
from nacl_monai.promises.measure import Formula, fit_measures, phases_of, values_of
from tests.predictions.conftest import Study as Files
from tests.promises.test_check import study
from tests.promises.test_commands import PATIENTS, blobs, chances, refusal, run

EF, PHASES = "EF = 1 - ES.anterior / ED.anterior", ["--phases", "_(ED|ES)"]
NAMES = ["LV", "RV", "left ventricle", "a-b", "a", "b", "µ (x)"]


def value(text, volumes, phased=False):
    structures = sorted({structure for _, structure in volumes})
    arrays = {term: np.array([volume]) for term, volume in volumes.items()}
    return float(Formula.of(f"m = {text}", structures, phased).of_volumes(arrays)[0])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("LV", 8),
        ("1 - RV / LV", 0.5),
        ("(LV − RV) ÷ (LV + RV) × 100", 100 * 4 / 12),
        ("-LV * 2.5e-1 + -(3 - 1)", -4),
        ("left ventricle / a-b", 3),
        ("a - b", 3),
        ("a-b", 5),
        ("µ (x) + 0.5*LV", 11),
        ("LV / (RV - RV)", math.nan),
        ("1e200 * LV * 1e200", math.nan),
    ],
)
def test_formula_is_arithmetic_on_volumes(text, number):
    """With names that Python does not know, the longest first."""
    volumes = dict(zip([("", name) for name in NAMES], (8, 4, 15, 5, 4, 1, 7), strict=True))
    assert value(text, volumes) == pytest.approx(number, nan_ok=True)


def test_phase_and_structure_name_a_volume():
    volumes = {("ED", "LV"): 100.0, ("ES", "LV"): 40.0, ("1", "LV"): 2.0}
    assert value("1 - ES.LV / ED.LV", volumes, phased=True) == pytest.approx(0.6)
    assert value("2 * 1.LV", volumes, phased=True) == 4


def operation(part):
    return st.tuples(part, st.sampled_from("+-*/"), part).map("({0[0]} {0[1]} {0[2]})".format)


tree = st.recursive(st.sampled_from(["LV", "RV", "2", "0.5"]), operation, max_leaves=12)


@given(tree)
@settings(max_examples=100, deadline=None)
def test_formula_is_what_python_computes(text):
    """Of any tree of operations with a structure in it."""
    text += " + LV"
    try:
        expected = eval(text, {"LV": 3.0, "RV": 0.0})
    except ZeroDivisionError:
        return  # inf - inf may come back to a number in no order of ours
    assert value(text, {("", "LV"): 3.0, ("", "RV"): 0.0}) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("LV", "has no name"),
        ("= LV", "has no name"),
        ("../x = LV", "has no name"),
        ("m = 1 + 2", "has no structure"),
        ("m = LV +", "is no formula"),
        ("m = LV ** 2", "has"),
        ("m = __import__('os').system('touch ruined') + LV", "has"),
        ("m = LV.__class__", "has"),
        ("m = (lambda: LV)()", "has"),
        ("m = [LV for x in (1,)][0]", "has"),
        ("m = __0 + LV", "has '__0', which is no structure"),
        ("m = _0 + LV", "has '_0', which is no structure"),
        ("m = MYO + LV", "has 'MYO', which is no structure"),
        ("m = ED.LV", "has"),
        ("m = LV if RV else 1", "has"),
        ("m = LV < RV", "has"),
        ("m = True + LV", "has"),
        ("m = 'a' + LV", "has"),
        ("m = LV + 1j", "has"),
        ("m = LV + 1" + "0" * 400, "has"),
        ("m = " + "(" * 300 + "LV" + ")" * 300, "is no formula"),
        ("m = LV" + " + LV" * 300, "has no name"),
        ("m = LV\nimport os", "is no formula"),
        ("m = LV; RV", "is no formula"),
    ],
)
def test_anything_but_a_formula_is_refused_and_nothing_is_run(text, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=f"--measure: .*{line}"):
        Formula.of(text, ["LV", "RV"])
    assert not list(tmp_path.iterdir())


def curves_of(predicted, labeled, cases=None, patients=None):
    """Curves of one structure with these volumes, on a grid of 100 voxels of 10 ml."""
    place = np.arange(100)
    inside = (place < np.reshape(predicted, (-1, 1, 1))).astype(np.float32)
    labels = (place < np.reshape(labeled, (-1, 1, 1))).astype(int)
    names = cases or [f"p{k:03d}" for k in range(len(inside))]
    probs = np.stack([1 - inside, inside], 1)
    how = {"classes": ["background", "LV"], "cases": names, "patients": patients or names}
    return curves_of_arrays(probs, labels, spacing=(100.0, 100.0), **how)


@pytest.mark.parametrize("level", [0.1, 0.2])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_interval_is_mapies_on_equal_arrays(level, asymmetric):
    rng = np.random.default_rng(0)
    labeled = rng.integers(20, 80, 39)
    predicted = labeled + rng.integers(-9, 15, 39)

    curves = curves_of(predicted, labeled)
    (found,) = fit_measures(curves, [level], ["m = 2 * LV"], asymmetric=asymmetric)

    score = AbsoluteConformityScore(sym=not asymmetric)
    line = LinearRegression().fit([[0], [1]], [0, 1])
    theirs = SplitConformalRegressor(line, 1 - level, score, prefit=True)
    x, y = 20.0 * predicted[:, None], 20.0 * labeled
    theirs.conformalize(x, y)
    _, interval = theirs.predict_interval(np.array([[1000.0]]))
    assert [1000 - found.below, 1000 + found.above] == pytest.approx(interval[0, :, 0])


@pytest.mark.parametrize(("n", "asymmetric"), [(9, False), (19, False), (19, True), (40, True)])
def test_interval_holds_as_its_law_says(n, asymmetric):
    """The share of new patients who are outside, in 4,000 calibrations, by the Beta's mean."""
    rng = np.random.default_rng(n)
    errors = rng.gamma(2, size=(4000, n + 1)) - 1
    law = measure.Measure("m", "LV", None, 0.1, 0, 0, n, asymmetric=asymmetric).law
    k = law.a // 2 if asymmetric else law.a
    old = np.sort(errors[:, :n] if asymmetric else abs(errors[:, :n]), 1)
    new = errors[:, n] if asymmetric else abs(errors[:, n])
    outside = new > old[:, n - k]
    if asymmetric:
        outside |= new < old[:, k - 1]

    share = law.a / (law.a + law.b)
    # Four standard errors.
    assert outside.mean() == pytest.approx(share, abs=4 * math.sqrt(share / 4000))
    assert share <= 0.1 + 1e-9


def test_undefined_values_count_as_missed_and_are_counted():
    """A divisor of 0, in the label or the prediction; too many of them are refused."""
    labeled = np.arange(20, 40)
    predicted = labeled + np.arange(20) % 7
    predicted[3] = 0

    (found,) = fit_measures(curves_of(predicted, labeled), [0.1], ["m = 1 / LV"])

    pairs = zip(predicted, labeled, strict=True)
    errors = [abs(1 / (10 * p) - 1 / (10 * y)) if p else math.inf for p, y in pairs]
    assert found.below == pytest.approx(sorted(errors)[18 - 1 + 1])
    assert found.undefined == 1
    assert "1 patient without a value counted as missed" in found.text
    predicted[4] = 0
    with pytest.raises(InputError, match="m: 2 patients of 20 have no value, .* so many cannot be"):
        fit_measures(curves_of(predicted, labeled), [0.1], ["m = 1 / LV"])


def test_phases_are_of_names_or_of_a_table(tmp_path):
    cases = ["p1_ED", "p1_ES", "p2_ED"]
    table = tmp_path / "phases.csv"
    table.write_text("case,phase\np1_ED,1\np1_ES,2\np2_ED,1\n")

    assert phases_of(cases, "_(ED|ES)") == ["ED", "ES", "ED"]
    assert phases_of(cases, table) == ["1", "2", "1"]
    assert phases_of(cases, None) == ["", "", ""]
    with pytest.raises(InputError, match="finds no phase in 'x'"):
        phases_of([*cases, "x"], "_(ED|ES)")
    with pytest.raises(SettingError, match="neither a table nor an expression"):
        phases_of(cases, "ED|ES")
    table.write_text("case,time\np1_ED,1\np1_ES,2\np2_ED,1\n")
    with pytest.raises(InputError, match="has no column 'phase'"):
        phases_of(cases, table)


def test_values_are_of_a_patients_phases():
    """A patient who lacks one has no value; two cases of one are refused."""
    cases = ["p1_ED", "p1_ES", "p2_ED"]
    (ef,) = [measure.Measure("EF", "1 - ES.LV / ED.LV", "_(ED|ES)", 0.1, 0, 0, 9)]
    volumes = np.array([[100.0], [40.0], [90.0]])

    (found,) = values_of([ef], volumes, ["LV"], ["p1", "p1", "p2"], cases)

    assert found.tolist() == pytest.approx([0.6, math.nan], nan_ok=True)
    with pytest.raises(InputError, match="p1: has two cases of the phase 'ED'"):
        values_of([ef], volumes, ["LV"], ["p1"] * 3, cases)
    plain = measure.Measure("m", "LV", None, 0.1, 0, 0, 9)
    with pytest.raises(InputError, match="p1: has two cases without a phase.*--phases"):
        values_of([plain], volumes, ["LV"], ["p1", "p1", "p2"], cases)


def test_too_few_patients_and_two_of_a_name_are_refused():
    with pytest.raises(InputError, match="--asymmetric: 18 patients are too few .*takes 19"):
        fit_measures(study(18, 0), [0.1], ["m = class_1"], asymmetric=True)
    with pytest.raises(SettingError, match="two are called 'm'"):
        fit_measures(study(19, 0), [0.1], ["m = class_1", "m = 2 * class_1"])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Ten patients with two scans each, promised with a share of phases, and two others."""
    root = tmp_path_factory.mktemp("measured")
    names = [f"p{k:02d}_{phase}" for k in range(12) for phase in ("ED", "ES")]
    old = Files(root / "old", dict(zip(names[:20], blobs(0, 20).values(), strict=True)))
    new = Files(root / "new", dict(zip(names[20:], blobs(20, 4, 1).values(), strict=True)))
    measures = ["--measure", EF, "sum = ED.anterior + ED.posterior", *PHASES, *PATIENTS]
    folder = run(root / "promise", "promise", old.nnunet(), old.labels, *measures)
    return folder / "promise.json", old, new


def test_interval_of_command_is_that_of_volumes_of_files(measured):
    """By a loop over label maps: 9 of 10 patients, so none of nine; the largest error of ten."""
    _, old, _ = measured
    promise = read_promise(measured[0])
    labels = {case: label for case, (_, label) in old.cases.items()}
    predicted = {case: probs.argmax(0) for case, (probs, _) in old.cases.items()}
    errors = []
    for k in range(10):
        values = [
            1 - (maps[f"p{k:02d}_ES"] == 1).sum() / (maps[f"p{k:02d}_ED"] == 1).sum()
            for maps in (predicted, labels)
        ]
        errors.append(abs(values[0] - values[1]))

    ef = promise.measures[0]

    assert (ef.name, ef.patients, ef.below) == ("EF", 10, pytest.approx(max(errors)))
    assert ef.above == ef.below
    assert "- EF = 1 - ES.anterior / ED.anterior is within" in promise.text()


@pytest.mark.parametrize("through", ["audit", "shards"])
def test_measurement_is_the_same_through_sums(measured, through, tmp_path):
    """Of an audit, and of the parts of two sites: sums know volumes, patients and cases."""
    promise, old, _ = measured
    audit = ["audit", old.nnunet(), old.labels, *PATIENTS, "--no-pictures"]
    parts = [[]] if through == "audit" else [["--shard", "1/2"], ["--shard", "2/2"]]
    sums = [run(tmp_path / f"part{k}", *audit, *part) for k, part in enumerate(parts)]
    run(tmp_path / "promise", "promise", *sums, "--measure", EF, *PHASES, "--no-pictures")

    assert read_promise(tmp_path / "promise").measures == read_promise(promise).measures[:1]


def test_report_has_the_measurements_of_apply_and_triage(measured, tmp_path):
    """To the bit, with a sentence, a file and a column of its own."""
    _, old, new = measured
    ways = [*PATIENTS, *PHASES, "--measure", "EF = ES.anterior / ED.anterior"]
    run(tmp_path / "report", "report", old.nnunet(), old.labels, "--new", new.nnunet(), *ways)
    promise = tmp_path / "report/promise/promise.json"
    for verb, name in ((["promise", "--apply"], "new"), (["triage"], "triage")):
        run(tmp_path / name, *verb, promise, new.nnunet(), *PATIENTS)

    for file in ("new/measures.csv", "triage/triage.csv"):
        assert (tmp_path / "report" / file).read_bytes() == (tmp_path / file).read_bytes()
    page = (tmp_path / "report/page.html").read_text("utf-8")
    sentence = read_promise(promise).measures[0].text
    record = json.loads((tmp_path / "report/report.json").read_text("utf-8"))
    for section in record["sections"][:6]:
        assert all(len(row) == len(section["headings"]) for row in section["rows"])
    assert sum(sentence in section["sentences"] for section in record["sections"]) == 2
    assert '<th scope="col">EF at most</th>' in page
    assert sentence in (tmp_path / "report/promise/page.html").read_text("utf-8")


def test_apply_and_triage_have_measurements_of_new_patients(measured, tmp_path, capsys):
    promise, _, new = measured
    folder = new.nnunet()
    run(tmp_path / "out", "promise", "--apply", promise, folder, *PATIENTS)
    table = pd.read_csv(tmp_path / "out/measures.csv").set_index(["measure", "patient"])
    (ef, total), width = read_promise(promise).measures, {}
    for patient in ("p10", "p11"):
        ed, es = (new.cases[f"{patient}_{phase}"][0].argmax(0) for phase in ("ED", "ES"))
        width[patient] = 1 - (es == 1).sum() / (ed == 1).sum()
        row = table.loc["EF", patient]
        assert row["value"] == pytest.approx(width[patient], abs=1e-5)
        assert row["low"] == pytest.approx(width[patient] - ef.below, abs=1e-5)
        whole = ((ed == 1) | (ed == 2)).sum() * 0.0054
        assert table.loc["sum", patient]["high"] == pytest.approx(whole + total.above, abs=1e-4)
    assert "measures.csv" in capsys.readouterr().out

    run(tmp_path / "triage", "triage", promise, folder, *PATIENTS)
    listed = pd.read_csv(tmp_path / "triage/triage.csv").set_index("case")
    assert listed.loc["p11_ES", "EF"] == pytest.approx(width["p11"], abs=1e-5)
    assert "EF at most" in (tmp_path / "triage/page.html").read_text()


def test_a_patient_who_lacks_a_phase_is_said_to_have_no_value(measured, tmp_path, capsys):
    promise, _, new = measured
    folder = tmp_path / "new"
    shutil.copytree(new.nnunet(), folder)
    for file in folder.glob("p11_ES*"):
        file.unlink()

    run(tmp_path / "o", "promise", "--apply", promise, folder, *PATIENTS)

    assert "note: EF is undefined for p11" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (PHASES, "have no effect without --measure"),
        (["--asymmetric"], "have no effect without --measure"),
        (["--measure", "EF = anterior"], "has two cases without a phase"),
        (["--measure", "EF = X.anterior", *PHASES], "X.anterior: no case has the phase"),
        (["--measure", "EF = 1 + 1"], "has no structure"),
    ],
)
def test_command_refuses_a_measurement_that_cannot_be(measured, tmp_path, capsys, arguments, line):
    _, old, _ = measured
    command = ["promise", old.nnunet(), old.labels, *PATIENTS, *arguments, "--output"]
    assert line in refusal([*command, tmp_path / "p"], capsys)
    assert not (tmp_path / "p").exists()


def test_measurement_is_judged_by_new_labels(measured):
    """A sentence of its own in a check, by the same law."""
    path, _, new = measured
    promise = read_promise(path)
    check = promise.check(new.nnunet(), new.labels, chosen="all", patient_pattern=PATIENTS[1])
    row = check.table.set_index("promise").loc["EF 10%"]
    errors = []
    for patient in ("p10", "p11"):
        maps = [new.cases[f"{patient}_{phase}"] for phase in ("ES", "ED")]
        values = [
            1 - (part(maps[0]) == 1).sum() / (part(maps[1]) == 1).sum()
            for part in (lambda case: case[0].argmax(0), lambda case: case[1])
        ]
        errors.append(abs(values[0] - values[1]))
    failed = sum(error > promise.measures[0].below for error in errors)
    assert (row["failed"], row["patients"]) == (failed, 2)
    assert row["p"] == pytest.approx(Law.of(Control(0.1), 10).p_values(2)[failed])


def test_python_has_measurements_of_arrays():
    probs, labels = chances(20, 8, 8)
    promised = nacl_monai.promise(probs, labels, measures=["m = 2 * class_1"])
    errors = sorted(abs((probs[:, 1] > 0.5).sum((1, 2)) - labels.sum((1, 2))))
    assert promised.measures[0].below == pytest.approx(2 * errors[18 - 1 + 1] * 1e-3)
    with pytest.raises(SettingError, match="give a list of formulas"):
        nacl_monai.promise(probs, labels, measures="m = class_1")
