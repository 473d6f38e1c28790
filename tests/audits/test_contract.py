"""An audit of saved files has the numbers of the metric in memory, whatever wrote the files."""

import json
import pickle
from itertools import permutations

import nibabel
import numpy as np
import pandas as pd
import pytest

from nacl_monai import audit
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.reports import read_run
from tests.audits.conftest import (
    AFFINE,
    ALL,
    CLASSES,
    SHAPE,
    Study,
    bins_of,
    itk,
    save,
    softmax_cases,
    write_json,
)

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
        np.testing.assert_array_equal(bins[key], expected[key])
    np.testing.assert_allclose(bins["confidences"], expected["confidences"], rtol=1e-12)
    cases = pd.read_csv(folder / "cases.csv", index_col="case")
    audit = read_run(folder)
    errors = audit.bins.sums.ece().numpy()
    np.testing.assert_allclose(errors, metric.case_errors()["ece"], atol=1e-12, rtol=0)
    expected = metric.case_decisions()  # files hold the size of a voxel in single precision
    for name, volumes in vars(audit.bins.decisions).items():
        np.testing.assert_allclose(volumes, getattr(expected, name), rtol=1e-6)
    for name, values in metric.by_region(metric.case_errors()).items():
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
def test_stored_precision_is_kept(dtype, tmp_path, run):
    """Half precision is binned as it was stored; of more than 64 bits, 64 are."""
    study = Study(tmp_path, softmax_cases(dtype=dtype))
    folders = study.nnunet(), study.labels
    kept = np.float64 if dtype == np.longdouble else dtype
    study.cases = {
        case: (probs.astype(kept), label) for case, (probs, label) in study.cases.items()
    }

    assert run(*folders)[0] == 0
    check_numbers(tmp_path / "audit", study.metric())


@pytest.mark.parametrize("scaled", [False, True])
def test_bytes_are_255ths(scaled, study, run, tmp_path):
    """With the scale in the header, or without; the metric in memory gives the same."""
    for case, (probs, label) in study.cases.items():
        stored = (probs * 255).round().astype(np.uint8)
        study.cases[case] = stored, label
        image = nibabel.Nifti1Image(np.moveaxis(stored, 0, -1), AFFINE)
        if scaled:
            image.header.set_slope_inter(1 / 255, 0)
        (tmp_path / "bytes").mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / "bytes" / f"{case}.nii.gz")

    code, _, err = run(tmp_path / "bytes", study.labels)
    assert code == 0, err
    check_numbers(tmp_path / "audit", study.metric())


def test_bytes_of_structures_are_cut_in_half(regions, run, tmp_path):
    """A voxel is predicted where more than half of 255 is stored."""
    for case, (probs, label) in regions.cases.items():
        regions.cases[case] = (probs * 255).round().astype(np.uint8), label

    code, _, err = run(regions.channels(), regions.labels)

    assert code == 0, err
    cases = pd.read_csv(tmp_path / "audit" / "cases.csv", index_col="case")
    for case, (stored, label) in regions.cases.items():
        for inside, name, values in zip(stored, ("whole", "posterior"), ([1, 2], [2]), strict=True):
            predicted, true = inside > 127, np.isin(label, values)
            dice = 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
            assert cases.loc[case, f"dice_{name}"] == pytest.approx(dice, abs=1e-6)


def slow_ece(probs, label, region):
    """Voxel by voxel, from the definition."""
    bins, voxels = np.zeros((15, 2)), 0
    for place in np.ndindex(label.shape):
        p, true = probs[(slice(None), *place)], label[place]
        predicted = int(p.argmax())
        if not {"foreground": true, "union": true or predicted, "all": True}[region]:
            continue
        at = next(k for k in range(15) if p[predicted] <= np.float32((k + 1) / 15))
        bins[at] += p[predicted], predicted == true
        voxels += 1
    return np.abs(bins[:, 0] - bins[:, 1]).sum() / voxels


def test_numbers_are_those_of_a_slow_loop(study, run, tmp_path):
    """An oracle that knows neither torch nor the project."""
    assert run(study.nnunet(), study.labels)[0] == 0

    audit = read_run(tmp_path / "audit")
    for k, (probs, label) in enumerate(study.cases.values()):
        for region in ("foreground", "union", "all"):
            at = audit.bins.regions.index(region)
            expected = slow_ece(probs, label, region)
            assert audit.bins.sums.ece()[k, at].item() == pytest.approx(expected, abs=1e-12)


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
    for k, (probs, label) in enumerate(regions.cases.values()):
        both = (probs[1] > 0.5) & (label == 2)
        dice = 2 * both.sum() / ((probs[1] > 0.5).sum() + (label == 2).sum())
        assert cases["dice_posterior"][k] == pytest.approx(dice, abs=1e-6)


def test_sigmoid_can_be_said(regions, run, tmp_path):
    """Without a dataset.json, the command names the structures of the channels."""
    words = ["--activation", "sigmoid", "--structures", "whole=1,2", "posterior=2"]
    code, _, err = run(regions.channels(dataset=False), regions.labels, *words)

    assert code == 0, err
    check_numbers(tmp_path / "audit", regions.metric(structures=["whole", "posterior"]))


def test_ignored_voxels_count_nowhere(study, run, tmp_path):
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

    code, _, err = run(study.nnunet(), study.labels)
    assert code == 0, err
    check_numbers(tmp_path / "audit", metric)


def test_reorienting_reader_of_nnunet_is_followed(study, run, tmp_path):
    """Its npz runs right, anterior, superior; labels and segmentations keep the image's axes."""
    expected = study.metric()
    place = study.nnunet(plans="NibabelIOWithReorient")
    turn = nibabel.orientations.io_orientation(AFFINE)
    for case, (probs, _) in study.cases.items():
        turned = np.stack([nibabel.orientations.apply_orientation(p, turn) for p in probs])
        np.savez(place / f"{case}.npz", probabilities=turned.transpose(0, 3, 2, 1))

    code, _, err = run(place, study.labels)
    assert code == 0, err
    check_numbers(tmp_path / "audit", expected)


def recorded(reader, affine):
    """What the readers of nnU-Net 2.8.1 leave in a pkl file."""
    turn = nibabel.orientations.io_orientation(affine)
    turned = affine @ nibabel.orientations.inv_ornt_aff(turn, SHAPE)
    letters = "".join(nibabel.aff2axcodes(affine))
    return {
        "SimpleITKIO": {"sitk_stuff": itk(affine)},
        "SimpleITKIOWithReorient": {"sitk_stuff": {**itk(turned), "original_orientation": letters}},
        "NibabelIO": {"nibabel_stuff": {"original_affine": affine}},
        "NibabelIOWithReorient": {
            "nibabel_stuff": {"original_affine": affine, "reoriented_affine": turned}
        },
    }[reader]


@pytest.mark.parametrize("affine", [AFFINE, np.diag([-1.0, 1, 1, 1])], ids=["turned", "flipped"])
@pytest.mark.parametrize(
    "reader", ["SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient"]
)
def test_npz_and_pkl_alone_say_whether_the_image_was_turned(reader, affine, study, run, tmp_path):
    """A flip leaves the shape as it was, so that nothing else would show it."""
    turn = nibabel.orientations.io_orientation(affine)
    for case, (probs, label) in study.cases.items():
        stored = probs
        if "Reorient" in reader:
            stored = np.stack([nibabel.orientations.apply_orientation(p, turn) for p in probs])
        (tmp_path / "alone").mkdir(exist_ok=True)
        np.savez(tmp_path / "alone" / f"{case}.npz", probabilities=stored.transpose(0, 3, 2, 1))
        (tmp_path / "alone" / f"{case}.pkl").write_bytes(pickle.dumps(recorded(reader, affine)))
        save(tmp_path / "labels" / f"{case}.nii.gz", label.astype(np.uint8), affine)

    code, _, err = run(tmp_path / "alone", tmp_path / "labels", "--dataset", dataset(tmp_path))
    assert code == 0, err
    sizes = nibabel.affines.voxel_sizes(affine).tolist()
    check_numbers(tmp_path / "audit", study.metric(margin_spacing=sizes))


@pytest.mark.slow
def test_two_processes_equal_one(study, run, tmp_path):
    """Cases keep their order."""
    folder, labels = study.nnunet(), study.labels
    assert run(folder, labels)[0] == run(folder, labels, "--jobs", "2", output="two")[0] == 0

    for name in ("cases.csv", "summary.json"):
        one, two = (tmp_path / place / name for place in ("audit", "two"))
        assert one.read_text() == two.read_text()


def test_dataset_json_may_lie_above_the_labels(study, run, tmp_path):
    """As in nnUNet_raw, and in the Decathlon, from value to name."""
    write_json(tmp_path / "dataset.json", {"labels": {str(v): name for name, v in CLASSES.items()}})

    code, out, _ = run(study.channels(dataset=False), study.labels)
    assert code == 0
    assert str(tmp_path / "dataset.json") in out
    assert bins_of(tmp_path / "audit")["classes"].tolist() == ["top-1", *CLASSES]


def test_classes_are_numbered_where_nobody_names_them(study, run, tmp_path):
    """The line says so."""
    code, out, _ = run(study.channels(dataset=False), study.labels)

    assert code == 0
    assert "name them with --dataset" in out
    classes = bins_of(tmp_path / "audit")["classes"].tolist()
    assert classes == ["top-1", "background", "class_1", "class_2"]


def test_unions_of_classes_can_be_scored(study, run, tmp_path):
    """Dice and HD95 are then of these structures."""
    words = ["--structures", "whole=1,2", "tail=2"]
    assert run(study.nnunet(), study.labels, *words)[0] == 0

    cases = pd.read_csv(tmp_path / "audit" / "cases.csv")
    probs, label = next(iter(study.cases.values()))
    one, other = probs.argmax(0) > 0, label > 0
    assert cases["dice_whole"][0] == pytest.approx(
        2 * (one & other).sum() / (one.sum() + other.sum()), abs=1e-6
    )
    assert "dice_anterior" not in cases


def test_record_says_what_was_audited(study, run, tmp_path):
    """So that audits of other classes or regions are not set side by side."""
    assert run(study.nnunet(), study.labels, "--regions", "union")[0] == 0

    record = json.loads((tmp_path / "audit" / "evaluation.json").read_text())
    assert record["set"] == "audited"
    assert record["settings"]["calibration::regions"] == ["foreground", "union"]
    assert record["settings"]["classes"] == list(CLASSES)


@pytest.fixture
def nrrd():
    return pytest.importorskip("SimpleITK")


@pytest.mark.parametrize(("as_vector", "ending"), [(True, "nrrd"), (False, "nrrd"), (True, "mha")])
def test_nrrd_and_metaimage_are_read_by_simpleitk(nrrd, as_vector, ending, study, run, tmp_path):
    """With a vector per voxel, or with a fourth axis; labels as well."""
    for folder in ("nrrd", "of_labels"):
        (tmp_path / folder).mkdir()
    for case, (probs, label) in study.cases.items():
        truth = placed(nrrd.GetImageFromArray(label.T.astype(np.uint8)))
        nrrd.WriteImage(truth, str(tmp_path / "of_labels" / f"{case}.{ending}"))
        zyxc = probs.transpose(3, 2, 1, 0)
        if as_vector:
            image = placed(nrrd.GetImageFromArray(zyxc, isVector=True))
        else:
            image = nrrd.JoinSeries([placed(nrrd.GetImageFromArray(one.T)) for one in probs])
        nrrd.WriteImage(image, str(tmp_path / "nrrd" / f"{case}.{ending}"))

    code, _, err = run(tmp_path / "nrrd", tmp_path / "of_labels")
    assert code == 0, err
    check_numbers(tmp_path / "audit", study.metric())


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
    moved = AFFINE + np.array([[0, 0, 0, 1.0]] + [[0] * 4] * 3)
    segmentation = file.with_name(file.stem + ".nii.gz")
    if file.suffix == ".npz" and segmentation.is_file():
        np.savez(file, probabilities=np.roll(np.load(file)["probabilities"], 3, -1))
    elif file.suffix == ".pkl":
        file.write_bytes(pickle.dumps({"sitk_stuff": itk(moved)}))
    elif file.suffix == ".gz" and not file.with_name(file.name[:-7] + ".npz").is_file():
        save(file, np.asarray(nibabel.load(file).dataobj), moved)


def audited(layout, study, tmp_path, **options):
    extra = {"dataset": dataset(tmp_path)} if layout == "npz files" else {}
    return audit(LAYOUTS[layout](study), study.labels, **extra, **options)


@pytest.mark.parametrize("spoil", [flipped, stale])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_turned_or_stale_is_refused(layout, spoil, study, tmp_path, monkeypatch):
    """In every layout, in one line that names the file."""
    audited(layout, study, tmp_path)
    make = LAYOUTS[layout]

    def spoiled(study):
        place = make(study)
        for file in [*place.rglob("*.npz"), *place.rglob("*.pkl"), *place.rglob("*.nii.gz")]:
            spoil(file)
        return place

    monkeypatch.setitem(LAYOUTS, layout, spoiled)
    with pytest.raises(InputError, match=r"^/.*; "):
        audited(layout, study, tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_in_another_order_are_refused(layout, study, tmp_path):
    """Every permutation, unless it is said; then the numbers are those of what was given."""
    cases, names = study.cases, list(CLASSES)
    for order in [*permutations(range(3))][1:]:
        study.cases = {case: (probs[list(order)], label) for case, (probs, label) in cases.items()}
        better = ", ".join(names[k] for k in order)
        with pytest.raises(
            InputError, match=f"agree far better with the labels as {better} .mean Dice"
        ):
            audited(layout, study, tmp_path)

    found = audited(layout, study, tmp_path, channels_as_given=True)
    expected = study.metric().case_errors()["ece"][:, ALL.index("all")]
    np.testing.assert_allclose(found.errors["ece_all"], expected, atol=1e-12)


@pytest.mark.parametrize("first", ["nnunet", "alone", "own"])
@pytest.mark.parametrize("name", ["{case}_{channel}", "{case}/{channel}"])
def test_case_in_two_layouts_is_refused(study, run, first, name):
    """Nobody knows which of them is meant."""
    place = study.channels("own", "_probabilities") if first == "own" else getattr(study, first)()
    case = next(iter(study.cases))
    study.per_class(first, name=name, names=["0", "1", "2"])

    code, _, err = run(place, study.labels)

    assert code == 1
    other = place / f"{name.format(case=case, channel=0)}.nii.gz"
    assert f"{other} holds probabilities of the same case; move one of them into" in err


def test_case_from_two_tools_is_refused(study, run):
    """nnU-Net's and this project's own."""
    study.channels("nnunet", "_probabilities")

    code, _, err = run(study.nnunet(), study.labels)

    assert code == 1
    assert "_probabilities.nii.gz holds probabilities of the same case" in err


def test_structures_in_another_order_are_refused(regions, run, tmp_path):
    """A part and its whole; the command writes nothing, and a fit is not begun."""
    regions.cases = {case: (probs[::-1], label) for case, (probs, label) in regions.cases.items()}
    folders = regions.channels(), regions.labels

    code, _, err = run(*folders)
    assert code == 1
    assert "the channels agree far better with the labels as posterior, whole (mean Dice" in err
    assert "say --channels-as-given" in err
    assert not (tmp_path / "audit").exists()
    assert run(*folders, "--channels-as-given")[0] == 0
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


def test_stray_array_is_no_case(study, run, tmp_path):
    """A folder of images may hold other things that NumPy saved."""
    place = study.channels()
    np.save(place / "scores.npy", np.zeros(3))

    assert run(place, study.labels)[0] == 0
    check_numbers(tmp_path / "audit", study.metric())


@pytest.mark.parametrize("kind", ["study", "regions"])
def test_saved_logits_are_what_they_were(kind, request, run, tmp_path):
    """By a softmax or sigmoids; probabilities are not taken for logits."""
    study = request.getfixturevalue(kind)
    names = ["whole", "posterior"] if kind == "regions" else ()
    expected, cases = study.metric(structures=names), study.cases
    study.cases = {
        case: ((np.log(p) - np.log1p(-p) if names else np.log(p) + 3).astype(np.float32), label)
        for case, (p, label) in cases.items()
    }
    code, _, err = run(study.nnunet(beside=False), study.labels, "--from-logits")

    assert code == 0, err
    found = read_run(tmp_path / "audit").bins.sums.ece()
    np.testing.assert_allclose(found, expected.case_errors()["ece"], atol=1e-5)
    study.cases = cases
    assert "leave out --from-logits" in run(study.channels(), study.labels, "--from-logits")[2]
