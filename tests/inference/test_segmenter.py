"""Weights are those that were trained, and every image is segmented that can be."""

import hashlib
import re
import sys
from contextlib import suppress

import pytest
import torch
from monai.data import Dataset, MetaTensor
from monai.transforms import Compose
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.inference import CalibratedInferer, Segmenter
from nacl_monai.inference.images import ImageFault
from nacl_monai.inference.segmenter import load_checkpoint
from nacl_monai.posthoc import DistanceTemperatures
from tests.conftest import flip_headers
from tests.same import same_bits


@pytest.fixture
def file(tmp_path):
    """The weights of a network that is not the one of the tests."""
    torch.manual_seed(1)
    torch.save(network().state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def network(classes=2):
    return nn.Sequential(nn.Conv2d(1, classes, 3), nn.BatchNorm2d(classes))


def write_checksum(file):
    """As `sha256sum model.pt > model.pt.sha256` does."""
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    file.with_name("model.pt.sha256").write_text(f"{checksum}  model.pt\n")


@pytest.mark.parametrize("with_checksum", [True, False])
def test_weights_are_loaded(file, with_checksum):
    """A checksum beside the file is right; without one, the file's own are."""
    if with_checksum:
        write_checksum(file)
    loaded = network()

    load_checkpoint(loaded, str(file))

    for name, values in torch.load(file, weights_only=True).items():
        same_bits(loaded.state_dict()[name], values, "they are read back")


def test_changed_byte_of_any_layer_is_noticed(refusal, file):
    """Torch reads it without a word."""
    content = file.read_bytes()
    state = torch.load(file, weights_only=True)
    for name in ("0.weight", "0.bias", "1.weight"):
        place = content.index(state[name].numpy().tobytes())
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)

        assert refusal(load_checkpoint, network(), file).startswith(f"{file}: is damaged, or not ")


def test_flipped_bit_of_a_header_of_the_archive_is_no_traceback(file):
    """It may announce a compression, a password, another place or size; some change nothing."""
    for _ in flip_headers(file):
        with suppress(InputError):
            load_checkpoint(network(), str(file))


def test_part_that_is_marked_as_a_folder_is_damaged(refusal, file):
    """One flipped bit; torch would return whatever was in the memory."""
    content = bytearray(file.read_bytes())
    for header in re.finditer(b"PK\x01\x02", bytes(content)):
        changed = bytearray(content)
        changed[header.start() + 38] ^= 0x10
        file.write_bytes(changed)

        assert "is damaged" in refusal(load_checkpoint, network(), file)


def test_other_weights_under_the_name_are_noticed(refusal, file):
    """A whole file with one weight changed is not the file that was trained."""
    write_checksum(file)
    state = torch.load(file, weights_only=True)
    state["0.weight"][0, 0, 0, 0] += 1e-3
    torch.save(state, file)

    assert "not the file that was trained" in refusal(load_checkpoint, network(), file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02N."])
def test_file_that_is_none_of_torch_is_damaged(refusal, file, content):
    """Whatever is in it; nothing of it is unpickled."""
    file.write_bytes(content)

    assert "is damaged" in refusal(load_checkpoint, network(), file)


@pytest.mark.parametrize("other", [network(3), nn.Linear(2, 2)])
def test_weights_of_another_network_do_not_fit(refusal, file, other):
    """They have another shape or other names."""
    assert "model.pt: does not fit the network; " in refusal(load_checkpoint, other, file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_mean"])
def test_weights_that_are_no_numbers_are_refused(refusal, file, name, value):
    """One is enough, in a buffer too."""
    state = torch.load(file, weights_only=True)
    state[name].view(-1)[-1] = value
    torch.save(state, file)

    assert refusal(load_checkpoint, network(), file) == (
        f"{file}: holds NaN or infinite weights ({name}); train again"
    )


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
        raise InputError("out: cannot be written (full); choose another --output_dir")
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
            assert batch.affine.shape[-1] == 4  # the inferer may ask for the spacing
            assert not network.training
            return network(batch)

        segmenter = Segmenter(
            untrained, checkpoint, Dataset(cases, Compose([read])), infer, saving, "cpu"
        )
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


def test_calibrator_sees_the_logits_of_the_whole_image_and_its_spacing(tmp_path):
    """Of axes of any size, behind what the inferer stitched; switched off it sees nothing."""
    torch.manual_seed(0)
    network = nn.Conv3d(1, 2, 1)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    affine = torch.diag(torch.tensor([0.5, 2.0, 3.0, 1.0]))
    image = MetaTensor(torch.randn(1, 6, 5, 4), affine=affine)
    module = DistanceTemperatures([3.0, 1.0], [0.0, 4.0])
    scripted = torch.jit.script(module.eval())
    for calibrated in (True, False):
        saving = Remembering()
        data = Dataset([{"image": image, "name": "a"}], dict)
        inferer = CalibratedInferer([6, 5, 4], scripted, calibrated)
        Segmenter(network, tmp_path / "model.pt", data, inferer, saving, "cpu").run()
        with torch.no_grad():
            plain = network(image.as_tensor()[None])
            expected = module(plain, spacing=[0.5, 2.0, 3.0]) if calibrated else plain
        torch.testing.assert_close(saving.cases[0]["pred"], expected[0])


BAD = "bad.nii: is bad; leave it out"
FATAL = "out: cannot be written (full); choose another --output_dir"


def test_bad_images_do_not_stop_the_others(segment, capsys):
    """They are named at the end, one line each, and the exit code is 1."""
    with pytest.raises(InputError) as caught:
        segment("a", "bad", "b", "bad")

    assert [case["name"] for case in segment.saved] == ["a", "b"]
    assert str(caught.value) == f"{BAD}\nerror: {BAD}"
    assert capsys.readouterr().out.count("wrote ") == 2


def test_error_that_nobody_foresaw_keeps_its_traceback(segment, capsys):
    """The other images are segmented all the same, and its image is named."""
    with pytest.raises(InputError) as caught:
        segment("bug", "b")

    assert [case["name"] for case in segment.saved] == ["b"]
    assert str(caught.value) == "0: fails (ZeroDivisionError('a bug')); see above"
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "lines", "written"),
    [
        (["a", "fatal", "b"], [FATAL], "wrote out/a_label.nii.gz\n"),
        (["bad", "fatal", "bad"], [BAD, FATAL], ""),
    ],
)
def test_what_concerns_all_images_ends_the_command(segment, capsys, names, lines, written):
    """What was written until then is listed, and bad images are named before what ended it."""
    with pytest.raises(InputError) as caught:
        segment(*names)

    assert str(caught.value) == "\nerror: ".join(lines)
    assert capsys.readouterr().out == written


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bar_that_is_cut_short_shares_no_line(segment, capsys, monkeypatch, is_terminal):
    """Nor is a line added where it has come to its end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    with pytest.raises(InputError):
        segment("a", "fatal")
    assert capsys.readouterr().err.endswith("]\r\n")
    segment("a")

    assert capsys.readouterr().err.count("\n") == (1 if is_terminal else 2)


def test_untrained_network_segments_nothing(segment, tmp_path):
    """The weights are first."""
    with pytest.raises(InputError, match=r"nowhere.pt: no trained model there"):
        segment("a", checkpoint=tmp_path / "nowhere.pt")

    assert segment.saved == []
