"""What is equal to the last bit, and why it may be asked.

Floats have the same bits where the same operations met the same inputs in the same shapes, and seldom
elsewhere: another processor, thread or version rounds in another place. So a test that asks for them
says why it may; every other comparison of floats has a tolerance, `torch.testing.assert_close` or
`numpy.testing.assert_allclose`, with its reason: the usual ones are in `TOLERANCES`, and another has a
comment. `test_same.py` counts who asks otherwise.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

TOLERANCES = {
    0: "the other tolerance alone counts",
    1e-12: "float64, of sums in another order",
    1e-9: "float64, of logarithms or of differences of sums",
    1e-7: "a step of float32 near 1",
    1e-6: "float32, of some operations",
    2e-6: "float32, of some operations on logits",
    1e-5: "float32, of sums in another order",
    1e-4: "float32, of a whole network or a fit",
    1e-3: "half precision, or a number that is shown with three digits",
}


def array_of(values):
    """As NumPy has it, which knows no bfloat16."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def same_bits(found, expected, reason):
    """Both, all values of two dictionaries or tables, have the same bits, dtype and shape: `reason`."""
    assert reason
    if isinstance(expected, pd.DataFrame):
        return pd.testing.assert_frame_equal(found, expected, check_exact=True, obj=reason)
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
    else:
        found, expected = {"": found}, {"": expected}
    for key, values in expected.items():
        other, values = array_of(found[key]), array_of(values)
        np.testing.assert_array_equal(other, values, err_msg=f"{key} {reason}", strict=True)
    return None


def same_values(found, expected):
    """Both hold the same whole numbers, truths or words, which nothing rounds, whatever their dtype."""
    found, expected = array_of(found), array_of(expected)
    for values in (found, expected):
        assert values.dtype.kind != "f" or (values % 1 == 0).all(), "floats: see `same_bits`"
    np.testing.assert_array_equal(found, expected)
