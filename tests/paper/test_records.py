"""A record is read as it is written: references are followed, and nothing of it is evaluated."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.paper.records import LACKING, config_of, resolved, value_at

CONFIG = {
    "dims": 3,
    "size": [48, 64],
    "patch": "@inner::size",
    "inner": {"size": [8, 8, 8], "_desc_": {"label": "Inner"}},
    "window": "$[None, None, @size, @patch][@dims]",
    "batch": "$[None, None, 16, 2][@dims]",
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("@patch", [8, 8, 8]),
        ("@window", [8, 8, 8]),
        ("@batch", 2),
        (["@size", 5, None], [[48, 64], 5, None]),
        ({"a": "@inner", "_desc_": "of a"}, {"a": {"size": [8, 8, 8]}}),
        ("@missing", "@missing"),
        ("$len(@size)", "$len(@size)"),
        ("plain", "plain"),
    ],
)
def test_references_are_followed_and_expressions_kept(value, expected):
    """At any depth; what a record lacks stays a reference."""
    assert resolved(value, CONFIG) == expected


def test_value_is_that_of_a_key_of_any_depth():
    """What a record lacks raises what callers expect."""
    assert value_at(CONFIG, "inner::size") == [8, 8, 8]
    for missing in ("other", "inner::other", "dims::other"):
        with pytest.raises(LACKING):
            value_at(CONFIG, missing)


def test_configuration_is_that_of_the_training_and_may_be_missing(tmp_path):
    """A calibrator's folder is within its run; a damaged file is refused."""
    assert config_of(tmp_path) == {}
    file, calibrated = tmp_path / "config.json", tmp_path / "calibrated" / "temperature_all"
    calibrated.mkdir(parents=True)
    file.write_text('{"seed": 4}')
    assert config_of(tmp_path) == config_of(calibrated) == {"seed": 4}
    file.write_text('{"seed": ')
    with pytest.raises(InputError, match="config.json"):
        config_of(tmp_path)
