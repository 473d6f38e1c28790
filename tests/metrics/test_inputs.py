"""Whatever form probabilities and labels have, the numbers are the same, or one line refuses them."""

import json
from contextlib import nullcontext
from functools import partial

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from nacl_monai import audit, metrics
from nacl_monai.audits.__main__ import main
from nacl_monai.data.check import check_label_classes
from nacl_monai.data.formats import label_values
from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    BoundedHausdorffMetric,
    CalibrationMetric,
    adaptive_calibration_error,
    calibration_bins,
    expected_calibration_error,
)
from nacl_monai.metrics.structures import hausdorff_distance
from nacl_monai.metrics.voxels import aligned, batched, checked_voxels, dequantized
from nacl_monai.predictions.channels import with_structures
from tests.metrics.oracles import measured, random_case, slow_bins, slow_errors
from tests.same import same_bits, same_values

PROBS, LABELS = random_case((2, 3, 4, 5, 6))
ONE_HOT = torch.nn.functional.one_hot(LABELS, 3).movedim(-1, 1)


def ece(*arguments, **options):
    metric = measured(*arguments, errors=["ece"], regions=["foreground"], **options)
    return metric.case_errors()["ece"][:, 0].tolist()


EXPECTED = ece(PROBS, LABELS)


@pytest.mark.parametrize(
    "arguments",
    [
        (PROBS.numpy(), LABELS.numpy()),
        (list(PROBS.numpy()), list(LABELS.numpy())),
        (PROBS, ONE_HOT),
        (PROBS.numpy(), ONE_HOT.numpy().astype(np.uint8)),
        (list(PROBS), list(ONE_HOT)),
        (np.flip(PROBS.flip(2).numpy(), 2), np.flip(LABELS.flip(1).numpy(), 1)),
        (PROBS.numpy().astype(">f4"), LABELS.numpy().astype(">i2")),
    ],
    ids=[
        *("arrays", "lists of arrays", "one-hot", "one-hot arrays", "lists of one-hot"),
        *("turned arrays", "arrays of another byte order"),
    ],
)
def test_every_form_gives_the_same_numbers(arguments):
    """Arrays, lists and one-hot labels are read, not refused."""
    assert ece(*arguments) == EXPECTED


@pytest.mark.parametrize("labels", [LABELS[0], LABELS[:1], ONE_HOT[0]])
def test_single_case_needs_no_batch_axis(labels):
    """(C, *spatial) with (*spatial), (1, *spatial) or one-hot is one case."""
    assert ece(PROBS[0].numpy(), labels.numpy()) == EXPECTED[:1]
    assert expected_calibration_error(PROBS[0], labels).item() == EXPECTED[0]


def test_single_one_hot_case_may_have_ignored_voxels():
    """They are of no class."""
    counted = torch.rand(LABELS[0].shape) < 0.6
    labels = ONE_HOT[0] * counted

    found = ece(PROBS[0], labels, ignore_index=255)
    assert found == ece(PROBS[:1], LABELS[:1].where(counted, 255), ignore_index=255)


@pytest.mark.parametrize("value", [0.4, float("nan")])
def test_number_between_two_labels_is_not_ignored(value):
    """As interpolation makes it of the ignored label and another; it is refused, as all such are."""
    labels = LABELS.double()
    labels[0, 0, 0, 0] = value

    with pytest.raises(InputError, match="labels: hold .*, which is not a class index"):
        expected_calibration_error(PROBS, labels, ignore_index=0)
    masks = torch.stack([labels, LABELS], 1)
    with pytest.raises(InputError, match="labels: hold other values"):
        ece(PROBS[:, :2], masks, structures=["WT", "TC"], ignore_index=0)


def test_batch_wins_where_both_readings_fit():
    """Three 2-D cases of three classes are not a volume of three slices."""
    probs, labels = torch.rand(3, 3, 4, 5), torch.zeros(3, 4, 5)

    assert batched(probs, labels)[0].shape == probs.shape


def test_mask_of_a_single_case_needs_no_batch_axis():
    """A mask has the shape of the labels."""
    mask = torch.rand(LABELS[0].shape) > 0.5

    assert ece(PROBS[0], LABELS[0], mask.numpy()) == ece(PROBS[:1], LABELS[:1], mask[None])


@pytest.mark.parametrize("odd", [float("nan"), -1.0, 2.0])
def test_mask_of_other_numbers_than_0_and_1_is_refused(odd):
    """Each would count as inside: in functions, regions, metrics and distances."""
    mask = torch.ones(LABELS.shape)
    mask[0, 0] = odd
    masks = torch.stack([LABELS == 0, LABELS == 1], 1)
    calls = [
        ("mask", lambda: expected_calibration_error(PROBS, LABELS, region=mask)),
        ("region mine", lambda: measured(PROBS, LABELS, regions={"mine": lambda: mask})),
        ("mask", lambda: measured(PROBS, LABELS, mask)),
        ("mask", lambda: hausdorff_distance(masks, masks, mask=mask)),
    ]

    for name, call in calls:
        with pytest.raises(InputError, match=f"^{name}: holds other numbers than 0 and 1"):
            call()


def test_logits_become_probabilities():
    """Softmax is the inverse of the logarithm, in single precision."""
    assert ece(PROBS.log(), LABELS, from_logits=True) == pytest.approx(EXPECTED, abs=1e-6)
    assert ece(PROBS[0].log(), LABELS[0], from_logits=True) == pytest.approx(EXPECTED[:1], abs=1e-6)


def test_bytes_are_probabilities_as_far_as_their_rounding_goes():
    """round(255 p) is binned as the number it means; sums may be off by its rounding alone."""
    stored = (PROBS * 255).round().to(torch.uint8)
    top1 = (sums[0] for sums in slow_bins(stored[:1] / 255, LABELS[:1], LABELS[:1] != 0, 15))
    expected, *_ = slow_errors(*top1)

    assert ece(stored[:1].numpy(), LABELS[:1].numpy()) == pytest.approx([expected], abs=1e-6)
    with pytest.raises(InputError, match="off 1 by"):
        ece(stored // 2, LABELS)


FUNCTIONS = {
    "ece": expected_calibration_error,
    "ace": metrics.average_calibration_error,
    "mce": metrics.maximum_calibration_error,
    "confidence_gap": metrics.confidence_gap,
    "cece": metrics.classwise_calibration_error,
    "thresholded_cece": partial(metrics.classwise_calibration_error, threshold=0.001),
    "smooth_ece": metrics.smooth_calibration_error,
    "adaptive_ece": metrics.adaptive_calibration_error,
    "nll": metrics.negative_log_likelihood,
    "brier": metrics.brier_score,
}


def ignoring(labels, ignored, value):
    """Labels with another value where they are ignored."""
    return labels.where(~ignored, value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_result_is_a_double_on_the_device_of_the_input(name):
    """A single number, for half precision as well."""
    value = FUNCTIONS[name](PROBS.half(), LABELS)

    assert (value.shape, value.dtype, value.device) == ((), torch.float64, PROBS.device)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_number_of_an_empty_region_is_nan(name):
    """Neither 0 nor an exception."""
    value = FUNCTIONS[name](PROBS, torch.zeros_like(LABELS), region="foreground")

    assert (value.isnan().item(), value.dtype) == (True, torch.float64)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("value", [255, -100, 1])
def test_ignored_voxels_are_those_outside_a_mask(name, value):
    """An ignored label, a class or none, in integers or one-hot, does what a mask does."""
    ignored = LABELS == 1 if value == 1 else torch.rand(LABELS.shape) < 0.4
    labels = ignoring(LABELS, ignored, value)
    expected = FUNCTIONS[name](PROBS, LABELS, region=~ignored)

    for form in (labels, labels[:, None].float()):
        found = FUNCTIONS[name](PROBS, form, region="all", ignore_index=value)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    if value == 255:
        one_hot = ONE_HOT * ~ignored[:, None]
        found = FUNCTIONS[name](PROBS.numpy(), one_hot.numpy(), region="all", ignore_index=255)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    with (
        pytest.raises(InputError, match=r"labels: hold (255|-100)") if value != 1 else nullcontext()
    ):
        FUNCTIONS[name](PROBS, labels, region="all")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_logits_and_arrays(name):
    """from_logits applies softmax first; a region may be an array."""
    mask = torch.rand(LABELS.shape) < 0.6
    expected = FUNCTIONS[name](PROBS, LABELS, region=mask)
    logits = PROBS.log().numpy()

    found = FUNCTIONS[name](logits, LABELS.numpy(), region=mask.numpy(), from_logits=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_bins_ignore_and_take_logits():
    """What a label ignores is what a mask leaves out."""
    ignored = torch.rand(LABELS.shape) < 0.3
    expected = metrics.calibration_bins(PROBS, LABELS, mask=~ignored)
    found = metrics.calibration_bins(
        PROBS.double().log(), ignoring(LABELS, ignored, 255), ignore_index=255, from_logits=True
    )

    same_values(found.counts, expected.counts)
    torch.testing.assert_close(found.ece(), expected.ece(), rtol=0, atol=1e-6)


def test_metric_ignores_in_every_region_what_a_mask_leaves_out():
    """Each error of each region is that of the mask, but for the boundary, which the label decides."""
    ignored = torch.rand(LABELS.shape) < 0.3
    regions = ["all", "foreground", "union"]
    expected = measured(PROBS, LABELS, ~ignored, regions=regions).aggregate()
    labels = ignoring(LABELS, ignored, 255)
    metric = CalibrationMetric(regions=regions, ignore_index=255)

    for batch in ((PROBS, labels), (list(PROBS), list(labels[:, None]))):
        metric.update(*batch)
        assert metric.compute() == pytest.approx(expected, abs=1e-12, nan_ok=True)
        metric.reset()


def test_no_boundary_lies_where_labels_merely_end():
    """Ignored voxels take the nearest label, and count in no region."""
    labels = torch.tensor([0, 0, 0, 0, 255, 255, 1, 1, 1, 255, 255, 255]).expand(1, 3, 12)
    probs = torch.full((1, 2, 3, 12), 0.5)
    options = {"regions": ["boundary", "all"], "boundary_width": 2, "ignore_index": 255}

    some, nothing = (
        measured(probs, label_map, errors=["ece"], **options).case_bins().voxels().tolist()
        for label_map in (labels, torch.full((1, 3, 12), 255))
    )

    assert some == [[3 * 2, 3 * 7]]  # one voxel on each side is ignored
    assert nothing == [[0, 0]]


def test_structures_ignore_what_any_mask_ignores():
    """A voxel that is ignored in one channel is so for all structures."""
    probs, masks = torch.rand(2, 2, 5, 6), torch.randint(2, (2, 2, 5, 6))
    ignored = torch.rand(2, 5, 6) < 0.3
    marked = torch.stack([ignoring(masks[:, 0], ignored, 7), masks[:, 1]], 1)
    options = {"structures": ["WT", "TC"], "regions": ["all", "foreground"]}

    expected = measured(probs, masks, ~ignored, **options).aggregate()
    found = measured(probs, marked, ignore_index=7, **options).aggregate()

    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_expected_dice_ignores_and_takes_every_form():
    """Where a voxel does not count, it is as if it were not there."""
    counted = torch.zeros(2, 4, 5, 6).bool()
    counted[:, 1:3] = True
    structures = {"one": [1], "any": [1, 2]}
    expected = metrics.expected_dice(PROBS[:, :, 1:3], structures)

    for probs, how in ((PROBS, {}), (PROBS.numpy(), {}), (PROBS.log(), {"from_logits": True})):
        found = metrics.expected_dice(probs, structures, counted, **how)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for labels in (ignoring(LABELS, ~counted, 255), ONE_HOT * counted[:, None]):
        metric = measured(PROBS.numpy(), labels.numpy(), decisions=structures, ignore_index=255)
        found = metric.case_decisions().expected_dice()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    stored = (PROBS[:, :, 1:3] * 255).round().to(torch.uint8)
    found = metrics.expected_dice(stored, structures)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01)  # of bytes


def test_distance_within_a_mask_is_that_of_what_lies_in_it():
    """Structures end where the mask ends."""
    prediction, label = torch.randint(2, (2, 1, 3, 8, 8)).unbind(0)
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6] = 1
    metric = metrics.BoundedHausdorffMetric(include_background=True)
    metric.update(prediction.numpy(), label.numpy(), mask=mask.numpy())

    torch.testing.assert_close(
        metric.compute(), metrics.hausdorff_distance(prediction * mask, label * mask).mean(1)
    )


@pytest.mark.parametrize(("dtype", "unit"), [(torch.float16, 2.0**-12), (torch.uint8, 1 / 510)])
def test_rounding_is_what_the_documentation_says(dtype, unit):
    """A stored probability is off by half a unit in its last place at most."""
    probs = torch.rand(1000, 2)
    probs[:, 1] = 1 - probs[:, 0]
    stored = (probs * 255).round().to(dtype) if dtype == torch.uint8 else probs.to(dtype)
    read = dequantized(stored[:, :, None])[0][..., 0].float()

    assert (read - probs).abs().max() <= unit + 1e-7


GENTLE, DRAWN = random_case((2, 3, 4, 5))


def with_nan():
    probs = GENTLE.clone()
    probs[0, 0, 0, 0] = torch.nan
    return probs


BAD = {
    "logits": (GENTLE.log() + 2, DRAWN, "apply softmax"),
    "one NaN": (with_nan(), DRAWN, "hold NaN"),
    "sigmoid": (torch.full_like(GENTLE, 0.9), DRAWN, "the sum over a voxel's classes is off 1"),
    "one channel": (GENTLE[:, :1], DRAWN, "at least 2 classes"),
    "integer probabilities": (GENTLE.long(), DRAWN, "floating-point output of softmax"),
    "spatial shapes": (GENTLE, DRAWN[:, 1:], "^labels: .* does not fit outputs"),
    "batch sizes": (GENTLE, DRAWN[:1], "does not fit outputs"),
    "soft labels": (GENTLE, GENTLE, "are not one-hot"),
    "label too large": (GENTLE, DRAWN + 1, "0 to 2"),
    "label negative": (GENTLE, DRAWN - 1, "0 to 2"),
    "label NaN": (GENTLE, DRAWN * torch.nan, "hold nan"),
    "label between": (GENTLE, DRAWN.clamp(max=1) + 0.5, "not a class index"),
    "no case": (GENTLE[:0], DRAWN[:0], "without a voxel; leave empty batches out"),
    "no voxel": (GENTLE[:, :, :0], DRAWN[:, :, :0], "without a voxel; leave empty batches out"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_one_clear_line(bad):
    """Input that is not a probability or not a label ends in one line that names the fault."""
    probs, labels, message = BAD[bad]

    with pytest.raises(InputError, match=message) as raised:
        checked_voxels(probs, labels)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("measure", [calibration_bins, CalibrationMetric()])
def test_bins_and_metric_check_what_they_are_given(measure):
    """As every function does."""
    with pytest.raises(InputError, match="hold NaN"):
        measure(with_nan(), DRAWN)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_softmax_of_any_precision_is_accepted(dtype):
    """The rounding of softmax in its own dtype is not an error, with many classes neither."""
    probs = (4 * torch.randn(1, 40, 30, 30)).to(dtype).softmax(1)

    assert 0 <= expected_calibration_error(probs, torch.ones(1, 30, 30)) <= 1


def test_checked_voxels_have_neither_gradient_nor_metadata():
    """What a metric works with is plain: no gradient, no metadata, no channel."""
    voxels = checked_voxels(MetaTensor(GENTLE.clone().requires_grad_()), MetaTensor(DRAWN[:, None]))

    assert type(voxels.probs) is type(voxels.labels) is torch.Tensor
    assert not voxels.probs.requires_grad
    assert voxels.labels.shape == DRAWN.shape
    same_bits(voxels.probs, GENTLE, "nothing is done to them")


def test_labels_move_to_the_device_of_the_probabilities():
    """A label on another device follows the probabilities, as a metric may get both apart."""
    assert aligned("labels", DRAWN, GENTLE.to("meta")).device.type == "meta"


BYTES = torch.full((1, 2, 4, 4), 0.5)
ONES = torch.zeros(1, 4, 4, dtype=torch.long)
NAMES = ["background", "top-1"]


def record_of_names():
    measured(BYTES, ONES).record(["a"], NAMES)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        (record_of_names, "classes"),
        (lambda: audit(BYTES, ONES, classes=NAMES), "classes"),
        (lambda: check_label_classes(NAMES, [[0], [1]]), "classes"),
        (
            lambda: label_values("dataset.json", {"background": 0, "top-1": 1}),
            "dataset.json: labels",
        ),
        (
            lambda: label_values("dataset.json", {"0": "background", "1": "top-1"}),
            "dataset.json: labels",
        ),
        (lambda: with_structures(None, ["top-1=1"], "sigmoid"), "--structures"),
    ],
)
def test_class_of_the_name_of_the_predicted_one_is_refused(name, where):
    """In training, evaluation, a new dataset, audits on the command line and in Python."""
    with pytest.raises(InputError, match=f"{where}: 'top-1' is what the predicted class is called"):
        name()


@pytest.mark.parametrize("num_bins", [0, 2.5, 10_001, 1_000_000_000])
@pytest.mark.parametrize(
    "measure",
    [
        lambda n: CalibrationMetric(num_bins=n),
        lambda n: calibration_bins(BYTES, ONES, num_bins=n),
        lambda n: adaptive_calibration_error(BYTES, ONES, num_bins=n),
        lambda n: audit(BYTES, ONES, num_bins=n),
    ],
)
def test_number_of_bins_that_cannot_be_is_refused_at_once(measure, num_bins):
    """Before memory for them is asked for."""
    with pytest.raises(InputError, match=f"num_bins: is {num_bins}; use a whole number, 1 or more"):
        measure(num_bins)


def test_command_refuses_too_many_bins_before_it_reads(tmp_path, capsys):
    """Nothing is written."""
    for folder in ("predictions", "labels"):
        (tmp_path / folder).mkdir()
    np.savez(tmp_path / "predictions/a.npz", probabilities=BYTES[0].numpy())
    (tmp_path / "labels/dataset.json").write_text(json.dumps({"labels": {"background": 0}}))
    args = ["audit", str(tmp_path / "predictions"), str(tmp_path / "labels")]
    args += ["--output", str(tmp_path / "out"), "--num-bins", "1000000000"]

    assert main(args) in (1, 2)
    assert capsys.readouterr().err == (
        "error: --num-bins: is 1000000000; use a whole number, 1 or more and at most 10000\n"
    )
    assert not (tmp_path / "out").exists()


# One-hot: probabilities and labels of the one metric, and masks of structures of the other.
MASKS = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])


@pytest.mark.parametrize("metric", [CalibrationMetric, BoundedHausdorffMetric])
@pytest.mark.parametrize("rank", [0, 1], ids=["busy", "idle"])
def test_every_process_refuses_to_gather(monkeypatch, metric, rank):
    """The one with cases and the one without end with the same line."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    sent = []
    monkeypatch.setattr(idist, "all_gather", lambda seen: sent.append(seen) or [1, 0])
    metric = metric()
    if rank == 0:
        metric(MASKS, MASKS)

    with pytest.raises(InputError, match="^process 1 of 2: has seen no case") as refused:
        metric.get_buffer()

    assert "\n" not in str(refused.value)
    assert sent == [1 - rank]


EVERY = {
    "calibration": partial(CalibrationMetric, errors=["ece"]),
    "distance": partial(BoundedHausdorffMetric, include_background=True),
    "decisions": partial(CalibrationMetric, errors=["ece"], decisions={"LV": [1]}),
}


@pytest.mark.parametrize("name", EVERY)
def test_lists_have_the_numbers_of_their_cases(name):
    """With a mask for each, as batches of one have them."""
    torch.manual_seed(0)
    inside, masks = torch.randint(2, (2, 3, 6, 5)), torch.rand(3, 1, 6, 5) > 0.2
    probs, labels = (torch.stack([1 - mask, mask], 1).float() for mask in inside)
    together, alone = EVERY[name](), EVERY[name]()

    together(list(probs), list(labels), mask=list(masks))
    for k in range(3):
        alone(probs[k : k + 1], labels[k : k + 1], mask=masks[k : k + 1])

    found, expected = (metric.get_buffer() for metric in (together, alone))
    assert len(torch.as_tensor(found[0])) > 0
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("name", EVERY)
def test_lists_of_other_lengths_are_refused(name):
    """A case without a label, or a mask, would be left out without a word."""
    metric, three = EVERY[name](), [*MASKS] * 3

    with pytest.raises(InputError, match="labels: 2 for 3 cases; give one for each"):
        metric(three, three[:2])
    with pytest.raises(InputError, match="mask: 1 for 3 cases; give one for each"):
        metric(three, three, mask=[MASKS[0, :1]])
    with pytest.raises(InputError, match="are an empty list"):
        metric([], [])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("cases", [torch.stack, list], ids=["batch", "list"])
def test_arguments_that_would_be_dropped_are_refused(name, cases):
    """MONAI's metric of distances takes a spacing with each batch; here it is one of the class."""
    metric = EVERY[name]()

    for call in (metric, metric.update):
        with pytest.raises(InputError, match="^spacing: is given with a batch"):
            call(cases([*MASKS]), cases([*MASKS]), spacing=[(1.0, 2.0)])


@pytest.mark.parametrize("metric", [CalibrationMetric, BoundedHausdorffMetric])
def test_what_is_gathered_is_read_by_one_process_alone(monkeypatch, metric):
    """The process that writes the files asks no other."""
    metric = metric()
    metric(MASKS, MASKS)
    metric.get_buffer()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(idist, "all_gather", lambda _: pytest.fail("asks the others"))

    assert metric.get_buffer() is not None
