"""A phantom's folder is complete, recorded and recognized, or not there at all."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.phantoms import PHANTOMS
from nacl_monai.phantoms.__main__ import main
from nacl_monai.phantoms.writing import Phantom, request_case, save_nifti
from tests.phantoms.files import contents
from tests.same import same_values


def write_two_files(root: Path, case):
    """A case: two small files."""
    folder = root / f"case{case.number}"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_text(name)


TINY = Phantom("tiny", write_two_files)


def write(directory, cases=2, seed=0, full_size=False, **differences):
    return replace(TINY, **differences).write(directory, cases, seed, full_size)


def test_streams_depend_on_seed_and_number_alone():
    """Each step of each case draws from a stream of its own, the same in every phantom."""
    drawn = {
        (seed, number, stream): request_case(seed, number)[stream].integers(2**60)
        for seed in (0, 1)
        for number in (0, 1)
        for stream in (2, 3)
    }

    assert len(set(drawn.values())) == len(drawn)
    assert drawn[1, 1, 3] == request_case(1, 1, full_size=True).scanner.integers(2**60)
    seeds = np.random.SeedSequence([1, 1]).spawn(2)
    assert drawn[1, 1, 3] == np.random.default_rng(seeds[1]).integers(2**60)


def test_nifti_keeps_voxels_affine_and_zooms(tmp_path):
    """Both matrices of the header are the affine; zooms are its columns' length unless given."""
    affine = np.array([[0, 2.0, 0, 5], [-3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    cine = np.arange(48, dtype=np.int16).reshape(2, 3, 4, 2)

    save_nifti(cine, affine, tmp_path / "new" / "a.nii.gz")
    save_nifti(cine, affine, tmp_path / "b.nii.gz", zooms=(3, 2, 4, 0.25))

    plain, timed = nibabel.load(tmp_path / "new" / "a.nii.gz"), nibabel.load(tmp_path / "b.nii.gz")
    for image in (plain, timed):
        same_values(image.dataobj, cine)
        np.testing.assert_allclose(image.get_sform(coded=True)[0], affine)
        np.testing.assert_allclose(image.get_qform(coded=True)[0], affine, atol=1e-6)
        assert (image.get_sform(coded=True)[1], image.get_qform(coded=True)[1]) == (1, 1)
        assert image.header.get_xyzt_units() == ("mm", "sec")
    assert plain.header.get_zooms() == (3, 2, 4, 1)
    assert timed.header.get_zooms() == (3, 2, 4, 0.25)


def test_writing_again_does_nothing(tmp_path):
    """A folder that holds the phantom asked for keeps its files, untouched."""
    root = write(tmp_path / "tiny")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    assert write(root) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("change", [{"cases": 3}, {"seed": 1}, {"full_size": True}, {"version": 3}])
def test_another_phantom_is_refused(tmp_path, change):
    """A phantom of other parameters is not mixed with or taken for the one asked for."""
    root = write(tmp_path / "tiny")

    with pytest.raises(InputError, match=r"holds another phantom.*delete this one"):
        write(root, **change)


def test_incomplete_phantom_is_refused(tmp_path):
    """A phantom that has lost a file is not taken for a whole one; the message names the file."""
    root = write(tmp_path / "tiny")
    (root / "case1" / "b").unlink()

    with pytest.raises(InputError, match=r"without its case1/b"):
        write(root)


@pytest.mark.parametrize("content", [None, "no JSON", "[]", "{}"])
def test_foreign_folder_is_refused_and_kept(tmp_path, content):
    """Someone's files are neither overwritten nor deleted, whatever phantom.json may say."""
    (tmp_path / "thesis.txt").write_text("years of work")
    if content is not None:
        (tmp_path / "phantom.json").write_text(content)
    before = contents(tmp_path)

    with pytest.raises(InputError, match="not a phantom's"):
        write(tmp_path)
    assert contents(tmp_path) == before


def test_file_in_the_place_of_the_folder_is_refused(tmp_path):
    """A path that is a file is named in the message."""
    path = tmp_path / "tiny"
    path.touch()

    with pytest.raises(InputError, match="tiny: is not a folder; name an empty or new folder"):
        write(path)


def test_empty_folder_is_filled(tmp_path):
    """A folder that was made beforehand is as good as none; nothing else is left beside it."""
    (tmp_path / "tiny").mkdir()
    write(tmp_path / "tiny", cases=1)

    assert set(contents(tmp_path)) == {"tiny/phantom.json", "tiny/case0/a", "tiny/case0/b"}
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interruption_leaves_nothing(tmp_path, failure):
    """A run that ends half way leaves neither the folder nor a temporary one."""

    def fail_after_a_case(root, case):
        write_two_files(root, case)
        raise failure

    expected = KeyboardInterrupt if failure is KeyboardInterrupt else InputError
    with pytest.raises(expected):
        write(tmp_path / "tiny", write_case=fail_after_a_case)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"cases": 0}, "cases=0: a phantom needs"),
        ({"seed": -1}, "seed=-1: a seed is"),
        ({"most": 1}, "cases=2: tiny has 1 labeled cases; use cases=1 or fewer"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, parameters, named):
    """The message names the parameter, and nothing is written."""
    with pytest.raises(InputError, match=named):
        write(tmp_path / "tiny", **parameters)
    assert not any(tmp_path.iterdir())
    write(tmp_path / "tiny", most=2)


def test_command_reports_errors_in_a_line(tmp_path, capsys):
    """A folder with other files ends in one line and exit code 1; a wrong name lists those there are."""
    (tmp_path / "thesis.txt").touch()
    assert main(["brats", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}: holds files")
    assert error.count("\n") == 1

    with pytest.raises(SystemExit, match="2"):
        main(["brain", str(tmp_path)])
    message = capsys.readouterr().err
    assert all(name in message for name in PHANTOMS)
