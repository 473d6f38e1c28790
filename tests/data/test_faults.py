"""Every fault of a dataset × every layout: one line that names the file, and nothing half-written.

Cases, transforms and splits are those of the bundles' own configurations, so the matrix follows them.
"""

import gzip
import json
import os
import shutil
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.bundle import ConfigParser

from nacl_monai.bundles.error_lines import one_line_errors
from nacl_monai.data import LoadCase
from nacl_monai.data.__main__ import main
from nacl_monai.data.cases import image_files
from nacl_monai.data.faults import warn_of_forms
from nacl_monai.inference import ReadImage
from nacl_monai.phantoms import PHANTOMS
from nacl_monai.predictions.images import read_grid, read_image
from tests.conftest import ROOT, change, put, save_nifti
from tests.same import same_bits, same_values

DATASETS = sorted(PHANTOMS)
every_dataset = pytest.mark.parametrize("dataset", DATASETS)


def rewrite(file, function=lambda voxels: voxels, affine=None):
    """Writes a file with other voxels or another affine, and the type of the voxels."""
    stored = nibabel.load(file)
    voxels = function(np.asarray(stored.dataobj))
    save_nifti(voxels, file, stored.affine if affine is None else affine)


def packed(function):
    """A fault: other bytes in the file."""
    return lambda file: file.write_bytes(function(file.read_bytes()))


def whole_file(function):
    """A fault: other bytes in the uncompressed file, whose checksum is right."""
    return packed(lambda content: gzip.compress(function(gzip.decompress(content)), 1))


def at(position, content):
    """A fault: other bytes at one place of the uncompressed file."""
    return whole_file(lambda whole: whole[:position] + content + whole[position + len(content) :])


def checksum(content):
    """One voxel was changed after the checksum was written; it still decompresses."""
    whole = gzip.decompress(content)
    return gzip.compress(whole[:-1] + bytes([whole[-1] ^ 1]), 1)[:-8] + content[-8:]


def header(**fields):
    """A fault: other fields of the header."""

    def spoil(file):
        stored = nibabel.load(file)
        for name, value in fields.items():
            stored.header[name] = value
        at(0, stored.header.binaryblock)(file)

    return spoil


def changed(function):
    return lambda file: change(file, function)


def redrawn(function):
    return lambda file: rewrite(file, function)


def moved(millimeters):
    """A fault: all voxels are elsewhere."""

    def move(file):
        affine = nibabel.load(file).affine.copy()
        affine[0, 3] += millimeters
        rewrite(file, affine=affine)

    return move


def dangling(file):
    file.unlink()
    file.symlink_to(file.with_name("nowhere"))


other_shape, other_affine = changed(lambda voxels: voxels[1:]), moved(1)
COLORS = np.dtype([(name, np.uint8) for name in "RGB"])
#: Voxels are in one point, and no other field of the header says better.
NOWHERE = dict.fromkeys(("srow_x", "srow_y", "srow_z"), 0)
UNREADABLE = {
    "truncated": packed(lambda content: content[: len(content) // 2]),
    "damaged": packed(lambda content: content[:60] + b"0123456789" + content[70:]),
    "checksum": packed(checksum),
    "too_few_voxels": whole_file(lambda whole: whole[:-40]),
    "not_compressed": packed(gzip.decompress),
    "trailing_garbage": packed(lambda content: content + b"garbage"),
    "web_page": packed(lambda _: gzip.compress(b"<html>please log in</html>")),
    "zero_bytes": packed(lambda _: b""),
    "data type": at(70, (999).to_bytes(2, "little")),
    "dimensions": at(42, (32000).to_bytes(2, "little") * 3),
    "voxel offset": at(108, np.float32(-9).tobytes()),
}
ONE_NUMBER = "convert it to one real number per voxel"
NO_SIZE = "its affine gives the voxels no size; repair its header|cannot be read"
NOT_FINITE = "holds NaN or infinite voxels; repair or remove the case"
BOTH = [
    *((name, spoil, "cannot be read") for name, spoil in UNREADABLE.items()),
    ("colors", redrawn(lambda voxels: np.zeros(voxels.shape, COLORS)), ONE_NUMBER),
    ("complex", redrawn(lambda voxels: voxels.astype(np.complex64)), ONE_NUMBER),
    (
        "five_axes",
        redrawn(lambda voxels: voxels.reshape(*voxels.shape[:3], 1, -1, 1)),
        "a 3-D volume is needed",
    ),
    ("no_size", header(pixdim=[1, 0, 0, 0, 1, 1, 1, 1], **NOWHERE), NO_SIZE),
    ("infinite_affine", header(qform_code=0, srow_x=[1, 0, 0, np.inf]), NO_SIZE),
]
one_axis_more = redrawn(lambda voxels: np.stack([voxels] * 2, axis=-1))
one_axis_less = redrawn(lambda voxels: voxels[..., 0])
IMAGE = [
    *BOTH,
    (
        "axis_more",
        one_axis_more,
        "has 2 channel|has 5 channel|has 4 channel|a 3-D volume is needed",
    ),
    ("axis_less", one_axis_less, "has 1 channel|a 3-D volume is needed"),
    ("nan", changed(put(np.nan)), NOT_FINITE),
    ("infinite", changed(put(np.inf)), NOT_FINITE),
    ("constant", changed(np.ones_like), "is constant; repair or remove the case"),
]
LABEL = [
    *BOTH,
    ("axis_more", one_axis_more, "has 2 channels; a label map has one"),
    ("axis_less", one_axis_less, "they must be equal|a 3-D volume is needed"),
    ("nan", changed(put(np.nan)), "holds the label value nan; expected only"),
    ("range", changed(put(11)), "holds the label value 11; expected only"),
    ("fraction", changed(put(0.5)), "holds the label value 0.5; expected only"),
    ("empty", changed(np.zeros_like), "holds no foreground voxel; repair or remove the case"),
    ("shape", other_shape, "they must be equal"),
    ("affine", other_affine, "mm away from where|the two must describe the same grid"),
]
FAULTS = {
    f"{key}-{name}": (key, spoil, message)
    for key, faults in (("image", IMAGE), ("label", LABEL))
    for name, spoil, message in faults
}


def on_each(cases):
    """All layouts are read by the same code: each case is tried on one, and nightly on the others."""
    return [
        pytest.param(
            *(*case, dataset),
            id=f"{name}-{dataset}",
            marks=pytest.mark.nightly if (k + n) % len(DATASETS) else (),
        )
        for k, (name, case) in enumerate(cases.items())
        for n, dataset in enumerate(DATASETS)
    ]


every_dataset_at_night = pytest.mark.parametrize("dataset", on_each({"one": ()}))


@cache
def configuration(dataset):
    files = [f"{dataset}/configs/dataset.yaml", "common/model.yaml", "common/train.yaml"]
    return ConfigParser.load_config_files([ROOT / "bundles" / file for file in files])


def parser_of(dataset, root, folder, patients):
    """The bundle's configuration for a dataset at ``root`` of which ``patients`` train."""
    parser = ConfigParser(deepcopy(configuration(dataset)))
    split = {"train": list(patients), "val": [], "test": []}
    (folder / "split.json").write_text(json.dumps(split))
    parser["dataset_dir"] = str(root)
    parser["cache_dir"] = str(folder / "cache")
    parser["split_file"] = str(folder / "split.json")
    return parser


@cache
def cases_of(dataset, root):
    parser = ConfigParser(deepcopy(configuration(dataset)))
    parser["dataset_dir"] = str(root)
    return parser.get_parsed_content("cases")


@pytest.fixture
def whole(phantom_of, dataset, tmp_path):
    """A dataset of several patients, for a test that spoils it."""
    return Path(shutil.copytree(phantom_of(dataset), tmp_path / "data"))


@pytest.fixture
def root(phantom_of, dataset, tmp_path):
    """A dataset of one patient, for a test that spoils it."""
    source, root = phantom_of(dataset), tmp_path / "data"
    cases = cases_of(dataset, source)
    own = [case for case in cases if case["patient"] == cases[0]["patient"]]
    files = {Path(file) for case in own for file in (*image_files(case), case["label"])}
    files |= {file.with_name("Info.cfg") for file in files if file.with_name("Info.cfg").is_file()}
    for file in files:
        copy = root / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return root


@pytest.fixture
def case(phantom_of, dataset, tmp_path):
    """The first case of either: its patient, its images and its label."""
    source = phantom_of(dataset)
    case = cases_of(dataset, source)[0]
    files = (*image_files(case), case["label"])
    moved = [tmp_path / "data" / Path(file).relative_to(source) for file in files]
    return case["patient"], moved[:-1], moved[-1]


@pytest.fixture
def error_line(dataset, tmp_path, case, monkeypatch, capsys):
    """What the bundle of a dataset prints when it cannot read its training volumes: one line."""

    def train(root, parser=None):
        parser = parser or parser_of(dataset, root, tmp_path, [case[0]])
        monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
        with pytest.raises((ValueError, RuntimeError)) as raised:
            parser.get_parsed_content("train::volumes")
        capsys.readouterr()
        one_line_errors()
        sys.excepthook(raised.type, raised.value, raised.tb)
        (line,) = capsys.readouterr().err.splitlines()
        assert not list(tmp_path.rglob("cache/*"))
        return line

    return train


@pytest.fixture
def faults(dataset, capsys):
    """What the check of a download prints and returns: a line for every fault, and its exit code."""

    def check(root):
        args = ["check", dataset, str(root), "--subset", "--bundles", str(ROOT / "bundles")]
        code = main(args)
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        return code, [line for line in printed.splitlines() if "fault: " in line]

    return check


@pytest.mark.parametrize(("key", "spoil", "message", "dataset"), on_each(FAULTS))
def test_fault_of_one_file_is_named_before_training_and_by_the_check(
    root, case, error_line, faults, key, spoil, message
):
    """A fault in the last modality or in the label is named before training, and by the check."""
    _, images, label = case
    file = images[-1] if key == "image" else label
    spoil(file)

    line = error_line(root)
    code, lines = faults(root)

    assert line.startswith(f"error: {file}: ")
    assert any(part in line for part in message.split("|"))
    assert code == 1
    assert lines[0] == line.replace("error: ", "fault: ", 1)


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, pytest.param(dangling, marks=pytest.mark.nightly)],
    ids=["missing", "link"],
)
@pytest.mark.parametrize(
    ("key", "dataset"),
    [*on_each({"image": ("image",)}), *(("label", dataset) for dataset in DATASETS)],
)
def test_missing_file_is_named(whole, case, dataset, error_line, faults, key, spoil):
    """A missing image or label is named; KiTS officially has cases without a label, which are none."""
    patient, images, label = case
    spoil(images[-1] if key == "image" else label)

    line, (_, lines) = error_line(whole), faults(whole)

    if (dataset, key) == ("kits", "label"):
        assert f"split.json: patient {patient} is not in the dataset" in line
    elif key == "image":
        assert line == f"error: {images[-1]}: missing image; unpack the dataset again"
        assert lines == [line.replace("error", "fault")]
    else:
        assert line == f"error: {images[0]}: has no label; expected it at {label}"
        assert lines == [line.replace("error", "fault")]


@pytest.mark.parametrize("dataset", ["brats", "mrbrains"])
@pytest.mark.parametrize("spoil", [other_affine, other_shape], ids=["affine", "shape"])
def test_image_on_another_grid_than_the_first_is_refused(root, case, error_line, spoil):
    """With both; a label on another grid is among the faults above."""
    _, images, _ = case
    spoil(images[-1])

    line = error_line(root)

    assert line.startswith(f"error: {images[-1]}: ")
    assert str(images[0]) in line


@every_dataset_at_night
def test_patient_of_two_sets_is_refused(root, case, dataset, tmp_path, error_line):
    """A split by hand that trains and validates on one patient is refused, with file and patient."""
    parser = parser_of(dataset, root, tmp_path, [case[0]])
    (tmp_path / "split.json").write_text(json.dumps({"train": [case[0]], "val": [case[0]]}))

    line = error_line(root, parser)

    assert f"split.json: patient {case[0]} is listed twice; list each patient once" in line


@every_dataset_at_night
def test_image_that_is_its_own_label_is_refused(root, case, dataset, error_line, faults):
    """A network would learn to copy it, and test as if it were perfect."""
    if dataset == "prostate":
        pytest.skip("its images have two channels in one file")
    _, images, label = case
    images[-1].unlink()
    images[-1].symlink_to(label)

    line, (code, lines) = error_line(root), faults(root)

    fault = f"{images[-1]}: holds the voxels of its label, {label}; put the image there"
    assert line == f"error: {fault}"
    assert (code, lines) == (1, [line.replace("error: ", "fault: ")])


def sheared(file):
    affine = nibabel.load(file).affine.copy()
    affine[:3, 0] += 0.05 * affine[:3, 1]
    rewrite(file, affine=affine)


def second_version(file):
    stored = nibabel.load(file)
    nibabel.save(nibabel.Nifti2Image(np.asarray(stored.dataobj), stored.affine), file)


@pytest.mark.parametrize(
    ("change_all", "dataset"), on_each({"sheared": (sheared,), "second": (second_version,)})
)
def test_unusual_file_that_training_reads_passes_the_check(
    root, case, dataset, tmp_path, faults, change_all
):
    """A slight shear, as in some CT, and the second version of NIfTI are not faults."""
    for file in [*root.rglob("*.nii.gz")]:
        change_all(file)
    moved(0.004)(case[2])  # as by rounding

    parser = parser_of(dataset, root, tmp_path, [case[0]])

    assert len(parser.get_parsed_content("train::volumes")) >= 1
    assert faults(root) == (0, [])


@every_dataset
def test_name_that_is_not_utf8_is_refused(root, error_line, faults):
    """Tables and configurations name the files, and are UTF-8."""
    elsewhere = Path(os.fsdecode(os.fsencode(root) + b"\xff"))
    root.rename(elsewhere)

    line, (code, lines) = error_line(elsewhere), faults(elsewhere)

    assert line.endswith(": its name is not UTF-8; rename it")
    assert code == 1
    assert all(line.endswith(": its name is not UTF-8; rename it") for line in lines)


def link_files(source, target):
    shutil.copytree(source, target, copy_function=lambda file, link: Path(link).symlink_to(file))


def link_folders(source, target):
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).symlink_to(path)


def link_root(source, target):
    target.symlink_to(source, target_is_directory=True)


PLACES = [shutil.copytree, link_files, link_folders, link_root]


@pytest.mark.parametrize(
    ("place", "dataset"), on_each({place.__name__: (place,) for place in PLACES})
)
def test_names_and_links_on_the_way_change_nothing(root, case, dataset, tmp_path, faults, place):
    """Spaces, other alphabets and links on the way to a file change nothing."""
    elsewhere = tmp_path / "Mes données" / "数据 – Größe"
    elsewhere.parent.mkdir()
    place(root, elsewhere)

    plain, moved = (
        parser_of(dataset, folder, tmp_path, [case[0]]).get_parsed_content("load_case")(
            cases_of(dataset, folder)[0]
        )
        for folder in (root, elsewhere)
    )

    same_bits(plain["image"], moved["image"], "equal files are read")
    same_values(plain["label"], moved["label"])
    assert faults(elsewhere) == (0, [])


class TestForms:
    @pytest.fixture
    def contradiction(self, tmp_path, monkeypatch):
        """ACDC's release: the sform without the size of the voxels, which is in the qform."""
        monkeypatch.setattr("nacl_monai.data.faults._warned", [])
        ramp = np.arange(132, dtype=np.float32).reshape(11, 4, 3)
        image = nibabel.Nifti1Image(ramp, np.diag([2.0, 2, 10, 1]))
        image.set_qform(np.diag([2.0, 2, 10, 1]), code=1)
        nibabel.save(image, tmp_path / "a.nii")
        image.header.set_sform(np.eye(4), code=1)
        content = image.header.binaryblock + (tmp_path / "a.nii").read_bytes()[348:]
        for name in ("a.nii", "b.nii"):
            (tmp_path / name).write_bytes(content)
        return tmp_path

    @pytest.mark.parametrize(
        ("sform_code", "qform_code", "line"),
        [
            (1, 1, "its sform and qform put voxels up to 20.8 mm"),  # (10, 3, 9·2) mm
            (
                1,
                0,
                "has voxels of 1×1×1 mm by its sform and of 2×2×10 mm by its pixdim, and others may do "
                "so; the sform counts\n",
            ),
            (0, 1, ""),
            (0, 0, ""),
        ],
    )
    def test_one_warning_for_all_files(self, contradiction, capsys, sform_code, qform_code, line):
        """One line, which names a file; a form whose code is 0 says nothing and contradicts nothing."""
        for name in ("a.nii", "b.nii", "a.nii"):
            warn_of_forms(with_codes(contradiction / name, sform_code, qform_code))

        warned = capsys.readouterr().err
        assert warned.startswith(f"warning: {contradiction}/a.nii: {line}" if line else "")
        assert warned.count("\n") == bool(line)

    @pytest.mark.parametrize(
        ("sform_code", "qform_code", "sizes"),
        [(1, 1, (2, 2, 10)), (1, 0, (1, 1, 1)), (0, 1, (2, 2, 10)), (0, 0, (2, 2, 10))],
    )
    def test_same_form_counts_in_training_inference_and_audits(
        self, contradiction, sform_code, qform_code, sizes
    ):
        """A declared one; of two, the one with the voxel sizes of pixdim."""
        file = with_codes(contradiction / "a.nii", sform_code, qform_code)

        training = LoadCase([[0], [1]], 1).read_volume(file, is_image=True)
        inference = ReadImage(1)({"image": [file]})["image"]
        audit, (_, of_grid) = read_image(Path(file)), read_grid(Path(file))

        found = np.linalg.norm(training.affine[:3, :3], axis=0)
        np.testing.assert_allclose(found, sizes, rtol=1e-6)
        for affine in (inference.affine, audit.affine, of_grid):
            same_bits(training.affine, affine, "all read the same header")


def with_codes(file, sform_code, qform_code):
    """Rewrites the codes of the header in ``file``; returns its name."""
    content = file.read_bytes()
    header = nibabel.load(file).header.copy()
    header["sform_code"], header["qform_code"] = sform_code, qform_code
    header["vox_offset"] = 352  # which nibabel forgets
    file.write_bytes(header.binaryblock + content[348:])
    return str(file)
