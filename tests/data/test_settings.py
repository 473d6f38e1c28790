"""A check says in a few lines what the bundle makes of the data."""

import pytest

from nacl_monai.data.check import settings_lines
from nacl_monai.menus import dataset_names, read_dataset
from tests.conftest import ROOT

BUNDLES = ROOT / "bundles"


@pytest.mark.parametrize("dataset", dataset_names(BUNDLES))
def test_every_deciding_key_has_a_line(dataset):
    """Steps by their names, structures by their classes; nothing is evaluated."""
    lines = dict(line.split(maxsplit=1) for line in settings_lines(dataset, BUNDLES).splitlines())
    keys = read_dataset(dataset, BUNDLES)

    assert lines["spatial_size"] == ", ".join(map(str, keys["spatial_size"]))
    steps = lines["preprocessing"].split("; ")
    assert len(steps) == len(keys["preprocessing"])
    for name in keys["structures"]:
        assert f"{name}: " in lines["structures"]


def test_lines_are_those_of_the_dataset():
    """FLARE's, as an example."""
    text = settings_lines("flare", BUNDLES)

    assert (
        "to_ras; Spacingd(pixdim=2.0, 2.0, 6.0, mode=bilinear, nearest); ScaleIntensityRanged("
        in text
    )
    assert "cropping           CenterSpatialCropd(roi_size=192, 192, 30)" in text
    assert "split_proportions  train: 240, val: 40, test: 80" in text
