"""Patients: their groups in turn, their frames, and the geometry of a short-axis stack."""

import numpy as np

from nacl_monai.phantoms.acdc.heart import GROUPS
from nacl_monai.phantoms.acdc.patient import FRAMES, draw_patient


def drawn(number):
    return draw_patient(np.random.default_rng(number), number)


def test_groups_alternate():
    """Any five patients in a row show every group once."""
    groups = [drawn(number).group for number in range(1, 11)]

    assert groups == [*GROUPS, *GROUPS]


def test_frames_are_three_of_which_two_are_annotated():
    """End diastole comes before end systole, and the third frame is neither; all orders occur."""
    patients = [drawn(number) for number in range(1, 40)]

    for patient in patients:
        assert patient.ed_frame < patient.es_frame
        assert {patient.ed_frame, patient.es_frame, patient.other_frame} == set(FRAMES)
        assert patient.phases == {patient.ed_frame: 0.0, patient.es_frame: 1.0}
    assert {patient.other_frame for patient in patients} == set(FRAMES)


def test_name_is_the_official_one():
    """Three digits."""
    assert drawn(7).name == "patient007"


def test_slices_cover_the_heart():
    """The stack begins about the base, is as long as the heart where ten slices suffice for it."""
    for patient in map(drawn, range(1, 40)):
        thickness = patient.spacing[2]
        assert -0.6 * thickness <= patient.first_slice <= 0.4 * thickness
        slices = patient.shape[2]
        end = patient.first_slice + slices * thickness
        assert end >= patient.heart.length or slices == 10
        assert end - thickness < patient.heart.length or slices == 6


def test_affine_is_oblique_and_of_the_spacing(patient):
    """Columns are at right angles, as long as a voxel; the heart's axis points left, ahead, down."""
    columns = patient.affine[:3, :3] / patient.spacing

    np.testing.assert_allclose(columns.T @ columns, np.eye(3), atol=1e-5)
    to_apex = columns[:, 2]
    assert to_apex[0] < 0 < to_apex[1]
    assert to_apex[2] < 0
    assert columns[2, 1] < -0.5  # the image's down is the body's
    np.testing.assert_array_equal(patient.affine, patient.affine.astype(np.float32))


def test_geometry_is_shared_and_realistic(frames):
    """Image and label have one oblique affine; spacing and size are those of short-axis stacks."""
    for images in frames:
        first = images[0]
        x, y, z = first.header.get_zooms()
        assert x == y
        assert 1.37 <= x <= 1.9
        assert 5 <= z <= 10
        assert 110 <= min(first.shape[:2]) <= max(first.shape[:2]) <= 140
        assert 6 <= first.shape[2] <= 10
        direction = first.affine[:3, :3] / (x, y, z)
        np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-5)
        assert np.abs(direction).max() < 0.95, "a short-axis stack is oblique to the body's axes"
        np.testing.assert_allclose(first.header.get_qform(), first.header.get_sform(), atol=1e-3)
        for other in images[1:]:
            assert other.shape == first.shape
            assert other.header.get_zooms() == first.header.get_zooms()
            np.testing.assert_array_equal(other.affine, first.affine)
