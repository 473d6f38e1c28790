"""MONAI Deploy's operator of a bundle (App SDK 4.0.0) in a small application, without a GPU."""

import resource

import numpy as np

from tests.conftest import ROOT
from tests.hosts.conftest import EACH, python_of, run

STACK = 32 * 2**20  # what the SDK asks for


def large_stack():
    """As `ulimit -s 32768` does."""
    resource.setrlimit(resource.RLIMIT_STACK, (STACK, resource.getrlimit(resource.RLIMIT_STACK)[1]))


@EACH
def test_operator_gives_label_and_probabilities_of_the_bundle(
    bundle_of, image, tmp_path, maps_of, check_probabilities, name
):
    """With its calibrator, of an image that the application has read."""
    probabilities, label = tmp_path / "probabilities.npy", tmp_path / "label.npy"
    program = [python_of("deploy"), ROOT / "tests/hosts/deploy_app.py"]

    run(
        *program, bundle_of(name), image, probabilities, label, cwd=tmp_path, preexec_fn=large_stack
    )

    check_probabilities(name, np.load(probabilities))
    expected = maps_of(name).label
    assert np.load(label).shape == expected.shape
    assert (
        np.load(label) != expected
    ).mean() < 1e-4  # where two classes are alike, rounding decides
