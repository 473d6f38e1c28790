"""The summary of a dataset adds up its sound cases."""

import pytest
import torch
from monai.data import MetaTensor

from nacl_monai.data.cases import make_case
from nacl_monai.data.check import DatasetSummary
from nacl_monai.data.loading import LoadedCase


def loaded(shape, spacing, voxels):
    """A case of which all but the shape, the spacing and the numbers of voxels is irrelevant."""
    affine = torch.diag(torch.tensor([*spacing, 1.0]))
    volume = MetaTensor(torch.zeros(1, *shape), affine=affine)
    return LoadedCase(volume, volume, voxels, ("image", "label"))


@pytest.fixture
def summary():
    """Two patients with three cases; 7 becomes background, 1 and 2 one class."""
    summary = DatasetSummary("heart", ["background", "wall", "blood"], [[0, 7], [1, 2], [4]], 2, 5)
    for name, patient, shape, spacing, voxels in (
        ("a1", "a", (10, 20, 5), (1.0, 1.5, 8.0), {0: 900, 1: 50, 2: 50}),
        ("a2", "a", (12, 18, 5), (1.0, 1.25, 8.0), {0: 1000, 4: 80}),
        ("b1", "b", (11, 19, 7), (0.5, 1.5, 10.0), {7: 1400, 2: 63}),
    ):
        summary.add(make_case(name, name, name, patient), loaded(shape, spacing, voxels))
    return summary


def test_cases_are_added_up(summary):
    """Voxels by value, and the number of cases that hold each class."""
    assert summary.units == ["a", "a", "b"]
    assert summary.voxels == {0: 1900, 1: 50, 2: 113, 4: 80, 7: 1400}
    assert summary.holders == {0: 3, 1: 2, 2: 1}


def test_table_is_that_on_paper(summary):
    """Ranges are axis by axis; shares are of all voxels, in percent."""
    title, *lines = summary.table().splitlines()

    assert title == "heart: 3 sound cases of 2 patients (official: 5 cases), 2 channel(s)"
    assert [line.split() for line in lines] == [
        ["shape", "10×18×5", "to", "12×20×7"],
        ["spacing", "0.50×1.25×8.00", "to", "1.00×1.50×10.00", "mm"],
        ["class", "values", "voxels", "%", "cases"],
        ["background", "0,", "7", "3300", "93.141", "3"],
        ["wall", "1,", "2", "163", "4.601", "2"],
        ["blood", "4", "80", "2.258", "1"],
    ]


def test_voxels_that_nobody_labeled_have_a_line_of_their_own():
    """Behind the classes."""
    summary = DatasetSummary("heart", ["background", "wall"], [[0], [1]], 1, 1, ignore_index=4)
    case = make_case("a", "a", "a")
    summary.add(case, loaded((2, 2, 2), (1.0, 1.0, 1.0), {0: 4, 1: 2, 4: 2}))

    assert summary.table().splitlines()[-1].split() == ["(ignored)", "4", "2", "25.000", "1"]


def test_cases_of_unknown_patients_are_not_called_patients(summary):
    """One case without a patient is enough: nobody can count them then."""
    summary.add(make_case("c", "c", "c"), loaded((10, 20, 5), (1.0, 1.5, 8.0), {0: 1000}))

    assert summary.units == ["a", "a", "b", "c"]
    assert summary.table().startswith("heart: 4 sound cases (official: 5 cases), 2 channel(s)")


def test_table_without_a_sound_case_has_no_ranges():
    """All numbers are 0, and nothing is divided by them."""
    lines = DatasetSummary("heart", ["background"], [[0]], 1, 5).table().splitlines()

    assert lines[0].startswith("heart: 0 sound cases of 0 patients")
    assert lines[2].split() == ["background", "0", "0", "0.000", "0"]
    assert len(lines) == 3
