"""Labels keep the heart's anatomy, and miss the exact boundary a little."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from nacl_monai.phantoms.acdc.annotator import annotate, exact_labels
from nacl_monai.phantoms.acdc.patient import draw_patient
from nacl_monai.phantoms.writing import request_case
from tests.phantoms.acdc.files import CASES, LV, MYO, RV, in_plane_neighbors


def voxels(image):
    return np.asarray(image.dataobj)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_every_frame_shows_all_structures_and_nothing_else(frames):
    """Labels are 8-bit and hold background, RV, MYO and LV, each at least once in a frame."""
    for _, ed, _, es in frames:
        for label in (voxels(ed), voxels(es)):
            assert label.dtype == np.uint8
            assert set(np.unique(label)) == {0, RV, MYO, LV}


def test_myocardium_encloses_the_left_ventricle(frames):
    """A cavity voxel's neighbors in the plane are cavity or muscle: never RV, never background."""
    for _, ed, _, es in frames:
        for label in (voxels(ed), voxels(es)):
            assert set(label[in_plane_neighbors(label == LV)]) == {MYO}


def test_the_right_ventricle_lies_on_the_septum(frames):
    """The RV touches the myocardium, and in the displayed image is to the left of the LV."""
    for _, ed, _, _ in frames:
        label = voxels(ed)
        assert (in_plane_neighbors(label == RV) & (label == MYO)).any()
        assert np.nonzero(label == RV)[0].mean() < np.nonzero(label == LV)[0].mean()


def test_annotator_errs_smoothly_and_not_much():
    """The label misses the true boundary here and there, but mean Dice stays above 0.85."""
    for number in range(1, CASES + 1):
        anatomy, _, annotator = request_case(0, number)[2:5]
        patient = draw_patient(anatomy, number)
        scores = []
        for contraction in (0.0, 1.0):
            exact = exact_labels(patient, contraction)
            label = annotate(annotator, patient, contraction)
            scores += [dice(exact == k, label == k) for k in (RV, MYO, LV)]
        assert 0.85 < np.mean(scores) < 0.95
        assert max(scores) < 1


def squared_distance(number, spacing, error):
    """The mean between two annotators of the left ventricle, along the axes of slices, in mm²."""
    patient = draw_patient(np.random.default_rng(number), number)
    size = int(110 / spacing)
    shape = (size, size, patient.shape[2])
    patient = replace(patient, spacing=(spacing, spacing, 10.0), shape=shape)
    exact = exact_labels(patient, 0.0) >= MYO
    one, other = (
        annotate(request_case(0, number, annotator=k).annotator, patient, 0.0, error, 0.0) >= MYO
        for k in (1, 2)
    )
    squares = []
    for k in np.nonzero(exact.any((0, 1)))[0]:
        x, y = (int(line.mean()) for line in np.nonzero(exact[..., k]))
        rays = [np.s_[x:, y, k], np.s_[:x, y, k], np.s_[x, y:, k], np.s_[x, :y, k]]
        squares += [(spacing * (int(one[ray].sum()) - int(other[ray].sum()))) ** 2 for ray in rays]
    return np.mean(squares)


@pytest.mark.parametrize("spacing", [1.0, 1.6])
def test_borders_of_two_annotators_are_as_far_apart_as_stated(spacing):
    """√2 times the deviation, and the rounding of both to voxels; in mm, whatever the voxels."""
    error = 1.2
    squares = [squared_distance(number, spacing, error) for number in range(1, 25)]
    half = student.ppf(0.975, len(squares) - 1) * np.std(squares, ddof=1) / len(squares) ** 0.5
    expected = 2 * error**2 + 2 * spacing**2 / 12
    assert abs(np.mean(squares) - expected) <= half < 0.25 * expected
