"""The paper's tables as Markdown and LaTeX: ours, the paper's number, and the difference."""

import numpy as np
import pandas as pd
import pytest

from nacl_monai.paper.tables import methods_to_markdown, note, to_latex, to_markdown

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
    assert lines[-1] == note(small)


def test_latex_has_as_many_cells_in_every_row_as_columns(small):
    """One tabular per metric."""
    text = to_latex(small)

    assert text.count(r"\begin{tabular}{llrr}") == text.count(r"\end{tabular}") == 1
    assert r"\textbf{0.050}\\{}[0.040" in text.replace(r"\\[", r"\\{}[")
    assert r"\underline{0.120}" in text
    assert r"\hline ECE $\downarrow$ &  & CE+DSC & NACL \\ \hline" in text
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert line.count("&") == 3


def test_latex_writes_greek_letters_and_arrows_as_commands():
    """It needs no package."""
    one = summary(("my_data", "A%", "dice", "focal_gamma=2.0", 0.5, 0.4, 0.6, 9, 1, 0, 0.5, 0))
    text = to_latex(one)

    assert r"DSC $\uparrow$ &  & FL ($\gamma$ = 2) \\" in text
    assert r"my\_data & A\% & " in text


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
    assert note(small) == (
        "Mean over test patients (ACDC 20, Hippocampus 1) and its 95 % t interval over patients and "
        "trainings; 3 trainings per method. Below: the paper's number and, where both are measured "
        "alike, ours minus it. Best in bold, second underlined."
    )
    alone = small.iloc[2:].assign(metric="hd95", seeds=1)
    assert "over patients; one training per method. HD95 in voxels. Best" in note(alone)
    assert "1 to 3 trainings per method" in note(small.assign(seeds=[1, 2, 3]))
    assert "(ACDC 20)" in note(small.iloc[:2].assign(dataset=["acdc", "all"]))


@pytest.mark.parametrize(
    ("remarks", "said"),
    [
        ([], "trainings per method. Below"),
        (["Some for longer."], "trainings per method. Some for longer. Below"),
        (["Some for longer.", "Others not."], "per method. Some for longer. Others not. Below"),
    ],
)
def test_note_has_what_is_remarked_of_the_trainings(small, remarks, said):
    """In Markdown and LaTeX."""
    assert said in note(small, remarks)
    assert to_markdown(small, remarks).splitlines()[-1] == note(small, remarks)
    assert to_latex(small, remarks).splitlines()[0] == f"% {note(small, remarks)}"
    assert said.removesuffix(" Below") in methods_to_markdown(small, remarks).splitlines()[-1]
