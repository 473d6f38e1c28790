"""Predictions and label maps find each other by name, and each at most once."""

import concurrent.futures
import os

import numpy as np
import pytest

from nacl_monai.audits.channels import Channels
from nacl_monai.audits.images import Prediction, Probabilities
from nacl_monai.audits.labels import pair, read_labels
from nacl_monai.audits.reading import processes
from nacl_monai.errors import InputError
from tests.audits.conftest import save


def predictions(tmp_path, *names):
    return [Prediction(name, {"": tmp_path / f"{name}.npz"}) for name in names]


@pytest.mark.parametrize("predicted", ["a", "a_0000"])
@pytest.mark.parametrize("labeled", ["a", "a_0000"])
def test_names_are_equal_but_for_the_channel_of_an_image(predicted, labeled, tmp_path):
    """The case has the name of its label map."""
    labels = {name: tmp_path / f"{name}.nii.gz" for name in (labeled, "b_0001")}
    pairs, faults = pair(predictions(tmp_path, predicted, "b_0001"), [labels], tmp_path)

    assert [one.case for one, _ in pairs] == [labeled, "b_0001"]
    assert not faults


def test_two_predictions_of_one_label_are_a_fault(tmp_path):
    """A case counts once."""
    labels = {"a": tmp_path / "a.nii.gz"}
    pairs, faults = pair(predictions(tmp_path, "a", "a_0000"), [labels], tmp_path)

    assert len(pairs) == len(faults) == 1
    assert "a_0000.npz: is the case of" in str(faults[0])


def test_classes_beyond_a_byte_keep_their_numbers(tmp_path):
    """A parcellation of the brain may have more than 256."""
    values = np.arange(300).reshape(10, 6, 5)
    channels = Channels("softmax", {f"class_{k}": (k,) for k in range(300)})
    save(tmp_path / "a.nii.gz", values.astype(np.int16))
    predicted = Probabilities(np.zeros((300, 5, 6, 10)), None, tmp_path, tmp_path)

    labels = read_labels(tmp_path / "a.nii.gz", channels, predicted)

    np.testing.assert_array_equal(labels.classes, values.T)


def die(_):
    os._exit(9)


@pytest.mark.nightly
def test_process_that_is_killed_is_one_line():
    """As the system does where memory is short."""
    with pytest.raises(InputError, match="most likely for its memory"), processes(2) as apply:
        list(apply(die, [1, 2]))


def test_broken_pool_is_one_line():
    """Whatever broke it."""
    with pytest.raises(InputError, match="--jobs: one of 2 processes was killed"), processes(2):
        raise concurrent.futures.process.BrokenProcessPool


def test_validation_of_a_fold_has_a_part_of_the_labeled_cases(tmp_path):
    """Elsewhere label maps without a prediction are one fault, which counts them."""
    labels = {name: tmp_path / f"{name}.nii.gz" for name in "abcd"}
    of_fold, alone = (
        [Prediction("b", {"": tmp_path / folder / "b.npz"})] for folder in ("validation", "other")
    )

    assert pair(of_fold, [labels], tmp_path)[1] == []
    (fault,) = pair(alone, [labels], tmp_path)[1]
    assert str(fault) == (
        f"{tmp_path}/a.nii.gz and 2 more have no prediction in {tmp_path}; predict it, or leave it out"
    )
