"""``--shard 3/16``: the parts of an audit and of a promise are the whole to the bit."""

import numpy as np
import pytest

from nacl_monai.cli import main
from tests.predictions.conftest import Study, bins_of, softmax_cases, undraw
from tests.same import same_bits

PATIENTS = ["--patient-pattern", r"(patient\d+)_"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Seven cases of four patients, whose last has one; and what is counted of all of them."""
    root = tmp_path_factory.mktemp("whole")
    study = Study(root, softmax_cases(cases=7))
    folders = [str(study.nnunet()), str(study.labels), *PATIENTS]
    with pytest.MonkeyPatch.context() as patch:
        undraw(patch)
        for verb, *more in (["audit"], ["promise", "--level", "0.3"]):
            output = ["--no-pictures", "--output", str(root / verb)]
            assert main([verb, *folders, *more, *output]) == 0
        yield root, folders


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_shards_are_the_whole_to_the_bit(parts, whole, tmp_path):
    """Whatever their number; both cases of a patient are in one of them."""
    (root, folders), out = whole, tmp_path
    for verb in ("audit", "promise"):
        for part in range(1, parts + 1):
            args = ["--shard", f"{part}/{parts}", "--output", str(out / f"{verb}{part}")]
            args += ["--no-pictures"] * (verb == "audit")
            assert main([verb, *folders, *args]) == 0
    audits, promises = (
        [str(out / f"{verb}{part}/{file}") for part in range(1, parts + 1)]
        for verb, file in (("audit", "bins.npz"), ("promise", "promise.npz"))
    )
    assert main(["merge", *audits, "--output", str(out / "audit")]) == 0
    args = ["--level", "0.3", "--no-pictures", "--output", str(out / "promise")]
    assert main(["promise", *promises, *args]) == 0

    merged, pooled = bins_of(out / "audit"), bins_of(root / "audit")
    same_bits(merged, pooled, "the sums of each case are copied")
    joined, other = (np.load(place / "promise/promise.npz") for place in (out, root))
    same_bits(joined, other, "the sums of each case are copied")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "-1/2"])
def test_part_that_cannot_be_meant_is_refused(shard, capsys):
    """Before anything is read."""
    with pytest.raises(SystemExit) as ended:
        main(["audit", "a", "b", f"--shard={shard}"])
    assert ended.value.code == 2
    assert "is not one of several parts, such as 3/16" in capsys.readouterr().err


def test_more_shards_than_patients_are_refused(whole, tmp_path, capsys):
    """That which would be empty; in the others is everybody."""
    _, folders = whole
    assert main(["audit", *folders, "--shard", "5/5", "--output", str(tmp_path / "out")]) == 2
    assert "--shard: 5/5 is of none of 4 patients; give fewer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fault_of_a_case_is_reported_by_the_first_shard_alone(tmp_path, capsys):
    """In an array of jobs it is one fault."""
    study = Study(tmp_path, softmax_cases(cases=7))
    place = study.per_class()
    (place / "patient1_scan3_anterior.nii.gz").unlink()
    faults = []
    for part in ("1/3", "2/3", "3/3"):
        args = ["audit", place, study.labels, *PATIENTS, "--no-pictures", "--shard", part]
        code = main([*map(str, args), "--output", str(tmp_path / part[0])])
        lines = [line for line in capsys.readouterr().err.splitlines() if "fault: " in line]
        assert code == bool(lines)
        faults.append(len(lines))
    assert faults == [1, 0, 0]
