"""A function that a configuration calls can see that configuration, and the overrides of its command."""

import json

import monai.bundle
import pytest
from monai.bundle import ConfigParser

from nacl_monai.training.running import given_overrides, running_parser

SEEN = []


def look():
    """What a configuration calls in these tests."""
    SEEN[:] = [running_parser(), given_overrides()]


CONFIG = {"rate": 1, "sizes": {"a": 2}, "doing": [{"_target_": f"{__name__}.look"}]}


def test_parser_is_the_one_that_makes_the_call():
    """From Python, there is no command."""
    parser = ConfigParser(CONFIG)
    parser.get_parsed_content("doing::0")

    assert [parser, None] == SEEN


def test_overrides_are_those_of_the_command_and_its_file(tmp_path):
    """Those of the command above those of the file; old and new separators are one."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "arguments.json").write_text('{"rate": 2, "sizes#a": 3}')
    monai.bundle.run(
        "doing",
        config_file=str(tmp_path / "config.json"),
        args_file=str(tmp_path / "arguments.json"),
        rate=4,
    )

    assert SEEN[0].get("rate") == 4
    assert SEEN[1] == {"rate": 4, "sizes::a": 3}


def test_without_a_configuration_there_is_no_parser():
    """Nobody else can be asked."""
    with pytest.raises(RuntimeError, match="to be called from a configuration"):
        running_parser()
    assert given_overrides() is None
