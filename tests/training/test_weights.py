"""The weights that a training or an evaluation begins with."""

import hashlib

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nacl_monai.errors import InputError, SettingError
from nacl_monai.training import load_pretrained, load_weights
from tests.conftest import refused
from tests.same import same_bits


def test_weights_come_back_exactly_or_the_file_is_named(tmp_path):
    """Weights are read back exactly; a missing, damaged or foreign file is named."""
    network, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    content = bytearray((tmp_path / "model.pt").read_bytes())
    (tmp_path / "half.pt").write_bytes(content[:50])
    content[content.index(network.weight.detach().numpy().tobytes())] ^= 1
    (tmp_path / "changed.pt").write_bytes(content)

    load_weights(other, tmp_path / "model.pt")

    same_bits(network.weight, other.weight, "they are read back")
    for target, file, message in (
        (other, "nowhere.pt", "no trained model there"),
        (other, "half.pt", "is damaged"),
        (other, "changed.pt", "is damaged"),
        (torch.nn.Linear(4, 2), "model.pt", "does not fit the network"),
    ):
        assert f"{file}: {message}" in refused(load_weights, target, tmp_path / file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    """One is enough."""
    network = torch.nn.Linear(3, 2)
    network.bias.data[1] = value
    torch.save(network.state_dict(), tmp_path / "model.pt")

    with pytest.raises(InputError, match=r"model.pt: holds NaN or infinite weights \(bias\)"):
        load_weights(torch.nn.Linear(3, 2), tmp_path / "model.pt")


def network(classes=3, features=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, features, 3), nn.BatchNorm2d(features), nn.Conv2d(features, classes, 1)
    )


SOURCE = network(seed=1).state_dict()
FORMS = {
    "alone": SOURCE,
    "MONAI": {"model": SOURCE, "epoch": 3},
    "Lightning": {"state_dict": {f"model.net.{key}": value for key, value in SOURCE.items()}},
    "processes": {f"module.{key}": value for key, value in SOURCE.items()},
    "checkpoint": {
        "network": SOURCE,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 0.1}]},
        "histogram": {"counts": torch.zeros(7)},
    },
    "half": {
        key: value.half() if value.is_floating_point() else value for key, value in SOURCE.items()
    },
}


@pytest.fixture
def load(tmp_path):
    """Writes a file of weights, and loads it into a network."""

    def run(content, into, file="begin.pth", **options):
        (torch.save if file.endswith(".pth") else save_file)(content, tmp_path / file)
        return load_pretrained(into, str(tmp_path / file), tmp_path / "checkpoints", **options)

    return run


@pytest.mark.parametrize("form", FORMS)
def test_state_dictionary_is_found_wherever_it_is(load, form):
    """By itself or beside others, and with prefixes that all names share."""
    into = network()

    report = load(FORMS[form], into, "begin.safetensors" if form == "alone" else "begin.pth")

    expected = {key: value.to(SOURCE[key].dtype) for key, value in FORMS["half"].items()}
    same_bits(into.state_dict(), expected if form == "half" else SOURCE, "they are read back")
    assert sorted(report["loaded"]) == sorted(SOURCE)
    assert report["missing"] == report["other_shape"] == report["unexpected"] == []


def test_line_and_record_say_what_fits_and_what_does_not(load, tmp_path, capsys):
    """The rest of the network stays as it was."""
    into = network(classes=5)
    before = {key: value.clone() for key, value in into.state_dict().items()}
    content = {**SOURCE, "head.weight": torch.ones(2)}
    del content["0.bias"]

    report = load(content, into)

    assert report == {
        "file": str(tmp_path / "begin.pth"),
        "sha256": hashlib.sha256((tmp_path / "begin.pth").read_bytes()).hexdigest(),
        "loaded": ["0.weight", *(f"1.{name}" for name in sorted(nn.BatchNorm2d(1).state_dict()))],
        "missing": ["0.bias"],
        "other_shape": ["2.bias", "2.weight"],
        "unexpected": ["head.weight"],
    }
    assert capsys.readouterr().out == (
        f"pretrained: {tmp_path}/begin.pth: 6 of 9 tensors loaded; 1 missing (0.bias); "
        "2 other shape (2.bias, 2.weight); 1 unexpected (head.weight)\n"
    )
    after = into.state_dict()
    for key, value in before.items():
        expected = SOURCE[key] if key in report["loaded"] else value
        same_bits(after[key], expected, "they are read back, or left as they were")


def test_only_a_training_that_begins_needs_the_file(load, tmp_path):
    """Not one that goes on; one that begins anew does."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/epoch_0001.pt").touch()

    assert load_pretrained(network(), "/nowhere.pth", tmp_path / "checkpoints") is None
    assert load_pretrained(network(), False, tmp_path) is None
    assert load(SOURCE, network(), restart=True)["loaded"]


def test_network_that_knows_published_weights_loads_them_itself(tmp_path):
    """As TransUNet; whatever the file is."""
    into = network()
    into.loads_pretrained = True

    assert load_pretrained(into, "/nowhere.pth", tmp_path) is None
    assert load_pretrained(into, True, tmp_path) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a.weight": torch.ones(2)},
         "holds no tensor that fits the network, but a.weight; the net"),
        ({"1.num_batches_tracked": torch.tensor(1)}, "holds no tensor that fits"),
        ({"0.weight": torch.ones(4, 1, 5, 5)}, "holds no tensor that fits"),
        ({"epoch": 3}, "holds no state dictionary"),
        ([1, 2], "holds no state dictionary"),
        ({**SOURCE, "0.bias": torch.full((4,), torch.nan)},
         r"holds NaN or infinite weights \(0.bias\)"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(load, content, message):
    """The line names the file and what is in it."""
    with pytest.raises(InputError, match=rf"begin.pth: {message}"):
        load(content, network())


def test_missing_damaged_and_foreign_files_are_named(tmp_path):
    """Code in a file is not executed."""
    (tmp_path / "text.pth").write_text("no weights")
    torch.jit.script(network()).save(tmp_path / "script.ts")
    torch.save(network(), tmp_path / "code.pth")

    with pytest.raises(InputError, match="/nowhere.pth: does not exist"):
        load_pretrained(network(), "/nowhere.pth", tmp_path)
    for name in ("text.pth", "script.ts", "code.pth"):
        with pytest.raises(InputError, match=rf"{name}: cannot be read as weights alone"):
            load_pretrained(network(), str(tmp_path / name), tmp_path)
    line = "--pretrained True: Sequential knows no published weight"
    with pytest.raises(SettingError, match=line):
        load_pretrained(network(), True, tmp_path)
