"""What is equal to the last bit, and why it may be asked.

Floats have the same bits where the same operations met the same inputs in the same shapes, and seldom
elsewhere: another processor, thread or version rounds in another place. So a test that asks for them
says why it may; every other comparison of floats has a tolerance, `torch.testing.assert_close` or
`numpy.testing.assert_allclose`. `test_numbers.py` counts who asks otherwise.
"""

from collections.abc import Mapping

import numpy as np
import torch


def array_of(values):
    """As NumPy has it, of a tensor of any kind."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def same_bits(found, expected, reason):
    """Both, or all values of two dictionaries, have the same bits, dtype and shape for ``reason``."""
    assert reason
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
    else:
        found, expected = {"": found}, {"": expected}
    for key, values in expected.items():
        other, values = array_of(found[key]), array_of(values)
        np.testing.assert_array_equal(other, values, err_msg=f"{key} {reason}", strict=True)


def same_values(found, expected):
    """Both hold the same whole numbers, truths or words, which no operation rounds."""
    found, expected = array_of(found), array_of(expected)
    assert "f" not in (found.dtype.kind, expected.dtype.kind), "floats: see `same_bits`"
    np.testing.assert_array_equal(found, expected)
