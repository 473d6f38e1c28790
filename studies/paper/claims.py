"""The paper's claims, abstract and section 4, one by one: what tests decide about each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai.evaluations.statistics import (
    BETTER,
    ENOUGH_TRAININGS,
    EQUIVALENT,
    SLIGHTLY,
    WORSE,
    decided,
    is_scored,
    patient_scores,
    undecided_tests,
)
from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.metrics.columns import METRICS, margins_text
from nacl_monai.paper.exhibits import EXHIBITS, MAIN
from nacl_monai.paper.figures import SIGMAS
from nacl_monai.paper.grid import (
    PAPER_LOSSES,
    PROPOSED,
    dataset_label,
    method,
    method_label,
    network_label,
)
from nacl_monai.paper.ranking import GLOBAL, RULES, rank_table
from nacl_monai.paper.results import NothingToShow, Results

HOLDS, FAILS, CANNOT_TELL, NO_RUN = "holds", "does not hold", "cannot tell", "no run"
NOT_TESTED = "not tested"

WINS = frozenset({BETTER, SLIGHTLY + BETTER})
NOT_WORSE = WINS | {EQUIVALENT, SLIGHTLY + WORSE}
CHANGES = frozenset({BETTER, WORSE})
HARDLY = frozenset({EQUIVALENT, SLIGHTLY + BETTER, SLIGHTLY + WORSE})
DECIDED = NOT_WORSE | CHANGES

RIVALS = tuple(loss for loss in PAPER_LOSSES if loss != PROPOSED)

#: The first rank is decided by more, or fewer, draws of people and trainings than these shares.
CERTAIN, RULED_OUT = 0.95, 0.05


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and the tests that can decide it.

    Attributes:
        source: The abstract or a section.
        text: The claim in short.
        exhibit: The table or figure whose runs are tested; empty if no test can decide.
        metrics: What is tested, each in a row of its own.
        pairs: Methods and those that each is compared with.
        favorable: The decisions that speak for the claim; any other decision speaks against it.
        exceptions: How many of the compared methods may speak against it.
        per: A column of the cases for whose values the claim is tested apart.
        times: What each rival's score is multiplied by.
    """

    source: str
    text: str
    exhibit: str = ""
    metrics: tuple[str, ...] = ()
    pairs: tuple[tuple[str, tuple[str, ...]], ...] = ()
    favorable: frozenset[str] = WINS
    exceptions: int = 0
    per: str = ""
    times: float = 1.0

    @property
    def comparisons(self) -> int:
        """How many its sentence names, whether or not there are runs for them."""
        return sum(len(rivals) for _, rivals in self.pairs)

    @property
    def ablation(self) -> bool:
        """Whether its trainings are not those of the main tables."""
        setups = EXHIBITS[self.exhibit].grid().setups
        trained = {replace(setup, method=replace(setup.method, after=())) for setup in setups}
        return trained != set(MAIN.grid().setups)


def _against(*rivals: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ((PROPOSED, rivals),)


def _named(loss: str, **settings: str | float) -> str:
    return method(loss, **settings).name


def claims() -> list[Claim]:
    """All claims, in the paper's order."""
    both, every = ("dice", "ece_foreground"), _against(*RIVALS)
    dice, ece = both[:1], both[1:]
    classwise, union = ("ece_foreground", "cece_foreground"), ("ece_foreground", "ece_union")
    segmented = ("dice", "hd95")
    weights = [_named(PROPOSED, penalty_weight=weight) for weight in (0.2, 0.3)]
    sigmas = tuple(
        (_named(PROPOSED, prior="gaussian", sigma=s), (_named("svls", sigma=s),)) for s in SIGMAS
    )
    closest, usual = _against("svls", "mbls"), _against("dice_ce")
    gaussian = _against(_named(PROPOSED, prior="gaussian"))
    l2, softmax = _named(PROPOSED, penalty="l2"), _named(PROPOSED, space="softmax")
    edges, plain = "better calibrated at edges (figure 11)", _against("cross_entropy")
    around = "better calibrated over prediction ∪ label"
    found = [
        Claim("Abstract", "better calibrated than every rival", "table2", ece, every),
        Claim(
            "Abstract", "no loss of segmentation beside CE+DSC", "table1", dice, usual, NOT_WORSE
        ),
        Claim("4.2.1", "segments better than every rival", "table1", segmented, every),
        Claim("4.2.1", "3.4 % more DSC than every rival", "table1", dice, every, times=1.034),
        Claim("4.2.1", "best or second best calibration", "table2", classwise, every, exceptions=1),
        Claim("4.2.1", "first by both rules of ranking (figure 2)", "figure2", RULES),
        Claim("4.2.2", "better on logits than on softmax", "figure3", both, _against(softmax)),
        Claim("4.2.2", "a restricted range of logits (figures 4 and 5, without people)"),
        Claim("4.2.3", "λ = 0.1 is best", "figure6", both, _against(*weights)),
        Claim("4.2.3", "λ hardly matters", "figure6", both, _against(*weights), HARDLY),
        Claim("4.2.4", "the choice of the prior matters", "table3", both, gaussian, CHANGES),
        Claim("4.2.4", "better than SVLS with the same σ", "figure7", both, sigmas),
        Claim("4.2.5", "better whatever the network", "figure8", both, closest, per="network"),
        Claim("4.2.6", "best with fewer patients", "figure9", both, every, per="fraction"),
        Claim("4.2.7", "L2 segments better than L1", "table4", dice, ((l2, (PROPOSED,)),)),
        Claim("4.2.7", "L1 is better calibrated than L2", "table4", ece, _against(l2)),
        Claim("4.2.8", around, "figure10", ("ece_union", "cece_union"), every),
        Claim("4.2.9", edges, "table2", ("ece_boundary",), every),
        Claim("control", "better calibrated than plain cross-entropy", "table2", union, plain),
    ]
    for loss in ("dice_ce", "cross_entropy"):
        text = f"better calibrated than {method_label(loss)} with a temperature"
        behind = _against(f"{loss}+temperature_all", f"{loss}+temperature_union")
        found.append(Claim("control", text, "after_training", (*union, "nll_all"), behind))
    return found


def judge_claims(results: Results) -> pd.DataFrame:
    """The verdict of the runs on every claim.

    A claim holds on a dataset if enough of its comparisons are decided in its favor, does not hold if
    too many are decided otherwise, and else the data cannot tell. A comparison for which there is no
    run is undecided. An ablation that was trained once decides nothing, because another training may
    say the opposite.

    Args:
        results: All runs.

    Returns:
        One row per claim, and per dataset, metric and setting where there are runs: ``source``,
        ``claim``, ``dataset``, ``metric``, ``setting``; ``verdict``; ``for``, ``against`` and
        ``undecided``, numbers of comparisons; that which favors the claim least: ``reference``,
        ``other``, ``difference`` with ``low`` and ``high``; ``patients`` and ``trainings``. A claim
        of ranks has ``rank`` with ``low`` and ``high``, ``wins`` and ``methods`` in their place.
    """
    rows = []
    for claim in claims():
        judge = _ranked if claim.metrics == RULES else _judged
        chosen = _chosen(claim, results)
        found = list(judge(claim, chosen)) if chosen else []
        nothing = {"verdict": NO_RUN if claim.exhibit else NOT_TESTED}
        rows += [{"source": claim.source, "claim": claim.text, **row} for row in found or [nothing]]
    return pd.DataFrame(rows)


def _chosen(claim: Claim, results: Results) -> Results | None:
    """The runs that a claim is about; None if there are none, or no test can decide."""
    try:
        return EXHIBITS[claim.exhibit].select(results) if claim.exhibit else None
    except NothingToShow:
        return None


def _judged(claim: Claim, chosen: Results) -> Iterator[dict[str, Any]]:
    """A row per dataset, metric and setting that has runs."""
    for dataset in chosen.datasets:
        for setting, cases in _by_setting(claim, chosen.cases(dataset)):
            for metric in claim.metrics:
                tests = _tests(claim, cases, metric)
                if len(tests):
                    place = {"dataset": dataset, "metric": metric, "setting": setting}
                    found = judge_comparisons(claim, tests, METRICS[metric].direction)
                    yield place | found | {"times": claim.times}


def _ranked(claim: Claim, chosen: Results) -> Iterator[dict[str, Any]]:
    """A row per dataset and rule: whether NACL is first however people and trainings are drawn."""
    if PROPOSED not in {method.name for method in chosen.methods}:
        return
    for dataset in chosen.datasets:
        cases = chosen.cases(dataset)
        ranks = rank_table(EXHIBITS[claim.exhibit].select(chosen, datasets=[dataset]))
        of_all = ranks[ranks["metric"] == GLOBAL].set_index(["rule", "method"])
        for rule in claim.metrics:
            ranked, found = of_all.loc[rule], of_all.loc[(rule, PROPOSED)].to_dict()
            certain = found["wins"] > CERTAIN and set(RIVALS) <= set(ranked.index)
            verdict = FAILS if found["wins"] < RULED_OUT else CANNOT_TELL
            yield {
                **found,
                "dataset": dataset,
                "metric": rule,
                "setting": "",
                "verdict": HOLDS if certain else verdict,
                "methods": len(ranked),
                "patients": cases["patient"].nunique(),
                "trainings": cases.groupby("method")["seed"].nunique().min(),
            }


def _by_setting(claim: Claim, cases: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The cases for whose network or share of the patients the claim is tested apart."""
    if not claim.per:
        return [("", cases)]
    return [(str(setting), group) for setting, group in cases.groupby(claim.per, sort=False)]


def _tests(claim: Claim, cases: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The paired tests of the claim's pairs that have runs; together they are one family."""
    if not is_scored(cases, metric):
        return pd.DataFrame()
    scores = patient_scores(cases, metric)
    parts = [
        undecided_tests(scores[[reference]].join(claim.times * scores[rivals]), reference, metric)
        .reset_index()
        .rename(columns={"method": "other"})
        .assign(reference=reference)
        for reference, rivals in _pairs_with_runs(claim, scores)
    ]
    return decided(pd.concat(parts, ignore_index=True), metric) if parts else pd.DataFrame()


def _pairs_with_runs(claim: Claim, scores: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    for reference, rivals in claim.pairs:
        present = [name for name in rivals if name in scores]
        if reference in scores and present:
            yield reference, present


def judge_comparisons(claim: Claim, tests: pd.DataFrame, direction: int) -> dict[str, Any]:
    """The verdict on a claim, the counts behind it, and the comparison that favors it least."""
    favorable = int(tests["decision"].isin(claim.favorable).sum())
    against = int(tests["decision"].isin(DECIDED - claim.favorable).sum())
    trainings = int(tests["trainings"].min())
    least = tests.iloc[int(np.argmin(direction * tests["difference"]))]
    return {
        "verdict": _verdict(claim, favorable, against, trainings),
        "for": favorable,
        "against": against,
        "undecided": claim.comparisons - favorable - against,
        **{key: least[key] for key in ("reference", "other", "difference", "low", "high")},
        "patients": int(tests["patients"].max()),
        "trainings": trainings,
    }


def _verdict(claim: Claim, favorable: int, against: int, trainings: int) -> str:
    """An ablation of one or two trainings cannot tell; see `judge_claims`."""
    if claim.ablation and trainings < ENOUGH_TRAININGS:
        return CANNOT_TELL
    if against > claim.exceptions:
        return FAILS
    return HOLDS if favorable >= claim.comparisons - claim.exceptions else CANNOT_TELL


def claims_to_markdown(judged: pd.DataFrame) -> str:
    """The claims as one table, and how to read it."""
    header = ["Source", "Claim", "Dataset", "Metric", "Verdict", "For, against, undecided"]
    header += ["The least favorable comparison", "Patients × trainings"]
    rows = [_cells(row) for row in judged.to_dict("records")]
    tested = [name for name in judged["metric"].dropna().unique() if name in METRICS]
    margins = margins_text(tested, "the first method")
    return (
        f"{markdown_table(header, rows, 'llllllll')}\n\n"
        "A claim holds where its comparisons are decided in its favor, does not hold where they are "
        "decided otherwise, and else these data cannot tell; one that lacks a run is undecided. "
        "Decisions are tests at 5 %, Holm-corrected over the comparisons of one row; equivalent is "
        f"closer than {margins}. With one or two trainings a verdict is of these weights alone, and an "
        "ablation cannot tell, because another training may say the opposite. Beside the least "
        "favorable comparison is its difference with its 95 % interval. A first rank holds in more than "
        f"{CERTAIN * 100:g} % of the draws of people and trainings, and does not hold in fewer than "
        f"{RULED_OUT * 100:g} %.\n"
    )


def _cells(row: Mapping[Any, Any]) -> Sequence[str]:
    start = [row["source"], row["claim"]]
    if row["verdict"] in (NO_RUN, NOT_TESTED):
        return [*start, "", "", row["verdict"], "", "", ""]
    metric, counts, comparison = _ranks(row) if row["metric"] in RULES else _comparisons(row)
    return [
        *start,
        dataset_label(row["dataset"]),
        metric,
        f"**{row['verdict']}**{_of_these_weights(row)}",
        counts,
        comparison,
        f"{row['patients']:.0f} × {row['trainings']:.0f}",
    ]


def _ranks(row: Mapping[Any, Any]) -> tuple[str, str, str]:
    """The rule, no counts, and NACL's rank."""
    rank = f"{row['rank']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
    return (
        str(row["metric"]),
        "",
        f"rank {rank} of {row['methods']:.0f}, first in {row['wins'] * 100:.1f} % of the draws",
    )


def _comparisons(row: Mapping[Any, Any]) -> tuple[str, str, str]:
    """The metric, how many comparisons speak for and against, and the least favorable one."""
    shown = METRICS[row["metric"]]
    names = [method_label(row[key]) for key in ("reference", "other")]
    names[1] = f"{row['times']:g} × {names[1]}" if row["times"] != 1 else names[1]
    interval = shown.interval(row["low"], row["high"])
    return (
        f"{shown.label}{_setting(row['setting'])}",
        f"{row['for']:.0f}, {row['against']:.0f}, {row['undecided']:.0f}",
        f"{' − '.join(names)}: {shown.text(row['difference'], '+')} {interval}",
    )


def _of_these_weights(row: Mapping[Any, Any]) -> str:
    decided = row["verdict"] in (HOLDS, FAILS)
    return ", of these weights" if decided and row["trainings"] < ENOUGH_TRAININGS else ""


def _setting(setting: str) -> str:
    """The network or the share of the patients in words."""
    if not setting:
        return ""
    try:
        return f", {float(setting):.0%} of the patients"
    except ValueError:
        return f", {network_label(setting)}"
