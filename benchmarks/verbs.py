"""The four verbs on files beside peers, in one run: ``python benchmarks/verbs.py``.

Cases have two balls, whose labels are drawn from probabilities p; the softmax of 2 log p is stored, so
the right temperature is 2. Each tool is a process of its own, on one thread, that reads the same files
(NIfTI without compression): seconds are those of the processor, memory is the peak, and both include the
imports. Ours are whole commands, with Dice, HD95, contours and pages; a peer computes one number.
Prints a Markdown table. MetricsReloaded, which PyPI lacks, is measured where
``pip install git+https://github.com/Project-MONAI/MetricsReloaded`` has put it.

``--size 512 512 300 --cases 1`` measures a large case, ``--cases 4 16`` the growth with their number:
those behind the fourth are links. A tool that asks for more than ``--memory`` fails by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

BINS, SLAB, DISTINCT = 15, 8, 4
#: Center and radius of each structure, as shares of the sides.
BALLS = (((0.35, 0.45, 0.5), 0.18), ((0.65, 0.6, 0.5), 0.1))


def drawn(size: tuple[int, ...], seed: int) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
    """Stored probabilities (3, n, y, z) and labels of some planes at a time."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(0, 0.02)
    axes = [np.arange(n, dtype=np.float32) / n for n in size]
    for start in range(0, size[0], SLAB):
        place = np.meshgrid(axes[0][start : start + SLAB], *axes[1:], indexing="ij")
        logits = [np.zeros_like(place[0])]
        for center, radius in BALLS:
            squares = sum((x - c) ** 2 for x, c in zip(place, center, strict=True))
            logits.append(30 * (radius + shift - np.sqrt(squares)))
        odds = np.exp(np.stack(logits))
        uniform = rng.random(place[0].shape, np.float32) * odds.sum(0)
        labels = (odds.cumsum(0)[:-1] < uniform).sum(0)
        yield odds**2 / (odds**2).sum(0), labels.astype(np.uint8)


def write(folder: Path, size: tuple[int, ...], cases: int) -> None:
    """Writes probabilities and labels, and new probabilities; those behind the fourth are links."""
    for name in ("probs", "new", "labels"):
        (folder / name).mkdir(exist_ok=True)
    for case in range(cases):
        places = [folder / f"{name}/case{case:03}.nii" for name in ("probs", "labels")]
        new = folder / f"new/new{case:03}.nii"
        if case >= DISTINCT:
            for file in (*places, new):
                file.symlink_to(file.with_stem(f"{file.stem[:-3]}{case % DISTINCT:03}"))
            continue
        for seed, files in ((case, places), (1000 + case, [new])):
            voxels = np.empty((3, *size), np.float32), np.empty(size, np.uint8)
            for n, parts in enumerate(drawn(size, seed)):
                planes = slice(n * SLAB, n * SLAB + len(parts[1]))
                for array, part in zip(voxels, parts, strict=True):
                    array[..., planes, :, :] = part
            for array, file in zip(voxels, files, strict=False):
                nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), file)


def read(folder: Path) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
    """Probabilities (3, z, y, x) and labels of each case."""
    for file in sorted((folder / "probs").iterdir()):
        images = map(nibabel.load, (file, folder / "labels" / file.name))
        yield tuple(np.array(np.asarray(image.dataobj), order="F").T for image in images)


def exact(folder: Path) -> str:
    """ECE in double precision, by definition."""
    counts, gaps = 0, np.zeros(BINS)
    for probs, label in read(folder):
        confidences = probs.max(0).ravel()
        bins = np.ceil(confidences * np.float32(BINS)).astype(int) - 1
        hits = (probs.argmax(0) == label).ravel()
        gaps += np.bincount(bins, confidences.astype(float) - hits, BINS)
        counts += len(bins)
    return f"ECE {np.abs(gaps).sum() / counts:.5f}"


def torchmetrics(folder: Path) -> str:
    import torch  # noqa: PLC0415
    from torchmetrics.classification import MulticlassCalibrationError  # noqa: PLC0415

    metric = MulticlassCalibrationError(num_classes=3, n_bins=BINS)
    for probs, label in read(folder):
        metric.update(torch.from_numpy(probs)[None], torch.from_numpy(label)[None].long())
    return f"ECE {metric.compute().item():.5f}"


def monai(folder: Path) -> str:
    """The error by class; its cost includes the one-hot labels that it needs."""
    import torch  # noqa: PLC0415
    from monai.metrics import CalibrationErrorMetric  # noqa: PLC0415

    metric = CalibrationErrorMetric(num_bins=BINS)
    for probs, label in read(folder):
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(label).long(), 3)
        metric(torch.from_numpy(probs)[None], one_hot.movedim(-1, 0)[None])
    return f"CECE {metric.aggregate().item():.5f}"


def metrics_reloaded(folder: Path) -> str:
    """Only the first structure, since it is binary."""
    from MetricsReloaded.metrics.calibration_measures import (  # noqa: PLC0415
        CalibrationMeasures,
    )

    inside, labels = (np.concatenate(part) for part in zip(*(
        (probs[1].ravel(), (label == 1).ravel()) for probs, label in read(folder)
    ), strict=True))  # fmt: skip
    both = np.stack([1 - inside, inside], 1)
    measures = CalibrationMeasures(both, labels.astype(int), dict_args={"bins_ece": BINS})
    return f"ECE {measures.expectation_calibration_error():.5f}, one structure"


def together(folder: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """All voxels of all cases, (N, C) and (N,), with no more than one case beside them."""
    files = sorted((folder / "probs").iterdir())
    voxels = np.prod(nibabel.load(files[0]).shape[:3])
    probs = np.empty((len(files), voxels, 3), np.float32)
    labels = np.empty((len(files), voxels), np.uint8)
    for case, (values, label) in enumerate(read(folder)):
        probs[case], labels[case] = values.reshape(3, -1).T, label.ravel()
    return probs.reshape(-1, 3), labels.ravel()


def netcal_ece(folder: Path) -> str:
    from netcal.metrics import ECE  # noqa: PLC0415

    return f"ECE {float(ECE(BINS).measure(*together(folder))):.5f}"


def netcal(folder: Path) -> str:
    """Its parameter is 1 / T; of float32 it fits nothing and returns 1."""
    from netcal.scaling import TemperatureScaling  # noqa: PLC0415

    probs, labels = together(folder)
    calibrator = TemperatureScaling(use_cuda=False)
    calibrator.fit(probs.astype(float), labels.astype(int), tensorboard=False)
    return f"T {1 / float(np.ravel(calibrator.temperature)[0]):.4f}"


def fiducio(folder: Path) -> str:
    import torch  # noqa: PLC0415
    from fiducio import TemperatureScaling  # noqa: PLC0415

    probs, labels = together(folder)
    logits, target = torch.from_numpy(probs).log_()[..., None], torch.from_numpy(labels).long()
    calibrator = TemperatureScaling(optimizer="lbfgs")
    calibrator.fit(logits, target[:, None])
    return f"T {calibrator.temperature:.4f}"


def level(cases: int) -> float:
    """The level that so many patients can promise, each tested by all others."""
    return min(0.5, 2 / cases)


def mapie(folder: Path) -> str:
    """A threshold for the recall of the first structure, without contours, margins or volumes."""
    from mapie.risk_control import SemanticSegmentationController  # noqa: PLC0415

    cases = len(list((folder / "probs").iterdir()))
    controller = SemanticSegmentationController(
        predict_function=lambda probs: probs,
        risk="recall",
        method="crc",
        target_level=1 - level(cases),
    )
    for probs, label in read(folder):
        truth = (label == 1).astype(int).reshape(1, -1)
        controller.compute_risks(probs[1].reshape(1, 1, -1, 1), truth.reshape(1, 1, -1, 1))
    controller.compute_best_predict_param()
    return f"p > {controller.best_predict_param[0]:.2f}"


def commands(folder: Path, cases: int) -> dict[str, list[str]]:
    """Ours, in an order in which each finds what it needs."""
    data = [str(folder / "probs"), str(folder / "labels")]
    promised = str(folder / "promise/promise.json")
    arguments = {
        "audit": [*data],
        "calibrate": [
            *(*data, "--region", "all", "--folds", str(min(5, cases))),
            *("--method", "temperature"),  # the peers' one
        ],
        "promise": [*data, "--level", str(level(cases))],
        "promise --apply": ["--apply", promised, str(folder / "new")],
        "triage": [promised, str(folder / "new")],
    }
    return {
        verb: [*verb.split()[:1], *options, "--output", str(folder / verb.replace(" --", "_"))]
        for verb, options in arguments.items()
    }


VERBS = ("audit", "calibrate", "promise", "promise --apply", "triage")
#: Verb → name of the peer → its function and the package that it needs.
PEERS = {
    "audit": {
        "exact": (exact, "numpy"),
        "torchmetrics": (torchmetrics, "torchmetrics"),
        "MONAI": (monai, "monai"),
        "netcal": (netcal_ece, "netcal"),
        "MetricsReloaded": (metrics_reloaded, "MetricsReloaded"),
    },
    "calibrate": {"fiducio": (fiducio, "fiducio"), "netcal": (netcal, "netcal")},
    "promise": {"MAPIE": (mapie, "mapie")},
}


def answer(folder: Path, verb: str) -> str:
    """The part of our output that a peer computes, too."""
    if verb == "audit":
        from nacl_monai.metrics import CalibrationBins  # noqa: PLC0415

        with np.load(folder / "audit/bins.npz") as sums:
            bins = CalibrationBins.from_arrays(sums)[:, list(sums["regions"]).index("all")]
        return f"ECE {bins.pooled().ece():.5f}"
    if verb == "calibrate":
        fitted = json.loads((folder / "calibrate/calibrator.json").read_text())
        return f"T {fitted['parameters']['temperature']:.4f}"
    return ""


def measured(command: list[str], memory: float, timeout: float) -> tuple[str, str, str]:
    """The last line that a process printed, its CPU seconds and its peak of memory in MiB."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    printed = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024  # KiB on Linux
    last = printed.strip().splitlines()[-1:] or [""]
    if process.returncode == 0:
        return last[0], f"{seconds:.1f}", f"{peak:.0f}"
    if "alloc" in printed or "MemoryError" in printed:
        return f"asks for more than {memory:.0f} GiB", "", ""
    if seconds >= timeout - 1:
        return f"not finished after {timeout:.0f} s", "", ""
    print(printed, file=sys.stderr)
    return f"failed with code {process.returncode}", "", ""


def table(options: argparse.Namespace, cases: int) -> None:
    """The rows of one number of cases."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, size = Path(name), "×".join(map(str, options.size))
        # In a process of its own, since what it takes would count as a child's peak.
        writing = get_context("spawn").Process(target=write, args=(folder, options.size, cases))
        writing.start()
        writing.join()
        print(f"| {cases} × {size} | | | | |", flush=True)
        for verb, arguments in commands(folder, cases).items():
            if verb not in options.verbs or (verb == "calibrate" and cases < 2):
                continue
            tools = {"ours": [sys.executable, "-m", "nacl_monai.cli", *arguments]}
            for peer, (_, package) in PEERS.get(verb, {}).items():
                if find_spec(package) is not None and not options.ours:
                    tools[peer] = [sys.executable, __file__, "--tool", verb, peer, name]
            for tool, command in tools.items():
                result, *numbers = measured(command, options.memory, options.timeout)
                if tool == "ours" and numbers[0]:
                    result = answer(folder, verb)
                row = " | ".join([verb, tool, result, *numbers])
                print(f"| {row} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, default=[128, 128, 128])
    parser.add_argument("--cases", type=int, nargs="+", default=[4])
    parser.add_argument("--verbs", nargs="+", default=[*VERBS], choices=VERBS)
    parser.add_argument("--ours", action="store_true", help="without peers")
    parser.add_argument("--memory", type=float, default=10.0, metavar="GIB")
    parser.add_argument("--timeout", type=float, default=900.0, metavar="SECONDS")
    parser.add_argument("--folder", help="where the cases are written for a while")
    parser.add_argument("--tool", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tool:
        warnings.simplefilter("ignore")
        verb, peer, folder = options.tool
        print(PEERS[verb][peer][0](Path(folder)))
        return
    # Children inherit both limits.
    for kind, limit in (("DATA", options.memory * 2**30), ("CPU", options.timeout)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (int(limit), int(limit)))
    print("| verb | tool | result | s | peak memory, MiB |\n| --- | --- | --- | ---: | ---: |")
    for cases in options.cases:
        table(options, cases)
    packages = {package for peers in PEERS.values() for _, package in peers.values()}
    if missing := sorted(package for package in packages if find_spec(package) is None):
        print(f"\nNot installed, and so not measured: {', '.join(missing)}.")


if __name__ == "__main__":
    main()
