"""The page of one run says what its numbers say, in one file; proper scores are wherever errors are."""

import json
import re
import shlex
from dataclasses import replace
from functools import partial
from html import unescape
from itertools import product
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import pytest
import torch

import nacl_monai.reports
from nacl_monai import audit
from nacl_monai.audits.output import audit_table
from nacl_monai.audits.result import merge, read_audit
from nacl_monai.evaluations import read_runs
from nacl_monai.metrics import CalibrationBins, calibration_bins
from nacl_monai.reports import comparison_table, comparison_text
from nacl_monai.reports.page import (
    _contour_verdict,
    leading_verdict,
    verdict,
    write_page,
    write_pages,
)
from nacl_monai.reports.style import page_template
from nacl_monai.reports.viewer import Section, scripts
from tests.conftest import refused
from tests.evaluated_runs import blank
from tests.reports.conftest import predicted

UNDER = [-0.1, -0.12, -0.1, -0.1, -0.11, -0.1, -0.1]


def with_gaps(run, gaps, patients=None):
    """The run with other confidence gaps per case."""
    metrics = run.metrics.assign(confidence_gap_foreground=gaps, ece_foreground=0.2)
    names = pd.Series(patients or run.cases, metrics.index, name="patient" if patients else "case")
    return replace(run, metrics=metrics, patients=names)


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory):
    """The page of the overconfident run, as text."""
    run = replace(read_runs(folders)[0], name="a <b> & c")
    gaps = run.bins.columns([f"confidence_gap_{name}" for name in run.bins.regions])
    run = replace(run, metrics=run.metrics.assign(**gaps))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nacl_monai.reports.style.paint", blank)
        return page_of(run, tmp_path_factory.mktemp("page"), "nacl-monai page RUN")


def near(text):
    """The number of a text, to half of its last digit."""
    # It is rounded.
    return pytest.approx(float(text), abs=0.501 * 10.0 ** -len(text.partition(".")[2]))


def page_of(run, folder, command="x"):
    """The text of its page, with each command in a piece."""
    page = write_page(run, folder / "page.html", command).read_text(encoding="utf-8")
    return re.sub("</?span>", "", page)


@pytest.mark.parametrize(
    ("gaps", "patients", "message"),
    [
        ([0.10, 0.12, 0.11, 0.09, 0.10, 0.11, 0.12], None, "the model is overconfident; its conf"),
        (UNDER, None, "the model is underconfident; its confidence"),
        ([0.3, -0.3, 0.2, -0.2, 0.3, -0.2, 0.1], None, "neither over- nor underconfident by more"),
        # Seven cases of two patients who disagree tell nothing; seven patients would.
        ([0.2] * 3 + [0.05] * 4, list("abcdefg"), "the model is overconfident"),
        ([0.2] * 3 + [0.05] * 4, list("aaabbbb"), "neither over- nor underconfident by more than"),
        ([0.2] * 7, list("aaaaaaa"), "one of the patients is too few to tell; its calibration err"),
    ],
)
def test_verdict_is_that_of_the_interval_over_patients(runs, gaps, patients, message):
    """Over- or underconfident only where 0 is outside."""
    assert message in verdict(with_gaps(runs[0], gaps, patients), "foreground")


def test_distance_below_is_not_a_negative_number(runs):
    """Below by 0.1, not by −0.1, with the ends of the interval in order."""
    text = verdict(with_gaps(runs[0], UNDER), "foreground")
    distance, low, high = map(float, re.findall(r"-?\d\.\d+", text)[:3])

    assert 0 < low < distance < high
    assert "below its accuracy" in text


def test_page_is_one_file_without_network(page):
    """Pictures are inside; names are escaped; the command is there."""
    assert "://" not in re.sub(r"data:[^\"']*", "", page)
    assert "a &lt;b&gt; &amp; c" in page
    assert "<code>nacl-monai page RUN</code>" in page
    assert page.count("<img ") == 1 + 1 + 3  # reliability, risk, and the worst cases
    assert "nan" not in re.sub(r"data:[^\"']*", "", page)


def test_class_errors_are_those_of_the_bins(runs, page):
    """The mean over cases of each class's error over the foreground."""
    errors = runs[0].bins.sums[:, runs[0].bins.regions.index("foreground")].class_errors("ece")

    table = page[page.index("Calibration by class") :]
    for k, name in enumerate(runs[0].bins.classes[1:]):
        row = re.search(rf"{name}</th><td>([\d.]+) ", table)
        # The page has three digits.
        assert float(row[1]) == pytest.approx(errors[:, k].nanmean().item(), abs=6e-4)


def test_decisions_and_cases_come_before_regions(runs, page):
    """A column for each structure, whose DSC is the mean over patients."""
    titles = ["What you can act on", "Cases to look at", "Calibration by region"]
    places = [page.index(title) for title in titles]

    assert places == sorted(places)
    table = page[places[0] : places[1]]
    headings = re.findall(r'<th scope="col">(.*?)</th>', table)
    cells = re.search(r">DSC[^<]*</th>(.*?)</tr>", table)[1]
    means = re.findall(r"<td>([\d.]+) ", cells)
    for name, mean in zip(headings[2:], means[1:], strict=True):
        assert runs[0].metrics[f"dice_{name}"].mean() == near(mean)


def test_worst_cases_come_first(runs, page):
    """All seven by falling ECE, with pictures of the first three."""
    table = page[page.index("Cases to look at") :]
    listed = re.findall(r"(\d{3})</th>", table)
    expected = runs[0].metrics["ece_foreground"].sort_values(ascending=False).index.tolist()

    assert listed == expected
    assert re.findall(r"<figcaption>Case (\d{3})", table) == expected[:3]
    assert f"<p>Open first: {', '.join(expected[:3])}.</p>" in table


def test_the_label_that_surprises_most_is_named_first(runs, tmp_path):
    """A tenth of twelve is two; the first has the largest surprise of all. An older run has none."""
    run = audit(*predicted(0.5, cases=12)).run
    page = page_of(run, tmp_path)

    columns = run.metrics.filter(regex="^surprise_")
    case, column = columns.stack().idxmax()
    structure = column.removeprefix("surprise_")
    surprise = columns.loc[case, column]
    assert f"look at the label of {structure} of {case} ({surprise:.2f}), " in page
    assert "Labels to look at" not in page_of(runs[0], tmp_path)
    section = page[page.index("Labels to look at") :]
    (row,) = re.findall(rf">{case}</th><td>{structure}</td>(.*?)</tr>", section)[:1]
    names = ("surprise", "dice", "expected_dice")
    shown = [run.metrics.loc[case, f"{name}_{structure}"] for name in names]
    assert re.findall(r"<td>([\d.]+)</td>", row) == [f"{value:.3f}" for value in shown]


def test_the_most_doubtful_labels_are_seen_behind_the_three_worst_cases(tmp_path):
    """Six in all, each once; what is known of a case is its reason."""
    run = audit(*predicted(0.5, cases=12, seed=9)).run
    file = write_page(
        run, tmp_path / "page.html", "x", cases=lambda names: [{"name": name} for name in names]
    )
    page = file.read_text(encoding="utf-8")
    data = re.search(r'id="cases-data">(.*?)</script>', page)[1]
    seen = {case["name"]: case["reason"] for case in json.loads(data)}
    worst, doubtful = (
        re.findall(r'<th scope="row">(case_\d+)</th>', part.partition("</table>")[0])
        for part in page[page.index("<h2>Cases to look at") :].split("<h2>Labels to look at")
    )
    assert not {*doubtful} <= {*worst[:6]}
    expected = [*worst[:3], *doubtful, *worst[3:]]
    assert [*seen] == [*dict.fromkeys(expected)][:6]
    for case, reason in seen.items():
        assert (" look at the label of " in f" {reason}") == (case in doubtful)
        assert reason.startswith("ECE") == (case in worst)


def test_tables_have_a_caption_and_headings_with_a_scope(page):
    """A screen reader says what a table is of, and of which row and column a cell is."""
    tables = re.findall("<table.*?</table>", page, re.DOTALL)
    assert tables
    for table in tables:
        assert re.search(r"<table><caption>[^<]+</caption>", table)
        body = table.partition("<tbody>")[2]
        assert body.count("<tr>") == body.count('<th scope="row">') > 0
        assert table.count("<th") == table.count('scope="') + table.count("<thead>")
    assert "Calibration by region</caption>" in page


def test_voxels_away_from_boundaries_are_the_rest(runs, tmp_path):
    """Their bins are those of all voxels minus those near boundaries."""
    probs = torch.softmax(torch.randn(7, 4, 6, 6, generator=torch.manual_seed(0)), 1)
    labels = torch.randint(4, (7, 6, 6), generator=torch.manual_seed(1))
    near = torch.zeros(7, 6, 6, dtype=torch.bool)
    near[:, :3] = True
    whole, close, far = (
        calibration_bins(probs, labels, mask=mask, per_case=True) for mask in (None, near, ~near)
    )
    pairs = zip(whole.tensors(), close.tensors(), strict=True)
    sums = CalibrationBins(*(torch.stack(pair, 1) for pair in pairs))
    bins = replace(runs[0].bins, sums=sums, regions=["all", "boundary"])
    columns = product(("ece", "confidence_gap"), bins.regions)
    numbers = bins.columns([f"{error}_{region}" for error, region in columns])
    run = replace(runs[0], bins=bins, metrics=runs[0].metrics.assign(**numbers))
    text = unescape(page_of(run, tmp_path))

    expected = far.class_errors("ece")[:, 0].mean().item()
    row = re.search(r">background</th>(.*?)</tr>", text, flags=re.DOTALL)[1]
    # The page has three digits.
    assert float(re.findall(r"<td>([\d.]+) ", row)[-1]) == pytest.approx(expected, abs=6e-4)


def test_each_run_has_a_page_of_its_name(folders, tmp_path, monkeypatch):
    """Its command makes it again."""
    monkeypatch.setattr(
        "nacl_monai.reports.page.write_page", lambda run, file, command: (run.name, file, command)
    )
    command = f"nacl-monai page {folders[1]} --output {tmp_path}"
    named = write_pages(folders, tmp_path, names=["CE", "NACL"])[1]

    assert named == ("NACL", tmp_path / "NACL.html", f"{command} --names NACL")
    assert [page[2] for page in write_pages(folders[1:], tmp_path)] == [command]


@pytest.mark.parametrize("name", ["a/b", "", "..", ".hidden"])
def test_name_that_is_no_file_name_is_refused(folders, tmp_path, name):
    """Before anything is written."""
    line = refused(partial(write_pages, names=["CE", name]), folders, tmp_path / "out")
    assert line == f"--names: {name!r} is not a name of a file; choose another"
    assert not (tmp_path / "out").exists()


PACKAGES = ("nacl_monai.reports", "nacl_monai.paper")
FOLDER = Path(nacl_monai.reports.__file__).parent
STYLE = (FOLDER / "page.css").read_text(encoding="utf-8").strip()


def sheet(package):
    """The style of a package's page, as it is rendered, and as its template has it."""
    text = Path(page_template(package).filename).read_text(encoding="utf-8")
    own = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    return page_template(package).environment.from_string(own).render(), own


@pytest.mark.parametrize("package", PACKAGES)
def test_both_pages_have_the_shared_style(package):
    """And no line of it twice."""
    rendered, own = sheet(package)

    assert STYLE in rendered
    assert not {line for line in own.splitlines() if line.strip()} & set(STYLE.splitlines())


def test_template_says_nothing_of_its_own():
    """Of a record without words it makes a page without words."""
    wordless = Section(viewer=True).record
    page = {**wordless, "sections": [wordless], "commands": {}}
    text = page_template().render(page=page, pictures=[[], []], **scripts())

    assert re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", "", text, flags=re.DOTALL).strip() == ""


def test_value_that_is_missing_is_an_error():
    """Instead of nothing on the page."""
    with pytest.raises(jinja2.UndefinedError):
        page_template().environment.from_string("{{ a }}").render()


def test_templates_and_style_are_part_of_an_installation():
    """What the pages need is in the wheel."""
    root = FOLDER.parents[1]
    listed = (root / "pyproject.toml").read_text(encoding="utf-8")
    packed = {
        file
        for pattern in re.findall(r'"([\w/*.]+\.(?:j2|css))"', listed)
        for file in FOLDER.parent.glob(pattern)
    }

    assert packed == {*FOLDER.parent.rglob("*.j2"), *FOLDER.parent.rglob("*.css")}
    assert packed


@pytest.fixture(scope="module")
def drawn():
    """Probabilities and labels of four cases of three classes."""
    rng = torch.Generator().manual_seed(0)
    probs = torch.softmax(torch.randn(4, 3, 6, 5, 4, generator=rng), 1)
    return probs, torch.randint(3, (4, 6, 5, 4), generator=rng)


def expected(probs, labels):
    one_hot = torch.nn.functional.one_hot(labels).movedim(-1, 1)
    nll = torch.nn.functional.nll_loss(probs.double().log(), labels)
    return nll.item(), (probs - one_hot).square().sum(1).mean().item()


def test_audit_keeps_both_scores(drawn, tmp_path):
    """In memory, in its file, and merged of the cases of two sites."""
    probs, labels = drawn
    whole = audit(probs, labels)
    whole.save(tmp_path / "whole.npz")
    for k, part in enumerate((slice(0, 1), slice(1, 4))):
        names = [f"{k}{case}" for case in range(len(probs[part]))]
        audit(probs[part], labels[part], cases=names).save(tmp_path / f"{k}.npz")
    joined = merge([tmp_path / "0.npz", tmp_path / "1.npz"])

    for found in (whole, read_audit(tmp_path / "whole.npz"), joined):
        for per_case in (False, True):
            scores = [found.error(name, "all", per_case=per_case) for name in ("nll", "brier")]
            assert scores == pytest.approx(expected(probs, labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scores: {"counts": scores.counts + 1}, "scores are of other voxels"),
        (lambda scores: {"scores": -scores.scores}, "a score cannot be"),
        (lambda scores: {"scores": scores.scores * torch.nan}, "a score cannot be"),
        (lambda scores: {"scores": scores.scores[..., :1]}, "score_scores is (4, 5, 1), not"),
    ],
)
def test_scores_that_no_voxels_have_are_refused(drawn, tmp_path, change, message):
    """As counts are; the case is named."""
    record = audit(*drawn).run.bins
    scores = replace(record.scores, **change(record.scores))
    replace(record, scores=scores).write(tmp_path / "bins.npz")

    assert message in refused(read_audit, tmp_path / "bins.npz")


def test_scores_are_in_table_page_and_comparison(drawn, tmp_path):
    """Over all voxels alone, with four digits where there is no interval."""
    run = audit(*drawn).run
    run = replace(run, metrics=run.metrics.assign(dice=0.5, hd95=1.0))
    nll, brier = expected(*drawn)
    page, table = page_of(run, tmp_path), audit_table([run])

    for label, score in (("NLL over all voxels", nll), ("Brier score over all voxels", brier)):
        assert score == near(re.search(rf">{label} ↓</th><td>([\d.]+) \[", page)[1])
        assert f"\n{label}" in table
        assert f"{score:.4f}" in comparison_text(comparison_table([run]))
    assert "NLL near" not in table


def with_patients(run, number, **columns):
    patients = [f"p{k % number}" for k in range(len(run.cases))]
    names = pd.Series(patients, run.metrics.index, name="patient")
    return replace(run, patients=names, metrics=run.metrics.assign(**columns))


def test_intervals_end_where_the_number_ends(runs):
    """HD95 is not negative, an error is between 0 and 1, and a gap between -1 and 1."""
    wild = {"hd95": [90.0, *[1.0] * 6], "ece_all": [0.9, *[0.02] * 6], "ece_wall": 0.001}
    run = with_patients(runs[0], 2, **wild, confidence_gap_all=[0.9, *[-0.9] * 6])

    assert run.mean("hd95").interval()[0] == 0
    assert run.mean("ece_all").interval() == (0, 1)
    assert run.mean("confidence_gap_all").interval() == (-1, 1)
    free = run.mean(run.metrics["ece_all"] - 1)  # a difference has no such ends
    assert free.interval()[0] < -1
    assert run.mean(run.metrics["ece_wall"] - 0.0011).text() == "0.000 [0.000, 0.000]"


@pytest.mark.parametrize(("number", "few"), [(4, True), (5, False)])
def test_few_patients_are_said_to_be_few(runs, tmp_path, number, few, monkeypatch):
    """In the table, on the page and in a comparison; here fewer than five are few."""
    monkeypatch.setattr("nacl_monai.evaluations.evaluated.FEW", 5)
    gap = {"confidence_gap_all": 0.1, "confidence_gap_foreground": np.arange(7) / 100}
    run = with_patients(runs[0], number, **gap)

    for text in (
        audit_table([run]),
        page_of(run, tmp_path),
        comparison_text(comparison_table([run])),
    ):
        assert (f"Only {number} patients: too few to say much." in text) == few


def test_picture_says_who_chose_it_and_names_the_region_of_its_table(runs, tmp_path, monkeypatch):
    """The page chose its cases by the ECE that its table shows."""
    captions = []
    monkeypatch.setattr(
        "nacl_monai.reports.maps.add_caption", lambda _, text: captions.append(text)
    )
    columns = {"ece_union": 0.123, "confidence_gap_all": 0.1, "confidence_gap_foreground": 0.1}
    page = page_of(replace(runs[0], metrics=runs[0].metrics.assign(**columns)), tmp_path)

    assert "Voxels labeled or predicted as foreground" in page
    assert "<p>Open first: " in page
    for caption in captions:
        assert "(among the largest ECE)" in caption
        assert "ECE: voxels labeled or predicted as foreground." in caption
    assert len(captions) == 3


@pytest.mark.parametrize(
    ("temperature", "message"),
    [(0.25, "overconfident"), (1.0, "neither over- nor underconfident"), (4.0, "underconfident")],
)
def test_page_begins_with_one_sentence_on_what_is_near(tmp_path, temperature, message):
    """And one advice, unless the probabilities are true."""
    probs, labels = predicted(temperature)
    page = page_of(audit(probs, labels).run, tmp_path)

    sentence = page.split('<div class="verdict"><p>')[1].split("</p>")[0]
    assert sentence.startswith(f"Near what it segments, this model is {message}")
    advice = "Calibrate it: <code>nacl-monai calibrate PREDICTIONS LABELS</code>"
    assert sentence.endswith(advice) == (temperature != 1)
    assert page.count('<img src="data:image/png') == 1 + 1  # reliability and risk
    assert page.count('alt="Reliability: ') == 1
    assert 'alt="Voxels near what is predicted"' not in page  # it is not drawn again below
    claimed, right = probs.max(1).mean(), (probs.argmax(1) == labels).mean()
    assert f"it says {claimed:.1%} on average, and is right {right:.1%} [" in sentence


@pytest.mark.parametrize(
    ("temperature", "contour", "volume"),
    [
        (0.3, "Do not trust the 5% contour: it misses", "and too small in all: by"),
        (1.0, "keeps its word as far as these", "neither too large nor too small"),
        (4.0, "The 5% contour misses less than it says", "and too large in all: by"),
    ],
)
def test_page_says_whether_to_trust_contour_and_volume(tmp_path, temperature, contour, volume):
    """By what they really are, in the shares of its own table."""
    run = audit(*predicted(temperature, cases=20, size=16, seed=2, shift=-2.0)).run
    page = page_of(run, tmp_path)

    text = page[page.index("What you can act on") :]
    first, second = re.search(r'<div class="verdict"><p>(.*?)</p><p>(.*?)</p></div>', text).groups()
    assert contour in first
    assert volume in second
    numbers = run.bins.pooled_numbers
    misses, size = numbers["contour_misses"], numbers["contour_size"].value
    shares = re.search(r"misses ([\d.]+)% \[([\d.]+), ([\d.]+)\] and is ([\d.]+) times", first)
    expected = [*(100 * share for share in (misses.value, *misses.interval())), size]
    assert expected == [near(text) for text in shares.groups()]
    (error,) = re.findall(r"is off by ([\d.]+)% \[", second)
    assert 100 * numbers["expected_volume_error"].value == near(error)


def test_contour_that_fails_says_what_no_contour_can_reach():
    """Above one percent, since then the contour is expected to fail."""
    run = audit(*predicted(4.0, cases=20, size=16, seed=2, shift=-2.0)).run
    misses, size = (run.bins.pooled_numbers[f"contour_{name}"] for name in ("misses", "size"))
    failing = replace(misses, low=0.06)
    far = replace(misses, value=0.123)

    assert "too far" not in _contour_verdict(failing, size, replace(far, value=0.009), "promise")
    sentence = _contour_verdict(failing, size, far, "promise")
    assert "; 12.3% of the expected volume is too far from it to be in any. Make" in sentence


def test_advice_names_the_folders_of_the_audit(tmp_path):
    """Where it says what to do against overconfidence, and which command makes a contour that holds."""
    run = audit(*predicted(0.3, cases=20, size=16, seed=2, shift=-2.0)).run
    data = ["my predictions", "labels", "--jobs", "2"]
    page = write_page(run, tmp_path / "page.html", "command", data=data).read_text("utf-8")
    text = re.sub("<.*?>", "", page)

    for verb in ("Calibrate it: nacl-monai calibrate", "Make one that holds: nacl-monai promise"):
        assert f"{verb} &#39;my predictions&#39; labels --jobs 2" in text


def test_advice_on_a_run_is_its_own(runs):
    """It names the run; behind a calibrator that does not suit, the calibrator."""
    audited = audit(*predicted(0.25)).run
    run = replace(audited, scope=runs[0].scope)
    behind = {**audited.bins.definition, "calibrator": ["temperature_near", "…"]}
    calibrated = replace(audited, bins=replace(audited.bins, definition=behind))

    advice = f"Calibrate it: nacl-monai calibrate {shlex.quote(str(run.folder))} --dataset_dir DATA"
    assert leading_verdict(run).endswith(advice)
    sentence = leading_verdict(calibrated)
    assert "this model is overconfident, behind temperature_near: it says" in sentence
    assert sentence.endswith("Fit that to patients like these.")


def test_regions_of_the_label_come_last(tmp_path):
    """What is zero for true probabilities is seen first, and classes are judged near the prediction."""
    page = page_of(audit(*predicted(1.0)).run, tmp_path)

    table, classes = page[page.index("Calibration by region") :].split("<h2>Calibration by class")
    shown = re.findall(r">(Voxels|All)([^<]*)</th>", table)
    assert ["label" in end for _, end in shown] == [False, False, True, True, True]
    assert re.findall(r'<th scope="col">(.*?)</th>', classes)[1] == "Voxels near what is predicted"


def test_cases_in_which_nothing_is_segmented_are_named(tmp_path):
    """No voxel is near the prediction there, so that they are among no largest errors."""
    probs, labels = predicted(1.0, cases=3)
    probs[1] = [1 - 0.4 * probs[1, 1], 0.4 * probs[1, 1]]

    for kept, named in (([0, 1, 2], True), ([0, 2], False)):
        names = [f"case{k}" for k in kept]
        page = page_of(audit(probs[kept], labels[kept], cases=names).run, tmp_path)
        assert ("<p>Nothing is segmented in case1.</p>" in page) == named
        assert "Open first: case" in page


def test_structures_are_in_the_order_of_the_classes(folders, tmp_path):
    """Whatever the order of the columns is; what no column has is not explained."""
    run = read_runs(folders)[0]
    backward = replace(run, metrics=run.metrics[run.metrics.columns[::-1]])
    write_page(backward, tmp_path / "page.html", "x", pictures=False, beside="page.json")
    sections = json.loads((tmp_path / "page.json").read_text())["sections"]
    (section,) = (part for part in sections if part["title"] == "What you can act on")
    assert section["headings"] == ["", "all", "RV", "myocardium", "LV"]
    assert section["notes"] == []
