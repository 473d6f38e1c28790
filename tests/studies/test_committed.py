"""The committed results are made of the committed runs; every number once more by code of its own.

Files made again are compared with the committed ones as words and numbers: the last digit that a table
writes may round the other way with another version of NumPy, SciPy or pandas.
"""

import json
import math
import re
import tarfile
from collections import defaultdict
from contextlib import nullcontext
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nacl_monai.paper import EXHIBITS, exhibits, read_results, reproduce, write_all
from studies.paper.__main__ import write_claims
from studies.penalty import comparison
from studies.penalty.__main__ import SETTINGS, page
from tests.conftest import nightly_but
from tests.same import same_values
from tests.studies.pages import RESULTS, rows_of

pytestmark = pytest.mark.slow

STUDIES = sorted(str(path.parent.relative_to(RESULTS)) for path in RESULTS.rglob("runs.tar.xz"))
TABLES = ("table?", "after_training", "three_d", "unet_authors", "hyperparameters", "widths")
NETWORKS = {"three_d": "unet3d", "unet_authors": "unet_authors"}
HIGHER = ("dice",)
NEITHER = ("contour_misses",)
LEADING = ("ece_near", "contour_misses")


#: Those of the other dataset are of the same form.
BEFORE_LANDING = [name for name in STUDIES if name.startswith("acdc")]


@pytest.fixture(scope="module", params=nightly_but(BEFORE_LANDING, STUDIES))
def study(request, tmp_path_factory):
    """The folder of its committed files, its runs, and what they are made into without pictures."""
    root = tmp_path_factory.mktemp("study")
    with tarfile.open(RESULTS / request.param / "runs.tar.xz") as archive:
        archive.extractall(root, filter="data")
    with pytest.MonkeyPatch.context() as patch:
        for module in (exhibits, reproduce):
            patch.setattr(module, "save_figure", lambda *_: [])
        write_all([root / "runs"], root / "made")
    write_claims([root / "runs"], root / "made")
    return RESULTS / request.param, root / "runs", root / "made"


def test_committed_files_are_made_again(study):
    """Every table and its tests, word for word and number for number; pictures depend on matplotlib."""
    committed, _, remade = study
    names = [path.name for path in committed.iterdir() if path.suffix in (".md", ".csv")]
    names.remove("README.md") if "README.md" in names else None

    assert names
    for name in names:
        assert_same_text(remade / name, committed / name)


NUMBER = re.compile(r"-?\d+(?:\.(\d*))?(?:e([-+]?\d+))?")


def assert_same_text(path, other):
    """The same words, and numbers that differ by no more than one in their last decimal."""
    ours, committed = (file.read_text(encoding="utf-8") for file in (path, other))
    assert NUMBER.sub("#", ours) == NUMBER.sub("#", committed), path.name
    for pair in zip(NUMBER.finditer(ours), NUMBER.finditer(committed), strict=True):
        found, known = (float(number[0]) for number in pair)
        last = min(10.0 ** (int(number[2] or 0) - len(number[1] or "")) for number in pair)
        # The last digit.
        assert found == pytest.approx(known, abs=1.01 * last * (last < 1), rel=1e-12), path.name


def assert_same_sums(path, other):
    """The same arrays, whose last digits other versions may round otherwise."""
    with np.load(path) as ours, np.load(other) as committed:
        assert sorted(ours) == sorted(committed)
        for name in committed:
            if committed[name].dtype.kind == "f":
                np.testing.assert_allclose(ours[name], committed[name], rtol=1e-9, err_msg=name)
            else:
                same_values(ours[name], committed[name])


@pytest.mark.parametrize(
    ("text", "same"),
    [
        *(("a 0.13 3 1e-05 b", True), ("a 0.12 3 1.1e-05 b", True)),
        *(("a 0.14 3 1e-05 b", False), ("a 0.12 4 1e-05 b", False), ("a 0.12 3 2e-04 b", False)),
        *(("a 0.12 3 1e-05 c", False), ("a 0.12 3 b", False)),
    ],
)
def test_text_is_the_same_but_for_the_last_digit(tmp_path, text, same):
    """Neither another word nor another number passes."""
    for name, content in {"found": text, "committed": "a 0.12 3 1e-05 b"}.items():
        (tmp_path / name).write_text(content)

    with nullcontext() if same else pytest.raises(AssertionError):
        assert_same_text(tmp_path / "found", tmp_path / "committed")


def test_runs_are_of_the_dataset_that_their_folder_is_named_for(study):
    """Their commands are run in a clone of this project; weights are not kept."""
    committed, runs, _ = study

    assert read_results([runs]).datasets == [committed.relative_to(RESULTS).parts[0]]
    for path in runs.rglob("*"):
        assert path.suffix != ".pt"
        if path.name == "run.json":
            for session in json.loads(path.read_text())["sessions"]:
                assert session["command"].startswith(".venv/bin/"), path


def test_only_small_files_are_kept():
    """Nothing but the archives of runs has a megabyte."""
    for path in RESULTS.rglob("*"):
        assert path.stat().st_size < (3_000_000 if path.name == "runs.tar.xz" else 1_000_000), path


def number(text):
    return float(text) if text else math.nan


def scores(runs, name, column, methods):
    """{method: array (patients, seeds)} of a table, of the seeds that all methods have."""
    found = defaultdict(lambda: defaultdict(list))
    network = NETWORKS.get(name.removesuffix("_tests"), "unet")
    for path in runs.rglob("evaluation/cases.csv"):
        run, *after = path.relative_to(runs).parts[:-2]
        trained, _, seed = run.removeprefix(f"{network}_").rpartition("_seed")
        method = "+".join([trained, *after[1:]])  # calibrated/temperature_all
        if run.startswith(f"{network}_") and method in methods:
            for row in rows_of(path):
                found[method][int(seed), row["patient"]].append(number(row[column]))
    alone = [method for method in methods if not method.endswith("+ensemble")]
    seeds = sorted(set.intersection(*({seed for seed, _ in found[method]} for method in alone)))
    patients = sorted({patient for _, patient in found[methods[0]]})
    cells = {}
    for method in methods:
        own = seeds if method in alone else [0]
        cells[method] = np.array([[mean(found[method][s, p]) for s in own] for p in patients])
    return cells


def mean(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


def estimate(cells, trained=None):
    """Mean, standard error and degrees of freedom; see docs/reproduce.md.

    The methods whose trainings count are the cells themselves, or both of a difference.
    """
    cells = [row for row in cells if not all(math.isnan(value) for value in row)]
    patients = [mean(row) for row in cells]
    parts = [(np.var(patients, ddof=1) / len(patients), len(patients) - 1)]
    for method in [cells] if trained is None else trained:
        seeds = [mean(col) for col in zip(*method, strict=True)]
        if len(seeds) > 2:
            parts.append((np.var(seeds, ddof=1) / len(seeds), len(seeds) - 1))
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / df for variance, df in parts) if total else math.inf
    return mean(patients), math.sqrt(total), freedom, patients


def compared(cells, reference, other):
    """`estimate` of a difference; a calibrator behind a training follows the same trainings."""
    ours, theirs = cells[reference], cells[other]
    hidden = np.isnan(ours - theirs)
    pair = [np.where(hidden, math.nan, side) for side in (ours, theirs)]
    same = reference.partition("+")[0] == other.partition("+")[0]
    return estimate(ours - theirs, None if same else pair)


def interval(center, error, freedom, *_):
    half = stats.t.ppf(0.975, freedom) * error
    return center - half, center + half


def margin_of(metric, reference, other):
    """A hundredth of DSC; else 5 % of the reference's mean where both are defined."""
    if metric in HIGHER:
        return 0.01
    return 0.05 * abs(estimate(np.where(np.isnan(other), math.nan, reference))[0])


def holm(values):
    corrected, highest = dict.fromkeys(values, 0.0), 0.0
    for k, key in enumerate(sorted(values, key=values.get)):
        highest = max(highest, min(1.0, values[key] * (len(values) - k)))
        corrected[key] = highest
    return corrected


def difference_p(found, trainings):
    """Of one or two trainings by Wilcoxon's test over patients, else by the t test of `estimate`."""
    center, error, freedom, patients = found
    if not np.round(patients, 6).any():  # a temperature changes no label
        return 1.0
    if trainings < 3:
        return stats.wilcoxon(np.round(patients, 6)).pvalue
    return 2 * stats.t.sf(abs(center) / error, freedom)


def equivalent_p(found, margin):
    center, error, freedom, _ = found
    return stats.t.sf((margin - abs(center)) / error, freedom) if error else 0.0


def test_means_and_intervals_agree(study):
    """Per table, structure, metric and method."""
    _, runs, remade = study
    tables = sorted(path for name in TABLES for path in remade.glob(f"{name}.csv"))
    assert tables or not list(remade.glob("table1*"))
    for path in tables:
        rows = rows_of(path)
        methods = list(dict.fromkeys(row["method"] for row in rows))
        for metric, structure in dict.fromkeys((row["metric"], row["structure"]) for row in rows):
            column = metric if structure == "mean" else f"{metric}_{structure}"
            cells = scores(runs, path.stem, column, methods)
            for row in rows:
                if (row["metric"], row["structure"]) == (metric, structure):
                    found = estimate(cells[row["method"]])
                    expected = [found[0], *interval(*found)]
                    written = [number(row[key]) for key in ("mean", "low", "high")]
                    assert written == pytest.approx(expected, abs=2e-6), row
                    assert int(row["seeds"]) == cells[row["method"]].shape[1]


def test_tests_and_decisions_agree(study):
    """Difference, interval, p, its correction, equivalence, effect, and what they decide."""
    _, runs, remade = study
    tables = sorted(remade.glob("*_tests.csv"))
    assert {path.stem.removesuffix("_tests") for path in tables} <= set(EXHIBITS)
    for path in tables:
        groups = defaultdict(dict)
        for row in rows_of(path):
            groups[row["metric"]][row["method"]] = row
        for metric, rows in groups.items():
            cells = scores(runs, path.stem, metric, ["nacl", *rows])
            check_tests(metric, rows, cells)


def test_tests_of_losses_treated_alike_agree(study):
    """Each treatment is a family of its own."""
    _, runs, remade = study
    families = defaultdict(dict)
    for row in rows_of(remade / "same_treatment.csv"):
        families[row["reference"], row["metric"]][row["method"]] = row
    for (reference, metric), rows in families.items():
        treatment = reference.partition("+")[2]
        assert {name.partition("+")[2] for name in rows} == {treatment}
        cells = scores(runs, "same_treatment", metric, [reference, *rows])
        check_tests(metric, rows, cells, reference)


def check_tests(metric, rows, cells, reference="nacl"):
    """All methods of one metric are corrected together."""
    sign = 1 if metric in (*HIGHER, *NEITHER) else -1
    p, equivalent, effect = {}, {}, {}
    for name in rows:
        found = compared(cells, reference, name)
        margin = margin_of(metric, cells[reference], cells[name])
        p[name] = difference_p(found, cells[name].shape[1])
        equivalent[name] = equivalent_p(found, margin)
        kept = [value for value in np.round(found[3], 6) if value]
        walsh = [a + b for a, b in combinations_with_replacement(kept, 2)]
        total = sum(np.sign(walsh))  # their signs add up to Wilcoxon's signed ranks
        effect[name] = sign * total / max(len(kept) * (len(kept) + 1) / 2, 1)
        written = [number(rows[name][key]) for key in ("difference", "low", "high", "margin")]
        assert written == pytest.approx([found[0], *interval(*found), margin], abs=2e-6)
    for name, row in rows.items():
        p_holm, p_equivalent = holm(p)[name], holm(equivalent)[name]
        written = [number(row[key]) for key in ("p", "p_holm", "p_equivalent", "effect")]
        assert written == pytest.approx([p[name], p_holm, p_equivalent, effect[name]], abs=2e-6)
        slightly = "slightly " if p_equivalent < 0.05 else ""
        decision = "equivalent" if slightly else "cannot tell"
        if p_holm < 0.05:
            directions = ("higher", "lower") if metric in NEITHER else ("better", "worse")
            decision = slightly + directions[int(effect[name] < 0)]
        assert row["decision"] == decision, (metric, name)


def test_ranks_agree(study):
    """Ranks of means, and of every patient and training; per metric and over the metrics."""
    _, runs, remade = study
    rows = rows_of(remade / "figure2.csv")
    methods = list(dict.fromkeys(row["method"] for row in rows))
    structures = [row["structure"] for row in rows_of(remade / "table1.csv")]
    names = {
        metric: [f"{metric}_{name}" for name in dict.fromkeys(structures) if name != "mean"]
        for metric in ("dice", "hd95")
    } | {metric: [metric] for metric in ("ece_foreground", "cece_foreground")}
    ranks = {"sum-rank": {}, "mean-case-rank": {}}
    for metric, columns in names.items():
        by_means, by_cells = [], []
        for column in columns:
            cells = np.stack([x.ravel() for x in scores(runs, "figure2", column, methods).values()])
            cells = np.round(-cells if metric in HIGHER else cells, 6)
            by_means.append(stats.rankdata(np.nanmean(cells, axis=1)))
            whole = cells[:, ~np.isnan(cells).any(axis=0)]
            by_cells.append(np.mean([stats.rankdata(cell) for cell in whole.T], axis=0))
        ranks["sum-rank"][metric] = np.mean(by_means, axis=0)
        ranks["mean-case-rank"][metric] = np.mean(by_cells, axis=0)
    for of_rule in ranks.values():
        of_rule["global"] = np.mean(list(of_rule.values()), axis=0)
    for row in rows:
        expected = ranks[row["rule"]][row["metric"]][methods.index(row["method"])]
        assert number(row["rank"]) == pytest.approx(expected, abs=2e-6), row

    claims = [row for row in rows_of(remade / "claims.csv") if row["metric"] in ranks]
    assert {row["metric"] for row in claims} == set(ranks)
    for row in claims:
        of_all = ranks[row["metric"]]["global"]
        assert number(row["rank"]) == pytest.approx(of_all[methods.index("nacl")], abs=2e-6)
        if len(methods) == 8:
            assert sum(of_all < number(row["rank"]) - 1e-6) >= 2  # two others are ahead of it
            assert row["verdict"] == "does not hold"


def test_verdicts_of_claims_agree(study):
    """Better than each of the paper's six rivals, trained or not, and than the controls."""
    _, folder, remade = study
    decided = 0
    for row in rows_of(remade / "claims.csv"):
        if row["claim"].startswith("better calibrated") and row["other"]:
            rivals = ["dice_ce", "focal", "ecp", "label_smoothing", "svls", "mbls"]
            if row["source"] == "control":
                rivals = ["dice_ce" if "CE+DSC" in row["claim"] else "cross_entropy"]
            if row["claim"].endswith("with a temperature"):
                rivals = [f"{rivals[0]}+temperature_{region}" for region in ("all", "union")]
            runs = [run.name.partition("_")[2] for run in folder.iterdir()]
            trained = [name for name in rivals if f"{name.partition('+')[0]}_seed0" in runs]
            cells = scores(folder, "claims", row["metric"], ["nacl", *trained])
            p, equivalent, gaps = {}, {}, {}
            for name in trained:
                found = compared(cells, "nacl", name)
                margin = margin_of(row["metric"], cells["nacl"], cells[name])
                gaps[name], p[name] = found[0], difference_p(found, cells[name].shape[1])
                equivalent[name] = equivalent_p(found, margin)
            better = sum(holm(p)[name] < 0.05 and gaps[name] < 0 for name in trained)
            against = sum(
                (holm(p)[name] < 0.05 and gaps[name] > 0)
                or (holm(p)[name] >= 0.05 and holm(equivalent)[name] < 0.05)
                for name in trained
            )
            verdict = "does not hold" if against else "cannot tell"
            verdict = "holds" if better == len(rivals) else verdict
            written = row["verdict"], number(row["for"]), number(row["against"])
            assert written == (verdict, better, against)
            decided += 1
    assert decided


PENALTIES = pytest.mark.parametrize(
    "results",
    sorted(path.parent for path in RESULTS.rglob("numbers.csv")),
    ids=lambda path: path.relative_to(RESULTS).as_posix(),
)


@PENALTIES
def test_penalty_s_table_and_tests_are_made_again(results, tmp_path):
    """From the committed cases, bins and what evaluations said."""
    evaluated = results / "evaluated.csv"
    written = comparison.written(
        pd.read_csv(results / "cases.csv"),
        leading_of(results),
        pd.read_csv(evaluated) if evaluated.exists() else pd.DataFrame(),
        tmp_path,
    )
    for path in written:
        if path.suffix == ".npz":
            assert_same_sums(path, results / path.name)
        else:
            assert_same_text(path, results / path.name)


def leading_of(results):
    """The arrays of a study whose bins were kept."""
    file = results / "leading.npz"
    return dict(np.load(file)) if file.exists() else {}


def test_settings_page_is_made_again(tmp_path):
    """From the committed trainings, of every setting that the study has."""
    results = RESULTS / "hippocampus/penalty"
    trained = pd.read_csv(results / "settings.csv")

    assert set(trained["setting"]) == set(SETTINGS)
    (tmp_path / "settings.md").write_text(page(trained), encoding="utf-8")
    assert_same_text(tmp_path / "settings.md", results / "settings.md")


def people_of(results):
    """{(metric, method): {(patient, seed): values of their cases}} of ``cases.csv``."""
    found = defaultdict(lambda: defaultdict(list))
    for row in rows_of(results / "cases.csv"):
        for name in comparison.MEANS:
            key = row["patient"], int(row["seed"])
            found[name, row["method"]][key].append(number(row[name]))
    return found


@PENALTIES
def test_penalty_s_means_agree(results):
    """Over people, each the mean of their cases; what leads is of all cases together."""
    found, led = people_of(results), led_by(leading_of(results))
    for row in rows_of(results / "numbers.csv"):
        for name in comparison.MEANS:
            values = found[name, row["method"]]
            people = [mean(values[key]) for key in values if key[1] == int(row["seed"])]
            assert number(row[name]) == pytest.approx(mean(people), abs=2e-6), row
        for name in {key[0] for key in led}:
            _, shown = led[name, row["method"], int(row["seed"])]
            assert number(row[name]) == pytest.approx(shown, abs=2e-6), row


@PENALTIES
def test_penalty_s_tests_agree(results):
    """Each treatment is a family."""
    found, led = people_of(results), led_by(leading_of(results))
    families = defaultdict(dict)
    for row in rows_of(results / "tests.csv"):
        families[row["family"], row["reference"], row["metric"]][row["method"]] = row
    assert families
    for (family, reference, metric), rows in families.items():
        if family != "choice" and not family.startswith("behind"):
            assert {name.partition("+")[2] for name in rows} == {reference.partition("+")[2]}
        cells = {name: cells_of(metric, name, found, led) for name in (reference, *rows)}
        check_tests(metric, rows, cells, reference)


def cells_of(metric, method, found, led):
    """An array (patients, seeds); of what leads, the pseudo-values."""
    if metric in {key[0] for key in led}:
        return np.array([led[key][0] for key in sorted(led) if key[:2] == (metric, method)]).T
    values = found[metric, method]
    patients, seeds = (sorted({key[k] for key in values}) for k in (0, 1))
    return np.array([[mean(values[p, s]) for s in seeds] for p in patients])


def led_by(arrays):
    """{(number, method, seed): (pseudo-values of people, the number)} of ``leading.npz``."""
    if not arrays:
        return {}
    people, found = sorted(set(arrays["patients"])), {}
    member = np.array([arrays["patients"] == name for name in people], dtype=float)
    for k, (method, seed) in enumerate(zip(arrays["methods"], arrays["seeds"], strict=True)):
        parts = {
            "ece_near": (arrays["confidences"][k] - arrays["positives"][k], arrays["counts"][k]),
            "contour_misses": [
                np.where(arrays["predicted"][k] > 0, arrays[name][k], 0)[..., None]
                for name in ("missed", "labeled")
            ],
        }
        if "promised" in arrays:
            parts["promised_size"] = [arrays[f"promised{end}"][k][..., None] for end in ("", "_of")]
        for name, (above, below) in parts.items():
            if name != "promised_size":  # which is of people, as it is kept
                above, below = (np.tensordot(member, part, 1) for part in (above, below))
            folded = np.abs if name == "ece_near" else np.asarray

            def value(weights, above=above, below=below, folded=folded):
                tops, bottoms = np.tensordot(weights, above, 1), np.tensordot(weights, below, 1)
                return np.mean(folded(tops).sum(-1) / bottoms.sum(-1))

            everyone = np.ones(len(people))
            raw = shown = value(everyone)
            if name == "ece_near":  # less the bias of noise
                rng = np.random.default_rng(0)
                drawn = rng.multinomial(len(people), everyone / len(people), 2000)
                shown = max(0, 2 * raw - np.mean([value(weights) for weights in drawn]))
            without = [value(everyone - person) for person in np.eye(len(people))]
            pseudo = len(people) * raw - (len(people) - 1) * np.array(without)
            found[name, str(method), int(seed)] = pseudo - pseudo.mean() + shown, shown
    return found
