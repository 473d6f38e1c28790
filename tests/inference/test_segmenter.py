"""Every image is segmented that can be, and every one that cannot is named."""

import pytest
import torch
from monai.data import Dataset, MetaTensor
from torch import nn

from nacl_monai.inference import Segmenter
from nacl_monai.inference.faults import ImageFault, refuse


class Remembering:
    """Stands for what saves the maps: remembers each case, and names a file for it."""

    def __init__(self):
        self.cases = []

    def __call__(self, case):
        self.cases.append(case)
        return {**case, "files": [f"out/{case['name']}_label.nii.gz"]}


def read(case):
    if case["name"] == "bad":
        raise ImageFault("bad.nii: is bad; leave it out")
    if case["name"] == "fatal":
        refuse("out: cannot be written (full); choose another --output_dir")
    if case["name"] == "bug":
        raise ZeroDivisionError("a bug")
    return {**case, "image": MetaTensor(torch.full((1, 2, 3, 4), float(case["image"][0])))}


@pytest.fixture
def segment(tmp_path):
    """Segments images of given names by a network that adds 10; returns what was saved."""
    network = nn.Conv3d(1, 2, 1)
    nn.init.ones_(network.weight)
    nn.init.constant_(network.bias, 10)
    torch.save(network.state_dict(), tmp_path / "model.pt")

    def run(*names, checkpoint=tmp_path / "model.pt"):
        cases = [{"image": [str(number)], "name": name} for number, name in enumerate(names)]
        untrained = nn.Conv3d(1, 2, 1).train()
        saving = Remembering()

        def infer(batch, network):
            assert type(batch) is torch.Tensor
            assert not network.training
            return network(batch)

        segmenter = Segmenter(untrained, checkpoint, Dataset(cases, read), infer, saving, "cpu")
        run.saved = saving.cases
        segmenter.run()
        return saving.cases

    return run


def test_trained_network_segments_every_image(segment, capsys):
    """In order, without gradients; every file is listed."""
    a, b = segment("a", "b")

    assert (a["name"], b["name"]) == ("a", "b")
    torch.testing.assert_close(a["pred"], torch.full((2, 2, 3, 4), 10.0))
    torch.testing.assert_close(b["pred"], torch.full((2, 2, 3, 4), 11.0))
    assert not a["pred"].requires_grad
    output, errors = capsys.readouterr()
    assert output.splitlines() == ["wrote out/a_label.nii.gz", "wrote out/b_label.nii.gz"]
    assert "1/2 Segmenting [" in errors
    assert "2/2 Segmenting [" in errors


def test_bad_images_do_not_stop_the_others(segment, capsys):
    """They are named at the end, one line each, and the exit code is 1."""
    with pytest.raises(SystemExit) as caught:
        segment("a", "bad", "b", "bad")

    assert [case["name"] for case in segment.saved] == ["a", "b"]
    assert caught.value.code == "\n".join(["error: bad.nii: is bad; leave it out"] * 2)
    assert capsys.readouterr().out.count("wrote ") == 2


def test_error_that_nobody_foresaw_keeps_its_traceback(segment, capsys):
    """The other images are segmented all the same, and its image is named."""
    with pytest.raises(SystemExit) as caught:
        segment("bug", "b")

    assert [case["name"] for case in segment.saved] == ["b"]
    assert caught.value.code == "error: 0: fails (ZeroDivisionError('a bug')); see above"
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_what_concerns_all_images_ends_the_command(segment, capsys):
    """What was written until then is listed."""
    with pytest.raises(SystemExit, match="error: out: cannot be written"):
        segment("a", "fatal", "b")

    assert [case["name"] for case in segment.saved] == ["a"]
    assert capsys.readouterr().out == "wrote out/a_label.nii.gz\n"


def test_bad_images_are_named_although_the_command_ends_early(segment):
    """Before what ended it."""
    with pytest.raises(SystemExit) as caught:
        segment("bad", "fatal", "bad")

    assert caught.value.code == (
        "error: bad.nii: is bad; leave it out\n"
        "error: out: cannot be written (full); choose another --output_dir"
    )


def test_untrained_network_segments_nothing(segment, tmp_path):
    """The weights are first."""
    with pytest.raises(SystemExit, match=r"nowhere.pt: no trained model there"):
        segment("a", checkpoint=tmp_path / "nowhere.pt")

    assert segment.saved == []
