"""Predictions and label maps find each other by name, and each at most once."""

import concurrent.futures
import os

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.images import Prediction, Probabilities, pair, read_labels
from nacl_monai.predictions.names import Names
from nacl_monai.predictions.readers import named
from nacl_monai.predictions.study import processes
from tests.predictions.conftest import save
from tests.same import same_values


def predictions(tmp_path, *names):
    return [Prediction(name, {"": tmp_path / f"{name}.npz"}) for name in names]


@pytest.mark.parametrize("predicted", ["a", "a_0000"])
@pytest.mark.parametrize("labeled", ["a", "a_0000"])
def test_names_are_equal_but_for_the_channel_of_an_image(predicted, labeled, tmp_path):
    """The case has the plain name."""
    patterns = Names()
    labels = patterns.labels({name: tmp_path / f"{name}.nii.gz" for name in (labeled, "b_0001")})
    used = named(predictions(tmp_path, predicted, "b_0001"), patterns)
    pairs, faults = pair(used, [labels], tmp_path)

    assert [prediction.case for prediction, _ in pairs] == ["a", "b_0001"]
    assert not faults


@pytest.mark.parametrize(
    ("patterns", "names"),
    [(Names(), ("a", "a_0000")), (Names(r"pred_(\d)_.", r"(\d)_seg"), ("pred_7_x", "pred_7_y"))],
)
def test_two_predictions_of_one_case_are_refused(patterns, names, tmp_path):
    """What is written of one would replace what is written of the other."""
    with pytest.raises(InputError, match="has the name of .*; leave one of them out"):
        named(predictions(tmp_path, *names), patterns)


@pytest.mark.parametrize("rows", ["a,x\na,y", "a,x\nb,x"])
def test_row_of_a_table_of_pairs_that_collides_is_refused(rows, tmp_path):
    """One of both would be dropped without a word."""
    table = tmp_path / "pairs.csv"
    table.write_text(f"prediction,label\n{rows}\n")

    with pytest.raises(InputError, match=r"pairs\.csv: has 2 rows of '[ax]'; leave one"):
        Names(pairs=table).of_prediction("a")


def test_classes_beyond_a_byte_keep_their_numbers(tmp_path):
    """A parcellation of the brain may have more than 256."""
    values = np.arange(300).reshape(10, 6, 5)
    channels = Channels("softmax", {f"class_{k}": (k,) for k in range(300)})
    save(tmp_path / "a.nii.gz", values.astype(np.int16))
    predicted = Probabilities(np.zeros((300, 5, 6, 10)), None, tmp_path, tmp_path)

    labels = read_labels(tmp_path / "a.nii.gz", channels, predicted)

    same_values(labels.classes, values.T)


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


def test_blocks_of_one_command_share_its_processes():
    """So that each process starts once; another command has its own."""
    with processes(2) as outer:
        with processes(2) as inner, processes(3) as more, processes(1) as alone:
            assert inner == outer != more
            assert alone is map
        with processes(2) as later:
            assert later == outer
    with processes(2) as another:
        assert another != outer


def test_validation_of_a_fold_has_a_part_of_the_labeled_cases(tmp_path):
    """Elsewhere label maps without a prediction are no fault, either."""
    labels = {name: tmp_path / f"{name}.nii.gz" for name in "abcd"}
    of_fold, alone = (
        [Prediction("b", {"": tmp_path / folder / "b.npz"})] for folder in ("validation", "other")
    )

    assert pair(of_fold, [labels], tmp_path)[1] == []
    assert pair(alone, [labels], tmp_path)[1] == []
