"""The page of one run says what its numbers say, in one file."""

import re
from dataclasses import replace
from html import unescape

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationBins, calibration_bins
from nacl_monai.reports import read_runs
from nacl_monai.reports.page import verdict, write_page, write_pages
from tests.evaluated_runs import blank


def with_gaps(run, gaps, patients=None):
    """The run with other confidence gaps per case."""
    metrics = run.metrics.assign(confidence_gap_foreground=gaps, ece_foreground=0.2)
    names = pd.Series(patients or run.cases, metrics.index, name="patient" if patients else "case")
    return replace(run, metrics=metrics, patients=names)


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory):
    """The page of the overconfident run, as text."""
    run = replace(read_runs(folders)[0], name="a <b> & c")
    gap = run.bins.sums.confidence_gap()
    columns = {
        f"confidence_gap_{name}": gap[:, k].numpy() for k, name in enumerate(run.bins.regions)
    }
    run = replace(run, metrics=run.metrics.assign(**columns))
    file = tmp_path_factory.mktemp("page") / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", blank)
        return write_page(run, file, "nacl-monai page RUN").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        (
            [0.10, 0.12, 0.11, 0.09, 0.10, 0.11, 0.12],
            "the model is overconfident; its confidence is",
        ),
        (
            [-0.1, -0.12, -0.1, -0.1, -0.11, -0.1, -0.1],
            "the model is underconfident; its confidence",
        ),
        (
            [0.3, -0.3, 0.2, -0.2, 0.3, -0.2, 0.1],
            "neither over- nor underconfident by more than chance",
        ),
    ],
)
def test_verdict_is_that_of_the_interval(runs, gaps, expected):
    """Over- or underconfident only where 0 is outside."""
    assert expected in verdict(with_gaps(runs[0], gaps), "foreground")


def test_distance_below_is_not_a_negative_number(runs):
    """Below by 0.1, not by −0.1, with the ends of the interval in order."""
    text = verdict(with_gaps(runs[0], [-0.1, -0.12, -0.1, -0.1, -0.11, -0.1, -0.1]), "foreground")
    distance, low, high = map(float, re.findall(r"-?\d\.\d+", text)[:3])

    assert 0 < low < distance < high
    assert "below its accuracy" in text


def test_patients_are_the_unit(runs):
    """Seven cases of two patients who disagree tell nothing; seven patients would."""
    gaps = [0.2] * 3 + [0.05] * 4
    seven = verdict(with_gaps(runs[0], gaps, list("abcdefg")), "foreground")
    two = verdict(with_gaps(runs[0], gaps, ["a"] * 3 + ["b"] * 4), "foreground")

    assert "is overconfident" in seven
    assert "by more than chance" in two


def test_one_patient_is_too_few(runs):
    """An error without an interval is not a verdict."""
    text = verdict(with_gaps(runs[0], [0.2] * 7, ["a"] * 7), "foreground")

    assert "one of the patients is too few to tell" in text


def test_page_is_one_file_without_network(page):
    """Pictures are inside; names are escaped; the command is there."""
    assert "://" not in re.sub(r"data:[^\"']*", "", page)
    assert "a &lt;b&gt; &amp; c" in page
    assert "nacl-monai page RUN" in page
    assert page.count("<img ") >= 2 + 4
    assert "nan" not in re.sub(r"data:[^\"']*", "", page)


def test_class_errors_are_those_of_the_bins(runs, page):
    """The mean over cases of each class's error over the foreground."""
    errors = runs[0].bins.sums[:, runs[0].bins.regions.index("foreground")].class_errors("ece")

    for k, name in enumerate(runs[0].bins.classes[1:]):
        row = re.search(rf"<td>{name}</td><td>([\d.]+) ", page)
        assert float(row[1]) == pytest.approx(errors[:, k].nanmean().item(), abs=6e-4)


def test_worst_cases_come_first(runs, page):
    """All seven by falling ECE, with pictures of the first three."""
    table = page[page.index("Cases to look at") :]
    listed = re.findall(r"<td>(\d{3})</td>", table)
    expected = runs[0].metrics["ece_foreground"].sort_values(ascending=False).index.tolist()

    assert listed == expected
    assert re.findall(r"<figcaption>Case (\d{3})", table) == expected[:3]


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
    errors = {"ece": sums.ece().numpy(), "confidence_gap": sums.confidence_gap().numpy()}
    columns = {
        f"{error}_{name}": values[:, k]
        for error, values in errors.items()
        for k, name in enumerate(bins.regions)
    }
    run = replace(runs[0], bins=bins, metrics=runs[0].metrics.assign(**columns))
    text = unescape(write_page(run, tmp_path / "page.html", "x").read_text(encoding="utf-8"))

    expected = far.class_errors("ece")[:, 0].mean().item()
    row = re.search(r"<td>background</td>(.*?)</tr>", text, flags=re.DOTALL)[1]
    assert float(re.findall(r"<td>([\d.]+) ", row)[-1]) == pytest.approx(expected, abs=6e-4)


def test_each_run_has_a_page_of_its_name(folders, tmp_path):
    """Its command makes it again."""
    files = write_pages(folders, tmp_path, names=["CE", "NACL"])

    assert [path.name for path in files] == ["CE.html", "NACL.html"]
    command = f"nacl-monai page {folders[1]} --output {tmp_path}"
    assert f"<code>{command} --names NACL</code>" in files[1].read_text("utf-8")
    (page,) = write_pages(folders[1:], tmp_path)
    assert f"<code>{command}</code>" in page.read_text("utf-8")


@pytest.mark.parametrize("name", ["a/b", "", "..", ".hidden"])
def test_name_that_is_no_file_name_is_refused(folders, tmp_path, name):
    """Before anything is written."""
    with pytest.raises(InputError, match=f"^--names: '{name}' is not a name of a file"):
        write_pages(folders, tmp_path / "out", names=["CE", name])
    assert not (tmp_path / "out").exists()
