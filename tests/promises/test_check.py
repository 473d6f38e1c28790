"""New labeled patients judge a promise: its size is met, by exact sums, simulations and slow loops."""

import json
import math
import shutil
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.special import comb
from scipy.stats import norm

import nacl_monai
from nacl_monai.cli import main
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.statistics import holm
from nacl_monai.files import write_text
from nacl_monai.promises import check, fit, read_promise
from nacl_monai.promises.cases import curves_of_arrays, read_curves
from nacl_monai.promises.check import CHECKS, _looks, judged
from nacl_monai.promises.control import SIZE, Control, Law, controls_of
from nacl_monai.promises.record import PROMISE_FILE
from nacl_monai.promises.rules import Rules, errors_of
from tests.predictions.conftest import Study as Files
from tests.promises.test_commands import PATIENTS, blobs, chances, promised_and_new
from tests.same import same_values

NUMBERS = [(n, m) for n in (9, 10, 19, 27, 39, 60) for m in (5, 20, 200)]


def study(patients, seed, shift=0.0, cases=1, name="p", empty=0):
    """Curves of discs with a border that is off by chance; of some patients nothing is labeled."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*[np.arange(16)] * 2, indexing="ij"), -1) - 7.5
    stretched = np.random.default_rng([seed, 1]).uniform(0.9, 1.1, (patients * cases, 1, 1, 2))
    away = rng.uniform(3, 6, (patients * cases, 1, 1)) - np.linalg.norm(place * stretched, axis=-1)
    labels = away + rng.normal(shift, 1, (len(away), 1, 1)) > 0
    labels[: empty * cases] = False
    names = [f"{name}{k // cases:03d}" for k in range(len(away))]
    inside = norm.cdf(away).astype(np.float32)
    images = [f"{name}{k // cases:03d}_{k % cases}" for k in range(len(away))]
    probs = np.stack([1 - inside, inside], 1)
    how = {"spacing": (2.0, 0.5), "patients": names, "cases": images}
    return curves_of_arrays(probs, labels.astype(int), **how)


@pytest.mark.parametrize(("n", "m"), NUMBERS)
@pytest.mark.parametrize("level", [0.1, 0.2])
def test_law_is_that_of_ranks_among_all_patients(n, m, level):
    """How many new ones are worse than the k-th of the others: all orders are alike."""
    k = math.ceil((n + 1) * (1 - level) - 1e-9)
    law = Law.of(Control(level), n)

    assert law == (n + 1 - k, k)
    # x new ones are beyond the k-th of n where it is at place k + m - x of all.
    exact = [comb(k - 1 + m - x, m - x) * comb(n - k + x, x) / comb(n + m, m) for x in range(m + 1)]
    assert law.p_values(m) == pytest.approx(np.cumsum(exact[::-1])[::-1].tolist(), rel=1e-6)


@pytest.mark.parametrize("m", [5, 20, 50, 200])
def test_size_of_one_sentence_is_at_most_its_level_exactly(m):
    """The sum over all counts of failures that would be called too many, for 9 to 60 who calibrate."""
    x = np.arange(m + 1)
    for n in range(9, 61):
        k = math.ceil((n + 1) * 0.9 - 1e-9)
        exact = comb(k - 1 + m - x, m - x) * comb(n - k + x, x) / comb(n + m, m)
        broken = Law.of(Control(0.1), n).p_values(m) <= SIZE

        assert exact.sum() == pytest.approx(1)
        assert exact[broken].sum() <= SIZE + 1e-9


@pytest.mark.parametrize(("n", "m"), NUMBERS)
@pytest.mark.parametrize("ties", [False, True])
def test_size_is_met_in_simulated_calibrations(n, m, ties):
    """4,000 draws of who calibrates and who judges; where patients need the same, fewer fail."""
    k, p_values = math.ceil((n + 1) * 0.9 - 1e-9), Law.of(Control(0.1), n).p_values(m)
    scores = np.random.default_rng(n + m).normal(size=(4000, n + m))
    scores = scores.round() if ties else scores
    threshold = np.sort(scores[:, :n], 1)[:, k - 1]
    broken = p_values[(scores[:, n:] > threshold[:, None]).sum(1)] <= SIZE

    assert broken.mean() <= SIZE + 3 * math.sqrt(SIZE * (1 - SIZE) / 4000)


@pytest.mark.parametrize(("n", "m"), NUMBERS)
@pytest.mark.parametrize("alike", [0.0, 0.8])
def test_all_sentences_of_a_kept_promise_are_called_broken_seldom(n, m, alike):
    """Of 1,500 draws, by Holm over three structures at two levels, alike or not."""
    rng = np.random.default_rng(n * m)
    draws, p_values = 1500, []
    common = rng.normal(size=(draws, n + m))
    for _ in range(3):
        scores = alike * common + math.sqrt(1 - alike**2) * rng.normal(size=(draws, n + m))
        for level in (0.1, 0.2):
            law, k = Law.of(Control(level), n), math.ceil((n + 1) * (1 - level) - 1e-9)
            threshold = np.sort(scores[:, :n], 1)[:, k - 1]
            p_values.append(law.p_values(m)[(scores[:, n:] > threshold[:, None]).sum(1)])
    broken = [holm(pd.Series(row)).min() <= SIZE for row in np.transpose(p_values)]

    assert np.mean(broken) <= SIZE + 3 * math.sqrt(SIZE * (1 - SIZE) / draws)


def test_power_is_that_of_a_simulation():
    law, (n, m, draws) = Law.of(Control(0.1), 39), (39, 60, 20_000)
    rng = np.random.default_rng(0)
    threshold = np.sort(rng.normal(size=(draws, n)), 1)[:, 35]
    failures = (rng.normal(0.5, 1, (draws, m)) > threshold[:, None]).sum(1)
    seen = law.p_values(m)[failures] <= SIZE

    assert law.power(m) == pytest.approx(seen.mean(), abs=0.015)  # chance, of 20,000 draws
    assert Law.of(Control(0.1), 9).power(1) == 0  # one patient proves nothing
    assert norm.sf(norm.isf(0.1) - 0.5) == pytest.approx(0.22, abs=0.005)  # as its verdict says


@pytest.mark.parametrize("cases", [1, 2])
def test_failures_are_those_of_the_contours_and_intervals_as_promised(cases):
    """Of each new patient the worst case; outer contours count who has the structure."""
    promise = fit(study(20, 0, cases=cases), controls_of("each", [0.2], [0.1]), compare=False)
    new = study(12, 1, shift=0.7, cases=cases, name="q", empty=3)
    rows = judged(promise, new, "all").table.set_index("promise")
    for kept in promise.kept:
        rules = Rules(new, 0, kept.kind, kept.family, kept.margin)
        if kept.kind in ("outer", "inner"):
            rule = [np.allclose(row, kept.values) for row in rules.values].index(True)
            lost = (rules.worst[:, rule] > 0.1).tolist()
        else:
            errors = errors_of(new, 0, kept.kind, kept.family, kept.margin)
            lost = [max(errors[p * cases : (p + 1) * cases]) > kept.values[0] for p in range(12)]
        number = 9 if kept.kind == "outer" else 12
        row = rows.loc[kept.label]

        assert (row["failed"], row["patients"]) == (sum(lost), number)
        assert row["p"] == Law.of(Control(0.2), kept.patients).p_values(number)[sum(lost)]


def test_worse_patients_break_a_promise_and_like_ones_do_not():
    promise = fit(study(39, 0), controls_of("each"), compare=False)

    worse, like = (judged(promise, study(40, 1, shift, name="q"), "all") for shift in (2.5, 0))

    assert worse.verdict.startswith("BROKEN: ")
    assert like.verdict.startswith("No sign that it is broken")
    assert "% of checks at most where 22% in place of 10%" in like.verdict
    few = judged(fit(study(9, 0), controls_of("each"), compare=False), study(1, 1, name="q"), "all")
    assert few.verdict.startswith("Cannot tell: ")


def test_mean_is_judged_by_all_divisions():
    """Of 9 and 3 patients: the share of 220 divisions in which the others lose as much, by a loop."""
    old, new = study(9, 2), study(3, 3, 1.2, name="q")
    (control,) = controls_of("mean", [0.2])
    promise = fit(old, [control], compare=False)
    rules = Rules(old.joined([new]), 0, "outer", "within")

    def lost(judges):
        rest = [k for k in range(12) if k not in judges]
        (held,) = np.nonzero(rules.losses[rest].sum(0) + 1 <= 2 + 1e-9)
        return rules.losses[list(judges), held.max()].sum()

    losses = [lost(judges) for judges in combinations(range(12), 3)]
    exact = np.mean(np.array(losses) >= lost((9, 10, 11)) - 1e-9)
    row = judged(promise, new, "all", calibration=old).table.iloc[0]

    assert row["p"] == pytest.approx(exact, abs=0.05)  # chance, of drawn permutations
    assert row["failed"] == pytest.approx(check.losses(promise.kept[0], new).mean())
    blind = judged(promise, new, "all")
    assert np.isnan(blind.table["p"].iloc[0])
    assert "no test" in repr(blind)


def test_groups_have_their_own_counts_and_their_own_correction():
    promise, new = fit(study(19, 0), controls_of("each"), compare=False), study(20, 1, name="q")
    site = {name: "AB"[k % 2] for k, name in enumerate(sorted({*new.patients}))}

    table = judged(promise, new, "random", {"site": site}).table

    by_site = table[table["group"] == "site"].groupby("promise")[["failed", "patients"]].sum()
    whole = table[table["group"] == ""].set_index("promise")[["failed", "patients"]]
    same_values(by_site.loc[whole.index], whole)
    for _, family in table.groupby(table["group"] == ""):
        order = family.sort_values("p")
        scaled = (order["p"] * np.arange(len(order), 0, -1)).clip(upper=1).cummax()
        assert family["p_holm"].to_dict() == pytest.approx(scaled.to_dict())


@pytest.mark.parametrize(
    ("chosen", "line"), [(None, "say how the labeled"), ("triage", "doubtful")]
)
def test_patients_who_were_picked_cannot_judge(chosen, line):
    promise = fit(study(19, 0), controls_of("each"), compare=False)
    with pytest.raises(SettingError, match=f"--chosen: .*{line}"):
        judged(promise, study(5, 1, name="q"), chosen)


def test_who_calibrated_cannot_judge():
    promise = fit(study(19, 0), controls_of("each"), compare=False)
    with pytest.raises(InputError, match="p000: calibrated the promise, and cannot judge it"):
        judged(promise, study(5, 1), "all")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Eighteen labeled cases of nine patients with their promise, and twelve cases of six others."""
    root = tmp_path_factory.mktemp("judged")
    file, new = promised_and_new(root, 18, 12)
    return file, new.nnunet(), new.labels


def checked(promise, new, labels, output, *more):
    """The exit code of the command."""
    command = ["promise", "--check", promise, new, labels, *PATIENTS, "--output", output, *more]
    return main([*map(str, command)])


def test_command_judges_by_new_labels_and_says_what_it_found(studies, tmp_path, capsys):
    assert checked(*studies, tmp_path / "check", "--chosen", "all") == 0

    output = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "check/check.csv")
    assert "No sign that it is broken" in output or "BROKEN" in output
    assert len(table) == 8
    assert (table["patients"] == 6).all()
    promise = read_promise(studies[0])
    found = promise.check(studies[1], studies[2], chosen="all", patient_pattern=PATIENTS[1]).table
    assert found["failed"].tolist() == table["failed"].tolist()
    assert found["p"].tolist() == pytest.approx(table["p"].tolist(), abs=1e-5)


def test_second_look_by_other_patients_names_watch(studies, tmp_path, capsys):
    """And the same look again does not; a promise that others made has no look."""
    place = tmp_path / "promise"
    shutil.copytree(studies[0].parent, place, ignore=shutil.ignore_patterns("checks.json"))
    few = tmp_path / "few"
    shutil.copytree(studies[2], few)
    for name in "ab":
        assert checked(place, studies[1], studies[2], tmp_path / name, "--chosen", "all") == 0
        assert "A check is for one look" not in capsys.readouterr().out
    for file in few.glob("p09*"):
        file.unlink()
    assert checked(place, studies[1], few, tmp_path / "d", "--chosen", "random") == 1  # two faults
    assert "nacl-monai watch" in capsys.readouterr().out


def test_looks_within_a_second_are_all_remembered(tmp_path):
    """Two processes may judge at once."""
    file = write_text(tmp_path / PROMISE_FILE, "{}")
    for patient in "abc":
        _looks(file, [patient])
    (looks,) = json.loads((tmp_path / CHECKS).read_text(encoding="utf-8")).values()
    assert len(looks) == 3


def test_alarm_exits_with_3_where_a_promise_is_broken(studies, tmp_path, capsys):
    """Labels far from what is predicted, of 24 patients."""
    worse = {name: (p, np.roll(label, 2, 1)) for name, (p, label) in blobs(30, 48, 2).items()}
    bad = Files(tmp_path / "bad", worse)
    new = bad.nnunet(), bad.labels

    assert checked(studies[0], *new, tmp_path / "o", "--chosen", "all", "--alarm") == 3
    assert "BROKEN: " in capsys.readouterr().err
    assert (tmp_path / "o/check.csv").is_file()


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ([], "--chosen: say how the labeled patients were chosen"),
        (["--chosen", "triage"], "are the doubtful ones"),
        (
            ["--chosen", "all", "--family", "margin"],
            "--family: has no effect on labeled patients who",
        ),
    ],
)
def test_command_refuses_who_cannot_judge(studies, tmp_path, capsys, more, line):
    assert checked(*studies, tmp_path / "check", *more) in (1, 2)
    assert line in capsys.readouterr().err
    assert not (tmp_path / "check").exists()


def test_images_under_another_name_are_recognized(studies, tmp_path, capsys):
    """By what is predicted of them, and without it by what promise.npz counted."""
    pairs = zip(["q1_x", "q2_x"], blobs(0, 2).values(), strict=True)
    renamed = Files(tmp_path / "renamed", dict(pairs))
    more = ("--chosen", "all", "--patient-pattern", r"(q\d+)_")
    assert checked(studies[0], renamed.nnunet(), renamed.labels, tmp_path / "check", *more) == 1
    assert "q1_x: has the very prediction of a patient who calibrated" in capsys.readouterr().err
    promise = replace(read_promise(studies[0]), cohort={}, images={})
    curves = read_curves(studies[0].with_name("promise.npz"))
    new = replace(curves, cases=[f"q{k}" for k in range(18)])
    new = replace(new, patients=new.cases)
    with pytest.raises(InputError, match=r"'q\d+' has the very sums of 'p\w+'"):
        judged(promise, new, "all", {}, curves)


def test_command_refuses_who_calibrated(studies, tmp_path, capsys):
    old = Files(tmp_path / "old", blobs(0, 2))
    assert checked(studies[0], old.nnunet(), old.labels, tmp_path / "check", "--chosen", "all") == 1
    assert "was fitted on p00" in capsys.readouterr().err


def test_arrays_judge_as_their_curves_do():
    """Without names, new cases are not taken for those who calibrated."""
    probs, labels = chances(30, 8, 8)
    promise = nacl_monai.promise(probs[:20], labels[:20])

    check_ = promise.check(probs[20:], labels[20:], chosen="random")

    assert check_.table["patients"].tolist() == [10] * 4
    with pytest.raises(InputError, match="channels: are .*, but those of the promise are"):
        promise.check(probs[20:], labels[20:], chosen="all", classes=["a", "b"])
