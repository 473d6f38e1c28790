import math
import os
import subprocess
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.handlers import IgniteMetricHandler

import nacl_monai
from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    DEFAULT_ERRORS,
    ERRORS,
    REGIONS,
    CalibrationBins,
    CalibrationMetric,
    brier_score,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    negative_log_likelihood,
    region_mask,
)
from nacl_monai.metrics.bins import ScoreSums, ThresholdedBins
from nacl_monai.metrics.fine_bins import FineBins
from tests.metrics import metric_worker
from tests.metrics.oracles import cases, measured, random_case
from tests.same import same_values

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
    position = list(REGIONS).index(region)

    for name, function in {
        "ece": expected_calibration_error,
        "cece": classwise_calibration_error,
        "confidence_gap": confidence_gap,
        "nll": negative_log_likelihood,
        "brier": brier_score,
    }.items():
        expected = [function(*case(i), region=region).item() for i in range(4)]
        actual = errors[name][:, position].tolist()
        assert actual == pytest.approx(expected, nan_ok=True, abs=1e-6)


@given(cases())
@settings(max_examples=25, deadline=None)
def test_pooled_errors_are_those_of_one_large_case(batch):
    """Every error of the sums of all cases is that of their voxels in a single case."""
    probs, labels, mask = batch
    options = {"num_bins": 7, "errors": ERRORS, "regions": ["all", "union"]}
    large = probs.movedim(1, 0).flatten(1), labels.flatten()[None], mask.flatten()[None]

    pooled = measured(probs, labels, mask, **options).pooled_errors()
    whole = measured(*(voxels[None] for voxels in large), **options).case_errors()

    for name in ERRORS:
        torch.testing.assert_close(pooled[name], whole[name][0], rtol=0, atol=1e-6, equal_nan=True)


def test_empty_regions_are_counted_and_left_out():
    """A case without foreground is NaN, stays out of the mean, and is counted."""
    metric = filled(regions=["foreground", "all"])
    numbers = metric.aggregate()

    expected = sum(expected_calibration_error(*case(i)).item() for i in range(3)) / 3
    assert numbers["ece_foreground"] == pytest.approx(expected)
    assert math.isnan(metric.case_errors()["ece"][3, 0])
    assert (numbers["empty_foreground"], numbers["empty_all"]) == (1, 0)
    assert metric.empty_regions().tolist() == [1, 0]


def test_mapping_gives_regions_of_your_own_and_a_mask_restricts_them():
    """A mapping gives regions of your own; a mask restricts every region."""
    regions = {
        "thin": partial(region_mask, "boundary", width=1),
        "class_1": lambda labels, prediction: (labels == 1) | (prediction == 1),
        "all": None,
    }
    mask = torch.zeros_like(LABELS)
    mask[:, :5] = 1

    metric = measured(PROBS, LABELS, mask, regions=regions)
    lists = map(list, (PROBS, LABELS[:, None], mask[:, None]))
    in_lists = measured(*lists, regions=regions)

    expected = expected_calibration_error(
        PROBS, LABELS, region=region_mask("boundary", LABELS, width=1) & (mask > 0)
    ).item()
    assert metric.region_names == ("thin", "class_1", "all")
    assert metric.case_bins().voxels()[:, 2].tolist() == [55] * 4
    assert metric.pooled_errors()["ece"][0].item() == pytest.approx(expected)
    assert metric.aggregate() == pytest.approx(in_lists.aggregate(), nan_ok=True)


def test_any_number_of_regions_of_your_own_get_what_each_gets_alone():
    """One for each of many structures, say, though each might double the pieces of all others."""
    probs, labels = random_case((2, 4, 6, 5))
    names = [f"from {k}" for k in range(70)]

    def region(k):
        return lambda labels: labels > k % 4 if k % 7 else None

    metric = measured(probs, labels, regions={name: region(k) for k, name in enumerate(names)})

    for k in (0, 1, 5, 6, 69):
        alone = measured(probs, labels, regions={names[k]: region(k)})
        for error, values in metric.case_errors().items():
            torch.testing.assert_close(
                values[:, k], alone.case_errors()[error][:, 0], equal_nan=True, rtol=1e-9, atol=1e-9
            )


def test_spacing_is_read_from_metadata():
    """With spacing "pixdim" the band is measured in the millimetres of each case."""
    affine = torch.diag(torch.tensor([1.0, 3.0, 1.0, 1.0]))
    labels = MetaTensor(LABELS[:1, :, :, None], affine=affine)  # (1, *spatial), one case
    probs = PROBS[0, ..., None]
    options = {"boundary_width": 2.0, "spacing": "pixdim"}

    metric = measured([probs], [labels], regions=["boundary"], **options)

    mask = region_mask("boundary", LABELS[:1, :, :, None], width=2.0, spacing=(1.0, 3.0, 1.0))
    assert metric.case_bins().counts[0, 0, 0].sum() == mask.sum()


def test_monai_handler_reports_each_number_anew_each_epoch():
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


def test_numbers_of_nothing_are_refused():
    """Numbers of nothing are refused."""
    with pytest.raises(InputError, match="has seen no case"):
        CalibrationMetric().aggregate()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": ["edge"]}, "region: 'edge' is unknown"),
        ({"errors": ["dice"]}, r"errors: is \['dice'\]"),
        ({"num_bins": 0}, "num_bins: is 0"),
        ({"num_raters": 0}, "num_raters: is 0"),
        ({"threshold": 1.0}, "threshold: is 1.0"),
    ],
)
def test_what_cannot_be_is_refused_when_the_metric_is_made(options, message):
    """Not after an hour of evaluation."""
    with pytest.raises(InputError, match=message):
        CalibrationMetric(**options)


@pytest.mark.parametrize("error", ERRORS)
def test_error_that_is_asked_for_alone_is_the_same(error):
    """One error alone has the value that it has among all, and nothing else is reported."""
    everything = filled(num_bins=7, errors=ERRORS).aggregate()

    numbers = filled(num_bins=7, errors=[error], regions=["union", "foreground"]).aggregate()

    assert list(numbers) == [
        name.format(region)
        for region in ("union", "foreground")
        for name in (f"{error}_{{}}", f"{error}_{{}}_pooled", "empty_{}")
    ]
    assert numbers == {name: everything[name] for name in numbers}


@pytest.mark.parametrize(
    ("errors", "kinds"),
    [
        (["ece", "cece"], []),
        (["adaptive_ece"], [FineBins]),
        (["smooth_ece", "aurc", "error_auroc"], [FineBins]),
        (["brier", "nll"], [ScoreSums]),
        (["thresholded_cece"], [ThresholdedBins]),
        (DEFAULT_ERRORS, [FineBins, ScoreSums]),
        (ERRORS, [FineBins, ScoreSums, ThresholdedBins]),
    ],
)
def test_only_what_the_errors_need_is_kept(errors, kinds):
    """Beside the bins, from which reports are drawn."""
    kept = measured(PROBS, LABELS, errors=errors).get_buffer()

    assert len(kept) == sum(len(fields(kind)) for kind in (CalibrationBins, *kinds))


def test_aggregate_names_every_error_of_every_region():
    """Each error twice, and the empty cases, for all regions; by default of ten errors."""
    for errors in (DEFAULT_ERRORS, ERRORS):
        expected = []
        for region in REGIONS:
            for error in errors:
                expected += [f"{error}_{region}", f"{error}_{region}_pooled"]
            expected.append(f"empty_{region}")

        assert list(filled(errors=errors).aggregate()) == expected
    assert list(filled().aggregate()) == list(filled(errors=DEFAULT_ERRORS).aggregate())
    assert set(DEFAULT_ERRORS) == set(ERRORS) - {"thresholded_cece", "smooth_ece"}


def test_labels_are_needed():
    """Without labels there is nothing to compare with."""
    with pytest.raises(InputError, match="labels: are missing"):
        CalibrationMetric()(PROBS)


def test_settings_default_to_those_of_the_paper():
    """15 bins, a band of three voxels on each side, and every class."""
    labels = torch.tensor([0] * 6 + [1] * 6).expand(1, 1, 2, 12)
    probs = torch.full((1, 2, 2, 12), 0.5)
    metric = measured(probs, labels, errors=["ece"], regions=["boundary"])

    assert metric.case_bins().voxels().tolist() == [[2 * 6]]
    assert metric.case_bins().num_bins == 15
    assert metric.measurement.include_background
    assert metric.measurement.include_absent


def test_buffers_are_exact():
    """Counts are int64 and sums are float64, so that nothing drifts over a dataset."""
    exact = {torch.int64, torch.float64}

    dtypes = [buffer.dtype for buffer in filled().get_buffer()]

    assert set(dtypes) == exact
    assert dtypes.count(torch.int64) == 5


@pytest.mark.nightly
def test_two_processes_equal_one(tmp_path):
    """Two gloo processes with 3 and 1 cases report on each the numbers and bins of one process.

    Where one of them has seen no case, both say so.
    """
    command = [sys.executable, "-m", metric_worker.__name__]
    source = str(Path(nacl_monai.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment, cwd=tmp_path)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]

    expected = filled()
    for rank in range(2):
        numbers, bins, package, refusal = torch.load(tmp_path / f"{rank}.pt")
        assert package == nacl_monai.__file__
        assert refusal.startswith("process 1 of 2: has seen no case")
        assert numbers == pytest.approx(expected.aggregate(), nan_ok=True)
        same_values(CalibrationBins(**bins).counts, expected.case_bins().counts)
