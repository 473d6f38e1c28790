"""The steps of the demo: in this order, side by side, and none left behind."""

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from nacl_monai.demo import plan, run, running
from nacl_monai.errors import InputError


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """A demo whose commands write down their words; the one that ``failing`` names fails."""
    log, failing = tmp_path / "log", tmp_path / "failing"
    for file in (log, failing):
        file.touch()
    program = tmp_path / "program.py"
    program.write_text(
        "import json, sys\n"
        f"with open({str(log)!r}, 'a') as log: log.write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "print('said by', sys.argv[1])\n"
        f"sys.exit(3 if sys.argv[1] == open({str(failing)!r}).read() else 0)\n"
    )
    monkeypatch.setattr(running, "_command", lambda words: [sys.executable, str(program), *words])
    monkeypatch.setattr(running, "check_run", lambda _: None)
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture
def demo(tmp_path):
    return plan("acdc", tmp_path, tmp_path / "it's out")


def of(steps, run):
    return [words for words in steps if any(word.endswith(run) for word in words)]


def test_both_are_trained_evaluated_and_compared(steps, demo):
    """CE+DSC with a temperature too; the settings are those of the trainings, which the rest follows."""
    run(demo)

    *made, compared = steps()
    assert [words[0] for words in of(made, "dice_ce")] == ["train", "evaluate", "calibrate"]
    assert [words[0] for words in of(made, "/nacl")] == ["train", "evaluate"]
    for words in made:
        for key in ("--spatial_size", "--max_epochs"):
            assert (key in words) == (words[0] == "train")
    assert compared[:4] == [
        "compare",
        str(demo.output / "dice_ce"),
        str(demo.output / "dice_ce/calibrated/temperature_union"),
        str(demo.output / "nacl"),
    ]
    assert "said by calibrate" in (demo.output / "dice_ce.log").read_text()


def test_phantom_is_written_first(steps, demo, tmp_path):
    """Into the folder that the trainings read."""
    run(replace(demo, phantom=True, folder=tmp_path / "phantom"))

    assert steps()[0][:3] == ["phantom", "acdc", str(tmp_path / "phantom")]


@pytest.mark.usefixtures("steps")
def test_earlier_demo_is_moved_aside(demo):
    """One is kept."""
    for number in range(3):
        run(demo)
        (demo.output / "mark").write_text(str(number))

    assert (demo.output / "mark").read_text() == "2"
    assert demo.output.with_name("it's out.previous").joinpath("mark").read_text() == "1"


def refused(demo, folder):
    """The second time as well, with what is in the folder left as it is."""
    (folder / "thesis.txt").write_text("years of work")
    for _ in range(2):
        with pytest.raises(InputError) as error:
            run(demo)
        line = f"{folder}: holds something else than a demo; choose another --output"
        assert str(error.value) == line
    return (folder / "thesis.txt").read_text() == "years of work"


def test_folder_of_anything_else_stays_as_it_is(steps, demo):
    """The next demo but one would have removed it."""
    demo.output.mkdir()

    assert refused(demo, demo.output)
    assert steps() == []


@pytest.mark.usefixtures("steps")
def test_nothing_else_gives_way_to_an_earlier_demo(demo):
    """Though it has the name that a demo would have."""
    run(demo)
    previous = demo.output.with_name("it's out.previous")
    previous.mkdir()

    assert refused(demo, previous)
    assert (demo.output / "dice_ce.log").is_file()


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

    with pytest.raises(InputError) as refused:
        run(demo)
    assert line in str(refused.value)
    assert "compare" not in [words[0] for words in steps()]


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
        "from nacl_monai.demo import __main__, running\n"
        f"running._command = lambda words: [sys.executable, '-c', {child!r}]\n"
        "running.check_run = lambda words: None\n"
        f"sys.exit(__main__.main(['--output', {str(tmp_path / 'out')!r}]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    with fifo.open() as written:  # which ends once nobody is left who could write
        assert [written.readline() for _ in range(2)] == ["\n", "\n"]
        process.send_signal(signal.SIGTERM)

        assert process.wait() == 128 + signal.SIGTERM
        assert select.select([written], [], [], 60)[0]
        assert written.read() == ""
