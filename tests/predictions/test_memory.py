"""The largest memory of an audit, as a multiple of the array that a file stores."""

import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest

SHAPE = (160, 160, 128)
#: Audits a small case, so that all is imported, and then a large one; prints the MiB between the peaks.
PROGRAM = """
import resource, sys
from nacl_monai.cli import main
peaks = []
for name in ("small", "large"):
    folders = [f"{sys.argv[1]}/{name}/{part}" for part in ("probs", "labels", "out")]
    assert main(["audit", "--no-pictures", *folders[:2], "--output", folders[2]]) == 0
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0])
"""


def write(folder, shape, kind):
    """A ball of two classes whose probabilities are smooth, in the form of ``kind``."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    level = 6 * (0.5 - np.linalg.norm(grid, axis=0))
    odds = np.stack([-level, level, level + 6 * grid[0]], -1).astype(np.float32)
    probs = np.exp(odds) / np.exp(odds).sum(-1, keepdims=True)
    label = probs.argmax(-1).astype(np.uint8)
    for name in ("probs", "labels"):
        (folder / name).mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), folder / "labels/case.nii")
    if kind == "float16":
        np.savez(folder / "probs/case.npz", probabilities=probs.T.astype(kind))
        return
    stored = np.rint(255 * probs).astype(kind) if kind == "uint8" else probs
    nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), folder / "probs/case.nii")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most"), [("float32", 3.5), ("float16", 5.5), ("uint8", 9.5)])
def test_audit_takes_no_second_copy_of_all_probabilities(tmp_path, kind, most):
    """The rest is the largest probability, a map in double while it is summed, and maps in bytes."""
    for name, shape in (("small", (24, 24, 24)), ("large", SHAPE)):
        write(tmp_path / name, shape, kind)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    stored = 3 * np.prod(SHAPE) * np.dtype(kind).itemsize / 2**20

    ratio = float(done.stdout.split()[-1]) / stored
    assert ratio < most
