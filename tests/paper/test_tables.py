"""The numbers of tables are means over patients, beside the paper's own; methods are compared."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from nacl_monai.evaluations import paired_tests
from nacl_monai.paper import EXHIBITS, compare_methods, mean_scores, read_results, summarize
from nacl_monai.paper.comparisons import STYLES, Comparison, comparison_to_markdown, draw_forest
from nacl_monai.paper.grid import PAPER_DATASETS, PAPER_LOSSES
from nacl_monai.paper.tables import (
    PUBLISHED,
    beside_paper,
    correlate,
    methods_to_markdown,
    read_published,
    table_caption,
    to_markdown,
)
from nacl_monai.paper.trainings import TRIAL


def test_mean_is_over_cases_then_seeds_then_patients(grid):
    """File by file."""
    columns = ["dice", "ece_foreground"]
    table = mean_scores(read_results([grid / "acdc"]), columns)
    table = table.query("network == 'unet' and fraction == 1").set_index(["column", "method"])

    for loss, seeds in (("dice_ce", 2), ("nacl", 2), ("svls", 1)):
        folders = [grid / f"acdc/unet_{loss}_seed{seed}" for seed in range(seeds)]
        runs = [pd.read_csv(folder / "evaluation/cases.csv") for folder in folders]
        means = pd.DataFrame([run.groupby("patient")[columns].mean().mean() for run in runs])
        for column in columns:
            row = table.loc[(column, loss)]
            assert row["mean"] == pytest.approx(means[column].mean())
            assert row["seed_sd"] == pytest.approx(means[column].std(), nan_ok=True)
            assert (row["patients"], row["seeds"]) == (4, seeds)


def test_networks_and_fractions_are_experiments_of_their_own(grid):
    """A column that is nowhere defined makes no row."""
    table = mean_scores(read_results([grid]), ["dice", "dice_liver"])

    assert len(table) == 10 + 2
    assert set(table["column"]) == {"dice"}


NUMBERS = read_published()


BY_KEY = NUMBERS.set_index(PUBLISHED)["value"]


def test_no_number_is_missing_or_there_twice():
    """Tables 1 to 4 have 23 × 14, 6 × 14, 2 × 14 and 7 × 4 numbers."""
    assert NUMBERS.groupby("table").size().tolist() == [23 * 14, 6 * 14, 2 * 14, 7 * 4]
    assert not NUMBERS.duplicated(PUBLISHED).any()
    assert set(NUMBERS["dataset"]) == {*PAPER_DATASETS, "all"}
    assert set(NUMBERS["method"]) == {*PAPER_LOSSES, "nacl_prior=gaussian", "nacl_penalty=l2"}
    assert NUMBERS.loc[NUMBERS["metric"] != "hd95", "value"].between(0, 1).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("Table 1", "acdc", "RV", "dice", "dice_ce"), 0.799),
        (("Table 1", "mrbrains", "CSF", "hd95", "nacl"), 1.21),
        (("Table 1", "kits", "Tumor", "hd95", "svls"), 15.96),
        (("Table 2", "flare", "mean", "cece_foreground", "nacl"), 0.031),
        (("Table 2", "prostate", "mean", "ece_foreground", "focal"), 0.271),
        (("Table 3", "brats", "mean", "ece_foreground", "nacl_prior=gaussian"), 0.140),
        (("Table 4", "kits", "mean", "ece_foreground", "nacl_penalty=l2"), 0.106),
    ],
)
def test_numbers_from_all_corners_are_the_paper_s(key, value):
    """Read by eye."""
    assert BY_KEY[key] == value


@pytest.mark.parametrize("metric", ["dice", "hd95"])
def test_means_of_table_1_are_those_of_its_structures(metric):
    """Up to the rounding of both."""
    table = NUMBERS[(NUMBERS["table"] == "Table 1") & (NUMBERS["metric"] == metric)]
    unit = 0.001 if metric == "dice" else 0.01
    for _, part in table.groupby(["dataset", "method"]):
        values = part.set_index("structure")["value"]
        # The paper's last digit.
        assert values["mean"] == pytest.approx(values.drop("mean").mean(), abs=unit + 1e-9)


@pytest.mark.parametrize("table", ["Table 3", "Table 4"])
def test_means_over_datasets_are_those_of_the_six(table):
    """Up to their rounding."""
    part = NUMBERS[NUMBERS["table"] == table]
    for _, group in part.groupby(["metric", "method"]):
        values = group.set_index("dataset")["value"]
        # The paper's last digit.
        assert values["all"] == pytest.approx(values.drop("all").mean(), abs=0.0005 + 1e-9)


def test_tables_contradict_each_other_once():
    """NACL is in all four; they differ in one number, by rounding."""
    nacl = NUMBERS[(NUMBERS["method"] == "nacl") & (NUMBERS["structure"] == "mean")]
    nacl = nacl[nacl["dataset"] != "all"]
    spread = nacl.groupby(["dataset", "metric"])["value"].agg(["min", "max"])
    different = spread[spread["min"] < spread["max"]]

    assert different.to_dict("index") == {("flare", "dice"): {"min": 0.867, "max": 0.868}}


@pytest.fixture(scope="module")
def table1(results):
    chosen = EXHIBITS["table1"].select(results)
    return summarize(chosen, ("dice", "hd95"), per_structure=True)


def test_structures_are_above_their_mean(table1):
    """Per dataset DSC and HD95 of each structure and of their mean."""
    acdc = table1[(table1["dataset"] == "acdc") & (table1["method"] == "nacl")]

    assert acdc["metric"].tolist() == ["dice"] * 4 + ["hd95"] * 4
    assert acdc["structure"].tolist() == ["RV", "myocardium", "LV", "mean"] * 2


def test_mean_alone_where_structures_are_not_wanted(results):
    """Tables 2 to 4 have one number per dataset, metric and method."""
    table = summarize(EXHIBITS["table1"].select(results), ("dice", "hd95"))

    assert set(table["structure"]) == {"mean"}
    assert len(table) == 2 * (3 + 2)


def test_paper_s_number_is_that_of_the_same_table_and_method(table1):
    """The same dataset, structure and metric; elsewhere it is empty."""
    paper = read_published().set_index(PUBLISHED)["value"]
    beside = beside_paper(table1, "Table 1", "authors")
    by_key = beside.set_index(["dataset", "structure", "metric", "method"])

    row = by_key.loc[("acdc", "LV", "hd95", "svls")]
    assert row["paper"] == paper["Table 1", "acdc", "LV", "hd95", "svls"]
    assert row["difference"] == pytest.approx(row["mean"] - row["paper"])
    assert np.isnan(by_key.loc[("hippocampus", "mean", "dice", "nacl"), "paper"])
    assert beside_paper(table1, "Table 2")["paper"].isna().all()


def test_case_of_a_structure_s_letters_does_not_count(table1):
    """The paper writes MYO and RV, a run what its dataset calls them."""
    lower = table1.assign(structure=table1["structure"].str.lower())

    expected = beside_paper(table1, "Table 1")["paper"]
    pd.testing.assert_series_equal(beside_paper(lower, "Table 1")["paper"], expected)
    assert expected.notna().any()


def test_correlation_is_of_each_run_and_their_mean(results):
    """Spearman's over the cases of a run, then over the seeds; of every structure and the mean."""
    chosen = EXHIBITS["table1"].select(results, losses=["nacl"], datasets=["acdc"])
    rows = correlate(chosen).set_index("structure")
    runs = [run for _, run in chosen.cases("acdc").groupby("seed")]

    assert list(rows.index) == ["RV", "myocardium", "LV", "mean"]
    for name in ("RV", "LV"):
        pairs = ((run[f"dice_{name}"], run[f"expected_dice_{name}"]) for run in runs)
        by_seed = [true.corr(expected, "spearman") for true, expected in pairs]
        assert rows.loc[name, "mean"] == pytest.approx(np.mean(by_seed))
        assert rows.loc[name, "seed_sd"] == pytest.approx(np.std(by_seed, ddof=1))
    assert rows.loc["mean", ["patients", "seeds"]].tolist() == [4, 2]


def test_mean_over_datasets_is_the_mean_of_their_means(grid_copy):
    """For the methods that were run on all of them."""
    source = grid_copy / "hippocampus" / "unet_nacl_seed0"
    source.rename(source.with_name("unet_nacl_prior=gaussian_seed0"))
    results = EXHIBITS["table3"].select(read_results([grid_copy]))
    table = summarize(results, ("dice", "ece_foreground"), over_datasets=True)
    means = table.set_index(["dataset", "metric", "method"])["mean"]

    for metric in ("dice", "ece_foreground"):
        name = "nacl_prior=gaussian"
        parts = [means[dataset, metric, name] for dataset in ("acdc", "hippocampus")]
        assert means["all", metric, name] == pytest.approx(sum(parts) / 2)
        assert ("all", metric, "nacl") not in means
    assert table["dataset"].tolist()[-2:] == ["all", "all"]


@pytest.mark.parametrize(
    ("datasets", "beside"),
    [(PAPER_DATASETS, True), (PAPER_DATASETS[:-1], False), ((*PAPER_DATASETS, "mine"), False)],
)
def test_mean_over_other_datasets_has_no_number_of_the_paper(datasets, beside):
    """Theirs is the mean over their six; each dataset is shown beside its own."""
    row = {"structure": "mean", "metric": "ece_foreground", "method": "nacl", "mean": 0.1}
    table = pd.DataFrame([{"dataset": name, **row} for name in (*datasets, "all")])
    shown = beside_paper(table, "Table 3").set_index("dataset")

    assert shown.loc[list(PAPER_DATASETS[:5]), "paper"].notna().all()
    assert shown.loc["all", ["paper", "difference"]].notna().tolist() == [beside] * 2


def test_one_dataset_has_no_mean_over_datasets(results):
    """It would say the same again."""
    chosen = EXHIBITS["table3"].select(results)
    table = summarize(chosen, ("dice",), over_datasets=True)

    assert set(table["dataset"]) == {"acdc"}


NAMES = "dataset structure metric method mean low high patients seeds seed_sd paper difference"


def summary(*rows):
    return pd.DataFrame(rows, columns=NAMES.split())


@pytest.fixture
def small():
    """One metric of two methods; the second was not run on the other dataset."""
    nan, ece = np.nan, "ece_foreground"
    return summary(
        ("acdc", "mean", ece, "dice_ce", 0.12, 0.1, 0.14, 20, 3, 0.01, 0.137, -0.017),
        ("acdc", "mean", ece, "nacl", 0.05, 0.04, 0.06, 20, 3, 0.01, 0.048, 0.002),
        ("hippocampus", "mean", ece, "dice_ce", 0.0754, nan, nan, 1, 3, 0.01, nan, nan),
    )


def test_markdown_marks_the_best_and_shows_the_paper_s_number(small):
    """Best bold, second underlined; below are the interval, and the paper's with the difference."""
    lines = to_markdown(small).splitlines()

    assert lines[:6] == [
        "**ECE ↓**",
        "",
        "| Dataset | Structure | CE+DSC | NACL |",
        "| :--- | :--- | ---: | ---: |",
        "| ACDC | Mean | <u>0.120</u><br>[0.100, 0.140]<br>0.137 (-0.017) "
        "| **0.050**<br>[0.040, 0.060]<br>0.048 (+0.002) |",
        "| Hippocampus | Mean | 0.075 | – |",
    ]
    assert lines[-1] == table_caption(small)


def test_a_metric_is_a_table_and_the_mean_over_datasets_a_row():
    """Structures have their names; HD95 has two digits."""
    rows = [
        (dataset, structure, metric, method, mean, mean - 1, mean + 1, 9, 1, 0, np.nan, np.nan)
        for metric, mean in (("dice", 0.5), ("hd95", 3.0))
        for dataset, structure in (("acdc", "RV"), ("acdc", "mean"), ("all", "mean"))
        for method in ("svls", "nacl")
    ]
    text = to_markdown(summary(*rows))

    assert text.index("**DSC ↑**") < text.index("**HD95 ↓**")
    assert "| ACDC | RV | 3.00<br>[2.00, 4.00] | 3.00<br>[2.00, 4.00] |" in text
    assert "| Mean over datasets | Mean | 0.500<br>" in text


def test_note_says_how_many_patients_and_trainings_there_are(small):
    """And what the lines of a cell are, where they are there."""
    assert table_caption(small) == (
        "Mean over test patients (ACDC 20, Hippocampus 1) and its 95 % t interval over patients and "
        "trainings; 3 trainings per method. Below: the paper's number and, where both are measured "
        "alike, ours minus it; the paper's network is `unet_authors`, which `unet` is not. "
        "Best in bold, second underlined."
    )
    alone = small.iloc[2:].assign(metric="hd95", seeds=1)
    assert "over patients; one training per method. HD95 in voxels. Best" in table_caption(alone)
    assert "1 to 3 trainings per method" in table_caption(small.assign(seeds=[1, 2, 3]))
    assert "(ACDC 20)" in table_caption(small.iloc[:2].assign(dataset=["acdc", "all"]))


def test_note_has_what_is_remarked_of_the_trainings(small):
    """Behind what it says by itself."""
    remarks = ["Some for longer.", "Others not."]

    assert "per method. Some for longer. Others not. Below" in table_caption(small, remarks)
    assert to_markdown(small, remarks).splitlines()[-1] == table_caption(small, remarks)
    assert "per method. Some for longer. Others not." in methods_to_markdown(small, remarks)


CALIBRATION = ["ece_foreground", "cece_foreground"]


def row(**values):
    """A test of the DSC on ACDC."""
    row = {"dataset": "acdc", "metric": "dice", "method": "dice_ce", "patients": 20, "trainings": 1}
    row |= {"difference": 0.01, "low": 0.002, "high": 0.02, "p": 0.01, "p_holm": 0.02}
    return row | {"p_equivalent": 0.5, "effect": 0.5, "decision": "better"} | values


def test_reference_is_tested_against_each_other_method(results):
    """Per dataset and metric."""
    chosen = EXHIBITS["table2"].select(results)
    tests = compare_methods(chosen, CALIBRATION, "nacl").tests

    rivals = tests.groupby(["dataset", "metric"], sort=False)["method"].agg(list).to_dict()
    assert rivals == {
        (dataset, metric): ["dice_ce", *also]
        for dataset, also in (("acdc", ["svls"]), ("hippocampus", []))
        for metric in CALIBRATION
    }


def test_every_training_is_compared_with_the_ensemble(calibrated_grid):
    """Which is one result of all seeds; the note says so, where there is one."""
    runs = ("unet_nacl_seed0", "unet_nacl_seed1", "unet_nacl_seed0/calibrated/ensemble")
    first, second, ensemble = (
        pd.read_csv(calibrated_grid / "acdc" / run / "evaluation/cases.csv")
        .groupby("patient")["ece_foreground"]
        .mean()
        for run in runs
    )
    chosen = EXHIBITS["after_training"].select(read_results([calibrated_grid]), losses=["nacl"])
    comparison = compare_methods(chosen, ["ece_foreground"], "nacl")

    found = comparison.tests.set_index("method").loc["nacl+ensemble"]
    expected = ((first + second) / 2 - ensemble).mean()
    assert found["difference"] == pytest.approx(expected, abs=1e-12)
    assert found["trainings"] == 2
    note = "An ensemble is one result of all trainings, with which each of them is compared."
    assert note in comparison_to_markdown(comparison)
    assert note not in comparison_to_markdown(Comparison("nacl", pd.DataFrame([row()])))


def test_trial_says_so_in_the_heading_of_its_tests():
    """As in that of its table; others do not."""
    comparison = Comparison("nacl", pd.DataFrame([row()]))

    assert comparison_to_markdown(comparison, [TRIAL]).startswith("| Dataset (trial: numbers mean")
    assert comparison_to_markdown(comparison, ["Another."]).startswith("| Dataset |")


@pytest.mark.parametrize("losses", [["nacl"], ["dice_ce", "svls"]])
def test_method_alone_has_no_test(results, losses):
    """Neither has a dataset without the reference."""
    chosen = EXHIBITS["table2"].select(results, losses=losses)
    assert compare_methods(chosen, ["ece_foreground"], "nacl").tests.empty


def test_method_without_a_seed_in_common_is_named(grid_copy):
    """It has a mean in the table, and no pairs to test."""
    shutil.move(grid_copy / "acdc/unet_svls_seed0", grid_copy / "acdc/unet_svls_seed2")
    chosen = EXHIBITS["table2"].select(read_results([grid_copy]), datasets=["acdc"])

    comparison = compare_methods(chosen, CALIBRATION, "nacl")

    assert set(comparison.tests["method"]) == {"dice_ce"}
    text = comparison_to_markdown(comparison)
    assert "Not compared, for want of a seed in common with NACL: SVLS." in text
    assert "for want" not in comparison_to_markdown(Comparison("nacl", comparison.tests))


def test_significant_is_bold():
    """Below 5 % after Holm's correction, and not at 5 %; very small is said to be so."""
    rows = [row(p_holm=0.0499), row(p_holm=0.05), row(p=0.0001, p_holm=0.0009), row(p_holm=0.001)]
    lines = comparison_to_markdown(Comparison("svls", pd.DataFrame(rows))).splitlines()

    assert "| SVLS against |" in lines[0]
    assert "Difference: SVLS minus the other" in lines[-1]
    cells = [[cell.strip() for cell in line.split("|")[6:8]] for line in lines[2:6]]
    assert cells == [
        ["0.010", "**0.050**"],
        ["0.010", "0.050"],
        ["< 0.001", "**< 0.001**"],
        ["0.010", "**0.001**"],
    ]


@pytest.mark.parametrize(
    ("metric", "heading", "difference"), [("dice", "DSC ↑", "+0.010"), ("hd95", "HD95 ↓", "+0.01")]
)
def test_differences_have_a_sign_and_the_metric_s_digits(metric, heading, difference):
    """So have the ends of their interval."""
    text = comparison_to_markdown(Comparison("nacl", pd.DataFrame([row(metric=metric)])))

    assert f"| ACDC | {heading} | CE+DSC | {difference} | [+0.00" in text
    assert text.splitlines()[2].endswith("| 0.500 | +0.50 | better |")


def test_what_a_single_patient_cannot_say_is_a_dash():
    """Neither an interval nor a p, whatever was measured in it."""
    index = pd.MultiIndex.from_product([["p0"], [0, 1]], names=["patient", "seed"])
    scores = pd.DataFrame({"nacl": [0.8, 0.82], "dice_ce": [0.79, 0.8]}, index)
    tests = paired_tests(scores, "nacl", "dice").reset_index()
    alone = Comparison("nacl", tests.assign(dataset="acdc", metric="dice"))
    text = comparison_to_markdown(alone).splitlines()[2]

    assert text.startswith("| ACDC | DSC ↑ | CE+DSC | +0.015 | – | – |")
    assert "nan" not in text


def test_notes_say_what_was_sampled_and_what_matters():
    """One training says nothing of another; the margins are those of the metrics that are shown."""
    rows = [row(), row(dataset="hippocampus", metric="hd95", patients=34, trainings=3)]
    text = comparison_to_markdown(Comparison("nacl", pd.DataFrame(rows)))

    assert "ACDC: 20 patients, one training per method; Wilcoxon's signed-rank test" in text
    assert "Hippocampus: 34 patients, 3 trainings per method; t tests and intervals" in text
    assert "closer than what matters (5 % of the value of NACL, 0.01 of DSC)" in text


OTHERS = {"dice_ce": "CE+DSC", "svls": "SVLS", "mbls": "MbLS"}


@pytest.fixture
def comparison():
    """NACL against three methods on two datasets, one of which lacks a method."""
    decided = {
        "dice_ce": (0.02, "better"),
        "svls": (-0.03, "slightly worse"),
        "mbls": (0.001, "cannot tell"),
    }
    rows = [
        (dataset, metric, other, *decided[other])
        for dataset, rivals in (("acdc", OTHERS), ("hippocampus", ("dice_ce", "mbls")))
        for metric in ("dice", "hd95")
        for other in rivals
    ]
    tests = pd.DataFrame(rows, columns=["dataset", "metric", "method", "difference", "decision"])
    tests["low"], tests["high"] = tests["difference"] - 0.004, tests["difference"] + 0.006
    tests["margin"] = tests["metric"].map({"dice": 0.01, "hd95": 0.1})
    return Comparison("nacl", tests)


def test_each_dataset_is_a_panel_and_each_method_a_line(comparison):
    """Marks at the difference, lines over the interval, in the same order in every panel."""
    left, right = draw_forest(comparison, "dice").axes

    assert [axes.get_title() for axes in (left, right)] == ["ACDC", "Hippocampus"]
    assert [label.get_text() for label in left.get_yticklabels()] == list(OTHERS.values())
    marks = [line for line in left.lines if len(line.get_xdata()) == 1]
    places = [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks]
    assert places == [(0.02, 0), (-0.03, -1), (0.001, -2)]
    intervals = [part.get_segments()[0][:, 0].tolist() for part in left.collections]
    assert intervals[0] == pytest.approx([0.016, 0.026])
    assert len([line for line in right.lines if len(line.get_xdata()) == 1]) == 2


def test_color_and_marker_say_what_is_decided(comparison):
    """A slight difference is a difference; what is undecided is gray."""
    axes = draw_forest(comparison, "dice").axes[0]
    marks = [line for line in axes.lines if len(line.get_xdata()) == 1]

    for line, kind in zip(marks, ("better", "worse", "not decided"), strict=True):
        assert line.get_marker() == STYLES[kind]["marker"]
        assert to_hex(line.get_color()) == to_hex(STYLES[kind]["color"])


@pytest.mark.parametrize("datasets", [["acdc"], ["acdc", "hippocampus"]])
@pytest.mark.parametrize("methods", [1, 3])
def test_nothing_of_the_legend_is_cut_or_covers_a_panel(comparison, methods, datasets):
    """However few the lines and panels are."""
    tests = comparison.tests
    tests = tests[tests["dataset"].isin(datasets) & tests["method"].isin([*OTHERS][:methods])]
    figure = draw_forest(replace(comparison, tests=tests), "hd95")
    FigureCanvasAgg(figure).draw()
    legend, panels = figure.legends[0].get_window_extent(), figure.axes

    assert figure.bbox.x0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert legend.y1 <= figure.bbox.y1
    assert all(axes.title.get_window_extent().y1 <= legend.y0 for axes in panels)
    assert all(axes.bbox.height > methods * figure.dpi / 4 for axes in panels)


@pytest.mark.parametrize(
    ("metric", "margin", "name", "side"),
    [("dice", 0.01, "0.01 of DSC", "right"), ("hd95", 0.1, "5 % of the value of NACL", "left")],
)
def test_margin_is_shaded_and_named(comparison, metric, margin, name, side):
    """It is the metric's; the caption says where better is."""
    figure = draw_forest(comparison, metric)
    axes = figure.axes[0]
    box = axes.transData.inverted().transform_bbox(axes.patches[0].get_window_extent())

    assert (box.x0, box.x1) == pytest.approx((-margin, margin))
    assert f"less than {name}" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"further {side} is better for NACL" in " ".join(figure.get_supxlabel().split())
