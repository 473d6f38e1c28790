"""`nacl-monai report`: the whole road, on which whoever fits a calibrator does nothing else."""

import json
import multiprocessing
import os
import re
import shlex
import shutil
import sys
import time
from collections import Counter
from functools import partial
from html import unescape
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import read_run
from nacl_monai.files import read_table
from nacl_monai.posthoc import read_calibrator
from nacl_monai.predictions import study as studies
from nacl_monai.predictions.readers import Digested
from nacl_monai.promises.control import Control, level_of
from nacl_monai.promises.record import read_promise
from nacl_monai.promises.report import MOST_FITTED, _summary, patients_to_fit
from nacl_monai.reports.style import page_template
from nacl_monai.reports.viewer import Section, scripts
from tests.evaluated_runs import blank
from tests.predictions.conftest import Study
from tests.promises.test_commands import blobs, refusal, run
from tests.reports.test_viewer import cases_of

PEOPLE = ["--patients", "cases"]


def people(seed, number, name):
    """One case each, under names that tell nobody's patient."""
    letters = [f"{name}{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(number)]
    return dict(zip(letters, blobs(0, number, seed).values(), strict=True))


@pytest.fixture(scope="module")
def readings():
    """Old and new cases, labels, and other files → how often the report read each."""
    return {"old": Counter(), "new": Counter(), "labels": Counter(), "files": Counter()}


@pytest.fixture(scope="module")
def road(tmp_path_factory, readings):
    """The folder of a report on 28 people, with seven new ones, and their study."""
    read, labels, load = Digested.__call__, studies.read_labels, nibabel.load

    def count(reader, prediction):
        readings[prediction.file.parents[1].name][prediction.case] += 1
        return read(reader, prediction)

    def count_labels(file, *args):
        readings["labels"][file.name.partition(".")[0]] += 1
        return labels(file, *args)

    def count_files(file):
        readings["files"][file] += 1
        return load(file)

    root = tmp_path_factory.mktemp("road")
    old, new = Study(root / "old", people(0, 28, "p")), Study(root / "new", people(50, 7, "n"))
    args = [old.nnunet(), old.labels, "--new", new.nnunet(), *PEOPLE, "--output", root / "report"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nacl_monai.reports.style.paint", blank)
        patch.setattr(Digested, "__call__", count)
        patch.setattr(studies, "read_labels", count_labels)
        patch.setattr(nibabel, "load", count_files)
        assert main(["report", *map(str, args)]) == 0
    return root / "report", old, args


def section(page, number):
    return page.split(f"<h2>{number}. ")[1].split("<h2>")[0]


def test_page_has_five_sections_each_with_sentence_picture_table_and_files(road):
    """Every link leads to a file."""
    folder = road[0]
    page = (folder / "page.html").read_text("utf-8")

    assert page.count("<h2>") == 7  # behind these, what more patients give, and what comes next
    assert "Of 100 calibrations, 95 fail in" in section(page, 6)
    assert "15 may give larger ones than 9" in section(page, 6)
    for number in range(1, 6):
        part = section(page, number)
        assert '<div class="verdict"><p>' in part
        assert part.count("<img src=") == 1
        assert part.count("<table>") == 1
        links = re.findall('href="(.*?)"', part)
        assert links
        assert all((folder / link).exists() for link in links)


@pytest.mark.parametrize("step", ["", "audit", "calibrated", "promise"])
def test_every_table_has_the_structures_in_their_order(step, road):
    """As the dataset has them, whatever is sorted; triage has the worst structure of each case."""
    page = (road[0] / step / "page.html").read_text("utf-8")
    tables = re.findall(r"<table.*?</table>", page, re.S)
    orders = []
    for table in tables:
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", table, re.S)
        named = [re.findall(r"\b(anterior|posterior)\b", cell) for cell in cells]
        orders.append([*dict.fromkeys(name for names in named for name in names)])
    assert ["anterior", "posterior"] in orders
    assert ["posterior", "anterior"] not in orders


def test_who_fits_the_calibrator_neither_tests_nor_promises(road):
    """A third of them, at most eight; both groups are on the page."""
    folder, old, _ = road
    fitted = set(read_calibrator(folder / "calibrator/calibrator.json").patients)
    promised = read_promise(folder / "promise")

    assert len(fitted) == MOST_FITTED == 8
    assert fitted | set(promised.patients) == set(old.cases)
    for part in ("audit", "calibrated"):
        tested = pd.read_csv(folder / part / "cases.csv")["case"]
        assert set(tested) == set(promised.patients) == set(old.cases) - fitted
    page = (folder / "page.html").read_text("utf-8")
    for group in (promised.patients, sorted(fitted)):
        assert ", ".join(group) in page
    assert promised.definition["calibrator"][0] == "signed_distance_all"


def test_sentences_and_lists_are_those_of_the_steps(road):
    """The promise says what it promises, triage whom to look at; the level is the smallest of use."""
    folder = road[0]
    page = (folder / "page.html").read_text("utf-8").replace("&#39;", "'")
    promised = read_promise(folder / "promise")

    assert {kept.level for kept in promised.kept} == {level_of(20)} == {0.1}
    for kept, text in promised.verdicts():
        assert (text in section(page, 3)) == (kept.kind == "outer")
    triaged = pd.read_csv(folder / "triage" / "triage.csv")
    looked = triaged["case"][triaged["look"] == "yes"].tolist()
    following = triaged.loc[len(looked)]
    order = f"as many as a budget of 20% allows, in this order: {', '.join(looked)}"
    then = f"{following['case']}, with Dice of at least {following['dice_low']:.3f}"
    assert f"Look at {len(looked)} of 7 new cases, {order}. Next would be {then}." in page
    assert "from those who calibrated (p = " in section(page, 5)


def test_new_patients_who_are_unlike_the_others_are_named_first(road):
    """Before whom to open and what is promised."""
    promise = read_promise(road[0] / "promise")
    usual = ["Look at 1 of 3 new cases, in this order: na.", "No sign that they differ (p = 0.4)."]
    unlike = "They differ (p = 0.002): the volume moved most, from 2 to 1."
    first, second = (
        list(_summary(promise, [Section(sentences=sentences, headings=["Case"])]))
        for sentences in (usual, [usual[0], unlike])
    )

    assert first[0] == usual[0]
    assert "no promise may hold" in second[0]
    assert second[0].endswith(unlike)
    assert second[1:] == first


def test_page_shows_the_new_cases_of_the_list_and_those_of_the_promise(road):
    """Each with its reason; those of the promise are held out, and have labels."""
    folder = road[0]
    shown = cases_of(folder / "page.html")
    listed, promised = (cases_of(folder / step / "page.html") for step in ("triage", "promise"))
    assert len(listed) == 7  # the page of the triage has those who need not be looked at, too
    listed = [case for case in listed if "not among" not in case["reason"]]
    assert len(listed) == 2

    reasons = [f"new, {case['reason']}" for case in listed]
    reasons += [f"labeled, {case['reason']}" for case in promised]
    assert [case.pop("reason") for case in shown] == reasons
    assert len(promised) == 3
    for case, original in zip(shown, [*listed, *promised], strict=True):
        assert case == {key: value for key, value in original.items() if key != "reason"}


def test_page_says_how_many_rows_are_left_out_and_where_all_are(road):
    """A short list is shown whole, and says nothing."""
    page = (road[0] / "page.html").read_text("utf-8")
    rows = len(pd.read_csv(road[0] / "new/promised.csv"))

    assert rows == 14
    assert section(page, 4).count("<tr>") == 1 + 12
    left = f'{rows - 12} more rows; all are in <a href="new/promised.csv">new/promised.csv</a>.'
    assert left in section(page, 4)
    assert page.count("more rows") == 1


@pytest.mark.parametrize(
    ("part", "columns"),
    [
        (3, ["size", "without probabilities", "not controlled"]),
        (4, ["at least", "at most", "outer", "inner"]),
        (5, ["at least", "at most"]),
    ],
)
def test_columns_of_sizes_are_explained_below_their_table(road, part, columns):
    """By the words of their headings."""
    table, below = section((road[0] / "page.html").read_text("utf-8"), part).split("</table>")
    headings = " ".join(re.findall('<th scope="col">(.*?)</th>', table)).lower()

    for column in columns:
        assert column in headings
        assert column in below.partition("</p>")[0].lower()


def contents(folder):
    """Every file below a folder, but what was printed."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "log.txt")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_record_has_all_that_was_printed(road):
    """Sentences and tables, who took part, and numbers with their intervals."""
    folder = road[0]
    record = json.loads((folder / "report.json").read_text("utf-8"))
    steps = record["sections"][:6]

    assert all(section["numbers"] for section in steps[:5])
    log = (folder / "log.txt").read_text("utf-8")
    for section in steps:
        assert all(text in log for text in [section["title"], *section["sentences"]])
        assert all(str(cell) in log for row in section["rows"] for cell in row)
    assert set(record["promising"]) | set(record["fitting"]) == set(road[1].cases)
    assert len(record["new"]) == 7
    assert {"nacl_monai", "torch", "python"} <= record["versions"].keys()
    dice = next(row for row in record["sections"][0]["numbers"] if row["name"] == "dice")
    assert dice["low"] < dice["mean"] < dice["high"]
    triaged = steps[4]["numbers"]
    looked = [row["case"] for row in triaged if row["look"] == "yes"]
    assert looked
    assert all(row["reason"] for row in triaged)


@pytest.mark.parametrize("step", ["", "audit", "calibrated", "promise", "triage"])
def test_page_is_drawn_of_what_is_beside_it(road, step):
    """Of nothing else but pictures and voxels: whatever the record says is on the page."""
    page = road[0] / step / "page.html"
    record = json.loads(page.with_name("page.json" if step else "report.json").read_text("utf-8"))
    sources = iter(re.findall('<img src="(.*?)"', page.read_text("utf-8")))
    parts = record, *record["sections"]
    pictures = [[next(sources) for _ in section["pictures"]] for section in parts]

    def drawn(record):
        beside = scripts(cases_of(page), page)
        return page_template().render(page=record, pictures=pictures, **beside) + "\n"

    assert page.read_text("utf-8") == drawn(record)
    assert not [*sources]
    for section in parts:
        texts = [section["title"], section["about"], *section["sentences"], *section["notes"]]
        texts += [*section["pictures"], *section["headings"], *section["files"]]
        texts += [cell for row in section["rows"][: section["shown"]] for cell in row]
        shown = unescape(re.sub("</?(?:code|span)>", "", drawn(record)))
        assert all(text in shown for text in texts)


@pytest.mark.parametrize("step", ["audit", "calibrated", "promise", "triage"])
def test_numbers_of_a_page_are_those_of_its_files(road, step):
    """With intervals, the patients, and the versions of what computed them."""
    folder = road[0] / step
    record = json.loads((folder / "page.json").read_text("utf-8"))

    assert {"nacl_monai", "torch", "python"} <= record["versions"].keys()
    if step == "triage":
        table = read_table(folder / "triage.csv", ["case"], "")
        assert [row["case"] for row in record["numbers"]] == list(table["case"])
        assert [row["reason"] for row in record["numbers"]] == list(table["reason"])
    elif step == "promise":
        kept = read_promise(folder).kept
        assert [row["values"] for row in record["numbers"]] == [[*part.values] for part in kept]
        assert record["patients"] == [*read_promise(folder).patients]
    else:
        audited, names = read_run(folder), {row["name"] for row in record["numbers"]}
        assert {"ece_near", "confidence_gap_near", "dice", "hd95_mm"} <= names
        for row in record["numbers"]:
            number = audited.number(row["name"])
            ends = [None if np.isnan(end) else end for end in (number.mean, *number.interval())]
            assert [row[key] for key in ("mean", "low", "high")] == ends
            assert row["unit"] == ("mm" if row["name"].startswith("hd95_mm") else "")


def test_each_file_is_read_once(road, readings):
    """Labeled ones for the calibrator, or for both audits, the promise and all pictures."""
    listed = read_table(road[0] / "triage/triage.csv", ["case"], "")["case"]

    assert readings["new"] == dict.fromkeys(listed, 1)
    assert readings["old"] == readings["labels"] == dict.fromkeys(road[1].cases, 1)
    images = [file for folder in road[2][:2] for file in Path(folder).glob("*.nii.gz")]
    assert len(images) == 2 * len(road[1].cases)  # segmentations beside probabilities, and labels
    assert {file: readings["files"][file] for file in images} == dict.fromkeys(images, 1)


def numbers_of(folder):
    """The files of a command without its pages, whose last line is its own command."""
    names = (".written.json", "page.html", "page.json", "report.json")
    return {name: data for name, data in contents(folder).items() if Path(name).name not in names}


@pytest.mark.slow
def test_every_number_is_that_of_its_own_command(road, tmp_path, capsys, monkeypatch):
    """To the bit: each step alone writes the same files."""
    monkeypatch.setattr("nacl_monai.reports.style.paint", blank)
    folder, old, args = road
    new, calibrator = args[3], folder / "calibrator/calibrator.json"
    names = read_calibrator(calibrator).patients
    fitting = Study(tmp_path / "fitting", {name: old.cases[name] for name in names})
    rest = {name: old.cases[name] for name in old.cases if name not in names}
    promising = Study(tmp_path / "promising", rest)
    data = [promising.nnunet(), promising.labels, *PEOPLE]
    behind = ["--calibrator", calibrator]
    promise = folder / "promise/promise.json"
    for step, command in {
        "audit": ["audit", *data, "--names", "as predicted"],
        "calibrated": ["audit", *data, "--names", "calibrated", *behind],
        "promise": ["promise", *data, *behind, "--level", "0.1"],
        "new": ["promise", "--apply", promise, new, *behind, *PEOPLE],
        "triage": ["triage", promise, new, *behind, *PEOPLE],
    }.items():
        run(tmp_path / step, *command)
        own, its = (numbers_of(place / step) for place in (tmp_path, folder))
        assert own.keys() == its.keys()
        assert [name for name in own if own[name] != its[name]] == []

    run(tmp_path / "fit", "calibrate", fitting.nnunet(), fitting.labels, *PEOPLE)
    (left,) = re.findall("Up to 3 mm inside .*", capsys.readouterr().out)
    assert left in section((folder / "page.html").read_text("utf-8"), 2)
    own, its = (read_calibrator(file) for file in (tmp_path / "fit/calibrator.json", calibrator))
    assert own.fit == its.fit
    assert own.patients == its.patients


def test_images_of_new_cases_need_new_cases(road, tmp_path, capsys):
    """They would have no effect."""
    _, old, _ = road
    args = ["report", old.root / "nnunet", old.labels, *PEOPLE, "--new-images", tmp_path]
    line = refusal([*args, "--output", tmp_path / "report"], capsys, [2])
    assert "--new-images: are of the cases of --new" in line


@pytest.mark.parametrize("fault", ["labeled", "same patient", "other structures", "no image"])
def test_new_cases_that_cannot_be_promised_are_refused_before_a_volume_is_read(
    road, tmp_path, capsys, monkeypatch, fault
):
    """Labeled ones, those of another model, and those without the image that was asked for."""
    _, old, args = road
    folder, images, whose, line, remedy = args[3], [], PEOPLE, "", "give predictions of "
    if fault == "labeled":
        folder, line = args[0], "has paa, who is among the labeled patients"
    elif fault == "same patient":
        whose, line = ["--patient-pattern", "^.(.).$"], "has a, who is among the labeled patients"
    elif fault == "other structures":
        cases = {"nza": next(iter(old.cases.values()))}
        labels = {"background": 0, "left": 1, "right": 2}
        folder = Study(tmp_path / "other", cases, {"labels": labels}).nnunet()
        line = "give predictions of the same model"
    else:
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4)), tmp_path / "other.nii")
        images, line = ["--new-images", tmp_path], f"{tmp_path}: holds no image 'na"
        remedy = "add it, or leave out --new-images"

    def read(*_):
        pytest.fail("a volume was read")

    monkeypatch.setattr("nacl_monai.predictions.study.Study.read", read)
    args = [*args[:2], "--new", folder, *images, *whose, "--level", 0.5]
    assert main(["report", *map(str, args), "--output", f"{tmp_path / 'report'}"]) == 1
    error = capsys.readouterr().err
    assert line in error
    assert remedy in error
    assert not (tmp_path / "report").exists()


@pytest.mark.usefixtures("unpainted")
def test_report_replaces_its_own_earlier_one(road):
    """Steps that it does not take now among the rest; it leaves what it has not written."""
    folder, old, _ = road
    notes = [folder / "note.txt", folder / "new" / "note.txt"]
    for note in notes:
        note.write_text("mine")
    args = [old.root / "nnunet", old.root / "labels", *PEOPLE, "--output", folder]

    assert main(["report", *map(str, args)]) == 0
    assert {note.read_text() for note in notes} == {"mine"}
    assert {path.name for path in (folder / "new").iterdir()} == {"note.txt"}
    assert not (folder / "triage").exists()
    page = (folder / "page.html").read_text("utf-8")
    assert "--new" in section(page, 4)


def test_promise_behind_a_calibrator_refuses_whom_it_was_fitted_to(road, tmp_path, capsys):
    """By the command, too."""
    folder, old, _ = road
    behind = ["--calibrator", folder / "calibrator/calibrator.json"]
    args = [old.root / "nnunet", old.root / "labels", *behind, *PEOPLE, "--output", tmp_path]

    assert main(["promise", *map(str, args)]) == 1
    assert "was fitted on" in capsys.readouterr().err


@pytest.mark.usefixtures("unpainted")
def test_few_patients_promise_without_a_calibrator(tmp_path, capsys):
    """The page says so, and all of them promise, at a level of use."""
    few = Study(tmp_path, people(3, 9, "p"))
    args = [few.nnunet(), few.labels, *PEOPLE, "--output", tmp_path / "report"]

    assert main(["report", *map(str, args)]) == 0
    promised = read_promise(tmp_path / "report/promise")
    assert set(promised.patients) == set(few.cases)
    assert promised.definition["calibrator"] == []
    assert {kept.level for kept in promised.kept} == {level_of(9)} == {0.2}
    out = capsys.readouterr().out
    assert "Nothing is calibrated: too few patients would be left for a promise" in out
    assert "Three ways to calibrate: --level 0.3, 27 labeled patients, or a calibrator of" in out
    assert "Only 9 patients: too few to say much." in out
    following = shlex.join([*map(str, args), "--new", "NEW"])
    assert out.endswith(f"next: nacl-monai report {following}\n")
    record = json.loads((tmp_path / "report/audit/evaluation.json").read_text("utf-8"))
    assert "calibrator" not in record


@pytest.mark.usefixtures("unpainted")
def test_too_few_patients_promise_nothing_unless_a_level_asks(tmp_path, capsys):
    """They are audited, and it is said how many are needed for what; an earlier promise is not left."""
    few, new = Study(tmp_path / "p", people(3, 5, "p")), Study(tmp_path / "q", people(9, 1, "q"))
    args = [few.nnunet(), few.labels, *PEOPLE, "--output", tmp_path / "report"]

    assert main(["report", *map(str, args), "--level", "0.2"]) == 0
    assert {kept.level for kept in read_promise(tmp_path / "report/promise").kept} == {0.2}
    capsys.readouterr()
    assert main(["report", *map(str, args), "--new", str(new.nnunet())]) == 0

    out = capsys.readouterr().out
    few = "5 patients: nothing is promised; 9 are needed for 4 of 5 patients, 19 for 9 of 10."
    assert few in out
    assert "Nothing is promised, so that new cases cannot be judged." in out
    assert "Only 5 patients: too few to say much." in out
    assert "next:" not in out
    assert not (tmp_path / "report/promise").exists()
    page = (tmp_path / "report/page.html").read_text("utf-8")
    assert page.count("nothing is promised; 9 are needed") == 2  # first of all, and in its section
    assert (tmp_path / "report/audit/page.html").is_file()


def next_after(args, capsys, monkeypatch, **values):
    """The next command that a command prints, its words in capitals by what a user puts there."""
    monkeypatch.setattr("nacl_monai.reports.style.paint", blank)
    assert main([*map(str, args)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("next: nacl-monai ")
    return [part for word in shlex.split(last)[2:] for part in map(str, values.get(word, [word]))]


@pytest.mark.slow
def test_next_commands_of_a_report_run(tmp_path, capsys, monkeypatch):
    """First on new cases, then on verdicts on them; without cases in the page, on others again."""
    monkeypatch.chdir(tmp_path)
    old, new = Study(tmp_path / "a", people(3, 10, "a")), Study(tmp_path / "b", people(9, 7, "b"))
    found = partial(next_after, capsys=capsys, monkeypatch=monkeypatch, NEW=[new.nnunet()])
    args = found(["report", old.nnunet(), old.labels, *PEOPLE])
    with_cases = found(args)
    case = pd.read_csv("report/triage/triage.csv")["case"][0]
    (tmp_path / "verdicts.csv").write_text(f"case,verdict\n{case},reject\n")

    assert main(with_cases) == 0
    assert "1 of 7 cases are judged: 0 accept, 0 edit, 1 reject." in capsys.readouterr().out
    assert main(found([*args, "--no-viewer"])) == 0


def test_next_command_of_a_report_on_an_ensemble_runs(tmp_path, capsys, monkeypatch):
    """It triages new cases, of all members; the page says the members, too."""
    monkeypatch.chdir(tmp_path)
    first = Study(tmp_path / "a", people(3, 10, "a")), Study(tmp_path / "b", people(9, 2, "b"))
    old, new = ([study.nnunet()] for study in first)
    for places, study in zip((old, new), first, strict=True):
        softer = {name: (p**0.5 / (p**0.5).sum(0), y) for name, (p, y) in study.cases.items()}
        places.append(Study(study.root / "softer", softer).nnunet())
    args = ["report", *old, first[0].labels, "--ensemble", *PEOPLE, "--level", 0.5]

    assert main([*map(str, args), "--new", str(new[0])]) == 2
    assert "--new: is one folder" in capsys.readouterr().err
    assert main(next_after(args, capsys, monkeypatch, NEW=new)) == 0
    page = re.sub("</?span>", "", (tmp_path / "report/page.html").read_text("utf-8"))
    assert shlex.join(["nacl-monai", *map(str, args[:4]), "--ensemble"]) in page
    assert (tmp_path / "report/calibrator").exists()


@given(st.integers(1, 200), st.sampled_from([0.05, 0.1, 0.15, 0.2]))
def test_others_are_enough_for_a_promise_of_use(number, level):
    """Whoever is drawn is one of them, once, and the draw is always the same."""
    patients = [f"p{k}" for k in range(number)]
    chosen = patients_to_fit(patients, level)

    assert chosen == patients_to_fit(patients[::-1], level)
    assert set(chosen) <= set(patients)
    assert len(set(chosen)) == len(chosen) <= min(MOST_FITTED, number / 3)
    if chosen:
        assert number - len(chosen) >= 2 / level - 1 - 1e-9
    assert level_of(number) >= min(0.95, 2 / (number + 1) - 1e-9)


def missed_by_new(rng, calibrates, promises, numbers=12, new=200):
    """How often a new patient is outside the interval of a quantity that twelve numbers predict.

    The numbers are fitted to some patients, as a calibrator's are, and the interval is as wide as a
    promise at 10 % makes it for others, or for the same.
    """

    def patients(count):
        known = rng.normal(size=(count, numbers))
        return known, known.sum(1) + rng.normal(size=count)

    fitted, whole = patients(20)
    chosen = slice(None) if calibrates is None else slice(0, calibrates)
    numbers_fit = np.linalg.lstsq(fitted[chosen], whole[chosen], rcond=None)[0]
    held = slice(None) if promises is None else slice(20 - promises, None)
    scores = abs(whole[held] - fitted[held] @ numbers_fit)
    steps = np.unique(scores)[::-1]
    rule = Control(0.1, "mean").boldest((scores[:, None] > steps).astype(float))
    known, truth = patients(new)
    return (abs(truth - known @ numbers_fit) > steps[rule]).mean()


def test_promise_fails_where_the_same_patients_fit_and_promise():
    """Twelve numbers fit their own patients better than others: 10 % promised is far more that fails."""
    rng = np.random.default_rng(0)
    same, apart = (
        np.array([missed_by_new(rng, *parts) for _ in range(400)])
        for parts in ((None, None), (8, 12))
    )

    for missed, holds in ((same, False), (apart, True)):
        error = missed.std() / len(missed) ** 0.5
        assert (missed.mean() - 3 * error <= 0.1) == holds
    assert same.mean() > 0.15


WORDS = ["NA", "null", "1", "True", "a b", "nan"]


@pytest.mark.usefixtures("unpainted")
@pytest.mark.parametrize("structures", [("NA", "1"), ("null", "a b"), ("True", "nan")])
def test_any_word_may_be_a_name(tmp_path, structures):
    """What looks like a number, a truth or nothing, of cases and of structures."""
    labels = {"labels": {"background": 0, structures[0]: 1, structures[1]: 2}}
    names = {"old": [f"old {word}" for word in [*WORDS, "x", "y", "z"]], "new": WORDS}
    drawn = {"old": people(0, 9, "p").values(), "new": people(50, 6, "p").values()}
    old, new = (
        Study(tmp_path / kind, dict(zip(names[kind], drawn[kind], strict=True)), labels)
        for kind in names
    )

    run(tmp_path / "report", "report", old.nnunet(), old.labels, "--new", new.nnunet(), *PEOPLE)
    rows = read_table(tmp_path / "report/new/promised.csv", ["case", "structure"], "")
    assert [*dict.fromkeys(rows["case"])] == sorted(WORDS)
    assert {*rows["structure"]} == {*structures}
    assert {*read_table(tmp_path / "report/triage/triage.csv", ["case"], "")["case"]} == {*WORDS}


@pytest.mark.parametrize("what", ["case", "structure"])
def test_name_that_a_spreadsheet_computes_is_refused(tmp_path, capsys, what):
    """In one line, before anything is written."""
    cases, names = people(0, 3, "p"), ["left", "right"]
    if what == "case":
        cases["=1+1"] = cases.pop("paa")
    else:
        names[0] = "=1+1"
    labels = {"background": 0, names[0]: 1, names[1]: 2}
    study = Study(tmp_path / "old", cases, {"labels": labels})
    args = [study.nnunet(), study.labels, *PEOPLE, "--output", tmp_path / "report"]

    assert main(["report", *map(str, args)]) == 1
    error = capsys.readouterr().err
    assert "'=1+1' begins with =" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report").exists()


@pytest.mark.usefixtures("unpainted")
def test_report_that_fails_leaves_the_earlier_one_or_nothing(tmp_path, monkeypatch):
    """At its last step, after all others have succeeded; and the same command repeats it."""
    old, new = Study(tmp_path / "a", people(3, 9, "p")), Study(tmp_path / "b", people(9, 2, "n"))
    args = ["report", old.nnunet(), old.labels, *PEOPLE, "--output", tmp_path / "report"]
    last = [*args, "--new", new.nnunet()]

    def fail(*_):
        raise InputError("nii.gz: is damaged; predict the case again")

    with monkeypatch.context() as patch:
        patch.setattr("nacl_monai.promises.report.look_text", fail)
        assert main([*map(str, last)]) == 1
        assert not (tmp_path / "report").exists()
        assert main([*map(str, args)]) == 0
        earlier = contents(tmp_path / "report")
        assert main([*map(str, last)]) == 1
    assert contents(tmp_path / "report") == earlier
    assert main([*map(str, last)]) == 0
    assert (tmp_path / "report/triage/triage.csv").exists()


def reported(args):
    """The command in a process of its own, without pixels."""
    with pytest.MonkeyPatch.context() as patch, Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        patch.setattr("nacl_monai.reports.style.paint", blank)
        sys.exit(main([*map(str, args)]))


@pytest.mark.nightly
def test_report_that_is_killed_leaves_the_earlier_one_or_nothing(tmp_path):
    """60 times at random moments; then the same command succeeds."""
    old, new = Study(tmp_path / "a", people(3, 9, "p")), Study(tmp_path / "b", people(9, 3, "n"))
    output, earlier = tmp_path / "report", tmp_path / "earlier"
    args = ["report", old.nnunet(), old.labels, *PEOPLE, "--output", output]
    last = [*args, "--new", new.nnunet()]
    prepared = multiprocessing.get_context("forkserver")
    prepared.set_forkserver_preload(["tests.promises.test_report", "nacl_monai.promises.report"])

    def killed(command, seconds=None):
        process = prepared.Process(target=reported, args=(command,))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        return process.exitcode

    assert killed(args) == 0
    shutil.copytree(output, earlier)
    begin = time.monotonic()
    assert killed(last) == 0
    whole, first, second = time.monotonic() - begin, contents(earlier), contents(output)
    assert first != second
    rng, ends = np.random.default_rng(0), Counter()
    for kill in range(60):
        shutil.rmtree(output, ignore_errors=True)
        if kill % 2:
            shutil.copytree(earlier, output)
        code = killed(last, rng.uniform(0, 1.1) * whole)
        ends[code] += 1
        there = contents(output) if output.exists() else None
        assert there in (first if kill % 2 else None, second)
    assert ends[-9] > 30
    assert killed(last) == 0
    assert contents(output) == second
