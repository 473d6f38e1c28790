"""Commands that hand files to each other: what fits goes on, and what does not is one line.

A chain is drawn: how patients are known, what a promise or a calibrator is made of, and through which
files; the command that takes it; and at most one of the faults of a table. ``CHAINS`` says how many.
"""

import io
import json
import os
import random
import shlex
import shutil
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from itertools import count

import numpy as np
import pytest

from nacl_monai.cli import main
from nacl_monai.inference.records import own_checksum
from tests.bundles.conftest import BUNDLES
from tests.predictions.conftest import AFFINE, CLASSES, Study, save, write_json
from tests.promises.test_commands import blobs

CHAINS = int(os.environ.get("CHAINS", "1000"))
SEED = int(os.environ.get("SEED", "0"))
LEVEL = ("--level", "0.3", "--no-pictures")
HOWS, THROUGH = ("pattern", "table", "cases"), ("folders", "audit", "shards", "sites")
#: Faults of new predictions, of the promise or calibrator, and of the words: what the line says.
NEW = {
    "calibration case": "was fitted on",
    "calibration patient": "was fitted on",
    "other classes": "",
    "other voxels": "voxel is",
    "logits": "beyond 0 and 1",
    "labels": "these are labels",
    "NaN": "holds NaN",
    "no folder": "is not a folder",
}
MADE = {
    "edited": "is not as it was written",
    "crafted": "is not as it was written",
    "cut": "is damaged",
    "wrong type": "is not as it was written",
    "missing": "no such file",
}
WORDS = {
    "nobody's patients": "",
    "another calibrator": "calibrator",
    "another salt": "hidden",
    "no effect": "",
    "somebody's output": "did not write",
    "read from the output": "is read",
}
SUMS = {
    "missing shard": "give all shards",
    "twice": "",
    "flipped byte": "",
    "hidden and not": "differs from",
    "behind and not": "differs from",
    "other classes": "differs from",
    "under other names": "has the very sums of",
}


TRAINED = {
    "training patients": "trained the network",
    "other weights": "other weights",
    "image of a calibration patient": "was calibrated by",
    "another network": "is of the classes",
    **MADE,
}
#: Three sets of the phantom's people; its network is too small to be of use, and is quick.
SETS = {"train": (0, 1), "val": (2, 3, 4, 5), "test": (6,)}
SMALL = ("--networks::unet::channels", "[8,16]", "--networks::unet::strides", "[2]")


class World:
    """What chains are made of, each made once below a folder."""

    def __init__(self, root):
        self.root = root
        self.number = count()
        root.mkdir()
        names = [f"p{k:02d}_s{k % 3}" for k in range(20)]
        self.voxels = dict(zip(names, blobs(0, 20).values(), strict=True))
        self.names, self.new = names[:8], [names[k : k + 2] for k in (14, 16, 18)]
        rows = [f"{name},{name[:3]}" for name in [*names, "p03_s9"]]
        (root / "table.csv").write_text("\n".join(["case,patient", *rows]))
        for salt, digit in {"salt": "5", "other": "7"}.items():
            (root / f"{salt}.txt").write_text(64 * digit)
        self.study = cache(self._study)
        self.made = cache(self._made)
        self.trained = cache(self._trained)

    def _study(self, cases, kind="nnunet", fault=""):
        """The predictions of some cases, with a fault; each folder is written once."""
        change = {"logits": lambda probs: 5 * np.log(probs), "NaN": lambda probs: probs * np.nan}
        change = change.get(fault, np.asarray)
        pairs = ((name, self.voxels[old]) for name, old in cases)
        voxels = {name: (change(probs), label) for name, (probs, label) in pairs}
        place = self.root / f"study{next(self.number)}"
        classes = ("background", "edema", "core") if fault == "other classes" else CLASSES
        study = Study(place, voxels, {"labels": dict(zip(classes, range(3), strict=True))})
        folder = study.channels() if kind == "channels" or fault == "NaN" else study.nnunet()
        if fault == "other voxels":
            shutil.rmtree(folder)
            for name, (probs, _) in voxels.items():
                affine = AFFINE @ np.diag([2, 2, 2, 1])
                save(folder / f"{name}.nii.gz", np.moveaxis(probs, 0, -1), affine)
            write_json(folder / "dataset.json", study.dataset)
        return folder, study.labels

    def _trained(self, fault=""):
        """A run that was trained and evaluated, the words that name its data, and its promise."""
        from nacl_monai.phantoms import PHANTOMS

        place = self.root / f"trained{next(self.number)}"
        data = PHANTOMS["hippocampus"].write(place / "data", cases=12)
        run, promised = place / "run", place / "promise"
        names = {name: [f"person_{k:03d}" for k in SETS[name]] for name in SETS}
        run.mkdir()
        write_json(run / "split.json", names)
        args = ("hippocampus", data, "--run", run, "--bundles", BUNDLES, *SMALL)
        make("train", *args, "--max_epochs", "1")
        val = ["--cases_to_evaluate", "val", "--evaluation_dir", place / "val"]
        make("evaluate", *args, *val)
        make("promise", place / "val", *LEVEL, "--output", promised)
        make("evaluate", *args)
        if fault == "training patients":
            record = json.loads((promised / "promise.json").read_text())
            record["patients"] = record["cases"] = names["train"]
            write_json(promised / "promise.json", record | {"checksum": own_checksum(record)})
        if fault == "other weights":
            make("train", *args, "--max_epochs", "1", "--restart", "True", "--seed", "1")
            make("evaluate", *args)
        return run, data, promised

    def args(self, how, hidden, behind, word="--anonymous"):
        """What a command says of patients, of hidden names and of a calibrator."""
        named = {"pattern": ["--patient-pattern", r"(p\d+)_"], "cases": ["--patients", "cases"]}
        args = named.get(how, ["--patients", self.root / "table.csv"])
        args = [*args, *([word, self.root / "salt.txt"] * hidden)]
        return [*args, *(["--calibrator", self.made("calibrator")] * behind)]

    def _made(self, what, how="pattern", hidden=False, behind=False):
        """A folder of what was made of the calibration patients, or the calibrator of others."""
        place = self.root / f"made{next(self.number)}"
        args = self.args(how, hidden, behind) if what != "calibrator" else []
        cases = tuple((name, name) for name in self.names)
        if what == "calibrator":
            fitted_cases = tuple((name, name) for name in list(self.voxels)[10:14])
            fit = ["--method", "temperature", "--folds", "2", "--patient-pattern", r"(p\d+)_"]
            make("calibrate", *self.study(fitted_cases), *fit, "--no-pictures", "--output", place)
            return place / "calibrator.json"
        if what == "folders":
            make("promise", *self.study(cases), *args, *LEVEL, "--output", place)
        elif what == "audit":
            make("audit", *self.study(cases), *args, LEVEL[2], "--output", place)
        elif what in PARTS["shards"]:
            part = ["--shard", f"{what[-1]}/2"]
            make("audit", *self.study(cases), *args, *part, LEVEL[2], "--output", place)
        elif what in PARTS["sites"]:
            part = cases[:4] if what[-1] == "1" else cases[4:]
            kind = "nnunet" if what[-1] == "1" else "channels"
            make("audit", *self.study(part, kind), *args, LEVEL[2], "--output", place)
        else:
            parts = [self.made(part, how, hidden, behind) for part in PARTS[what]]
            files = [part / "promise.npz" for part in parts]
            make("promise", *files, *LEVEL, "--output", place)
        return place


PARTS = {"sums": ["audit"], "shards": ["shard1", "shard2"], "sites": ["site1", "site2"]}


def run(*args):
    """Runs a command; returns its exit code, or the traceback that it ended in, and its errors."""
    stderr = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(stderr):
        try:
            code = main([*map(str, args)])
        except SystemExit as end:  # of argparse, with a number; of inference, with a line
            code = end.code if isinstance(end.code, int) else 1
            stderr.write("" if isinstance(end.code, int) else str(end.code))
        except Exception:  # of MONAI, which the hook turns into a line
            sys.excepthook(*sys.exc_info())
            code = traceback.format_exc() if "Traceback" in stderr.getvalue() else 1
    return code, stderr.getvalue()


def make(*args):
    """Runs a command that must go on."""
    code, errors = run(*args)
    assert code == 0, (args, code, errors)


def snapshot(*roots):
    """Every file with its size and time."""
    files = (path for root in roots for path in root.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def spoilt(folder, fault, to):
    """A copy of what was made, with a fault."""
    file = shutil.copytree(folder, to) / "promise.json"
    record = json.loads(file.read_text())
    if fault == "missing":
        file.unlink()
    elif fault == "cut":
        file.write_text(file.read_text()[:-200])
    else:
        if fault == "edited":
            record["kept"][0]["values"][0] /= 2
        elif fault == "crafted":
            record = json.loads(json.dumps(record).replace('"anterior"', '"../../anterior"'))
        elif fault == "wrong type":
            record["kept"][0]["level"] = "small"
        record["checksum"] = record["checksum"] if fault == "edited" else own_checksum(record)
        file.write_text(json.dumps(record))
    return to


def applied_chain(world, draw, place):
    """A promise, by any way, and new predictions for which it holds unless there is a fault."""
    how, through = draw.choice(HOWS), draw.choice(["folders", *PARTS])
    hidden, behind = draw.random() < 0.3, draw.random() < 0.3
    table = draw.choice([NEW, MADE, WORDS])
    fault = draw.choice(list(table)) if draw.random() < 0.7 else ""
    folder = world.made(through, how, hidden, behind)
    cases = [(name, name) for name in draw.choice(world.new)]
    if fault == "calibration case":
        cases[0] = (world.names[3], cases[0][0])
    if fault == "calibration patient":
        cases[0] = ("p03_s9", cases[0][0])
    kind = draw.choice(["nnunet", "channels"]) if fault in ("", "calibration case") else "nnunet"
    new, labels = world.study(tuple(cases), kind, fault if table is NEW else "")
    new = {"labels": labels, "no folder": world.root / "nowhere"}.get(fault, new)
    patients_by = {"nobody's patients": "", "another calibrator": how}.get(fault, how)
    other = behind != (fault == "another calibrator")
    args = world.args(patients_by or "cases", hidden, other, "--salt")
    if fault == "nobody's patients":
        args = [word for word in args if word not in ("--patients", "cases")]
    if fault == "another salt":
        args = [*world.args(how, False, behind), "--salt", world.root / "other.txt"]
    if fault == "no effect":
        args += ["--margin", "2"]
    if table is MADE and fault:
        folder = spoilt(folder, fault, place / "spoilt")
    output = place / "output"
    if fault == "somebody's output":
        output.mkdir()
        (output / "mine.txt").write_text("mine")
    if fault == "read from the output":
        output = new.parent
    verb = draw.choice([["promise", "--apply"], ["triage"]])
    args += ["--no-pictures"] if verb == ["triage"] else []
    harmless = (fault == "calibration patient" and how == "cases") or (
        # whose new cases are need not be said, where a pattern travels or each is its own patient's
        fault == "nobody's patients" and how != "table" and not hidden
    )
    command = [*verb, folder, new, *args, "--output", output]
    return command, output, fault, table.get(fault), harmless


def joined_chain(world, draw, place):
    """Sums of shards or sites, which are joined unless there is a fault."""
    how, through = draw.choice(HOWS), draw.choice(["shards", "sites"])
    hidden, behind = draw.random() < 0.3, draw.random() < 0.3
    fault = draw.choice(list(SUMS)) if draw.random() < 0.7 else ""
    verb = draw.choice(["merge", "promise"])
    parts = [world.made(part, how, hidden, behind) for part in PARTS[through]]
    if fault == "missing shard":
        parts = [world.made("shard1", how, hidden, behind)]
    if fault == "twice":
        parts = [*parts, parts[0]]
    if fault == "hidden and not":
        parts[1] = world.made(PARTS[through][1], how, not hidden, behind)
    if fault == "behind and not":
        parts[1] = world.made(PARTS[through][1], how, hidden, not behind)
    if fault in ("other classes", "under other names"):
        names = [f"q{name[1:]}" for name in world.names[:4]]
        cases = tuple(zip(names, world.names[:4], strict=True))
        args = ["--patients", "cases", LEVEL[2], "--output", place / "other"]
        study = world.study(cases, fault=fault if fault == "other classes" else "")
        make("audit", *study, *args)
        parts = [world.made("site1", "cases"), place / "other"]
    name = "bins.npz" if verb == "merge" else "promise.npz"
    files = [part / name for part in parts]
    if fault == "flipped byte":
        content = bytearray(files[0].read_bytes())
        for _ in range(3):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        files[0] = place / name
        files[0].write_bytes(bytes(content))
    args = LEVEL if verb == "promise" else ()
    output = place / "output"
    # A flipped bit of a zip file's time or comment changes nothing that is read.
    harmless = None if fault == "flipped byte" else False
    return [verb, *files, *args, "--output", output], output, fault, SUMS.get(fault), harmless


def audited_chain(world, draw, place):
    """A calibrator, and predictions of others that are audited behind it."""
    fault = draw.choice(["", "", "calibration case", "other classes", "edited", "cut"])
    file = world.made("calibrator")
    cases = [(name, name) for name in draw.choice(world.new)]
    if fault == "calibration case":
        cases[0] = (list(world.voxels)[11], cases[0][0])
    study = world.study(tuple(cases), fault=fault if fault == "other classes" else "")
    if fault in ("edited", "cut"):
        text = file.read_text()
        file = place / "calibrator.json"
        edited = json.dumps({**json.loads(text), "nll": 0.01})
        file.write_text(edited if fault == "edited" else text[:-50])
    args = [*world.args("pattern", False, False), "--calibrator", file, LEVEL[2]]
    output = place / "output"
    return ["audit", *study, *args, "--output", output], output, fault, "", False


def trained_chain(world, draw, place):
    """A network that is trained and evaluated, what it promises, and images or an export."""
    verb = draw.choice(["infer", "export"])
    fault = draw.choice(list(TRAINED)) if draw.random() < 0.7 else ""
    own = fault if fault in ("training patients", "other weights") else ""
    run, data, promised = world.trained(own)
    if fault in MADE:
        promised = spoilt(promised, fault, place / "spoilt")
    if fault == "another network":
        study = world.study(tuple((name, name) for name in world.names), fault="other classes")
        promised = place / "promise"
        args = world.args("pattern", False, False)
        make("promise", *study, *args, *LEVEL, "--output", promised)
    person = fault != "image of a calibration patient"
    image = data / f"imagesTr/hippocampus_{11 if person else 4:03d}.nii.gz"
    output = place / "output"
    args = ["--run", run, "--bundles", BUNDLES, *SMALL, "--promise", promised]
    if verb == "infer":
        args = ["infer", "hippocampus", image, *args, "--output_dir", output]
    else:
        args = ["export", "hippocampus", *args, "--output", output / "bundle"]
    # Weights and the split are in the run: infer, of an image, compares weights alone.
    asked = {"infer": "training patients", "export": "image of a calibration patient"}
    return args, output, fault, TRAINED.get(fault), fault == asked[verb]


@pytest.mark.nightly
def test_chains_go_on_or_are_refused_in_one_line(tmp_path):
    """Whatever is handed on; what is refused leaves nothing, and nothing is written elsewhere."""
    world, draw = World(tmp_path / "world"), random.Random(SEED)
    wrong, refused = [], 0
    for number in range(CHAINS):
        place = tmp_path / f"chain{number}"
        place.mkdir()
        chain = draw.choice(
            [applied_chain] * 6 + [joined_chain, audited_chain] * 2 + [trained_chain]
        )
        args, output, fault, line, harmless = chain(world, draw, place)
        refused += bool(fault) and not harmless
        if problem := problem_of(args, output, tmp_path, fault, line, harmless):
            text = shlex.join(map(str, args))
            wrong.append(f"chain {number}, {fault or 'no fault'}: {problem}\n  {text}")
        shutil.rmtree(place)
    assert not wrong, "\n".join(wrong)
    assert CHAINS / 10 < refused < CHAINS * 0.9


def problem_of(args, output, root, fault, line, harmless):
    """What a command does that it should not; empty if nothing."""
    before, mine = snapshot(root), fault in ("somebody's output", "read from the output")
    code, errors = run(*args)
    after = snapshot(root)
    for path in before.keys() | after.keys():
        if before.get(path) != after.get(path) and (code or not path.is_relative_to(output)):
            return f"{path} is not as it was"
    expected = {None: code != 0, True: False, False: bool(fault)}[harmless]
    if isinstance(code, str) or (code != 0) != expected:
        return f"ended with {code}: {errors[-500:]}"
    if expected:
        last = errors.strip().splitlines()[-1]
        if "error: " not in last or (line or "") not in last:
            return f"says {last}"
        if output.exists() and not mine:
            return "left its output"
    return ""
