"""Looking into a phantom's files."""

from pathlib import Path

import nibabel
import numpy as np
from monai.bundle import ConfigParser

from nacl_monai.data.cases import image_files
from nacl_monai.menus import read_dataset
from tests.conftest import ROOT


def cases_of(root, name):
    """The cases of a phantom, as the bundle of its dataset finds them."""
    parser = ConfigParser(read_dataset(name, ROOT / "bundles"))
    parser["dataset_dir"] = str(root)
    return parser.get_parsed_content("cases")


def labeled_cases(root, name):
    """Paths of the images and of the label of each case."""
    return [
        ([Path(image) for image in image_files(case)], Path(case["label"]))
        for case in cases_of(root, name)
    ]


def contents(root):
    """Each file's bytes, by its path below ``root``."""
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def voxels(path):
    """The values of an image, of the type on disk."""
    return np.asarray(nibabel.load(path).dataobj)
