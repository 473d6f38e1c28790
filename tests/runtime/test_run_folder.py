"""A run's folder belongs to one configuration, and to one process at a time."""

import json
import subprocess
import sys

import pytest
from monai.bundle import ConfigParser

from nacl_monai.errors import InputError
from nacl_monai.runtime import lock_folder


def open_run(folder, restart=False, **changes):
    """Opens ``folder`` from a configuration, as a bundle's ``initialize`` does."""
    config = {
        "output_dir": str(folder),
        "rate": 0.1,
        "loss": {"weights": [1, 2]},
        "initialize": [
            {
                "_target_": "nacl_monai.runtime.open_run",
                "output_dir": "@output_dir",
                "split_file": str(folder / "split.json"),
                "restart": restart,
            }
        ],
    }
    parser = ConfigParser(config)
    parser.update(changes)
    try:
        parser.get_parsed_content("initialize")
    except RuntimeError as error:
        raise error.__cause__ from None


@pytest.fixture
def trained(tmp_path):
    """A folder in which an epoch was trained, from a split written by hand."""
    folder = tmp_path / "run"
    open_run(folder)
    (folder / "checkpoints").mkdir()
    for name in ("model.pt", "run.json", "split.json", "checkpoints/epoch_0001.pt"):
        (folder / name).write_text(name)
    return folder


def test_recorded(tmp_path):
    """config.json is the configuration with its overrides, without what may change."""
    open_run(tmp_path / "run", rate=0.2, device="cuda")

    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["rate"] == 0.2
    assert config["loss"] == {"weights": [1, 2]}
    assert not {"output_dir", "device"} & config.keys()


def test_same(trained):
    """The same configuration goes on, on whatever device."""
    open_run(trained, device="cuda", num_workers=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.2}, r"was trained with another rate \(0.1, now 0.2\); choose another"),
        ({"loss": {"weights": [1]}}, r"another loss::weights::1 \(2, now not set\);"),
        ({"extra": 1}, r"another extra \(not set, now 1\);"),
    ],
)
def test_changed(trained, changes, message):
    """Another configuration is refused, with what differs."""
    with pytest.raises(InputError, match=message):
        open_run(trained, **changes)


def test_nothing_trained(tmp_path):
    """Before the first epoch has ended, there is nothing to protect."""
    open_run(tmp_path)
    open_run(tmp_path, rate=0.2)


def test_lost(trained):
    """A model of unknown origin is not overwritten, nor one whose checkpoints are gone."""
    (trained / "checkpoints" / "epoch_0001.pt").unlink()
    with pytest.raises(InputError, match="its checkpoints are gone"):
        open_run(trained)
    (trained / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json: is damaged"):
        open_run(trained)
    (trained / "config.json").unlink()
    with pytest.raises(InputError, match=r"a trained model without its config.json"):
        open_run(trained)


def test_restart(trained):
    """Beginning anew keeps what was there aside, every time, but for the split."""
    open_run(trained, restart=True, rate=0.2)
    (trained / "model.pt").write_text("second")
    open_run(trained, restart=True)

    previous = trained / "previous"
    assert (previous / "1" / "checkpoints" / "epoch_0001.pt").exists()
    assert (previous / "1" / "model.pt").read_text() == "model.pt"
    assert (previous / "2" / "model.pt").read_text() == "second"
    assert json.loads((previous / "2" / "config.json").read_text())["rate"] == 0.2
    assert {path.name for path in trained.iterdir()} == {
        ".lock",
        "config.json",
        "previous",
        "split.json",
    }


def test_two_processes(tmp_path):
    """The second process is refused as long as the first lives, and not after it was killed."""
    hold = (
        "import sys, nacl_monai.runtime as b; b.lock_folder(sys.argv[1]); print(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        first.stdout.readline()
        with pytest.raises(InputError, match="another process is writing there"):
            lock_folder(tmp_path)
        first.kill()

    lock_folder(tmp_path)


def test_unwritable(tmp_path):
    """A folder that cannot be made is named."""
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"file/run: cannot be written \(Not a directory\)"):
        lock_folder(tmp_path / "file" / "run")
