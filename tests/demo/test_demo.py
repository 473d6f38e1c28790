"""``nacl-monai demo``: what it trains on, in which steps, none of them left behind."""

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nacl_monai.cli import main
from nacl_monai.demo import DATASET, plan, promised, run
from nacl_monai.demo import __main__ as command
from nacl_monai.demo import steps as steps_module
from nacl_monai.demo.promised import draw_last, level_of, promise_to_last
from nacl_monai.errors import InputError, SettingError
from nacl_monai.metrics.curves import CURVES_FILE
from nacl_monai.promises import read_promise
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.runs import RunFolder
from tests.conftest import refused
from tests.predictions.conftest import AFFINE, CLASSES, save, write_json
from tests.promises.test_commands import SIZES, blobs


def test_words_become_a_plan(monkeypatch, tmp_path):
    """Those that are not of the demo are of its trainings."""
    planned = []
    monkeypatch.setattr(command, "run", planned.append)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    args = ["--dataset", "kits", "--dataset_dir", str(tmp_path), "--max_epochs", "1"]
    assert main(["demo", *args, "--output", "here"]) == 0

    (plan,) = planned
    assert (plan.dataset, plan.folder, plan.output.name) == ("kits", tmp_path, "here")
    assert plan.training == ["--max_epochs", "1"]


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["--dataset", "kits"], 1, "kits: comes without data; name their folder: --dataset_dir"),
        (["--dataset_dir", "nowhere"], 1, "nowhere: no such folder; name that of the"),
        (["--max_epoch", "1"], 2, "--max_epoch: there is no such key"),
        (["hippocampus"], 2, "hippocampus: is not an option, nor the value of one"),
    ],
)
def test_fault_is_one_line(args, code, line, capsys, monkeypatch, tmp_path):
    """Nothing is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)

    assert main(["demo", *args]) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {line}")
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_images_come_with_the_project():
    """Those of both sides of 36 people, each with its label and under a license of their own."""
    folder = plan().folder
    images = {file.name for file in (folder / "imagesTr").iterdir()}

    assert len(images) == 72
    assert images == {file.name for file in (folder / "labelsTr").iterdir()}
    note = (folder.parent / "README.md").read_text(encoding="utf-8")
    assert "https://creativecommons.org/licenses/by-sa/4.0/" in note


def test_split_of_36_people_is_for_them_alone(tmp_path):
    """Own data in the same layout have as many people as they have."""
    assert "--split_proportions" in plan().training
    assert "--split_proportions" not in plan(DATASET, tmp_path).training


@pytest.mark.parametrize(
    "overrides", [["--loss", "mbls"], ["--loss=mbls"], ["--network_def", "x"], ["--output_dir=x"]]
)
def test_word_that_the_demo_decides_is_refused(overrides):
    """Another loss would be shown under the names CE+DSC and NACL."""
    with pytest.raises(SettingError, match=r"is not an option of the demo .*; leave it out"):
        plan(overrides=overrides)


@pytest.mark.parametrize("overrides", [["--max_epochs", "1"], ["--max_epochs=1"]])
def test_given_word_takes_the_place_of_the_usual_one(overrides):
    """No option may be given twice; all others stay."""
    training = plan(overrides=overrides).training

    assert [word for word in training if word.startswith("--max_epochs")] == overrides[:1]
    assert "24" not in training
    assert training[-len(overrides) :] == overrides
    assert training[training.index("--batch_size") + 1] == "8"


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """A demo whose commands write down their words; the one that ``failing`` names fails."""
    log, failing = tmp_path / "log", tmp_path / "failing"
    for file in (log, failing):
        file.touch()
    program = (
        "import json, sys\n"
        f"with open({str(log)!r}, 'a') as log: log.write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "print('said by', sys.argv[1])\n"
        f"sys.exit(3 if sys.argv[1] == open({str(failing)!r}).read() else 0)\n"
    )
    command = [sys.executable, "-c", program]
    monkeypatch.setattr(steps_module, "_command", lambda args: [*command, *args])
    monkeypatch.setattr("nacl_monai.bundles.command_line.check_run", lambda _: None)
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture
def demo(tmp_path):
    return plan("acdc", tmp_path, tmp_path / "it's out")


def steps_of(steps, run):
    return [step for step in steps if any(word.endswith(run) for word in step)]


def test_both_are_trained_evaluated_and_compared(steps, demo):
    """Calibrated CE+DSC too; the settings are those of the trainings, which the rest follows."""
    run(demo)

    *trained, compared = steps()
    assert [step[0] for step in steps_of(trained, "dice_ce")] == ["train", "evaluate", "calibrate"]
    assert [step[0] for step in steps_of(trained, "/nacl")] == ["train", "evaluate"]
    for step in trained:
        for key in ("--spatial_size", "--max_epochs"):
            assert (key in step) == (step[0] == "train")
    assert compared[:4] == [
        "compare",
        str(demo.output / "dice_ce"),
        str(demo.output / "dice_ce/calibrated/signed_distance_all"),
        str(demo.output / "nacl"),
    ]
    assert "said by calibrate" in (demo.output / "dice_ce.log").read_text()


def test_phantom_is_written_first(steps, demo, tmp_path):
    """Into the folder that the trainings read."""
    run(replace(demo, phantom=True, folder=tmp_path / "phantom"))

    assert steps()[0][:3] == ["phantom", "acdc", str(tmp_path / "phantom")]


def test_promise_is_made_before_inference_keeps_it(steps, tmp_path, monkeypatch):
    """Of the package's data; its picture is the last thing."""
    written = tmp_path / "out/promise/promise.json"

    def make(_, data, output):
        assert "compare" in [step[0] for step in steps()]
        assert output == written.parent
        return data / "image.nii.gz"

    monkeypatch.setattr(promised, "promise_to_last", make)
    monkeypatch.setattr(promised, "draw_last", lambda *_: print(len(steps())))
    run(plan(output=tmp_path / "out"))

    *_, last = steps()
    options = ["--run", str(tmp_path / "out/nacl"), "--promise", str(written)]
    assert last == ["infer", DATASET, str(plan().folder / "image.nii.gz"), *options]


def test_last_person_has_no_part_in_the_promise(tmp_path):
    """All others calibrate; the level is the one for so many, and the picture says so."""
    run, data, output = RunFolder(tmp_path / "run"), tmp_path / "data", tmp_path / "promise"
    cases = blobs(0, 12)
    probs, labels = zip(*cases.values(), strict=True)
    names = {"cases": list(cases), "patients": [case[:3] for case in cases]}
    curves = curves_of_arrays(probs, labels, spacing=SIZES, classes=list(CLASSES), **names)
    evaluated = {**curves.definition, "known_by": "dataset"}
    replace(curves, definition=evaluated).write(run.evaluation.path / CURVES_FILE)
    last = list(cases)[-1]
    files = {f"images/{last}.nii.gz": "", f"labels/{last}.nii.gz": ""}
    write_json(run.data, {"test": {last: files}})
    for folder in ("images", "labels"):
        save(data / f"{folder}/{last}.nii.gz", labels[-1].astype(np.uint8), AFFINE)
    place = run.path / f"predictions/{last}_probabilities.nii.gz"
    save(place, np.moveaxis(probs[-1], 0, -1), AFFINE)

    image = promise_to_last(run, data, output)
    text = draw_last(run, data, output)

    assert image == data / f"images/{last}.nii.gz"
    promised = read_promise(output)
    assert promised.patients == ["p00", "p01", "p02", "p03", "p04"]
    assert {kept.level for kept in promised.kept} == {level_of(5)} == {0.35}
    assert text.startswith("In 65% of patients like these at most 10% of anterior and of posterior")
    assert f"5 people calibrated it. Neither they nor the person of {last} trained" in text
    with Image.open(output / "contours.png") as picture:
        assert picture.width > picture.height


@pytest.mark.usefixtures("steps")
def test_earlier_demo_is_moved_aside(demo):
    """One is kept."""
    for number in range(3):
        run(demo)
        (demo.output / "mark").write_text(str(number))

    assert (demo.output / "mark").read_text() == "2"
    assert demo.output.with_name("it's out.previous").joinpath("mark").read_text() == "1"


@pytest.mark.parametrize("is_previous", [False, True])
def test_folder_of_anything_else_stays_as_it_is(steps, demo, is_previous):
    """Where the demo would be, or would move an earlier one; the second time as well."""
    folder = demo.output
    if is_previous:
        run(demo)
        folder = folder.with_name("it's out.previous")
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    before = steps()
    for _ in range(2):
        line = f"{folder}: holds something else than a demo; choose another --output"
        assert refused(run, demo) == line

    assert (folder / "thesis.txt").read_text() == "years of work"
    assert (demo.output / "dice_ce.log").is_file() == is_previous
    assert steps() == before


@pytest.mark.usefixtures("steps")
def test_empty_folder_is_taken(demo):
    """As somebody makes it beforehand."""
    demo.output.mkdir()

    run(demo)

    assert (demo.output / "dice_ce.log").is_file()


def test_wrong_word_changes_nothing(demo):
    """An earlier demo stays where it is."""
    demo.output.mkdir()
    wrong = replace(demo, training=["--max_epoch", "1"])

    with pytest.raises(InputError, match="--max_epoch: there is no such key"):
        run(wrong)
    assert not demo.output.with_name("it's out.previous").exists()


@pytest.mark.parametrize(
    ("failing", "line"),
    [
        ("train", "train: ended with exit code 3; see the error above"),
        ("calibrate", "CE+DSC failed; its last lines:\nsaid by train\nsaid by evaluate\n"),
    ],
)
def test_failed_step_ends_the_demo(steps, demo, tmp_path, failing, line):
    """With the last lines of the log, where the step wrote into it; nothing is compared."""
    (tmp_path / "failing").write_text(failing)

    with pytest.raises(InputError) as caught:
        run(demo)
    assert line in str(caught.value)
    assert "compare" not in [step[0] for step in steps()]


@pytest.mark.slow
def test_end_of_the_demo_ends_all_that_it_started(tmp_path):
    """SIGTERM, as a cluster sends it, leaves no training behind."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = (
        f"import signal; f = open({str(fifo)!r}, 'w'); print(file=f, flush=True); signal.pause()"
    )
    code = (
        "import sys\n"
        "from nacl_monai.bundles import command_line\n"
        "from nacl_monai.demo import __main__, steps\n"
        f"steps._command = lambda words: [sys.executable, '-c', {child!r}]\n"
        "command_line.check_run = lambda words: None\n"
        f"sys.exit(__main__.main(['--output', {str(tmp_path / 'out')!r}]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    with fifo.open() as written:  # which ends once nobody is left who could write
        assert [written.readline() for _ in range(2)] == ["\n", "\n"]
        process.send_signal(signal.SIGTERM)

        assert process.wait() == 128 + signal.SIGTERM
        assert select.select([written], [], [], 60)[0]
        assert written.read() == ""
