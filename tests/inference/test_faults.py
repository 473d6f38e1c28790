"""Faults end the process in one line, unless somebody catches those of an image."""

import pytest

from nacl_monai.inference.faults import ImageFault, refuse


def test_fault_ends_the_process_in_one_line(refusal):
    """As a refusal does, and past whoever catches exceptions to wrap them."""

    def fault():
        try:
            raise ImageFault("x.nii: is bad; leave it out")
        except Exception:
            pytest.fail("a library would wrap it")

    assert refusal(fault) == "x.nii: is bad; leave it out"
    assert refusal(refuse, "x: is bad; leave it out") == "x: is bad; leave it out"
