"""Each fault is one line that names the file; the other cases are audited all the same."""

import os
import pickle
import sys

import nibabel
import numpy as np
import pandas as pd
import pytest

from nacl_monai.audits.layouts import read_plain
from nacl_monai.errors import InputError
from nacl_monai.files import read_object
from tests.audits.conftest import AFFINE, SHAPE, itk, save, write_json

BAD = "patient0_scan1"


def npz(make, key="probabilities"):
    """Writes an npz file of what is made of the probabilities, ``(C, z, y, x)``."""
    return lambda place, probs: np.savez(
        place / f"{BAD}.npz", **{key: make(probs.transpose(0, 3, 2, 1))}
    )


def truncated(place, _):
    file = place / f"{BAD}.npz"
    file.write_bytes(file.read_bytes()[:300])


def at(x):
    """Writes the segmentation with another place along x."""

    def spoil(place, probs):
        affine = AFFINE.copy()
        affine[0, 3] += x
        save(place / f"{BAD}.nii.gz", probs.argmax(0).astype(np.uint8), affine)

    return spoil


def geometry(content, make=None):
    """Leaves the place to a pickle, and may change the probabilities."""

    def spoil(place, probs):
        (place / f"{BAD}.nii.gz").unlink()
        (place / f"{BAD}.pkl").write_bytes(content)
        if make:
            npz(make)(place, probs)

    return spoil


def other_segmentation(place, probs):
    save(place / f"{BAD}.nii.gz", probs.argmax(0)[::-1].astype(np.uint8))


def no_prediction(place, _):
    (place / f"{BAD}.npz").unlink()


ORIGIN = {"spacing": (1, 1, 1), "origin": (0, 0, 0), "direction": np.eye(3).ravel().tolist()}
HERE = pickle.dumps({"sitk_stuff": itk(AFFINE)})
HOSTILE = b"cos\nsystem\n(S'false'\ntR."
FAULTS = {
    "logits": (
        npz(np.log),
        "npz: reaches from ",
        "1, as logits do; save probabilities, after softm",
    ),
    "sums": (npz(lambda p: 0.8 * p), "is off 1 by 0.2", "say --activation sigmoid"),
    "NaN": (npz(lambda p: p * np.nan), "npz: holds NaN; predict the case again", "npz"),
    "first version": (
        npz(lambda p: p[:, 2:], "softmax"),
        "npz: is of nnU-Net's first version",
        "--save_probabilities",
    ),
    "something else": (
        lambda place, probs: np.savez(place / f"{BAD}.npz", data=probs, label=probs[0]),
        "npz: holds no array 'probabilities', but data, label; save",
        "npz",
    ),
    "truncated": (truncated, "npz: cannot be read (", "predict the case again"),
    "objects": (
        npz(lambda _: np.array([{}], dtype=object)),
        "npz: cannot be read (",
        "allow_pickle",
    ),
    "no voxel": (npz(lambda p: p[:, :0]), "npz: holds float32 of the shape (3, 0, 8, 9)", "npz"),
    "text": (npz(lambda p: p.astype(str)), "npz: holds <U", "probabilities are numbers"),
    "cropped": (npz(lambda p: p[:, 1:]), "npz: has another shape than", f"{BAD}.nii.gz; predict"),
    "channels": (
        npz(lambda p: p[:2] / p[:2].sum(0)),
        "npz: has 2 channels, but there are 3 classes",
        "--dataset",
    ),
    "moved": (at(2), "nii.gz: its affine puts voxels up to 2 mm away", "--affine_tolerance 2.01"),
    "nowhere": (at(np.nan), "its affine gives the voxels no size; repair its header", BAD),
    "moved geometry": (
        geometry(pickle.dumps({"sitk_stuff": ORIGIN})),
        "pkl: its affine puts voxels up to",
        "mm away",
    ),
    "other segmentation": (
        other_segmentation,
        "npz: its most probable classes are not those of",
        "move the segmentation",
    ),
    "other grid": (
        geometry(HERE, lambda p: p[:, 1:]),
        "(9, 8, 7); give both on one grid; TotalSegmentator keeps its",
        "npz",
    ),
    "hostile geometry": (geometry(HOSTILE), "pkl: is not a plain record", "os.system"),
    "no prediction": (
        no_prediction,
        f"{BAD}.nii.gz: has no prediction in",
        "predict it, or leave it out",
    ),
}


def check_one_fault(result, said, tmp_path, left=2):
    code, out, err = result
    faults = [line for line in err.splitlines() if line.startswith("fault: ")]
    assert code == 1
    assert len(faults) == 1, err
    assert BAD in faults[0]
    for part in said:
        assert part in faults[0]
    assert len(pd.read_csv(tmp_path / "audit" / "cases.csv")) == left
    assert f"Mean over {left} cases" in out


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_a_prediction_is_one_line(fault, study, run, tmp_path):
    """The exit code is 1, and two cases of three are audited."""
    spoil, *said = FAULTS[fault]
    place = study.nnunet()
    spoil(place, study.cases[BAD][0])

    check_one_fault(run(place, study.labels), said, tmp_path)


def value(labels):
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[0] = 7
    save(labels / f"{BAD}.nii.gz", voxels)


def fraction(labels):
    save(labels / f"{BAD}.nii.gz", np.full(SHAPE, 0.5, np.float32))


def several(labels):
    save(labels / f"{BAD}.nii.gz", np.zeros((*SHAPE, 2), np.uint8))


def damaged(labels):
    file = labels / f"{BAD}.nii.gz"
    file.write_bytes(file.read_bytes()[:-20])


def flat(labels, case=BAD):
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), None)
    image.header["srow_x"], image.header["srow_y"] = [2, 0, 0, 0], [0, 2, 0, 0]
    image.header["sform_code"] = 1
    nibabel.save(image, labels / f"{case}.nii.gz")


def no_label(labels):
    (labels / f"{BAD}.nii.gz").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (value, "nii.gz: holds the label value 7; expected only [0, 1, 2], by "),
        (fraction, "nii.gz: holds 0.5, which is not a label"),
        (several, "nii.gz: has 2 channels; a label map has one"),
        (damaged, "nii.gz: cannot be read ("),
        (flat, "nii.gz: its affine gives the voxels no size"),
        (no_label, f"npz: has no label map '{BAD}' in "),
    ],
)
def test_fault_of_a_label_is_one_line(spoil, said, study, run, tmp_path):
    """A label outside the classes, no label map, half a file, none at all."""
    labels = study.labels
    spoil(labels)

    check_one_fault(run(study.nnunet(), labels), (said,), tmp_path)


def test_label_without_a_place_is_one_line_before_it_is_turned(study, run):
    """As a reader of nnU-Net has turned the probabilities."""
    labels = study.labels
    for case in study.cases:
        flat(labels, case)
    place = study.nnunet(plans="NibabelIOWithReorient", beside=False, geometry=False)

    assert ".nii.gz: its affine gives the voxels no size" in run(place, labels)[2]


@pytest.mark.parametrize("shape", [(3, 3, 3), SHAPE], ids=["shape", "place"])
def test_fault_of_an_image_is_one_line(study, run, tmp_path, shape):
    """A file of one class on another grid than the first."""
    place = study.per_class()
    moved = AFFINE.copy()
    moved[0, 3] += 1  # mm
    save(place / f"{BAD}_posterior.nii.gz", np.zeros(shape, np.float32), moved)

    check_one_fault(run(place, study.labels), ("is on another grid than",), tmp_path)


def test_class_without_a_file_is_one_line(study, run, tmp_path):
    """The other cases have theirs."""
    place = study.per_class()
    (place / f"{BAD}_posterior.nii.gz").unlink()

    said = ("the files of this case are anterior, background, but there are 3 classes",)
    check_one_fault(run(place, study.labels), said, tmp_path)


def refusal(result, code=1):
    *progress, line = result[2].splitlines()
    assert result[0] == code
    assert line.startswith("error: ")
    assert all(one.startswith("Auditing") or not one for one in progress)
    return line


def test_label_maps_are_no_probabilities(study, run, tmp_path):
    """A folder of hard segmentations says what to do; nothing is made."""
    line = refusal(run(study.labels, study.labels))

    assert (
        "these are labels; probabilities are needed: nnUNetv2_predict --save_probabilities" in line
    )
    assert not (tmp_path / "audit").exists()


def test_masks_of_each_class_are_no_probabilities(study, run):
    """As TotalSegmentator writes them by default."""
    for case, (probs, label) in study.cases.items():
        study.cases[case] = (
            np.stack([label == k for k in range(len(probs))]).astype(np.uint8),
            label,
        )

    line = refusal(run(study.per_class(name="{case}/{channel}"), study.labels))
    assert "no case could be audited: " in line
    assert "these are labels" in line


@pytest.mark.parametrize(("dtype", "one"), [(np.float32, 1), (np.float16, 1), (np.uint8, 255)])
def test_masks_are_no_probabilities_however_they_are_stored(dtype, one, study, run):
    """MONAI saves one-hot masks as floats: their ECE would be the share of wrong voxels."""
    for case, (probs, label) in study.cases.items():
        masks = probs.argmax(0) == np.arange(len(probs))[:, None, None, None]
        study.cases[case] = (one * masks.astype(dtype), label)

    line = refusal(run(study.nnunet(), study.labels))
    assert "these are labels; probabilities are needed" in line


def as_bytes(study, one):
    """Stored as whole numbers up to ``one``, which the surest voxels have."""
    for case, (probs, label) in study.cases.items():
        sure = (1.2 * probs - 0.1).clip(0, 1)
        study.cases[case] = (sure * one).round().astype(np.uint8), label


def test_case_without_any_structure_is_audited(regions, run, tmp_path):
    """In bytes its probabilities are all 0, and a negative case counts like any other."""
    as_bytes(regions, 255)
    regions.cases["nothing"] = tuple(np.zeros_like(one) for one in regions.cases["case_0"])

    code, _, err = run(regions.channels(), regions.labels)

    assert code == 0, err
    assert "nothing" in pd.read_csv(tmp_path / "audit/cases.csv")["case"].tolist()


def test_percent_in_bytes_are_refused(regions, run):
    """They would count as 255ths, and no structure would ever be predicted."""
    as_bytes(regions, 100)

    line = refusal(run(regions.channels(), regions.labels))
    assert "reaches to 100, as percent do, but whole numbers are taken for 255ths" in line


def test_bytes_of_a_network_that_is_never_sure_are_audited(regions, run):
    """Its largest probability may well be 100/255: a peak, which few voxels reach."""
    as_bytes(regions, 90)
    for probs, _ in regions.cases.values():
        probs[0, 0, 0, :3] = 100, 99, 99

    assert run(regions.channels(), regions.labels)[0] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_case_of_which_a_network_is_certain_is_audited(dtype, study, run, tmp_path):
    """All background, to the last digit that is stored."""
    label = np.zeros_like(study.cases[BAD][1])
    certain = np.stack([label + 1, label, label]) * (255 if dtype == np.uint8 else 1)
    study.cases = {BAD: (certain.astype(dtype), label), "other": (certain.astype(dtype), label)}

    assert run(study.nnunet(), study.labels)[0] == 0
    assert (pd.read_csv(tmp_path / "audit/cases.csv")["ece_all"] == 0).all()


def test_folders_that_cannot_be_audited_are_refused(study, run, tmp_path):
    """No folder, an empty one, other cases, one folder alone."""
    labels = study.labels
    empty = tmp_path / "empty"
    empty.mkdir()
    place = study.nnunet()

    assert "is not a folder; give the folder of the pred" in refusal(run(tmp_path / "none", labels))
    assert "is not a folder; give the folder of the label" in refusal(run(place, tmp_path / "none"))
    assert "holds no label map" in refusal(run(place, empty))
    assert "holds no probabilities in a known layout" in refusal(run(empty, labels))
    assert "is the only folder" in refusal(run(labels))
    save(tmp_path / "others" / "other.nii.gz", np.zeros(SHAPE, np.uint8))
    assert "no case has the name of a label map" in refusal(run(place, tmp_path / "others"))


@pytest.mark.parametrize("ignored", [1, [3, 4]])
def test_ignored_value_that_nnunet_could_not_mean_is_refused(ignored, study, run):
    """Else voxels of a class would be left out without a word."""
    place = study.nnunet()
    labels = {"background": 0, "one": 1, "two": 2, "ignore": ignored}
    write_json(
        place / "dataset.json", {**read_object(place / "dataset.json", ""), "labels": labels}
    )

    line = refusal(run(place, study.labels))

    assert "dataset.json: labels: ignore is " in line
    assert "must be one value above those of all others, 2" in line


def test_exclusive_classes_without_a_background_are_refused(study, run):
    """Else voxels of the value 0 would be labeled as the first class without a word."""
    place = study.channels(dataset=False)
    write_json(place / "dataset.json", {"labels": {"one": 1, "two": 2, "three": 3}})

    assert "dataset.json: labels: the smallest value must be 0" in refusal(run(place, study.labels))


@pytest.mark.parametrize("word", ["--dataset", "--patients", "--calibrator"])
def test_file_that_is_read_is_not_replaced(study, run, tmp_path, word):
    """Its table would go with the folder."""
    labels = study.labels
    assert run(study.nnunet(), labels)[0] == 0
    table = tmp_path / "audit" / "cases.csv"

    said = refusal(run(study.nnunet(), labels, word, table), code=2)
    assert f"of which {table} is read, and would be replaced" in said


def test_voxels_that_no_file_places_are_said(study, run):
    """A turned label map of the same shape would pass."""
    place = study.nnunet(beside=False)
    assert "warning" not in run(place, study.labels)[2]
    (place / f"{BAD}.pkl").unlink()

    code, _, err = run(place, study.labels)
    assert code == 0
    assert f"warning: {place / BAD}.npz: no file beside it says where its voxels are" in err
    assert "(1 of 3 cases)" in err


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_name_that_is_not_utf8_is_refused_before_the_first_volume(study, run):
    """Tables could not hold it."""
    place, labels = study.nnunet(), study.labels
    for folder, ending in ((place, b".npz"), (labels, b".nii.gz")):
        name = folder / os.fsdecode(BAD.encode() + b"\xe9" + ending)
        (folder / f"{BAD}{ending.decode()}").rename(name)

    assert f"{BAD}\\xe9.nii.gz: its name is not UTF-8; rename it" in refusal(run(place, labels))


@pytest.mark.parametrize("first", [0, 1])
def test_empty_file_is_a_fault_of_its_case_alone(study, run, tmp_path, first):
    """The first as well, by which the layout is known."""
    place = study.channels()
    (place / f"{sorted(study.cases)[first]}.nii.gz").write_bytes(b"")

    code, _, err = run(place, study.labels)
    assert code == 1
    assert err.count("fault: ") == 1
    assert len(pd.read_csv(tmp_path / "audit" / "cases.csv")) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--structures", "whole"], "'whole' is not a structure; write NAME=1,2"),
        (["--structures", "whole=1,5"], "whole: 5 is not a label value; choose from [0, 1, 2]"),
        (["--structures", "whole=1,-2"], "'whole=1,-2' is not a structure; write NAME=1,2"),
        (["--structures", "=1,2"], "'=1,2' is not a structure; write NAME=1,2"),
        (["--structures", "tail=1", "tail=2"], "--structures: two have one name"),
        (
            ["--structures", "a=0", "b=1", "c=22", "--activation", "sigmoid"],
            "c: 22 is not a label value; choose from [0, 1, 2]",
        ),
        (["--patient-pattern", "("], "is not a regular expression"),
        (["--patient-pattern", "patient"], "has 0 groups"),
        (["--num-bins", "0"], "error: --num-bins: is 0; give 1 or more"),
        (["--jobs", "-1"], "error: --jobs: is -1; give 1 or more"),
    ],
)
def test_words_that_cannot_be_meant_have_exit_code_2(words, said, study, run):
    """Before the first volume is read."""
    result = run(study.nnunet(), study.labels, *words)

    assert said in refusal(result, code=2)
    assert "Auditing" not in result[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("posterior=2 whole=1,2", "whole=1,2 posterior=2 in this order"),
        ("whole=1,2 anterior=1", "whole=1,2 posterior=2 in this order"),
        ("whole=1,2", "whole=1,2 posterior=2 in this order"),
        ("all=2,1 tail=2", None),
    ],
)
def test_structures_have_the_order_of_the_channels(words, said, regions, run):
    """The regions of dataset.json say it; their names may be others."""
    result = run(regions.channels(), regions.labels, "--structures", *words.split())

    if said is None:
        assert result[0] == 0
    else:
        assert said in refusal(result, code=2)


def test_classes_of_a_dataset_say_the_order_of_structures_alone(regions, run):
    """Regions may be made of them; but the classes themselves are in the order of the file."""
    regions.dataset = {"labels": {"background": 0, "anterior": 1, "posterior": 2}}
    folders = [regions.channels(), regions.labels, "--activation", "sigmoid", "--structures"]

    assert run(*folders, "whole=1,2", "posterior=2")[0] == 0
    assert "in this order" in refusal(run(*folders, "posterior=2", "anterior=1"), code=2)


def test_sigmoid_needs_its_structures(regions, run):
    """Nothing is guessed: neither the labels of channels, nor a softmax where regions overlap."""
    place = regions.channels(dataset=False)
    labels = regions.labels

    line = refusal(run(place, labels, "--activation", "sigmoid"), code=2)
    assert "--structures: is needed" in line
    line = refusal(run(place, labels))
    assert "say --activation sigmoid" in line
    write_json(place / "dataset.json", regions.dataset)
    line = refusal(run(place, labels, "--activation", "softmax"), code=2)
    assert "regions that overlap" in line


def test_case_in_two_folds_is_refused(study, run):
    """It would count twice."""
    place = study.training()
    study.npz(place / "fold_4" / "validation", BAD)

    assert "has the name of" in refusal(run(place, study.labels))


@pytest.mark.parametrize(
    "content", [HOSTILE, b"\x80\x04", pickle.dumps([1]), pickle.dumps(print), b""]
)
def test_pickle_that_could_run_or_is_damaged_is_not_loaded(content, tmp_path):
    """Numbers, text, containers and arrays alone are read."""
    file = tmp_path / "case.pkl"
    file.write_bytes(content)

    with pytest.raises(InputError, match=r"case\.pkl: "):
        read_plain(file)


def test_pickle_runs_nothing(tmp_path):
    """Not even before it is refused; what nnU-Net writes, with NumPy's numbers and arrays, is read."""
    trace, file = tmp_path / "trace", tmp_path / "case.pkl"
    file.write_bytes(f"cos\nsystem\n(S'touch {trace}'\ntR.".encode())
    with pytest.raises(InputError, match=r"it asks for os\.system"):
        read_plain(file)
    assert not trace.exists()

    plain = {"a": np.float64(1.5), "b": [1, (2, 3)], "c": np.eye(2), "d": {"x": None}}
    file.write_bytes(pickle.dumps(plain))
    np.testing.assert_equal(read_plain(file), plain)
