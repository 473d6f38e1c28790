"""Each fault is one line that names the file; the other cases are audited all the same."""

import gzip
import io
import os
import pickle
import struct
import sys
import zipfile

import nibabel
import numpy as np
import pandas as pd
import pytest

from nacl_monai.errors import InputError
from nacl_monai.predictions.channels import Channels, read_dataset_json
from nacl_monai.predictions.images import Prediction, Probabilities
from nacl_monai.predictions.layouts import read_npz, read_plain
from nacl_monai.predictions.readers import check_channels
from tests.predictions.conftest import AFFINE, SHAPE, Study, itk, moved, save, write_json
from tests.same import same_bits

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
    """Writes the segmentation elsewhere along x."""
    return lambda place, probs: save(
        place / f"{BAD}.nii.gz", probs.argmax(0).astype(np.uint8), moved(x)
    )


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
    "NaN": (npz(lambda p: p * np.nan), "npz: holds NaN; predict the case again"),
    "first version": (
        npz(lambda p: p[:, 2:], "softmax"),
        "npz: is of nnU-Net's first version",
        "--save_probabilities",
    ),
    "something else": (
        lambda place, probs: np.savez(place / f"{BAD}.npz", data=probs, label=probs[0]),
        "npz: holds no array 'probabilities', but data, label; save",
    ),
    "truncated": (truncated, "npz: cannot be read (", "predict the case again"),
    "objects": (npz(lambda _: np.array([{}], object)), "npz: cannot be read (", "allow_pickle"),
    "no voxel": (npz(lambda p: p[:, :0]), "npz: holds float32 of the shape (3, 0, 8, 9)"),
    "text": (npz(lambda p: p.astype(str)), "npz: holds <U", "probabilities are numbers"),
    "cropped": (npz(lambda p: p[:, 1:]), "npz: has another shape than", f"{BAD}.nii.gz; predict"),
    "channels": (
        npz(lambda p: p[:2] / p[:2].sum(0)),
        "npz: has 2 channels, but there are 3 classes",
        "--dataset",
    ),
    "moved": (at(2), "nii.gz: its affine puts voxels up to 2 mm away", "--affine_tolerance 2.01"),
    "nowhere": (at(np.nan), "its affine gives the voxels no size; repair its header"),
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
    ),
    "hostile geometry": (geometry(HOSTILE), "pkl: is not a plain record", "os.system"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_a_prediction_is_one_line(fault, study, fault_of):
    """The exit code is 1, and two cases of three are audited."""
    spoil, *parts = FAULTS[fault]
    place = study.nnunet()
    spoil(place, study.cases[BAD][0])

    line = fault_of(BAD, place, study.labels)
    for part in parts:
        assert part in line


def test_label_map_without_a_prediction_is_a_note(study, run):
    """As nnU-Net's labelsTr has those of all folds; the exit code is 0."""
    place = study.nnunet()
    (place / f"{BAD}.npz").unlink()
    code, out, err = run(place, study.labels)

    assert code == 0, err
    assert f"note: 1 label map without a prediction in {place}" in out


#: In the first plane.
SEVENS = np.zeros(SHAPE, np.uint8)
SEVENS[0] = 7


def holding(voxels):
    """Writes another label map."""
    return lambda labels: save(labels / f"{BAD}.nii.gz", voxels)


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
    ("spoil", "message"),
    [
        (holding(SEVENS), "nii.gz: holds the label value 7; expected only [0, 1, 2], by "),
        (holding(SEVENS / 14), "nii.gz: holds 0.5, which is not a label"),
        (holding(np.stack([SEVENS, SEVENS], -1)), "nii.gz: has 2 channels; a label map has one"),
        (damaged, "nii.gz: cannot be read ("),
        (flat, "nii.gz: its affine gives the voxels no size"),
        (no_label, f"npz: has no label map '{BAD}' in "),
    ],
)
def test_fault_of_a_label_is_one_line(spoil, message, study, fault_of):
    """A label outside the classes, no label map, half a file, none at all."""
    spoil(study.labels)

    assert message in fault_of(BAD, study.nnunet(), study.root / "labels")


def test_label_without_a_place_is_one_line_before_it_is_turned(study, run):
    """As a reader of nnU-Net has turned the probabilities."""
    labels = study.labels
    for case in study.cases:
        flat(labels, case)
    place = study.nnunet(plans="NibabelIOWithReorient", beside=False, geometry=False)

    assert ".nii.gz: its affine gives the voxels no size" in run(place, labels)[2]


@pytest.mark.parametrize("shape", [(3, 3, 3), SHAPE], ids=["shape", "place"])
def test_fault_of_an_image_is_one_line(study, fault_of, shape):
    """A file of one class on another grid than the first."""
    place = study.per_class()
    save(place / f"{BAD}_posterior.nii.gz", np.zeros(shape, np.float32), moved(1))

    assert "is on another grid than" in fault_of(BAD, place, study.labels)


def test_files_of_classes_may_lie_as_far_apart_as_labels_may(study, audited):
    """A hundredth of a mm, which storage rounds away."""
    place = study.per_class()
    probs = study.cases[BAD][0]
    save(place / f"{BAD}_posterior.nii.gz", probs[-1], moved(0.009))

    audited(place, study.labels)


def test_class_without_a_file_is_one_line(study, fault_of):
    """The other cases have theirs."""
    place = study.per_class()
    (place / f"{BAD}_posterior.nii.gz").unlink()

    message = "the files of this case are anterior, background, but there are 3 classes"
    assert message in fault_of(BAD, place, study.labels)


def test_header_that_announces_too_much_is_a_fault(tmp_path):
    """More than any machine's memory, in a file of a hundred bytes."""
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (3, 2**16, 2**16, 2**16)}
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("probabilities.npy", stream.getvalue())

    with pytest.raises(InputError, match=r"a.npz: cannot be read"):
        read_npz(Prediction("a", {"": tmp_path / "a.npz"}))


def test_nested_dataset_is_damaged(tmp_path):
    """Five thousand lists in each other."""
    file = tmp_path / "dataset.json"
    file.write_text('{"labels": ' + "[" * 50_000 + "]" * 50_000 + "}")

    # Python 3.14 reads any depth.
    with pytest.raises(
        InputError, match=r"dataset.json: (is damaged|names no labels); give another"
    ):
        read_dataset_json(file)


LABELS = "these are labels; probabilities are needed: nnUNetv2_predict --save_probabilities"


def test_label_maps_are_no_probabilities(study, refused, tmp_path):
    """A folder of hard segmentations says what to do; nothing is made."""
    refused(LABELS, study.labels, study.labels)

    assert not (tmp_path / "audit").exists()


def folders_of_classes(study):
    """As TotalSegmentator writes its masks by default."""
    return study.per_class(name="{case}/{channel}")


@pytest.mark.parametrize(
    ("write", "dtype", "full"),
    [
        (Study.nnunet, np.float32, 1),
        (Study.nnunet, np.float16, 1),
        (Study.nnunet, np.uint8, 255),
        (folders_of_classes, np.uint8, 1),
    ],
)
def test_masks_are_no_probabilities_however_they_are_stored(write, dtype, full, study, refused):
    """MONAI saves one-hot masks as floats: their ECE would be the share of wrong voxels."""
    for case, (probs, label) in study.cases.items():
        masks = probs.argmax(0) == np.arange(len(probs))[:, None, None, None]
        study.cases[case] = (full * masks.astype(dtype), label)

    line = refused(LABELS, write(study), study.labels, read=True)
    assert "no case could be read: " in line


def as_bytes(study, full):
    """Stored as whole numbers up to ``one``, which the surest voxels have."""
    for case, (probs, label) in study.cases.items():
        sure = (1.2 * probs - 0.1).clip(0, 1)
        study.cases[case] = (sure * full).round().astype(np.uint8), label


def test_case_without_any_structure_is_audited(regions, audited):
    """In bytes its probabilities are all 0, and a negative case counts like any other."""
    as_bytes(regions, 255)
    parts = regions.cases["patient0_scan0"]
    regions.cases["nothing"] = tuple(map(np.zeros_like, parts))

    folder = audited(regions.channels(), regions.labels)

    assert "nothing" in pd.read_csv(folder / "cases.csv")["case"].tolist()


def test_percent_in_bytes_are_refused(regions, refused):
    """They would count as 255ths, and no structure would ever be predicted."""
    as_bytes(regions, 100)

    message = "reaches to 100, as percent do, but whole numbers are taken for 255ths"
    refused(message, regions.channels(), regions.labels, read=True)


@pytest.mark.parametrize(("scale", "highest"), [(96, 96), (200, 200)])
def test_low_bytes_of_a_sigmoid_get_a_warning(scale, highest, regions, run):
    """Percent or 200ths, with labels and without: a network may be as unsure."""
    as_bytes(regions, scale)
    message = (
        f"warning: {regions.channels()}: no byte of any case is above {highest}, but bytes are"
    )
    code, _, err = run(regions.channels(), regions.labels)
    assert code == 0
    assert message in err
    assert message in run(regions.channels(), verb="maps", output="maps")[2]

    faint, label = regions.cases["patient0_scan0"]
    regions.cases["patient0_scan0"] = (faint * (255 / scale)).round().astype(np.uint8), label
    assert "no byte" not in run(regions.channels("other"), regions.labels)[2]


def test_probability_that_is_rounded_below_0_is_no_logit(study, fault_of):
    """As by resampling; what to do is another thing."""
    probs, _ = study.cases["patient0_scan0"]
    probs[0, 0, 0, 0], probs[1, 0, 0, 0] = -8.6e-10, probs[:2, 0, 0, 0].sum()
    line = fault_of("patient0_scan0", study.channels(), study.labels)
    assert "rounded beyond 0 and 1, as by resampling; clip it" in line


@pytest.mark.parametrize(("place", "form", "value"), [(70, "<h", 0), (344, "4s", b"none")])
def test_damaged_header_is_no_label_map(place, form, value, study, refused):
    """Of a type that there is not, or of no format."""
    folder = study.channels()
    for file in folder.glob("*.nii.gz"):
        content = bytearray(gzip.decompress(file.read_bytes()))
        struct.pack_into(form, content, place, value)
        file.write_bytes(gzip.compress(bytes(content)))

    refused("cannot be read", folder, study.labels)


def test_percent_in_bytes_are_named_though_none_is_100(tmp_path):
    """Their sums over classes are those of percent."""
    first = np.full((3, 4, 5), 97, np.uint8)
    first[0] = 60
    file = tmp_path / "a.nii.gz"
    predicted = Probabilities(np.stack([first, 100 - first]), None, file, file)
    channels = Channels("softmax", {"background": (0,), "lesion": (1,)})

    with pytest.raises(InputError, match="as percent do, but whole numbers are taken for 255ths"):
        check_channels(Prediction("a", {"": file}), predicted, channels)


def test_bytes_of_a_network_that_is_never_sure_are_audited(regions, audited):
    """Its largest probability may well be 100/255: a peak, which few voxels reach."""
    as_bytes(regions, 90)
    for probs, _ in regions.cases.values():
        probs[0, 0, 0, :3] = 100, 99, 99

    audited(regions.channels(), regions.labels)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_case_of_which_a_network_is_certain_is_audited(dtype, study, audited):
    """All background, to the last digit that is stored."""
    label = np.zeros_like(study.cases[BAD][1])
    certain = np.stack([label + 1, label, label]) * (255 if dtype == np.uint8 else 1)
    study.cases = dict.fromkeys((BAD, "other"), (certain.astype(dtype), label))

    folder = audited(study.nnunet(), study.labels)
    assert (pd.read_csv(folder / "cases.csv")["ece_all"] == 0).all()


def test_folders_that_cannot_be_audited_are_refused(study, refused, tmp_path):
    """No folder, an empty one, other cases, one folder alone."""
    place, labels = study.nnunet(), study.labels
    none, empty, elsewhere = (tmp_path / name for name in ("none", "empty", "others"))
    empty.mkdir()
    save(elsewhere / "other.nii.gz", np.zeros(SHAPE, np.uint8))

    refused("is not a folder; give the folder of the pred", none, labels)
    refused("is not a folder; give the folder of the label", place, none)
    refused("holds no label map", place, empty)
    refused("holds no probabilities in a known layout", empty, labels)
    refused("is the only folder", labels)
    refused("no case has the name of a label map", place, elsewhere)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "one": 1, "ignore": 1}, "ignore is 1, but must be one value above"),
        ({"one": 1, "two": 2, "three": 3}, "the smallest value must be 0, the background"),
    ],
)
def test_labels_that_a_dataset_cannot_mean_are_refused(labels, message, study, refused):
    """Else voxels would be left out, or labeled as the first class, without a word."""
    study.dataset = {"labels": labels}

    refused(f"dataset.json: labels: {message}", study.channels(), study.labels)


@pytest.mark.parametrize("word", ["--dataset", "--patients", "--calibrator"])
def test_file_that_is_read_is_not_replaced(study, audited, refused, word):
    """Its table would go with the folder."""
    folders = study.nnunet(), study.labels
    table = audited(*folders) / "cases.csv"

    refused(f"of which {table} is read, and would be replaced", *folders, word, table, code=2)


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
def test_name_that_is_not_utf8_is_refused_before_the_first_volume(study, refused):
    """Tables could not hold it."""
    place, labels = study.nnunet(), study.labels
    for folder, ending in ((place, b".npz"), (labels, b".nii.gz")):
        name = folder / os.fsdecode(BAD.encode() + b"\xe9" + ending)
        (folder / f"{BAD}{ending.decode()}").rename(name)

    refused(f"{BAD}\\xe9.nii.gz: its name is not UTF-8; rename it", place, labels)


@pytest.mark.parametrize("first", [0, 1])
def test_empty_file_is_a_fault_of_its_case_alone(study, fault_of, first):
    """The first as well, by which the layout is known."""
    place, case = study.channels(), sorted(study.cases)[first]
    (place / f"{case}.nii.gz").write_bytes(b"")

    fault_of(case, place, study.labels)


@pytest.mark.parametrize(
    ("args", "message"),
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
def test_words_that_cannot_be_meant_have_exit_code_2(args, message, study, refused):
    """Before the first volume is read."""
    refused(message, study.nnunet(), study.labels, *args, code=2)


@pytest.mark.parametrize("args", ["posterior=2 whole=1,2", "whole=1,2 anterior=1", "whole=1,2"])
def test_structures_have_the_order_of_the_channels(args, regions, audited, refused):
    """The regions of dataset.json say it; their names may be others."""
    folders = regions.channels(), regions.labels, "--structures"

    refused("whole=1,2 posterior=2 in this order", *folders, *args.split(), code=2)
    audited(*folders, "all=2,1", "tail=2")


def test_classes_of_a_dataset_say_the_order_of_structures_alone(regions, audited, refused):
    """Regions may be made of them; but the classes themselves are in the order of the file."""
    regions.dataset = {"labels": {"background": 0, "anterior": 1, "posterior": 2}}
    args = [regions.channels(), regions.labels, "--activation", "sigmoid", "--structures"]

    audited(*args, "whole=1,2", "posterior=2")
    refused("in this order", *args, "posterior=2", "anterior=1", code=2)


def test_sigmoid_needs_its_structures(regions, refused):
    """Nothing is guessed: neither the labels of channels, nor a softmax where regions overlap."""
    folders = regions.channels(dataset=False), regions.labels

    refused("--structures: is needed", *folders, "--activation", "sigmoid", code=2)
    refused("say --activation sigmoid", *folders, read=True)
    write_json(folders[0] / "dataset.json", regions.dataset)
    refused("regions that overlap", *folders, "--activation", "softmax", code=2)


def test_case_in_two_folds_is_refused(study, refused):
    """It would count twice."""
    place = study.training()
    study.npz(place / "fold_4" / "validation", BAD)

    refused("has the name of", place, study.labels)


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

    array, plain = np.eye(2), {"a": np.float64(1.5), "b": [1, (2, 3)], "d": {"x": None}}
    for protocol in (4, 5):  # 5 is the default from Python 3.14 on
        file.write_bytes(pickle.dumps(plain | {"c": array}, protocol))
        found = read_plain(file)
        same_bits(found.pop("c"), array, "it is read back")
        assert found == plain
