"""The command fit-prior: folders of raters become the words of a training."""

import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import yaml

from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.losses import NACLLoss
from nacl_monai.menus import read_menu
from nacl_monai.raters import __main__ as command
from nacl_monai.raters.command import (
    FitOptions,
    overrides,
    rated_files,
    read_rated_cases,
    structure,
    values_of_raters,
)
from tests.same import same_values


@pytest.fixture
def fit(tmp_path, capsys):
    """Runs the command; returns exit code, output and errors."""

    def run(*args):
        code = main(["fit-prior", *map(str, args), "--output", str(tmp_path / "prior.yaml")])
        return code, *capsys.readouterr()

    return run


def test_overrides_are_those_of_the_raters(write, fit, tmp_path):
    """A disagreement of √2 mm on voxels of 1 mm, for a training on voxels of 2 × 1 mm."""
    folders = write(tmp_path, raters=3, cases=16)
    code, out, err = fit(*folders, "--spacing", 2, 1, "--band", 2.5)
    assert (code, err) == (0, "")

    width, low, high = map(
        float, re.search(r"all classes, in mm: (.*) \[(.*), (.*)\]", out).groups()
    )
    assert low <= np.sqrt(2 + 1 / 12) <= high
    loaded = yaml.safe_load((tmp_path / "prior.yaml").read_text())
    settings = {key.removeprefix("losses::nacl::"): value for key, value in loaded.items()}
    expected = [np.sqrt(width**2 - 1 / 12 + size**2 / 12) / size for size in (2, 1)]
    np.testing.assert_allclose(settings["sigma"], expected, atol=0.01)  # the line has two digits
    assert settings["prior"] == "blur"
    assert settings["sigma"] == NACLLoss(**settings).penalties[0].settings["sigma"]
    assert settings.keys() <= read_menu("losses")["nacl"].settings.keys()
    for key, value in loaded.items():
        assert f"--{key} " + (f'"{value}"' if isinstance(value, list) else f"{value}") in out


def test_same_voxels_keep_the_width():
    """Nothing is taken off that is not added again; a width below a voxel stays above zero."""
    loaded = overrides(1.5, [0.75, 0.75], [0.75, 0.75])
    assert loaded["losses::nacl::sigma"] == 2.0
    assert loaded["losses::nacl::kernel_size"] == 13
    assert 0.28 < overrides(0.1, [1.0], [1.0])["losses::nacl::sigma"] < 0.29


def test_doubt_is_a_warning(write, fit, tmp_path):
    """One case is one patient, of whom no interval can be told."""
    code, _, err = fit(*write(tmp_path, cases=1))

    assert code == 0
    assert err.startswith("warning: the raters cannot tell the width: there is one patient")


def agreeing(write, root):
    first, other = write(root, cases=2)
    shutil.copytree(first, other, dirs_exist_ok=True)
    return [first, other]


def ignored(write, root):
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "ignore": 1}}))
    return write(root, cases=2)


def of_other_voxels(write, root):
    folders = write(root, cases=2)
    for other in write(root / "b", cases=1, spacing=(1.5, 1.5, 4.0)):
        shutil.copy(other / "case00.nii.gz", root / other.name / "case99.nii.gz")
    return folders


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (agreeing, 1, "agrees with .*without disagreement there is no width to fit"),
        (ignored, 1, "dataset.json: says to ignore the label 1, whose border"),
        (of_other_voxels, 2, "error: --spacing: is missing"),
    ],
)
def test_label_maps_that_tell_no_width_are_refused(make, code, message, write, fit, tmp_path):
    """In one line, and nothing is written."""
    found, out, err = fit(*make(write, tmp_path))

    assert (found, out, err.count("\n")) == (code, "", 1)
    assert re.search(message, err)
    assert not (tmp_path / "prior.yaml").exists()


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (["--spacing", "1"], "--spacing: is 1; give 2 numbers"),
        (["--spacing", "1", "0"], "--spacing: is 1 0"),
        (["--spacing", "nan", "1"], "--spacing: is nan 1"),
        (["--spacing", "1", "inf"], "--spacing: is 1 inf"),
        (["--volumes", "--spacing", "1", "1"], "--spacing: is 1 1; give 3 numbers"),
        (["--band", "0"], "--band: is 0"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(fit, tmp_path, args, fault):
    """Before anything is read."""
    code, _, err = fit(tmp_path / "one", tmp_path / "other", *args)

    assert code == 2
    assert err.startswith(f"error: {fault}")


def test_cases_are_read_by_name_whatever_the_tool(write, tmp_path):
    """NIfTI and NRRD; axes in any order and direction become right, anterior, superior."""
    first, other = write(tmp_path, cases=2, spacing=(1.0, 2.0, 4.0), shape=(20, 14, 3), error=0)
    file = other / "case01.nii.gz"
    SimpleITK.WriteImage(SimpleITK.ReadImage(file), other / "case01.nrrd")
    file.unlink()
    for file in (first / "case00.nii.gz", other / "case00.nii.gz"):
        turned = nibabel.load(file).as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        nibabel.save(turned, file)

    for case in read_rated_cases(rated_files([first, other])):
        assert case.spacing == (1.0, 2.0, 4.0)
        assert case.labels.shape == (2, 20, 14, 3)
        same_values(case.labels[0], case.labels[1])
        x, y = (np.arange(20) - 9.5), (np.arange(14) - 6.5) * 2
        radius = np.hypot(x[:, None], y)
        inside = case.labels[0, :, :, 0] > 0
        assert radius[inside].max() <= radius[~inside].min()


def test_missing_and_repeated_raters_are_refused(write, tmp_path):
    """Before the first volume is read."""
    first, other, third = write(tmp_path, raters=3, cases=3)
    (third / "case01.nii.gz").unlink()

    with pytest.raises(InputError, match=r"rater2: has no label map of the case 'case01'"):
        rated_files([first, other, third])
    with pytest.raises(InputError, match=r"rater0: is given twice"):
        rated_files([first, other, first / ".." / first.name])
    with pytest.raises(InputError, match=r"rater0: is the only rater"):
        rated_files([first])


def test_other_shapes_are_refused(write, tmp_path):
    """By the file that is not like the first rater's."""
    first, _ = write(tmp_path / "a", cases=1)
    smaller, _ = write(tmp_path / "b", cases=1, shape=(40, 48, 5))

    with pytest.raises(InputError, match=r"rater0/case00\.nii\.gz: has shape"):
        list(read_rated_cases(rated_files([first, smaller])))


def test_distance_that_is_accepted_is_read(write, tmp_path):
    """As the refusal says it: 0.1 mm over 39 voxels are 3.9."""
    first, _ = write(tmp_path / "a", cases=1, shape=(40, 40, 3))
    wider, _ = write(tmp_path / "b", cases=1, shape=(40, 40, 3), spacing=(1.1, 1.0, 4.0))
    files = rated_files([first, wider])

    message = r"rater0/case00\.nii\.gz: its affine puts voxels .* --affine_tolerance 3\.91$"
    with pytest.raises(InputError, match=message):
        list(read_rated_cases(files))
    assert len(list(read_rated_cases(files, 3.91))) == 1


def test_other_label_sets_are_refused(tmp_path):
    """A structure that one rater never labeled, or nothing at all."""
    folders = [tmp_path / "one", tmp_path / "other"]
    assert values_of_raters(folders, [{2, 1}, {1, 2}]) == [1, 2]
    with pytest.raises(InputError, match=r"other: holds the label values \[1\], but .* \[1, 2\]"):
        values_of_raters(folders, [{1, 2}, {1}])
    with pytest.raises(InputError, match="one: holds no foreground"):
        values_of_raters(folders, [set(), set()])


def test_structure_is_cut_out_with_a_margin(write, tmp_path):
    """Slices along the third axis, or one volume; None where no rater has it."""
    (case,) = read_rated_cases(rated_files(write(tmp_path, cases=1, shape=(48, 48, 7))))
    slices = structure(case, 1, "one", 3.0, volumes=False)
    volume = structure(case, 1, "one", 3.0, volumes=True)

    assert slices.spacing == (1.0, 1.0)
    assert volume.spacing == (1.0, 1.0, 4.0)
    same_values(np.moveaxis(volume.masks[:, 0], 3, 1), slices.masks)
    assert slices.masks.sum() == (case.labels == 1).sum()
    assert not slices.masks[..., :3].any()
    assert not slices.masks[:, :, -3:].any()
    assert structure(case, 2, "one", 3.0, volumes=False) is None


def test_words_reach_the_fit(monkeypatch):
    """Every option of fit-prior."""
    seen, fit = [], "nacl_monai.raters.command.fit_prior"
    monkeypatch.setattr(fit, lambda options: seen.append(options) or [])
    args = ["one", "two", "--output", "out.yaml", "--spacing", "1", "2", "3"]
    args += ["--volumes", "--band", "4", "--patient-pattern", "(.)", "--affine_tolerance", "0.5"]

    assert command.main(args) == 0
    raters, output = [Path("one"), Path("two")], Path("out.yaml")
    assert seen == [FitOptions(raters, output, [1.0, 2.0, 3.0], True, 4.0, "(.)", 0.5)]
