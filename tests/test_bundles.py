"""What can be chosen is read from the bundles, as plain text; messages list the choices."""

import re
import subprocess
import sys

import pytest

from nacl_monai import wheel
from nacl_monai.errors import InputError
from nacl_monai.menus import (
    bundles_folder,
    dataset_file,
    dataset_folder,
    dataset_names,
    fragments,
    read_dataset,
    read_menu,
)
from tests.conftest import ROOT

MENUS = {"losses": "train.yaml", "networks": "model.yaml"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory with bundles of its own: two datasets, one folder that is none."""
    folder = tmp_path / "bundles"
    for name in ("zebra", "ant"):
        (folder / name / "configs").mkdir(parents=True)
        (folder / name / "configs" / "dataset.yaml").write_text(f"dataset: {name}\nfolds: 3\n")
    (folder / "draft" / "configs").mkdir(parents=True)
    (folder / "common").mkdir()
    (folder / "common" / "train.yaml").write_text(
        "losses:\n"
        "  plain: {_target_: a.Plain}\n"
        "  best: {_desc_: {label: BEST, color: blue}, _target_: b.Best, weight: 0.5, _mode_: x}\n"
    )
    monkeypatch.chdir(tmp_path)
    return folder


class TestFolder:
    def test_given_folder_comes_first(self, project, tmp_path):
        """Then that of the working directory, then that of the project."""
        (tmp_path / "elsewhere" / "common").mkdir(parents=True)

        assert bundles_folder(tmp_path / "elsewhere") == tmp_path / "elsewhere"
        assert bundles_folder(str(tmp_path / "elsewhere")) == tmp_path / "elsewhere"
        assert bundles_folder().resolve() == project

    def test_folder_without_bundles_is_refused(self, tmp_path, monkeypatch):
        """A given folder is never replaced by another; the message says what to name."""
        for folder, named in ((tmp_path, str(tmp_path)), (None, "bundles")):
            monkeypatch.chdir(tmp_path)
            monkeypatch.setattr(wheel, "__file__", str(tmp_path / "package" / "wheel.py"))
            with pytest.raises(InputError, match=rf"^{named}: no bundles there; .* --bundles DIR$"):
                bundles_folder(folder)


class TestOwnBundles:
    """A folder of somebody's own datasets, without ``common/``."""

    @pytest.fixture
    def own(self, tmp_path, monkeypatch):
        (tmp_path / "own" / "mine" / "configs").mkdir(parents=True)
        (tmp_path / "own" / "mine" / "configs" / "dataset.yaml").write_text("dataset: mine\n")
        monkeypatch.chdir(tmp_path)
        return tmp_path / "own"

    def test_own_datasets_come_before_those_of_the_project(self, own):
        """What all share is the project's."""
        assert dataset_file("mine", own) == own / "mine/configs/dataset.yaml"
        assert dataset_folder("mine", own) == own / "mine"
        assert dataset_file("acdc", own) == ROOT / "bundles/acdc/configs/dataset.yaml"
        assert bundles_folder(own) == ROOT / "bundles"
        assert set(dataset_names(own)) == {"mine", *dataset_names(ROOT / "bundles")}
        assert fragments("mine", "train", own) == [
            own / "mine/configs/dataset.yaml",
            ROOT / "bundles/common/model.yaml",
            ROOT / "bundles/common/train.yaml",
        ]

    def test_bundles_of_the_working_directory_may_be_own(self, own):
        """They need no word on the command line."""
        own.rename(own.with_name("bundles"))

        assert dataset_folder("mine").name == "mine"
        assert bundles_folder() == ROOT / "bundles"

    def test_installed_package_has_its_own(self, own, monkeypatch, tmp_path):
        """They precede whatever is beside the package."""
        package = tmp_path / "site-packages/nacl_monai"
        for folder in (package / "shipped/bundles", package.parent / "bundles"):
            (folder / "common").mkdir(parents=True)
        monkeypatch.setattr(wheel, "__file__", str(package / "wheel.py"))

        assert bundles_folder(own) == bundles_folder() == package / "shipped/bundles"

    def test_template_is_no_dataset(self, own):
        """The message says what to do first."""
        with pytest.raises(InputError, match="^folder: is the template .*nacl-monai new NAME DIR$"):
            dataset_file("folder", own)
        assert "folder" not in dataset_names(own)

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            (b"a: 1\nb: [1\n", r"is not YAML \(line 3: [^\n]*correct it"),
            (b"a: *b\n", r"is not YAML \(line 1: found undefined alias[^\n]*correct it"),
            (b"a: Z\xfcrich\n", r"is not YAML \('utf-8' codec [^\n]*correct it"),
            (b"a: \x07\n", r"is not YAML \(unacceptable character [^\n]*correct it"),
            (b"a: 1\nb: 2\na: 3\n", r"is not YAML \(line 3: a is there twice\); correct it"),
            (b"b:\n  a: 1\n  a: 1\n", r"is not YAML \(line 3: a is there twice\); correct it"),
            (
                b"a: !!python/object/apply:os.getcwd []\n",  # it would make an object
                r"is not YAML \(line 1: could not determine a constructor [^\n]*correct it",
            ),
            (b"# nothing\n", "holds no keys; write `key: value`, as another bundle has it"),
            (b"- a\n", "holds no keys; write `key: value`, as another bundle has it"),
        ],
    )
    def test_slip_in_the_file_is_one_line(self, own, text, part):
        """With its number. YAML would keep the last of two values of a key, without a word."""
        (own / "mine/configs/dataset.yaml").write_bytes(text)
        with pytest.raises(InputError, match=f"dataset.yaml: {part}$"):
            read_dataset("mine", own)

    def test_keys_may_be_alike_at_other_places(self, own):
        """Each mapping has keys of its own."""
        (own / "mine/configs/dataset.yaml").write_text("a: {a: 1}\nb: [{a: 1}, {a: 2}]\n")
        assert read_dataset("mine", own) == {"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}


class TestDatasets:
    def test_every_dataset_has_a_label(self):
        """Tables and figures show `dataset_label`; the key `dataset` is the folder's name."""
        for name in dataset_names(ROOT / "bundles"):
            keys = read_dataset(name, ROOT / "bundles")
            assert keys["dataset"] == name
            assert keys["dataset_label"]

    @pytest.mark.parametrize("read", [dataset_file, read_dataset])
    def test_unknown_dataset_lists_those_there_are(self, project, read):
        """The message names the choices, or says that there are none."""
        with pytest.raises(InputError, match="^draft: no such dataset; choose from: ant, zebra$"):
            read("draft", project)
        for name in ("ant", "zebra"):
            (project / name / "configs" / "dataset.yaml").unlink()
        with pytest.raises(InputError, match="^ant: no such dataset; choose from: none$"):
            read("ant")


class TestMenus:
    def test_label_is_the_description_or_the_name(self, project):
        """An entry without `_desc_` is shown by its key; its settings are its defaults."""
        choices = read_menu("losses", project)

        assert [choice.label for choice in choices.values()] == ["plain", "BEST"]
        assert choices["best"].settings == {"weight": 0.5}
        assert choices["best"].description["color"] == "blue"
        assert choices["plain"].settings == choices["plain"].description == {}

    def test_every_loss_and_network_is_labeled(self):
        """Tables and figures never show a key."""
        for menu in MENUS:
            for choice in read_menu(menu, ROOT / "bundles").values():
                assert choice.description["label"] == choice.label


class TestPlainText:
    def test_nothing_is_evaluated(self, project, tmp_path):
        """Expressions and references are returned as they are written."""
        text = f"modalities: \"$open('{tmp_path}/proof', 'w')\"\nfold: \"@folds\"\n"
        (project / "ant" / "configs" / "dataset.yaml").write_text(text)

        keys = read_dataset("ant")

        assert keys == {"modalities": f"$open('{tmp_path}/proof', 'w')", "fold": "@folds"}
        assert not (tmp_path / "proof").exists()

    def test_readers_do_not_change_what_others_read(self, project):
        """Every call returns a copy, of the file as it is now."""
        read_dataset("ant")["folds"] = 7
        assert read_dataset("ant")["folds"] == 3

        (project / "ant" / "configs" / "dataset.yaml").write_text("dataset: Größe\n", "utf-8")
        assert read_dataset("ant") == {"dataset": "Größe"}

    def test_monai_is_not_imported(self):
        """Commands that only list choices answer at once."""
        code = "import sys, nacl_monai.menus; sys.exit('monai' in sys.modules)"

        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    "target",
    sorted(
        {
            target
            for file in (ROOT / "bundles").rglob("*.yaml")
            for target in re.findall(
                r"_target_: (nacl_monai[\w.]+)", file.read_text(encoding="utf-8")
            )
        }
    ),
)
def test_no_module_has_the_name_of_a_component(target):
    """Since Python 3.13 MONAI would find the module, which cannot be called."""
    assert not (ROOT / target.replace(".", "/")).with_suffix(".py").exists()
