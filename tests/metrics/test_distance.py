import math

import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import compute_hausdorff_distance

from nacl_monai.errors import InputError
from nacl_monai.metrics import BoundedHausdorffMetric, hausdorff_distance


def cube(shape, start, size=4):
    mask = torch.zeros(shape)
    mask[tuple(slice(first, first + size) for first in start)] = 1
    return mask


TARGET = cube((12, 12, 12), (2, 2, 2))
SHIFTED = cube((12, 12, 12), (5, 2, 2))
NOTHING = torch.zeros(12, 12, 12)


def one(mask):
    return mask[None, None]


@pytest.mark.parametrize("spacing", [None, (2.0, 1.0, 0.5)])
@pytest.mark.parametrize("percentile", [95.0, 100.0])
def test_equals_monai_where_both_are_there(spacing, percentile):
    """Where both masks hold something it is MONAI's distance."""
    theirs = compute_hausdorff_distance(
        one(SHIFTED), one(TARGET), include_background=True, percentile=percentile, spacing=spacing
    )

    assert torch.equal(hausdorff_distance(one(SHIFTED), one(TARGET), spacing, percentile), theirs)


def test_by_hand():
    """A cube moved by three voxels along the first axis is three voxels, or 6 mm, away."""
    assert hausdorff_distance(one(SHIFTED), one(TARGET)).item() == 3
    assert hausdorff_distance(one(SHIFTED), one(TARGET), (2.0, 1.0, 1.0)).item() == 6
    assert hausdorff_distance(one(TARGET[2]), one(TARGET[2])).item() == 0


def test_missed_is_the_diagonal():
    """A structure that was missed scores the diagonal; on BraTS' grid that is the challenge's."""
    target = torch.zeros(1, 1, 240, 240, 155)
    target[0, 0, 0, 0, 0] = 1

    assert hausdorff_distance(torch.zeros_like(target), target).item() == pytest.approx(
        373.1287, abs=1e-4
    )
    missed = hausdorff_distance(one(NOTHING), one(TARGET), (2.0, 1.0, 1.0)).item()
    assert missed == pytest.approx(math.sqrt(24**2 + 12**2 + 12**2))


@pytest.mark.filterwarnings("ignore:the prediction of class")
def test_monai_gives_no_number_for_missed():
    """MONAI's distance of a missed structure is no finite number, so that its mean hides it."""
    theirs = compute_hausdorff_distance(
        one(NOTHING), one(TARGET), include_background=True, percentile=95
    )

    assert not theirs.isfinite().any()


def test_missed_is_never_better_than_found():
    """No position of a prediction scores worse than no prediction."""
    corner = torch.zeros(12, 12, 12)
    corner[-1, -1, -1] = 1

    assert hausdorff_distance(one(corner), one(TARGET)) < hausdorff_distance(
        one(NOTHING), one(TARGET)
    )


@pytest.mark.parametrize("prediction", [NOTHING, TARGET])
def test_absent_is_nan(prediction):
    """A structure that the ground truth lacks has no distance, predicted or not."""
    assert hausdorff_distance(one(prediction), one(NOTHING)).isnan().all()


def test_metric():
    """The metric leaves out the background and absent structures, from batches or lists."""
    target = torch.stack([1 - TARGET, TARGET, NOTHING])
    prediction = torch.stack([1 - SHIFTED, SHIFTED, NOTHING])
    metric = BoundedHausdorffMetric(reduction="mean_batch")
    metric(prediction[None], target[None])
    metric([torch.stack([1 - NOTHING, NOTHING, NOTHING])], [target])

    expected = [(3 + math.sqrt(3) * 12) / 2, 0]
    assert metric.aggregate().tolist() == pytest.approx(expected, abs=1e-4)
    assert metric.get_buffer()[:, 1].isnan().all()


def test_metric_spacing_from_metadata():
    """With spacing "pixdim" each case is measured in its own millimetres."""
    metric = BoundedHausdorffMetric(include_background=True, spacing="pixdim")
    for size in (2.0, 1.0):
        affine = torch.diag(torch.tensor([size, 1.0, 1.0, 1.0]))
        metric([SHIFTED[None]], [MetaTensor(TARGET[None], affine=affine)])

    assert metric.get_buffer().flatten().tolist() == [6, 3]
    with pytest.raises(InputError, match="pixdim"):
        metric([SHIFTED[None]], [TARGET[None]])


def test_errors():
    """Shapes that disagree and masks that are not binary are refused."""
    with pytest.raises(InputError, match="one shape"):
        hausdorff_distance(one(TARGET), one(TARGET[:6]))
    with pytest.raises(InputError, match="0 and 1"):
        hausdorff_distance(one(TARGET * 0.5), one(TARGET))
