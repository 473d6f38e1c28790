"""An audit of saved files has the numbers of the metric in memory, whatever wrote the files."""

import json
import pickle
from itertools import permutations

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK

from nacl_monai import audit
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.evaluations import read_run
from tests.predictions.conftest import (
    AFFINE,
    ALL,
    CLASSES,
    SHAPE,
    Study,
    bins_of,
    dice,
    itk,
    moved,
    save,
    softmax_cases,
    turned,
    write_json,
)
from tests.same import same_values

LAYOUTS = {
    "nnU-Net v2": Study.nnunet,
    "folds of nnU-Net v2": Study.training,
    "npz files": Study.alone,
    "channels": Study.channels,
    "own inference": lambda study: study.channels(ending="_probabilities"),
    "files": Study.per_class,
    "folders": lambda study: study.per_class(name="{case}/{channel}"),
    "numbers": lambda study: study.per_class(names=["0", "1", "2"]),
    "nnU-Net's names of images": lambda study: study.channels(ending="_0000"),
    "ITK's fifth axis": lambda study: study.channels(axis=-2),
}


def check_numbers(folder, metric):
    """Errors to 1e-12 from the bins, whose counts are equal, and to 6 digits in the table."""
    bins = bins_of(folder)
    expected = metric.case_bins().arrays()
    for key in ("counts", "positives"):
        same_values(bins[key], expected[key])
    np.testing.assert_allclose(bins["confidences"], expected["confidences"], rtol=1e-12)
    cases = pd.read_csv(folder / "cases.csv", index_col="case")
    audit = read_run(folder)
    errors = audit.bins.sums.ece().numpy()
    np.testing.assert_allclose(errors, metric.case_errors()["ece"], atol=1e-12, rtol=0)
    expected = metric.case_decisions()  # files hold the size of a voxel in single precision
    for name, volumes in vars(audit.bins.decisions).items():
        np.testing.assert_allclose(volumes, getattr(expected, name), rtol=1e-6)
    for name, values in metric.by_region(metric.case_errors()).items():
        # Float32 in another order.
        np.testing.assert_allclose(cases[name], values, atol=6e-7, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_are_those_of_the_metric_in_memory(layout, study, run, tmp_path):
    """Every layout is recognized, said, and read with the right axes."""
    extra = ["--dataset", dataset(tmp_path)] if layout == "npz files" else []
    code, out, err = run(LAYOUTS[layout](study), study.labels, *extra)

    assert code == 0, err
    assert "3 cases, 3 classes by softmax" in out.splitlines()[0]
    check_numbers(tmp_path / "audit", study.metric())


def dataset(tmp_path):
    write_json(tmp_path / "dataset_of_npz.json", {"labels": CLASSES})
    return tmp_path / "dataset_of_npz.json"


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble])
def test_stored_precision_is_kept(dtype, tmp_path, audited):
    """Half precision is binned as it was stored; of more than 64 bits, 64 are."""
    study = Study(tmp_path, softmax_cases(dtype=dtype))
    folders = study.nnunet(), study.labels
    kept = np.float64 if dtype == np.longdouble else dtype
    cases = study.cases.items()
    study.cases = {case: (probs.astype(kept), label) for case, (probs, label) in cases}

    check_numbers(audited(*folders), study.metric())


@pytest.mark.parametrize("scaled", [False, True])
def test_bytes_are_255ths(scaled, study, audited, tmp_path):
    """With the scale in the header, or without; the metric in memory gives the same."""
    for case, (probs, label) in study.cases.items():
        stored = (probs * 255).round().astype(np.uint8)
        study.cases[case] = stored, label
        image = nibabel.Nifti1Image(np.moveaxis(stored, 0, -1), AFFINE)
        if scaled:
            image.header.set_slope_inter(1 / 255, 0)
        (tmp_path / "bytes").mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / "bytes" / f"{case}.nii.gz")

    check_numbers(audited(tmp_path / "bytes", study.labels), study.metric())


@pytest.mark.parametrize(("dtype", "half"), [(np.float32, 0.5), (np.uint8, 127)])
def test_structures_are_cut_in_half(dtype, half, regions, audited):
    """A voxel is predicted where more than half is stored, of 1 or of 255."""
    for case, (probs, label) in regions.cases.items():
        stored = (probs * 255).round() if dtype == np.uint8 else probs
        regions.cases[case] = stored.astype(dtype), label

    folder = audited(regions.channels(), regions.labels)

    cases = pd.read_csv(folder / "cases.csv", index_col="case")
    for case, (stored, label) in regions.cases.items():
        for inside, name, values in zip(stored, ("whole", "posterior"), ([1, 2], [2]), strict=True):
            expected = dice(inside > half, np.isin(label, values))
            assert cases.loc[case, f"dice_{name}"] == pytest.approx(expected, abs=1e-6)


def slow_ece(probs, labels, region):
    """Voxel by voxel, from the definition: confidence against the share of raters who say the same."""
    bins, voxels = np.zeros((15, 2)), 0
    for place in np.ndindex(probs.shape[1:]):
        p, votes = probs[(slice(None), *place)], [label[place] for label in labels]
        predicted = int(p.argmax())
        if not {"foreground": any(votes), "union": any(votes) or predicted, "all": True}[region]:
            continue
        at = next(k for k in range(15) if p[predicted] <= np.float32((k + 1) / 15))
        bins[at] += p[predicted], votes.count(predicted) / len(votes)
        voxels += 1
    return np.abs(bins[:, 0] - bins[:, 1]).sum() / voxels


def test_numbers_are_those_of_a_slow_loop(study, audited):
    """An oracle that knows neither torch nor the project."""
    bins = read_run(audited(study.nnunet(), study.labels)).bins

    for k, (probs, label) in enumerate(study.cases.values()):
        for region in ("foreground", "union", "all"):
            expected = slow_ece(probs, [label], region)
            ece = bins.sums.ece()[k, bins.regions.index(region)].item()
            assert ece == pytest.approx(expected, abs=1e-12)


def test_structures_overlap_where_dataset_json_has_regions(regions, run, tmp_path):
    """Each region is a problem of its own; the table has them and their mean."""
    code, out, err = run(regions.nnunet(), regions.labels)

    assert code == 0, err
    assert "2 overlapping structures by sigmoid" in out
    check_numbers(tmp_path / "audit", regions.metric(structures=["whole", "posterior"]))
    cases = pd.read_csv(tmp_path / "audit" / "cases.csv")
    for region in ("foreground", "boundary"):
        columns = [f"ece_{region}_whole", f"ece_{region}_posterior"]
        np.testing.assert_allclose(cases[columns].mean(axis=1), cases[f"ece_{region}"], atol=1e-6)


def test_sigmoid_can_be_said(regions, audited):
    """Without a dataset.json, the command names the structures of the channels."""
    args = ["--activation", "sigmoid", "--structures", "whole=1,2", "posterior=2"]
    folder = audited(regions.channels(dataset=False), regions.labels, *args)

    check_numbers(folder, regions.metric(structures=["whole", "posterior"]))


def test_ignored_voxels_count_nowhere(study, audited):
    """The value to ignore is masked, and makes no boundary."""
    study.dataset = {"labels": {**CLASSES, "ignore": 3}}
    metric = study.metric()
    metric.reset()
    for case, (probs, label) in study.cases.items():
        label[:] = 0
        label[1:] = 1  # far from that boundary, the ignored voxels would make the only one
        kept = np.ones(SHAPE, bool)
        kept[:, :, 5:] = False
        metric([probs], [label], mask=[kept])
        study.cases[case] = probs, np.where(kept, label, 3)

    check_numbers(audited(study.nnunet(), study.labels), metric)


def test_reorienting_reader_of_nnunet_is_followed(study, audited):
    """Its npz runs right, anterior, superior; labels and segmentations keep the image's axes."""
    place = study.nnunet(plans="NibabelIOWithReorient")

    check_numbers(audited(place, study.labels), study.metric())


def recorded(reader, affine):
    """What the readers of nnU-Net 2.8.1 leave in a pkl file."""
    turn = nibabel.orientations.io_orientation(affine)
    then = affine @ nibabel.orientations.inv_ornt_aff(turn, SHAPE)
    letters = "".join(nibabel.aff2axcodes(affine))
    return {
        "SimpleITKIO": {"sitk_stuff": itk(affine)},
        "SimpleITKIOWithReorient": {"sitk_stuff": {**itk(then), "original_orientation": letters}},
        "NibabelIO": {"nibabel_stuff": {"original_affine": affine}},
        "NibabelIOWithReorient": {
            "nibabel_stuff": {"original_affine": affine, "reoriented_affine": then}
        },
    }[reader]


@pytest.mark.parametrize("affine", [AFFINE, np.diag([-1.0, 1, 1, 1])], ids=["turned", "flipped"])
@pytest.mark.parametrize(
    "reader", ["SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient"]
)
def test_npz_and_pkl_alone_say_whether_the_image_was_turned(
    reader, affine, study, audited, tmp_path
):
    """A flip leaves the shape as it was, so that nothing else would show it."""
    (tmp_path / "alone").mkdir()
    for case, (probs, label) in study.cases.items():
        stored = turned(probs, affine) if "Reorient" in reader else probs
        np.savez(tmp_path / "alone" / f"{case}.npz", probabilities=stored.transpose(0, 3, 2, 1))
        (tmp_path / "alone" / f"{case}.pkl").write_bytes(pickle.dumps(recorded(reader, affine)))
        save(tmp_path / "labels" / f"{case}.nii.gz", label.astype(np.uint8), affine)

    folder = audited(tmp_path / "alone", tmp_path / "labels", "--dataset", dataset(tmp_path))
    sizes = nibabel.affines.voxel_sizes(affine).tolist()
    check_numbers(folder, study.metric(margin_spacing=sizes))


@pytest.mark.slow
def test_two_processes_equal_one(study, audited):
    """Cases keep their order."""
    folders = study.nnunet(), study.labels
    serial, two = audited(*folders), audited(*folders, "--jobs", "2", output="two")

    for name in ("cases.csv", "summary.json"):
        assert (serial / name).read_text() == (two / name).read_text()


def test_dataset_json_may_lie_above_the_labels(study, run, tmp_path):
    """As in nnUNet_raw, and in the Decathlon, from value to name."""
    write_json(tmp_path / "dataset.json", {"labels": {str(v): name for name, v in CLASSES.items()}})

    code, out, _ = run(study.channels(dataset=False), study.labels)
    assert code == 0
    assert str(tmp_path / "dataset.json") in out
    assert bins_of(tmp_path / "audit")["classes"].tolist() == ["top-1", *CLASSES]


def test_unions_of_classes_can_be_scored(study, audited):
    """Dice and HD95 are then of these structures."""
    folder = audited(study.nnunet(), study.labels, "--structures", "whole=1,2", "tail=2")

    cases = pd.read_csv(folder / "cases.csv")
    probs, label = next(iter(study.cases.values()))
    expected = dice(probs.argmax(0) > 0, label > 0)
    assert cases["dice_whole"][0] == pytest.approx(expected, abs=1e-6)
    assert "dice_anterior" not in cases


def test_record_says_what_was_audited(study, audited):
    """So that audits of other classes or regions are not set side by side."""
    folder = audited(study.nnunet(), study.labels, "--regions", "union")

    record = json.loads((folder / "evaluation.json").read_text())
    assert record["set"] == "audited"
    assert record["settings"]["calibration::regions"] == ["foreground", "union"]
    assert record["settings"]["classes"] == list(CLASSES)


@pytest.mark.parametrize(("as_vector", "ending"), [(True, "nrrd"), (False, "nrrd"), (True, "mha")])
def test_nrrd_and_metaimage_are_read_by_simpleitk(as_vector, ending, study, audited, tmp_path):
    """With a vector per voxel, or with a fourth axis; labels as well."""
    for folder in ("images", "of_labels"):
        (tmp_path / folder).mkdir()
    for case, (probs, label) in study.cases.items():
        truth = placed(SimpleITK.GetImageFromArray(label.T.astype(np.uint8)))
        SimpleITK.WriteImage(truth, tmp_path / "of_labels" / f"{case}.{ending}")
        if as_vector:
            zyxc = probs.transpose(3, 2, 1, 0)
            image = placed(SimpleITK.GetImageFromArray(zyxc, isVector=True))
        else:
            several = [placed(SimpleITK.GetImageFromArray(channel.T)) for channel in probs]
            image = SimpleITK.JoinSeries(several)
        SimpleITK.WriteImage(image, tmp_path / "images" / f"{case}.{ending}")

    check_numbers(audited(tmp_path / "images", tmp_path / "of_labels"), study.metric())


def placed(image):
    for name, value in itk(AFFINE).items():
        getattr(image, f"Set{name.capitalize()}")(value)
    return image


def flipped(file):
    """The same image as a tool writes that turns its first axis; of an npz file, the array alone."""
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = SHAPE[0] - 1
    if file.suffix == ".npz":
        np.savez(file, probabilities=np.load(file)["probabilities"][..., ::-1])
    elif file.suffix == ".pkl":
        file.write_bytes(pickle.dumps({"sitk_stuff": itk(AFFINE @ turn)}))
    elif not file.with_name(file.name.replace(".nii.gz", ".npz")).is_file():
        image = nibabel.load(file)
        save(file, np.asarray(image.dataobj)[::-1], AFFINE @ turn)


def stale(file):
    """What is left of another image, a millimeter away; beside a segmentation, of another case."""
    segmentation = file.with_name(file.stem + ".nii.gz")
    if file.suffix == ".npz" and segmentation.is_file():
        np.savez(file, probabilities=np.roll(np.load(file)["probabilities"], 3, -1))
    elif file.suffix == ".pkl":
        file.write_bytes(pickle.dumps({"sitk_stuff": itk(moved(1))}))
    elif file.suffix == ".gz" and not file.with_name(file.name[:-7] + ".npz").is_file():
        save(file, np.asarray(nibabel.load(file).dataobj), moved(1))


def audit_in_python(layout, study, spoil=lambda _: None, **options):
    place = LAYOUTS[layout](study)
    for file in [*place.rglob("*.npz"), *place.rglob("*.pkl"), *place.rglob("*.nii.gz")]:
        spoil(file)
    named = {"dataset": dataset(study.root)} if layout == "npz files" else {}
    return audit(place, study.labels, **named, **options)


@pytest.mark.parametrize("spoil", [flipped, stale])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_turned_or_stale_is_refused(layout, spoil, study):
    """In every layout, in one line that names the file."""
    audit_in_python(layout, study)

    with pytest.raises(InputError, match=r"^/.*; "):
        audit_in_python(layout, study, spoil)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_in_another_order_are_refused(layout, study):
    """Every permutation, unless it is said; then the numbers are those of what was given."""
    cases, names = study.cases, list(CLASSES)
    for order in [*permutations(range(3))][1:]:
        study.cases = {case: (probs[list(order)], label) for case, (probs, label) in cases.items()}
        better = ", ".join(names[k] for k in order)
        message = f"agree far better with the labels as {better} .mean Dice"
        with pytest.raises(InputError, match=message):
            audit_in_python(layout, study)

    found = audit_in_python(layout, study, channels_as_given=True)
    expected = study.metric().case_errors()["ece"][:, ALL.index("all")]
    np.testing.assert_allclose(found.errors["ece_all"], expected, atol=1e-12)


@pytest.mark.parametrize("first", ["nnunet", "alone", "own"])
@pytest.mark.parametrize("name", ["{case}_{channel}", "{case}/{channel}"])
def test_case_in_two_layouts_is_refused(study, refused, first, name):
    """Nobody knows which of them is meant."""
    place = study.channels("own", "_probabilities") if first == "own" else getattr(study, first)()
    study.per_class(first, name=name, names=["0", "1", "2"])

    other = place / f"{name.format(case=next(iter(study.cases)), channel=0)}.nii.gz"
    message = f"{other} holds probabilities of the same case; move one of them into"
    refused(message, place, study.labels)


def test_case_from_two_tools_is_refused(study, refused):
    """nnU-Net's and this project's own."""
    study.channels("nnunet", "_probabilities")

    message = "_probabilities.nii.gz holds probabilities of the same case"
    refused(message, study.nnunet(), study.labels)


def test_structures_in_another_order_are_refused(regions, audited, refused, tmp_path):
    """A part and its whole; the command writes nothing, and a fit is not begun."""
    regions.cases = {case: (probs[::-1], label) for case, (probs, label) in regions.cases.items()}
    folders = regions.channels(), regions.labels

    message = "the channels agree far better with the labels as posterior, whole (mean Dice"
    assert "say --channels-as-given" in refused(message, *folders, read=True)
    assert not (tmp_path / "audit").exists()
    audited(*folders, "--channels-as-given")
    assert main(["calibrate", *map(str, folders), "--output", str(tmp_path / "out")]) == 1


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_array_alone_is_a_case(kind, study, run, tmp_path):
    """``CASE.npy``, or ``CASE.npz`` with one array of any name."""
    (tmp_path / "arrays").mkdir()
    for case, (probs, _) in study.cases.items():
        file, array = tmp_path / f"arrays/{case}.{kind}", probs.transpose(0, 3, 2, 1)
        np.save(file, array) if kind == "npy" else np.savez(file, prediction=array)

    code, _, err = run(tmp_path / "arrays", study.labels)
    assert code == 0, err
    assert "no file beside it says where its voxels are" in err
    check_numbers(tmp_path / "audit", study.metric())


def test_array_in_the_order_of_nifti_is_told_the_axes(study, run, tmp_path):
    """x, y, z, as nibabel gives them."""
    (tmp_path / "arrays").mkdir()
    for case, (probs, _) in study.cases.items():
        np.save(tmp_path / f"arrays/{case}.npy", probs)

    code, _, err = run(tmp_path / "arrays", study.labels)
    assert code == 1
    assert "give both on one grid; the axes of an array are channel, z, y, x" in err


def test_stray_array_is_no_case(study, audited):
    """A folder of images may hold other things that NumPy saved."""
    place = study.channels()
    np.save(place / "scores.npy", np.zeros(3))

    check_numbers(audited(place, study.labels), study.metric())


@pytest.mark.parametrize("kind", ["study", "regions"])
def test_saved_logits_are_what_they_were(kind, request, audited, refused):
    """By a softmax or sigmoids; probabilities are not taken for logits."""
    study = request.getfixturevalue(kind)
    names = ["whole", "posterior"] if kind == "regions" else ()
    expected, cases = study.metric(structures=names), study.cases
    study.cases = {
        case: ((np.log(p) - np.log1p(-p) if names else np.log(p) + 3).astype(np.float32), label)
        for case, (p, label) in cases.items()
    }
    folder = audited(study.nnunet(beside=False), study.labels, "--from-logits")

    found = read_run(folder).bins.sums.ece()
    np.testing.assert_allclose(found, expected.case_errors()["ece"], atol=1e-5)
    study.cases = cases
    args = (study.channels(), study.labels, "--from-logits")
    refused("leave out --from-logits", *args, read=True)
