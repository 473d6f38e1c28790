"""The study of fits judges nobody by a calibrator that was fitted to them, in either region."""

import pytest
import torch

from nacl_monai.metrics import CalibrationMetric
from nacl_monai.posthoc import RegionLogits, fit_method
from studies.fits.__main__ import Scan, better, calibrated, halves, numbers

SPACING = (1.0, 2.0)


def scans(patients):
    """Overconfident logits of a structure in the middle, two scans of each person."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for patient in [*patients, *patients]:
        logits = torch.randn(2, 9, 9, generator=generator)
        logits[0] += 2
        logits[:, 3:6, 3:6] = logits[:, 3:6, 3:6].flip(0)
        drawn = torch.rand(9, 9, generator=generator) < logits.softmax(0)[1]
        found.append(Scan(patient, torch.zeros(1, 9, 9), drawn.long()[None], 3 * logits, SPACING))
    return found


@pytest.mark.parametrize("region", ["near", "all"])
def test_temperature_of_each_person_is_that_of_the_other_half(region):
    """Both scans of a person are in one half."""
    several = scans("abcdef")
    first, second = halves(set("abcdef"))
    assert first | second == set("abcdef")
    assert not first & second

    for scan, logits in zip(several, calibrated(several, "temperature", region), strict=True):
        (half,) = (people for people in (first, second) if scan.patient in people)
        with RegionLogits(region) as voxels:
            for other in several:
                if other.patient not in half:
                    voxels.add(other.logits, other.label, other.patient, voxel=SPACING)
            temperature = fit_method("temperature", voxels).parameters["temperature"]
        torch.testing.assert_close(logits, scan.logits / temperature)


def test_numbers_are_those_of_a_metric_of_all_cases():
    """Each printed with its digits; the difference of a network to itself is zero."""
    several = scans("abc")
    metric = CalibrationMetric(
        errors=["nll", "brier"],
        regions=["all", "near"],
        margin_spacing=SPACING,
        decisions={"organ": [1]},
        from_logits=True,
    )
    metric([scan.logits for scan in several], [scan.label for scan in several])
    record = metric.record([*"012345"], patients=[scan.patient for scan in several])
    expected = {name: number.value for name, number in record.pooled_numbers.items()}

    row, proper = numbers(several, (scan.logits for scan in several), {"organ": [1]})

    assert row[:2] == [f"{metric.columns()[f'{name}_all'].mean():.4f}" for name in ("nll", "brier")]
    assert row[2:4] == [f"{expected['ece_near']:.4f}", f"{expected['confidence_gap_near']:+.4f}"]
    assert row[4:6] == [f"{expected['contour_misses']:.1%}", f"{expected['contour_size']:.2f}"]
    assert row[6] == f"{expected['expected_volume_error']:.1%}"
    assert better(several, proper, proper).startswith("NLL +0.0000 [+0.0000, +0.0000]")
