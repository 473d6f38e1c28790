"""Figure 2: ranks as heat maps."""

import shutil

import pytest

from nacl_monai.errors import InputError
from nacl_monai.paper import EXHIBITS, figure2, rank_methods, read_results
from nacl_monai.reports.statistics import patient_scores


def test_segmentation_is_ranked_per_structure_and_calibration_per_dataset(results):
    """The mean over structures is not a score of its own."""
    chosen = EXHIBITS["figure2"].select(results, datasets=["acdc"])
    cases = chosen.cases("acdc")
    structures = ("RV", "myocardium", "LV")
    columns = [f"{metric}_{name}" for metric in ("dice", "hd95") for name in structures]
    columns += ["ece_foreground", "cece_foreground"]
    expected = rank_methods({("acdc", name): patient_scores(cases, name) for name in columns})

    assert figure2.rank_table(chosen).equals(expected)


def test_only_methods_of_every_dataset_are_ranked(results):
    """SVLS was not run on the hippocampus."""
    ranks = figure2.rank_table(EXHIBITS["figure2"].select(results))

    assert ranks["method"].unique().tolist() == ["dice_ce", "nacl"]


def test_datasets_without_a_common_method_are_refused(grid_copy):
    """One line, instead of ranks of nobody."""
    for run in (grid_copy / "hippocampus").iterdir():
        shutil.move(run, run.with_name(run.name.replace("dice_ce", "mbls").replace("nacl", "ecp")))
    results = EXHIBITS["figure2"].select(read_results([grid_copy]))

    with pytest.raises(InputError, match="figure2: no method was run on all of acdc, hippocampus"):
        figure2.rank_table(results)


def test_cells_print_rank_and_wins(results):
    """Rules side by side, methods down, the global rank and the metrics across; the best is bold."""
    figure, ranks = figure2.draw(EXHIBITS["figure2"].select(results, datasets=["acdc"]))
    by_key = ranks.set_index(["rule", "metric", "method"]).sort_index()

    metrics = ("global", "dice", "hd95", "ece_foreground", "cece_foreground")
    for axes, rule in zip(figure.axes, ("sum-rank", "mean-case-rank"), strict=True):
        assert axes.get_title() == rule.capitalize()
        labels = [text.get_text() for text in axes.get_xticklabels()]
        assert labels == ["Global", "DSC", "HD95", "ECE", "CECE"]
        cells = {cell.get_position(): cell for cell in axes.texts}
        for column, metric in enumerate(metrics):
            best = by_key.loc[(rule, metric), "rank"].min()
            for row, method in enumerate(("dice_ce", "svls", "nacl")):
                rank, wins = by_key.loc[(rule, metric, method), ["rank", "wins"]]
                assert cells[column, row].get_text() == f"{rank:.1f}\n{wins:.0%}"
                assert (cells[column, row].get_fontweight() == "bold") == (rank == best)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["CE+DSC", "SVLS", "NACL"]
    assert len(figure.axes[1].get_yticks()) == 0
