"""The benchmark of what a user waits for, which turns red by ratio to a peer."""

import runpy
import subprocess
import sys
from unittest.mock import Mock

import pytest

from tests.conftest import ROOT

TABLE = """
| | now, s | × the peer |
| --- | ---: | --- |
| audit, large case, float32 | 8.8 | ×1.50 torchmetrics |
| names | 2.7 |  |
"""
ROW = "audit, large case, float32"


@pytest.fixture
def speed(monkeypatch, tmp_path):
    """Runs it against the table, with seconds of each of our turns; a peer takes a second."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = runpy.run_path(str(ROOT / "benchmarks/speed.py"))
    scope, page = module["main"].__globals__, tmp_path / "page.md"
    page.write_text(TABLE)

    def run(*seconds, rows=(ROW, "names")):
        ours = iter(seconds)
        monkeypatch.setitem(
            scope, "measured", lambda _, which, *__: (next(ours) if which == "ours" else 1.0, 0.0)
        )
        # Nothing is written that nobody reads.
        monkeypatch.setitem(scope, "get_context", Mock())
        monkeypatch.setattr(sys, "argv", ["speed.py", "--against", str(page), "--rows", *rows])
        scope["main"]()
        assert next(ours, None) is None

    return run


def test_ratio_that_is_a_third_worse_twice_is_red(speed):
    """Once may be the machine; a row without a peer has no ratio, and is not measured."""
    speed(1.99)
    speed(2.01, 1.99)
    with pytest.raises(
        SystemExit, match="audit, large case, float32: 2.01 × torchmetrics, in the tab"
    ):
        speed(2.01, 2.02)


def test_row_that_fails_is_red(speed):
    """It has no seconds."""
    with pytest.raises(SystemExit, match="nan × torchmetrics"):
        speed(float("nan"), float("nan"))


def test_table_without_ratios_is_refused(speed):
    """Else nothing would be compared for years."""
    with pytest.raises(SystemExit, match="has no ratio of these rows"):
        speed(rows=["names"])


def test_committed_table_has_ratios_of_what_users_wait_for(monkeypatch):
    """An audit, a large case, the errors and the loss."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = runpy.run_path(str(ROOT / "benchmarks/speed.py"))
    found = module["committed"](ROOT / "docs/benchmarks.md")

    assert (
        {ROW, "ECE + CECE, 10×4×224²", "NACL mixed, the same"} <= found.keys() <= {*module["ROWS"]}
    )
    assert all(0.1 < ratio < 10 for ratio in found.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["memory.py", "--cases", "1"], ["verbs.py", "--ours", "--size", "24", "24", "24"]],
    ids=lambda command: command[0],
)
def test_benchmark_runs_with_the_commands_of_now(command):
    """They are run by hand otherwise, and seldom."""
    file = ROOT / "benchmarks" / command[0]
    result = subprocess.run(
        [sys.executable, file, *command[1:]], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "failed" not in result.stdout
