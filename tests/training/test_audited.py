"""What an evaluator keeps for promises is what its arrays give."""

import hashlib
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator

from nacl_monai.errors import InputError
from nacl_monai.promises import fit, read_curves
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control
from nacl_monai.runs import EvaluationFolder
from nacl_monai.training import Audited, CalibrationError, EvaluationRecord
from tests.same import same_bits

SIZES = (3.0, 1.0, 1.5)
CLASSES = ["background", "left", "right"]


def volumes(overlapping):
    rng = np.random.default_rng(0)
    for k in range(3):
        shape = (6, 5, 4 + k)
        if overlapping:
            probs, label = rng.random((2, *shape)), rng.integers(0, 2, (2, *shape))
        else:
            probs = np.moveaxis(rng.dirichlet([1, 1, 1], shape), -1, 0)
            label = rng.integers(0, 3, (1, *shape))
        affine = torch.diag(torch.tensor([*SIZES, 1.0], dtype=torch.float64))
        image = torch.tensor(probs, dtype=torch.float32)
        names = {"case": f"case{k}", "patient": f"patient{k // 2}"}
        yield {**names, "image": image, "label": MetaTensor(label, affine=affine)}


def evaluate(folder, cases, calibration, **options):
    """Audits an evaluator whose network gives what it gets."""
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(cases, batch_size=1),
        network=torch.nn.Identity(),
        val_handlers=[Audited(folder, CLASSES, calibration, "ours", **options)],
    )
    calibration.attach(evaluator, "calibration")
    evaluator.run()


def evaluated(folder, overlapping, **options):
    """The file, and the cases that went through the evaluator."""
    calibration = CalibrationError(margin_spacing="pixdim", **options)
    cases = list(volumes(overlapping))
    evaluate(folder, cases, calibration, calibrator="temperature_near")
    return read_curves(folder), cases


@pytest.mark.parametrize("overlapping", [False, True])
def test_curves_are_those_of_the_arrays(tmp_path, overlapping):
    """Of classes, and of structures that overlap, with the label of ignored voxels."""
    names = ["whole", "core"]
    options = {"structures": names} if overlapping else {"decisions": {"left": [1], "right": [2]}}
    found, cases = evaluated(tmp_path, overlapping, **options)

    arrays = ([case[key] for case in cases] for key in ("image", "label"))
    channels = {"structures": names} if overlapping else {"classes": CLASSES}
    expected = curves_of_arrays(*arrays, spacing=SIZES, **channels)
    for name in ("counts", "hits", "sums", "spacings"):
        ours, theirs = (getattr(curves, name) for curves in (found, expected))
        same_bits(ours, theirs, "the same cases are summed one by one")
    assert found.structures == expected.structures
    assert found.cases == ["case0", "case1", "case2"]
    assert found.patients == ["patient0", "patient0", "patient1"]
    assert found.definition["calibrator"] == ["temperature_near"]
    assert [found.definition[key] for key in ("weights", "split", "run", "shard")] == [None] * 4


def test_structure_may_be_the_background(tmp_path):
    """Class 0 is as good as any."""
    found, cases = evaluated(tmp_path, False, decisions={"outside": [0], "left": [1]})

    for k, case in enumerate(cases):
        label = case["label"][0].numpy()
        assert found.hits[k, :, 0, -1].tolist() == [(label == 0).sum(), (label == 1).sum()]


def test_structure_of_several_classes_is_their_union(tmp_path):
    """And an ignored label counts nowhere."""
    found, cases = evaluated(tmp_path, False, decisions={"both": [1, 2]}, ignore_index=2)

    for k, case in enumerate(cases):
        label = case["label"][0].numpy()
        everywhere = found.counts[k, 0, 0, -1], found.hits[k, 0, 0, -1]
        assert everywhere == ((label != 2).sum(), (label == 1).sum())


def test_nothing_is_kept_where_no_size_in_mm_is_known(tmp_path, capsys):
    """A margin in voxels would be taken for one in mm; it says why there is no file."""
    evaluate(tmp_path, list(volumes(False)), CalibrationError(decisions={"left": [1]}))

    assert not (tmp_path / "promise.npz").exists()
    assert "no promise.npz: nothing says how large voxels are" in capsys.readouterr().out


def test_curves_say_whose_weights_and_which_set_they_are_of(tmp_path):
    """As the record of the evaluation has them; those who trained the network promise nothing."""
    run = tmp_path / "unet_nacl_seed0"
    (run / "evaluation").mkdir(parents=True)
    (run / "model.pt").write_bytes(b"weights")
    where = EvaluationFolder(run / "evaluation"), run / "model.pt", run / "split.json"
    for name in ("val", "train"):
        record = EvaluationRecord(*where, name, {})
        calibration = CalibrationError(margin_spacing="pixdim", decisions={"left": [1]})
        evaluate(tmp_path, list(volumes(False)), calibration, record=record)
        curves = read_curves(tmp_path)

        assert curves.definition["weights"] == hashlib.sha256(b"weights").hexdigest()
        assert (curves.definition["split"], curves.definition["run"]) == (name, run.name)
        with pytest.raises(InputError, match="who trained") if name == "train" else nullcontext():
            fit(curves, [Control(0.4)], compare=False)
