"""A page of a large case beside that of an earlier commit, in one run: ``python benchmarks/viewer.py``.

The case is a CT of 512 × 512 × 300 voxels with an organ, which pages crop. Both pages are opened in
Chromium, which draws by software, in turn and three times. Seconds are those of the processor, so that
other processes do not count: until nothing runs any more after loading, and of a tick of the wheel. They
are counted twice: of scripts, which seem to lack what goes on when a promise is kept, as after
a volume is unpacked; and of all that the page's main thread does, with parsing and uploads. Prints each
turn to standard error, then a Markdown table of medians, and the load of the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from playwright.sync_api import sync_playwright

COMMIT = "1a9c7518"  # 0.4.0
TICKS, QUIET = 10, 20.0  # seconds without a script, which a busy machine may start late
TURNS = 3
COUNTED = ["ScriptDuration", "TaskDuration"]  # of scripts, of the main thread
WORDS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def write(folder: Path, size: tuple[int, ...]) -> None:
    """Writes the image, and probabilities of an organ whose box is half of it along each axis."""
    axes = np.ogrid[tuple(slice(-1, 1, complex(0, n)) for n in size)]
    away = np.sqrt(sum(axis.astype(np.float32) ** 2 for axis in axes))
    organ = np.rint(255 / (1 + np.exp(40 * (away - 0.5)))).astype(np.uint8)
    rng = np.random.default_rng(0)
    image = (100 * (away < 0.5) + rng.integers(-40, 40, size)).astype(np.int16)
    affine = np.diag([0.8, 0.8, 1.0, 1.0])
    new: Any = nibabel.Nifti1Image
    probs = new(np.stack([255 - organ, organ], -1), affine)
    probs.header.set_slope_inter(1 / 255, 0)
    for name, stored in (("probs/ct.nii", probs), ("images/ct_0000.nii", new(image, affine))):
        (folder / name).parent.mkdir()
        nibabel.save(stored, folder / name)


def page(folder: Path, root: Path, name: str) -> Path:
    """The page of the case by the code in a folder."""
    arguments = ["view", "probs", "--images", "images", "--output", name]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run(
        [sys.executable, "-m", "nacl_monai", *arguments], cwd=folder, env=environment, check=True
    )
    beside = [*(folder / name).glob("page_*.html")]
    return beside[0] if beside else folder / name / "page.html"


def measured(browser: Any, file: Path) -> list[float]:
    """The seconds until the first picture stands, and of a tick of the wheel, each in `COUNTED`."""
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def counted() -> Any:
        metrics = session.send("Performance.getMetrics")["metrics"]
        seconds = {entry["name"]: entry["value"] for entry in metrics}
        return np.array([seconds[name] for name in COUNTED])

    def settled() -> Any:
        now, before = counted(), np.full(2, -1.0)
        while now[0] != before[0]:
            time.sleep(QUIET)
            now, before = counted(), now
        return now

    tab.goto(file.absolute().as_uri(), timeout=0)
    # On a busy machine nothing may run for long before.
    tab.locator("#value", has_text="probability").wait_for(timeout=0)
    first = settled()
    tab.locator("canvas").first.scroll_into_view_if_needed()
    box = tab.locator(".stack canvas").first.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    before = settled()
    for _ in range(TICKS):
        tab.mouse.wheel(0, 100)
        tab.wait_for_timeout(300)
    ticks = settled() - before
    tab.close()
    print(file.parent.name, first, ticks / TICKS, file=sys.stderr, flush=True)
    return [*first, *(ticks / TICKS)]


def main() -> None:
    """Prints a row for each commit."""
    parser = argparse.ArgumentParser(prog="python benchmarks/viewer.py", description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--against", default=COMMIT, help=f"the earlier commit (default: {COMMIT})")
    chosen = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder, earlier = Path(place), Path(place) / "earlier"
        git = ["git", "-C", str(root), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", earlier, chosen.against], check=True)
        try:
            write(folder, tuple(chosen.size))
            pages = {
                name: page(folder, code, f"page_{name}")
                for name, code in ((chosen.against, earlier), ("now", root))
            }
        finally:
            subprocess.run([*git, "remove", "--force", earlier], check=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=WORDS)
        found: dict[str, list[list[float]]] = {name: [] for name in pages}
        load = os.getloadavg()[0]
        for name, file in TURNS * [*pages.items()]:
            found[name].append(measured(browser, file))
        browser.close()
    print("| | first picture, s of script | s of the main thread | ratio | a tick, ms of script |")
    print("| --- | ---: | ---: | ---: | ---: |")
    medians = {name: np.median(turns, axis=0) for name, turns in found.items()}
    for name, (script, thread, tick, _) in medians.items():
        ratio = thread / medians[chosen.against][1]
        print(f"| {name} | {script:.2f} | {thread:.1f} | ×{ratio:.2f} | {1000 * tick:.0f} |")
    print(f"\nLoad {load:.1f} before and {os.getloadavg()[0]:.1f} after.")


if __name__ == "__main__":
    main()
