"""The waits of a user, a row each: ``python benchmarks/speed.py``, or ``make bench-speed``.

Prints a Markdown table: seconds of the processor on one thread, with imports where it is a whole
command, and the peak of memory above them; beside it what a peer takes for one of its numbers, as a
ratio. With ``--base FOLDER`` each row is measured with another checkout of this project, too, in turn.
With ``--against PAGE`` it fails where a ratio to a peer is a third worse than in the page's table.
``--rows`` chooses some, ``--size`` is that of the large case, ``--names`` and ``--shards`` are how many.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import verbs

HERE = Path(__file__).parents[1]
SMALL, CASES = (35, 51, 35), 20
Row = Callable[[Path], Any]


def smooth(classes: int, size: tuple[int, ...], radius: float) -> tuple[Any, Any]:
    """Probabilities (x, y, z, C) that are smooth, and the map of balls that they are of."""
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415

    rng, label = np.random.default_rng(0), np.zeros(size, np.uint8)
    for k in range(1, classes):
        center = [rng.uniform(0.15, 0.85) * n for n in size]
        squares = sum((x - c) ** 2 for x, c in zip(np.indices(size), center, strict=True))
        label[squares < (radius * rng.uniform(0.6, 1.4)) ** 2] = k
    odds = np.stack([gaussian_filter((label == k).astype("f4"), 1.2) for k in range(classes)], -1)
    noise = gaussian_filter(rng.normal(size=odds.shape).astype("f4"), (1, 1, 1, 0))
    odds = np.exp(1.5 * (np.log(odds + 1e-3) + noise))
    return odds / odds.sum(-1, keepdims=True), label


def save(folder: Path, probs: Any, label: Any) -> None:
    for name, voxels in (("probs", probs), ("labels", label)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / name / "case.nii")


def prepare(folder: Path, size: tuple[int, ...], names: int, shards: int) -> None:
    """Writes what the rows read."""
    verbs.DISTINCT = CASES
    shapes = ("small", SMALL, CASES), ("middle", (64, 256, 256), 16), ("large", size[::-1], 1)
    for name, shape, cases in shapes:
        (folder / name).mkdir()
        verbs.write(folder / name, shape, cases)
    people(folder / "people")
    save(folder / "mr", *smooth(4, (320, 320, 30), 40))
    save(folder / "many", *smooth(118, (96, 96, 40), 6))
    image = nibabel.load(folder / "large/probs/case000.nii")
    probs, label = np.asarray(image.dataobj), folder / "large/labels/case000.nii"
    save(folder / "bytes", np.rint(255 * probs).astype(np.uint8), nibabel.load(label).dataobj)
    save(folder / "half", np.zeros(1, np.uint8), nibabel.load(label).dataobj)
    (folder / "half/probs/case.nii").unlink()
    np.savez(folder / "half/probs/case.npz", probabilities=probs.T.astype(np.float16))
    arguments = [folder / "small/probs", folder / "small/labels", "--level", "0.2", "--output"]
    program = [sys.executable, "-m", "nacl_monai.cli", "promise", *arguments, folder / "promised"]
    subprocess.run(program, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    link(folder, names)
    shard(folder, shards)


def people(folder: Path) -> None:
    """Writes thirty labeled cases, and ten new ones."""
    folder.mkdir()
    verbs.DISTINCT = 40
    verbs.write(folder, SMALL, 40)
    verbs.DISTINCT = CASES
    for link in [*(folder / "new").iterdir()]:
        link.unlink()
    for case in range(30, 40):
        (folder / f"labels/case{case:03}.nii").unlink()
        (folder / f"probs/case{case:03}.nii").replace(folder / f"new/case{case:03}.nii")


def ran(*arguments: object) -> None:
    """A whole command, as in a process of its own, which must end well."""
    from nacl_monai.cli import main  # noqa: PLC0415

    sys.argv[1:] = [*map(str, arguments)]
    if code := main():
        raise SystemExit(code)


def command(verb: str, data: str, *options: str) -> Row:
    """Runs a whole command."""

    def run(folder: Path) -> None:
        places = [folder / data / name for name in ("probs", "labels")]
        ran(verb, *options, *places, "--output", f"{tempfile.mkdtemp(dir=folder)}/out")

    return run


def waited(run: Row) -> Row:
    """The seconds of the clock, where work is divided between processes."""

    def clocked(folder: Path) -> float:
        start = time.perf_counter()
        run(folder)
        return time.perf_counter() - start

    return clocked


def trained(folder: Path) -> None:
    """An epoch of 77 batches on the data of the demo, with all that comes before."""
    run = tempfile.mkdtemp(dir=folder)
    options = ["--max_epochs", "1", "--batch_size", "24", "--run", run, "--cache_dir", run]
    ran("train", "hippocampus", HERE / "demo/Task04_Hippocampus", *options)


def reported(folder: Path) -> None:
    places = [folder / "people" / name for name in ("probs", "labels", "new")]
    options = "--patients", "cases", "--output", f"{tempfile.mkdtemp(dir=folder)}/out"
    ran("report", *places[:2], "--new", places[2], *options)


def demonstrated(folder: Path) -> None:
    ran("demo", "--quick", "--output", f"{tempfile.mkdtemp(dir=folder)}/out")


def imported(_: Path) -> None:
    import monai.bundle  # noqa: F401, PLC0415


def applied(*arguments: str) -> Row:
    """Runs a command on the large case, by the promise of the small ones."""

    def run(folder: Path) -> None:
        files = folder / "promised/promise.json", folder / "large/new"
        ran(*arguments, *files, "--output", f"{tempfile.mkdtemp(dir=folder)}/out")

    return run


def timed(make: Callable[[Path], Callable[[], Any]], repeats: int = 15) -> Row:
    """The median of some repeats of what is made once."""
    return lambda folder: medians([make(folder)], repeats)[0]


def in_turn(*makes: Callable[[Path], Callable[[], Any]], repeats: int = 15) -> Row:
    """The first's median time as a ratio to the second's, in one process: two differ by a half."""

    def run(folder: Path) -> float:
        ours, theirs = medians([make(folder) for make in makes], repeats)
        return ours / theirs

    return run


def medians(functions: list[Callable[[], Any]], repeats: int) -> list[float]:
    """The median seconds of each, called one after the other in each repeat; the first is no repeat."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats + 1):
        for compute, spent in zip(functions, times, strict=True):
            start = time.process_time()
            compute()
            spent.append(time.process_time() - start)
    return [sorted(spent[1:])[repeats // 2] for spent in times]


def voxels() -> tuple[Any, Any]:
    import torch  # noqa: PLC0415

    probs = torch.randn(10, 4, 224, 224, generator=torch.Generator().manual_seed(0)).softmax(1)
    return probs, probs.argmax(1)


def our_ece(_: Path) -> Callable[[], Any]:
    from nacl_monai.metrics import calibration_bins  # noqa: PLC0415

    probs, labels = voxels()
    return lambda: [
        (bins.ece(), bins.cece()) for bins in [calibration_bins(probs, labels, num_bins=15)]
    ]


def their_ece(_: Path) -> Callable[[], Any]:
    from torchmetrics.functional import calibration_error  # noqa: PLC0415

    probs, labels = voxels()
    return lambda: calibration_error(probs, labels, "multiclass", n_bins=15, num_classes=4)


def curves(folder: Path) -> Callable[[], Any]:
    import torch  # noqa: PLC0415

    from nacl_monai.metrics.curves import curves_of_case  # noqa: PLC0415

    parts = (nibabel.load(folder / f"mr/{name}/case.nii").dataobj for name in ("probs", "labels"))
    probs, label = (torch.from_numpy(np.ascontiguousarray(np.asarray(part).T)) for part in parts)
    structures = {str(k): [k] for k in range(1, 4)}
    labels = [label == k for k in range(1, 4)]
    return lambda: curves_of_case(probs, labels, None, structures, (1, 1, 1), overlapping=False)


def loss(name: str) -> Callable[[Path], Callable[[], Any]]:
    def make(_: Path) -> Callable[[], Any]:
        import torch  # noqa: PLC0415

        from nacl_monai import losses  # noqa: PLC0415

        logits, labels = torch.randn(4, 4, 224, 224, requires_grad=True), voxels()[1][:4]
        function: Any = torch.nn.functional.cross_entropy
        if name != "torch":
            function = losses.NACLLoss(where=name)
        return lambda: function(logits, labels).backward()

    return make


def reading(folder: Path) -> Callable[[], Any]:
    return lambda: [probs.sum() for probs, _ in verbs.read(folder / "large")]


def names(folder: Path) -> None:
    """Finds so many cases, links to one."""
    from nacl_monai.predictions.finding import find  # noqa: PLC0415
    from nacl_monai.predictions.options import Options  # noqa: PLC0415

    find(folder / "named/probs", folder / "named/labels", Options())


def merging(folder: Path) -> None:
    """Merges so many shards of ten cases."""
    from nacl_monai import merge  # noqa: PLC0415

    merge(sorted((folder / "shards").glob("*.npz")))


def link(folder: Path, count: int) -> None:
    for kind in ("probs", "labels"):
        (folder / "named" / kind).mkdir(parents=True)
        (source,) = (folder / "mr" / kind).glob("*.nii")
        for k in range(count):
            os.link(source, folder / f"named/{kind}/case_{k:06}.nii")


def shard(folder: Path, count: int) -> None:
    from dataclasses import replace  # noqa: PLC0415

    import torch  # noqa: PLC0415

    from nacl_monai.metrics import CalibrationMetric  # noqa: PLC0415

    metric = CalibrationMetric(num_bins=15, regions=["near", "all"])
    probs = torch.rand(10, 3, 16, 16, 16).softmax(1)
    metric(probs, probs.argmax(1))
    record = metric.record([str(k) for k in range(10)])
    (folder / "shards").mkdir()
    for k in range(count):
        cases = [f"case_{k:06}_{case}" for case in range(10)]
        replace(record, cases=cases, definition={**record.definition, "shard": None}).write(
            folder / f"shards/{k:06}.npz"
        )


def peer(verb: str, name: str, data: str) -> Row:
    return lambda folder: verbs.PEERS[verb][name][0](folder / data)


PLAIN = "--no-pictures"
PROMISED = ("promise", "small", "--level", "0.2", PLAIN)
#: Rows of milliseconds → ours, and the peer with its name, whose process gives the ratio.
IN_TURN = {
    "ECE + CECE, 10×4×224²": (our_ece, "torchmetrics' ECE", their_ece),
    "NACL, forward and backward": (loss("everywhere"), "cross-entropy", loss("torch")),
    "NACL mixed, the same": (loss("mixed"), "cross-entropy", loss("torch")),
}
#: Row → what is measured, and the peer with its name.
ROWS: dict[str, tuple[Row, tuple[str, Row] | None]] = {
    "audit, 20 small cases": (command("audit", "small"), None),
    "audit, 20 small cases, no pictures": (command("audit", "small", PLAIN), None),
    "calibrate, the same": (
        command("calibrate", "small"),
        ("fiducio", peer("calibrate", "fiducio", "small")),
    ),
    "audit, large case, float32": (
        command("audit", "large", PLAIN),
        ("torchmetrics", peer("audit", "torchmetrics", "large")),
    ),
    "audit, large case, float16": (
        command("audit", "half", PLAIN),
        ("netcal", peer("audit", "netcal", "large")),
    ),
    "audit, large case, uint8": (
        command("audit", "bytes", PLAIN),
        ("MONAI", peer("audit", "MONAI", "large")),
    ),
    "audit, 118 classes 96×96×40": (command("audit", "many", PLAIN), None),
    "curves of one case, 320×320×30×4": (timed(curves), None),
    "audit --jobs 2, 16 cases 256×256×64, by the clock": (
        waited(command("audit", "middle", PLAIN, "--jobs", "2")),
        ("--jobs 1", waited(command("audit", "middle", PLAIN, "--jobs", "1"))),
    ),
    "promise, 20 small cases": (command(*PROMISED), ("MAPIE", peer("promise", "MAPIE", "small"))),
    "promise --apply, large case": (applied("promise", "--apply"), ("reading", timed(reading))),
    "triage, large case": (applied("triage"), ("reading", timed(reading))),
    "report, 30 + 10 small cases": (reported, None),
    "demo --quick": (demonstrated, None),
    "train, an epoch of 77 batches": (trained, ("importing MONAI", imported)),
    "names": (names, None),
    "merge": (merging, None),
    **{
        row: (timed(ours), (name, in_turn(ours, theirs)))
        for row, (ours, name, theirs) in IN_TURN.items()
    },
}


#: So many times the committed ratio to a peer is a regression; no time is compared.
WORSE = 4 / 3


def committed(page: Path) -> dict[str, float]:
    """Row → its ratio to the peer in the table of a page."""
    lines = [line.strip("| ").split("|") for line in page.read_text().splitlines()]
    found = {cells[0].strip(): re.match(r"×([\d.]+) ", cells[-1].strip()) for cells in lines}
    return {row: float(ratio[1]) for row, ratio in found.items() if row in ROWS and ratio}


def ratio_of(row: str, seconds: float, folder: Path) -> float:
    """That of a row's seconds to its peer's, which are measured now."""
    peer_seconds = measured(row, "peer", folder, HERE)[0]
    return peer_seconds if row in IN_TURN else seconds / peer_seconds


def compared(row: str, folder: Path) -> float:
    """The ratio of a row to its peer, both measured anew."""
    return ratio_of(row, measured(row, "ours", folder, HERE)[0], folder)


def measured(row: str, which: str, folder: Path, code: Path) -> tuple[float, float]:
    """Seconds and peak of the faster of two processes; where they print their own seconds, these."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(code)}
    command = [sys.executable, __file__, "--measure", row, which, str(folder)]
    turns = []
    for _ in range(2):
        process = subprocess.run(
            command, cwd=code, capture_output=True, text=True, env=environment, check=False
        )
        if process.returncode:
            print(f"{row}, {which}: {process.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            return float("nan"), float("nan")
        seconds, peak = map(float, process.stdout.split()[-2:])
        turns.append((seconds, peak))
    return min(turns)


def measure(row: str, which: str, folder: Path) -> None:
    """Measures a row in this process, and prints seconds and the peak above the imports in MiB."""
    import resource  # noqa: PLC0415

    warnings.simplefilter("ignore")
    import nacl_monai.audits.command  # noqa: F401, PLC0415

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    ours, other = ROWS[row]
    before = peak()
    found = (ours if which == "ours" or other is None else other[1])(folder)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    whole = sum(usage.ru_utime + usage.ru_stime for usage in used)
    print("\n", found if isinstance(found, float) else whole, peak() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, default=[512, 512, 64])
    parser.add_argument("--names", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=500)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[*ROWS], metavar="ROW")
    parser.add_argument("--base", type=Path, help="another checkout, measured beside this one")
    parser.add_argument("--against", type=Path, help="a page with the table of committed ratios")
    parser.add_argument("--folder", help="where the cases are written for a while")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure[:2], Path(options.measure[2]))
        return
    limits, worse = committed(options.against) if options.against else {}, []
    if options.against:
        options.rows = [row for row in options.rows if row in limits]
        if not options.rows:
            sys.exit(
                f"{options.against}: has no ratio of these rows; give the page with their table"
            )
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        # In a process of its own, since what it takes would count as a child's peak.
        arguments = folder, tuple(options.size), options.names, options.shards
        writing = get_context("spawn").Process(target=prepare, args=arguments)
        writing.start()
        writing.join()
        head = ["", "s", "MiB", "× base", "base, MiB", "peer", "× the peer"]
        print(f"| {' | '.join(head)} |\n| --- | {'---: | ' * 4}--- | ---: |", flush=True)
        for row in options.rows:
            seconds, peak = measured(row, "ours", folder, HERE)
            cells = [f"{seconds:.3g}", f"{peak:.0f}", "", "", "", ""]
            if options.base:
                before, base_peak = measured(row, "ours", folder, options.base)
                cells[2:4] = f"{seconds / before:.2f}", f"{base_peak:.0f}"
            if (other := ROWS[row][1]) is not None:
                ratio = ratio_of(row, seconds, folder)
                cells[4:] = other[0], f"{ratio:.2f}"
                limit = WORSE * limits.get(row, 0)
                # Twice, since the machine's pace varies; what failed has no ratio.
                if limit and not (ratio <= limit or compared(row, folder) <= limit):
                    worse.append(f"{row}: {ratio:.2f} × {other[0]}, in the table {limits[row]:.2f}")
            print(f"| {row} | {' | '.join(cells)} |", flush=True)
    if worse:
        sys.exit("a third slower than in the table, beside the peer: " + "; ".join(worse))


if __name__ == "__main__":
    main()
