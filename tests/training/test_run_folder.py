"""A run's folder belongs to one configuration, and to one process at a time."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import ignite.distributed as idist
import pytest
from monai.bundle import ConfigParser

from nacl_monai.errors import InputError
from nacl_monai.runs import RunFolder
from nacl_monai.training import keep_data, open_run, run_folder
from nacl_monai.training.run_folder import code_checksums, warn_of_changed_code
from tests.conftest import refused

REMEDY = "choose another --output_dir, or train anew: --restart True (keeps what is there aside)"


def train(folder, restart=False, **changes):
    """Opens ``folder`` from a configuration, as a bundle's ``training`` does."""
    config = {
        "output_dir": str(folder),
        "rate": 0.1,
        "loss": {"weights": [1, 2]},
        "losses": {
            "nacl": {"_desc_": {"label": "NACL", "sweep": {"rate": [1]}}, "weight": 1},
            "svls": {"sigma": 1},
        },
        "loss_function": "@losses::nacl",
        "training": [
            {
                "_target_": "nacl_monai.training.open_run",
                "output_dir": "@output_dir",
                "split_file": str(folder / "split.json"),
                **({"restart": True} if restart else {}),
            }
        ],
    }
    parser = ConfigParser(config)
    parser.update(changes)
    try:
        parser.get_parsed_content("training")
    except RuntimeError as error:
        raise error.__cause__ from None


def recorded(folder):
    return json.loads((folder / "config.json").read_text())


def train_an_epoch(folder, **changes):
    """As `train`, and what an epoch leaves, from a split written by hand; returns the folder."""
    train(folder, **changes)
    (folder / "checkpoints").mkdir()
    for name in ("model.pt", "run.json", "split.json", "checkpoints/epoch_0001.pt"):
        (folder / name).write_text("{}" if name.endswith(".json") else name)
    return folder


@pytest.fixture
def trained(tmp_path):
    """A folder in which an epoch was trained."""
    return train_an_epoch(tmp_path / "run")


class TestRecord:
    def test_configuration_is_recorded_with_its_overrides(self, tmp_path):
        """All of it, `_desc_` included, as JSON for people."""
        train(tmp_path / "run", rate=0.2)

        config = recorded(tmp_path / "run")
        assert config["rate"] == 0.2
        assert config["loss"] == {"weights": [1, 2]}
        assert config["losses"]["nacl"]["_desc_"]["label"] == "NACL"
        assert config["training"][0]["_target_"] == "nacl_monai.training.open_run"
        text = (tmp_path / "run" / "config.json").read_text()
        assert text.startswith('{\n  "')
        assert text.endswith("}\n")

    def test_keys_that_decide_no_number_are_left_out(self, tmp_path):
        """Where and on what a training runs may change from one session to the next."""
        free = {
            *("_meta_", "bundle_root", "cache_dir", "dataset_dir", "device", "num_workers"),
            *("output_dir", "reliability_interval", "restart", "run_name", "save_execute_config"),
            "split_file",
        }
        train(tmp_path / "run", **{key: str(tmp_path / "run") for key in free}, other=1)

        assert set(run_folder.FREE_KEYS) == free
        assert recorded(tmp_path / "run").keys() & {*free, "other"} == {"other"}

    @pytest.mark.parametrize("rank", [0, 1])
    def test_first_of_several_processes_records_and_all_wait(self, tmp_path, monkeypatch, rank):
        """It alone locks the folder; only then may the others look at it. Their number is recorded."""
        waited = []
        monkeypatch.setattr(idist, "get_rank", lambda: rank)
        monkeypatch.setattr(idist, "get_world_size", lambda: 2)
        monkeypatch.setattr(idist, "barrier", lambda: waited.append((tmp_path / "run").exists()))
        train(tmp_path / "run", restart=True)
        assert waited == [rank == 0]
        keep_data(tmp_path / "run", data_of(tmp_path / "data"))

        assert waited == [rank == 0] * 2
        assert rank or recorded(tmp_path / "run")["processes"] == 2

    def test_value_that_json_does_not_know_is_recorded_as_text(self, tmp_path):
        """From Python, a configuration may hold any object."""
        train(tmp_path / "run", extra=Path("/x"))
        train(tmp_path / "run", extra=Path("/x"))

        assert recorded(tmp_path / "run")["extra"] == "/x"

    def test_only_a_configuration_can_open_a_run(self, tmp_path):
        """Otherwise there is nothing to record."""
        with pytest.raises(RuntimeError, match="to be called from a configuration"):
            open_run(tmp_path / "run", tmp_path / "split.json")


class TestGoingOn:
    def test_same_configuration_goes_on(self, trained):
        """On whatever device; what is there stays."""
        train(trained, device="cuda", num_workers=4)

        assert (trained / "checkpoints/epoch_0001.pt").exists()
        assert not (trained / "previous").exists()

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"rate": 0.2}, "rate (0.1, now 0.2)"),
            ({"loss": {"weights": [1]}}, "loss::weights::1 (2, now not set)"),
            ({"extra": 1}, "extra (not set, now 1)"),
            ({"losses::nacl::weight": 2}, "losses::nacl::weight (1, now 2)"),
            ({"rate": 3, "extra": 1}, "rate (0.1, now 3), extra (not set, now 1)"),
        ],
    )
    @pytest.mark.parametrize("missing", ["model.pt", "checkpoints/epoch_0001.pt", None])
    def test_other_configuration_is_refused_with_what_differs(
        self, trained, changes, named, missing
    ):
        """Weights or checkpoints are worth protecting, each without the other; the record stays."""
        if missing:
            (trained / missing).unlink()
        before = recorded(trained)

        line = f"{trained}: was trained with another {named}; {REMEDY}"
        assert refused(train, trained, **changes) == line
        assert recorded(trained) == before

    def test_other_number_of_processes_is_refused(self, trained, monkeypatch):
        """A batch would have other samples."""
        monkeypatch.setattr(idist, "get_world_size", lambda: 2)

        assert "another processes (1, now 2); " in refused(train, trained)

    @pytest.mark.parametrize(
        "description",
        [{"label": "ours"}, {"label": "NACL", "color": "red"}, {}, {"sweep": {"rate": [1, 2]}}],
    )
    def test_description_of_a_menu_may_change(self, trained, description):
        """Labels and colors decide how a table looks, and no number; the new one is recorded."""
        train(trained, losses={"nacl": {"_desc_": description, "weight": 1}})

        assert recorded(trained)["losses"]["nacl"]["_desc_"] == description

    def test_entry_that_is_not_chosen_may_change(self, trained):
        """Another version of the package has more losses, or other defaults of another one."""
        train(trained, losses={"nacl": {"weight": 1}, "svls": {"sigma": 2}, "more": {"beta": 1}})

    def test_any_entry_may_be_chosen_by_an_expression(self, tmp_path):
        """That takes the whole menu."""
        train_an_epoch(tmp_path, loss_function="$list(@losses.values())[0]")
        named = "losses::svls::sigma (1, now 2)"

        menu = {"nacl": {"weight": 1}, "svls": {"sigma": 2}}
        changes = {"losses": menu, "loss_function": "$list(@losses.values())[0]"}
        assert named in refused(train, tmp_path, **changes)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({}, "its checkpoints are gone, so it cannot go on"),
            ({"rate": 0.2}, "was trained with another rate (0.1, now 0.2)"),
        ],
        ids=["same", "other"],
    )
    def test_copy_without_weights_is_not_overwritten(self, trained, changes, message):
        """Its record is worth protecting; tables and figures are made from such copies."""
        for name in ("model.pt", "checkpoints/epoch_0001.pt"):
            (trained / name).unlink()
        before = recorded(trained)

        assert refused(train, trained, **changes) == f"{trained}: {message}; {REMEDY}"
        assert recorded(trained) == before

    def test_model_of_unknown_origin_is_not_overwritten(self, trained):
        """Without a record, or with a damaged one, nobody knows how it was trained."""
        (trained / "config.json").write_text("{")
        assert refused(train, trained) == f"{trained}/config.json: is damaged; {REMEDY}"
        assert (trained / "config.json").read_text() == "{"

        for missing in ("config.json", "model.pt", "checkpoints/epoch_0001.pt"):
            (trained / missing).unlink()
            line = f"{trained}: holds a training but no config.json; {REMEDY}"
            assert refused(train, trained) == line

        (trained / "run.json").unlink()
        train(trained)


def data_of(folder, names="abc", content="x"):
    """A split of cases of two files each, written below ``folder``."""
    split = {}
    for part, name in zip(("train", "val", "test"), names, strict=True):
        image, label = folder / f"images/{name}.nii", folder / f"labels/{name}.nii"
        for file in (image, label):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + name)
        split[part] = [{"case": name, "patient": name, "image": [str(image)], "label": str(label)}]
    return split


def shown(file):
    """Size and time of change, as `stat` prints them in UTC."""
    command = ["stat", "--format=%s bytes of %z", file]
    out = subprocess.run(command, env={"TZ": "UTC"}, capture_output=True, text=True, check=True)
    return out.stdout.removesuffix(" +0000\n")


def train_on(trained, split):
    """As if that training had been of ``split``."""
    keep_data(trained.with_name("new"), split)
    (trained.with_name("new") / "data.json").rename(trained / "data.json")


class TestData:
    def test_cases_of_every_set_are_recorded_with_their_files(self, tmp_path):
        """Below the folder that they have in common, with size, time and checksum."""
        keep_data(tmp_path / "run", data_of(tmp_path / "data"))

        def content(name):
            return f", sha256 {hashlib.sha256(b'x' + name.encode()).hexdigest()}"

        assert json.loads((tmp_path / "run/data.json").read_text()) == {
            part: {
                name: {
                    f"{kind}/{name}.nii": shown(tmp_path / f"data/{kind}/{name}.nii")
                    + content(name)
                    for kind in ("images", "labels")
                }
            }
            for part, name in (("train", "a"), ("val", "b"), ("test", "c"))
        }

    def test_same_image_of_two_patients_is_refused_before_it_is_read(self, tmp_path):
        """These files are no images, which only a reader of voxels would see; labels may be alike."""
        split = data_of(tmp_path / "data")
        first, second = (split[part][0]["image"][0] for part in ("train", "test"))
        Path(split["val"][0]["label"]).write_bytes(Path(split["test"][0]["label"]).read_bytes())
        keep_data(tmp_path / "alike", split)
        Path(second).write_bytes(Path(first).read_bytes())

        assert refused(keep_data, tmp_path / "run", split) == (
            f"{second}: is the same image as {first}; leave one of the patients out: take a or c, and "
            f'"drawn" with all in it, out of {tmp_path}/run/split.json'
        )
        assert not (tmp_path / "run/data.json").exists()
        split["test"][0]["image"].append(split["val"][0]["image"][0])  # another modality differs
        keep_data(tmp_path / "run", split)

    def test_same_bytes_go_on_wherever_and_whenever_they_were_copied(self, trained, tmp_path):
        """A copy is the same data, and so is a file that was written again; both are recorded."""
        train_on(trained, data_of(tmp_path / "data"))
        for folder, time in (("data", 1), ("moved/data", 10**9)):
            split = data_of(tmp_path / folder)
            os.utime(split["val"][0]["label"], (time, time))
            keep_data(trained, split)

            record = json.loads((trained / "data.json").read_text())
            stamp = shown(tmp_path / folder / "labels/b.nii")
            assert record["val"]["b"]["labels/b.nii"].startswith(stamp)

    def test_only_files_that_something_has_touched_are_read_again(self, trained, tmp_path):
        """The record is believed of the others, whatever checksum it has; new times count then."""
        split = data_of(tmp_path / "data")
        train_on(trained, split)
        label, file = Path(split["val"][0]["label"]), trained / "data.json"
        for _ in range(2):
            label.touch()
            keep_data(trained, split)
            stamp, record = f"{shown(label)}, sha256 ", file.read_text()
            file.write_text(edited := record.replace(stamp, f"{stamp}0"))
            keep_data(trained, split)
            assert file.read_text() == edited != record
            file.write_text(record)
        file.write_text(edited)

        label.touch()

        assert "labels/b.nii" in refused(keep_data, trained, split)

    @pytest.mark.parametrize(
        ("change", "named", "more"),
        [
            ({"content": "xy"}, "train::a::images/a.nii (2 bytes of {}, now 3 bytes of {})", 5),
            ({"content": "y"}, "train::a::images/a.nii (2 bytes of {}, now 2 bytes of {})", 5),
            ({"names": "abd"}, "test::c::images/c.nii (2 bytes of {}, now not set)", 3),
            ({"names": "acb"}, "val::b::images/b.nii (2 bytes of {}, now not set)", 7),
        ],
    )
    def test_other_data_are_refused(self, trained, tmp_path, change, named, more):
        """Other bytes, and the same files in other sets: the first is named; the record stays."""
        train_on(trained, data_of(tmp_path / "data"))
        before = (trained / "data.json").read_text()

        line = refused(keep_data, trained, data_of(tmp_path / "data", **change))

        assert re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9}", "{}", line) == (
            f"{trained}: was trained on other data, {named} and {more} more; "
            f"put them back, or {REMEDY}"
        )
        assert (trained / "data.json").read_text() == before

    def test_other_bytes_of_the_same_size_and_time_of_modification_are_refused(
        self, trained, tmp_path
    ):
        """Archives set that time back, and so can everyone."""
        split = data_of(tmp_path / "data")
        file = Path(split["val"][0]["label"])
        os.utime(file, (10**9, 10**9))
        train_on(trained, split)
        file.write_text("y")
        os.utime(file, (10**9, 10**9))

        with pytest.raises(InputError, match=r"other data, val::b::labels/b\.nii \([^)]*\); put"):
            keep_data(trained, split)

    @pytest.mark.parametrize("damage", [{"a": 3}, {"a": {"images/a.nii": None}}, []])
    def test_record_of_anything_else_is_of_other_data(self, trained, tmp_path, damage):
        """One line and no traceback."""
        (trained / "data.json").write_text(json.dumps({"train": damage}))

        with pytest.raises(InputError, match="was trained on other data, train::a"):
            keep_data(trained, data_of(tmp_path / "data"))

    def test_training_on_unknown_data_does_not_go_on(self, trained, tmp_path):
        """A lost record is not written again of whatever data are there."""
        line = f"{trained}: holds a training but no data.json; {REMEDY}"
        assert refused(keep_data, trained, data_of(tmp_path / "data")) == line
        assert not (trained / "data.json").exists()

    def test_before_the_first_epoch_data_may_change(self, tmp_path):
        """Nothing was learned of them."""
        keep_data(tmp_path / "run", data_of(tmp_path / "data"))
        keep_data(tmp_path / "run", data_of(tmp_path / "data", "xyz"))

        assert "x" in json.loads((tmp_path / "run/data.json").read_text())["train"]


class TestRestart:
    def test_what_was_there_is_kept_aside_every_time(self, trained):
        """But for the split, the lock, and what was kept before."""
        train(trained, restart=True, rate=0.2)
        (trained / "model.pt").write_text("second")
        train(trained, restart=True)

        previous = trained / "previous"
        assert (previous / "1/checkpoints/epoch_0001.pt").exists()
        assert (previous / "1/model.pt").read_text() == "model.pt"
        assert (previous / "2/model.pt").read_text() == "second"
        assert recorded(previous / "2")["rate"] == 0.2
        assert {path.name for path in previous.iterdir()} == {"1", "2"}
        names = {path.name for path in trained.iterdir()}
        assert names == {".lock", "config.json", "previous", "split.json"}

    @pytest.mark.parametrize("below", ["unet_nacl_seed0", "acdc/unet_nacl_seed0"])
    def test_folder_of_other_runs_is_not_moved(self, trained, below):
        """As `runs/<dataset>` is where no folder is named; what calibrators have made moves along."""
        (trained / "calibrated/temperature").mkdir(parents=True)
        train(trained, restart=True)
        assert (trained / "previous/1/calibrated/temperature").is_dir()

        train(trained / below)
        line = f"{trained}: holds another run, {below}; name this one's folder: --output_dir"
        assert refused(train, trained, restart=True) == line
        assert not (trained / "previous/2").exists()

    def test_next_number_is_above_all_that_are_taken(self, trained):
        """Whatever else is there, and whichever numbers are missing."""
        for name in ("7", "10", "notes"):
            (trained / "previous" / name).mkdir(parents=True)
        train(trained, restart=True)

        assert (trained / "previous/11/model.pt").exists()

    def test_folder_with_nothing_in_it_keeps_nothing_aside(self, tmp_path):
        """A split written by hand is nothing to keep aside either."""
        (tmp_path / "split.json").write_text("{}")
        train(tmp_path, restart=True)

        assert not (tmp_path / "previous").exists()
        assert (tmp_path / "split.json").exists()

    def test_nothing_is_moved_for_a_damaged_split(self, trained):
        """The restart would be refused half-way."""
        (trained / "split.json").write_text('{"train": [')

        assert "split.json: is not a split" in refused(train, trained, restart=True)
        assert (trained / "model.pt").exists()

    @pytest.mark.parametrize("drawn", [False, True])
    def test_split_by_hand_is_said_to_be_followed(self, trained, capsys, drawn):
        """Whatever seed or fold was asked for; one that was drawn is kept aside in a restart."""
        file = trained / "split.json"
        file.write_text('{"train": [], "drawn": {}}' if drawn else '{"train": []}')
        train(trained)
        message = "" if drawn else f"{file}: was written by hand and is followed as it is\n"
        assert capsys.readouterr().out == message

        train(trained, restart=True)
        assert file.exists() != drawn
        assert (trained / "previous/1/split.json").exists() == drawn

    def test_split_stays_under_whatever_path_it_is_named(self, trained, monkeypatch):
        """Relative to the working folder, or through a link."""
        (trained.parent / "link").symlink_to(trained)
        monkeypatch.chdir(trained.parent)
        train(Path("link"), restart=True)

        assert (trained / "split.json").exists()
        assert (trained / "previous/1/model.pt").exists()

    @pytest.mark.parametrize("order", [sorted, lambda names: sorted(names, reverse=True)])
    def test_checkpoints_are_moved_first(self, trained, monkeypatch, order):
        """An interruption in between leaves no training that goes on with another's model."""
        (trained / "a.txt").touch()  # the alphabet is not what decides
        moved = []
        names = order(trained.iterdir())
        monkeypatch.setattr(Path, "iterdir", lambda _: iter(names))
        replace = Path.replace

        def move(path, target):
            if target.parent == trained / "previous/1":
                moved.append(path.name)
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", move)
        train(trained, restart=True)

        assert moved[0] == "checkpoints"
        assert sorted(moved[1:]) == ["a.txt", "config.json", "model.pt", "run.json"]


class TestOwnCode:
    @pytest.fixture
    def mine(self, tmp_path, monkeypatch):
        """Writes a module of the user's; returns its checksum."""
        monkeypatch.syspath_prepend(tmp_path)

        def write(name, text="VALUE = 1\n"):
            (tmp_path / f"{name}.py").write_text(text)
            return hashlib.sha256(text.encode()).hexdigest()

        return write

    @pytest.fixture
    def module(self, mine):
        """Writes a module of the user's, whose class is the network."""

        def write(number):
            mine("users_net", f"class Net:\n    width = {number}\n")
            return {"network_def": {"_target_": "users_net.Net"}}

        return write

    def test_training_goes_on_with_the_code_that_is_recorded_and_with_no_other(
        self, tmp_path, module
    ):
        """Its end would be of another network than its beginning; what is there stays."""
        begun = train_an_epoch(tmp_path / "run", **module(1))
        train(begun, **module(1))
        before = recorded(begun)
        remedy = f"has changed since the training began; put it back, or {REMEDY}"

        line = f"{begun}: users_net, a module of your own, {remedy}"
        assert refused(train, begun, **module(2)) == line
        assert recorded(begun) == before

    def test_code_may_change_before_the_first_epoch(self, tmp_path, module):
        """Nothing is of the earlier code."""
        train(tmp_path / "run", **module(1))
        train(tmp_path / "run", **module(2))

    def test_modules_of_classes_imports_and_what_they_import_are_recorded(self, mine):
        """At any depth of the configuration; no other file, and nothing that is installed."""
        sums = {name: mine(name) for name in ("mine_parts", "mine_steps", "mine_tools")}
        sums["mine_nets"] = mine("mine_nets", "import mine_parts\n")
        mine("mine_others")
        config = {
            "imports": [
                "$import glob",
                "$import mine_tools as tools",
                "$from mine_missing import x",
            ],
            "network_def": {"_target_": "mine_nets.Net", "in_channels": 1},
            "steps": [{"_target_": "Compose", "transforms": [{"_target_": "mine_steps.A.b"}]}],
            "optimizer": {"_target_": "torch.optim.Adam"},
            "loss": {"_target_": "nacl_monai.losses.NACLLoss"},
            "folder": "mine_others.txt",
            "value": "$@folder",
        }

        assert code_checksums(config) == sums

    def test_warning_names_the_modules_and_the_run(self, mine, tmp_path, capsys):
        """One line, without what is gone, which computes nothing; without changes nothing."""
        run = RunFolder(tmp_path / "run")
        modules = {name: mine(name) for name in ("mine_a", "mine_b")}
        record = {"own_code": {**modules, "mine_gone": "0" * 64}}
        warn_of_changed_code(run, record)
        warn_of_changed_code(run, {})
        assert capsys.readouterr() == ("", "")

        mine("mine_b", "VALUE = 2\n")
        warn_of_changed_code(run, record)
        assert capsys.readouterr().err == (
            f"warning: mine_b: has changed since {run.path} was trained, and may compute something "
            "else now; put it back, or train anew\n"
        )
