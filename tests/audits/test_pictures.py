"""An audit keeps a slice of each of the worst cases, upright, and the page shows them."""

from dataclasses import replace

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from nacl_monai.audits.measuring import case_numbers, picture
from nacl_monai.audits.output import WorstCases
from nacl_monai.metrics.record import Measurement
from nacl_monai.predictions.arrays import array_reading
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.images import Labels, Prediction, Probabilities
from nacl_monai.predictions.reading import Case, Reading
from tests.predictions.conftest import AFFINE, CLASSES, Study, softmax_cases
from tests.same import same_values


def canonical(voxels):
    """``(x, y, z)`` as nibabel turns an image to right, anterior, superior."""
    return nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, AFFINE)).get_fdata()


def test_worst_cases_are_kept_upright(tmp_path, audited):
    """Those that the table of cases says, and no other; on the slice with most foreground."""
    study = Study(tmp_path, softmax_cases(cases=5))
    folder = audited(study.nnunet(), study.labels)

    table = pd.read_csv(folder / "cases.csv", index_col="case")
    worst = table["ece_near"].sort_values(ascending=False, kind="stable").index[:3]
    assert {path.stem for path in (folder / "maps").iterdir()} == set(worst)
    for case in worst:
        probs, label = study.cases[case]
        shown = np.load(folder / f"maps/{case}.npz")
        turned = canonical(label.astype(np.uint8))
        amounts = (turned > 0).sum((0, 1))
        position = next(z for z in np.flatnonzero(amounts == amounts.max()))
        expected = {
            "label": turned[..., position],
            "prediction": canonical(probs.argmax(0).astype(np.uint8))[..., position],
            "confidence": canonical(probs.max(0))[..., position],
            "entropy": canonical((-probs * np.log(probs)).sum(0) / np.log(3))[..., position],
        }
        for name, array in expected.items():
            np.testing.assert_allclose(shown[name], np.rot90(array), atol=1e-6, err_msg=name)
        assert shown["slice"] == position  # the third axis of AFFINE's is its own, upward
        assert list(shown["classes"]) == list(CLASSES)
        assert "image" not in shown


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (-1, -1, 1)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_anterior_is_up_whatever_the_axes_of_the_file(axes, signs):
    """A voxel that is labeled right and anterior is in the upper right corner."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * signs
    label = np.zeros((4, 4, 4), np.uint8)
    inside = np.full(3, 1)
    for axis, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        high = world in (0, 1)
        inside[axis] = 3 if high == (sign > 0) else 0
    label[tuple(inside)] = 1
    probs = np.stack([1 - 0.9 * label, 0.9 * label]).astype(np.float32)
    predicted = Probabilities(probs.transpose(0, 3, 2, 1), None, None, None)
    labels = Labels(torch.from_numpy(np.ascontiguousarray(label.T)), None, affine)
    channels = Channels("softmax", {"background": (0,), "a": (1,)})
    case = Case("case", Prediction("case", {}))
    shown = picture(Reading(case, predicted, [labels], channels, 0.1))

    for name in ("label", "prediction"):
        assert np.argwhere(shown[name]).tolist() == [[0, 3]]


def test_overlapping_structures_are_painted(regions, audited):
    """A part over its whole."""
    case = "patient0_scan1"
    shown = np.load(audited(regions.nnunet(), regions.labels) / f"maps/{case}.npz")

    label = canonical(regions.cases[case][1].astype(np.uint8))[..., shown["slice"]]
    same_values(shown["label"], np.rot90(label))
    assert list(shown["classes"]) == ["outside", "whole", "posterior"]


def test_only_the_worst_are_in_memory():
    """Among equal cases the first, and none that has no error."""
    channels = Channels("softmax", {"background": (0,), "a": (1,)})
    measurement = Measurement(regions=["foreground"], decisions=channels.structures)
    worst = WorstCases(["foreground"], most=2)
    probs = torch.tensor([[[[0.4, 0.2]]], [[[0.6, 0.8]]]])
    for case, label in (("a", [1, 0]), ("empty", [0, 0]), ("b", [0, 1]), ("c", [1, 0])):
        labels = [torch.tensor([[label]])]
        reading = array_reading(case, probs, labels, [None], channels)
        numbers = next(case_numbers(reading, measurement))
        kept = worst.keep(case, replace(numbers, picture={"case": case}))
        assert kept.picture is None

    assert list(worst.pictures) == ["a", "c"]
