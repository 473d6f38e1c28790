"""Watching new patients: a slow loop's curve, MAPIE's martingale, and alarms that are seldom false."""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from mapie.exchangeability_testing import OnlineMartingaleTest

from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.promises import fit, watch
from nacl_monai.promises.check import judged
from nacl_monai.promises.cohort import known_of
from nacl_monai.promises.control import controls_of
from nacl_monai.promises.watch import FALSE, Watch, needed, ranks, statistics_of, wealth
from tests.predictions.conftest import Study as Files
from tests.promises.test_check import study
from tests.promises.test_commands import PATIENTS, blobs, promised_and_new, refusal

STREAMS = ("a: entropy", "a: outer needed")


def slow_curve(before, new, drawn):
    """Wealth by the definition: each bet's money, moved and multiplied patient by patient."""
    bag, money, curve = list(before), dict.fromkeys((-2, -1, 0, 1, 2), 0.2), []
    for number, random in zip(new, drawn, strict=True):
        above = sum(other > number for other in bag)
        equal = sum(other == number for other in bag) + 1
        bag.append(number)
        p = (above + random * equal) / len(bag)
        whole = sum(money.values())
        money = {
            bet: (0.99 * share + 0.01 * whole / 5) * (1 + bet * (p - 0.5))
            for bet, share in money.items()
        }
        curve.append(sum(money.values()))
    return curve


def watched(new, known=None, streams=STREAMS, checksum="c"):
    """A log of patients with the same number in each stream."""
    known = known or {stream: np.arange(19.0).tolist() for stream in streams}
    log = Watch(checksum, known)
    for k, number in enumerate(new):
        row = {f"p{k:03d}": dict.fromkeys(known, float(number))}
        log = log.added(row, f"2026-01-{k % 28 + 1:02d}")
    return log


@pytest.mark.parametrize("ties", [False, True])
def test_curve_is_that_of_a_slow_loop(ties):
    rng = np.random.default_rng(0)
    known, new = rng.normal(size=19), rng.normal(0.8, 1, 60)
    if ties:
        known, new = known.round(), new.round()
    log = watched(new, {"a: entropy": known.tolist()})
    drawn = [watch.random_number("c", f"p{k:03d}") for k in range(60)]

    curve = np.exp([*log.curve("a: entropy").values()])
    assert curve == pytest.approx(slow_curve(known, new, drawn))


def test_curve_is_mapies_on_equal_numbers():
    """Its ranks with its own random numbers, and its martingale of three bets."""
    rng = np.random.default_rng(1)
    numbers = np.concatenate([rng.normal(size=30), rng.normal(1, 1, 40)]).round(1)
    theirs = OnlineMartingaleTest(random_state=0, warn=False, task="regression")
    theirs._compute_non_conformity_scores = lambda numbers, _: np.ravel(numbers)
    theirs.rng = np.random.default_rng(5)
    theirs.conformity_score_history = numbers[:30].tolist()
    theirs.update(numbers[30:, None], np.zeros(40))
    drawn = np.random.default_rng(5).uniform(size=40)

    ours = ranks(numbers[:30], numbers[30:], drawn)

    assert ours.tolist() == theirs.pvalue_history
    curve = np.exp(wealth(ours, bets=(-1, 0, 1), jump=0.01))
    assert curve == pytest.approx(theirs.martingale_value_history)


def test_ranks_are_uniform_and_independent_with_and_without_ties():
    """Of 4,000 lifetimes: moments of a rank, and of the product of two in succession."""
    rng = np.random.default_rng(2)
    for numbers in (rng.normal(size=(4000, 12)), rng.integers(0, 3, (4000, 12)).astype(float)):
        found = np.array([ranks(row[:9], row[9:], rng.uniform(size=3)) for row in numbers])
        deciles = np.histogram(found, 10, (0, 1))[0] / found.size
        assert deciles == pytest.approx([0.1] * 10, abs=0.012)  # chance, of 4,000 draws
        # Chance, of 4,000 draws.
        assert np.corrcoef(found.T)[np.triu_indices(3, 1)] == pytest.approx([0] * 3, abs=0.06)


@pytest.mark.parametrize("patients", [9, 39])
def test_false_alarms_are_at_most_as_many_as_said_however_long_one_looks(patients):
    """Of 2,000 lifetimes of 200 patients in each of which four streams may ring."""
    rng = np.random.default_rng(patients)
    rung = np.zeros(2000, bool)
    common = rng.normal(size=(2000, patients + 200, 1))
    numbers = 0.8 * common + 0.6 * rng.normal(size=(2000, patients + 200, 4))
    for stream in range(4):
        of_stream, places = numbers[..., stream], range(patients, patients + 200)
        above = [(of_stream[:, :k] > of_stream[:, k, None]).sum(1) for k in places]
        p = (np.stack(above, 1) + rng.uniform(size=(2000, 200))) / (np.arange(200) + patients + 1)
        rung |= (wealth(p) >= math.log(4 / FALSE)).any(1)

    assert rung.mean() <= FALSE + 3 * math.sqrt(FALSE / 2000)


def test_alarm_names_the_stream_the_date_and_since_when():
    """After thirty patients like those who calibrated, a stream moves up; another stays."""
    known = {"a: entropy": np.arange(19.0).tolist(), "b: surface": np.arange(19.0).tolist()}
    log = watched(np.random.default_rng(4).permutation(np.tile(np.arange(19.0), 2))[:30], known)
    for k in range(30):
        rows = {"a: entropy": 30.0 + k, "b: surface": float(k % 19)}
        log = log.added({f"q{k:03d}": rows}, f"2026-03-{k + 1:02d}")

    alarm = log.alarm

    heights = log.curve(alarm.stream)
    first = next(k for k, height in heights.items() if height >= math.log(2 / FALSE))
    assert (alarm.stream, alarm.at) == ("a: entropy", log.events[first])
    assert alarm.at.patient.startswith("q")
    assert alarm.since.date <= alarm.at.date
    says = f"ALARM on {alarm.at.date}, at {alarm.at.patient}: a: entropy went up, "
    assert str(alarm).startswith(says)
    assert watched(np.tile(np.arange(19.0), 2), known).alarm is None


def test_each_patient_counts_once_and_labels_may_come_later():
    """The statistics of a patient who is there already stay; what a label says is added."""
    log = watched([1, 2], {"a: entropy": [1.0, 2.0], "a: outer needed": [3.0]}, ())
    log = replace(log, events=[])
    log = log.added({"p": {"a: entropy": 1.0}}, "d1")
    log = log.added({"p": {"a: entropy": 9.0, "a: outer needed": 4.0}}, "d2")

    assert [(event.date, dict(event.values)) for event in log.events] == [
        ("d1", {"a: entropy": 1.0}),
        ("d2", {"a: outer needed": 4.0}),
    ]
    assert log.events[0].random == log.events[1].random


def test_a_second_run_draws_the_same_curve_however_calls_are_divided(tmp_path):
    numbers = np.random.default_rng(3).normal(9, 4, 12)
    whole = watched(numbers)
    parts = watched(numbers[:5])
    parts.write(tmp_path / "log.json")
    parts = Watch("c", parts.known).read(tmp_path / "log.json")
    for k in range(5, 12):
        parts = parts.added({f"p{k:03d}": dict.fromkeys(STREAMS, float(numbers[k]))}, "later")

    assert whole.curve(STREAMS[0]) == parts.curve(STREAMS[0])
    other = watched(numbers, checksum="another promise")
    assert whole.curve(STREAMS[0]) != other.curve(STREAMS[0])


def test_a_forgotten_patient_leaves_numbers_and_no_name(tmp_path):
    log = watched([1, 30, 2])
    gone = log.without_name("p001")
    text = gone.write(tmp_path / "log.json").read_text()

    assert "p001" not in text
    assert "p002" in text
    assert gone.curve(STREAMS[0]) == log.curve(STREAMS[0])
    with pytest.raises(InputError, match="--forget: 'p001' is not in the log"):
        gone.without_name("p001")


def test_a_log_that_is_damaged_of_another_promise_or_without_its_labels_is_refused(tmp_path):
    file = watched([1, 2]).write(tmp_path / "log.json")
    with pytest.raises(InputError, match="watches another promise"):
        watched([], checksum="other").read(file)
    with pytest.raises(InputError, match="begun with promise.npz"):
        watched([], streams=STREAMS[:1]).read(file)
    text = file.read_text()
    for changed, line in {
        text.replace('"p000"', '"p009"'): "its checksum differs",
        text[:-9]: "is damaged",
    }.items():
        file.write_text(changed)
        with pytest.raises(InputError, match=line):
            watched([]).read(file)


def test_numbers_of_new_patients_are_those_that_promise_json_has():
    """Known and new statistics are counted alike, so that equal patients tie."""
    curves = study(12, 0, cases=2)
    known = known_of(curves, labeled=True)

    found = {name: list(numbers.values()) for name, numbers in statistics_of(curves).items()}

    (numbers,) = known.values()
    assert numbers.pop("Dice")
    assert found == {f"class_1: {name}": numbers[name] for name in numbers}


def test_what_a_patient_needs_decides_whether_a_promise_fails_them():
    """Who needs more than the k-th of those who calibrated fails, and nobody else."""
    old, new = study(19, 0, cases=2), study(30, 1, 1.0, cases=2, name="q", empty=4)
    promise = fit(old, controls_of("each"), compare=False)
    table = judged(promise, new, "all").table.set_index("promise")["failed"]
    before, after = needed(promise, old), needed(promise, new)
    for kept in promise.kept:
        stream = f"{kept.structure}: {kept.kind} needed"
        limit = sorted(before[stream].values())[-2]
        assert sum(number > limit for number in after[stream].values()) == table[kept.label]
    assert len(after["class_1: outer needed"]) == 26  # who has the structure


@pytest.fixture(scope="module")
def promised(tmp_path_factory):
    """A promise by ten patients, and the files of seven others."""
    root = tmp_path_factory.mktemp("watched")
    return promised_and_new(root, 20, 14)


def call(promise, *arguments, output):
    """The exit code of the command."""
    return main(["watch", *map(str, (promise, *arguments)), *PATIENTS, "--output", str(output)])


def test_command_adds_each_patient_once_and_labels_later(promised, tmp_path, capsys):
    promise, new = promised
    output, folder, labels = tmp_path / "watch", new.nnunet(), tmp_path / "labels"
    shutil.copytree(new.labels, labels)
    for file in [*labels.glob("p1[4-6]*"), *labels.glob("p13*27*")]:
        file.unlink()  # of p13 one of two

    for arguments in ([], [], ["--labels", labels], ["--labels", new.labels]):
        assert call(promise, folder, *arguments, output=output) == 0

    log = json.loads((output / "log.json").read_text())
    names = [(event["patient"], len(event["values"])) for event in log["events"]]
    patients = [f"p{k}" for k in range(10, 17)]
    assert names == [(name, 14) for name in patients] + [(name, 8) for name in patients]
    assert all(event["date"].endswith("+00:00") for event in log["events"])
    says = "Watched 7 patients by 22 streams, 8 of which take labels: no alarm"
    assert says in capsys.readouterr().out
    page = (output / "page.html").read_text()
    assert "Does the promise still hold?" in page
    command = page.rpartition("nacl-monai watch ")[2].partition("</code>")[0]
    for option in ("--patient-pattern", "--labels", "--output"):
        assert option in command
    assert "ever reaches 2,200, however often one looks, is at most 1%." in page  # of 22 streams
    assert "A change by 2 standard deviations rings in" in page
    files = {path.name for path in output.iterdir()}
    assert files == {".written.json", "log.json", "page.html"}

    assert call(promise, "--forget", "p12", output=output) == 0
    assert '"p12"' not in (output / "log.json").read_text()
    assert "p12" not in (output / "page.html").read_text()
    assert len(json.loads((output / "log.json").read_text())["events"]) == 14


def test_alarm_exits_with_3_and_names_what_moved(promised, tmp_path, capsys):
    """Forty patients whose probabilities are all but certain."""
    promise, _ = promised
    drawn = blobs(40, 80, 3).items()
    sure = {name: (p**8 / (p**8).sum(0), label) for name, (p, label) in drawn}
    folder = Files(tmp_path / "sure", sure).nnunet()

    assert call(promise, folder, "--alarm", output=tmp_path / "watch") == 3

    error = capsys.readouterr().err.splitlines()[-1]
    assert "ALARM on 20" in error
    assert "went" in error
    assert (tmp_path / "watch/page.html").is_file()
    assert call(promise, folder, output=tmp_path / "watch") == 0  # without --alarm it is said alone


def test_faulty_patient_comes_when_all_their_cases_can_be_read(promised, tmp_path):
    promise, new = promised
    folder = tmp_path / "new"
    shutil.copytree(new.nnunet(), folder)
    (broken,) = folder.glob("p11_scan22.npz")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])

    assert call(promise, folder, output=tmp_path / "watch") == 1
    broken.write_bytes(whole)
    assert call(promise, folder, output=tmp_path / "watch") == 0

    events = json.loads((tmp_path / "watch/log.json").read_text())["events"]
    assert [event["patient"] for event in events] == [f"p{k}" for k in (10, *range(12, 17), 11)]


@pytest.mark.parametrize(
    ("arguments", "codes", "line"),
    [
        ([], (1, 2), "NEW: is missing"),
        (["--forget", "nobody"], (1, 2), "--forget: 'nobody' is not in the log"),
        (["absent"], (1, 2), "absent: is not a folder"),
        (["old"], [1], "was fitted on p00"),
    ],
)
def test_command_refuses_and_writes_nothing(
    promised, tmp_path, capsys, monkeypatch, arguments, codes, line
):
    monkeypatch.chdir(tmp_path)
    Files(tmp_path, blobs(0, 2)).nnunet("old")
    assert line in refusal(["watch", promised[0], *arguments, *PATIENTS], capsys, codes)
    assert not (tmp_path / "watch").exists()


def test_two_calls_at_once_lose_no_patient(promised, tmp_path):
    """The second waits for the first."""
    promise, new = promised
    parts = []
    for k, half in enumerate((range(10, 13), range(13, 17))):
        folder = tmp_path / f"half{k}"
        shutil.copytree(new.nnunet(), folder)
        for file in folder.glob("p1*"):
            if int(file.name[1:3]) not in half:
                file.unlink()
        parts.append(folder)
    command = [sys.executable, "-m", "nacl_monai", "watch", str(promise)]
    more = [*PATIENTS, "--output", str(tmp_path / "watch")]
    calls = [subprocess.Popen([*command, str(part), *more]) for part in parts]

    assert [process.wait() for process in calls] == [0, 0]

    events = json.loads((tmp_path / "watch/log.json").read_text())["events"]
    assert sorted(event["patient"] for event in events) == [f"p{k}" for k in range(10, 17)]


def test_hidden_names_stay_hidden(tmp_path):
    """Of a promise with hidden names the log has those of its salt."""
    salt = tmp_path / "salt"
    salt.write_text("0" * 64)
    hide = ["--salt", str(salt)]
    old, new = Files(tmp_path / "old", blobs(0, 18)), Files(tmp_path / "new", blobs(18, 4, 1))
    command = ["promise", str(old.nnunet()), str(old.labels), *PATIENTS, "--anonymous", str(salt)]
    assert main([*command, "--output", str(tmp_path / "p")]) == 0

    assert call(tmp_path / "p", new.nnunet(), *hide, output=tmp_path / "watch") == 0

    text = (tmp_path / "watch/log.json").read_text()
    assert "p09" not in text
    assert len(json.loads(text)["events"]) == 2
    forget = ["watch", tmp_path / "p", "--forget", "p09", *hide, "--output", tmp_path / "watch"]
    assert main([*map(str, forget)]) == 0  # of a name alone nobody asks whose cases are
    events = json.loads((tmp_path / "watch/log.json").read_text())["events"]
    assert sum(event["patient"] is None for event in events) == 1
