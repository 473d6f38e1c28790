"""A run's name says how it was trained, and reads back; its files are in its folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.errors import InputError
from nacl_monai.menus import read_menu
from nacl_monai.runs import (
    EvaluationFolder,
    RunFolder,
    RunName,
    fold_folder,
    fold_folders,
    short_name,
)
from tests.conftest import ROOT, refused

LOSSES = tuple(read_menu("losses", ROOT / "bundles"))
NETWORKS = tuple(read_menu("networks", ROOT / "bundles"))

names = st.builds(
    RunName,
    network=st.sampled_from(NETWORKS),
    loss=st.sampled_from(LOSSES),
    settings=st.lists(
        st.tuples(
            st.from_regex(r"[a-z]+(_[a-z]+)*", fullmatch=True),
            st.from_regex(r"[A-Za-z0-9.+-]+", fullmatch=True),
        ),
        max_size=3,
    ).map(tuple),
    seed=st.integers(0, 10**6),
)


class TestName:
    @given(name=names)
    def test_name_reads_back(self, name):
        """Whatever it says; it holds no separator of folders, and nothing that a shell would expand."""
        assert RunName.parse(str(name), LOSSES) == name
        assert Path(str(name)).name == str(name)
        assert not set(str(name)) & set("/\\ *?[]{}$'\"")

    def test_losses_tell_where_the_network_ends(self):
        """Both names may hold underscores, and a network's the name of a loss."""
        name = RunName.parse("attention_unet_label_smoothing_seed3", LOSSES)
        assert (name.network, name.loss) == ("attention_unet", "label_smoothing")

        name = RunName.parse("nacl_unet_nacl_seed3", LOSSES)
        assert (name.network, name.loss) == ("nacl_unet", "nacl")

    def test_names_of_losses_are_no_patterns(self):
        """A dot in a loss's name stands for itself."""
        assert RunName.parse("unet_a.b_seed0", ["a.b"]).loss == "a.b"
        with pytest.raises(InputError):
            RunName.parse("unet_axb_seed0", ["a.b"])

    @pytest.mark.parametrize(
        "name",
        [
            *("", "unet_nacl", "nacl_seed0", "unet_other_seed0", "unet_nacl_seed"),
            *("unet_nacl_seedx", "unet_nacl_seed-1", "unet_nacl_seed0_copy"),
            *("old/unet_nacl_seed0", "unet_nacl_longer_seed0", "unet_nacl_fold=_seed0"),
            *("unet_nacl_=1_seed0", "unet_nacl_fold=1=2_seed0", "unet_nacl_Fold=1_seed0"),
        ],
    )
    def test_other_names_are_refused(self, name):
        """The message repeats the name, the pattern and the losses there are."""
        message = refused(RunName.parse, name, LOSSES)
        assert message.startswith(f"{name}: not the name of a run; ")
        assert "<network>_<loss>[_<key>=<value>]_seed<n>" in message
        assert message.endswith(", ".join(LOSSES))


class TestFolds:
    def test_folds_are_in_the_order_of_their_numbers(self, tmp_path):
        """Fold 10 comes after fold 9, not after fold 1."""
        for fold in (3, 11, 0, 10, 2, 1, 9, 8, 7, 6, 5, 4):
            (tmp_path / f"unet_nacl_fold={fold}_seed0").mkdir()

        folders = fold_folders(tmp_path / "unet_nacl_seed0")

        assert folders == [tmp_path / f"unet_nacl_fold={fold}_seed0" for fold in range(12)]

    def test_other_runs_are_left_out(self, tmp_path):
        """Another seed, loss or setting is another cross-validation."""
        own = tmp_path / "unet_nacl_sigma=2.0_fold=0_seed0"
        for name in (
            own.name,
            "unet_nacl_sigma=2.0_fold=0_seed1",
            "unet_nacl_sigma=2.0_fold=0_seed10",
            "unet_nacl_fold=0_seed0",
            "unet_svls_sigma=2.0_fold=0_seed0",
            "unet_nacl_sigma=2.0_fold=a_seed0",
            "unet_nacl_sigma=2.0_fold=1_prior=blur_seed0",
            "unet_nacl_sigma=2.0_seed0",
        ):
            (tmp_path / name).mkdir()

        assert fold_folders(tmp_path / "unet_nacl_sigma=2.0_seed0") == [own]

    def test_brackets_in_a_name_are_no_pattern(self, tmp_path):
        """A folder's name is taken as it is."""
        for name in ("mine[1]_fold=0_seed0", "mine1_fold=0_seed0"):
            (tmp_path / name).mkdir()

        assert fold_folders(tmp_path / "mine[1]_seed0") == [tmp_path / "mine[1]_fold=0_seed0"]

    def test_run_without_folds_has_none(self, tmp_path):
        """Neither a missing folder nor a plain run is a cross-validation."""
        (tmp_path / "unet_nacl_seed0").mkdir()

        assert fold_folders(tmp_path / "unet_nacl_seed0") == []
        assert fold_folders(tmp_path / "nowhere" / "unet_nacl_seed0") == []


def paths_of(folder):
    """Every path below a folder that its class names."""
    members = [getattr(folder, name) for name in vars(type(folder))]
    below = (path for path in members if folder.path in getattr(path, "parents", ()))
    return sorted(path.relative_to(folder.path).as_posix() for path in below)


def test_files_have_the_names_that_others_rely_on():
    """Those of the documentation, of a run and of its evaluation."""
    run = RunFolder(Path("runs/acdc/unet_nacl_seed0"))

    assert paths_of(run) == [
        *("calibrator.json", "checkpoints", "config.json", "data.json", "logit_histogram.npz"),
        *("model.pt", "previous", "run.json", "split.json", "tensorboard", "validation.csv"),
    ]
    assert run.evaluation == EvaluationFolder(run.path / "evaluation")
    assert paths_of(run.evaluation) == [
        *("bins.npz", "cases.csv", "evaluation.json", "logits.npz", "maps", "reliability.png"),
        "summary.json",
    ]
    assert run.evaluation.map_of("patient001_frame01").name == "patient001_frame01.npz"


class TestFold:
    @pytest.mark.parametrize(("name", "fold"), [("unet_nacl_seed0", 2), ("mine_a=1_seed12", 0)])
    def test_folder_of_a_fold_is_found_again(self, tmp_path, name, fold):
        """`fold_folders` lists what `fold_folder` names, and the command prints it."""
        folder = fold_folder(tmp_path / name, fold)
        folder.mkdir()

        assert fold_folders(tmp_path / name) == [folder]

    def test_folder_without_a_seed_is_refused(self):
        """The seed tells where the fold belongs."""
        with pytest.raises(InputError, match="^runs/mine: not the name of a cross-validation; end"):
            fold_folder(Path("runs/mine"), 3)


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ("unet", "unet"),
        ("@networks::unet", "unet"),
        ("SegResNet", "SegResNet"),
        ("my_package.nets.MyNet", "MyNet"),
        ({"_target_": "my_package.MyNet", "width": 3}, "MyNet"),
    ],
)
def test_class_is_called_by_its_own_name(chosen, name):
    """Without its package, which is in the record; an entry of a menu by its key."""
    assert short_name(chosen) == name


def test_names_of_classes_make_a_run():
    """The name reads back for whoever knows the loss; patches show in it."""
    assert short_name("@networks::unet", 3) == "unet3d"
    loss = short_name("monai.losses.TverskyLoss")
    name = RunName(short_name("my_package.MyNet"), loss, (("alpha", "0.3"),), 3)

    assert str(name) == "MyNet_TverskyLoss_alpha=0.3_seed3"
    assert RunName.parse(str(name), ["TverskyLoss"]) == name
