"""NIfTI files: which of them are predictions."""

import numpy as np
import pytest

from nacl_monai.predictions.nifti import find_own
from tests.predictions.conftest import save


def test_maps_of_an_earlier_audit_are_no_predictions(study, run):
    """Else the folder would be audited as it was then."""
    predictions = study.channels()
    words = (predictions, study.labels, "--write", "nifti")
    assert run(*words, output="channels/audit")[0] == 0

    code, out, err = run(*words, output="channels/audit")
    assert code == 0, err
    assert f"{predictions}: one channel per class, 3 cases" in out
    maps = predictions / "audit/nifti"
    assert f"{maps}: this project's inference" in run(maps, study.labels)[1]


@pytest.mark.parametrize("name", ["._a_probabilities", ".audit.new/nifti/b_probabilities"])
def test_hidden_files_are_no_predictions(name, tmp_path):
    """As macOS adds them, or an audit that was killed."""
    for shown in ("a_probabilities", "session/c_probabilities", name):
        save(tmp_path / f"{shown}.nii.gz", np.zeros((2, 2, 2, 2), np.float32))

    assert [one.case for one in find_own(tmp_path)] == ["a", "c"]
