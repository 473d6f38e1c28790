"""Small studies, written as each tool leaves its predictions."""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from nacl_monai.cli import main
from nacl_monai.metrics import CalibrationMetric

#: Axes of unlike length, turned and shifted, so that every mix-up of axes or places shows.
SHAPE = (9, 8, 7)
AFFINE = np.array([[0, 0, 3.0, -20], [-1.2, 0, 0, 30], [0, 1.5, 0, 7], [0, 0, 0, 1]])
CLASSES = {"background": 0, "anterior": 1, "posterior": 2}
REGIONS = {"background": 0, "whole": [1, 2], "posterior": [2]}
ALL = ("foreground", "union", "boundary", "all", "near")
#: The size of a voxel along x, y and z.
SPACING = (1.2, 1.5, 3.0)


@dataclass
class Study:
    """Cases by name: probabilities (C, x, y, z) and label (x, y, z); writes them below ``root``."""

    root: Path
    cases: dict
    dataset: dict = field(default_factory=lambda: {"labels": CLASSES})

    @property
    def labels(self):
        for case, (_, label) in self.cases.items():
            save(self.root / "labels" / f"{case}.nii.gz", label.astype(np.uint8))
        return self.root / "labels"

    def nnunet(self, folder="nnunet", beside=True, geometry=True, plans="SimpleITKIO"):
        """As ``nnUNetv2_predict --save_probabilities`` leaves them; a reader may turn the npz alone."""
        place = self.root / folder
        write_json(place / "dataset.json", {**self.dataset, "file_ending": ".nii.gz"})
        write_json(place / "plans.json", {"image_reader_writer": plans})
        for case in self.cases:
            self.npz(place, case, beside, geometry, "Reorient" in plans)
        return place

    def training(self, folder="training"):
        """As two folds of a training with ``--npz`` leave them."""
        place = self.root / folder
        write_json(place / "dataset.json", self.dataset)
        write_json(place / "plans.json", {"image_reader_writer": "SimpleITKIO"})
        for k, case in enumerate(self.cases):
            self.npz(place / f"fold_{k % 2}" / "validation", case)
        return place

    def alone(self, folder="alone"):
        """As TotalSegmentator copies them: npz and pkl alone."""
        for case in self.cases:
            self.npz(self.root / folder, case, beside=False)
        return self.root / folder

    def npz(self, place, case, beside=True, geometry=True, turn=False):
        place.mkdir(parents=True, exist_ok=True)
        probs = self.cases[case][0]
        stored = turned(probs) if turn else probs
        np.savez_compressed(place / f"{case}.npz", probabilities=stored.transpose(0, 3, 2, 1))
        if beside:
            shown = probs.argmax(0)
            if order := self.dataset.get("regions_class_order"):  # later over earlier
                shown = np.zeros(probs.shape[1:])
                for value, inside in zip(order, probs > 0.5, strict=True):
                    shown[inside] = value
            save(place / f"{case}.nii.gz", shown.astype(np.uint8))
        if geometry:
            (place / f"{case}.pkl").write_bytes(pickle.dumps({"sitk_stuff": itk(AFFINE)}))

    def channels(self, folder="channels", ending="", dataset=True, axis=-1):
        """A file with a channel per class for each case; ITK's vectors have them in the fifth axis."""
        for case, (probs, _) in self.cases.items():
            voxels = np.moveaxis(probs, 0, -1)
            voxels = voxels if axis == -1 else voxels[:, :, :, None]
            save(self.root / folder / f"{case}{ending}.nii.gz", voxels)
        if dataset:
            write_json(self.root / folder / "dataset.json", self.dataset)
        return self.root / folder

    def per_class(self, folder="per_class", name="{case}_{channel}", names=None):
        """A file per class for each case."""
        names = names or list(self.dataset["labels"])
        for case, (probs, _) in self.cases.items():
            for channel, values in zip(names, probs, strict=True):
                place = name.format(case=case, channel=channel)
                save(self.root / folder / f"{place}.nii.gz", values)
        write_json(self.root / folder / "dataset.json", self.dataset)
        return self.root / folder

    def metric(self, raters=None, **options):
        """The metric in memory; against several raters, of whom each has a label map of every case."""
        labels = {name: v for name, v in self.dataset["labels"].items() if v != 0}
        if raters:
            options["num_raters"] = len(raters)
        if not options.get("structures"):
            names = [name for name in labels if name != "ignore"]
            options["decisions"] = {name: [k] for k, name in enumerate(names, 1)}
        metric = CalibrationMetric(regions=ALL, **{"margin_spacing": SPACING, **options})
        for case, (probs, label) in self.cases.items():
            votes = np.stack([rater[case] for rater in raters.values()]) if raters else label[None]
            if options.get("structures"):
                votes = np.stack([np.isin(votes, v) for v in labels.values()], 1).astype(np.uint8)
            metric([probs], [votes if raters else votes[0]])
        return metric


def itk(affine):
    """An affine as ITK writes it, which runs left and posterior."""
    turned = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(turned[:3, :3], axis=0)
    return {
        "spacing": tuple(spacing.tolist()),
        "origin": tuple(turned[:3, 3].tolist()),
        "direction": tuple((turned[:3, :3] / spacing).ravel().tolist()),
    }


def turned(probs, affine=AFFINE):
    """Channels ``(x, y, z)`` whose axes run right, anterior, superior, as some readers turn them."""
    turn = nibabel.orientations.io_orientation(affine)
    return np.stack([nibabel.orientations.apply_orientation(p, turn) for p in probs])


def moved(millimeters):
    """`AFFINE` elsewhere, along x."""
    affine = AFFINE.copy()
    affine[0, 3] += millimeters
    return affine


def save(path, voxels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def softmax_cases(seed=0, cases=3, dtype=np.float32):
    rng = np.random.default_rng(seed)
    drawn = {}
    for k in range(cases):
        label = rng.choice(3, SHAPE, p=[0.6, 0.25, 0.15])
        logits = rng.normal(0, 1.5, (3, *SHAPE)) + 2 * (label == np.arange(3)[:, None, None, None])
        probs = np.exp(logits) / np.exp(logits).sum(0)
        drawn[f"patient{k // 2}_scan{k}"] = probs.astype(dtype), label
    return drawn


def sigmoid_cases(seed=0, cases=3):
    rng = np.random.default_rng(seed)
    drawn = {}
    for k in range(cases):
        label = rng.choice(3, SHAPE, p=[0.6, 0.25, 0.15])
        inside = np.stack([label > 0, label == 2])
        logits = rng.normal(0, 1.5, inside.shape) + 3 * inside - 1.5
        probs = 1 / (1 + np.exp(-logits))
        drawn[f"patient{k // 2}_scan{k}"] = probs.astype(np.float32), label
    return drawn


@pytest.fixture
def study(tmp_path):
    """Three cases of two people by softmax."""
    return Study(tmp_path, softmax_cases())


@pytest.fixture
def regions(tmp_path):
    """Three cases by sigmoid; "posterior" is a part of "whole"."""
    dataset = {"labels": REGIONS, "regions_class_order": [1, 2]}
    return Study(tmp_path, sigmoid_cases(), dataset)


def exit_code(command, args):
    """Of a command whose parser may end it."""
    try:
        return command([*map(str, args)])
    except SystemExit as ended:
        return ended.code


def undraw(patch):
    """Leaves the diagrams and pages out, which take longer than small cases."""
    for module in ("output", "command", "calibrate"):
        patch.setattr(f"nacl_monai.audits.{module}.draw_all", lambda *_: {})
    patch.setattr("nacl_monai.reports.write_page", lambda *_, **__: None)


@pytest.fixture
def undrawn(monkeypatch):
    """Nothing is drawn."""
    undraw(monkeypatch)


@pytest.fixture
def run(tmp_path, capsys, undrawn):  # noqa: ARG001
    """Runs ``nacl-monai audit``, or another, without drawing; returns exit code, output and errors."""

    def command(*args, verb="audit", output="audit"):
        code = main([verb, *map(str, args), "--output", str(tmp_path / output)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def audited(run, tmp_path):
    """Runs it without a fault; returns the folder of the audit."""

    def command(*args, output="audit"):
        code, _, err = run(*args, output=output)
        assert code == 0, err
        return tmp_path / output

    return command


@pytest.fixture
def fault_of(run, tmp_path):
    """Runs it on three cases, of which this one has a fault; returns its line, the only one."""

    def command(case, *args):
        code, out, err = run(*args)
        faults = [line for line in err.splitlines() if line.startswith("fault: ")]
        assert code == 1
        assert len(faults) == 1, err
        assert case in faults[0]
        assert len(pd.read_csv(tmp_path / "audit" / "cases.csv")) == 2
        assert "Mean over 2 cases" in out
        return faults[0]

    return command


@pytest.fixture
def refused(run, monkeypatch):
    """Runs it to an error, by default before a volume is read; returns the line, which says so."""
    monkeypatch.setattr("nacl_monai.progress.QUIET", 0.0)  # as in a terminal

    def command(message, *args, code=1, read=False):
        found, _, err = run(*args)
        *progress, line = err.splitlines()
        assert found == code
        assert line.startswith("error: ")
        assert message in line
        assert all(text.startswith("Auditing") or not text for text in progress)
        assert read == ("Auditing" in err)
        return line

    return command


def dice(mask, other):
    """Of two masks."""
    return 2 * (mask & other).sum() / (mask.sum() + other.sum())


def bins_of(folder):
    with np.load(folder / "bins.npz") as archive:
        return {key: archive[key] for key in archive}
