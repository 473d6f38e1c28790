"""Every table and figure of the paper by name, from whatever runs are there."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nacl_monai.errors import InputError
from nacl_monai.paper import EXHIBITS, write_all, write_exhibit
from tests.paper.test_exhibits import NAMES

FIGURES = [name for name in EXHIBITS if name.startswith("figure")]
#: Every exhibit but those of calibrators and of what the paper lacks: the grid has no such runs.
MADE = [name for name, exhibit in EXHIBITS.items() if name != "posthoc" and not exhibit.own_runs]


@pytest.mark.parametrize("name", MADE)
def test_manifest_names_files_that_are_there(reproduced, name):
    """It says which files an exhibit has, and how they were made."""
    manifest = json.loads((reproduced / f"{name}.json").read_text())
    suffixes = {file.rpartition(".")[2] for file in manifest["files"]}

    assert suffixes >= ({"png", "svg"} if name.startswith("figure") else {"md", "csv"})
    assert all((reproduced / file).stat().st_size for file in manifest["files"])
    assert f"nacl-monai paper {name} " in manifest["command"]
    assert (manifest["exhibit"], manifest["title"]) == (name, EXHIBITS[name].title)


def test_calibrators_are_tabulated_where_one_was_fitted(calibrated_grid, reproduced, tmp_path):
    """Beside the trainings that they follow; elsewhere the plain ones are not a table of their own."""
    write_exhibit("posthoc", [calibrated_grid], tmp_path)
    rows = pd.read_csv(tmp_path / "posthoc.csv")

    assert rows["dataset"].unique().tolist() == ["acdc"]
    assert rows["method"].unique().tolist() == [
        f"{loss}{after}"
        for loss in ("dice_ce", "nacl")
        for after in ("", "+temperature_all", "+temperature_union")
    ]
    assert not (reproduced / "posthoc.json").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_not_blank(grid, tmp_path, name):
    """Something is drawn, at README width at least."""
    pictures = [path for path in write_exhibit(name, [grid], tmp_path) if path.suffix == ".png"]

    assert pictures
    for path in pictures:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        assert pixels.shape[1] >= 500
        assert (pixels < 128).mean() > 0.002


def test_same_runs_give_the_same_bytes(grid, reproduced, tmp_path):
    """Tables and figures hold no dates."""
    for name in ("table2", "figure2"):
        for path in write_exhibit(name, [grid], tmp_path):
            if path.suffix != ".json":
                assert path.read_bytes() == (reproduced / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("name", "columns"),
    [("table2", ["ece_foreground", "cece_foreground"]), ("figure10", ["ece_union", "cece_union"])],
)
def test_nacl_is_tested_against_each_other_method(grid, reproduced, name, columns):
    """Beside what they show are NACL's differences from the others, as in the runs' files."""
    tests = pd.read_csv(reproduced / f"{name}_tests.csv").set_index(["dataset", "metric", "method"])

    assert tests.loc["acdc"].index.get_level_values("metric").unique().tolist() == columns
    for column in columns:
        nacl, other = (
            pd.read_csv(grid / f"acdc/unet_{loss}_seed0/evaluation/cases.csv")
            .groupby("patient")[column]
            .mean()
            for loss in ("nacl", "svls")
        )
        difference = tests.loc[("acdc", column, "svls"), "difference"]
        assert difference == pytest.approx((nacl - other).mean(), abs=2e-6)


@pytest.mark.slow
def test_all_is_what_has_runs(grid, tmp_path):
    """A dataset with the main runs alone has no ablation, not of other runs either; other files stay."""
    write_exhibit("table3", [grid], tmp_path)
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "table4.json").write_text("{")  # an earlier one, damaged
    files = write_all([grid / "hippocampus"], tmp_path)

    made = {path.stem for path in files if path.suffix == ".json"}
    main = {"table1", "table2", *(f"figure{k}" for k in (1, 2, 4, 5, 10, 11))}
    assert made & set(NAMES) == main
    assert {*tmp_path.iterdir()} == {*files, tmp_path / "README.md"}


def test_exhibit_replaces_all_of_an_earlier_one(grid, tmp_path):
    """What compared several methods is gone where one is left."""
    write_exhibit("table2", [grid], tmp_path)
    files = write_exhibit("table2", [grid], tmp_path, losses=["nacl"])

    assert {*tmp_path.iterdir()} == {*files}


def test_ablations_alone_are_refused_before_anything_is_written(grid, tmp_path):
    """Everything is shown beside the main tables."""
    for name in ("unet_nacl_penalty=l2_seed0", "unet_nacl_prior=gaussian_seed0"):
        shutil.copytree(grid / "acdc" / name, tmp_path / "runs" / name)

    with pytest.raises(InputError, match="^table1: none of its runs is there"):
        write_all([tmp_path / "runs"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_leaves_out_a_figure_of_errors_that_no_run_has(grid_copy, tmp_path):
    """Tables leave out their columns."""
    for file in (grid_copy / "hippocampus").rglob("cases.csv"):
        table = pd.read_csv(file, dtype={"case": str})
        table.drop(columns=["ece_union", "cece_union"]).to_csv(file, index=False)
    files = write_all([grid_copy / "hippocampus"], tmp_path / "out")

    assert {"table2.md", "figure2.csv"} <= {file.name for file in files}
    assert not list((tmp_path / "out").glob("figure10*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"losses": ["nacl", "dicee"]},
            "losses: there is no dicee; choose from: dice_ce, nacl, svls",
        ),
        ({"datasets": ["adcd"]}, "datasets: there is no adcd; choose from: acdc, hippocampus"),
    ],
)
def test_misspelled_name_is_refused_with_those_that_there_are(grid, tmp_path, options, said):
    """Else the table would be of the others alone."""
    with pytest.raises(InputError) as caught:
        write_exhibit("table1", [grid], tmp_path / "out", **options)
    assert str(caught.value) == said
    assert not (tmp_path / "out").exists()


def test_name_of_the_menu_without_runs_is_none_yet(grid, tmp_path):
    """What is trained of it so far is shown."""
    write_exhibit("table2", [grid], tmp_path, losses=["nacl", "ecp"], datasets=["acdc", "flare"])

    assert pd.read_csv(tmp_path / "table2.csv")["method"].unique().tolist() == ["nacl"]
