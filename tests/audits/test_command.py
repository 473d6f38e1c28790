"""The command prints one table, draws diagrams, and writes what reports read."""

import re
import shlex
import shutil
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics import compute_hausdorff_distance

from nacl_monai.cli import main
from nacl_monai.data.cases import patients_of
from nacl_monai.errors import InputError
from nacl_monai.evaluations import read_run, read_runs
from nacl_monai.reports.style import data_source
from tests.predictions.conftest import SPACING, Study, softmax_cases


@pytest.fixture
def models(study, tmp_path):
    """Two models of the same cases, and their labels."""
    sharp = {
        case: ((probs**3 / (probs**3).sum(0)).astype(np.float32), label)
        for case, (probs, label) in study.cases.items()
    }
    other = Study(tmp_path, sharp)
    return study.nnunet("plain"), other.nnunet("sharp"), study.labels


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Cases that were audited with every picture; the folder of the audit, and what was printed."""
    root, printed = tmp_path_factory.mktemp("drawn"), StringIO()
    study = Study(root, softmax_cases())
    args = [str(study.nnunet()), str(study.labels), "--regions", "union"]
    with redirect_stdout(printed):
        assert main(["audit", *args, "--output", str(root / "audit")]) == 0
    return study.cases, root / "audit", printed.getvalue()


def test_page_has_what_leads_and_names_the_files(drawn):
    """Its diagram is beside it, drawn once; the page names cases and itself, and has every verdict."""
    cases, audit, out = drawn

    names = ("cases.csv", "summary.json", "bins.npz", "evaluation.json", "reliability_union.png")
    for name in (*names, "page.html"):
        assert f"wrote {audit / name}\n" in out
    assert [file.name for file in audit.glob("reliability_*")] == ["reliability_union.png"]
    page = (audit / "page.html").read_text(encoding="utf-8")
    assert all(case in page for case in cases)
    assert f"nacl-monai page {audit} --output DIR" in re.sub("</?span>", "", page)
    assert page.count("its calibration error (ECE) is") == 2
    assert page.count(data_source((audit / "reliability_union.png").read_bytes())) == 1


def test_without_pictures_the_numbers_are_the_same(drawn, tmp_path):
    """Neither a file nor the page has a picture."""
    cases, audit, _ = drawn
    study = Study(tmp_path, cases)
    args = [study.nnunet(), study.labels, "--regions", "union", "--output", tmp_path / "audit"]
    assert main(["audit", *map(str, args), "--no-pictures"]) == 0

    names = sorted(file.name for file in (tmp_path / "audit").glob("[!.]*"))
    tables = ["cases.csv", "evaluation.json", "page.html", "page.json", "promise.npz"]
    assert names == ["bins.npz", *tables, "summary.json"]
    assert "<img" not in (tmp_path / "audit/page.html").read_text(encoding="utf-8")
    for name in ("cases.csv", "summary.json"):
        assert (tmp_path / "audit" / name).read_bytes() == (audit / name).read_bytes()


def test_several_models_stand_side_by_side(models, run, tmp_path):
    """One folder and one column each."""
    _, out, _ = run(*models)

    header = next(line for line in out.splitlines() if line.split() == ["plain", "sharp"])
    line = next(line for line in out.splitlines() if line.startswith("ECE, foreground"))
    shown = [float(number) for number in line.replace("[", " ").split()[2::3]]
    expected = [
        pd.read_csv(tmp_path / "audit" / name / "cases.csv")["ece_foreground"].mean()
        for name in ("plain", "sharp")
    ]
    assert shown == pytest.approx(expected, abs=5e-4)  # the table has three digits
    assert line.index("[") > header.index("plain")


@pytest.mark.parametrize(("budget", "number"), [("2", 2), ("30%", 2), ("100%", 5)])
def test_suspects_are_the_labels_of_the_largest_surprise(budget, number, tmp_path, audited):
    """One of five has the label of another case; the table of cases says who else surprises."""
    cases = softmax_cases(cases=5)
    first, *_, last = cases
    cases[last] = cases[last][0], cases[first][1]
    study = Study(tmp_path, cases)

    folder = audited(study.nnunet(), study.labels, "--suspects", budget)

    columns = pd.read_csv(folder / "cases.csv", index_col="case").filter(regex="^surprise_")
    largest = {case: max(zip(row, columns, strict=True)) for case, row in columns.iterrows()}
    expected = sorted(largest, key=lambda case: -largest[case][0])[:number]
    listed = pd.read_csv(folder / "suspects.csv", index_col="case")
    assert listed.index.tolist() == expected
    assert expected[0] == last
    for case, row in listed.iterrows():
        assert (row["surprise"], f"surprise_{row['structure']}") == largest[case]


@pytest.mark.parametrize("budget", ["0", "a few", "101%", "1.5"])
def test_wrong_number_of_suspects_is_refused_before_a_volume_is_read(
    budget, study, refused, tmp_path
):
    args = study.nnunet(), study.labels, "--suspects", budget
    refused(f"--suspects: is '{budget}'", *args, code=2)
    assert not (tmp_path / "audit").exists()


def test_next_command_can_be_typed(models, run, tmp_path, capsys):
    """With all that was said of the data; what it writes names the one after it."""
    plain, sharp, labels = models
    args = ("--patient-pattern", r"(patient\d)_", "--dataset", plain / "dataset.json")
    line = shlex.split(run(plain, labels, *args)[1].splitlines()[-1])
    assert line == ["next:", "nacl-monai", "report", *map(str, (plain, labels, *args))]
    assert main(["calibrate", *line[3:], "--output", str(tmp_path / "out")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    file = tmp_path / "out/calibrator.json"
    again = shlex.join(["OTHER_PREDICTIONS", "OTHER_LABELS", *map(str, args)])
    assert last == f"next: nacl-monai promise {again} --calibrator {file}"

    audits = [str(tmp_path / "audit" / name) for name in ("plain", "sharp")]
    line = shlex.split(run(plain, sharp, labels)[1].splitlines()[-1])
    assert line == ["next:", "nacl-monai", "compare", *audits]


def test_models_of_other_cases_are_not_set_side_by_side(models, run, tmp_path):
    """Each is audited; one line names the difference."""
    plain, sharp, labels = models
    (sharp / "patient1_scan2.npz").write_bytes(b"damaged")

    code, _, err = run(plain, sharp, labels)
    assert code == 1
    fault, error = [line for line in err.splitlines() if line.startswith(("fault", "error"))]
    assert fault.startswith(f"fault: {sharp / 'patient1_scan2.npz'}: cannot be read")
    audits = tmp_path / "audit"
    assert f"{audits / 'sharp'}: lacks patient1_scan2, which {audits / 'plain'} has" in error
    assert (tmp_path / "audit" / "sharp" / "cases.csv").is_file()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        *(([name, "x"], f"{name!r} is not a name") for name in ("../escaped", "x/y", "..", "")),
        (["one"], "1 names for 2 folders"),
        (["one", "one"], "two models are called 'one'"),
    ],
)
def test_names_that_no_folders_can_have_are_refused(names, message, models, refused, tmp_path):
    """Before anything is written; each model has a folder in the output."""
    refused(f"--names: {message}", *models, "--names", *names, code=2)
    assert not (tmp_path / "audit").exists()


def test_names_tell_folders_of_one_name_apart(models, run):
    """Their audits would have one place."""
    plain, _, labels = models

    assert "two models are called 'plain'" in run(plain, plain, labels)[2]
    out = run(plain, plain, labels, "--names", "one", "two")[1]
    assert ["one", "two"] in [line.split() for line in out.splitlines()]


def test_reports_read_audits_of_overlapping_structures(regions, audited, tmp_path, capsys):
    """The diagram is that of the first structure."""
    folders = regions.nnunet(), regions.labels
    audits = [str(audited(*folders, output=name)) for name in ("one", "two")]

    for command in ("compare", "draw reliability"):
        assert main([*command.split(), *audits, "--output", str(tmp_path / command)]) == 0, command
    written = {path.name for path in (tmp_path / "compare").glob("[!.]*")}
    assert written == {"comparison.md", "comparison.csv", "reliability.png", "reliability.svg"}
    assert "3 audited cases" in capsys.readouterr().out
    caption = (tmp_path / "draw reliability" / "reliability_near_whole_top-1.svg").read_text()
    assert "of the structure whole" in caption


def test_audit_stands_beside_an_evaluation_of_the_same_voxels(models, audited, tmp_path):
    """Where cases, classes and voxels are the same."""
    folder, evaluated = audited(*models), tmp_path / "run" / "evaluation"
    shutil.copytree(folder / "sharp", evaluated)
    (evaluated / "evaluation.json").write_text('{"set": "test", "settings": {"dataset": "x"}}')

    both = read_runs([tmp_path / "run", folder / "plain"])
    assert [evaluation.scope.set for evaluation in both] == ["test", "audited"]


def test_patients_are_the_unit_of_intervals(study, run, tmp_path):
    """By a pattern or by a table; each patient is the mean over their cases."""
    table, folders = tmp_path / "patients.csv", (study.nnunet(), study.labels)
    rows = [f"{case},p{k % 2}" for k, case in enumerate(study.cases)]
    table.write_text("\n".join(["case,patient", *rows]))
    for args, message in (
        ([], "3 cases [95% interval over cases]"),
        (["--patient-pattern", r"(patient\d+)_"], "3 cases of 2 patients"),
        (["--patients", table], "3 cases of 2 patients"),
    ):
        assert message in run(*folders, *args)[1]

    audit = read_run(tmp_path / "audit")
    first, second, third = audit.metrics["dice"]
    found = audit.mean(audit.metrics["dice"])
    assert found.mean == pytest.approx(((first + third) / 2 + second) / 2)
    assert found.patients == 2


def test_case_without_a_patient_is_refused_before_the_first_volume(study, refused, tmp_path):
    """In the table, or by the pattern."""
    folders, table = (study.nnunet(), study.labels), tmp_path / "patients.csv"

    refused("patient0_scan0: does not match", *folders, "--patient-pattern", "(person)")
    for content, message in (
        ("case,patient\npatient0_scan0,a\n", "has no patient for the case"),
        ("name\nx\n", "has no column 'case'; write a table with the columns case and patient"),
    ):
        table.write_text(content)
        refused(message, *folders, "--patients", table)


@pytest.mark.parametrize(
    ("cases", "pattern", "message"),
    [
        (["p1_a", "p12_a"], r"(p\d)", "p12_a: --patient-pattern .* takes a part of its number"),
        (["caf\u00e9_1", "cafe\u0301_2"], "(caf[^_]+)_", "two forms of Unicode"),
        (["p1_a", "p\uff11_b"], r"(p\d+)_", "wide digits or blanks"),
        (["p 1_a", "p\u30001_b"], r"(p.1)_", "wide digits or blanks"),
        (["p1_a", "p\u200b1_b"], r"(p.*1)_", "an invisible character"),
        (["p1_a", "p12_a"], r"(p\d+)", None),
        (["000101", "000102", "000201"], r"(\d{4})", None),
    ],
)
def test_pattern_neither_merges_patients_nor_divides_one(cases, pattern, message):
    """p1 and p12 are two, and one name in two forms is one; numbers of one width may hold two."""
    if message is None:
        assert len(patients_of(cases, pattern)) == len(cases)
        return
    with pytest.raises(InputError, match=message):
        patients_of(cases, pattern)


def test_distances_are_in_mm_as_monai_measures_them(study, audited):
    """By the size of a voxel along each axis of the label map."""
    table = pd.read_csv(audited(study.nnunet(), study.labels) / "cases.csv", index_col="case")

    assert not [name for name in table if name.startswith("hd95") and "_mm" not in name]
    for case, (probs, label) in study.cases.items():
        masks = [
            torch.tensor(classes == np.arange(1, 3)[:, None, None, None])[None].float()
            for classes in (probs.argmax(0), label)
        ]
        how = {"include_background": True, "percentile": 95, "spacing": SPACING}
        expected = compute_hausdorff_distance(*masks, **how)
        found = table.loc[case, ["hd95_mm_anterior", "hd95_mm_posterior"]].to_numpy(float)
        np.testing.assert_allclose(found, expected[0], atol=1e-5)


def test_structure_that_labels_lack_is_undefined(study, audited):
    """Dice and HD95 of an absent structure stay out of the means."""
    first, (probs, label) = next(iter(study.cases.items()))
    study.cases[first] = probs, np.where(label == 2, 0, label)

    table = pd.read_csv(audited(study.nnunet(), study.labels) / "cases.csv", index_col="case")
    assert table.loc[first, ["dice_posterior", "hd95_mm_posterior"]].isna().all()
    assert table.loc[first, "dice"] == table.loc[first, "dice_anterior"]
