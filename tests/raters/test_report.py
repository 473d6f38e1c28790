"""The page: its tables hold the numbers they are given."""

import pandas as pd

from nacl_monai.raters.report import report


def test_numbers_are_those_of_the_tables():
    """Priors without a width of their own, widths, and the test."""
    metrics = ["ece", "brier", "nll"]
    scores = pd.DataFrame(
        {
            "nodules": "some",
            "band": 2.0,
            "prior": ["hard labels"] * 3 + ["blur, 1.00 mm"] * 3,
            "family": ["hard"] * 3 + ["blur"] * 3,
            "width": [None] * 3 + [1.0] * 3,
            "metric": metrics * 2,
            "value": [0.123, 0.2, 0.3, 0.9, 0.9, 0.9],
            "low": 0.1,
            "high": 0.4,
        }
    )
    fit = {"nodules": "some", "family": "blur", "metric": "ece", "band": 2.0, "best": 0.84}
    widths = pd.DataFrame(
        [{**fit, "low": 0.8, "high": 0.9, "flat_low": 0.7, "flat_high": 1, "least": 0.018}]
    )
    test = {"nodules": "some", "band": 2.0, "metric": "ece", "width": 0.8, "fitted": 0.02}
    test |= {"rival": 0.05, "difference": -0.03, "low": -0.04, "high": -0.02, "p": 1e-9}
    tests = pd.DataFrame([{**test, "better": 30, "patients": 40}])
    page = report({2: 5, 4: 7}, 11, scores, widths, tests)

    assert (
        "5 nodules that 2 raters marked, 7 nodules that 4 raters marked, from 11 patients" in page
    )
    assert "| hard labels | 0.123 [0.100, 0.400] | 0.200 [0.100, 0.400] |" in page
    assert "blur, 1.00 mm" not in page
    assert "| some | blur | ece | 2 | 0.84 [0.80, 0.90] | 0.70 to 1.00 | 0.018 |" in page
    assert "-0.030 [-0.040, -0.020] | 1e-09 | 30 of 40 |" in page
