"""What no region decides is shown wherever the errors are: NLL and Brier score over all voxels."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nacl_monai import audit
from nacl_monai.audits.result import merge, read_audit
from nacl_monai.audits.table import audit_table
from nacl_monai.errors import InputError
from nacl_monai.reports import comparison_table, comparison_text
from nacl_monai.reports.page import write_page


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
        for pooled in (False, True):
            scores = [found.error(name, "all", pooled=pooled) for name in ("nll", "brier")]
            assert scores == pytest.approx(expected(probs, labels))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda scores: replace(scores, counts=scores.counts + 1), "scores are of other voxels"),
        (lambda scores: replace(scores, scores=-scores.scores), "a score cannot be"),
        (lambda scores: replace(scores, scores=scores.scores * torch.nan), "a score cannot be"),
        (lambda scores: replace(scores, scores=scores.scores[..., :1]), "score_scores are not"),
    ],
)
def test_scores_that_no_voxels_have_are_refused(drawn, tmp_path, change, said):
    """As counts are; the case is named."""
    record = audit(*drawn).run.bins
    replace(record, scores=change(record.scores)).write(tmp_path / "bins.npz")

    with pytest.raises(InputError, match=said):
        read_audit(tmp_path / "bins.npz")


def test_scores_are_in_table_page_and_comparison(drawn, tmp_path):
    """Over all voxels alone, with four digits."""
    run = audit(*drawn).run
    run = replace(run, metrics=run.metrics.assign(dice=0.5, hd95=1.0))
    nll, brier = expected(*drawn)
    page = write_page(run, tmp_path / "page.html", "x").read_text(encoding="utf-8")
    table = audit_table([run])

    for label, score in (("NLL over all voxels", nll), ("Brier score over all voxels", brier)):
        assert f"<td>{label} ↓</td><td>{score:.4f} [" in page
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


@pytest.mark.parametrize(("number", "said"), [(2, True), (3, True), (4, False)])
def test_few_patients_are_said_to_be_few(runs, tmp_path, number, said):
    """In the table, on the page and in a comparison."""
    gap = {"confidence_gap_all": 0.1, "confidence_gap_foreground": np.arange(7) / 100}
    run = with_patients(runs[0], number, **gap)
    page = write_page(run, tmp_path / "page.html", "x").read_text(encoding="utf-8")

    for text in (audit_table([run]), page, comparison_text(comparison_table([run]))):
        assert (f"Only {number} patients: so few say little." in text) == said


def test_picture_says_who_chose_it_and_names_the_region_of_its_table(runs, tmp_path, monkeypatch):
    """The page chose its cases by the ECE that its table shows."""
    captions = []
    monkeypatch.setattr(
        "nacl_monai.reports.maps.add_caption", lambda _, text: captions.append(text)
    )
    metrics = runs[0].metrics.assign(ece_union=0.123, confidence_gap_all=0.1)
    run = replace(runs[0], metrics=metrics.assign(confidence_gap_foreground=0.1))
    page = write_page(run, tmp_path / "page.html", "x").read_text(encoding="utf-8")

    assert "Voxels labeled or predicted as foreground" in page
    for caption in captions:
        assert "(among the largest ECE)" in caption
        assert "ECE: voxels labeled or predicted as foreground." in caption
    assert len(captions) == 3
