"""What pages of promises and of triage show is the promise's own; verdicts on it are counted."""

import html
import json
import re
import shlex
from dataclasses import replace

import nibabel
import numpy as np
import pandas as pd
import pytest

from nacl_monai.cli import main
from nacl_monai.inference.records import MARGINS
from nacl_monai.promises import applied, promise, read_promise
from tests.predictions.conftest import CLASSES, Study
from tests.promises.test_commands import PATIENTS, blobs, chances, refusal, run
from tests.reports.test_viewer import cases_of, layer
from tests.same import same_values


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Eight patients, of two cases each."""
    return Study(tmp_path_factory.mktemp("old"), blobs(0, 16))


@pytest.fixture(scope="module")
def folder(old):
    args = ["--level", "0.2", "--miss", "0.1", *PATIENTS]
    return run(old.root / "promise", "promise", old.nnunet(), old.labels, *args)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("new"), blobs(16, 4))


@pytest.fixture(scope="module")
def triage(folder, new):
    return run(new.root / "triage", "triage", folder, new.nnunet(), "--budget", "3", *PATIENTS)


def voxels(text):
    return np.asarray(layer(text).dataobj)


def test_triage_shows_the_contours_and_the_threshold_of_the_promise(folder, triage, new):
    """What `promise --apply` writes, cropped; the threshold is that within the margin of the family."""
    applied = run(new.root / "applied", "promise", "--apply", folder, new.nnunet(), *PATIENTS)
    outer = (kept for kept in read_promise(folder).of_level() if kept.kind == "outer")
    kept = {contour.structure: contour for contour in outer}
    table = pd.read_csv(triage / "triage.csv")
    cases = cases_of(triage / "page.html")

    assert [case["name"] for case in cases] == table["case"].tolist()
    rest = "not among those to look at: " + table["reason"]
    reasons = table["reason"].where(table["look"] == "yes", rest)
    assert [case["reason"] for case in cases] == reasons.tolist()
    page = (triage / "page.html").read_text(encoding="utf-8")
    assert "All new cases can be seen, the most doubtful first." in page
    worst = [case["structures"][0]["name"] for case in cases]
    assert worst == table["structure"].tolist()
    for case in cases:
        for structure in case["structures"]:
            masks = {mask["name"]: voxels(mask["voxels"]) for mask in structure["masks"]}
            for kind in ("outer", "inner"):
                file = applied / f"{case['name']}_{kind}_{structure['name']}.nii.gz"
                assert masks[f"{kind} contour"].sum() == nibabel.load(file).get_fdata().sum()
            promised = kept[structure["name"]]
            assert structure["mark"] == promised.values[0]
            assert structure["meaning"].startswith("the contour that misses at most 10% in 4 of 5")
            # Within the margin, the outer contour is where the probability reaches the mark.
            within, probs = voxels(structure["within"]) > 0, layer(structure["probability"])
            sure = np.abs(probs.get_fdata() - structure["mark"]) > 1 / 255
            reached = probs.get_fdata() >= structure["mark"]
            assert (masks["outer contour"] == reached)[within & sure].all()
            assert within[masks["prediction"] > 0].all()
            assert promised.margin in MARGINS


def reached(structure):
    """The voxels that the slider holds at the mark by the page's bytes, and where these can tell."""
    steps = np.asarray(layer(structure["probability"]).dataobj.get_unscaled()).astype(float)
    mark = structure["mark"]
    surer = 1 / (1 + (1 / min(mark, 0.5) - 1) ** (1 / 6))  # beyond the margin, as viewer.js has it
    least = np.where(voxels(structure["within"]), mark, max(mark, surer))
    return steps >= 255 * least, abs(steps - 255 * least) > 0.5


def test_promise_shows_three_cases_with_their_labels(folder, old):
    """Of which most is missed, then of which as much as usual."""
    cases = cases_of(folder / "page.html")
    whats = [case["reason"].split(":")[0] for case in cases]
    assert whats == ["missed most of all", "missed second most", "missed as usual"]
    for case in cases:
        worst = re.search(r"% of (\w+)", case["reason"])[1]
        first = case["structures"][0]
        assert first["name"] == worst  # that of which most is missed, which the page opens with
        masks = {mask["name"]: voxels(mask["voxels"]) for mask in first["masks"]}
        label = old.cases[case["name"]][1] == CLASSES[worst]
        assert masks["label"].sum() == label.sum()
        assert list(masks) == ["label", "prediction", "outer contour", "inner contour"]
        inside, known = reached(first)  # the contour is that of the mark
        assert ((masks["outer contour"] > 0) == inside)[known].all()
        missed = (masks["label"] > masks["outer contour"]).sum() / label.sum()
        assert f": {missed:.1%} of {worst}" in case["reason"]


@pytest.mark.parametrize(("cases", "beside"), [(3.5, 0), (1.5, 1)])
def test_triage_shows_as_many_cases_as_its_page_holds(
    cases, beside, folder, new, tmp_path, monkeypatch
):
    """Those to look at are on pages beside it where there is no room; others are named as left out."""
    whole = run(tmp_path / "whole", "triage", folder, new.nnunet(), *PATIENTS, "--budget", "2")
    first = cases_of(whole / "page.html")
    limit = int(sum(len(json.dumps(case)) for case in first) / 4 * cases)
    for module in ("reports.viewer", "promises.triage"):
        monkeypatch.setattr(f"nacl_monai.{module}.LIMIT", limit)
    part = run(tmp_path / "part", "triage", folder, new.nnunet(), *PATIENTS, "--budget", "2")

    listed = pd.read_csv(part / "triage.csv")["case"].tolist()
    shown = [case["name"] for case in cases_of(part / "page.html")]
    pages = sorted(file.stem.removeprefix("page_") for file in part.glob("page_*.html"))
    assert len(pages) == beside
    number = len(shown) + beside
    assert sorted(shown + pages) == sorted(listed[:number])
    assert {*listed[:2]} <= {*shown, *pages}
    text = html.unescape((part / "page.html").read_text(encoding="utf-8"))
    left = re.search(r"Left out: (.*?)\.", text)
    assert left[1].split(", ") == listed[number:]
    record = json.loads((part / "page.json").read_text(encoding="utf-8"))
    command = shlex.split(record["commands"]["See those that are left out"])[1:]
    run(tmp_path / "left", command[0], *command[1:])
    assert [case["name"] for case in cases_of(tmp_path / "left/page.html")] == listed[number:]


def test_triage_of_more_cases_than_there_is_room_for_keeps_the_first(
    folder, new, tmp_path, monkeypatch
):
    """What has been left out stays so, whichever cases come after it."""
    monkeypatch.setattr("nacl_monai.promises.triage._SHOWN", 1)
    for module in ("reports.viewer", "promises.triage"):
        monkeypatch.setattr(f"nacl_monai.{module}.LIMIT", 1)
    place = run(tmp_path / "triage", "triage", folder, new.nnunet(), *PATIENTS, "--budget", "1")

    first, *left = pd.read_csv(place / "triage.csv")["case"]
    assert [file.name for file in place.glob("page_*.html")] == [f"page_{first}.html"]
    text = html.unescape((place / "page.html").read_text(encoding="utf-8"))
    assert f"Left out: {', '.join(left)}." in text


@pytest.mark.parametrize("word", ["--no-viewer", "--no-pictures"])
def test_triage_without_cases(word, folder, new, tmp_path):
    """Its list is there all the same."""
    page = run(tmp_path / "triage", "triage", folder, new.nnunet(), word, *PATIENTS) / "page.html"
    assert not cases_of(page)
    assert "p08_scan16" in page.read_text(encoding="utf-8")


def write_verdicts(file, *rows):
    file.write_text("case,verdict,note\n" + "".join(f'"{c}","{v}","a, note"\n' for c, v in rows))
    return str(file)


def test_verdicts_are_counted_within_each_budget(triage, tmp_path, capsys):
    """Of the first cases of the list those that were judged; several people judge other cases."""
    first, second, third, last = pd.read_csv(triage / "triage.csv")["case"]
    rows = (first, "reject"), (second, ""), (third, "accept")
    files = [write_verdicts(tmp_path / "one.csv", *rows)]
    files += [write_verdicts(tmp_path / "two.csv", (last, "edit"), (first, "reject"))]
    assert main(["triage", f"{triage}", "--verdicts", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 of 4 cases are judged: 1 accept, 1 edit, 1 reject."
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    assert (rows["20%"], rows["50%"]) == (["1", "1", "1", "100%"], ["2", "1", "1", "100%"])
    assert rows["100%"] == ["4", "3", "1", "33%"]


def test_promise_in_python_shows_the_cases_of_the_command(folder, old, tmp_path):
    """Of folders; the page that is saved has none, nor has one that was read again."""
    found = promise(old.nnunet(), old.labels, levels=[0.2], patient_pattern=PATIENTS[1])
    shown = cases_of(found.page(tmp_path / "page.html"))

    assert shown == cases_of(folder / "page.html")
    for page in (
        found.page(tmp_path / "without.html", viewer=False),
        found.save(tmp_path / "saved") / "page.html",
        read_promise(folder).page(tmp_path / "read.html"),
    ):
        assert cases_of(page) == []


def test_promise_of_arrays_shows_cases_along_their_axes(tmp_path):
    """The set of the threshold within the margin is the contour that the promise writes."""
    (probs, labels), spacing = chances(8, 4, 5, 6, low=0.2, high=0.9), (1.0, 2.0, 3.0)
    found = promise(probs, labels, levels=[0.3], misses=[0.4], spacing=spacing)
    shown = cases_of(found.page(tmp_path / "page.html"))

    assert len(shown) == 3
    for case in shown:
        place = found.cases.index(case["name"])
        (structure,) = case["structures"]
        masks = {mask["name"]: voxels(mask["voxels"]) for mask in structure["masks"]}
        stored = layer(structure["probability"])
        # Half a step of a byte.
        np.testing.assert_allclose(stored.get_fdata(), probs[place, 1], atol=0.5 / 255 + 1e-6)
        np.testing.assert_allclose(np.diag(stored.affine), (*spacing, 1))
        same_values(masks["label"], labels[place])
        (applied_to,) = applied(replace(found, cohort={}), probs[place], spacing)
        same_values(masks["outer contour"], applied_to.contours["outer"])


def test_verdicts_on_labeled_cases_of_a_report_are_not_counted(triage, tmp_path, capsys):
    """Its page shows them beside those of the triage."""
    first = pd.read_csv(triage / "triage.csv")["case"][0]
    file = write_verdicts(tmp_path / "verdicts.csv", (first, ""), ("held_out", "reject"))

    assert main(["triage", f"{triage}", "--verdicts", file]) == 0
    note, line, *_ = capsys.readouterr().out.splitlines()
    assert note == "note: held_out: no case of this triage, and not counted"
    assert line == "0 of 4 cases are judged: 0 accept, 0 edit, 0 reject."


def test_wrong_labels_are_listed_and_judge_no_prediction(triage, tmp_path, capsys):
    """Of the cases of a report that are labeled, and of new ones that were labeled since."""
    first, second, *_ = pd.read_csv(triage / "triage.csv")["case"]
    rows = (first, "label is wrong"), (second, "reject"), ("held_out", "label is wrong")
    file = write_verdicts(tmp_path / "verdicts.csv", *rows)

    assert main(["triage", f"{triage}", "--verdicts", file]) == 0
    note, line, *_ = capsys.readouterr().out.splitlines()
    assert note == (f"note: {first}, held_out: the label is wrong, says {file}")
    assert line == "1 of 4 cases are judged: 0 accept, 0 edit, 1 reject."


CASE = "p08_scan16"


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ([[("nobody", "reject")]], "'nobody' is no case of this triage; give the one it is of"),
        (
            [[(CASE, "refuse")]],
            "'refuse' is not one of accept, edit, reject, label is wrong; correct it",
        ),
        ([[(CASE, "edit"), (CASE, "accept")]], f"has 2 rows of '{CASE}'; leave one"),
        ([[(CASE, "edit")], [(CASE, "accept")]], "but another file edit; settle it"),
    ],
)
def test_verdicts_that_cannot_be_meant_are_refused(files, error, triage, tmp_path, capsys):
    """In one line; of two people who contradict each other nobody knows whose counts."""
    places = [write_verdicts(tmp_path / f"{k}.csv", *rows) for k, rows in enumerate(files)]
    assert error in refusal(["triage", triage, "--verdicts", *places], capsys, [1])


def test_verdicts_need_a_table_and_take_nothing_else(triage, tmp_path, capsys):
    """No option of triage has an effect on them."""
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for args, code, error in (
        (["--verdicts", tmp_path / "other.csv"], 1, "has no column 'case'"),
        (["--verdicts", tmp_path / "none.csv"], 1, "cannot be read"),
        (["--verdicts", "v.csv", "--budget", "3"], 2, "--budget: has no effect"),
        (["new", "--verdicts", "v.csv"], 2, "new is too much"),
        ([], 2, "NEW: is missing"),
    ):
        assert error in refusal(["triage", triage, *args], capsys, [code])
