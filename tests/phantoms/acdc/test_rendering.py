"""The signal of a frame shows tissues in their order of brightness, mixed at boundaries."""

import numpy as np
import pytest

from nacl_monai.phantoms.acdc.annotator import exact_labels
from nacl_monai.phantoms.acdc.rendering import AIR, BLOOD, FAT, LUNG, MUSCLE, chest_signal, render
from nacl_monai.phantoms.acdc.sampling import positions
from tests.phantoms.acdc.files import LV, MYO, RV


def voxels(image):
    return np.asarray(image.dataobj)


def still(patient):
    """Grain that places neither vessels nor trabeculae."""
    return np.zeros(patient.shape, np.float32)


@pytest.mark.parametrize("contraction", [0.0, 1.0])
def test_inner_voxels_have_the_signal_of_their_tissue(patient, contraction):
    """The median of a labeled structure is the signal of blood or of muscle."""
    signal = render(patient, contraction, still(patient))
    labels = exact_labels(patient, contraction)

    for structure, tissue in ((RV, BLOOD), (MYO, MUSCLE), (LV, BLOOD)):
        assert np.median(signal[labels == structure]) == pytest.approx(tissue)


def test_boundaries_mix_tissues(patient):
    """Partial volume: some voxels are between blood and muscle, none beyond the extremes."""
    signal = render(patient, 0.0, still(patient))

    assert AIR - 1e-6 <= signal.min() < signal.max() <= BLOOD + 1e-6
    labels = exact_labels(patient, 0.0)
    mixed = signal[(labels == MYO) | (labels == LV)]
    assert ((mixed > 1.1 * MUSCLE) & (mixed < 0.9 * BLOOD)).mean() > 0.05


def test_grain_places_vessels_in_the_lung(patient):
    """High grain brightens the lung, and leaves the chest's wall alone."""
    x, y, z = positions(patient)
    plain, grainy = (
        chest_signal(patient.chest, x, y, z, np.full(patient.shape, grain, np.float32))
        for grain in (0.0, 2.5)
    )

    lung = plain == np.float32(LUNG)
    assert lung.any()
    np.testing.assert_allclose(grainy[lung], 0.45)
    wall = np.isin(plain, np.float32([MUSCLE, FAT, AIR]))
    np.testing.assert_array_equal(grainy[wall], plain[wall])


def test_blood_is_brighter_than_muscle(frames):
    """Within a frame, both cavities' median signal is well above the myocardium's."""
    for ed, ed_label, es, es_label in frames:
        for image, label in ((ed, ed_label), (es, es_label)):
            rv, myo, lv = (np.median(voxels(image)[voxels(label) == k]) for k in (RV, MYO, LV))
            assert min(rv, lv) > 1.3 * myo
