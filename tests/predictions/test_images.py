"""Integers that a NIfTI file scales are the numbers that nibabel reads, and no finer than their step."""

import nibabel
import numpy as np
import pandas as pd
import pytest

from nacl_monai.errors import InputError
from nacl_monai.evaluations import read_run
from nacl_monai.predictions.images import read_image, whole_numbers
from tests.predictions.conftest import AFFINE, SHAPE, bins_of, save, write_json
from tests.predictions.test_contract import LAYOUTS
from tests.same import same_bits


def pack(place):
    """Saves images as nibabel does for whom asks for int16: it chooses slope and offset."""
    for file in place.rglob("*.nii.gz"):
        image = nibabel.Nifti1Image(nibabel.load(file).get_fdata(), AFFINE)
        image.set_data_dtype(np.int16)
        nibabel.save(image, file)
        assert nibabel.load(file).dataobj.slope != 1
    return place


def read(place, case):
    """The probabilities of a case, ``(C, x, y, z)``, by nibabel alone."""
    files = sorted(place.glob(f"{case}*.nii.gz"))
    loaded = [nibabel.load(file).get_fdata(dtype=np.float32) for file in files]
    return np.moveaxis(loaded[0], -1, 0) if loaded[0].ndim == 4 else np.stack(loaded)


@pytest.mark.parametrize("layout", ["channels", "own inference", "numbers"])
def test_scaled_probabilities_are_audited(layout, study, audited):
    """The errors are those of what nibabel reads, of one file or several."""
    place = pack(LAYOUTS[layout](study))
    study.cases = {case: (read(place, case), label) for case, (_, label) in study.cases.items()}

    found = read_run(audited(place, study.labels)).bins.sums.ece()
    np.testing.assert_allclose(found, study.metric().case_errors()["ece"], atol=1e-6)


def test_scaled_label_maps_are_whole_numbers(study, audited):
    """A label that the scale has rounded is itself again."""
    predictions = study.nnunet()
    plain = bins_of(audited(predictions, study.labels))
    packed = bins_of(audited(predictions, pack(study.labels), output="packed"))

    for key in ("counts", "positives", "confidences"):
        same_bits(packed[key], plain[key], "the same labels are read")


@pytest.mark.parametrize(("slope", "offset"), [(2, 0), (1, -3), (0.5, 1)])
def test_any_slope_and_offset_are_applied(slope, offset, tmp_path):
    """As they are in the header: slope × integer + offset."""
    stored = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    image = nibabel.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(slope, offset)
    nibabel.save(image, tmp_path / "image.nii")

    found = read_image(tmp_path / "image.nii")

    expected = (slope * stored + offset).T.astype(np.float32)
    same_bits(found.voxels, expected, "small numbers of halves are exact")
    assert found.step == slope


@pytest.mark.parametrize(("value", "step"), [(0.5, 1.0), (0.5, 0.25), (0.25, 0.25), (0.9, 0.01)])
def test_fractions_are_no_labels_whatever_the_step(value, step, tmp_path):
    """The step excuses half of itself, and not a quarter of a label."""
    with pytest.raises(InputError, match=f"holds {value:g}, which is not a label"):
        whole_numbers(tmp_path / "label.nii", np.array([0, value], np.float32), step)


@pytest.mark.parametrize("overlapping", [False, True])
def test_stored_zero_costs_half_a_step(overlapping, audited, tmp_path):
    """The NLL of a probability that 16 bits round to 0 is -ln(1/131070), and not 87."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:5] = 1
    inside = np.where(labels, 0.9, 0.2)
    inside[0] = 0  # the label is inside
    probs = np.stack([inside] if overlapping else [1 - inside, inside], -1)
    image = nibabel.Nifti1Image(np.rint(probs * 65535).astype(np.uint16), AFFINE)
    image.header.set_slope_inter(1 / 65535, 0)
    names = {"background": 0, "organ": [1, 2] if overlapping else 1}
    write_json(tmp_path / "predicted" / "dataset.json", {"labels": names})
    nibabel.save(image, tmp_path / "predicted" / "a.nii")
    save(tmp_path / "labels" / "a.nii", labels)

    folder = audited(tmp_path / "predicted", tmp_path / "labels")

    of_label = np.where(labels, inside, 1 - inside).round(6)
    expected = -np.log(np.maximum(of_label, 0.5 / 65535)).mean()
    cases = pd.read_csv(folder / "cases.csv")
    assert cases["nll_all"].item() == pytest.approx(expected, abs=1e-4)


def test_ends_that_the_scale_has_moved_are_ends_again(regions, audited):
    """A scale from 0 to 1 may give -1e-9 or 1.0000001, which is not a logit."""
    for probs, _ in regions.cases.values():
        probs[:, 0], probs[:, 1] = 0, 1

    audited(pack(regions.channels()), regions.labels)
