"""Several folders of predictions, as of nnU-Net's folds, as one model."""

import re
import shlex
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax

import nacl_monai
from nacl_monai.cli import main
from nacl_monai.promises import read_promise
from tests.predictions.conftest import CLASSES, Study, write_json
from tests.promises.test_commands import PATIENTS, blobs, refusal, run, table_in

FOLDS = 3


def folds_of(root, cases, spread=1.5, name="fold"):
    """Studies of the same labels, whose logits differ between folds."""
    rng = np.random.default_rng(7)
    studies = []
    for k in range(FOLDS):
        drawn = {}
        for case, (probs, label) in cases.items():
            logits = np.log(probs) + rng.normal(0, spread, probs.shape)
            drawn[case] = softmax(logits, 0).astype(np.float32), label
        studies.append(Study(root / f"{name}{k}", drawn))
    return studies


def averaged(folds, case, kind):
    """The mean by its definition."""
    members = [fold.cases[case][0].astype(np.float64) for fold in folds]
    if kind == "probs":
        return np.mean(members, 0).astype(np.float32)
    return softmax(np.mean([log_softmax(np.log(member), 0) for member in members], 0), 0)


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    return folds_of(tmp_path_factory.mktemp("folds"), blobs(0, 4))


@pytest.mark.parametrize("kind", ["probs", "logits"])
def test_ensemble_is_audited_as_its_mean(folds, tmp_path, kind):
    """Whatever the layout of each member; its numbers are those of the mean, saved by itself."""
    cases = folds[0].cases
    mean = {case: (averaged(folds, case, kind), label) for case, (_, label) in cases.items()}
    saved = Study(tmp_path, mean)
    first, *rest = folds[0].nnunet(), folds[1].channels(), folds[2].per_class()

    found = nacl_monai.audit(first, folds[0].labels, ensemble=kind, members=rest, pictures=False)
    expected = nacl_monai.audit(saved.channels(), saved.labels, pictures=False)

    for region in ("foreground", "near"):
        assert found.ece(region) == pytest.approx(expected.ece(region), abs=1e-6)


def test_disagreement_is_a_column(folds, tmp_path, capsys, monkeypatch):
    """The mean Dice of every two members, of each structure, by a loop over sets of voxels."""
    monkeypatch.setattr("nacl_monai.audits.output.draw_all", lambda *_: {})
    monkeypatch.setattr("nacl_monai.reports.write_page", lambda *_, **__: None)
    places = [str(fold.nnunet()) for fold in folds]
    args = ["audit", *places, str(folds[0].labels), "--output", str(tmp_path / "audit")]

    assert main([*args, "--no-pictures", "--ensemble"]) == 0, capsys.readouterr().err

    assert "mean probs of 3 folders" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "audit/cases.csv").set_index("case")
    for case in folds[0].cases:
        means = []
        for value, name in enumerate(list(CLASSES)[1:], 1):
            predicted = [fold.cases[case][0].argmax(0) for fold in folds]
            masks = [{*np.flatnonzero(labels == value).tolist()} for labels in predicted]
            dice = [2 * len(a & b) / (len(a) + len(b)) for a, b in combinations(masks, 2)]
            means.append(np.mean(dice))
            assert table.loc[case, f"pairwise_dice_{name}"] == pytest.approx(means[-1], abs=1e-6)
        assert table.loc[case, "pairwise_dice"] == pytest.approx(np.mean(means), abs=1e-6)


def fewer(folds, root):
    cases = dict(list(folds[1].cases.items())[:3])
    return Study(root / "fewer", cases).nnunet(), "p01_scan3: only here or only in"


def renamed(folds, root):
    place = Study(root / "other", folds[1].cases).nnunet()
    write_json(place / "dataset.json", {"labels": {"background": 0, "tumor": 1, "edema": 2}})
    return place, "is of background, tumor, edema, but"


def resized(folds, root):
    cases = {case: (probs[..., 1:], label) for case, (probs, label) in folds[1].cases.items()}
    return Study(root / "cropped", cases).nnunet(), "is on another grid than"


@pytest.mark.parametrize("other", [fewer, renamed, resized])
def test_members_of_another_kind_are_refused(folds, tmp_path, capsys, other):
    """In one line, and nothing is written."""
    place, line = other(folds, tmp_path)
    args = ["audit", folds[0].nnunet(), place, folds[0].labels, "--ensemble", "logits"]

    error = refusal([*args, "--output", tmp_path / "audit"], capsys, [1])

    assert f"error: {place}" in error or resized is other
    assert line in error
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize("args", [["--ensemble"], ["--ensemble", "logits"]])
def test_ensemble_of_one_is_refused(folds, tmp_path, capsys, args):
    command = ["audit", folds[0].nnunet(), folds[0].labels, *args, "--output", tmp_path / "audit"]

    line = "error: --ensemble: averages the predictions of several folders"
    assert line in refusal(command, capsys, [2])


def test_promise_of_an_ensemble_is_kept_by_it_alone(tmp_path, capsys):
    """Made of the mean, applied to the mean, refused by any other; members that disagree are named."""
    old = folds_of(tmp_path, blobs(0, 8), spread=0.5, name="old")
    cases = blobs(20, 2)
    new = folds_of(tmp_path, cases, spread=0.5, name="new")
    for k, fold in enumerate(new):  # what one member finds around a core, no other does
        case, (probs, label) = next(iter(fold.cases.items()))
        other = np.empty_like(probs)
        other[:] = np.array([0.985, 0.01, 0.005])[:, None, None, None]
        for inside in ((slice(2, 4), slice(6, 8)), (slice(0, 2), slice(2 * k, 2 * k + 2))):
            other[(slice(None), *inside)] = np.array([0.01, 0.98, 0.01])[:, None, None, None]
        other[:, 6:8, 2:6] = np.array([0.01, 0.01, 0.98])[:, None, None, None]
        fold.cases[case] = (other, label)
    places = [[fold.nnunet() for fold in folds] for folds in (old, new)]
    args = ["--ensemble", "logits", *PATIENTS]

    folders = [*places[0], old[0].labels]
    folder = run(tmp_path / "promise", "promise", *folders, "--level", "0.3", *args)
    output = run(tmp_path / "out", "promise", "--apply", folder, *places[1], *args)
    triage = run(tmp_path / "triage", "triage", folder, *places[1], *args, "--budget", "2")

    made_by = ["nacl-monai", "promise", *map(str, folders)]
    page = (folder / "page.html").read_text("utf-8")
    assert shlex.join(made_by) in re.sub("</?span>", "", page)
    assert read_promise(folder).definition["ensemble"] == ["logits", 3]
    mean = {case: (averaged(new, case, "logits"), None) for case in cases}
    table = table_in(output)
    saved = Study(tmp_path / "mean", mean)
    error = refusal(["promise", "--apply", folder, saved.channels(), *PATIENTS], capsys)
    assert "was made of the mean logits of 3 folders, but these are single predictions" in error
    assert table.loc[(list(cases)[1], "anterior"), "volume_ml"] > 0
    triaged = pd.read_csv(triage / "triage.csv").set_index("case")
    assert triaged["pairwise_dice"].between(0, 1).all()
    assert triaged.loc[case, "reason"] == "members disagree: anterior"
    core, wing = 28, 28
    assert triaged.loc[case, "pairwise_dice"] == pytest.approx(core / (core + wing), abs=1e-6)
