"""What would be measured without a word: each is refused in one line, and its neighbor is not."""

import io
import json
import zipfile

import numpy as np
import pytest

from nacl_monai import audit
from nacl_monai.audits.channels import Channels, read_dataset
from nacl_monai.audits.checks import check_agreement, check_channels
from nacl_monai.audits.images import Prediction, Probabilities
from nacl_monai.audits.layouts import read_npz
from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError
from tests.audits.conftest import save

PROBS = np.full((2, 3, 4, 5), 0.5)
LABELS = np.arange(60).reshape(3, 4, 5) % 2


@pytest.mark.parametrize("odd", [np.nan, -1.0, 2.0])
def test_mask_is_of_zeros_and_ones(odd):
    """What is not a number, or below 0, is not inside."""
    mask = np.ones((3, 4, 5))
    audit(PROBS, LABELS, mask=mask)
    mask[1, 2, 3] = odd

    with pytest.raises(InputError, match="mask: holds other numbers than 0 and 1"):
        audit(PROBS, LABELS, mask=mask)


@pytest.mark.parametrize("name", ["probs", "labels", "mask"])
def test_mask_of_numpy_is_not_lost(name):
    """Its hidden values would count."""
    arrays = {"probs": PROBS, "labels": LABELS, "mask": np.ones((3, 4, 5))}
    arrays[name] = np.ma.masked_array(arrays[name], arrays[name] == 0)

    with pytest.raises(InputError, match=f"{name}: hides values by a mask of NumPy's own"):
        audit(**arrays)
    with pytest.raises(InputError, match=f"{name}: hides values"):
        audit(**{key: [value] for key, value in arrays.items()})


def test_percent_in_bytes_are_named_though_none_is_100(tmp_path):
    """Their sums over classes are those of percent."""
    first = np.full((3, 4, 5), 97, np.uint8)
    first[0] = 60
    file = tmp_path / "a.nii.gz"
    predicted = Probabilities(np.stack([first, 100 - first]), None, file, file)

    with pytest.raises(InputError, match="as percent do, but whole numbers are taken for 255ths"):
        check_channels(Prediction("a", {"": file}), predicted, CLASSES)


CLASSES = Channels("softmax", {"background": (0,), "lesion": (1,)})


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

    with pytest.raises(InputError, match=r"dataset.json: is damaged; give another with --dataset"):
        read_dataset(file)


@pytest.mark.parametrize(
    ("cases", "pattern", "message"),
    [
        (["p1_a", "p12_a"], r"(p\d)", "p12_a: --patient-pattern .* takes a part of its number"),
        (["caf\u00e9_1", "cafe\u0301_2"], "(caf[^_]+)_", "two forms of Unicode"),
        (["p1_a", "p12_a"], r"(p\d+)", None),
        (["000101", "000102", "000201"], r"(\d{4})", None),
    ],
)
def test_pattern_neither_merges_patients_nor_divides_one(cases, pattern, message):
    """p1 and p12 are two, and one name in two forms is one; numbers of one width may hold two."""
    if message is None:
        assert len(patients_of(cases, pattern)) == len(cases)
        return
    with pytest.raises(InputError, match=message):
        patients_of(cases, pattern)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_overlapping_structures_are_painted_as_nnunet_does(tmp_path, dtype):
    """In the order that dataset.json has, later over earlier; another segmentation is named."""
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    description = {"labels": labels, "regions_class_order": [1, 2]}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    channels = read_dataset(tmp_path / "dataset.json")
    whole, core = np.zeros((2, 6, 6, 6))
    whole[1:5], core[2:4] = 0.9, 0.8
    core[3, 3, 3] = 0.5  # neither inside nor outside
    probs = np.stack([whole, core])
    probs = probs.astype(dtype) if dtype != np.uint8 else (255 * probs).astype(dtype)
    painted = np.where(core > 0.5, 2, np.where(whole > 0.5, 1, 0))
    for shown, refused in ((painted, False), (painted[::-1], False), (painted == 2, True)):
        file = tmp_path / "a.nii.gz"
        save(file, shown.T.astype(np.uint8))
        predicted = Probabilities(probs, None, tmp_path / "a.npz", file, segmentation=file)
        if refused:
            with pytest.raises(InputError, match=r"a.npz: its most probable classes are not those"):
                check_agreement(predicted, channels)
        else:
            check_agreement(predicted, channels)
