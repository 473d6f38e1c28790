"""What every phantom keeps to, whatever it shows; a new one is tested as soon as it is listed."""

import json

import nibabel
import numpy as np
import pytest

from nacl_monai.menus import dataset_names, read_dataset
from nacl_monai.phantoms import PHANTOMS
from tests.conftest import ROOT
from tests.phantoms.files import cases_of, contents, labeled_cases, voxels
from tests.same import same_bits

OF_ONE_SIZE = sorted(name for name, phantom in PHANTOMS.items() if phantom.one_size)


@pytest.fixture(params=sorted(PHANTOMS))
def name(request):
    return request.param


def record_of(root):
    return json.loads((root / "phantom.json").read_text())


def test_every_dataset_has_a_phantom_of_its_name():
    """The phantoms are those of the bundles' datasets, each listed by its own name."""
    assert dataset_names(ROOT / "bundles") == sorted(PHANTOMS)
    assert all(phantom.name == name for name, phantom in PHANTOMS.items())


def test_record_lists_every_file(phantom_of, name):
    """`phantom.json` names the phantom and each file, so that a lost one is noticed."""
    root = phantom_of(name)
    record = record_of(root)
    assert record["name"] == name
    assert {*record["files"], "phantom.json"} == set(contents(root))


def test_bundle_finds_the_cases_that_were_asked_for(phantom_of, name):
    """The reader of the real dataset finds as many patients as the record says, and knows them.

    A case of the hippocampus is one of two sides of a person; of all other datasets, "cases" counts
    patients.
    """
    root = phantom_of(name)
    cases = cases_of(root, name)
    assert all("patient" in case for case in cases)
    units = {case["case" if name == "hippocampus" else "patient"] for case in cases}
    assert len(units) == record_of(root)["cases"]


def test_image_and_label_share_their_geometry(phantom_of, name):
    """A case's files have one matrix and one affine, whose voxel sizes are the header's."""
    cases = labeled_cases(phantom_of(name), name)
    assert len(cases) >= 6
    for images, label in cases:
        label = nibabel.load(label)
        for image in map(nibabel.load, images):
            assert image.shape[:3] == label.shape
            same_bits(image.affine, label.affine, "one affine is written to both")
            np.testing.assert_allclose(image.get_sform(), image.get_qform(), atol=1e-3)
            sizes = np.linalg.norm(image.affine[:3, :3], axis=0)
            np.testing.assert_allclose(image.header.get_zooms()[:3], sizes, rtol=1e-4)


def test_labels_are_those_of_the_bundle(phantom_of, name):
    """All of the dataset's labels occur, none else, stored as whole numbers; no case is empty."""
    label_values = read_dataset(name, ROOT / "bundles")["label_values"]
    labels = [voxels(label) for _, label in labeled_cases(phantom_of(name), name)]
    assert set().union(*map(np.unique, labels)) == {v for values in label_values for v in values}
    for label in labels:
        assert np.issubdtype(label.dtype, np.integer)
        assert label.any()


def test_images_vary_and_are_finite(phantom_of, name):
    """No image is constant or holds NaN or infinity; no two are the same."""
    cases = labeled_cases(phantom_of(name), name)
    images = [voxels(image) for images, _ in cases for image in images]
    assert all(np.isfinite(image).all() and image.std() > 0 for image in images)
    assert len({image.tobytes() for image in images}) == len(images)


def test_fewer_cases_are_the_first_of_more_and_the_same_bytes(phantom_of, tmp_path, name):
    """A seed reproduces every byte of a case's files, however many cases follow."""
    single = contents(PHANTOMS[name].write(tmp_path / name, cases=1, seed=0))
    more = contents(phantom_of(name))
    files = single.keys() - {"phantom.json", "dataset.json"}
    assert len(files) >= 2
    assert {path: single[path] for path in files} == {path: more[path] for path in files}


def test_another_seed_is_another_phantom(phantom_of, tmp_path, name):
    """A change of the seed changes every image and label."""
    other = contents(PHANTOMS[name].write(tmp_path / name, cases=1, seed=1))
    first = contents(phantom_of(name))
    volumes = {path for path in other if path.endswith(".nii.gz") and "/._" not in path}
    assert volumes
    assert not any(other[path] == first.get(path) for path in volumes)


@pytest.mark.parametrize("name", OF_ONE_SIZE)
def test_full_size_changes_nothing_where_it_is_the_only_size(phantom_of, tmp_path, name):
    """The phantoms that always have the real matrix take the flag all the same."""
    full = contents(PHANTOMS[name].write(tmp_path / name, cases=1, full_size=True))
    first = contents(phantom_of(name))
    volumes = [path for path in full if path.endswith(".nii.gz")]
    assert volumes
    assert all(full[path] == first[path] for path in volumes)
