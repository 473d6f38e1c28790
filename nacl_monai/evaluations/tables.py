"""The parts that tables share: Markdown, CSV, groups of patients, best values and rank correlations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nacl_monai.errors import InputError, check_no_formula, printable
from nacl_monai.files import check_unique, read_table
from nacl_monai.metrics.columns import DECISIONS, LEADING, METRICS, metric_of
from nacl_monai.metrics.decisions import rank_correlation
from nacl_monai.metrics.pooled import Pooled, direction
from nacl_monai.words import number_within, row_texts

#: What a doubtful label is known by.
DOUBT = ("surprise", "dice", "expected_dice")
#: How many of the cases are listed as doubtful labels, if nobody says.
SUSPECTS = "10%"
_RULES = {"l": ":---", "r": "---:"}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """A table in Markdown, without a newline at its end.

    Args:
        header: The headings of the columns.
        rows: The cells of each row; a bar in a cell does not add a column.
        align: One letter per column, "l" for left or "r" for right.

    Example:
        >>> print(markdown_table(["Method", "DSC ↑"], [["NACL", "0.91"]], "lr"))
        | Method | DSC ↑ |
        | :--- | ---: |
        | NACL | 0.91 |
    """
    lines = [header, [_RULES[letter] for letter in align], *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)


def table_text(table: pd.DataFrame, most: int | None = None) -> str:
    """A table for the terminal in at most so many rows, its numbers by `nacl_monai.words.row_texts`."""
    rows = [row_texts(row) for row in table.to_dict("records")]
    return pd.DataFrame(rows, columns=table.columns).to_string(index=False, max_rows=most)


def csv_text(table: pd.DataFrame, decimals: int | None = 6) -> str:
    r"""A table as CSV without its index; an empty cell is undefined.

    Args:
        table: What to write; what its index says must be a column.
        decimals: Digits after the point; None writes every number so that it can be read back exactly.

    Example:
        >>> csv_text(pd.DataFrame({"method": ["a", "b"], "dice": [2 / 3, float("nan")]}))
        'method,dice\na,0.666667\nb,\n'
    """
    float_format = None if decimals is None else f"%.{decimals}f"
    table = table.map(_cell).rename(columns=_cell)
    return str(table.to_csv(index=False, float_format=float_format, lineterminator="\n"))


def _cell(value: Any) -> Any:
    return printable(value, cell=True) if isinstance(value, str) else value


def best_places(values: Iterable[float], metric: str) -> list[int]:
    """0 for the best value, 1 for the second, 2 for any other.

    The digits that are printed decide, so that equal digits share a place. Where all are equal,
    nothing is best.

    Args:
        values: What a table shows side by side; NaN is undefined.
        metric: The metric or column of ``cases.csv`` that they are of.

    Example:
        >>> best_places([0.8, 0.9, 0.7, 0.9004], "dice")
        [1, 0, 2, 0]
    """
    shown = METRICS[metric_of(metric)]
    printed = [float(shown.text(value)) for value in values]
    ranking = sorted({-shown.direction * value for value in printed if not pd.isna(value)})
    if len(ranking) < 2:
        return [2] * len(printed)
    places = {-shown.direction * value: min(place, 2) for place, value in enumerate(ranking)}
    return [places.get(value, 2) for value in printed]


def uncounted(numbers: Iterable[Mapping[str, Pooled]]) -> str:
    """A sentence on leading numbers that were not counted, as by an earlier version; or nothing.

    Args:
        numbers: The pooled numbers of each run (`nacl_monai.metrics.record.Record.pooled_numbers`).

    Example:
        >>> uncounted([{}])
        'Not counted: ECE near the prediction, contours and what is expected of structures. '
    """
    counted = list(numbers)
    parts = {
        METRICS["ece_near"].label: "ece_near",
        "contours and what is expected of structures": "contour_misses",
    }
    missing = [text for text, name in parts.items() if not any(name in run for run in counted)]
    return f"Not counted: {', '.join(missing)}. " if missing else ""


def leading_text(numbers: Mapping[str, Pooled]) -> str:
    """The leading numbers and the errors of decisions, on one line; empty if nothing was counted.

    Args:
        numbers: As those of `uncounted`.
    """
    shown = {name: METRICS[name] for name in (*LEADING, *DECISIONS) if name in numbers}
    parts = [
        f"{metric.label} {numbers[name].text(metric.decimals)}" for name, metric in shown.items()
    ]
    gap = numbers.get(LEADING[1])
    return "; ".join([*parts, *([direction(gap)] if gap else [])])


def rank_correlations(metrics: pd.DataFrame) -> dict[str, float]:
    """Spearman's rank correlation of the expected with the true Dice over the cases of one run.

    Args:
        metrics: One row per case; columns ``dice_<structure>`` and ``expected_dice_<structure>``.

    Returns:
        The correlation of each structure by its name, over the cases whose label has it; and under
        "mean" that of the means over the structures that a case's label has. NaN with fewer than three
        cases, or where all cases are alike. Empty where no Dice is expected.

    Example:
        >>> rank_correlations(
        ...     pd.DataFrame({"dice_LV": [0.5, 0.7, 0.9], "expected_dice_LV": [0.8, 0.9, 0.95]})
        ... )
        {'LV': 1.0, 'mean': 1.0}
    """
    start = "expected_dice_"
    names = [name.removeprefix(start) for name in map(str, metrics) if name.startswith(start)]
    true = metrics[[f"dice_{name}" for name in names]].set_axis(names, axis=1)
    expected = metrics[[start + name for name in names]].set_axis(names, axis=1)
    expected = expected.where(true.notna())
    pairs = {name: (expected[name], true[name]) for name in names}
    if pairs:
        pairs["mean"] = expected.mean(axis=1), true.mean(axis=1)
    return {name: _correlation(*pair) for name, pair in pairs.items()}


def doubtful_labels(metrics: pd.DataFrame, budget: str = "100%") -> pd.DataFrame:
    """The structure of each case whose label contradicts the probabilities most, the most first.

    Args:
        metrics: One row per case; columns ``surprise_<structure>``, ``dice_<structure>`` and
            ``expected_dice_<structure>``.
        budget: How many cases, or which share.

    Returns:
        ``structure``, ``surprise``, ``dice`` and ``expected_dice``, by case, as far as they are known;
        empty where nothing is expected of labels.

    Raises:
        SettingError: If the budget is neither a number nor a share.

    Example:
        >>> cases = pd.DataFrame({"surprise_LV": [0.1, 0.4], "dice_LV": [0.8, 0.5]}, index=["a", "b"])
        >>> doubtful_labels(cases.assign(expected_dice_LV=0.9))[["structure", "surprise"]].to_numpy()
        array([['LV', 0.4],
               ['LV', 0.1]], dtype=object)
    """
    start = "surprise_"
    names = [name.removeprefix(start) for name in map(str, metrics) if name.startswith(start)]
    rows = {}
    for case, row in metrics.iterrows():
        worst = max(names, key=lambda name: float(row[start + name]), default=None)
        if worst is not None:
            rows[case] = {key: row.get(f"{key}_{worst}") for key in DOUBT} | {"structure": worst}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["structure", *DOUBT])
    number = number_within(budget, len(table), "--suspects")
    return table.sort_values("surprise", ascending=False, kind="stable").head(number)


def doubtful_text(doubtful: pd.DataFrame, most: int = 3) -> str:
    """A sentence on the first of `doubtful_labels`; empty if there is none."""
    rows = zip(doubtful.index, *(doubtful[key] for key in ("structure", "surprise")), strict=True)
    places = [f"{structure} of {case} ({number:.2f})" for case, structure, number in rows]
    start = "The network expects one thing, and the label says another: look at the label of"
    return f"{start} {', '.join(places[:most])}." if places else ""


def _correlation(first: pd.Series[float], second: pd.Series[float]) -> float:
    both = pd.concat([first, second], axis=1).dropna()
    return rank_correlation(*both.to_numpy().T)


#: Name of a group → patient → value.
Groups = Mapping[str, Mapping[str, str]]
PREDICTED_VOLUME = "predicted volume"
_MOST = 20  # values that make groups, at most
_UNKNOWN = "unknown"
_KEYS = ("case", "patient")
_REMEDY = "write the column case or patient, and others, such as site"


def read_groups(table: Path | None, patients: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The groups of a CSV file with the column case, or patient, and others, such as site.

    Args:
        table: None for no group.
        patients: Case → patient.

    Returns:
        Column → patient → value; a cell without a value is "unknown".

    Raises:
        InputError: If it cannot be read, lacks a case, has two values for a patient, or a column with so
            many values that these are no groups.
    """
    if table is None:
        return {}
    rows = read_table(table, [], _REMEDY)
    key = next((key for key in _KEYS if key in rows), "")
    names = [name for name in rows if name not in _KEYS]
    if not (key and names):
        raise InputError(f"{table}: is not a table of groups; {_REMEDY}")
    check_unique(table, rows, [key])
    return {
        name: _group(table, name, dict(zip(rows[key], rows[name], strict=True)), patients, key)
        for name in names
    }


def _group(
    table: Path, name: str, values: Mapping[str, str], patients: Mapping[str, str], key: str
) -> dict[str, str]:
    """The value of each patient in one column."""
    found: dict[str, str] = {}
    for case, patient in patients.items():
        asked = case if key == "case" else patient
        if asked not in values:
            raise InputError(f"{table}: lacks the {key} {asked!r}; add it")
        value = values[asked] or _UNKNOWN
        if found.setdefault(patient, value) != value:
            raise InputError(
                f"{table}: the patient {patient!r} has two values of {name}, {found[patient]!r} and "
                f"{value!r}, and can be in one group alone; leave one"
            )
    if len(set(found.values())) > _MOST:
        raise InputError(
            f"{table}: {name} has more than {_MOST} values, which are no groups; leave the column out"
        )
    check_no_formula(table, [name, *found.values()])
    return dict(sorted(found.items(), key=lambda item: item[1]))


def thirds(volumes: npt.ArrayLike, patients: Sequence[str]) -> dict[str, str]:
    """The third of the predicted volume that each patient is in, by the mean over their cases.

    Args:
        volumes: Of each case in ml.
        patients: The patient of each.

    Example:
        >>> thirds([1.0, 3.0, 1.0, 3.0], ["a", "a", "b", "c"])
        {'b': 'smallest third, to 1 ml', 'a': 'middle third, to 2 ml', 'c': 'largest third, to 3 ml'}
        >>> thirds([1, 5, 2, 4, 6, 7], ["a", "a", "b", "c", "d", "e"])["a"]
        'smallest third, to 3 ml'
    """
    means = pd.Series(volumes).groupby(list(patients)).mean().sort_values(kind="stable")
    parts = zip(("smallest", "middle", "largest"), np.array_split(means.index, 3), strict=True)
    return {
        str(patient): f"{which} third, to {means[part[-1]]:.3g} ml"
        for which, part in parts
        for patient in part
    }
