"""From folders to promises, from these to contours of new cases, and to the cases to look at."""

import json
import re
from dataclasses import replace
from html import unescape
from itertools import product

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.special import softmax
from scipy.stats import beta, norm

import nacl_monai
from nacl_monai.cli import main
from nacl_monai.inference.records import CONTOURS, MARGINS, of_least
from nacl_monai.metrics.curves import THRESHOLDS
from nacl_monai.posthoc import Calibrator, write_calibrator
from nacl_monai.posthoc.fit import Fit
from nacl_monai.promises import applied, fit, promise, read_curves, read_promise
from nacl_monai.promises.apply import empty_text
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control
from nacl_monai.promises.pictures import draw_case, draw_misses, draw_volumes, volume_intervals
from nacl_monai.promises.triage import _at_least
from nacl_monai.reports.style import OKABE_ITO
from nacl_monai.words import interval_text
from tests.predictions.conftest import AFFINE, CLASSES, REGIONS, SHAPE, Study, save, write_json
from tests.same import same_bits, same_values

SIZES = np.linalg.norm(AFFINE[:3, :3], axis=0)


def blobs(first, cases, seed=0):
    """Two structures, one beside the other, each with a border that is drawn somewhere nearby."""
    rng = np.random.default_rng([first, seed] if first else seed)  # nobody is drawn twice
    place = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    drawn = {}
    for k in range(first, first + cases):
        logits, label = [np.zeros(SHAPE)], np.zeros(SHAPE, int)
        for value, center in ((1, (2, 4, 3)), (2, (6, 4, 3))):
            away = rng.uniform(1.5, 2.5) - np.linalg.norm(place - center, axis=-1)
            logits.append(2 * away + rng.normal(0, 0.5, SHAPE))
            label[away + rng.normal(0, 0.4) > 0] = value
        probs = np.exp(logits) / np.exp(logits).sum(0)
        drawn[f"p{k // 2:02d}_scan{k}"] = probs.astype(np.float32), label
    return drawn


def chances(*shape, seed=0, low=0.0, high=1.0):
    """Probabilities (N, 2, …) that are all true, and the labels (N, …) that they let one draw."""
    rng = np.random.default_rng(seed)
    inside = rng.uniform(low, high, shape)
    return np.stack([1 - inside, inside], 1), (rng.uniform(size=shape) < inside).astype(int)


def promised_and_new(root, labeled, new, *more):
    """So many labeled cases with their promise, and the files of so many others; two of each patient."""
    old, files = (
        Study(root / name, blobs(*part))
        for name, part in (("old", (0, labeled)), ("new", (labeled, new, 1)))
    )
    command = ["promise", old.nnunet(), old.labels, *PATIENTS, "--output", root / "promise", *more]
    assert main([*map(str, command)]) == 0
    return root / "promise/promise.json", files


def anybodys(promised):
    """A promise that takes its own patients for new ones."""
    return replace(promised, cohort={}, images={})


FIGURES = ("misses", "sizes", "volumes")
PATIENTS = ["--patient-pattern", r"(p\d+)_"]
EACH = ["--patients", "cases"]
#: Level → the parameters of the Beta law of 8 patients.
FAILING = {0.2: (1, 8), 0.3: (2, 7)}
LEVELS = ["--level", "0.2", "0.3"]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Sixteen labeled cases of eight patients."""
    return Study(tmp_path_factory.mktemp("old"), blobs(0, 16))


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """Two cases of another patient."""
    return Study(tmp_path_factory.mktemp("new"), blobs(16, 2))


def run(output, *args):
    """Runs the command; returns the folder that it wrote."""
    assert main([*map(str, args), "--output", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def folder(old):
    """The folder of what was promised by the old study."""
    return run(old.root / "promise", "promise", old.nnunet(), old.labels, *LEVELS, *PATIENTS)


def test_command_promises_what_arrays_do(old, folder):
    """Whatever the order of axes, and of the same curves to the bit; it keeps what became of them."""
    how = {"spacing": SIZES, "classes": list(CLASSES), "cases": list(old.cases)}
    how["patients"] = [case[:3] for case in old.cases]
    curves = curves_of_arrays(*zip(*old.cases.values(), strict=True), **how)

    expected = fit(curves, [Control(0.2), Control(0.3)])
    read = read_promise(folder)

    for kept, other in zip(read.kept, expected.kept, strict=True):  # an affine rounds sizes
        sizes = [(each.size, each.size_low or 0, each.size_high or 0) for each in (kept, other)]
        assert kept.values == pytest.approx(other.values, rel=1e-12)
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-12)
        plain = {"values": [], "size": 0, "size_low": 0, "size_high": 0}
        assert replace(kept, **plain) == replace(other, **plain)
    assert read.patients == [f"p{k:02d}" for k in range(8)]
    for name in ("counts", "hits", "sums"):
        same_bits(getattr(read_curves(folder), name), getattr(curves, name), "integer sums")
    assert len(read.beside) == len(expected.beside)
    figures = {f"{name}.{ending}" for name in FIGURES for ending in ("png", "svg")}
    assert figures <= {file.name for file in folder.iterdir()}
    page = (folder / "page.html").read_text(encoding="utf-8")
    pictures = page.count("<img src=")
    assert pictures == page.count('<img src="data:image/png;base64,') == len(FIGURES) + 3


def test_folders_in_python_are_those_of_the_command(old, folder):
    found = nacl_monai.promise(
        old.nnunet(), old.labels, levels=[0.2, 0.3], patient_pattern=PATIENTS[1], compare=False
    )

    assert [*found.kept] == [*read_promise(folder).kept]


def test_arrays_say_whether_patients_were_given():
    """Who applies the promise must say so of the new ones, too."""
    inside, labels = discs(6)
    pair = two_classes(inside), labels
    options = {"levels": [0.4], "compare": False}

    assert promise(*pair, **options).known_by == "case"
    assert promise(*pair, **options, patients=list("abcdef")).known_by == "table"


def sets_of(kept, probs):
    """The contour of a structure by its definition, (x, y, z)."""
    channel = list(CLASSES).index(kept.structure)
    away = distance_transform_edt(probs.argmax(0) != channel, sampling=SIZES)
    thresholds = np.select([away <= margin for margin in MARGINS], kept.values)
    inside = probs[channel].astype(float) >= thresholds
    empty = kept.kind == "inner" and 4 * inside.sum() < (away == 0).sum()
    return np.zeros_like(inside) if empty else inside


def contours_in(folder, case, promised):
    """The image of each contour of a case, and what was promised of it."""
    for kept in promised.of_level(0.2):
        if kept.kind in ("outer", "inner"):
            yield nibabel.load(folder / f"{case}_{kept.kind}_{kept.structure}.nii.gz"), kept


def table_in(folder):
    """A row for each case and structure."""
    return pd.read_csv(folder / "promised.csv").set_index(["case", "structure"])


@pytest.mark.parametrize("layout", ["nnunet", "channels", "per_class", "alone"])
def test_applied_contours_are_the_sets_on_the_grid_of_the_input(new, folder, tmp_path, layout):
    """Voxel for voxel; the volumes and bounds follow from the probabilities."""
    place, voxel = getattr(new, layout)(), SIZES.prod() / 1000

    run(tmp_path / "applied", "promise", "--apply", folder / "promise.json", place, *PATIENTS)

    promised, table = read_promise(folder), table_in(tmp_path / "applied")
    for case, (probs, _) in new.cases.items():
        for image, kept in contours_in(tmp_path / "applied", case, promised):
            expected = sets_of(kept, probs)
            same_values(image.dataobj, expected)
            assert image.affine == pytest.approx(AFFINE, abs=1e-5)
            ml = table.loc[(case, kept.structure), f"{kept.kind}_ml"]
            assert ml == pytest.approx(expected.sum() * voxel, abs=1e-6)
        for kept in promised.of_level(0.2):
            row, channel = table.loc[(case, kept.structure)], list(CLASSES).index(kept.structure)
            inside, predicted = probs[channel], probs.argmax(0) == channel
            near = inside[distance_transform_edt(~predicted, sampling=SIZES) <= kept.margin].sum()
            if kept.kind == "volume":
                assert row["volume_ml"] == pytest.approx(near * voxel, abs=1e-5)
                ends = (near + 1) * np.exp([-kept.values[0], kept.values[0]]) - 1
                assert row["volume_low_ml"] == pytest.approx(max(ends[0], 0) * voxel, abs=1e-5)
                assert row["volume_high_ml"] == pytest.approx(ends[1] * voxel, abs=1e-5)
            if kept.kind == "dice":
                dice = 2 * inside[predicted].sum() / (predicted.sum() + near) - kept.values[0]
                assert row["dice_low"] == pytest.approx(np.clip(dice, 0, 1), abs=1e-5)


def test_turned_predictions_are_written_as_their_images_are(new, folder, tmp_path):
    """Where nnU-Net turned the axes before, and in millimeters along each of them."""
    turn = nibabel.orientations.io_orientation(AFFINE)
    place = new.nnunet("turned", plans="SimpleITKIOWithReorient")
    for case, (probs, _) in new.cases.items():
        turned = [nibabel.orientations.apply_orientation(channel, turn) for channel in probs]
        voxels = np.stack(turned).transpose(0, 3, 2, 1)
        np.savez_compressed(place / f"{case}.npz", probabilities=voxels)

    run(tmp_path / "turned", "promise", "--apply", folder, place, *PATIENTS)

    for case, (probs, _) in new.cases.items():
        for image, kept in contours_in(tmp_path / "turned", case, read_promise(folder)):
            same_values(image.dataobj, sets_of(kept, probs))


@pytest.fixture
def undrawn(monkeypatch):
    """A promise has no page."""
    monkeypatch.setattr("nacl_monai.promises.command.write_sections", lambda *_, **__: None)


@pytest.mark.usefixtures("undrawn")
def test_run_promises_what_its_evaluation_counted(folder, tmp_path):
    """As does the folder of another promise."""
    curves = read_curves(folder)
    curves.write(tmp_path / "run/evaluation/promise.npz")

    for source in (tmp_path / "run", folder):
        again = run(tmp_path / "promise", "promise", source, *LEVELS)
        assert read_promise(again).kept == read_promise(folder).kept


@pytest.mark.usefixtures("undrawn")
def test_promise_behind_a_calibrator_is_of_predictions_behind_it(old, new, tmp_path, capsys):
    """It is that of the calibrated probabilities, and new ones without it are refused."""
    fitted = Fit("temperature", {"temperature": 2.0}, 1.0, 0.9, 0.0, "all", ("q1",), 9)
    identity = (["q1"], "pattern", ["q1_scan0"], PATIENTS[1], "softmax", list(CLASSES))
    file = write_calibrator(tmp_path / "calibrator.json", Calibrator(fitted, *identity))
    args = [*PATIENTS, "--calibrator", file, "--level", "0.2"]
    place = run(tmp_path / "promise", "promise", old.nnunet(), old.labels, *args)
    promised = read_promise(place)
    assert capsys.readouterr().out.splitlines()[-1].count(f" --calibrator {file}") == 1  # next: …
    apply = ["promise", "--apply", place, new.nnunet()]

    table = table_in(run(tmp_path / "applied", *apply, *args))
    line = refusal([*apply, *PATIENTS, "--output", tmp_path / "without"], capsys)

    assert "behind temperature_all, but these are behind none" in line
    for case, (probs, _) in new.cases.items():
        softer = (torch.from_numpy(probs).log() / 2).softmax(0)
        for result in applied(promised, softer, SIZES):
            row = table.loc[(case, result.structure)]
            assert row["volume_ml"] == pytest.approx(result.expected, rel=1e-3)
            # Stored maps are rounded, so voxels cross the threshold.
            assert row["outer_ml"] == pytest.approx(result.volumes["outer"], rel=0.05)


def test_triage_lists_the_lowest_bounds_first(new, folder, tmp_path, capsys):
    """Whoever is in the budget is drawn, and a structure that is not predicted is the reason."""
    probs, label = next(iter(new.cases.values()))
    lost = probs.copy()
    lost[1] *= 0.1  # nowhere the most probable class
    lost[0] += 0.9 * probs[1]
    cases = blobs(20, 5, seed=3) | {"p99_scan1": (lost, label)}
    study = Study(tmp_path, cases)
    args = ["--budget", "20%", "--labels", study.labels, *PATIENTS]

    output = run(tmp_path / "triage", "triage", folder / "promise.json", study.nnunet(), *args)

    table = pd.read_csv(output / "triage.csv")
    assert table["dice_low"].is_monotonic_increasing
    assert table["look"].tolist() == ["yes"] * 2 + ["no"] * 4
    assert table["reason"].str.contains("not predicted|wide contours|its bound alone: Dice").all()
    assert table["volume_ml"].between(table["volume_low_ml"], table["volume_high_ml"]).all()
    apply = ["promise", "--apply", folder, study.nnunet(), *PATIENTS]
    applied = table_in(run(tmp_path / "applied", *apply))
    for _, row in table.iterrows():  # of the structure in the row, and not of all
        assert row["volume_ml"] == applied.loc[(row["case"], row["structure"]), "volume_ml"]
    reason = "anterior is not predicted, as for no calibration patient"
    assert table.loc[0, ["case", "reason"]].tolist() == ["p99_scan1", reason]
    share = "The worst tenth by Dice: 100% are among them, by chance 33%"
    assert share in capsys.readouterr().out
    page = (output / "page.html").read_text(encoding="utf-8")
    assert share in page
    assert re.findall('alt="(.*?): ', page) == table["case"][:2].tolist()
    listed = [*zip(table["case"], table["look"], strict=True)]
    assert re.findall('<th scope="row">(.*?)</th><td>(yes|no)', page) == listed
    # It needs no other file.
    assert page.count("<img src=") == page.count('<img src="data:image/png;base64,')


def test_page_says_what_is_promised_and_how_sure_it_is(old, folder):
    """A sentence for each outer contour; all numbers are those of the files."""
    page = unescape((folder / "page.html").read_text(encoding="utf-8"))
    read = read_promise(folder)
    often = {0.2: "4 of 5 patients", 0.3: "70% of patients"}

    verdict = page[page.index('class="verdict"') : page.index('class="note"')]
    sentences = re.findall("<p>(.*?)</p>", verdict)
    outer = [kept for kept in read.kept if kept.kind == "outer"]
    assert len(sentences) == len(outer) == 4
    for kept, sentence in zip(outer, sentences, strict=True):
        law = [round(100 * end) for end in beta.ppf([0.025, 0.975], *FAILING[kept.level])]
        says = f"{law[0]} to {law[1]}%"
        assert sentence == (
            f"In {often[kept.level]} at most 10% of {kept.structure} is outside the outer contour, "
            f"which encloses {interval_text(kept.size, kept.size_low, kept.size_high)} times the "
            "structure. Only 8 patients: too few to say much. Of 100 such calibrations by 8 patients, "
            f"95 fail in {says} of new patients."
        )
        plain = read.compared(kept, "margin")
        name = f"{kept.structure}, outer 10% in {often[kept.level]}"
        cells = (says, f"{kept.size:.2f}", f"{plain['size']:.2f}")
        assert f"{name}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) in page
    table = page[page.index("All promises") :]
    assert len(re.findall('scope="row"', table)) == len(read.kept)
    shown = re.findall(r'alt="(p\w+), missed [^"]* at most 10% in 4 of 5 patients\)"', page)
    assert page.count(", one of the 1 in 5 with more (") == 0  # of 8 nobody may fail
    assert len(shown) == 3
    assert {*shown} <= {*old.cases}
    assert "each case counts" not in page


def two_classes(inside):
    """Probabilities of a background and of a structure, for each case."""
    return np.stack([1 - inside, inside], 1)


def test_size_on_the_page_is_that_of_the_contours_that_it_writes(old, folder):
    """For the maps of those who calibrated, read from the files; a patient has two."""
    read, sizes = read_promise(folder), {}
    for name, (probs, label) in old.cases.items():
        for result in applied(anybodys(read), torch.from_numpy(probs), SIZES):
            true = (label == CLASSES[result.structure]).sum() * np.prod(SIZES) / 1000
            for kind, volume in result.volumes.items():
                of_patients = sizes.setdefault((result.structure, kind), {})
                of_patients.setdefault(name[:3], []).append((volume, true))

    for kept in read.of_level():
        if kept.kind in CONTOURS:
            parts = np.array(list(sizes[kept.structure, kept.kind].values())).mean(1)
            assert kept.size == pytest.approx((parts[:, 0] / parts[:, 1]).mean(), rel=1e-9)


def test_intervals_of_volumes_are_those_of_the_promise():
    inside, labels = discs(12)
    probs, patients = two_classes(inside), [f"p{min(k, 10)}" for k in range(12)]
    curves = curves_of_arrays(probs, labels, patients=patients)
    promised = fit(curves, [Control(0.2)])

    intervals = volume_intervals(curves, 0, Control(0.2), "within")

    for k, case in enumerate(probs):
        (result,) = applied(anybodys(promised), torch.from_numpy(case), (1.0, 1.0))
        assert intervals[k] == pytest.approx(result.volume)


def test_lines_of_volumes_that_are_cut_off_are_counted():
    """An axis ends at three times the largest true volume, as the page says; a title counts the rest."""
    inside, labels = discs(12)
    faint = labels.copy()
    faint[::2, :, 4:] = 0  # far less than is expected, so that intervals are wide
    for true in (labels, faint):
        curves = curves_of_arrays(two_classes(inside), true, patients=[f"p{k}" for k in range(12)])
        (axis,) = draw_volumes(curves, Control(0.2)).axes
        high = volume_intervals(curves, 0, Control(0.2), "within")[:, 1]
        top = axis.get_ylim()[1] / 1.05
        assert top == pytest.approx(min(high.max(), 3 * curves.volumes.max()))
        cut = (high > 1.05 * top).sum()
        assert axis.get_title().endswith(f", {cut} cut off above" if cut else "outside")
    assert cut > 0


def test_misses_are_drawn_with_the_threshold_that_is_promised(folder):
    """A line for each patient, of the worst case; those for whom it is too much are told apart."""
    promise = fit(read_curves(folder), [Control(0.3)])
    figure = draw_misses(promise.curves, Control(0.3))

    outer = [kept for kept in promise.kept if kept.kind == "outer"]
    for axis, kept in zip(figure.axes, outer, strict=True):
        *patients, most, chosen = axis.lines
        at = kept.values[0]
        assert chosen.get_xdata()[0] == pytest.approx(at, abs=1e-12)
        assert most.get_ydata()[0] == kept.miss
        assert len(patients) == len(promise.patients)
        missed = [line.get_ydata()[list(line.get_xdata()).index(at)] for line in patients]
        red = [line.get_color() == OKABE_ITO["vermillion"] for line in patients]
        assert [share > kept.miss + 1e-9 for share in missed] == red
        assert axis.get_title() == f"{kept.structure}: {sum(red)} of {len(red)} patients above"


def test_structure_that_nobody_has_is_promised_no_outer_contour(tmp_path):
    """It is said, and the promise is read as it was written; what else there is needs no structure."""
    inside, labels = discs(12)
    probs = np.stack([1 - inside, 0.9 * inside, 0.1 * inside], 1)

    promised = promise(probs, labels, levels=[0.2])
    read = read_promise(promised.write(tmp_path / "promise.json"))

    assert read.text() == promised.text()
    assert read.unpromised == [
        "No outer contour of class_2 is promised: 0 patients with class_2 are too few to promise 0.2; "
        "it takes 4, and 9 for contours of use."
    ]
    assert "nan" not in read.text()
    kinds = [kept.kind for kept in read.kept if kept.structure == "class_2"]
    assert kinds == ["inner", "volume", "dice"]
    page = promised.page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "No outer contour of class_2 is promised" in page
    two = applied(anybodys(read), probs[0], (1.0, 1.0))[1]
    assert [*two.contours] == ["inner"]


def test_case_without_image_is_refused_before_any_is_read(old, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    args = ["promise", old.nnunet(), old.labels, *LEVELS, *PATIENTS, "--images"]

    line = refusal([*args, tmp_path / "images", "--output", tmp_path / "p"], capsys)

    assert f"holds no image {next(iter(old.cases))!r}" in line
    line = refusal(["promise", "--apply", *args[1:], tmp_path, "--output", tmp_path / "p"], capsys)
    assert "--images: has no effect on new predictions and a promise.json" in line


def test_page_shows_contours_on_the_image(new, folder, tmp_path, capsys, monkeypatch):
    """Where it is on the grid of the prediction, whatever its values; a case without one is refused.

    Without images the text below says what is gray.
    """
    drawn, captions = [], []

    def draw(case, structures, image):
        figure = draw_case(case, structures, image)
        drawn.append(image)
        captions.append(figure.get_supxlabel())
        return figure

    monkeypatch.setattr("nacl_monai.promises.pictures.draw_case", draw)
    run(tmp_path / "triage", "triage", folder, new.nnunet(), "--budget", 2, *PATIENTS)
    assert len(captions) == 2
    assert all("largest probability" in caption for caption in captions)
    drawn, captions = [], []
    images, voxels = tmp_path / "images", np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE)
    for k, case in enumerate(new.cases):
        save(images / f"{case}_0000.nii.gz", voxels + k)
    args = ["triage", folder, new.nnunet(), "--images", images, "--budget", 2, *PATIENTS]

    table = pd.read_csv(run(tmp_path / "triage", *args) / "triage.csv")

    assert captions == ["", ""]
    for case, image in zip(table["case"], drawn, strict=True):
        same_values(image.T.ravel(), voxels.ravel() + list(new.cases).index(case))
    save(images / f"{case}_0000.nii.gz", np.zeros(SHAPE), AFFINE @ np.diag([2, 1, 1, 1]))
    assert case in refusal([*args, "--output", tmp_path / "elsewhere"], capsys)
    (images / f"{case}_0000.nii.gz").unlink()
    assert f"holds no image {case!r}" in refusal([*args, "--output", tmp_path / "none"], capsys)


def without(probs, label, floor):
    """The case of whom has no posterior, which has the same probability everywhere."""
    rest = np.stack([probs[0] + probs[2], probs[1]])
    inside = np.stack([*(rest * (1 - floor)), np.full(SHAPE, floor)])
    return inside.astype(np.float32), np.where(label == 2, 0, label)


@pytest.mark.usefixtures("undrawn")
def test_structure_that_is_rightly_absent_is_not_first(tmp_path):
    """It counts by how often that was right, whatever a floor of probability says far away."""
    old = blobs(0, 16)
    for k, case in enumerate(old):
        if k < 8:  # four of eight patients
            old[case] = without(*old[case], 0.02)
    study = Study(tmp_path / "old", old)
    args = [study.nnunet(), study.labels, *LEVELS, *PATIENTS]
    place = run(tmp_path / "promise", "promise", *args)
    new = blobs(20, 4, seed=5)
    probs, label = new["p10_scan20"]
    cases = new | {f"p9{k}_scan1": without(probs, label, k / 10) for k in range(3)}
    cases["p98_scan1"] = softmax(0.3 * np.log(probs), 0).astype(np.float32), label
    study = Study(tmp_path / "new", cases)

    triaged = run(tmp_path / "triage", "triage", place, study.nnunet(), *PATIENTS)

    promised, table = read_promise(place), pd.read_csv(triaged / "triage.csv").set_index("case")
    assert promised.absent == {"anterior": [0, 0], "posterior": [4, 4]}
    assert table.index[0] == "p98_scan1"
    for k in range(3):
        anterior, posterior = applied(promised, torch.from_numpy(cases[f"p9{k}_scan1"][0]), SIZES)
        row = table.loc[f"p9{k}_scan1"]
        assert not posterior.predicted
        assert row["dice_low"] == pytest.approx(min(anterior.dice, 4 / 5), abs=1e-6)
        assert _at_least(posterior, 1.0, promised) == 4 / 5  # one of five may be the first
        if anterior.dice > 4 / 5:
            assert row["reason"].endswith("right for 4 of 4 calibration patients")


def refusal(args, capsys, codes=(1, 2)):
    """The one line on standard error."""
    assert main([*map(str, args)]) in codes
    *_, line, end = capsys.readouterr().err.split("\n")  # behind the bars of what was read
    assert line.startswith("error: ")
    assert not end
    return line


def other_channels(new):
    place = new.nnunet("other")
    write_json(place / "dataset.json", {"labels": {"background": 0, "tumor": 1, "edema": 2}})
    return [place]


def one_less(new):
    fewer = {name: (p[:2] / p[:2].sum(0), label) for name, (p, label) in new.cases.items()}
    return [Study(new.root / "fewer", fewer).channels(dataset=False)]


def calibrators(new):
    return [Study(new.root / "again", blobs(3, 1)).nnunet()]


def unplaced(new):
    return [new.nnunet("nowhere", beside=False, geometry=False)]


def resized(new, scale):
    place = new.root / f"voxels_times_{scale}"
    for case, (probs, _) in new.cases.items():
        affine = AFFINE @ np.diag([scale, 1, 1, 1])
        save(place / f"{case}.nii.gz", np.moveaxis(probs, 0, -1), affine)
    return [place]


@pytest.mark.parametrize(
    ("arguments_of", "line"),
    [
        (other_channels, "is of background, tumor, edema by softmax, but what"),
        (one_less, "has 2 channels"),
        (calibrators, "was fitted on p01"),
        (unplaced, "no file beside it says where its voxels are"),
        (
            lambda new: [new.nnunet(), "--from-logits"],
            "as probabilities do; leave out --from-logits",
        ),
        (lambda new: resized(new, 2), "wide, but those of the calibration patients were"),
        (lambda new: resized(new, 0.5), "wide, but those of the calibration patients were"),
        (lambda new: [new.nnunet(), "--level", "0.25"], "--level: is 0.25, but promised are 0.2"),
        (lambda new: [new.nnunet(), "--miss", "0.2"], "--miss: is 0.2, but promised are 0.1"),
        (lambda new: [new.nnunet(), new.root], "NEW: is one folder"),
    ],
)
def test_promise_is_not_applied_to_what_it_is_not_of(
    new, folder, tmp_path, capsys, arguments_of, line
):
    """In one line, and nothing is written."""
    args = ["promise", "--apply", folder / "promise.json", *arguments_of(new), *PATIENTS]

    assert line in refusal([*args, "--output", tmp_path / "applied"], capsys)
    assert not (tmp_path / "applied").exists()


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ["--level", "0.05", *EACH],
            "16 patients are too few to promise 0.05; it takes 19, and 39 for contours of use, or a",
        ),
        (
            ["--level", "0.05", "--control", "mean", *EACH],
            "it takes 19, and 29 for contours of use",
        ),
        (["--control", "mean", "--miss", "0.1", *EACH], "--miss: has no effect on --control mean"),
        (["--miss", "1", *EACH], "--miss: is 1"),
        (["--level", "0.1", *PATIENTS], "8 patients are too few to promise 0.1; it takes 9"),
        (["--level", "0.1", "--control", "most", *EACH], "it takes 22"),
        (["--level", "0.2", "--control", "most", "--confidence", "2"], "--confidence: is 2"),
    ],
)
def test_promise_that_cannot_be_made_is_refused(old, tmp_path, capsys, args, line):
    """Before anything is written."""
    folders = [old.nnunet(), old.labels]

    assert line in refusal(["promise", *folders, *args, "--output", tmp_path / "p"], capsys)
    assert not (tmp_path / "p").exists()


def test_cases_that_count_as_patients_are_said(old, tmp_path, capsys):
    """Where no name looks like one of several; without pictures, the page says so, too."""
    plain = Study(tmp_path / "plain", dict(zip("abcdefgh", old.cases.values(), strict=False)))
    args = ["promise", plain.nnunet(), plain.labels, "--level", "0.3", "--no-pictures"]

    run(tmp_path / "p", *args)
    assert "note: each case counts as a patient" in capsys.readouterr().out
    page = (tmp_path / "p/page.html").read_text(encoding="utf-8")
    assert "each case counts as a patient" in page
    assert "<img" not in page
    assert not [*(tmp_path / "p").glob("*.png")]
    run(tmp_path / "p", *args, *EACH)
    assert "each case counts" not in capsys.readouterr().out


@pytest.mark.parametrize("budget", ["much", "-1", "0", "120%", "20%%"])
def test_budget_that_cannot_be_meant_is_refused(new, folder, tmp_path, capsys, budget):
    args = ["triage", folder, new.nnunet(), f"--budget={budget}", "--output", tmp_path / "t"]

    assert "--budget: is" in refusal(args, capsys)


def test_cases_below_a_bound_of_dice_are_those_to_look_at(new, folder, tmp_path, capsys):
    """All of them and no other; none is an answer, and two choices are refused."""
    args = ["triage", folder, new.nnunet(), *PATIENTS, "--no-pictures"]
    whole = pd.read_csv(run(tmp_path / "whole", *args) / "triage.csv")
    bound, names = whole["dice_low"].mean(), whole["case"].tolist()

    output = run(tmp_path / "below", *args, "--below", bound)

    table = pd.read_csv(output / "triage.csv")
    assert table["look"].tolist() == ["yes", "no"]
    assert (whole["dice_low"] < bound).tolist() == [True, False]
    text = (
        f"Look at 1 of 2 new cases, all with a bound of Dice below {bound:g}, in this order: "
        f"{names[0]}. Next would be {names[1]}, with Dice of at least {whole['dice_low'][1]:.3f}."
    )
    assert text in capsys.readouterr().out
    assert text in (output / "page.html").read_text(encoding="utf-8")
    run(tmp_path / "none", *args, "--below", 1e-9)
    none = "Look at none of 2 new cases: no bound of Dice is below 1e-09."
    assert none in capsys.readouterr().out
    both = [*args, "--below", 0.5, "--budget", 1, "--output", tmp_path / "both"]
    assert "--below: chooses cases, and so does --budget" in refusal(both, capsys)


def discs(cases, seed=0):
    """The probability of a disc, and a label of which the border is drawn nearby, of each case."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*[np.arange(20)] * 2, indexing="ij"), -1) - 9.5
    inside, labels = [], []
    for _ in range(cases):
        away = rng.uniform(4, 7) - np.linalg.norm(place, axis=-1)
        inside.append(norm.cdf(away).astype(np.float32))
        labels.append((away + rng.normal(0, 1) > 0).astype(int))
    return np.array(inside), np.array(labels)


def test_structures_that_overlap_and_bytes_are_promised_as_classes_are():
    """One structure by a sigmoid is one class beside a background; 255ths are read as such."""
    inside, labels = discs(20)
    stored = np.rint(255 * inside).astype(np.uint8)
    read = stored.astype(np.float32) / 255

    single = promise(inside[:, None], labels[:, None], structures=["class_1"], compare=False)
    pair = promise(two_classes(inside), labels, compare=False)
    in_bytes = promise(np.stack([255 - stored, stored], 1), labels, compare=False)
    as_floats = promise(two_classes(read), labels, compare=False)

    assert [*single.kept] == [*pair.kept]
    assert [kept.values for kept in in_bytes.kept] == [kept.values for kept in as_floats.kept]


def test_voxels_without_label_do_not_count():
    """By a mask, or by a value to ignore, whatever is predicted there."""
    inside, labels = discs(20)
    counts = np.ones_like(labels, bool)
    counts[:, :8] = False
    ignored = np.where(counts, labels, 255)
    probs = two_classes(inside)

    masked = curves_of_arrays(probs, labels, mask=counts)
    by_value = curves_of_arrays(probs, ignored, ignore_index=255)

    same_values(masked.counts, by_value.counts)
    same_values(masked.hits, by_value.hits)
    assert masked.counts[0, 0, 0, -1] == counts[0].sum()


def missed(outer, label):
    return 1 - label[outer].sum() / label.sum()


def test_contour_that_is_not_controlled_is_that_of_a_loop():
    """What the probabilities say misses a share."""
    inside, labels = discs(12)
    free = []
    for p, label in zip(inside, labels, strict=True):
        near = distance_transform_edt(p <= 0.5) <= 3
        for threshold in THRESHOLDS[::-1]:
            outer = near & (p >= threshold)
            if p[outer].sum() >= 0.9 * p[near].sum():
                free.append(missed(outer, label))
                break

    found = promise(two_classes(inside), labels, levels=[0.1], control="mean")

    rows = {(row["kind"], row["family"]): row for row in found.beside}
    assert rows["outer", "no control"]["risk"] == pytest.approx(np.mean(free))


def test_every_miss_and_level_is_promised_once(tmp_path):
    """A contour for each pair, a number for each level; it is applied at the smallest of both."""
    inside, labels = discs(12)
    probs, lists = two_classes(inside), {"levels": [0.3, 0.2], "misses": [0.1, 0.05]}
    promised = promise(probs, labels, **lists, compare=False)

    read = read_promise(promised.write(tmp_path / "promise.json"))

    contours = {(*pair, kind) for pair in product((0.2, 0.3), (0.05, 0.1)) for kind in CONTOURS}
    numbers = {(level, None, kind) for level in (0.2, 0.3) for kind in ("volume", "dice")}
    assert [*read.kept] == [*promised.kept]
    assert len(promised.kept) == len(contours | numbers)
    assert {(kept.level, kept.miss, kept.kind) for kept in promised.kept} == contours | numbers
    record = json.loads((tmp_path / "promise.json").read_text())
    least = [(row["level"], row["miss"], row["kind"]) for row in of_least(record["kept"])]
    assert least == [(kept.level, kept.miss, kept.kind) for kept in promised.of_level()]
    assert {*least} == {key for key in contours | numbers if key[:2] in ((0.2, 0.05), (0.2, None))}
    new = anybodys(promised), probs[0], (1.0, 1.0), 0.2
    outer = [applied(*new, miss)[0].volumes["outer"] for miss in (0.05, 0.1)]
    assert outer[0] >= outer[1]


@pytest.mark.parametrize("family", ["within", "threshold", "margin"])
def test_intervals_are_the_scores_in_their_order(family):
    """By hand: of 20 patients the 19th score, the ⌈21 · 0.9⌉-th, is that of a level of 0.1."""
    inside, labels = discs(20)
    scores, gaps = [], []
    for p, label in zip(inside.astype(float), labels, strict=True):
        predicted = p > 0.5
        near = {"within": distance_transform_edt(~predicted) <= 3}.get(family, p >= 0)
        volume = predicted.sum() if family == "margin" else p[near].sum()
        dice = 2 * p[predicted].sum() / (predicted.sum() + p[near].sum())
        true = 2 * (predicted & (label == 1)).sum() / (predicted.sum() + label.sum())
        scores.append(abs(np.log((label.sum() + 1) / (volume + 1))))
        gaps.append((1 if family == "margin" else dice) - true)

    promised = promise(two_classes(inside), labels, levels=[0.1], family=family)

    kept = {entry.kind: entry for entry in promised.kept}
    assert kept["volume"].values[0] == pytest.approx(sorted(scores)[18])
    assert kept["volume"].size == pytest.approx(np.exp(sorted(scores)[18]))
    assert kept["dice"].values[0] == pytest.approx(sorted(gaps)[18])
    assert kept["dice"].size == pytest.approx(sorted(gaps)[18] - np.mean(gaps))


def test_few_voxels_are_no_inner_contour_of_a_new_case():
    """Of a quarter of the predicted structure and more there is one, of less there is none."""
    inside, labels = discs(20)
    promised = promise(two_classes(inside), labels, levels=[0.2], compare=False)
    kept = [replace(kept, values=[0.9] * len(kept.values)) for kept in promised.kept]
    promised = replace(promised, kept=kept)
    new = np.full((20, 20), 0.1, np.float32)
    new[5:15, 5:15] = 0.501
    for row, expected in ((2, 0), (3, 30)):  # of 100 voxels, 20 and 30
        new[5 : 5 + row, 5:15] = 0.95
        (result,) = applied(promised, torch.from_numpy(np.stack([1 - new, new])), (1.0, 1.0))

        assert result.contours["inner"].sum() == expected


def test_useless_promise_says_so():
    """Where a network knows nothing, the contour holds everything."""
    rng = np.random.default_rng(0)
    inside = rng.uniform(0, 0.4, (20, 30, 30)).astype(np.float32)
    labels = np.zeros(inside.shape, int)
    labels[:, 3:6, 3:6] = 1

    promised = promise(two_classes(inside), labels, compare=False)

    assert promised.kept[0].size == pytest.approx(100, rel=0.2)  # fine bins
    assert "of no use: it takes more patients or a larger level" in promised.text()
    assert all(kept.margin in MARGINS for kept in promised.kept)


@pytest.mark.usefixtures("undrawn")
def test_overlapping_structures_of_a_folder_are_applied(tmp_path):
    """As nnU-Net's regions, with patients in a table."""
    cases = {}
    for case, (probs, label) in blobs(0, 7).items():
        cases[case] = np.stack([probs[1] + probs[2], probs[2]]), label
    pair = cases.pop("p03_scan6")
    old = Study(tmp_path / "old", cases, {"labels": REGIONS, "regions_class_order": [1, 2]})
    new = Study(tmp_path / "new", {"new_p00_scan0": pair}, old.dataset)
    args = ["--patients", tmp_path / "patients.csv"]
    rows = [f"{case},{case}" for case in (*cases, *new.cases)]
    args[1].write_text("\n".join(["case,patient", *rows]))

    place = run(tmp_path / "promise", "promise", old.nnunet(), old.labels, "--level", "0.3", *args)
    run(tmp_path / "applied", "promise", "--apply", place, new.nnunet(), *args)

    files = {file.name for file in (tmp_path / "applied").glob("*.nii.gz")}
    names = product(("outer", "inner"), ("whole", "posterior"))
    assert files == {f"new_p00_scan0_{kind}_{name}.nii.gz" for kind, name in names}


def test_empty_inner_contours_are_counted():
    """By structure; nothing is said where none is empty."""
    rows = [("a", "heart", 0.0), ("a", "lung", 2.0), ("b", "heart", 0.0)]
    table = pd.DataFrame(rows, columns=["case", "structure", "inner_ml"])

    assert empty_text(table) == [
        "Empty inner contours: 2 of heart. No voxel there can be promised to be the structure."
    ]
    assert empty_text(table[table["inner_ml"] > 0]) == []
