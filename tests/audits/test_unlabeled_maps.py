"""`nacl-monai maps`: what tools saved of new cases, as images on the grids of these."""

import shutil
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import scipy
import torch

from nacl_monai.audits.maps import expected_rows
from nacl_monai.cli import main
from nacl_monai.evaluations.slices import certainty
from nacl_monai.files import checksum
from nacl_monai.inference.maps import behind_map
from nacl_monai.metrics.curves import read_curves
from nacl_monai.metrics.decisions import expected_dice
from nacl_monai.posthoc import read_calibrator
from nacl_monai.posthoc.probabilities import logits_of
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.images import Prediction, Probabilities
from nacl_monai.predictions.reading import Case, Reading, resampled
from tests.predictions.conftest import (
    AFFINE,
    CLASSES,
    SHAPE,
    SPACING,
    Study,
    exit_code,
    save,
    softmax_cases,
)
from tests.predictions.test_contract import LAYOUTS as LABELED_LAYOUTS
from tests.predictions.test_nnunet_sample import SAMPLE, SOFTMAX
from tests.same import same_bits, same_values

KINDS = ("probabilities", "confidence", "entropy", "label")


def voxels_of(file):
    return np.asarray(nibabel.load(file).dataobj)


@pytest.fixture
def calibrator(run, tmp_path):
    """Fits one to six cases; returns their study and the file."""

    def command(*args):
        fitted = Study(tmp_path, softmax_cases(cases=6))
        data = fitted.nnunet(), fitted.labels
        code, _, err = run(*data, *args, "--no-pictures", verb="calibrate", output="fitted")
        assert code == 0, err
        return fitted, tmp_path / "fitted" / "calibrator.json"

    return command


@pytest.fixture
def mapped(run, tmp_path):
    """Runs ``nacl-monai maps``, which must not find a fault; returns its folder."""

    def command(*args, output="maps"):
        code, _, err = run(*args, verb="maps", output=output)
        assert code == 0, err
        return tmp_path / output

    return command


LAYOUTS = {
    **LABELED_LAYOUTS,
    "nnU-Net without segmentation": lambda study: study.nnunet(beside=False),
    "nnU-Net turned": lambda study: study.nnunet(plans="NibabelIOWithReorient"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_label_map_is_that_of_the_tool_and_probabilities_are_as_stored(study, mapped, layout):
    """Bit by bit and on the image's own axes, of folders without labels in every layout."""
    folder = mapped(LAYOUTS[layout](study))

    for case, (probs, _) in study.cases.items():
        label = nibabel.load(folder / f"{case}_label.nii.gz")
        same_values(np.asarray(label.dataobj), probs.argmax(0))
        np.testing.assert_allclose(label.affine, AFFINE, atol=1e-5)
        stored = voxels_of(folder / f"{case}_probabilities.nii.gz")
        same_bits(stored, np.moveaxis(probs, 0, -1), "it is copied")
    assert len(list(folder.glob("*.nii.gz"))) == len(KINDS) * len(study.cases)


def test_table_says_what_is_expected_of_each_structure(study, mapped):
    """By NumPy and SciPy, and expected Dice as the audit has it."""
    table = pd.read_csv(mapped(study.nnunet()) / "maps.csv")

    assert len(table) == 2 * len(study.cases)
    for row in table.to_dict("records"):
        probs = study.cases[row["case"]][0].astype(np.float64)
        k = CLASSES[row["structure"]]
        predicted, ml = probs.argmax(0) == k, np.prod(SPACING) / 1000
        away = scipy.ndimage.distance_transform_edt(~predicted, sampling=SPACING)
        entropy = scipy.stats.entropy(probs, base=len(probs))
        expected = {
            "probability_sum": probs[k].sum(),
            "expected_ml": probs[k].sum() * ml,
            "volume_ml": predicted.sum() * ml,
            "confidence_near": probs.max(0)[away <= 3].mean(),
            "entropy_near": entropy[away <= 3].mean(),
            "islands": scipy.ndimage.label(predicted, np.ones((3, 3, 3)))[1],
            "expected_dice": expected_dice(probs[None], {"it": [k]}, spacing=SPACING).item(),
        }
        for name, value in expected.items():
            # Probabilities are in single precision, and distances are rounded.
            assert row[name] == pytest.approx(value, rel=1e-5), name


def test_slices_with_most_expected_errors_come_first(study, mapped):
    """By a loop over slices, in the axes of the image."""
    table = pd.read_csv(mapped(study.nnunet()) / "slices.csv")

    assert {*table["case"]} == {*study.cases}
    axis = int(np.argmax(SPACING)) if max(SPACING) >= 3 * sorted(SPACING)[1] else 2
    for case, rows in table.groupby("case"):
        probs = study.cases[case][0].astype(np.float64)
        near = scipy.ndimage.distance_transform_edt(probs.argmax(0) == 0, sampling=SPACING) <= 3
        sums = {}
        for k in range(probs.shape[1 + axis]):
            wrong = np.take(1 - probs.max(0), k, axis)[np.take(near, k, axis)].sum()
            if wrong > 0:
                sums[k] = wrong
        order = sorted(sums, key=lambda k: -sums[k])
        assert rows["slice"].tolist() == order
        assert {*rows["axis"]} == {axis}
        found = [sums[k] for k in order]
        np.testing.assert_allclose(rows["expected_errors"], found, rtol=1e-4)
        np.testing.assert_allclose(rows["share"], np.cumsum(found) / sum(found), rtol=1e-4)


def test_structure_that_is_not_predicted_has_a_sum_alone():
    """No voxel is near it; a floor of probability has a volume all the same."""
    probs = np.full((2, 4, 4, 4), 0.1, np.float32)
    probs[0] = 0.9
    predicted = Probabilities(probs, np.eye(4), Path("case"), Path("case"))
    channels = Channels("softmax", {"background": (0,), "it": (1,)})
    reading = Reading(Case("case", Prediction("case", {})), predicted, [], channels, 0.0)
    (row,) = expected_rows(reading, certainty(torch.from_numpy(probs)))

    assert row["probability_sum"] == pytest.approx(6.4, rel=1e-6)  # single precision
    assert (row["volume_ml"], row["islands"]) == (0, 0)
    assert np.isnan([row["expected_dice"], row["confidence_near"], row["entropy_near"]]).all()


@pytest.mark.parametrize("tool", [SOFTMAX, SAMPLE / "regions"])
def test_label_maps_are_those_that_nnunet_wrote(mapped, tool):
    """Softmax and regions, with the header of its segmentation.

    The sample was rounded to half precision afterwards, which leaves some voxels at exactly one half.
    """
    folder = mapped(tool)
    segmentations = [file for file in tool.rglob("*.nii.gz") if file.with_suffix("").suffix]

    assert segmentations
    for file in segmentations:
        ours = nibabel.load(folder / file.name.replace(".nii.gz", "_label.nii.gz"))
        probs = voxels_of(folder / file.name.replace(".nii.gz", "_probabilities.nii.gz"))
        sure = (probs != 0.5).all(-1)
        assert sure.mean() > 0.999
        same_values(np.asarray(ours.dataobj)[sure], voxels_of(file)[sure])
        same_bits(ours.affine, nibabel.load(file).affine, "it is copied")


def interpolated(volume, place, outside):
    """Eight corners, one by one; the nearest voxel up to one voxel away, nothing beyond two."""
    value = 0.0
    low = np.floor(place).astype(int)
    for corner in product((0, 1), repeat=3):
        at = low + corner
        weight = np.prod(np.where(corner, place - low, 1 - (place - low)))
        within = all(-1 <= k <= size for k, size in zip(at, volume.shape, strict=True))
        nearest = tuple(np.clip(at, 0, np.array(volume.shape) - 1))
        value += weight * (volume[nearest] if within else outside)
    return value


@pytest.mark.parametrize("overlapping", [False, True])
def test_maps_on_another_grid_are_those_of_a_plain_loop(
    study, regions, mapped, tmp_path, overlapping
):
    """Oblique, finer and larger than the prediction; what sums to 1 still does."""
    chosen = regions if overlapping else study
    turn = np.array([[0.9, -0.1, 0, 3], [0.1, 0.8, 0.05, -1], [0, -0.05, 0.7, -2], [0, 0, 0, 1]])
    affine, shape = AFFINE @ turn, (7, 13, 12)
    for case in chosen.cases:
        save(tmp_path / "images" / f"{case}_0000.nii.gz", np.zeros(shape, np.int16), affine)
    folder = mapped(chosen.nnunet(beside=False), "--reference", tmp_path / "images")

    to_source = np.linalg.inv(AFFINE) @ affine
    for case, (probs, _) in list(chosen.cases.items())[:1]:
        found = voxels_of(folder / f"{case}_probabilities.nii.gz")
        expected = np.empty((*shape, len(probs)))
        for place in np.ndindex(*shape):
            there = (to_source @ [*place, 1])[:3]
            for k, volume in enumerate(probs):
                outside = float(k == 0 and not overlapping)
                expected[(*place, k)] = interpolated(volume, there, outside)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        if not overlapping:
            np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
            label = nibabel.load(folder / f"{case}_label.nii.gz")
            same_values(np.asarray(label.dataobj), found.argmax(-1))
            np.testing.assert_allclose(label.affine, affine, atol=1e-5)


def test_reference_on_the_same_grid_changes_no_bit(study, mapped, tmp_path):
    """Nothing is interpolated; where no file says a place, the image does."""
    for case in study.cases:
        save(tmp_path / "images" / f"{case}.nii.gz", np.zeros(SHAPE, np.int16))
    plain = mapped(study.nnunet())
    placeless = study.nnunet("placeless", beside=False, geometry=False)
    for place in (study.nnunet(), study.alone(), placeless):
        folder = mapped(place, "--reference", tmp_path / "images", output=f"on_{place.name}")
        for case, kind in product(study.cases, KINDS):
            image, same = (nibabel.load(at / f"{case}_{kind}.nii.gz") for at in (folder, plain))
            same_bits(np.asarray(image.dataobj), np.asarray(same.dataobj), "it is copied")
            np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


def test_identity_of_grids_is_identity_of_voxels():
    """A law of interpolation; and constants stay constants wherever the old grid reaches."""
    voxels = np.random.default_rng(0).uniform(size=(4, 5, 6, 2)).astype(np.float32)
    same = resampled(voxels, AFFINE, voxels.shape[:3], AFFINE, [0, 0])
    np.testing.assert_allclose(same, voxels, atol=1e-6)
    finer = np.eye(4) * [0.3, 0.3, 0.3, 1]
    constant = resampled(np.full((4, 4, 4, 1), 0.7), np.eye(4), (11, 11, 11), finer, [0])
    np.testing.assert_allclose(constant, 0.7, atol=1e-6)


def test_maps_behind_a_calibrator_are_what_it_makes_of_the_logits(
    calibrator, run, mapped, tmp_path
):
    """Of new cases; those that it was fitted to are refused."""
    fitted, file = calibrator()
    new = Study(tmp_path / "new", {"other": softmax_cases(seed=7, cases=1)["patient0_scan0"]})
    folder = mapped(new.nnunet(), "--calibrator", file)

    probs = torch.from_numpy(new.cases["other"][0].transpose(0, 3, 2, 1).copy())
    module = read_calibrator(file).fit.module
    with torch.no_grad():
        expected = module(logits_of(probs)[None], spacing=[*SPACING[::-1]])[0].softmax(0)
    found = voxels_of(folder / "other_probabilities.nii.gz").transpose(3, 2, 1, 0)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert abs(found - probs.numpy()).max() > 0.01
    code, _, err = run(fitted.nnunet(), "--calibrator", file, verb="maps", output="refused")
    assert code == 1
    assert "who cannot test it" in err


@pytest.mark.parametrize(
    ("method", "sizes", "unlike"),
    [
        ("distance", (1.2, 1.5, 3.0), ""),
        (
            "distance",
            (1.2, 1.5, 10.0),
            "a voxel is 10 mm wide, but those of the calibration patients",
        ),
        ("distance", (0.5, 1.5, 3.0), "a voxel is 0.5 mm wide"),
        ("temperature", (1.2, 1.5, 10.0), ""),
    ],
)
def test_calibrator_by_distance_says_where_voxels_are_of_another_size(
    calibrator, run, tmp_path, method, sizes, unlike
):
    """In one line of all cases; a temperature has no distance."""
    _, calibrator_file = calibrator("--method", method)
    for k, (probs, _) in enumerate(softmax_cases(seed=7, cases=2).values()):
        file = tmp_path / "new" / f"new{k}.nii.gz"
        save(file, np.moveaxis(probs, 0, -1), np.diag([*sizes, 1.0]))
    shutil.copy(tmp_path / "nnunet" / "dataset.json", tmp_path / "new")

    behind = ["--calibrator", calibrator_file]
    code, _, err = run(tmp_path / "new", *behind, verb="maps", output="maps")

    assert code == 0
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == bool(unlike)
    assert unlike in err


def test_channels_are_counted_before_names_are_believed(tmp_path, mapped):
    """Two cases that end like classes of the model are two cases."""
    cases = dict(zip(["p041_anterior", "p041_posterior"], softmax_cases().values(), strict=False))
    study = Study(tmp_path, cases)

    folder = mapped(study.channels())

    for case, (probs, _) in cases.items():
        found = voxels_of(folder / f"{case}_probabilities.nii.gz")
        same_bits(np.moveaxis(found, -1, 0), probs, "each file is a case")


@pytest.mark.parametrize("verb", ["maps", "view"])
def test_numbers_behind_a_name_are_classes_without_a_word(verb, study, tmp_path, run):
    """As an audit knows by the labels."""
    place = study.per_class(names=["0", "1", "2"])
    (place / "dataset.json").unlink()

    code, out, err = run(place, verb=verb, output=verb)

    assert code == 0, err
    assert "one file per class, 3 cases" in out
    if verb == "maps":
        for case, (probs, _) in study.cases.items():
            found = voxels_of(tmp_path / "maps" / f"{case}_probabilities.nii.gz")
            same_bits(np.moveaxis(found, -1, 0), probs, "in the order of the numbers")


@pytest.mark.parametrize("verb", ["maps", "view"])
def test_bytes_that_are_percent_are_refused_without_labels(verb, tmp_path, run):
    """Each would be two fifths of its probability."""
    for case, (probs, _) in softmax_cases().items():
        percent = np.round(100 * probs).astype(np.uint8)
        percent[0] += (100 - percent.sum(0, dtype=int)).astype(np.uint8)
        save(tmp_path / "new" / f"{case}.nii.gz", np.moveaxis(percent, 0, -1))

    code, _, err = run(tmp_path / "new", verb=verb, output=verb)

    assert code == 1
    assert "reaches to 100, as percent do" in err


def test_bytes_that_may_be_no_255ths_are_warned_of_without_labels(regions, tmp_path, run):
    """Of structures that overlap, whose sum says nothing."""
    for case, (probs, _) in regions.cases.items():
        voxels = np.round(200 * probs).astype(np.uint8)
        save(tmp_path / "new" / f"{case}.nii.gz", np.moveaxis(voxels, 0, -1))
    shutil.copy(regions.nnunet() / "dataset.json", tmp_path / "new")

    code, _, err = run(tmp_path / "new", verb="maps", output="maps")

    assert code == 0, err
    assert "but bytes are taken for 255ths" in err


def test_maps_say_what_is_behind_them(calibrator, run, mapped, tmp_path):
    """A command behind a calibrator takes them, nothing calibrates twice, and none is of another."""
    _, file = calibrator()
    pairs = softmax_cases(seed=7, cases=6).values()
    new = Study(tmp_path / "new", {f"new{k}": pair for k, pair in enumerate(pairs)})
    maps = mapped(new.nnunet(), "--calibrator", file, output="maps")
    known = {"calibrator": "signed_distance_all", "calibrator_checksum": checksum(file)}
    for case in new.cases:
        save(tmp_path / "images" / f"{case}.nii.gz", np.zeros(SHAPE, np.int16))
    on_images = "--calibrator", file, "--reference", tmp_path / "images"
    for folder in (maps, mapped(new.nnunet(), *on_images, output="on_images")):
        record = behind_map(folder / "new0_probabilities.nii.gz")
        assert {key: record[key] for key in known} == known
    names = ["--dataset", new.nnunet() / "dataset.json", "--no-pictures"]
    stored, through = (
        run(*args[:1], new.labels, *args[1:], *names, output=name)
        for name, args in (("stored", [maps]), ("through", [new.nnunet(), "--calibrator", file]))
    )
    assert stored[0] == through[0] == 0
    ours, theirs = (read_curves(tmp_path / name).definition for name in ("stored", "through"))
    assert ours["calibrator"] == theirs["calibrator"] == [*known.values()]

    code, _, err = run(maps, new.labels, "--calibrator", file, output="twice")
    assert code == 1
    assert "went through signed_distance_all already" in err
    for verb in ("calibrate", "report"):
        line = run(maps, new.labels, verb=verb, output="twice")[2]
        assert "went through signed_distance_all already" in line
    assert not (tmp_path / "twice").exists()
    plain = mapped(new.nnunet(), output="plain")
    shutil.copy(plain / "new5_probabilities.nii.gz", maps)
    assert "new5_probabilities.nii.gz: went through another" in run(maps, new.labels, output="x")[2]


def test_folds_are_one_model(study, mapped, tmp_path):
    """The mean of their probabilities."""
    other = Study(tmp_path / "other", softmax_cases(seed=3))
    folder = mapped(study.nnunet(), other.nnunet(), "--ensemble")

    for case in study.cases:
        mean = (study.cases[case][0] + other.cases[case][0]) / 2
        found = voxels_of(folder / f"{case}_probabilities.nii.gz")
        np.testing.assert_allclose(found, np.moveaxis(mean, 0, -1), atol=1e-6)


def test_threshold_is_of_each_structure(study, mapped):
    """Also of a union of classes."""
    args = ["--threshold", 0.3, "--structures", "whole=1,2", "posterior=2"]
    folder = mapped(study.nnunet(), *args)

    for case, (probs, _) in study.cases.items():
        for name, inside in (("whole", probs[1:].sum(0)), ("posterior", probs[2])):
            found = voxels_of(folder / f"{case}_above_{name}.nii.gz")
            same_values(found, inside >= np.float32(0.3))


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--threshold", "1.5"], "--threshold: is 1.5; give a probability above 0, at most 1"),
        (["--reference", "images"], "holds no image 'patient0_scan0'; add it, or leave out --ref"),
        ([], "says where its voxels are; add the .pkl or the segmentation, or give the images"),
        (["--labels", "l"], "no such option of nacl-monai"),
    ],
)
def test_what_cannot_be_mapped_is_refused(study, tmp_path, args, line, capsys):
    """Nothing is written."""
    args = [tmp_path / word if word == "images" else word for word in args]
    (tmp_path / "images").mkdir()
    place = study.nnunet(beside=False, geometry=False)
    assert exit_code(main, ["maps", place, *args, "--output", tmp_path / "maps"])
    assert line in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_case_with_a_fault_is_named_and_the_others_have_maps(study, run, tmp_path):
    """The exit code is 1."""
    place, (case, *_) = study.nnunet(), study.cases
    (place / f"{case}.npz").write_bytes(b"damaged")
    code, out, err = run(place, verb="maps", output="maps")

    assert code == 1
    assert f"fault: {place / case}.npz" in err
    assert f"wrote 8 maps: {tmp_path / 'maps'}/CASE_probabilities.nii.gz" in out
    assert not list(Path(tmp_path / "maps").glob(f"{case}_*"))
