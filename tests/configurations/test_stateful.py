"""Whatever is done to two runs, in whatever order: a report says what their files say, or refuses.

The machine writes down by hand what must have happened to each run, and so which reports are due.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from nacl_monai.cli import main
from nacl_monai.metrics import Record
from nacl_monai.training import RunRecord, checkpoints
from tests.configurations.conftest import arguments, contents, one_line
from tests.configurations.test_dead_ends import SMALL

pytestmark = pytest.mark.slow

EPOCHS = 2
RUNS = st.sampled_from(["a", "b"])
RATES = st.sampled_from([0.001, 0.01])
SETS = st.sampled_from(["test", "val"])
BINS = st.sampled_from([15, 10])
KILLS = {"after an epoch": (RunRecord, "_update"), "in a checkpoint": (checkpoints, "save_state")}


@dataclass(frozen=True)
class Known:
    """What a run must be: its learning rate, whether it is finished, its model, what was evaluated."""

    rate: float | None = None
    finished: bool = False
    model: str | None = None
    evaluated: tuple[str, str, int] | None = None

    @property
    def fresh(self):
        """Whether its evaluation is of its model."""
        return self.finished and self.evaluated is not None and self.evaluated[0] == self.model


@pytest.fixture(scope="module")
def start(datasets, tmp_path_factory):
    """A trained run to begin with, and the words that all commands share."""
    data = datasets["hippocampus"]
    shared = ["--dataset_dir", data, "--cache_dir", data.parent / "cache"]
    return tmp_path_factory.mktemp("stateful"), [*shared, "--networks::unet", SMALL]


@pytest.fixture
def machine(start, bundle, monkeypatch, capfd):
    """The machine's class, with the commands of this process."""
    root, shared = start

    class Runs(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            shutil.rmtree(root / "runs", ignore_errors=True)
            self.known = {"a": Known(), "b": Known()}

        def command(self, run_id, run, *more):
            args = [*shared, "--output_dir", root / "runs" / run, *more]
            return bundle(*arguments(run_id, "hippocampus", *args))

        def trained(self, run, rate, *more):
            args = ["--max_epochs", EPOCHS, "--learning_rate", rate, *more]
            return self.command("training", run, *args)

        def now(self, run, **changes):
            file = root / "runs" / run / "model.pt"
            model = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
            self.known[run] = replace(self.known[run], model=model, **changes)

        @initialize()
        def begin(self):
            """Two runs that are trained and evaluated; made once."""
            if not (root / "template").is_dir():
                assert self.trained("a", 0.001)[0] == 0
                assert self.command("evaluating", "a")[0] == 0
                (root / "runs/a").rename(root / "template")
            for run in ("a", "b"):
                shutil.copytree(root / "template", root / "runs" / run)
                self.now(run, rate=0.001, finished=True)
                self.now(run, evaluated=(self.known[run].model, "test", 15))

        @rule(run=RUNS, rate=RATES)
        def train(self, run, rate):
            """Goes on, or leaves alone, or is refused."""
            before = contents(root / "runs" / run)

            code, errors = self.trained(run, rate)

            if self.known[run].rate == rate:
                assert code == 0, errors
                self.now(run, finished=True)
            else:
                assert code == 1
                assert "was trained with another learning_rate" in one_line(errors)
                assert contents(root / "runs" / run) == before

        @rule(run=RUNS, rate=RATES)
        def restart(self, run, rate):
            """The earlier evaluation goes aside with its model."""
            assert self.trained(run, rate, "--restart", True)[0] == 0
            self.now(run, rate=rate, finished=True, evaluated=None)

        @rule(
            run=RUNS, rate=RATES, moment=st.sampled_from(list(KILLS)), epoch=st.integers(1, EPOCHS)
        )
        def kill(self, run, rate, moment, epoch):
            """A training from its start, in or after an epoch."""
            owner, name = KILLS[moment]
            calls = []

            def die(*arguments):
                calls.append(arguments)
                if len(calls) == epoch:
                    raise RuntimeError("killed")
                return kept(*arguments)

            kept = getattr(owner, name)
            with monkeypatch.context() as killing:
                killing.setattr(owner, name, die)
                assert "killed" in self.trained(run, rate, "--restart", True)[1]
            self.now(run, rate=rate, finished=False, evaluated=None)

        @rule(run=RUNS, part=SETS, bins=BINS)
        def evaluate(self, run, part, bins):
            """Whatever model is there; the evaluation of another set has to be moved away."""
            args = ["--cases_to_evaluate", part, "--calibration::num_bins", bins]
            earlier = self.known[run].evaluated
            if earlier is not None and earlier[1] != part:
                place = root / "runs" / run / "evaluation"
                before = contents(place)
                code, errors = self.command("evaluating", run, *args)
                assert f"holds the evaluation of the {earlier[1]} cases" in one_line(errors)
                assert contents(place) == before
                shutil.rmtree(place)
            code, errors = self.command("evaluating", run, *args)

            if self.known[run].model is None:
                assert "no trained model there" in one_line(errors)
            else:
                assert code == 0, errors
                self.now(run, evaluated=(self.known[run].model, part, bins))

        @rule(run=RUNS, part=SETS)
        def kill_evaluation(self, run, part):
            """The earlier one stays."""
            before = contents(root / "runs" / run / "evaluation")

            def die(*_):
                raise RuntimeError("killed")

            with monkeypatch.context() as killing:
                killing.setattr(Record, "write", die)
                code, _ = self.command("evaluating", run, "--cases_to_evaluate", part)
            assert code == 1
            assert contents(root / "runs" / run / "evaluation") == before

        @rule(run=RUNS)
        def lose_model(self, run):
            """The training's command is then to restore it, or to say that it cannot."""
            model = root / "runs" / run / "model.pt"
            if not model.is_file():
                return
            content = model.read_bytes()
            model.unlink()
            code, errors = self.trained(run, self.known[run].rate)
            if code:
                assert "no checkpoint of its epoch" in one_line(errors)
                model.write_bytes(content)
            self.now(run, finished=self.known[run].finished or not code)

        @rule(run=RUNS)
        def copy_model(self, run):
            """That of the other run, with its checksum: its evaluation is not of this one any more."""
            other = "b" if run == "a" else "a"
            if self.known[other].model is not None:
                for file in (root / "runs" / other).glob("model.pt*"):
                    shutil.copyfile(file, root / "runs" / run / file.name)
                self.now(run)

        @rule(runs=st.sampled_from(["a", "b", "ab", "ba"]))
        def compare(self, runs):
            """A table of what is alike, or one line."""
            folders = [root / "runs" / run for run in runs]
            output = root / "compared"
            shutil.rmtree(output, ignore_errors=True)
            capfd.readouterr()

            code = main(["compare", *map(str, folders), "--output", str(output)])

            text, errors = capfd.readouterr()
            known = [self.known[run] for run in runs]
            due = all(run.fresh for run in known) and len({run.evaluated[1:] for run in known}) == 1
            assert (code == 0) == due, errors
            if due:
                cases = {"test": "test cases", "val": "validation cases"}
                assert cases[known[0].evaluated[1]] in text
            else:
                assert one_line(errors)
                assert not output.exists()

        @rule(run=RUNS)
        def export(self, run):
            """A model card has the means of the test cases of its own model, or none."""
            output = root / "exported"
            shutil.rmtree(output, ignore_errors=True)
            output.with_suffix(".zip").unlink(missing_ok=True)
            args = ["--run", root / "runs" / run, "--output", output]
            capfd.readouterr()

            code = main(["export", "hippocampus", *map(str, args)])

            errors = capfd.readouterr().err
            known = self.known[run]
            tested = known.fresh and known.evaluated[1] == "test"
            due = known.finished and known.model is not None
            due = due and (known.evaluated is None or tested)
            assert (code == 0) == due, errors
            if due:
                metadata = json.loads((output / "configs/metadata.json").read_text())
                assert bool(metadata["eval_metrics"]) == tested
            else:
                assert one_line(errors)
                assert not output.exists()

    return Runs


RULES = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def test_whatever_happens_to_runs_each_step_is_taken(machine):
    """Each in a state in which it matters, before Hypothesis chooses."""
    runs = machine()
    runs.begin()
    runs.compare(runs="ab")
    runs.export(run="a")

    runs.evaluate(run="a", part="val", bins=15)
    runs.compare(runs="a")
    runs.compare(runs="ab")
    runs.export(run="a")

    runs.evaluate(run="a", part="test", bins=10)
    runs.kill_evaluation(run="a", part="val")
    runs.compare(runs="ba")

    runs.kill(run="b", rate=0.01, moment="in a checkpoint", epoch=2)
    runs.evaluate(run="b", part="test", bins=10)
    runs.compare(runs="ab")
    runs.train(run="b", rate=0.001)
    runs.train(run="b", rate=0.01)
    runs.evaluate(run="b", part="test", bins=10)
    runs.compare(runs="ab")

    runs.lose_model(run="a")
    runs.copy_model(run="a")
    runs.compare(runs="a")
    runs.restart(run="a", rate=0.001)
    runs.compare(runs="a")
    runs.teardown()


def test_reports_say_what_the_files_say_or_refuse(machine):
    """A few steps, always the same."""
    few = settings(**RULES, max_examples=2, stateful_step_count=3, derandomize=True, database=None)
    run_state_machine_as_test(machine, settings=few)


@pytest.mark.nightly
def test_reports_say_what_the_files_say_or_refuse_for_long(machine):
    """Many steps, each time others."""
    run_state_machine_as_test(
        machine, settings=settings(**RULES, max_examples=30, stateful_step_count=12)
    )
