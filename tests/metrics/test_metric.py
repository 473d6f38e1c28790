import math
import subprocess
import sys
from functools import partial

import metric_worker
import pytest
import torch
from ignite.engine import Engine
from metric_samples import random_case
from monai.data import MetaTensor
from monai.handlers import IgniteMetricHandler

from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    REGIONS,
    CalibrationBins,
    CalibrationMetric,
    brier_score,
    calibration_bins,
    classwise_calibration_error,
    classwise_errors,
    confidence_gap,
    expected_calibration_error,
    negative_log_likelihood,
    region_mask,
)

PROBS, LABELS = metric_worker.data()  # the last case has no foreground


def filled(*arguments, **options):
    metric = CalibrationMetric(*arguments, **options)
    metric(PROBS[:3], LABELS[:3, None])
    metric([PROBS[3]], [LABELS[3:]])
    return metric


def case(index):
    return PROBS[index : index + 1], LABELS[index : index + 1]


@pytest.mark.parametrize("region", REGIONS)
def test_case_errors_are_those_of_the_functions(region):
    """Each error of each case and region is what the function of that name gives."""
    errors = filled().case_errors()
    column = REGIONS.index(region)

    for name, function in {
        "ece": expected_calibration_error,
        "cece": classwise_calibration_error,
        "confidence_gap": confidence_gap,
        "nll": negative_log_likelihood,
        "brier": brier_score,
    }.items():
        expected = [function(*case(i), region=region) for i in range(4)]
        actual = errors[name][:, column].tolist()
        assert actual == pytest.approx(expected, nan_ok=True, abs=1e-6)


@pytest.mark.parametrize("region", REGIONS)
def test_pooled_errors_are_those_of_all_voxels(region):
    """Pooling the cases is the same as one call with all voxels, not a mean of means."""
    pooled = filled().pooled_errors()
    column = REGIONS.index(region)

    assert pooled["ece"][column].item() == pytest.approx(
        expected_calibration_error(PROBS, LABELS, region=region)
    )
    assert pooled["nll"][column].item() == pytest.approx(
        negative_log_likelihood(PROBS, LABELS, region)
    )


def test_pooling_can_cancel():
    """Two opposite volumes at 0.8 are each wrong by 0.2 and right when pooled."""
    probs = torch.tensor([0.2, 0.8])[None, :, None, None].expand(2, 2, 1, 10)
    labels = torch.ones(2, 1, 1, 10)
    labels[0, ..., :4] = 0
    metric = CalibrationMetric(regions=["all"])
    metric(probs, labels)

    numbers = metric.aggregate()

    assert numbers["ece_all"] == pytest.approx(0.2)
    assert numbers["ece_all_pooled"] == pytest.approx(0, abs=1e-7)


def test_empty_regions_are_counted_and_left_out():
    """A case without foreground is NaN, stays out of the mean, and is counted."""
    metric = filled(regions=["foreground", "all"])
    numbers = metric.aggregate()

    expected = sum(expected_calibration_error(*case(i)) for i in range(3)) / 3
    assert numbers["ece_foreground"] == pytest.approx(expected)
    assert math.isnan(metric.case_errors()["ece"][3, 0])
    assert (numbers["empty_foreground"], numbers["empty_all"]) == (1, 0)
    assert metric.empty_regions().tolist() == [1, 0]


def test_bins_of_each_case():
    """The bins of each case and region can be read: cases × regions × rows × bins."""
    bins = filled(num_bins=5).case_bins()

    assert bins.counts.shape == (4, len(REGIONS), 4, 5)
    alone = calibration_bins(*case(0), mask=LABELS[:1] != 0, num_bins=5)
    assert torch.equal(bins[0, REGIONS.index("foreground")].counts, alone.counts)


def test_errors_per_class():
    """Errors per class column, per case and pooled; include_absent=False makes absent ones NaN."""
    metric = filled(regions=["foreground"], include_absent=False)
    bins = calibration_bins(PROBS, LABELS, LABELS != 0)

    assert metric.class_errors().shape == (4, 1, 3)
    torch.testing.assert_close(
        metric.pooled_class_errors()[0],
        classwise_errors(bins, include_absent=False),
        equal_nan=True,
    )
    assert metric.class_errors()[..., 0].isnan().all()


def test_background_column_out():
    """The background column can be left out of the class-wise error."""
    numbers = filled(regions=["all"], include_background=False).aggregate()

    assert numbers["cece_all_pooled"] == pytest.approx(
        classwise_calibration_error(PROBS, LABELS, region="all", include_background=False)
    )


def test_regions_of_your_own():
    """A mapping gives regions of your own; a mask restricts every region."""
    regions = {
        "thin": partial(region_mask, "boundary", width=1),
        "class_1": lambda labels, prediction: (labels == 1) | (prediction == 1),
    }
    metric = CalibrationMetric(regions=regions)
    mask = torch.zeros_like(LABELS)
    mask[:, :5] = 1
    metric(PROBS, LABELS, mask=mask)
    in_lists = CalibrationMetric(regions=regions)
    in_lists(list(PROBS), list(LABELS[:, None]), mask=list(mask[:, None]))

    expected = expected_calibration_error(
        PROBS, LABELS, region=region_mask("boundary", LABELS, width=1) & (mask > 0)
    )
    assert metric.region_names == ("thin", "class_1")
    assert metric.pooled_errors()["ece"][0].item() == pytest.approx(expected)
    assert metric.aggregate() == pytest.approx(in_lists.aggregate(), nan_ok=True)


def test_spacing_from_metadata():
    """With spacing "pixdim" the band is measured in the millimetres of each case."""
    affine = torch.diag(torch.tensor([1.0, 3.0, 1.0, 1.0]))
    labels = MetaTensor(LABELS[:1, :, :, None], affine=affine)  # (1, *spatial), one case
    probs = PROBS[0, ..., None]
    metric = CalibrationMetric(regions=["boundary"], boundary_width=2.0, spacing="pixdim")
    metric([probs], [labels])

    mask = region_mask("boundary", LABELS[:1, :, :, None], width=2.0, spacing=(1.0, 3.0, 1.0))
    assert metric.case_bins().counts[0, 0, 0].sum() == mask.sum()
    with pytest.raises(InputError, match="MetaTensor"):
        metric([probs], [labels.as_tensor()])


def test_state_does_not_grow_with_voxels():
    """The state of a case is its bins, however many voxels it has."""
    small, large = (CalibrationMetric() for _ in range(2))
    small(*random_case((1, 3, 4, 4)))
    large(*random_case((1, 3, 64, 64)))

    sizes = [[buffer.shape for buffer in metric.get_buffer()] for metric in (small, large)]
    assert sizes[0] == sizes[1]


def test_in_a_monai_handler():
    """In MONAI's Ignite handler each number appears in engine.state.metrics, anew each epoch."""
    batches = [(PROBS[:2], LABELS[:2, None]), (list(PROBS[2:]), list(LABELS[2:, None]))]
    engine = Engine(lambda _, batch: batch)
    metric = CalibrationMetric()
    IgniteMetricHandler(metric_fn=metric).attach(engine, "calibration")

    engine.run(batches, max_epochs=2)

    expected = filled().aggregate()
    assert {key: engine.state.metrics[key] for key in expected} == pytest.approx(
        expected, nan_ok=True
    )
    assert engine.state.metric_details["calibration"][0].shape[0] == 4
    assert len(metric) == 4


def test_no_volume():
    """Numbers of nothing are refused."""
    with pytest.raises(InputError, match="no volume"):
        CalibrationMetric().aggregate()


@pytest.mark.parametrize("regions", [["edge"], [], "foreground"])
def test_unknown_regions(regions):
    """Unknown regions are refused when the metric is made, not after an hour of evaluation."""
    with pytest.raises(InputError, match="regions must be among"):
        CalibrationMetric(regions=regions)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    """Two gloo processes with 3 and 1 cases report on each the numbers and bins of one process."""
    command = [sys.executable, metric_worker.__file__]
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]

    expected = filled()
    for rank in range(2):
        numbers, bins = torch.load(tmp_path / f"{rank}.pt")
        assert numbers == pytest.approx(expected.aggregate(), nan_ok=True)
        assert torch.equal(CalibrationBins(**bins).counts, expected.case_bins().counts)
