"""Synthetic evaluated runs that look like cardiac MRI: one overconfident, one calibrated.

Every session of tests imports this module, so it imports little before it is used.
"""

import hashlib
import json
import math
import shutil
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from nacl_monai import evaluations, paper

CLASSES = ("background", "RV", "myocardium", "LV")
REGIONS = ("all", "foreground")
BINS = 15


def write_run(
    folder: Path,
    temperature: float,
    *,
    cases: int = 7,
    size: int = 40,
    seed: int = 0,
    noise: float = 1.0,
) -> Path:
    """Writes RUN/evaluation with the numbers that a network of this temperature would give.

    The label is drawn from softmax(logits) and the network predicts softmax(logits / temperature):
    1 is calibrated by construction, less is overconfident.
    """
    import pandas as pd
    import torch

    from nacl_monai.metrics.fine_bins import FINE_BINS, fine_bin_indices

    rng = np.random.default_rng(seed)
    evaluation = folder / "evaluation"
    (evaluation / "maps").mkdir(parents=True)
    names = [f"{k:03d}" for k in range(1, cases + 1)]
    shape = (cases, len(REGIONS), 1 + len(CLASSES), BINS)
    counts, positives = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    confidences = np.zeros(shape)
    fine = {
        f"fine_{key}": np.zeros((*shape[:2], FINE_BINS), dtype)
        for key, dtype in (("counts", np.int64), ("excess", np.float64), ("errors", np.int64))
    }
    logit_sums, logit_counts = np.zeros((len(CLASSES),) * 2), np.zeros(len(CLASSES), np.int64)
    rows = []
    for n, case in enumerate(names):
        image, logits, label = heart(rng, size, sharpness=1.5 + 0.25 * n, noise=noise)
        probabilities = np.exp(logits / temperature)
        probabilities /= probabilities.sum(axis=0)
        prediction, top = probabilities.argmax(axis=0), probabilities.max(axis=0)
        hits = np.stack([prediction == label, *(label == c for c in range(len(CLASSES)))])
        claimed = np.stack([top, *probabilities])
        for r, mask in enumerate((np.ones_like(label, bool), label > 0)):
            for k in range(1 + len(CLASSES)):
                at = np.clip(np.ceil(claimed[k][mask] * BINS).astype(int) - 1, 0, BINS - 1)
                counts[n, r, k] = np.bincount(at, minlength=BINS)
                positives[n, r, k] = np.bincount(at, hits[k][mask], minlength=BINS)
                confidences[n, r, k] = np.bincount(at, claimed[k][mask], minlength=BINS)
            at = fine_bin_indices(torch.from_numpy(top[mask])).numpy()
            right = hits[0][mask]
            for key, weights in (
                ("counts", 1 + 0 * at),
                ("excess", top[mask] - right),
                ("errors", ~right),
            ):
                fine[f"fine_{key}"][n, r] = np.bincount(at, weights, minlength=FINE_BINS)
        row = {"case": case}
        for c, name in enumerate(CLASSES[1:], start=1):
            both = np.sum((prediction == c) & (label == c))
            row[f"dice_{name}"] = 2 * both / (np.sum(prediction == c) + np.sum(label == c))
            row[f"hd95_{name}"] = 1 + 3 * rng.random()
            promised = probabilities[c][prediction == c].sum()
            both = probabilities[c].sum() + np.sum(prediction == c)
            row[f"expected_dice_{name}"] = 2 * promised / both
        row["dice"] = np.mean([row[f"dice_{name}"] for name in CLASSES[1:]])
        for metric in ("hd95", "expected_dice"):
            row[metric] = np.mean([row[f"{metric}_{name}"] for name in CLASSES[1:]])
        gap = np.abs(positives[n] - confidences[n]).sum(axis=2) / counts[n].sum(axis=2)
        row["ece_foreground"], row["cece_foreground"] = gap[1, 0], gap[1, 1:].mean()
        of_label = np.take_along_axis(probabilities, label[None], axis=0)
        row["ece_all"], row["nll_all"] = gap[0, 0], -np.log(of_label).mean()
        rows.append(row)
        np.savez(
            evaluation / "maps" / f"{case}.npz",
            image=image.astype(np.float32),
            label=label.astype(np.uint8),
            prediction=prediction.astype(np.uint8),
            confidence=top.astype(np.float32),
            entropy=entropy(probabilities).astype(np.float32),
            slice=3 + n,
            classes=np.array(CLASSES),
        )
        for true in range(len(CLASSES)):
            logit_counts[true] += (label == true).sum()
            logit_sums[true] += np.abs(logits[:, label == true]).sum(axis=1) / temperature
    np.savez(evaluation / "logits.npz", classes=CLASSES, sums=logit_sums, counts=logit_counts)
    write_histogram(folder / "logit_histogram.npz", rng, logits.max(axis=0) / temperature)
    pd.DataFrame(rows).to_csv(evaluation / "cases.csv", index=False)
    record = {"set": "test", "split": hashlib.sha256(b"{}").hexdigest(), "settings": {}}
    (evaluation / "evaluation.json").write_text(json.dumps(record))
    np.savez(
        evaluation / "bins.npz",
        cases=np.array(names),
        regions=np.array(REGIONS),
        classes=np.array(["top-1", *CLASSES]),
        counts=counts,
        positives=positives,
        confidences=confidences,
        **fine,
    )
    return folder


def entropy(probabilities):
    logarithms = np.log(np.maximum(probabilities, 1e-30))
    return -(probabilities * logarithms).sum(axis=0) / np.log(len(probabilities))


def write_histogram(path, rng, largest, epochs=30):
    """Largest logits that grow towards their final size, as in a training."""
    edges = np.arange(-40, 201) / 4
    outer = [-np.inf, *edges, np.inf]
    grown = [1 - np.exp(-epoch / 8) for epoch in range(1, epochs + 1)]
    counts = [
        np.histogram(size * largest + rng.normal(0, 0.4, largest.shape), outer)[0] for size in grown
    ]
    np.savez(path, epochs=np.arange(1, epochs + 1), edges=edges, counts=np.array(counts))


def heart(rng, size, sharpness, noise):
    """A short-axis slice: image, logits that fall off at the walls, and a label drawn from them."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    y, x = y - rng.normal(0, 0.05), x - rng.normal(0, 0.05)
    radius = np.hypot(x, y) * size / 8
    right = np.hypot((x + 0.42) * 1.6, y) * size / 8
    wobble = np.kron(rng.normal(0, noise, (4, size // 8, size // 8)), np.ones((8, 8)))
    inner, outer = 1.2 * size / 40, 2.2 * size / 40
    logits = sharpness * np.stack(
        [np.minimum(radius - outer, right - outer), outer - right, 0 * radius, inner - radius]
    )
    logits[2] = sharpness * np.minimum(radius - inner, outer - radius)
    logits[1] -= sharpness * np.maximum(0, outer - radius)
    logits += wobble * 0.8
    label = (logits + smooth_gumbel(rng, logits.shape, width=size / 40)).argmax(axis=0)
    level = np.array([0.25, 0.85, 0.4, 0.9])[logits.argmax(axis=0)]
    image = np.hypot(level + rng.normal(0, 0.06, label.shape), rng.normal(0, 0.06, label.shape))
    return image, logits, label


def smooth_gumbel(rng, shape, width):
    """Gumbel noise with neighbors alike: each voxel's label keeps its exact probability."""
    from scipy.ndimage import gaussian_filter
    from scipy.stats import norm

    field = gaussian_filter(rng.normal(size=shape), (0, width, width))
    return -np.log(-np.log(norm.cdf(field / field.std()).clip(1e-12, 1 - 1e-12)))


def edit_cases(folder, edit):
    """Rewrites a run's ``cases.csv`` after a change of its table."""
    import pandas as pd

    path = folder / "evaluation" / "cases.csv"
    edit(pd.read_csv(path, dtype={"case": str})).to_csv(path, index=False)


def write_experiment(root, dataset, name, temperature, **options):
    """A run of the grid: its folder's name says what it is, and its summary of what data."""
    folder = write_run(root / dataset / name, temperature, **options)

    def edit(table):
        table.insert(1, "patient", [f"p{int(case) // 2}" for case in table["case"]])
        return table.assign(
            ece_union=1.1 * table["ece_foreground"], cece_union=1.2 * table["cece_foreground"]
        )

    edit_cases(folder, edit)
    summary = json.dumps({"dataset": dataset})
    (folder / "evaluation" / "summary.json").write_text(summary, encoding="utf-8")
    (folder / "split.json").write_text("{}", encoding="utf-8")
    return folder


def rename_cases(run, prefix):
    """The same cases of other patients."""
    edit_cases(
        run, lambda table: table.assign(**{k: prefix + table[k] for k in ("case", "patient")})
    )
    (run / "evaluation/bins.npz").unlink()


#: Enough of a grid for every table and figure: name and temperature.
EXPERIMENTS = {
    **{f"unet_dice_ce_seed{seed}": 0.4 + 0.02 * seed for seed in range(2)},
    **{f"unet_nacl_seed{seed}": 1.0 + 0.02 * seed for seed in range(2)},
    "unet_svls_seed0": 0.7,
    "unet_svls_sigma=1.0_seed0": 0.6,
    "unet_nacl_prior=gaussian_seed0": 1.1,
    "unet_nacl_penalty=l2_seed0": 1.2,
    "unet_nacl_space=softmax_seed0": 0.8,
    "unet_nacl_penalty_weight=0.2_seed0": 1.3,
    "attention_unet_nacl_seed0": 0.9,
    "unet_nacl_train_fraction=0.5_seed0": 0.85,
}


@pytest.fixture(scope="session")
def grid(tmp_path_factory):
    """Runs of ACDC for every table and figure, of a dataset of one's own those of the main table."""
    root = tmp_path_factory.mktemp("grid")
    for name, temperature in EXPERIMENTS.items():
        write_experiment(root, "acdc", name, temperature, cases=6, size=24, noise=1.3)
    for name in ("unet_dice_ce_seed0", "unet_nacl_seed0"):
        write_experiment(root, "hippocampus", name, EXPERIMENTS[name], cases=6, size=24, seed=4)
    (root / "acdc" / "probe").mkdir()
    return root


@pytest.fixture
def grid_copy(grid, tmp_path):
    """The same, for a test that changes it."""
    return Path(shutil.copytree(grid, tmp_path / "grid"))


#: What ``calibrator.json`` says where that matters: of which trainings an ensemble is.
CALIBRATORS = {"ensemble": {"members": {f"unet_nacl_seed{seed}": None for seed in range(2)}}}


@pytest.fixture(scope="session")
def calibrated_grid(grid, tmp_path_factory):
    """The same with what followed some runs of ACDC; read, never changed."""
    root = Path(shutil.copytree(grid, tmp_path_factory.mktemp("calibrated") / "grid"))
    for run in ("unet_dice_ce_seed0", "unet_nacl_seed0", "unet_nacl_seed1", "unet_svls_seed0"):
        followed = [("temperature_all", 1.3), ("temperature_union", 1.1)]
        for name, factor in (*followed, *([("ensemble", 0.9)] if run == "unet_nacl_seed0" else [])):
            temperature = EXPERIMENTS[run] * factor
            folder = root / "acdc" / run / "calibrated"
            # An evaluation of a calibrator has neither a split nor a histogram of its own.
            copy = write_experiment(folder, "acdc", name, temperature, cases=6, size=24, noise=1.3)
            copy.rename(folder / name)
            (folder / "acdc").rmdir()
            for file in ("split.json", "logit_histogram.npz"):
                (folder / name / file).unlink()
            (folder / name / "calibrator.json").write_text(json.dumps(CALIBRATORS.get(name, {})))
    return root


@cache
def _blank_png():
    from PIL import Image

    Image.new("RGB", (9, 9)).save(png := BytesIO(), "PNG")
    return png.getvalue()


def blank(_, file, *, format, **__):  # noqa: A002 - as matplotlib calls it
    """In place of `nacl_monai.reports.style.paint`, which takes most of the time: nothing."""
    content = b"<svg/>" if format == "svg" else _blank_png()
    file.write(content) if hasattr(file, "write") else Path(file).write_bytes(content)


@pytest.fixture
def unpainted(request, monkeypatch):
    """Pictures are drawn, but none of their pixels, unless a test asks for `painted`."""
    if "painted" not in request.fixturenames:
        monkeypatch.setattr("nacl_monai.reports.style.paint", blank)


@pytest.fixture
def painted():
    """For tests of pixels."""


@pytest.fixture(scope="session")
def reproduced(grid, tmp_path_factory):
    """Everything made of that grid, without pixels; read, never changed."""
    output = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nacl_monai.reports.style.paint", blank)
        paper.write_all([grid], output)
        paper.write_report([grid], output)
    return output


@pytest.fixture(scope="session")
def make_run():
    """`write_run`, for tests that need a run of their own."""
    return write_run


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Two run folders of the same seven cases; read, never changed."""
    root = tmp_path_factory.mktemp("runs")
    return [
        write_run(root / "ce_dice", temperature=0.4),
        write_run(root / "nacl", temperature=1.0),
    ]


@pytest.fixture
def copies(folders, tmp_path):
    """The same two folders for tests that damage them."""
    return [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in folders]


@pytest.fixture
def runs(folders):
    """The same two runs, read."""
    return evaluations.read_runs(folders, ["CE + Dice", "NACL"])


@pytest.fixture
def change_cases():
    """`edit_cases`."""
    return edit_cases


@pytest.fixture
def change_arrays():
    """Rewrites an NPZ file after a change of its dictionary of arrays."""

    def change(path, edit):
        with np.load(path) as archive:
            arrays = dict(archive)
        edit(arrays)
        np.savez(path, **arrays)

    return change


@pytest.fixture
def empty_foreground(change_arrays, change_cases):
    """Takes the foreground out of the first ``number`` cases of a run: no voxels, no errors."""

    def empty(folder, number):
        def without_voxels(arrays):
            for key in arrays:
                if arrays[key].ndim > 1:
                    arrays[key][:number, 1] = 0

        def without_errors(table):
            table.loc[: number - 1, ["ece_foreground", "cece_foreground"]] = np.nan
            return table

        change_arrays(folder / "evaluation" / "bins.npz", without_voxels)
        change_cases(folder, without_errors)

    return empty


def slow_curve(folder, region, class_name):
    """Accuracy, confidence and share per bin, pooled ECE and mean ECE, voxel sum by voxel sum."""
    with np.load(folder / "evaluation" / "bins.npz") as archive:
        r, k = list(archive["regions"]).index(region), list(archive["classes"]).index(class_name)
        counts, positives, confidences = (
            archive[key][:, r, k] for key in ("counts", "positives", "confidences")
        )
    cases, bins = counts.shape
    total = sum(int(counts[n, m]) for n in range(cases) for m in range(bins))
    accuracy, confidence, share, pooled = [], [], [], 0.0
    for m in range(bins):
        inside = sum(int(counts[n, m]) for n in range(cases))
        right = sum(int(positives[n, m]) for n in range(cases))
        claimed = sum(float(confidences[n, m]) for n in range(cases))
        accuracy.append(right / inside if inside else math.nan)
        confidence.append(claimed / inside if inside else math.nan)
        share.append(inside / total)
        if inside:
            pooled += inside / total * abs(right / inside - claimed / inside)
    errors = []
    for n in range(cases):
        error, size = 0.0, int(counts[n].sum())
        for m in range(bins):
            if counts[n, m]:
                inside = counts[n, m]
                gap = abs(positives[n, m] / inside - confidences[n, m] / inside)
                error += inside / size * gap
        errors.append(error)
    return accuracy, confidence, share, pooled, sum(errors) / cases, total
