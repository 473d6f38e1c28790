"""The families of outer contours on the page have the numbers of the kept curves, by NumPy alone."""

from pathlib import Path

import numpy as np
import pytest

from tests.studies.pages import table_behind

DOCS = Path(__file__).parents[2] / "docs"
LOGITS = np.linspace(-16, 16, 200)
#: Margins up to all voxels, the position of 3 mm, and that of the threshold that no voxel reaches.
MARGINS, WITHIN, NONE = 7, 3, 201


def paths():
    """The position of the threshold within each margin, from no voxel to all, by family."""
    lowered = range(NONE, -1, -1)
    within = []
    for k in lowered:
        sixth = min(LOGITS[max(k, 1) - 1], 0.0) / 6 if k < NONE else 0.0
        beyond = max(k, 1, 1 + int(np.searchsorted(LOGITS, sixth - 1e-9)))
        within.append([k] * (WITHIN + 1) + [beyond] * (MARGINS - WITHIN - 1))
    for wide in range(WITHIN + 1, MARGINS):
        for k in range(within[-1][wide] - 1, -1, -1):
            within.append([*within[-1][:wide], k, *within[-1][wide + 1 :]])
    return {
        "threshold": [[k] * MARGINS for k in lowered],
        "margin": [[0] * wide + [NONE] * (MARGINS - wide) for wide in range(MARGINS + 1)],
        "threshold within 3 mm": within,
    }


def along(path, counts):
    shells = np.diff(counts, axis=-1, prepend=0)
    return sum(shells[:, np.array(path)[:, m], m] for m in range(MARGINS))


def divided(missed, sizes, whole, level):
    """Size and miss of the others' contour, of which 24 allow the level by conformal risk control."""
    rng, found = np.random.default_rng(0), []
    for order in (rng.permutation(len(missed)) for _ in range(200)):
        first, rest = order[:24], order[24:]
        rule = np.argmax((missed[first].sum(0) + 1) / 25 <= level + 1e-12)
        size = sizes[rest, rule].sum() / whole[rest].sum()
        found.append((size, missed[rest, rule].mean()))
    return np.mean(found, 0)


def numbers(file, level):
    """Size and miss of each family, (structures, 2)."""
    kept = np.load(file)
    owners, ml = kept["patients"], kept["spacings"].prod(1) / 1000
    member = np.array([(owners == name) / (owners == name).sum() for name in np.unique(owners)])
    found = {}
    for structure in range(2):
        parts = (kept[name][:, structure].astype(float) for name in ("hits", "counts", "sums"))
        hits, counts, sums = parts
        labeled = hits[:, 0, -1]
        whole = member @ (labeled * ml)
        for family, path in paths().items():
            missed = member @ (1 - along(path, hits) / labeled[:, None])
            sizes = member @ (along(path, counts) * ml[:, None])
            found.setdefault(family, []).append(divided(missed, sizes, whole, level))
        inside = sums[:, :, WITHIN] >= (1 - level) * sums[:, :1, WITHIN]
        cases, rule = np.arange(len(labeled)), inside.sum(1) - 1
        size = (member @ (counts[cases, rule, WITHIN] * ml)).sum() / whole.sum()
        missed = member @ (1 - hits[cases, rule, WITHIN] / labeled)
        found.setdefault("no control", []).append((size, missed.mean()))
    return found


@pytest.mark.slow
def test_families_on_the_page_are_those_of_the_kept_curves():
    """The means of three trainings, structure by structure."""
    files = sorted((DOCS / "results/hippocampus/promises/curves").glob("*/promise.npz"))
    page = (DOCS / "promise.md").read_text(encoding="utf-8").replace("*", "")
    rows = table_behind(page, "| level | contour | size | misses")

    assert (len(files), len(rows)) == (3, 8)
    for position, (_, family, size, missed) in enumerate(rows):
        level = 0.05 if position < 4 else 0.1
        means = np.mean([numbers(file, level)[family] for file in files], 0)
        assert size == " / ".join(f"{value:.2f}" for value in means[:, 0])
        assert missed == " / ".join(f"{100 * value:.1f}" for value in means[:, 1]) + " %"
