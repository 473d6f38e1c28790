"""The study of fits judges nobody by a calibrator that was fitted to them, in either region."""

import math

import pytest
import torch

from nacl_monai.metrics import CalibrationMetric
from nacl_monai.posthoc import RegionLogits, fit_method
from studies.fits.__main__ import Scan, better, calibrated, halves, numbers
from studies.fits.lts import TemperatureTree, fit_tree

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
    what = {"errors": ["nll", "brier"], "regions": ["all", "near"], "decisions": {"organ": [1]}}
    metric = CalibrationMetric(**what, margin_spacing=SPACING, from_logits=True)
    metric([scan.logits for scan in several], [scan.label for scan in several])
    record = metric.record([*"012345"], patients=[scan.patient for scan in several])
    expected = {name: number.value for name, number in record.pooled_numbers.items()}

    row, proper, _ = numbers(several, (scan.logits for scan in several), {"organ": [1]})

    assert row[:2] == [f"{metric.columns()[f'{name}_all'].mean():.4f}" for name in ("nll", "brier")]
    assert row[2:4] == [f"{expected['ece_near']:.4f}", f"{expected['confidence_gap_near']:+.4f}"]
    assert row[4:6] == [f"{expected['contour_misses']:.1%}", f"{expected['contour_size']:.2f}"]
    assert row[6] == f"{expected['expected_volume_error']:.1%}"
    assert better(several, proper, proper).startswith("NLL +0.0000 [+0.0000, +0.0000]")


@torch.no_grad()
def test_published_tree_divides_by_gated_leaves_as_its_formula_says():
    """A slow loop over voxels: five leaves, four gates; all begins at 0, the temperature at 2."""
    tree = TemperatureTree(classes=3, channels=1)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 6, 7, generator=generator)
    image = torch.randn(1, 1, 6, 7, generator=generator)
    torch.testing.assert_close(tree(logits, image), logits / 2)

    for values in tree.parameters():
        values.data.normal_(0, 0.1, generator=generator)
    leaves, of_image = tree.of_logits(logits)[0], tree.of_image(image)[0, 0]
    for row in range(6):
        for column in range(7):
            *a, g1, g2, g3, g4 = [float(values[row, column]) for values in leaves]
            a1, a2, a3, a4 = (1 + leaf for leaf in a)
            g1, g2, g3, g4 = (1 / (1 + math.exp(-gate)) for gate in (g1, g2, g3, g4))
            first, second = g1 * a1 + (1 - g1) * a2, g2 * a3 + (1 - g2) * a4
            seen = g3 * first + (1 - g3) * second
            temperature = max(0, 1 + g4 * seen + (1 - g4) * (1 + float(of_image[row, column])))
            expected = logits[0, :, row, column] / (temperature + 1e-8)
            torch.testing.assert_close(tree(logits, image)[0, :, row, column], expected)


@pytest.mark.parametrize(("scale", "moves"), [(3.0, True), (1.0, False)])
def test_published_tree_is_kept_where_it_is_best_on_volumes_without_a_part_in_its_fit(scale, moves):
    """The others' logits are three times too large, so each step takes the temperature above 2."""
    generator = torch.Generator().manual_seed(0)
    volumes = []
    for k in range(4):
        logits = torch.randn(2, 12, 12, 5, generator=generator)
        drawn = torch.rand(12, 12, 5, generator=generator) < logits.softmax(0)[1]
        volumes.append((logits * (3 if k else scale), torch.zeros(1, 12, 12, 5), drawn[None]))

    tree = fit_tree(volumes, epochs=2)

    assert any(values.any() for values in tree.parameters()) == moves
