"""Walks through the commands: any verb with any of its options, on what earlier ones left.

A walk has one to three pairs of verb and option to try, in turn by a shuffled list of all in the table,
so that each is tried as often, by four commands at most until one goes on; other options are drawn
beside it. A command reads the studies of a `World`, and what the walk has made. `refusals` has by hand
what must not go on; what goes on must give the numbers of every other way to them. Variables of the
environment: ``SEED``; ``FIRST`` and ``WALKS``, the first walk and how many; ``KILLS``, the share of
commands that are killed first; ``COUNTS``, a file of counts, to which it adds.
"""

import io
import json
import os
import random
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nacl_monai.cli import flag
from nacl_monai.phantoms import PHANTOMS
from nacl_monai.predictions.options import Use, rows
from tests.configurations.conftest import ROOT, arguments, run_module, run_words
from tests.evaluated_runs import blank
from tests.predictions.conftest import Study, save, write_json
from tests.promises.test_chains import make, run, snapshot
from tests.promises.test_commands import blobs
from tests.test_output import fork

FIRST = int(os.environ.get("FIRST", "0"))
WALKS = int(os.environ.get("WALKS", "300"))
KILLS = float(os.environ.get("KILLS", "0.15"))
SEED = int(os.environ.get("SEED", "0")) or secrets.randbits(32)
#: Verb and kind → what it reads, and of which studies.
USES = {
    "audit": ("labeled", "fit"),
    "calibrate_folders": ("labeled", "fit"),
    "calibrate_islands": ("labeled", "fit"),
    "calibrate_run": ("run", ""),
    "promise_folders": ("labeled", "fit"),
    "promise_shard": ("labeled", "fit"),
    "report": ("labeled", "fit"),
    "promise_sums": ("promise.npz", ""),
    "merge": ("bins.npz", ""),
    "promise_apply": ("promise new", "new"),
    "promise_check": ("promise labeled", "new"),
    "promise_mean": ("promise new", "new"),
    "triage_new": ("promise new", "new"),
    "watch": ("promise new", "new"),
    "triage_verdicts": ("triage", ""),
    "maps": ("new", "new"),
    "view": ("new", "new"),
}
#: What a folder is called, where it is not the verb.
WRITES = {"promise_apply": "applied", "promise_shard": "audit"}
WRITES |= {"promise_check": "check", "promise_mean": "mean"}
DRAWN_OF = {"fit": ["old", "else", "site1"], "new": [*4 * ["new"], "else", "old"], "": ["old"]}
#: Verb and kind → its options, all of the table.
OPTIONS = {use: [row.name for row in rows(Use[use.upper()])] for use in USES if use != "merge"}
OPTIONS |= {"merge": ["anonymous", "output"], "triage_verdicts": ["verdicts"]}
PAIRS = [(use, name) for use, names in OPTIONS.items() for name in names]
#: Options that act on what another command of the walk wrote.
NEEDS = {"forget": ("watch", "labels"), "verdicts": ("triage_new", "output")}
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
    "calibrate_folders": ("folds", "method"),
    "calibrate_islands": ("folds", "components"),
    "calibrate_run": ("dataset_dir",),
    "promise_shard": ("shard",),
    **dict.fromkeys(("promise_folders", "promise_sums", "report"), ("level",)),
    **dict.fromkeys(("promise_check", "promise_mean"), ("chosen",)),
}
#: Options that have no effect, or fail, without others.
WITH = {
    "by_group": ("groups",),
    "asymmetric": ("measure", "phases"),
    "measure": ("phases",),
    "phases": ("measure",),
    "rater_names": ("raters",),
    "confidence": ("control",),
    "activation": ("structures",),
    **dict.fromkeys(("new_images", "budget", "below"), ("new",)),
}
#: Options that a promise needs again, by what is true of it.
OF_PROMISE = {"salt": "hidden", "calibrator": "behind", "phases": "phases"}
#: Those of which one excludes the others.
ONE_OF = [
    {"patients", "patient_pattern"},
    {"budget", "below"},
    {"images", "pictures"},
    {"anonymous", "images", "write", "viewer"},
    {"shard", "images", "components", "raters", "write", "islands", "groups", "names"},
    {"raters", "ensemble", "label_name", "pairs"},
    {"raters", "components"},
    {"calibrator", "method"},
    {"calibrator", "region"},
]
#: The studies, by their patients' numbers.
PARTS = {"old": (0, 8), "site1": (0, 4), "site2": (4, 8), "new": (8, 11), "fit": (11, 15)}
PARTS["else"] = (15, 22)
#: What a number of a promise follows from, beside its patients and predictions.
DECIDING = (
    *("control", "confidence", "margin", "family", "level"),
    *("miss", "kind", "structure", "patients"),
)
#: Option → the words that it can be; a plain command has the first. Others are flags.
VALUES = r"""
activation softmax; affine_tolerance 0.5; anonymous {root}/salt; below 0.5;
budget 1|50%; by_group site; bundles {bundles}; calibrator {calibrator};
cases {first}; chosen all|random; components |1; confidence 0.8; control most|each|mean|most;
dataset {place}/dataset.json; dataset_dir {root}/data;
ensemble |probs|logits; family within|threshold|margin; folds 2; groups {root}/site.csv;
images {place}/images; islands {islands}; jobs 1|1|1|1|1|1|1|1|1|2; label_name (.+)_seg;
labels {place}/labels; level 0.3; margin 3|2; measure EF=1-s1.anterior/s0.anterior;
suspects 1|50%; method temperature|distance; miss 0.1|0.2; names net; new {root}/new/nnunet;
new_images {root}/new/images; num_bins 5|10; pairs {root}/pairs.csv; patient_pattern (p\d+)_;
patients {root}/patient.csv|cases; phases _(s\d)|{root}/phase.csv; prediction_name pred_(.+);
rater_names anna ben; raters {place}/labels {place}/reader; reference {place}/images;
region all|near; regions near|all near; salt {root}/salt; shard 1/2|2/2;
structures anterior=1 posterior=2|all=1,2; threshold 0.5; write nifti
"""
VALUES = {
    name: [choice.split() for choice in choices.split("|")]
    for name, choices in re.findall(r"(\w+) ([^;]*)", VALUES)
}


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
    phases: bool = False


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
        columns = {"patient": {name: name[:3] for name in self.cases}}
        columns["phase"] = {name: name[4:] for name in self.cases}
        columns["site"] = {name: "ab"[int(name[2]) % 2] for name in self.cases}
        for column, texts in columns.items():
            lines = [f"case,{column}", *(f"{name},{text}" for name, text in texts.items())]
            (root / f"{column}.csv").write_text("\n".join(lines))
        lines = ["prediction,label", *(f"pred_{name},{name}_seg" for name in self.cases)]
        (root / "pairs.csv").write_text("\n".join(lines))
        (root / "salt").write_text(64 * "5")
        shared = ["--dataset_dir", root / "data", "--output_dir", root / "run"]
        shared += ["--cache_dir", root / "run/cache"]
        PHANTOMS["hippocampus"].write(root / "data", cases=10)
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
            for run_id, more in {"training": ["--max_epochs", 1], "evaluating": []}.items():
                run_module(patch, arguments(run_id, "hippocampus", *shared, *more))
        fit, plain = ["--patient-pattern", *VALUES["patient_pattern"][0]], ["--no-pictures"]
        temperature = ["--folds", "2", "--method", "temperature"]
        calibrated = self.after("calibrate", "fit", *fit, *temperature, *plain).folder
        islands = self.after("calibrate", "fit", *fit, *temperature[:2], "--components").folder
        self.fits = {"calibrator": calibrated / "calibrator.json"}
        self.fits["islands"] = islands / "islands.json"
        fit, hide = [*fit, *plain], ["--anonymous", root / "salt"]
        behind = ["--calibrator", self.fits["calibrator"]]
        of_two = ["--measure", *VALUES["measure"][0], "--phases", root / "phase.csv"]
        promise = partial(self.after, "promise", "old", *fit, "--level", "0.3")
        audit = partial(self.after, "audit")
        self.made = [promise(), promise(*of_two, phases=True), promise(*hide, hidden=True)]
        self.made += [promise("--ensemble", how="ensemble probs")]
        self.made += [promise(*behind, behind=True), audit("site2", *fit, *hide, hidden=True)]
        self.made += [*(audit(part, *fit) for part in ("site1", "site2", "else"))]
        self.made += [audit("site2", *fit, *behind, behind=True)]
        shards = product(("old", "else"), (1, 2))
        self.made += [audit(p, *fit, "--shard", f"{k}/2", shard=(p, k)) for p, k in shards]

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

    def values(self, names, part, choose):
        """What each of the options can be for a study, as typed."""
        there = {"root": self.root, "place": self.root / part, "bundles": ROOT / "bundles"}
        there |= self.fits
        there["first"] = min(case for case in self.cases if case[:3] in self.people[part])
        drawn = {name: choose(VALUES.get(name, [[]])) for name in sorted(names)}
        return {name: [word.format(**there) for word in choice] for name, choice in drawn.items()}

    def after(self, verb, part, *values, **truth):
        """What a command makes that must go on."""
        folder = Path(tempfile.mkdtemp(dir=self.root)) / verb
        place = self.root / part
        data = [place / name for name in ("nnunet", *["member"] * ("how" in truth), "labels")]
        make(verb, *data, *values, "--output", folder)
        return Made(folder, verb, self.people[part], **truth)


@dataclass
class Step:
    """A command, what it reads, and what it makes."""

    use: str
    options: set
    values: dict
    folders: list
    labels: Path | None
    sources: list
    result: Made
    maps: Made | None = None

    @property
    def args(self):
        """As typed."""
        verb, _, kind = self.use.partition("_")
        takes = USES[self.use][0]
        file = takes if takes.endswith("npz") else ""
        args = [verb, *[f"--{kind}"] * (kind in ("apply", "check", "mean"))]
        args += [item.folder / file for item in self.sources]
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
        if len(studies) > 1 or {sum(shards.values()), len(shards)} != {2 * len(studies)}:
            yield "half a study"
        whole = [item.people for item in sources if not item.shard]
        whole += {item.shard[0]: item.people for item in sources if item.shard}.values()
        if sum(map(len, whole)) > len(frozenset().union(*whole)):
            yield "somebody counts twice"
        if len({item.hidden for item in sources}) > 1 and "anonymous" not in step.options:
            yield "names hidden and not"
    if step.maps and step.maps.behind and "calibrator" in step.options:
        yield "calibrated twice"


class Walk:
    """Draws commands, and keeps those that went on and what they made."""

    def __init__(self, world, place, draw):
        self.world, self.place, self.draw = world, place, draw
        self.steps, self.number = [], 0
        self.plain = False  # whether to draw what goes on, with no option beside

    def choose(self, several):
        """Any of several, or the first."""
        return several[0] if self.plain else self.draw.choice(several)

    @property
    def made(self):
        """What is there: the last that was made in each folder."""
        return [*{step.result.folder: step.result for step in self.steps}.values()]

    def step(self, use, target):
        """A command with this option."""
        draw, world = self.draw, self.world
        takes, drawn_of = USES[use]
        if target in NEEDS:
            earlier = [step for step in self.steps if step.use == NEEDS[target][0]]
            return self._on(use, target, earlier[-1]) if earlier else None
        if use == "calibrate_run":
            return self._of_run(use, target)
        part = self.choose(DRAWN_OF[drawn_of])
        place, people = world.root / part, world.people[part]
        here = world.made if self.plain else [*world.made, *3 * self.made]
        sources = self._sources(takes, target, here)
        layout = self._layout(use, target, takes, sources)
        options = self._options(use, target, layout, sources)
        maps = [item for item in self.made if item.what == "maps" and not self.plain]
        maps = draw.choice(maps) if maps and "new" in takes and draw.random() < 0.6 else None
        folders, labels = [], None
        if maps and layout == "nnunet":  # a command on what the walk has made
            options -= {"labels", "images", "reference", "cases", "dataset", "label_name"}
            folders, part, people = [maps.folder], "new", maps.people
        elif not takes.endswith("npz"):
            maps, folder = None, {"paired": "named", "several": "nnunet"}.get(layout, layout)
            folders = [place / folder, *([place / "member"] if layout == "several" else [])]
            labels = place / ("segmented" if options & {"label_name", "pairs"} else "labels")
        values = world.values(options, part, self.choose)
        if "labels" in values:
            values["labels"] = [str(labels)]
        if "labeled" not in takes or "raters" in options:
            labels = None
        averaged = ["ensemble", *(values.get("ensemble") or ["probs"])]
        how = " ".join(averaged) if "ensemble" in options else maps.how if maps else "probs"
        behind = "calibrator" in options or bool(maps and maps.behind)
        output, what = self._output(values), WRITES.get(use, use.partition("_")[0])
        result = Made(output, what, people, behind, how)
        if takes.endswith("npz"):
            people = frozenset().union(*(item.people for item in sources))
            result = replace(sources[0], folder=output, what=what, people=people, shard=())
        hidden = result.hidden or "anonymous" in options
        result = replace(result, hidden=hidden, phases="phases" in options)
        if "shard" in options:
            result = replace(result, shard=(part, int(values["shard"][0][0])))
        return Step(use, options, values, folders, labels, sources, result, maps)

    def _sources(self, takes, target, here):
        """What the command takes of others; one that an option is for, where there is any."""
        if takes.startswith("promise "):
            promises = [item for item in here if item.what == "promise"]
            fit = [item for item in promises if getattr(item, OF_PROMISE.get(target, "shard"))]
            if target == "ensemble":
                fit = [item for item in promises if item.how != "probs"]
            if target == "islands":  # which were fitted to single predictions of named patients
                fit = [p for p in promises if p.how == "probs" and not (p.behind or p.hidden)]
            return [self.draw.choice(fit or promises)]
        if not takes.endswith("npz"):
            return []
        there = [item for item in here if (item.folder / takes).is_file()]
        first = self.draw.choice(there)

        def fits(item):
            alike = (item.behind, item.how, item.hidden) == (first.behind, first.how, first.hidden)
            if first.shard:
                return alike and item.shard == (first.shard[0], 3 - first.shard[1])
            return alike and not item.people & first.people

        fit = [*filter(fits, there)]
        if fit and (self.plain or (first.shard and self.draw.random() < 0.8)):
            return [first, fit[0]]
        second = self.draw.choice(fit if fit and self.draw.random() < 0.6 else there)
        return [first] if self.plain or self.draw.random() < 0.4 else [first, second]

    def _layout(self, use, target, takes, sources):
        """That of the option, or any that the command can read."""
        possible = [name for name, asked in LAYOUTS.items() if {*asked[:1]} <= {*OPTIONS[use]}]
        if sources and (self.plain or self.draw.random() < 0.7):  # as what calibrated was read
            ensemble = sources[0].how != "probs"
            possible = [name for name in possible if (name == "several") == ensemble]
        asked = [name for name, options in LAYOUTS.items() if target in options]
        if takes.endswith("npz") or not possible or (not asked and self.draw.random() < 0.6):
            return "nnunet"
        return asked[0] if asked else self.draw.choice(possible)

    def _options(self, use, target, layout, sources):
        """That which is tried, what it and the command need, those of the layout, and some others."""
        names, draw = {*OPTIONS[use]}, self.draw
        of_layouts = {name for several in LAYOUTS.values() for name in several}
        free = sorted(names - of_layouts - {"output", "forget"})
        asked = [target, *ALWAYS.get(use, ()), *LAYOUTS[layout]]
        asked += draw.sample(free, 0 if self.plain else min(len(free), draw.choice([0, 1, 2])))
        asked += [other for name in asked for other in WITH.get(name, ())]
        if sources and USES[use][0].startswith("promise "):
            fits = self.plain or draw.random() < 0.8
            for name, truth in OF_PROMISE.items():
                asked = [word for word in asked if word != name or not fits]
                asked += [name] * (fits and getattr(sources[0], truth))
        asked += ["pictures"] * (draw.random() < 0.8)
        options = []
        for name in asked:
            excluded = any(name in group and group & {*options} - {name} for group in ONE_OF)
            if name in names and not excluded:
                options.append(name)
        if not {"patients", "patient_pattern"} & {*options} and "patient_pattern" in names:
            options.append("patient_pattern")
        return {name for name in options if {*WITH.get(name, ())} & names <= {*options}}

    def _on(self, use, target, earlier):
        """A command on what an earlier one of the walk wrote."""
        folder, options, sources = earlier.result.folder, {target}, [earlier.result]
        if target == "forget":
            options |= {"salt", "output"} & {*earlier.values}
            values = {name: earlier.values[name] for name in sorted(options - {target})}
            cases = earlier.values.get("patients") == ["cases"]
            people = self.world.cases if cases else earlier.result.people
            person = min(name for name in people if name[:3] in earlier.result.people)
            values["forget"], sources = [person], earlier.sources
            return Step(use, options, values, [], None, sources, earlier.result)
        file = self.place / f"verdicts{self.number}.csv"
        table = pd.read_csv(folder / "triage.csv", dtype=str, keep_default_na=False)
        file.write_text(f"case,verdict,note\n{table['case'][0]},reject,\n")
        result = Made(self.place / "nothing", "verdicts", frozenset())
        return Step(use, options, {"verdicts": [str(file)]}, [], None, sources, result)

    def _of_run(self, use, target):
        """A fit to the walk's own copy of a run that is evaluated, beside earlier fits."""
        run = self.place / "run"
        if not run.exists():
            shutil.copytree(self.world.root / "run", run)
        options = self._options(use, target, "nnunet", [])
        values = self.world.values(options, "old", self.choose)
        if "calibrator" in values:
            values["calibrator"] = ["temperature_near"]
        folders = [run, "--cache_dir", run / "cache"]
        return Step(use, options, values, folders, None, [], Made(run, "run", frozenset()))

    def _output(self, values):
        self.number += 1
        own = f"own{self.number}"
        folder = self.place / (own if self.plain else self.draw.choice(["one", "two", own]))
        values["output"] = [str(folder)]
        return folder


def in_this_process(command, start=subprocess.run, **options):
    """A step of a run, without the seconds of its imports; git, which a record asks, is started."""
    if command[0] != sys.executable:
        return start(command, **options)
    with pytest.MonkeyPatch.context() as patch:
        return subprocess.CompletedProcess(command, run_words(patch, command[3:], Path.cwd()))


def contents(folder):
    """Every file by its place, without the time at which a log was written."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        str(name): b"" if name.name in ("log.json", "log.txt", "checks.json") else path.read_bytes()
        for name, path in files.items()
    }


def numbers_of(step):
    """Key → numbers that every way must agree on: of a promise, of a case of an audit, of a new case."""
    folder, result = step.result.folder, step.result
    whose, how = tuple(sorted(result.people)), (result.behind, result.how)
    structures, raters = tuple(step.values.get("structures", ())), "raters" in step.options
    if result.what in ("promise", "report"):
        file = folder / ("promise" if result.what == "report" else "") / "promise.json"
        record = json.loads(file.read_text()) if file.is_file() else {"kept": []}
        single = step.values.get("patients") == ["cases"]
        for kept in record["kept"]:
            key = [str(record.get(name, kept.get(name))) for name in DECIDING]
            yield ("kept", whose, *how, structures, single, *key), kept["values"]
    elif step.use == "promise_shard":  # beside files of an earlier audit, which stay
        return
    elif result.what == "audit" and (folder / "cases.csv").is_file():
        table = pd.read_csv(folder / "cases.csv", dtype={"case": str}).set_index("case")
        for case, row in table.iterrows() if not (result.hidden or raters) else ():
            for column in [name for name in table if name.startswith(("dice_", "brier_all"))]:
                yield ("audit", case, column, *how), [row[column]]
    elif result.what == "run":
        for file in folder.glob("calibrated/*/evaluation/cases.csv"):
            yield ("run", file.parts[-3]), [*pd.read_csv(file)["nll_all"]]
    elif result.what in ("triage", "applied") and step.sources[0].folder.exists():
        file = folder / {"triage": "triage.csv", "applied": "promised.csv"}[result.what]
        table = pd.read_csv(file, dtype={"case": str})
        for _, row in table.iterrows():
            yield ("volume", row["case"], row["structure"], *how), [row["volume_ml"]]


def same(numbers, other):
    close = {"rtol": 1e-5, "atol": 2e-6, "equal_nan": True}
    return len(numbers) == len(other) and np.allclose(numbers, other, **close)


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
        code, _ = run(*step.args)
        return code if isinstance(code, int) else 9

    return fork(work, draw.choice([1, 2, 3, 5, 8, 13, 21, 34, 55]))[0] < 0


def walked(walk, use, target, known, counts):
    """One command of a walk; what is wrong with it."""
    if (step := walk.step(use, target)) is None:
        return ""
    root, draw = walk.world.root, walk.draw
    output, backup = step.result.folder, walk.place.parent / "backup"
    shutil.rmtree(backup, ignore_errors=True)
    if output.exists():
        shutil.copytree(output, backup)
    alone = "--jobs 2" not in shlex.join(step.args)
    was_killed = draw.random() < KILLS and alone and killed(step, draw)
    aside = output.with_name(f".{output.name}.old")  # between two renames
    there = next((place for place in (output, aside) if was_killed and place.exists()), None)
    between = contents(there) if there else None
    before = snapshot(walk.place, root) if not was_killed else {}
    code, errors = run(*step.args)
    after = snapshot(walk.place, root) if not was_killed else {}
    problem = next(faults_of(step, code, errors, before, after, walk), "")
    refused = code in (1, 2) and "error: " in errors
    counts["commands"] += 1
    counts["refused"] += refused
    if was_killed and not problem:
        counts["kills"] += 1
        earlier = contents(backup) if backup.exists() else None
        now = contents(output) if output.exists() else None
        if between not in (earlier, now) and use != "calibrate_run":  # of two steps
            problem = "a kill left a mixture"
    if not problem and not refused:
        for name in step.options | {"output"} & {*step.values}:
            counts[f"{use} {name}"] += 1
        for key, numbers in numbers_of(step):
            if not same(known.setdefault(key, numbers), numbers):
                problem = f"{key} is {numbers}, elsewhere {known[key]}"
        if draw.random() < 0.25 and not problem and (output / ".written.json").is_file():
            problem = again(step, code)
        walk.steps.append(step)
    return f"{problem}: {shlex.join(step.args)}\n{errors[-1500:]}" if problem else ""


def tried(walk, use, target, known, counts):
    """Commands until one with the option goes on, the later ones plain; what is wrong with one."""
    name, problem = f"{use} {target}", ""
    before = counts[name]
    for walk.plain in (False, False, True, True):
        if counts[name] == before and not problem:
            problem = walked(walk, use, target, known, counts)
    return problem


def again(step, code):
    """The same command once more, over what it wrote and without it: the same files."""
    output = step.result.folder
    if "forget" in step.options:
        return ""
    written = json.loads((output / ".written.json").read_text())
    first = contents(output)
    if (other := run(*step.args)[0]) != code:
        return f"ended with {code}, then with {other}"
    if contents(output) != first:
        return "wrote other files the second time"
    if len(written) == 1 and step.use != "watch" and output not in {s.folder for s in step.sources}:
        shutil.rmtree(output)
        if run(*step.args)[0] != code or contents(output) != first:
            return "wrote other files where nothing was"
    return ""


def pairs_of(number):
    """Verb and option of each command of a walk, and before them what they act on."""
    shuffled = random.Random(SEED).sample(PAIRS, len(PAIRS))
    first = 6 * (number // 3) + (0, 1, 3)[number % 3]
    for use, name in (shuffled[k % len(PAIRS)] for k in range(first, first + 1 + number % 3)):
        yield from [NEEDS[name]] if name in NEEDS else []
        yield use, name


@pytest.mark.nightly
def test_walks_end_in_files_that_agree_or_in_one_line(tmp_path, monkeypatch):
    """In 1,000 each option is used five times at least; kills and repetitions change nothing."""
    print(f"SEED={SEED}")
    monkeypatch.setattr("nacl_monai.reports.style.paint", blank)
    monkeypatch.setattr(subprocess, "run", in_this_process)
    for name in ("world", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    world, known, wrong = World(tmp_path / "world"), {}, []
    file = Path(os.environ.get("COUNTS", tmp_path / "counts.json"))
    counts = Counter(json.loads(file.read_text()) if file.exists() else {})
    for number in range(FIRST, FIRST + WALKS):
        draw, place = random.Random(f"{SEED} {number}"), tmp_path / "walk"
        for name in (place, tmp_path / "here"):
            shutil.rmtree(name, ignore_errors=True)
            name.mkdir()
        monkeypatch.chdir(tmp_path / "here")
        walk = Walk(world, place, draw)
        for use, name in pairs_of(number):
            if problem := tried(walk, use, name, known, counts):
                wrong.append(f"SEED={SEED} FIRST={number} WALKS=1: {problem}")
                print(wrong[-1], flush=True)
                break
        if any((tmp_path / "here").iterdir()):
            wrong.append(f"SEED={SEED} FIRST={number}: wrote into the current folder")
        counts["walks"] += 1
        file.write_text(json.dumps(counts, indent=1, sort_keys=True))
    print(", ".join(f"{counts[name]} {name}" for name in ("walks", "commands", "refused", "kills")))
    few = [f"{use} {flag(name)}" for use, name in PAIRS if counts[f"{use} {name}"] < 5]
    assert not wrong, "\n".join(wrong)
    assert counts["walks"] < 1000 or not few, few


def test_each_kind_of_the_table_is_walked():
    """A new verb or kind fails here, a new option in the count of 1,000 walks."""
    uses = {use.name.lower() for use in Use}

    assert uses == USES.keys() - {"merge"}


PROMISE, AUDIT = (Made(Path("made"), what, frozenset("ab")) for what in ("promise", "audit"))
HALF = replace(AUDIT, shard=("old", 1))


@pytest.mark.parametrize(
    ("use", "sources", "changes", "reason"),
    [
        ("promise_apply", [PROMISE], {"people": frozenset("bc")}, "who calibrated is among"),
        ("triage_new", [PROMISE], {"behind": True}, "predictions of another model"),
        ("watch", [replace(PROMISE, how="ensemble")], {}, "predictions of another model"),
        ("promise_check", [replace(PROMISE, hidden=True)], {}, "names cannot be compared"),
        ("promise_sums", [HALF], {}, "half a study"),
        ("promise_sums", [HALF, HALF], {}, "half a study"),
        ("merge", [HALF, replace(HALF, shard=("else", 2))], {}, "half a study"),
        ("merge", [AUDIT, AUDIT], {}, "somebody counts twice"),
        ("merge", [AUDIT, replace(AUDIT, behind=True)], {}, "sums of two models"),
        ("merge", [AUDIT, replace(AUDIT, people=frozenset("c"), hidden=True)], {}, "names hidden"),
        ("maps", [], {}, "calibrated twice"),
        ("promise_sums", [HALF, replace(HALF, shard=("old", 2))], {}, ""),
        ("promise_apply", [PROMISE], {}, ""),
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
    maps = replace(PROMISE, behind=True) if use == "maps" else None
    options = {"calibrator"} if maps else set()
    step = Step(use, options, {}, [], None, sources, result, maps)
    walk = Walk(None, tmp_path / "walk", None)
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
