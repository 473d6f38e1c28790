"""Buffers that are freed stay with the process."""

import platform
import resource
import subprocess
import sys

import pytest

from nacl_monai.training import allocation

PROGRAM = """
import resource, sys, importlib.util
spec = importlib.util.spec_from_file_location("allocation", sys.argv[2])
allocation = importlib.util.module_from_spec(spec)
spec.loader.exec_module(allocation)
assert sys.argv[1] == "default" or allocation.keep_freed_memory()
b"x" * 2**26
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"x" * 2**26
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    """How often the system gave the process a page while it filled 64 MiB ten times."""
    command = [sys.executable, "-c", PROGRAM, mode, allocation.__file__]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_pages_of_a_freed_buffer_are_used_again():
    """Otherwise every page is given back and asked for again."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc can be told to keep them")
    pages = 10 * 2**26 // resource.getpagesize()

    assert faults("default") > pages / 2
    assert faults("kept") < pages / 20


def test_another_c_library_is_left_as_it_is(monkeypatch):
    """Musl and macOS have no such settings."""
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())

    assert not allocation.keep_freed_memory()
