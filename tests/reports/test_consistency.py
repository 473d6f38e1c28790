"""Numbers that cannot be, or do not agree with each other, are refused in one line."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nacl_monai import audit, read_audit
from nacl_monai.errors import InputError
from nacl_monai.metrics.fine_bins import aurc, error_auroc
from nacl_monai.reports import read_run
from nacl_monai.reports.evaluated import check_structures, check_values, unlike_voxels


def refusal(folder):
    with pytest.raises(InputError) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("ece_foreground", -0.5),
        ("cece_union", 1.01),
        ("dice", 1.1),
        ("dice_RV", -0.1),
        ("hd95_LV", -1.0),
        ("hd95", np.inf),
        ("confidence_gap_all", -1.5),
        ("brier_all", 2.5),
        ("expected_dice_RV", 1.1),
        ("aurc_all", -0.1),
        ("error_auroc_all", 1.1),
        ("smooth_ece_union", 1.1),
        ("thresholded_cece_union", -0.1),
        ("pece_all", -0.1),
    ],
)
def test_impossible_value_is_refused(tmp_path, column, value):
    """The line names file, column, case and value."""
    metrics = pd.DataFrame({column: [0.5, value]}, index=["a", "b"])

    with pytest.raises(InputError, match=f"cases.csv: {column} of case 'b' is {value:g}, outside"):
        check_values(tmp_path / "cases.csv", metrics)


def test_limits_and_undefined_values_are_possible(tmp_path):
    """A perfect Dice, an absent structure, a confidence gap below zero."""
    metrics = pd.DataFrame(
        {"dice": [0, 1, np.nan], "confidence_gap_all": [-1, 0, 1.0], "pece_all": 2.5}
    )

    check_values(tmp_path, metrics)


def test_metric_that_is_not_the_mean_of_its_structures_is_refused(tmp_path):
    """Absent structures do not count."""
    metrics = pd.DataFrame({"dice_a": [0.2, 0.4], "dice_b": [np.nan, 0.8], "dice": [0.2, 0.6]})
    check_structures(tmp_path, metrics)

    with pytest.raises(InputError, match="dice of case 1 is 0.7, but its structures give 0.6"):
        check_structures(tmp_path, metrics.assign(dice=[0.2, 0.7]))
    promised = metrics.assign(dice=[0.2, 0.7]).add_prefix("expected_")
    with pytest.raises(InputError, match="expected_dice of case 1 is 0.7, but"):
        check_structures(tmp_path, promised)


@pytest.mark.parametrize("column", ["ece_foreground", "cece_foreground"])
def test_error_that_the_bins_do_not_give_is_refused(copies, change_cases, column):
    """Whether the table or the bins were changed: one of them is wrong."""
    change_cases(copies[0], lambda table: table.assign(**{column: table[column] * 0.99}))

    assert f"{column} of case '001'" in refusal(copies[0])
    assert "but the bins give" in refusal(copies[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays: arrays["counts"].__isub__(arrays["counts"].max() + 1), "negative"),
        (
            lambda arrays: arrays["positives"].__iadd__(arrays["counts"] + 1),
            "more voxels are right",
        ),
        (lambda arrays: arrays["confidences"].__imul__(1.5), "a confidence is outside its bin"),
        (lambda arrays: arrays["confidences"].__imul__(np.nan), "a confidence is outside its bin"),
        (
            lambda arrays: [
                arrays[key][:, :, 1].__imul__(2) for key in arrays if arrays[key].ndim > 1
            ],
            "classes have other numbers of voxels",
        ),
        (lambda arrays: arrays["fine_counts"].__isub__(arrays["fine_counts"] + 1), "cannot be"),
        (lambda arrays: arrays["fine_errors"].__iadd__(arrays["fine_counts"] + 1), "cannot be"),
        (lambda arrays: arrays["fine_counts"].__iadd__(1), "the fine bins are of other voxels"),
        (
            lambda arrays: arrays["fine_errors"].__imul__(0),
            "the fine bins are of other voxels",
        ),
    ],
    ids=[
        *("negative", "right", "outside", "nan", "classes"),
        *("fine negative", "fine right", "fine counts", "fine errors"),
    ],
)
def test_sums_that_no_voxels_have_are_refused(copies, change_arrays, change, said):
    """Each fault of the bins alone."""
    change_arrays(copies[0] / "evaluation/bins.npz", change)

    assert f"bins.npz: {said}" in refusal(copies[0]) or said in refusal(copies[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_are_read(tmp_path, dtype):
    """Edges are rounded as the probabilities are: 0.6 as float16 is 0.60010, in the bin up to 0.6."""
    tops = torch.arange(0.5, 1.01, 0.1).to(dtype)
    probs = torch.stack([tops, 1 - tops])
    labels = torch.zeros(len(tops), dtype=torch.long)
    audit(probs, labels, regions=["all"]).save(tmp_path / "bins.npz")

    saved = read_audit(tmp_path / "bins.npz").run.bins.sums
    assert saved.confidences[0, 0, 0].sum().item() == tops.double().sum().item()


@pytest.mark.parametrize("error", ["adaptive_ece", "smooth_ece", "aurc", "error_auroc"])
def test_error_that_the_fine_bins_do_not_give_is_refused(copies, change_cases, error):
    """They are recomputed like those of the equal bins."""
    fine = read_run(copies[0]).bins.select_fine("all")
    errors = {
        "adaptive_ece": fine.adaptive_ece(),
        "smooth_ece": fine.smooth_ece(),
        "aurc": aurc(fine.counts, fine.errors),
        "error_auroc": error_auroc(fine.counts, fine.errors),
    }
    given = errors[error].numpy()
    change_cases(copies[0], lambda table: table.assign(**{f"{error}_all": given}))
    read_run(copies[0])

    change_cases(copies[0], lambda table: table.assign(**{f"{error}_all": given * 0.99}))

    assert f"{error}_all of case '001'" in refusal(copies[0])


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ('{"metrics": {"dice": {"mean": 0.99}}}', "the mean of dice is 0.99, but the cases give"),
        (
            '{"metrics": {"lost": {"mean": 0.99}}}',
            "the mean of lost is 0.99, but the cases give nan",
        ),
        ('{"metrics": {"dice": {"me', "is damaged"),
        ("[]", "is damaged"),
        ('{"metrics": {"dice": {"mean": "high"}}}', "is damaged"),
    ],
)
def test_summary_of_other_cases_is_refused(copies, summary, said):
    """And one that is half-written."""
    (copies[0] / "evaluation/summary.json").write_text(summary)

    assert f"summary.json: {said}" in refusal(copies[0])


def test_summary_of_these_cases_is_not(copies):
    """Rounded to six digits; undefined is null."""
    means = {"dice": read_run(copies[0]).metrics["dice"].mean().round(6)}
    summary = {"metrics": {name: {"mean": mean} for name, mean in means.items()}}
    (copies[0] / "evaluation/summary.json").write_text(json.dumps(summary))

    read_run(copies[0])


@pytest.mark.parametrize(
    ("region", "compared"),
    [
        *(("foreground", True), ("boundary_RV", True), ("union", False), ("union_RV", False)),
        *(("predicted", False), ("near_lesion", False)),
    ],
)
def test_voxels_are_compared_where_labels_alone_decide_them(copies, region, compared):
    """Two models predict otherwise, and nobody knows what a region of the user's own depends on."""
    bins = replace(read_run(copies[0]).bins, regions=["all", region])
    fewer = replace(
        bins, sums=bins.sums[:].from_arrays({k: a.copy() for k, a in bins.sums.arrays().items()})
    )
    fewer.sums.counts[2, 1] += 1

    said = f"number of voxels in the region {region} of case '003'" if compared else ""
    assert unlike_voxels(bins, fewer) == said


def test_voxels_are_compared_by_case_region_and_class(copies, change_arrays):
    """Alike if labels are; moved from one class to another they are not."""
    run, other = map(read_run, copies)
    assert unlike_voxels(run.bins, other.bins.ordered(other.cases[::-1])) == ""

    def move(arrays):
        arrays["positives"][2, 1, 2, 0] -= 1

    change_arrays(copies[1] / "evaluation/bins.npz", move)
    with np.load(copies[1] / "evaluation/bins.npz") as archive:
        changed = run.bins.sums.from_arrays(dict(archive))
    moved = type(other.bins)(
        path=other.bins.path,
        cases=other.cases,
        regions=other.bins.regions,
        classes=other.bins.classes,
        sums=changed,
    )

    assert (
        unlike_voxels(run.bins, moved) == "number of voxels in the region foreground of case '003'"
    )
