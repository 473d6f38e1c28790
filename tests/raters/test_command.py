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
from nacl_monai.raters.command import check_values, find_cases, overrides, read_cases, structure


def run(*words, capsys):
    code = main(["fit-prior", *map(str, words)])
    return code, *capsys.readouterr()


def test_overrides_are_those_of_the_raters(write, tmp_path, capsys):
    """A disagreement of √2 mm on voxels of 1 mm, for a training on voxels of 2 × 1 mm."""
    folders = write(tmp_path, raters=3, cases=16)
    output = tmp_path / "prior.yaml"
    code, out, err = run(
        *folders, "--output", output, "--spacing", 2, 1, "--band", 2.5, capsys=capsys
    )
    assert (code, err) == (0, "")

    width, low, high = map(float, re.search(r"all classes: (.*) mm \[(.*), (.*)\]", out).groups())
    assert low <= np.sqrt(2 + 1 / 12) <= high
    words = yaml.safe_load(output.read_text())
    settings = {key.removeprefix("losses::nacl::"): value for key, value in words.items()}
    expected = [np.sqrt(width**2 - 1 / 12 + size**2 / 12) / size for size in (2, 1)]
    np.testing.assert_allclose(settings["sigma"], expected, atol=0.01)
    assert settings["prior"] == "blur"
    assert settings["sigma"] == NACLLoss(**settings).penalties[0].settings["sigma"]
    assert settings.keys() <= read_menu("losses")["nacl"].settings.keys()
    for key, value in words.items():
        assert f"--{key} " + (f'"{value}"' if isinstance(value, list) else f"{value}") in out


def test_same_voxels_keep_the_width():
    """Nothing is taken off that is not added again; a width below a voxel stays above zero."""
    words = overrides(1.5, [0.75, 0.75], [0.75, 0.75])
    assert words["losses::nacl::sigma"] == 2.0
    assert words["losses::nacl::kernel_size"] == 13
    assert 0.28 < overrides(0.1, [1.0], [1.0])["losses::nacl::sigma"] < 0.29


def test_doubt_is_a_warning(write, tmp_path, capsys):
    """One case is one patient, of whom no interval can be told."""
    folders = write(tmp_path, cases=1)
    code, _, err = run(*folders, "--output", tmp_path / "prior.yaml", capsys=capsys)

    assert code == 0
    assert err.startswith("warning: the raters cannot tell the width: there is one patient")


def test_raters_who_agree_are_not_fitted(write, tmp_path, capsys):
    """The command says that they do not disagree, and writes nothing."""
    one, other = write(tmp_path, cases=2)
    shutil.rmtree(other)
    shutil.copytree(one, other)
    code, out, err = run(one, other, "--output", tmp_path / "prior.yaml", capsys=capsys)

    assert (code, out) == (1, "")
    assert "agrees with" in err
    assert "without disagreement there is no width to fit" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "prior.yaml").exists()


def test_label_to_ignore_is_not_fitted(write, tmp_path, capsys):
    """Its border says where somebody stopped to label."""
    folders = write(tmp_path, cases=2)
    labels = {"labels": {"background": 0, "ignore": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(labels))
    code, _, err = run(*folders, "--output", tmp_path / "prior.yaml", capsys=capsys)

    assert code == 1
    assert f"error: {tmp_path}/dataset.json: says to ignore the label 1, whose border" in err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--spacing", "1"], "--spacing: is 1; give 2 numbers"),
        (["--spacing", "1", "0"], "--spacing: is 1 0"),
        (["--spacing", "nan", "1"], "--spacing: is nan 1"),
        (["--spacing", "1", "inf"], "--spacing: is 1 inf"),
        (["--volumes", "--spacing", "1", "1"], "--spacing: is 1 1; give 3 numbers"),
        (["--band", "0"], "--band: is 0"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(write, tmp_path, capsys, words, fault):
    """Before anything is read."""
    folders = write(tmp_path, cases=1)
    code, _, err = run(*folders, "--output", tmp_path / "prior.yaml", *words, capsys=capsys)

    assert code == 2
    assert err.startswith(f"error: {fault}")


def test_spacings_that_differ_need_that_of_the_training(write, tmp_path, capsys):
    """No one knows otherwise on which voxels a training will be."""
    folders = write(tmp_path, cases=2)
    for other in write(tmp_path / "b", cases=1, spacing=(1.5, 1.5, 4.0)):
        shutil.copy(other / "case00.nii.gz", tmp_path / other.name / "case99.nii.gz")
    code, _, err = run(*folders, "--output", tmp_path / "prior.yaml", capsys=capsys)

    assert code == 2
    assert err.startswith("error: --spacing: is missing")


def test_cases_are_read_by_name_whatever_the_tool(write, tmp_path):
    """NIfTI and NRRD; axes in any order and direction become right, anterior, superior."""
    one, other = write(tmp_path, cases=2, spacing=(1.0, 2.0, 4.0), shape=(20, 14, 3), error=0)
    file = other / "case01.nii.gz"
    image = SimpleITK.ReadImage(str(file))
    SimpleITK.WriteImage(image, str(other / "case01.nrrd"))
    file.unlink()
    for folder in (one, other):
        file = folder / "case00.nii.gz"
        image = nibabel.load(file)
        turned = image.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        nibabel.save(turned, file)

    for case in read_cases(find_cases([one, other])):
        assert case.spacing == (1.0, 2.0, 4.0)
        assert case.labels.shape == (2, 20, 14, 3)
        assert np.array_equal(case.labels[0], case.labels[1])
        x, y = (np.arange(20) - 9.5), (np.arange(14) - 6.5) * 2
        radius = np.hypot(x[:, None], y)
        inside = case.labels[0, :, :, 0] > 0
        assert radius[inside].max() <= radius[~inside].min()


def test_missing_and_repeated_raters_are_refused(write, tmp_path):
    """Before the first volume is read."""
    one, other, third = write(tmp_path, raters=3, cases=3)
    (third / "case01.nii.gz").unlink()

    with pytest.raises(InputError, match=r"rater2: has no label map of the case 'case01'"):
        find_cases([one, other, third])
    with pytest.raises(InputError, match=r"rater0: is given twice"):
        find_cases([one, other, one / ".." / one.name])
    with pytest.raises(InputError, match=r"rater0: is the only rater"):
        find_cases([one])


def test_other_grids_are_refused(write, tmp_path):
    """Other shapes, and other places of the same shape."""
    one, _ = write(tmp_path / "a", cases=1)
    smaller, _ = write(tmp_path / "b", cases=1, shape=(40, 48, 5))
    wider, _ = write(tmp_path / "c", cases=1, spacing=(1.1, 1.0, 4.0))
    for other, fault in ((smaller, "has shape"), (wider, "its affine puts voxels")):
        with pytest.raises(InputError, match=rf"rater0/case00\.nii\.gz: {fault}"):
            list(read_cases(find_cases([one, other])))


def test_distance_that_is_accepted_is_read(write, tmp_path):
    """As the refusal says it: 0.1 mm over 39 voxels are 3.9."""
    one, _ = write(tmp_path / "a", cases=1, shape=(40, 40, 3))
    wider, _ = write(tmp_path / "b", cases=1, shape=(40, 40, 3), spacing=(1.1, 1.0, 4.0))
    files = find_cases([one, wider])

    with pytest.raises(InputError, match=r"--affine_tolerance 3\.91$"):
        list(read_cases(files))
    assert len(list(read_cases(files, 3.91))) == 1


def test_other_label_sets_are_refused(tmp_path):
    """A structure that one rater never labeled, or nothing at all."""
    folders = [tmp_path / "one", tmp_path / "other"]
    assert check_values(folders, [{2, 1}, {1, 2}]) == [1, 2]
    with pytest.raises(InputError, match=r"other: holds the label values \[1\], but .* \[1, 2\]"):
        check_values(folders, [{1, 2}, {1}])
    with pytest.raises(InputError, match="one: holds no foreground"):
        check_values(folders, [set(), set()])


def test_structure_is_cut_out_with_a_margin(write, tmp_path):
    """Slices along the third axis, or one volume; None where no rater has it."""
    (case,) = read_cases(find_cases(write(tmp_path, cases=1, shape=(48, 48, 7))))
    slices = structure(case, 1, "one", 3.0, volumes=False)
    volume = structure(case, 1, "one", 3.0, volumes=True)

    assert slices.spacing == (1.0, 1.0)
    assert volume.spacing == (1.0, 1.0, 4.0)
    assert np.array_equal(np.moveaxis(volume.masks[:, 0], 3, 1), slices.masks)
    assert slices.masks.sum() == (case.labels == 1).sum()
    assert not slices.masks[..., :3].any()
    assert not slices.masks[:, :, -3:].any()
    assert structure(case, 2, "one", 3.0, volumes=False) is None


def test_words_reach_the_fit(monkeypatch):
    """Every option of fit-prior."""
    seen = []
    monkeypatch.setattr(
        "nacl_monai.raters.command.fit_prior", lambda options: seen.append(options) or []
    )
    words = ["one", "two", "--output", "out.yaml", "--spacing", "1", "2", "3"]
    words += ["--volumes", "--band", "4", "--patient-pattern", "(.)", "--affine_tolerance", "0.5"]

    assert command.main(words) == 0
    (options,) = seen
    assert options.raters == [Path("one"), Path("two")]
    assert options.output == Path("out.yaml")
    assert options.spacing == [1.0, 2.0, 3.0]
    assert options.affine_tolerance == 0.5
    assert (options.volumes, options.band, options.patient_pattern) == (True, 4.0, "(.)")


def test_raters_are_needed():
    """A command needs a folder."""
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == 2
