"""Numbers that cannot be, or do not agree with each other, are refused in one line."""

import numpy as np
import pandas as pd
import pytest

from nacl_monai.errors import InputError
from nacl_monai.metrics.fine_bins import aurc, error_auroc
from nacl_monai.reports import read_run
from nacl_monai.reports.evaluated import check_means, check_values


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
    check_means(tmp_path, metrics, ["dice"])

    with pytest.raises(InputError, match="dice of case 1 is 0.7, but its structures give 0.6"):
        check_means(tmp_path, metrics.assign(dice=[0.2, 0.7]), ["dice"])
    promised = metrics.assign(dice=[0.2, 0.7]).add_prefix("expected_")
    with pytest.raises(InputError, match="expected_dice of case 1 is 0.7, but"):
        check_means(tmp_path, promised, ["expected_dice"])


@pytest.mark.parametrize("column", ["ece_foreground", "cece_foreground"])
def test_error_that_the_bins_do_not_give_is_refused(copies, change_cases, column):
    """Whether the table or the bins were changed: one of them is wrong."""
    change_cases(copies[0], lambda table: table.assign(**{column: table[column] * 0.99}))

    assert f"{column} of case '001'" in refusal(copies[0])
    assert "but the bins give" in refusal(copies[0])


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
