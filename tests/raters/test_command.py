"""fit-prior: what it writes is what a training takes, and what it cannot fit is one line."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml

from nacl_monai.cli import main
from nacl_monai.losses import NACLLoss
from nacl_monai.menus import read_menu
from nacl_monai.raters.command import overrides


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
