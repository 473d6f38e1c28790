"""Walks through the commands: any verb with any of its options, on what earlier ones left.

A walk draws commands of the table of options; an option that was drawn least comes first. They read the
studies of a `World`, and what the walk has made. `refusals` has by hand what must not go on; what goes
on must give the numbers of every other way to them. ``WALKS``, ``KILLS`` (the share of commands that are
killed first), ``SEED`` and ``COUNTS``, a file, are variables of the environment.
"""

import io
import json
import os
import random
import secrets
import shlex
import shutil
import signal
import tempfile
import traceback
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nacl_monai.cli import main
from nacl_monai.predictions.options import rows
from nacl_monai.predictions.rows import flag
from tests.audits.conftest import Study, save, write_json
from tests.evaluated_runs import blank
from tests.promises.test_commands import blobs
from tests.test_output import fork

WALKS = int(os.environ.get("WALKS", "300"))
KILLS = float(os.environ.get("KILLS", "0.15"))
SEED = int(os.environ.get("SEED", "0")) or secrets.randbits(32)
#: Verb and kind → what it reads, of which study, and how often it is drawn.
USES = {
    "audit:folders": ("labeled", "fit", 3),
    "calibrate:folders": ("labeled", "fit", 2),
    "calibrate:components": ("labeled", "fit", 2),
    "promise:folders": ("labeled", "fit", 3),
    "promise:shard": ("labeled", "fit", 2),
    "report:folders": ("labeled", "fit", 2),
    "promise:sums": ("promise.npz", "", 3),
    "merge": ("bins.npz", "", 2),
    "promise:apply": ("promise new", "new", 4),
    "promise:check": ("promise labeled", "new", 4),
    "triage:apply": ("promise new", "new", 4),
    "watch:new": ("promise new", "new", 4),
    "triage:verdicts": ("triage", "", 1),
    "maps:new": ("new", "new", 3),
    "view:new": ("new", "new", 2),
}
#: Layouts of predictions → the options that read them.
LAYOUTS = {
    "nnunet": (),
    "named": ("prediction_name", "label_name"),
    "paired": ("pairs",),
    "logits": ("from_logits",),
    "several": ("ensemble",),
}
#: What a command is always given, if it is an option of it; in slices and pages nothing is to be seen.
ALWAYS = {
    "calibrate:folders": ("folds", "method"),
    "calibrate:components": ("folds", "components"),
    "promise:folders": ("level",),
    "promise:sums": ("level",),
    "promise:shard": ("shard",),
    "report:folders": ("level",),
    "promise:check": ("chosen",),
}
#: Options that have no effect, or fail, without others.
WITH = {
    "by_group": ("groups",),
    "asymmetric": ("measure", "phases"),
    "measure": ("phases",),
    "phases": ("measure",),
    "rater_names": ("raters",),
    "new_images": ("new",),
    "budget": ("new",),
    "below": ("new",),
    "confidence": ("control",),
    "activation": ("structures",),
}
#: Those of which one excludes the others.
ONE_OF = [
    {"patients", "patient_pattern"},
    {"budget", "below"},
    {"anonymous", "images", "write", "viewer"},
    {"shard", "images", "components", "raters", "write", "islands", "groups", "names"},
    {"raters", "ensemble", "label_name", "pairs", "components"},
]
PARTS = {
    "old": (0, 8),
    "site1": (0, 4),
    "site2": (4, 8),
    "new": (8, 11),
    "fit": (11, 15),
    "else": (15, 22),
}
#: What a number of a promise follows from, beside its patients and predictions.
DECIDING = (
    *("control", "confidence", "margin", "family", "level"),
    *("miss", "kind", "structure", "patients"),
)
PATTERN = r"(p\d+)_"


@dataclass(frozen=True)
class Made:
    """A folder that a command wrote, and what is true of it, whatever its files say."""

    folder: Path
    what: str
    people: frozenset
    behind: bool = False
    how: str = "probs"
    hidden: bool = False
    shard: tuple = ()


class World:
    """Studies in each layout, tables, and what was fitted to some of them; read only."""

    def __init__(self, root):
        self.root = root
        drawn = blobs(0, 44).items()
        self.cases = {f"{name[:3]}_s{k % 2}": pair for k, (name, pair) in enumerate(drawn)}
        people = sorted({name[:3] for name in self.cases})
        self.people = {part: frozenset(people[slice(*ends)]) for part, ends in PARTS.items()}
        for part in PARTS:
            self._write(root / part, [name for name in self.cases if name[:3] in self.people[part]])
        columns = {
            "patient": lambda n: n[:3],
            "phase": lambda n: n[4:],
            "site": lambda n: "ab"[int(n[2]) % 2],
        }
        for column, text in columns.items():
            lines = [f"case,{column}", *(f"{name},{text(name)}" for name in self.cases)]
            (root / f"{column}.csv").write_text("\n".join(lines))
        lines = ["prediction,label", *(f"pred_{name},{name}_seg" for name in self.cases)]
        (root / "pairs.csv").write_text("\n".join(lines))
        (root / "salt").write_text(64 * "5")
        fit, run_of = ["--patient-pattern", PATTERN, "--folds", "2"], runner_of(self)
        self.calibrator = run_of(
            "calibrate", "fit", *fit, "--method", "temperature", "--no-pictures"
        )
        self.islands = run_of("calibrate", "fit", *fit, "--components")
        fit, hide = [*fit[:2], "--no-pictures"], ["--anonymous", root / "salt"]
        behind = ["--calibrator", self.calibrator.folder / "calibrator.json"]
        of_two = ["--measure", "EF = 1 - s1.anterior / s0.anterior", "--phases", r"_(s\d)"]
        self.made = [
            run_of("promise", "old", *fit, "--level", "0.3", *more) for more in ([], of_two)
        ]
        self.made += [
            replace(run_of("promise", "old", *fit, "--level", "0.3", *hide), hidden=True),
            replace(run_of("promise", "old", *fit, "--level", "0.3", *behind), behind=True),
            *(run_of("audit", part, *fit) for part in ("site1", "site2", "else")),
            replace(run_of("audit", "site2", *fit, *hide), hidden=True),
            replace(run_of("audit", "site2", *fit, *behind), behind=True),
        ]
        self.made += [
            replace(run_of("audit", part, *fit, "--shard", f"{k}/2"), shard=(part, k))
            for part in ("old", "else")
            for k in (1, 2)
        ]

    def _write(self, place, cases):
        chosen = {name: self.cases[name] for name in cases}
        named = {f"pred_{name}": pair for name, pair in chosen.items()}
        logits = {name: (np.log(probs), label) for name, (probs, label) in chosen.items()}
        softer = {name: (0.9 * probs + 0.1 / 3, label) for name, (probs, label) in chosen.items()}
        Study(place, chosen).nnunet()
        Study(place, named).channels("named")
        Study(place, logits).channels("logits")
        Study(place, softer).channels("member")
        write_json(place / "dataset.json", Study(place, chosen).dataset)
        for name, (_, label) in chosen.items():
            save(place / "labels" / f"{name}.nii.gz", label.astype(np.uint8))
            save(place / "reader" / f"{name}.nii.gz", np.roll(label, 1, 0).astype(np.uint8))
            save(place / "segmented" / f"{name}_seg.nii.gz", label.astype(np.uint8))
            save(place / "images" / f"{name}_0000.nii.gz", label.astype(np.float32) + 0.5)

    def value(self, name, part, draw):
        """What an option of this name can be for a study."""
        place, root, pick = self.root / part, self.root, draw.choice
        first = min(case for case in self.cases if case[:3] in self.people[part])
        return {
            "activation": ["softmax"],
            "affine_tolerance": [0.5],
            "anonymous": [root / "salt"],
            "below": [0.5],
            "budget": [pick(["1", "50%"])],
            "by_group": ["site"],
            "calibrator": [self.calibrator.folder / "calibrator.json"],
            "cases": [first],
            "chosen": [pick(["all", "random"])],
            "components": pick([[], [1]]),
            "confidence": [0.8],
            "control": [pick(["each", "mean", "most"])],
            "dataset": [place / "dataset.json"],
            "ensemble": pick([[], ["probs"], ["logits"]]),
            "family": [pick(["within", "threshold", "margin"])],
            "folds": [2],
            "forget": [min(self.people[part])],
            "groups": [root / "site.csv"],
            "images": [place / "images"],
            "islands": [self.islands.folder / "islands.json"],
            "jobs": [1 if draw.random() < 0.95 else 2],
            "label_name": ["(.+)_seg"],
            "labels": [place / "labels"],
            "level": [0.3],
            "margin": [pick([2, 3])],
            "measure": ["EF = 1 - s1.anterior / s0.anterior"],
            "method": [pick(["temperature", "distance"])],
            "miss": [pick([0.1, 0.2])],
            "names": ["net"],
            "new": [root / "new/nnunet"],
            "new_images": [root / "new/images"],
            "num_bins": [pick([5, 10])],
            "pairs": [root / "pairs.csv"],
            "patient_pattern": [PATTERN],
            "patients": [pick([root / "patient.csv", "cases"])],
            "phases": [pick([r"_(s\d)", root / "phase.csv"])],
            "prediction_name": ["pred_(.+)"],
            "rater_names": ["anna", "ben"],
            "raters": [place / "labels", place / "reader"],
            "reference": [place / "images"],
            "region": [pick(["all", "near"])],
            "regions": pick([["near"], ["all", "near"]]),
            "salt": [root / "salt"],
            "shard": [pick(["1/2", "2/2"])],
            "structures": pick([["all=1,2"], ["anterior=1", "posterior=2"]]),
            "threshold": [0.5],
            "write": ["nifti"],
        }.get(name, [])


def runner_of(world):
    """Runs a command of a world that must go on."""

    def run_of(verb, part, *values):
        folder = Path(tempfile.mkdtemp(dir=world.root)) / verb
        place = world.root / part
        code, _, errors = typed(
            [verb, place / "nnunet", place / "labels", *values, "--output", folder]
        )
        assert code == 0, errors
        return Made(folder, verb, world.people[part])

    return run_of


@dataclass
class Step:
    """A command, what it reads, and what it makes."""

    use: str
    options: set
    values: dict
    part: str
    folders: list
    labels: Path | None
    sources: list
    result: Made
    maps: Made | None = None

    @property
    def args(self):
        """As typed."""
        verb, _, kind = self.use.partition(":")
        args = [verb, *([f"--{kind}"] if self.use in ("promise:apply", "promise:check") else [])]
        takes = USES[self.use][0]
        args += [
            item.folder / takes if takes.endswith("npz") else item.folder for item in self.sources
        ]
        args += [*self.folders, *([self.labels] if self.labels else [])]
        for name, values in self.values.items():
            args += [flag(name), *values]
        return [*map(str, args)]


def refusals(step):
    """By hand, why a command must not go on."""
    takes, sources, result = USES[step.use][0], step.sources, step.result
    if takes.startswith("promise "):
        (source,) = sources
        if source.people & result.people:
            yield "who calibrated is among the new"
        if (source.behind, source.how) != (result.behind, result.how):
            yield "predictions of another model"
        if source.hidden != ("salt" in step.options):
            yield "names cannot be compared"
    if takes.endswith("npz"):
        if len({(item.behind, item.how) for item in sources}) > 1:
            yield "sums of two models"
        shards = Counter(item.shard for item in sources if item.shard)
        studies = {name for name, _ in shards}
        if (
            len(studies) > 1
            or sum(shards.values()) != 2 * len(studies)
            or len(shards) != 2 * len(studies)
        ):
            yield "half a study"
        whole = [item.people for item in sources if not item.shard]
        whole += [
            next(item.people for item in sources if item.shard and item.shard[0] == n)
            for n in studies
        ]
        if sum(map(len, whole)) > len(frozenset().union(*whole)):
            yield "somebody counts twice"
        if len({item.hidden for item in sources}) > 1 and "anonymous" not in step.options:
            yield "names hidden and not"
    if step.maps and step.maps.behind and "calibrator" in step.options:
        yield "calibrated twice"


class Walk:
    """Draws commands, and keeps what was made and how often each option was drawn."""

    def __init__(self, world, place, draw, counts):
        self.world, self.place, self.draw, self.counts = world, place, draw, counts
        self.made, self.number = [], 0

    def step(self):
        """The next command."""
        draw, world = self.draw, self.world
        weights = [weight for *_, weight in USES.values()]
        use = draw.choices([*USES], weights)[0]
        takes, of_part, _ = USES[use]
        here = [*world.made, *self.made, *self.made, *self.made]
        if takes == "triage":
            sources = [item for item in self.made if item.what == "triage"][:1]
            return self._verdicts(sources[0]) if sources else self.step()
        names = {row.name for row in rows(use)} if use != "merge" else {"anonymous", "output"}
        part = draw.choice(
            {
                "fit": ["old", "else", "site1"],
                "new": ["new", "new", "new", "new", "else", "old"],
                "": ["old"],
            }[of_part]
        )
        sources = self._sources(takes, here)
        layout = self._layout(use, takes, sources)
        options = self._options(use, names, layout, sources)
        place = world.root / part
        folders, labels, people = [], None, world.people[part]
        if not takes.endswith("npz"):
            folder = {"paired": "named", "several": "nnunet"}.get(layout, layout)
            folders = [place / folder, *([place / "member"] if layout == "several" else [])]
            labels = place / ("segmented" if options & {"label_name", "pairs"} else "labels")
            maps = [item for item in self.made if item.what == "maps"]
            if "new" in takes and maps and layout == "nnunet" and draw.random() < 0.6:
                return self._after_maps(use, draw.choice(maps), sources, options)
        values = {name: [*map(str, world.value(name, part, draw))] for name in sorted(options)}
        if "labels" in values:
            values["labels"] = [str(labels)]
        if "labeled" not in takes or "raters" in options:
            labels = None
        how = (
            " ".join(["ensemble", *(values["ensemble"] or ["probs"])])
            if "ensemble" in options
            else "probs"
        )
        result = Made(self._output(values), self._what(use), people, "calibrator" in options, how)
        if takes.endswith("npz"):
            first = sources[0]
            people = frozenset().union(*(item.people for item in sources))
            result = replace(
                result, people=people, behind=first.behind, how=first.how, hidden=first.hidden
            )
        result = replace(result, hidden=result.hidden or "anonymous" in options)
        if "shard" in options:
            result = replace(result, shard=(part, int(values["shard"][0][0])))
        return Step(use, options, values, part, folders, labels, sources, result)

    def _sources(self, takes, here):
        """What the command takes of others."""
        if takes.startswith("promise "):
            return [self.draw.choice([item for item in here if item.what == "promise"])]
        if not takes.endswith("npz"):
            return []
        there = [item for item in here if (item.folder / takes).is_file()]
        first = self.draw.choice(there)
        fit = [
            item
            for item in there
            if (item.behind, item.how, item.hidden) == (first.behind, first.how, first.hidden)
            and (
                not item.people & first.people
                if not first.shard
                else item.shard == (first.shard[0], 3 - first.shard[1])
            )
        ]
        if first.shard and fit and self.draw.random() < 0.8:
            return [first, fit[0]]
        second = self.draw.choice(fit if fit and self.draw.random() < 0.6 else there)
        return [first] if self.draw.random() < 0.4 else [first, second]

    def _layout(self, use, takes, sources):
        """That whose options were drawn least, of those that the command can read."""
        names = {row.name for row in rows(use)} if use != "merge" else set()
        possible = [name for name, asked in LAYOUTS.items() if not asked or asked[0] in names]
        if sources and self.draw.random() < 0.7:  # as what calibrated was read
            possible = [
                name for name in possible if (name == "several") == (sources[0].how != "probs")
            ]
        if takes.endswith("npz") or not possible or self.draw.random() < 0.4:
            return "nnunet"
        return min(
            possible,
            key=lambda name: (
                self.counts[use, (LAYOUTS[name] or ("output",))[0]],
                self.draw.random(),
            ),
        )

    def _options(self, use, names, layout, sources):
        """Those of the layout, those that the command needs, and some that were drawn least."""
        of_layouts = {name for several in LAYOUTS.values() for name in several}
        free = sorted(
            names - of_layouts - {"output"}, key=lambda n: (self.counts[use, n], self.draw.random())
        )
        asked = [*ALWAYS.get(use, ()), *LAYOUTS[layout], *free[: self.draw.choice([1, 2, 3])]]
        asked += [other for name in asked for other in WITH.get(name, ())]
        if sources and USES[use][0].startswith("promise "):
            fits = self.draw.random() < 0.8
            for name, has in (("salt", sources[0].hidden), ("calibrator", sources[0].behind)):
                asked = [word for word in asked if word != name or not fits]
                asked += [name] * (fits and has)
        asked += ["pictures"] * (self.draw.random() < 0.8)
        options = []
        for name in asked:
            excluded = any(name in group and group & {*options} - {name} for group in ONE_OF)
            if name in names and not excluded:
                options.append(name)
        if not {"patients", "patient_pattern"} & {*options} and "patient_pattern" in names:
            options.append("patient_pattern")
        return {name for name in options if {*WITH.get(name, ())} & names <= {*options}}

    def _after_maps(self, use, maps, sources, options):
        """A command of maps that the walk result."""
        options -= {"labels", "images", "reference", "cases", "dataset", "label_name"}
        values = {
            name: [*map(str, self.world.value(name, "new", self.draw))] for name in sorted(options)
        }
        behind = maps.behind or "calibrator" in options
        result = Made(self._output(values), self._what(use), maps.people, behind, maps.how)
        return Step(use, options, values, "new", [maps.folder], None, sources, result, maps)

    def _verdicts(self, triage):
        file = self.place / f"verdicts{self.number}.csv"
        table = pd.read_csv(triage.folder / "triage.csv", dtype=str, keep_default_na=False)
        file.write_text(f"case,verdict,note\n{table['case'][0]},reject,\n")
        result = Made(self.place / "nothing", "verdicts", frozenset())
        step = Step("triage:verdicts", set(), {}, "", [], None, [triage], result)
        step.values = {"verdicts": [str(file)]}
        return step

    def _output(self, values):
        self.number += 1
        folder = self.place / self.draw.choice(["one", "two", f"own{self.number}"])
        values["output"] = [str(folder)]
        return folder

    def _what(self, use):
        kinds = {"promise:apply": "applied", "promise:check": "check", "promise:shard": "audit"}
        return kinds.get(use, use.partition(":")[0])


def typed(args):
    """Exit code, or the traceback that it ended in; output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            code = main([*map(str, args)])
        except SystemExit as end:
            code = end.code
        except Exception:
            code = traceback.format_exc()
    return code, output.getvalue(), errors.getvalue()


def contents(folder):
    """Every file by its place, without the time at which a log was written."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        str(name): b"" if name.name in ("log.json", "log.txt", "checks.json") else path.read_bytes()
        for name, path in files.items()
    }


def snapshot(*roots):
    """Every file with its size and time."""
    files = (path for root in roots for path in root.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def numbers_of(step):
    """Key → numbers that every way must agree on: of a promise, of a case of an audit, of a new case."""
    folder, result = step.result.folder, step.result
    whose, how = tuple(sorted(result.people)), (result.behind, result.how)
    structures, raters = tuple(step.values.get("structures", ())), "raters" in step.options
    if result.what in ("promise", "report"):
        file = (
            folder / "promise.json" if result.what == "promise" else folder / "promise/promise.json"
        )
        for kept in json.loads(file.read_text())["kept"] if file.is_file() else []:
            cased = tuple(step.values.get("patients", ()))
            record = json.loads(file.read_text())
            key = [str(record.get(name, kept.get(name))) for name in DECIDING]
            single = cased == ("cases",)
            yield ("kept", whose, *how, structures, single, *key), kept["values"]
    elif (
        result.what == "audit"
        and not result.hidden
        and not raters
        and (folder / "cases.csv").is_file()
    ):
        table = pd.read_csv(folder / "cases.csv", dtype={"case": str}).set_index("case")
        for case, row in table.iterrows():
            for column in [name for name in table if name.startswith(("dice_", "brier_all"))]:
                yield ("audit", case, column, *how), [row[column]]
    elif result.what in ("triage", "applied") and step.sources[0].folder.exists():
        file = folder / {"triage": "triage.csv", "applied": "promised.csv"}[result.what]
        table = pd.read_csv(file, dtype={"case": str})
        for _, row in table.iterrows():
            yield ("volume", row["case"], row["structure"], *how), [row["volume_ml"]]


def same(numbers, other):
    return len(numbers) == len(other) and np.allclose(
        numbers, other, rtol=1e-5, atol=2e-6, equal_nan=True
    )


def faults_of(step, code, errors, before, after, walk):
    """What is wrong with how a command ended, the first first."""
    if code not in (0, 1, 2, 3) or "Traceback" in errors:
        yield f"ended with {code}"
        return
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    aside = step.result.folder.with_name(f".{step.result.folder.name}.new")
    if f"what was written is in {aside}" in errors:  # beside somebody's file of that name
        changed = {path for path in changed if aside not in path.parents}
        shutil.rmtree(aside)
    inside = {path for path in changed if path.is_relative_to(step.result.folder)}
    if outside := {path for path in changed - inside if path.name != "checks.json"}:
        yield f"a file outside: {sorted(map(str, outside))[:3]}"
    if code in (1, 2) and lines and inside:
        yield f"was refused, and changed {sorted(map(str, inside))[:3]}"
    if code and not lines and "fault: " not in errors:
        yield "no line says why"
    if len(lines) > 1 or any(": " not in line[7:] for line in lines):
        yield f"is refused by {lines}"
    if not (code in (1, 2) and lines):
        yield from (f"went on, though {reason}" for reason in refusals(step))
    left = [path for path in walk.place.iterdir() if path.name.startswith(".")]
    temporary = Path(tempfile.gettempdir()).iterdir()  # processes keep a folder there to their end
    if left := [*left, *(path for path in temporary if not path.name.startswith("pymp-"))]:
        yield f"left {left}"


def killed(step, draw):
    """Runs a command in a process that a call of the system, or some time of the CPU, kills."""

    def work():
        if draw.random() < 0.5:
            signal.setitimer(signal.ITIMER_VIRTUAL, draw.uniform(0.01, 0.6))
        code = typed(step.args)[0]
        return code if isinstance(code, int) else 9

    return fork(work, draw.choice([1, 2, 3, 5, 8, 13, 21, 34, 55]))[0] < 0


def walked(world, walk, known, kills):
    """One command of a walk; what is wrong with it."""
    step = walk.step()
    output, backup = step.result.folder, walk.place.parent / "backup"
    shutil.rmtree(backup, ignore_errors=True)
    if output.exists():
        shutil.copytree(output, backup)
    was_killed = (
        walk.draw.random() < KILLS
        and "--jobs 2" not in shlex.join(step.args)
        and killed(step, walk.draw)
    )
    aside = output.with_name(f".{output.name}.old")  # between two renames
    there = next((place for place in (output, aside) if was_killed and place.exists()), None)
    between = contents(there) if there else None
    before = snapshot(walk.place, world.root) if not was_killed else {}
    code, _, errors = typed(step.args)
    after = snapshot(walk.place, world.root) if not was_killed else {}
    problem = next(faults_of(step, code, errors, before, after, walk), "")
    refused = code in (1, 2) and "error: " in errors
    if was_killed and not problem:
        kills[step.use] += 1
        earlier = contents(backup) if backup.exists() else None
        now = contents(output) if output.exists() else None
        if between not in (earlier, now):
            problem = "a kill left a mixture"
    if not problem and not refused and step.use != "triage:verdicts":
        for name in step.options | {"output"}:
            walk.counts[step.use, name] += 1
        for key, numbers in numbers_of(step):
            if not same(known.setdefault(key, numbers), numbers):
                problem = f"{key} is {numbers}, elsewhere {known[key]}"
        if walk.draw.random() < 0.25 and not problem:
            problem = again(step, code)
        walk.made.append(step.result)
        walk.made = [
            item
            for k, item in enumerate(walk.made)
            if item.folder not in {o.folder for o in walk.made[k + 1 :]}
        ]
    return f"{problem}: {shlex.join(step.args)}\n{errors[-1500:]}" if problem else ""


def again(step, code):
    """The same command once more, over what it wrote and without it: the same files."""
    output = step.result.folder
    written = json.loads((output / ".written.json").read_text())
    first = contents(output)
    if (other := typed(step.args)[0]) != code:
        return f"ended with {code}, then with {other}"
    if contents(output) != first:
        return "wrote other files the second time"
    if (
        len(written) == 1
        and step.use != "watch:new"
        and not any(item.folder == output for item in step.sources)
    ):
        shutil.rmtree(output)
        if typed(step.args)[0] != code or contents(output) != first:
            return "wrote other files where nothing was"
    return ""


@pytest.mark.nightly
def test_walks_end_in_files_that_agree_or_in_one_line(tmp_path, monkeypatch):
    """In 1,000 each option is used five times at least; kills and repetitions change nothing."""
    print(f"SEED={SEED}")
    monkeypatch.setattr("nacl_monai.reports.style.paint", blank)
    for name in ("world", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    world = World(tmp_path / "world")
    counts, kills, known, wrong = Counter(), Counter(), {}, []
    for number in range(WALKS):
        draw, place = random.Random(f"{SEED} {number}"), tmp_path / "walk"
        for name in (place, tmp_path / "here"):
            shutil.rmtree(name, ignore_errors=True)
            name.mkdir()
        monkeypatch.chdir(tmp_path / "here")
        walk = Walk(world, place, draw, counts)
        for _ in range(draw.choice([1, 2, 3])):
            if problem := walked(world, walk, known, kills):
                wrong.append(f"walk {number}: {problem}")
                print(wrong[-1], flush=True)
                break
        if any((tmp_path / "here").iterdir()):
            wrong.append(f"walk {number}: wrote into the current folder")
        if "COUNTS" in os.environ:
            text = {f"{use} {name}": count for (use, name), count in sorted(counts.items())}
            Path(os.environ["COUNTS"]).write_text(
                json.dumps([number + 1, sum(kills.values()), kills, text], indent=1)
            )
    missing = [
        f"{use} {flag(row.name)}"
        for use in USES
        if use not in ("merge", "triage:verdicts")
        for row in rows(use)
        if counts[use, row.name] < 5 * (WALKS >= 1000)
    ]
    assert not wrong, f"SEED={SEED}\n" + "\n".join(wrong)
    assert not missing, missing


PROMISE, AUDIT = (Made(Path("made"), what, frozenset("ab")) for what in ("promise", "audit"))
HALF = replace(AUDIT, shard=("old", 1))


@pytest.mark.parametrize(
    ("use", "sources", "changes", "reason"),
    [
        ("promise:apply", [PROMISE], {"people": frozenset("bc")}, "who calibrated is among"),
        ("triage:apply", [PROMISE], {"behind": True}, "predictions of another model"),
        ("watch:new", [replace(PROMISE, how="ensemble")], {}, "predictions of another model"),
        ("promise:check", [replace(PROMISE, hidden=True)], {}, "names cannot be compared"),
        ("promise:sums", [HALF], {}, "half a study"),
        ("promise:sums", [HALF, HALF], {}, "half a study"),
        ("merge", [HALF, replace(HALF, shard=("else", 2))], {}, "half a study"),
        ("merge", [AUDIT, AUDIT], {}, "somebody counts twice"),
        ("merge", [AUDIT, replace(AUDIT, behind=True)], {}, "sums of two models"),
        ("merge", [AUDIT, replace(AUDIT, people=frozenset("c"), hidden=True)], {}, "names hidden"),
        ("maps:new", [], {}, "calibrated twice"),
        ("promise:sums", [HALF, replace(HALF, shard=("old", 2))], {}, ""),
        ("promise:apply", [PROMISE], {}, ""),
    ],
)
def test_walk_notices_what_went_on_and_must_not(
    use, sources, changes, reason, tmp_path, monkeypatch
):
    """By each rule; a refusal is right then, and wrong if a file is not as it was."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "walk").mkdir()
    result = replace(Made(tmp_path / "walk/output", "what", frozenset("cd")), **changes)
    maps = replace(PROMISE, behind=True) if use == "maps:new" else None
    options = {"calibrator"} if maps else set()
    step = Step(use, options, {}, "new", [], None, sources, result, maps)
    walk = Walk(None, tmp_path / "walk", None, None)
    refusal, file = "error: a: is wrong; correct it", tmp_path / "walk/output/file"

    found = [*faults_of(step, 0, "", {}, {}, walk)]
    assert bool(found) == bool(reason)
    assert not found or found[0].startswith(f"went on, though {reason}")
    assert not [*faults_of(step, 1, refusal, {}, {}, walk)]
    assert "changed" in next(faults_of(step, 1, refusal, {}, {file: 1}, walk))
    assert "outside" in next(faults_of(step, 1, refusal, {}, {tmp_path / "other": 1}, walk))
    assert "ended with" in next(faults_of(step, "Traceback", "", {}, {}, walk))
    assert "no line" in next(faults_of(step, 1, "", {}, {}, walk))
    (tmp_path / "walk/.left").touch()
    assert "left" in [*faults_of(step, 1, refusal, {}, {}, walk)][-1]
