"""Numbers have the digits that their intervals deserve, by one rule with one owner."""

import re
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import nacl_monai
from nacl_monai.digits import decimals_of, interval_text, row_texts
from nacl_monai.evaluations.tables import table_text

PACKAGE = Path(nacl_monai.__file__).parent
NUMBERS = st.floats(-1e3, 1e3)
#: Two numbers with a format of their own within brackets, such as f"[{low:.3f}, {high:.3f}]".
BY_HAND = re.compile(r"\[\{[^}]*:[+]?[.][^}]*\}%?, \{[^}]*:[+]?[.][^}]*\}%?\]")


@given(NUMBERS, st.floats(1e-4, 1e3))
def test_half_an_interval_has_two_significant_digits(low, width):
    """By decimal arithmetic: half of it, in units of the last digit, is from 10 to 100."""
    high = low + width
    assume(high > low)
    half = (Decimal(high) - Decimal(low)) / 2
    steps = half.scaleb(decimals_of(low, high, 3))
    assert steps > Decimal("9.9")
    assert steps < 100 or decimals_of(low, high, 3) == 0


@pytest.mark.parametrize(
    ("numbers", "more", "text"),
    [
        ((0.842, 0.823, 0.862), {}, "0.842 [0.823, 0.862]"),
        ((0.907, 0.8975, 0.9165), {"percent": True}, "90.70% [89.75, 91.65]"),
        ((0.667, 0.354, 0.879), {"percent": True}, "67% [35, 88]"),
        ((0.8412, 0.8395, 0.8428), {"percent": True}, "84.12% [83.95, 84.28]"),
        ((83.2, 60.1, 106.4), {}, "83 [60, 106]"),
        ((0.01, -0.004, 0.024), {"sign": "+"}, "+0.010 [-0.004, +0.024]"),
        ((0.5, float("nan"), float("nan")), {}, "0.500"),
        ((0.5, 0.5, 0.5), {}, "0.500 [0.500, 0.500]"),
        ((float("nan"),) * 3, {}, "–"),
    ],
)
def test_interval_text(numbers, more, text):
    """Counted by hand."""
    assert interval_text(*numbers, **more) == text


def test_table_of_the_terminal_has_them_too():
    """A volume as its ends deserve, a bound alone with three decimals."""
    row = {"case": "a", "volume_ml": 17.9, "volume_low_ml": 14.48, "volume_high_ml": 22.12}
    bound = {"dice_low": 0.8123, "value": 1.0, "low": float("nan"), "high": float("nan")}
    texts = ["a", "17.9", "14.5", "22.1", "0.812", "1.000", "–", "–"]
    assert [*row_texts(row | bound).values()] == texts
    assert table_text(pd.DataFrame([row | bound])).split("\n")[1].split() == texts


def test_no_other_module_writes_an_interval_by_hand():
    """The rule has one owner."""
    written = {
        file.relative_to(PACKAGE): found
        for file in PACKAGE.rglob("*.py")
        if (found := BY_HAND.findall(file.read_text(encoding="utf-8")))
    }
    assert written == {}
