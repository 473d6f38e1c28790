"""What an evaluator's outputs are read as."""

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.transforms import AsDiscrete

from nacl_monai.errors import InputError
from nacl_monai.training import most_probable_class
from nacl_monai.training.outputs import (
    batch_entries,
    image_files,
    probabilities_and_labels,
    probabilities_of,
    without_ignored,
)

BATCHES = [
    [{"case": "a", "patient": "p"}, {"case": "b", "patient": "p"}],
    {"case": ["a", "b"], "patient": ["p", "p"]},
]


def engine(batch=None, output=None):
    made = Engine(lambda *_: None)
    made.state.batch, made.state.output = batch, output
    return made


@pytest.mark.parametrize("batch", BATCHES)
def test_entries_of_a_batch_collated_or_not(batch):
    """A batch is a list of dictionaries or a dictionary of lists."""
    assert batch_entries(engine(batch), "case") == ["a", "b"]
    assert batch_entries(engine(batch), "patient") == ["p", "p"]


@pytest.mark.parametrize("batch", [*BATCHES, [torch.zeros(2), torch.zeros(2)], torch.zeros(2)])
def test_entries_that_are_not_there_are_none(batch):
    """Whatever a batch is."""
    assert batch_entries(engine(batch), "name") == []


def test_files_are_those_of_the_images_metadata():
    """For a batch, whose predictions may be lists, and for decollated cases; "" without metadata."""
    image = MetaTensor(torch.zeros(2, 1, 3, 3), meta={"filename_or_obj": ["a.nii", "b.nii"]})
    heads = [torch.zeros(2, 2, 3, 3)] * 2

    assert image_files(engine(output={"image": image, "pred": heads})) == ["a.nii", "b.nii"]
    assert image_files(engine(output=[{"image": torch.zeros(1, 3, 3)}, {}])) == ["", ""]


def test_probabilities_are_preferred_to_the_prediction():
    """Which may then be anything."""
    probs = torch.rand(2, 3)

    assert probabilities_of({"probabilities": probs, "pred": torch.zeros(1, 3)}) is probs
    assert probabilities_of({"pred": probs}) is probs


@pytest.mark.parametrize("output", [{}, {"pred": None}, {"pred": torch.tensor([[0.0], [1.0]])}])
def test_labels_are_no_probabilities(output):
    """Nor is nothing; the line says how to keep them."""
    with pytest.raises(InputError, match=r"^pred: .*CopyItemsd\('pred', names='probabilities'\)"):
        probabilities_of(output)


def test_output_of_another_engine_is_refused():
    """By its type."""
    with pytest.raises(InputError, match="^output: of the evaluator is a Tensor"):
        probabilities_and_labels(torch.zeros(3))


def test_voxels_to_be_ignored_are_of_no_structure():
    """Neither in a label map nor in masks of structures; the output stays as it is."""
    label = torch.tensor([[1, 9, 2]], dtype=torch.uint8)
    masks = torch.tensor([[1, 1, 0], [0, 1, 1]])
    output = [{"label": label, "pred": torch.tensor([[2, 2, 0]]), "masks": masks}]
    (pred,), (of_label,) = without_ignored(output, ["pred", "label"], 9)
    ((of_structures,),) = without_ignored(output, ["masks"], 9)

    assert (pred.tolist(), of_label.tolist()) == ([[2, 0, 0]], [[1, 0, 2]])
    assert of_structures.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert label.tolist() == [[1, 9, 2]]


def test_classes_are_those_of_monai_in_integers():
    """On a volume with its geometry, which stays."""
    torch.manual_seed(0)
    probs = MetaTensor(torch.randn(4, 5, 6, 7).softmax(dim=0), affine=2 * torch.eye(4))

    classes = most_probable_class(probs)

    assert classes.shape == (1, 5, 6, 7)
    assert classes.dtype == torch.int64
    assert torch.equal(classes.affine, probs.affine)
    assert torch.equal(classes.float().as_tensor(), AsDiscrete(argmax=True)(probs).as_tensor())
