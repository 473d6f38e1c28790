"""The axes in which an image is stored decide nothing: the same predictions, to the bit."""

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from nacl_monai.data.cases import image_files
from tests.configurations.conftest import FAST, ROOT, arguments

pytestmark = pytest.mark.slow

TURNS = {
    "flipped": [[0, -1], [1, -1], [2, 1]],
    "slices_first": [[2, -1], [1, 1], [0, 1]],
    "transposed": [[1, 1], [0, 1], [2, -1]],
    "rotated": [[1, 1], [2, -1], [0, -1]],
    "mirrored": [[0, -1], [2, 1], [1, 1]],
}
OWN = [[0, 1], [1, 1], [2, 1]]
ENDINGS = ("label", "probabilities", "confidence", "entropy")


# One that is resampled and one that is resized; the others in the complete suite.
DATASETS = [
    pytest.param(name, marks=() if name in ("acdc", "flare") else pytest.mark.nightly)
    for name in FAST
]


@pytest.mark.parametrize("dataset", DATASETS)
def test_same_image_in_other_axes_has_the_same_predictions(bundle, datasets, tmp_path, dataset):
    """Five reorientations; the network is a convolution that knows its left from its right."""
    config = ConfigParser.load_config_file(ROOT / f"bundles/{dataset}/configs/dataset.yaml")
    parser = ConfigParser({**config, "dataset_dir": str(datasets[dataset])})
    files = image_files(parser.get_parsed_content("cases")[0])
    for name, turn in {"own": OWN, **TURNS}.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for file in files:
            turned = nibabel.load(file).as_reoriented(np.array(turn))
            nibabel.save(turned, tmp_path / "images" / name / file.rpartition("/")[2])
    torch.manual_seed(0)
    sizes = {"in_channels": config["in_channels"], "out_channels": len(config["classes"])}
    torch.save(torch.nn.Conv2d(**sizes, kernel_size=3).state_dict(), tmp_path / "model.pt")
    network = {"_target_": "torch.nn.Conv2d", **sizes, "kernel_size": 3, "padding": 1}
    words = ["--images", tmp_path / "images/*", "--checkpoint", tmp_path / "model.pt"]
    words += ["--output_dir", tmp_path / "out", "--network_def", network]

    bundle.done(*arguments("inference", dataset, *words))
    check_same_maps(tmp_path / "out")


def check_same_maps(folder):
    """The maps of each turned image are those of its own, turned alike, to the bit."""
    for ending in ENDINGS:
        (own,) = (folder / "own").glob(f"*_{ending}.nii.gz")
        voxels = np.asarray(nibabel.load(own).dataobj)
        for name, turn in TURNS.items():
            other = np.asarray(nibabel.load(folder / name / own.name).dataobj)
            expected = nibabel.orientations.apply_orientation(voxels, np.array(turn))
            np.testing.assert_array_equal(other, expected)
