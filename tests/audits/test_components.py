"""``audit --components`` and ``calibrate --components``: tables, FROC, and P(real)."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter, label

from nacl_monai.audits import components
from nacl_monai.audits.components import RATES, cross_fitted, froc, score_error
from nacl_monai.cli import main
from nacl_monai.inference.records import own_checksum
from nacl_monai.metrics.islands import Islands, read_islands
from nacl_monai.posthoc.islands import read_real
from tests.predictions.conftest import AFFINE, Study, exit_code
from tests.same import same_bits

VOXEL = abs(np.linalg.det(AFFINE[:3, :3]))
PATIENTS = ["--patient-pattern", r"(p\d+)_"]
QUIET = ["--no-pictures", "--no-viewer"]


def spots(first, cases, seed=0):
    """Spots of one structure, of which some are real, the surer ones more often."""
    rng = np.random.default_rng((seed, first))
    drawn = {}
    for k in range(first, first + cases):
        smooth = gaussian_filter(rng.normal(size=(24, 22, 12)), 1.0)
        inside = 1 / (1 + np.exp(-12 * (smooth / smooth.std() - 1.6)))
        numbers, count = label(inside > 0.5, np.ones((3, 3, 3)))
        peaks = [inside[numbers == n].max() for n in range(1, count + 1)]
        real = [n for n, peak in enumerate(peaks, 1) if rng.uniform() < peak**8]
        truth = np.isin(numbers, real) | (rng.uniform(size=inside.shape) < 5e-4)
        drawn[f"p{k // 2:02d}_s{k}"] = np.stack([1 - inside, inside]).astype(np.float32), truth * 1
    return drawn


DATASET = {"labels": {"background": 0, "lesion": 1}}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("old"), spots(0, 24), DATASET)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("new"), spots(24, 8), DATASET)


@pytest.fixture(scope="module")
def fitted(old):
    """The folder of ``calibrate --components``."""
    args = ["calibrate", old.nnunet(), old.labels, "--components", *PATIENTS]
    assert main([*map(str, args), "--output", str(old.root / "fitted")]) == 0
    return old.root / "fitted"


def run(verb, *args, output):
    """Runs a command that must succeed; returns its folder."""
    assert main([verb, *map(str, args), *PATIENTS, "--output", str(output)]) == 0
    return output


def test_audit_counts_islands_in_mm(old, tmp_path, capsys):
    """Beside its other tables; of those from the minimum on, as it is printed."""
    least = 2.5 * VOXEL
    args = [old.nnunet(), old.labels, "--components", f"{least}", *QUIET]
    out = run("audit", *args, output=tmp_path / "audit")

    rows = pd.read_csv(out / "components.csv")
    sizes = {"predicted": [], "labeled": []}
    for probs, truth in old.cases.values():
        for kind, mask in (("predicted", probs[1] > 0.5), ("labeled", truth)):
            sizes[kind] += np.bincount(label(mask, np.ones((3, 3, 3)))[0].ravel())[1:].tolist()
    for kind, several in sizes.items():
        kept = sorted(size * VOXEL for size in several if size > 2.5)
        assert sorted(rows["mm3"][rows["kind"] == kind]) == pytest.approx(kept, rel=1e-6)
    text = capsys.readouterr().out
    assert f"the smallest is of {least:g} mm³" in text
    assert "missed at any score" in text
    assert (out / "bins.npz").is_file()


def test_shards_of_islands_are_the_whole(old, tmp_path, capsys):
    args = [old.nnunet(), old.labels, "--components", *QUIET]
    whole = run("audit", *args, output=tmp_path / "whole")
    parts = [run("audit", *args, "--shard", f"{k}/2", output=tmp_path / f"part{k}") for k in (1, 2)]
    merged = tmp_path / "merged"

    assert main(["merge", *map(str, parts), "--output", str(merged)]) == 0
    assert (merged / "components.csv").read_text() == (whole / "components.csv").read_text()
    other = run("audit", *args, "--components", "5", "--shard", "2/2", output=tmp_path / "other")
    assert main(["merge", str(parts[0]), str(other), "--output", str(tmp_path / "no")]) == 1
    captured = capsys.readouterr()
    assert "minimum_mm3" in captured.err
    assert "has a components.npz" not in captured.out
    (parts[1] / "components.npz").unlink()
    assert main(["merge", *map(str, parts), "--output", str(tmp_path / "without")]) == 0
    assert "note: not every audit has a components.npz, and so" in capsys.readouterr().out


def test_islands_of_an_ensemble_are_those_of_its_mean(old, new, tmp_path, capsys):
    """Fitted to two folders they are as fitted to their mean, and serve the same two alone."""
    sharper = {name: (probs**2 / (probs**2).sum(0), t) for name, (probs, t) in old.cases.items()}
    mean = {name: ((old.cases[name][0] + p) / 2, truth) for name, (p, truth) in sharper.items()}
    places = [
        Study(tmp_path, cases, DATASET).channels(f"model{k}")
        for k, cases in enumerate((old.cases, sharper, mean))
    ]
    both = [*places[:2], old.labels, "--components", "--ensemble"]
    ensemble = run("calibrate", *both, output=tmp_path / "ensemble")
    args = [places[2], old.labels, "--components"]
    single = run("calibrate", *args, output=tmp_path / "single")

    tables = [pd.read_csv(folder / "components.csv") for folder in (ensemble, single)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)
    islands = ["--islands", str(ensemble / "islands.json"), *PATIENTS]
    assert main(["maps", str(new.nnunet()), *islands, "--output", str(tmp_path / "no")]) == 1
    assert "was made of the mean probs of 2 folders" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["calibrate", *map(str, [*places, old.labels]), "--components"])
    assert "model1, " in capsys.readouterr().err


def islands_of(labeled, predicted, patients):
    """Rows of (case, score, hit) of one structure."""
    rows = [
        (case, 0, kind, 1.0, score, hit)
        for kind, some in ((True, labeled), (False, predicted))
        for case, score, hit in some
    ]
    columns = ["case", "structure", "labeled", "mm3", "score", "hit"]
    table = pd.DataFrame(rows, columns=columns).astype({"labeled": bool, "hit": bool})
    names = [f"c{k}" for k in range(len(patients))]
    definition = {"minimum_mm3": 0.0, "score": "Largest probability"}
    definition |= {"known_by": "table", "patient_pattern": None}
    return Islands(table, names, ["a"], patients, definition)


@pytest.mark.parametrize("seed", range(5))
def test_froc_is_that_of_a_slow_loop(seed):
    """The best of all scores that leave at most so many false islands per case."""
    rng = np.random.default_rng(seed)
    labeled = [
        (int(rng.integers(4)), best, best > 0)
        for best in rng.choice([0, 0.6, 0.7, 0.8, 0.9], 30).tolist()
    ]
    predicted = [
        (int(rng.integers(4)), score, False)
        for score in rng.choice([0.6, 0.7, 0.8, 0.9, 0.95], 25).tolist()
    ]
    predicted += [(case, score, True) for case, score, hit in labeled if hit]

    table = froc(islands_of(labeled, predicted, list("ppqr")), "a")

    for rate, found in zip(RATES, table["found"], strict=True):
        shares = [
            np.mean([best > 0 and best > least for _, best, _ in labeled])
            for least in [0, 0.6, 0.7, 0.8, 0.9, 0.95]
            if sum(not hit and score > least for _, score, hit in predicted) / 4 <= rate
        ]
        assert found == pytest.approx(max(shares))
    assert (table["low"] <= table["found"]).all()
    assert (table["found"] <= table["high"]).all()


def test_error_of_scores_is_zero_for_the_truth_and_theirs_for_others():
    """Of islands that are real as often as their score says, and of scores that are .3 too high."""
    rng = np.random.default_rng(1)
    people, errors = [f"p{k}" for k in range(60)], []
    for _ in range(20):
        score, case = rng.uniform(0.3, 0.6, 3000), rng.integers(0, 60, 3000)
        rows = pd.DataFrame({"case": case, "hit": rng.uniform(size=3000) < score})
        errors.append([score_error(rows, 60, scores, people) for scores in (score, score + 0.3)])

    assert sum(true.low == 0 for true, _ in errors) >= 17
    assert sum(sure.low < 0.3 < sure.high for _, sure in errors) >= 17


def test_p_real_of_others_is_calibrated_and_the_largest_probability_is_not(fitted):
    rows = pd.read_csv(fitted / "components.csv").query("kind == 'predicted'")
    cases = {name: k for k, name in enumerate(sorted(set(rows["case"])))}
    people = [name[:3] for name in cases]
    rows = rows.assign(case=rows["case"].map(cases))

    scores = (rows[name].to_numpy() for name in ("score", "p_real"))
    plain, real = (score_error(rows, len(cases), score, people) for score in scores)

    assert plain.low > 0.1
    assert real.low == 0
    assert real.value < 0.05


def test_nobody_is_fitted_by_their_own_islands():
    """Where a patient's labels are turned, what others say of them is the same."""
    rng = np.random.default_rng(2)
    predicted = [
        (int(case), score, rng.uniform() < score)
        for case, score in zip(rng.integers(0, 6, 200), rng.uniform(0.5, 1, 200), strict=True)
    ]
    turned = [(case, score, hit != (case == 2)) for case, score, hit in predicted]
    patients = list("pqrstu")

    islands = (islands_of([], rows, patients) for rows in (predicted, turned))
    before, after = (cross_fitted(of_rows, folds=6) for of_rows in islands)

    own = np.array([case == 2 for case, *_ in predicted])
    same_bits(before[own], after[own], "fitted on the same others")
    assert (before[~own] != after[~own]).all()


def expected_rows(fitted, study):
    """P(real) of the islands of each case, by scipy and what was fitted."""
    real, found = read_real(fitted / "islands.json"), {}
    for case, (probs, _) in study.cases.items():
        inside = probs[1].astype(float)
        numbers, count = label(inside > 0.5, np.ones((3, 3, 3)))
        p_real = np.zeros(numbers.shape)
        for n in range(1, count + 1):
            island = numbers == n
            p_real[island] = real.probability("lesion", inside[island].max(), island.sum() * VOXEL)
        found[case] = p_real, count
    return found


@pytest.mark.parametrize("verb", ["maps", "apply"])
def test_islands_of_new_cases_have_their_p_real(verb, old, new, fitted, tmp_path):
    """On the grid of the prediction, and in a table, by maps and by an applied promise."""
    args = [new.nnunet(), "--islands", fitted]
    if verb == "apply":
        data = [old.nnunet(), old.labels, "--no-pictures"]
        promise = run("promise", *data, output=tmp_path / "made")
        args = ["--apply", promise / "promise.json", *args]
    out = run("promise" if verb == "apply" else verb, *args, output=tmp_path / "out")

    rows = pd.read_csv(out / "islands.csv")
    for case, (p_real, count) in expected_rows(fitted, new).items():
        image = nibabel.load(out / f"{case}_islands.nii.gz")
        assert np.allclose(image.get_fdata(), p_real, atol=1e-5)
        assert np.allclose(image.affine, AFFINE)
        assert (rows["case"] == case).sum() == count


def test_triage_says_how_many_are_likely_false(old, new, fitted, tmp_path):
    promise = run("promise", old.nnunet(), old.labels, "--no-pictures", output=tmp_path / "made")
    args = [promise, new.nnunet(), "--islands", fitted, "--no-pictures", "--budget", "100%"]
    out = run("triage", *args, output=tmp_path / "triage")

    table = pd.read_csv(out / "triage.csv").set_index("case")
    page = (out / "page.html").read_text(encoding="utf-8")
    assert "Islands likely false" in page
    for case, (p_real, _) in expected_rows(fitted, new).items():
        numbers, count = label(p_real > 0, np.ones((3, 3, 3)))
        false = sum(p_real[numbers == n].max() < 0.5 for n in range(1, count + 1))
        assert table["doubtful_islands"][case] == false
        reason = f"islands likely false: {false} of lesion"
        assert (reason in table["reason"][case]) == (false > 0)


def test_audit_by_p_real_is_of_other_patients_and_another_score(
    old, new, fitted, tmp_path, capsys, monkeypatch
):
    """It reads once what was fitted."""
    read = []
    monkeypatch.setattr(components, "read_real", lambda file: read.append(file) or read_real(file))
    args = [new.nnunet(), new.labels, "--islands", fitted, *QUIET]
    out = run("audit", *args, output=tmp_path / "new")
    assert read == [fitted]
    scores = read_islands(out / "components.npz").rows.query("~labeled")["score"]

    expected = [p for p_real, _ in expected_rows(fitted, new).values() for p in np.unique(p_real)]
    assert sorted(set(scores)) == pytest.approx(sorted(set(expected) - {0}), abs=1e-6)
    assert "P(real): " in capsys.readouterr().out
    seen = ["audit", old.nnunet(), old.labels, "--islands", fitted, *PATIENTS]
    assert main([*map(str, seen), "--output", str(tmp_path / "old")]) == 1
    assert "who cannot test it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["audit", "--components", "--islands", "f", "--components", "9"], "leave the number out"),
        (["audit", "--components", "-1"], "--components"),
        (["calibrate", "--components", "--method", "vector"], "--method: has no effect on islands"),
        (["calibrate", "--components", "--folds", "1"], "--folds: is 1; give 2 or more"),
        (["calibrate", "--islands", "f"], "--islands"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(args, line, new, fitted, tmp_path, capsys):
    verb, *rest = (str(fitted) if word == "f" else word for word in args)
    command = [verb, new.nnunet(), new.labels, *rest, *PATIENTS]
    assert exit_code(main, [*command, "--output", tmp_path / "out"]) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_models_have_other_islands(new, fitted, tmp_path, capsys):
    """Structures, and what is behind the probabilities, are those of the fit."""
    study = Study(tmp_path, new.cases, {"labels": {"background": 0, "tumor": 1}})
    args = ["maps", study.nnunet(), "--islands", fitted, *PATIENTS, "--output", tmp_path / "out"]

    assert main([*map(str, args)]) == 1
    assert "was fitted to background, lesion by softmax" in capsys.readouterr().err


def test_simulated_p_real_covers_the_truth():
    """Of drawn islands with a true P(real), by the others: no bin is off by more than noise."""
    rng = np.random.default_rng(3)
    people = [f"p{k}" for k in range(40)]
    score, case = rng.uniform(0.5, 0.999, 4000), rng.integers(0, 40, 4000)
    true = 0.05 + 0.95 * score**6
    hits = rng.uniform(size=4000) < true
    rows = list(zip(case.tolist(), score.tolist(), hits.tolist(), strict=True))

    found = cross_fitted(islands_of([], rows, people), folds=5)

    assert score_error(pd.DataFrame({"case": case, "hit": hits}), 40, found, people).low == 0
    assert stats.pearsonr(found, true)[0] > 0.98


def test_islands_where_nobody_labeled_are_neither_false_nor_missed(tmp_path):
    """A predicted one within the ignored voxels alone does not count."""
    probs = np.full((2, 12, 8, 6), 0.5, np.float32)
    truth = np.zeros((12, 8, 6), int)
    inside = np.full(truth.shape, 0.1, np.float32)
    inside[1:3, 1:3, 1:3] = inside[8:10, 4:6, 2:4] = 0.9
    truth[1:3, 1:3, 1:3] = 1
    truth[7:11] = 2
    probs[0], probs[1] = 1 - inside, inside
    dataset = {"labels": {"background": 0, "lesion": 1, "ignore": 2}}
    study = Study(tmp_path, {"p00_s0": (probs, truth)}, dataset)

    out = run("audit", study.nnunet(), study.labels, "--components", *QUIET, output=tmp_path / "a")

    rows = read_islands(out / "components.npz").rows
    assert rows["labeled"].tolist().count(False) == rows["labeled"].tolist().count(True) == 1
    assert rows["hit"].all()


def test_island_below_the_minimum_of_the_fit_is_never_real(new, fitted, tmp_path):
    """In the maps of P(real), which have the others."""
    record = json.loads((fitted / "islands.json").read_text())
    record["definition"]["minimum_mm3"] = least = 6 * VOXEL
    record["checksum"] = own_checksum(record)
    (tmp_path / "islands.json").write_text(json.dumps(record))
    out = run("maps", new.nnunet(), "--islands", tmp_path / "islands.json", output=tmp_path / "m")

    sizes = set()
    for case, (probs, _) in new.cases.items():
        found = np.asarray(nibabel.load(out / f"{case}_islands.nii.gz").dataobj)
        numbers, count = label(probs[1] > 0.5, np.ones((3, 3, 3)))
        for n in range(1, count + 1):
            size = (numbers == n).sum() * VOXEL
            sizes.add(size < least)
            assert {*(found[numbers == n] > 0).tolist()} == {size >= least}
    assert sizes == {False, True}
