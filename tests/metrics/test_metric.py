import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import metric_worker
import pytest
import torch
from hypothesis import given, settings
from ignite.engine import Engine
from metric_samples import cases, random_case
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
    calibration_bins,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    negative_log_likelihood,
    region_mask,
)
from nacl_monai.metrics.columns import COLLECTORS
from nacl_monai.metrics.fine_bins import FineBins
from nacl_monai.metrics.scores import ScoreSums

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


@pytest.mark.parametrize("region", REGIONS)
def test_pooled_errors_are_those_of_all_voxels(region):
    """Pooling the cases is the same as one call with all voxels, not a mean of means."""
    pooled = filled().pooled_errors()
    position = list(REGIONS).index(region)

    assert pooled["ece"][position].item() == pytest.approx(
        expected_calibration_error(PROBS, LABELS, region=region).item()
    )
    assert pooled["nll"][position].item() == pytest.approx(
        negative_log_likelihood(PROBS, LABELS, region).item()
    )


@given(cases())
@settings(max_examples=25, deadline=None)
def test_pooled_errors_are_those_of_one_large_case(batch):
    """Every error of the sums of all cases is that of their voxels in a single case."""
    probs, labels, mask = batch
    metrics = [CalibrationMetric(7, ERRORS, ["all", "union"]) for _ in range(2)]
    metrics[0](list(probs), list(labels[:, None]), mask=list(mask[:, None]))
    large = [voxels.flatten()[None, None] for voxels in (labels, mask)]
    metrics[1](probs.movedim(1, 0).flatten(1)[None, :, None], large[0], mask=large[1])

    pooled, whole = metrics[0].pooled_errors(), metrics[1].case_errors()

    for name in ERRORS:
        torch.testing.assert_close(pooled[name], whole[name][0], rtol=0, atol=1e-6, equal_nan=True)


def test_opposite_errors_cancel_when_pooled():
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

    expected = sum(expected_calibration_error(*case(i)).item() for i in range(3)) / 3
    assert numbers["ece_foreground"] == pytest.approx(expected)
    assert math.isnan(metric.case_errors()["ece"][3, 0])
    assert (numbers["empty_foreground"], numbers["empty_all"]) == (1, 0)
    assert metric.empty_regions().tolist() == [1, 0]


def test_bins_of_each_case_can_be_read():
    """The bins of each case and region can be read: cases × regions × (1 + classes) × bins."""
    bins = filled(num_bins=5).case_bins()

    assert bins.counts.shape == (4, len(REGIONS), 4, 5)
    alone = calibration_bins(*case(0), mask=LABELS[:1] != 0, num_bins=5)
    assert torch.equal(bins[0, list(REGIONS).index("foreground")].counts, alone.counts)


def test_bins_give_the_errors_per_class():
    """The bins give errors per class, per case and pooled; absent classes can be NaN."""
    metric = filled(regions=["foreground"])
    bins = calibration_bins(PROBS, LABELS, LABELS != 0)

    each = metric.case_bins().class_errors(include_absent=False)
    assert each.shape == (4, 1, 3)
    torch.testing.assert_close(
        metric.case_bins().pooled().class_errors(include_absent=False)[0],
        bins.class_errors(include_absent=False),
        equal_nan=True,
    )
    assert each[..., 0].isnan().all()


def test_background_can_be_left_out():
    """The background can be left out of the class-wise error."""
    numbers = filled(regions=["all"], include_background=False).aggregate()

    assert numbers["cece_all_pooled"] == pytest.approx(
        classwise_calibration_error(PROBS, LABELS, region="all", include_background=False).item()
    )


def test_mapping_gives_regions_of_your_own_and_a_mask_restricts_them():
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
    ).item()
    assert metric.region_names == ("thin", "class_1")
    assert metric.pooled_errors()["ece"][0].item() == pytest.approx(expected)
    assert metric.aggregate() == pytest.approx(in_lists.aggregate(), nan_ok=True)


def test_any_number_of_regions_of_your_own_get_what_each_gets_alone():
    """One for each of many structures, say, though each might double the pieces of all others."""
    probs, labels = random_case((2, 4, 6, 5))
    names = [f"from {k}" for k in range(70)]

    def region(k):
        return lambda labels: labels > k % 4 if k % 7 else None

    metric = CalibrationMetric(regions={name: region(k) for k, name in enumerate(names)})
    metric(probs, labels)

    for k in (0, 1, 5, 6, 69):
        alone = CalibrationMetric(regions={names[k]: region(k)})
        alone(probs, labels)
        for error, values in metric.case_errors().items():
            torch.testing.assert_close(
                values[:, k], alone.case_errors()[error][:, 0], equal_nan=True, rtol=1e-9, atol=1e-9
            )


def test_spacing_is_read_from_metadata():
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


@pytest.mark.parametrize("regions", [["edge"], [], "foreground", {"mine": lambda y: y > 0}])
def test_unknown_regions_are_refused_when_the_metric_is_made(regions):
    """Unknown regions are refused when the metric is made, not after an hour of evaluation."""
    with pytest.raises(InputError, match="region"):
        CalibrationMetric(regions=regions)


@pytest.mark.parametrize("errors", [["dice"], ["ece", "dice"], [], "ece"])
def test_unknown_errors_are_refused_when_the_metric_is_made(errors):
    """Unknown errors, none, and a bare name are refused, with the names that there are."""
    with pytest.raises(InputError, match="errors: is .*; choose a list from ece, ace, mce, conf"):
        CalibrationMetric(errors=errors)


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


def test_errors_keep_the_order_in_which_they_are_asked_for():
    """The numbers of a region are in the order of the errors."""
    errors = filled(errors=["nll", "cece", "adaptive_ece", "ece"]).case_errors()

    assert list(errors) == ["nll", "cece", "adaptive_ece", "ece"]


@pytest.mark.parametrize(
    ("errors", "kinds", "tensors"),
    [
        (["ece", "cece"], 1, 3),
        (["adaptive_ece"], 2, 6),
        (["smooth_ece", "aurc", "error_auroc"], 2, 6),
        (["brier", "nll"], 2, 5),
        (["thresholded_cece"], 2, 6),
        (["pece"], 2, 7),
        (DEFAULT_ERRORS, 3, 8),
        (ERRORS, 5, 15),
    ],
)
def test_only_what_the_errors_need_is_computed_and_kept(errors, kinds, tensors, monkeypatch):
    """Fine bins are there for the errors that sort voxels, scores for nll and brier alone."""
    collected = []
    for kind, collect in COLLECTORS.items():

        def record(pieces, metric, kind=kind, collect=collect):
            collected.append(kind)
            return collect(pieces, metric)

        monkeypatch.setitem(COLLECTORS, kind, record)
    metric = CalibrationMetric(errors=errors)
    metric(PROBS, LABELS)

    assert len(metric.get_buffer()) == tensors
    assert len(collected) == len(set(collected)) == kinds
    assert (FineBins in collected) == bool({"adaptive_ece", "smooth_ece", "aurc"} & set(errors))
    assert (ScoreSums in collected) == ("nll" in errors)


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
    assert set(DEFAULT_ERRORS) == set(ERRORS) - {"thresholded_cece", "smooth_ece", "pece"}


def test_labels_are_needed():
    """Without labels there is nothing to compare with."""
    with pytest.raises(InputError, match="labels: are missing"):
        CalibrationMetric()(PROBS)


def test_mask_restricts_the_region_of_all_voxels():
    """With a mask, "all" is the mask, and any number but 0 counts as in it."""
    mask = torch.zeros_like(LABELS)
    mask[:, 2:5] = 2
    metric = CalibrationMetric(errors=["ece"], regions=["all"])
    metric(PROBS, LABELS, mask=mask)

    assert metric.case_bins().voxels().tolist() == [[33]] * 4
    expected = expected_calibration_error(PROBS, LABELS, region=mask)
    assert metric.pooled_errors()["ece"].item() == pytest.approx(expected.item())


def test_settings_default_to_those_of_the_paper():
    """15 bins, a band of three voxels on each side, and every class."""
    labels = torch.tensor([0] * 6 + [1] * 6).expand(1, 1, 2, 12)
    metric = CalibrationMetric(errors=["ece"], regions=["boundary"])
    metric(torch.full((1, 2, 2, 12), 0.5), labels)

    assert metric.case_bins().voxels().tolist() == [[2 * 6]]
    assert metric.case_bins().num_bins == 15
    assert metric.options.include_background
    assert metric.options.include_absent


def test_gradients_stay_out_of_the_buffers():
    """Probabilities with a gradient, in a batch or decollated, leave none behind."""
    probs = PROBS.clone().requires_grad_()
    for pair in ((probs, LABELS), (list(probs), list(LABELS[:, None]))):
        metric = CalibrationMetric()
        metric(*pair)
        assert not any(buffer.requires_grad for buffer in metric.get_buffer())


@pytest.mark.parametrize(("labels", "masks", "name"), [(1, None, "labels"), (2, 3, "mask")])
def test_lists_of_different_lengths_are_refused(labels, masks, name):
    """Every case has its label and its mask; none is dropped silently."""
    case = torch.full((2, 3, 4), 0.5), torch.ones(1, 3, 4)
    given = None if masks is None else [case[1]] * masks

    with pytest.raises(InputError, match=rf"{name}: \d for 2 cases; give one for each"):
        CalibrationMetric()([case[0]] * 2, [case[1]] * labels, mask=given)


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
    command = [sys.executable, metric_worker.__file__]
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
        assert torch.equal(CalibrationBins(**bins).counts, expected.case_bins().counts)


def test_largest_probability_is_found_once(monkeypatch):
    """Regions, equal bins and fine bins share it."""
    calls, largest = [], torch.Tensor.max
    monkeypatch.setattr(torch.Tensor, "max", lambda *args: calls.append(args) or largest(*args))
    CalibrationMetric()(torch.full((2, 2, 3, 4), 0.5), torch.ones(2, 1, 3, 4))

    assert len([args for args in calls if len(args) > 1]) == 1
