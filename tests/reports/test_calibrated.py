"""A calibrator is judged question by question, and its page says what it changes, without a network."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from nacl_monai import audit
from nacl_monai.evaluations.statistics import OUTCOMES
from nacl_monai.posthoc import Calibrator, Fit, Sides
from nacl_monai.reports import draw_temperatures, verdicts, write_calibrated
from nacl_monai.reports.calibrated import Answer, _left, _word, advice, answers, temperature_curves
from tests.reports.conftest import predicted

KNOTS = [0.0, 2.0, 8.0]


def run_of(temperature, name, cases=12):
    return replace(audit(*predicted(temperature, cases=cases, seed=4)).run, name=name)


@pytest.fixture(scope="module")
def hot():
    """Too sure."""
    return run_of(0.25, "hot")


@pytest.fixture(scope="module")
def true():
    """True probabilities of the same cases."""
    return run_of(1.0, "true")


def calibrator(temperatures=(2.5, 1.5, 0.8), folds=(), channels=("background", "organ")):
    def parameters(values):
        return {"temperatures": values, "knots": KNOTS, "unit": "mm"}

    fit = Fit("distance", parameters(list(temperatures)), 0.5, 0.25, 0.0, "all", ("a",), 10)
    records = [{"patients": ["a"], "parameters": parameters(values)} for values in folds]
    return Calibrator(fit, ["a"], "case", channels=list(channels), folds=records)


def test_truth_behind_a_model_that_is_too_sure_is_better_by_every_question(hot, true):
    """And the other way round it is worse by every one."""
    metrics = ["ece_near", "contour_misses", "nll_all", "brier_all"]

    assert [(answer.metric, answer.word) for answer in answers(hot, true)] == [
        (m, "better") for m in metrics
    ]
    assert [answer.word for answer in answers(true, hot)] == ["worse"] * 4
    assert verdicts(hot, true)[-1] == "Use it."
    assert verdicts(true, hot)[-1] == "Do not use it."


def test_what_is_left_near_the_prediction_is_said_if_it_is_more_than_chance(hot, true):
    """With its direction; of true probabilities nothing is left; other regions have no such word."""
    warm, cold = run_of(0.5, "warm"), run_of(3.0, "cold")

    near, *rest = verdicts(hot, warm)
    assert near.startswith("Near the prediction: better, ECE ")
    assert near.endswith("; still too sure by more than chance.")
    assert verdicts(true, cold)[0].endswith("; still not sure enough by more than chance.")
    assert "still" not in "".join([*rest, *verdicts(hot, true)])


@pytest.mark.slow  # sixty audits
def test_true_probabilities_are_called_too_sure_as_seldom_as_is_said():
    """In 1 of 100 draws; of 60, five or more have a probability of .0003."""
    found = [_left(audit(*predicted(1.0, cases=8, seed=seed)).run) for seed in range(60)]

    assert sum(map(bool, found)) <= 4


def test_what_is_next_to_the_truth_is_no_difference_to_it():
    """By every question, however sure the small change is."""
    found = answers(run_of(1.0, "true", cases=100), run_of(1.02, "next to it", cases=100))

    assert [answer.word for answer in found] == ["no difference"] * 4
    assert advice(found) == "Leave the model as it is: it needs no calibrator."


def test_answer_has_the_number_that_the_table_has(hot, true):
    """Of all cases together, without the bias of noise, and no mean over cases."""
    near, contour = (
        [run.bins.pooled_numbers[name].value for run in (hot, true)]
        for name in ("ece_near", "contour_misses")
    )
    nll = [run.metrics["nll_all"].mean() for run in (hot, true)]

    assert verdicts(hot, true)[:3] == [
        f"Near the prediction: better, ECE {near[0]:.3f} → {near[1]:.3f}.",
        f"5% contour: better, misses {contour[0]:.1%} → {contour[1]:.1%}.",
        f"Over all voxels: better, NLL {nll[0]:.4f} → {nll[1]:.4f}.",
    ]


def test_contour_that_misses_less_than_it_says_is_no_better(true):
    """5 % is what it should miss: a contour that holds everything is worse."""
    cautious = run_of(3.0, "cautious")

    answer = next(found for found in answers(true, cautious) if found.metric == "contour_misses")

    assert answer.after < 0.05 < answer.before + 0.02
    assert answer.word == "worse"


def test_number_that_was_not_counted_is_no_question(hot, true):
    """A file of an earlier version has no volumes of structures."""
    bare = replace(hot, bins=replace(hot.bins, decisions=None))

    assert "contour_misses" not in [answer.metric for answer in answers(bare, true)]


def test_every_decision_has_one_of_four_words():
    """What is smaller than what matters is no difference, however sure."""
    unlike = {"better": "better", "worse": "worse"}
    unlike |= dict.fromkeys(["cannot tell", "too few patients"], "cannot tell")

    for decision in OUTCOMES:
        assert _word(decision) == unlike.get(decision, "no difference")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (
            "better|worse",
            "Judged by ECE near the prediction, use it; judged by NLL over all voxels, do",
        ),
        ("better|cannot tell", "Use it."),
        ("no difference|worse", "Do not use it."),
        ("no difference|no difference", "Leave the model as it is"),
        ("no difference|cannot tell", "Whether to use it these patients cannot tell"),
        ("", "Whether to use it these patients cannot tell"),
    ],
)
def test_advice_follows_from_the_answers(verdicts, expected):
    """Where one is better and one worse, both are said."""
    split = verdicts.split("|") if verdicts else []
    metrics = ("ece_near", "nll_all")
    found = [Answer(metric, 0.1, 0.1, word) for metric, word in zip(metrics, split, strict=False)]

    assert advice(found).startswith(expected)


def test_inside_is_drawn_to_the_left_at_its_distances():
    """Both sides meet at the border, where the temperature jumps."""
    knots, curve = [-9.0, -3.0, -1.0, 0.0, 2.0, 8.0], [1.0, 2.0, 3.0, 2.5, 1.5, 0.8]
    (axes,) = draw_temperatures({"signed": [curve]}, knots, "mm", "").axes

    drawn = axes.lines[-1]
    assert list(drawn.get_xdata()) == [-8.0, -2.0, 0.0, 0.0, 2.0, 8.0]
    assert list(drawn.get_ydata()) == curve
    assert "inside (left)" in axes.get_xlabel()


def test_curves_are_those_of_the_fit_and_of_its_folds():
    """Of structures that overlap, one each; of another method, none."""
    folded = calibrator(folds=[[2.0, 1.0, 0.5], [3.0, 2.0, 1.0]])
    several = calibrator([[2.0, 1.0, 1.0], [3.0, 1.0, 1.0]], channels=["WT", "TC"])
    other = replace(folded, fit=replace(folded.fit, parameters={"temperature": 2.0}))

    assert temperature_curves(folded) == {
        "distance_all": [[2.5, 1.5, 0.8], [2.0, 1.0, 0.5], [3.0, 2.0, 1.0]]
    }
    assert temperature_curves(several) == {"WT": [[2.0, 1.0, 1.0]], "TC": [[3.0, 1.0, 1.0]]}
    assert temperature_curves(other) == {}


def test_picture_has_a_line_per_fit_on_a_logarithmic_axis():
    """The first of each name is bold, and in the legend."""
    curves = {"A": [[2.0, 1.0, 0.5], [2.2, 1.1, 0.6]], "B": [[1.5, 1.0, 0.4]]}

    (axes,) = draw_temperatures(curves, KNOTS, "mm", "").axes

    drawn = [line for line in axes.lines if len(line.get_xdata()) == len(KNOTS)]
    assert axes.get_yscale() == "log"
    np.testing.assert_allclose(
        sorted(list(line.get_ydata()) for line in drawn), sorted([*curves["A"], *curves["B"]])
    )
    assert [line.get_label() for line in drawn if line.get_linewidth() > 1] == ["A", "B"]


@pytest.mark.parametrize("pictures", [True, False])
def test_page_is_one_file_with_verdict_numbers_and_command(hot, true, tmp_path, pictures):
    """Nothing is loaded; without pictures it has no diagram."""
    true = replace(true, name="<distance>")
    fitted = calibrator(folds=[[2.0, 1.0, 0.5]])
    sides = Sides(np.full((5, 2), 0.9), np.full((5, 2), 0.8) + np.eye(5, 2) / 99, "mm")

    path = write_calibrated(
        [hot, true], fitted, tmp_path / "page.html", "the command", sides, pictures=pictures
    )

    text, record = path.read_text(), json.loads(path.with_suffix(".json").read_text())
    assert record["sentences"] == verdicts(hot, true)
    for when, run in (("before", hot), ("after", true)):
        (near,) = [
            row for row in record["numbers"] if (row["when"], row["name"]) == (when, "ece_near")
        ]
        assert near["mean"] == run.number("ece_near").mean
    assert f"<p>{sides.text}.</p>" in text
    assert all(sentence in unescape(text) for sentence in verdicts(hot, true))
    assert "<code>the command</code>" in re.sub("</?span>", "", text)
    assert "&lt;distance&gt;" in text
    assert "<distance>" not in text
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert text.count("<img ") == (2 if pictures else 0)
    misses = [run.bins.pooled_numbers["contour_misses"].text() for run in (hot, true)]
    assert "".join(f"<td>{cell}</td>" for cell in misses) in text
