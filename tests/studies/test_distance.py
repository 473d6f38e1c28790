"""The page of the distance shows what its people say, by NumPy and SciPy alone."""

import re
from collections import defaultdict

import numpy as np
import pytest
import torch
from scipy.stats import t, wilcoxon

from studies.distance.tested import DIFFERENCES, LED, mean_logits
from tests.studies.pages import RESULTS as ROOT
from tests.studies.pages import rows_of, table_behind
from tests.studies.test_committed import led_by

RESULTS = ROOT / "hippocampus/distance"
SCORES = ("nll_all", "brier_all")
NETWORKS = {
    "CE+DSC, half resolution": "unet_dice_ce_seed0@half",
    "CE+DSC, third epoch": "unet_dice_ce_epoch3_seed0",
    "CE+DSC": "unet_dice_ce_seed0",
    "CE": "unet_cross_entropy_seed0",
    "DSC++": "unet_dice_plus_plus_seed0",
    "marks too much": "unet_tversky_over_seed0",
    "marks too little": "unet_tversky_under_seed0",
    "NACL, no center": "unet_nacl_include_center=False_seed0",
    "NACL": "unet_nacl_seed0",
}
ACDC = {
    "marks too much, half resolution": "acdc_unet_tversky_over_epoch8_seed0@half",
    "marks too much": "acdc_unet_tversky_over_epoch8_seed0",
    "CE+DSC": "acdc_unet_dice_ce_epoch8_seed0",
    "NACL": "acdc_unet_nacl_epoch8_seed0",
}
THREE_D = {"marks too much, 3-D": "unet3d_tversky_over_seed0"}
SIDES = {
    "hippocampus": (RESULTS / "sides", NETWORKS),
    "hippocampus, 3-D": (RESULTS / "sides/three_d", THREE_D),
    "ACDC": (ROOT / "acdc/distance/sides", ACDC),
}
#: Two other trainings of some of them.
AGAIN = (
    RESULTS / "sides/trainings",
    {
        f"{shown}, {nth}": f"unet_{network}_seed{seed}"
        for shown, network in {
            "DSC++": "dice_plus_plus",
            "marks too much": "tversky_over",
            "marks too little": "tversky_under",
            "NACL, no center": "nacl_include_center=False",
        }.items()
        for seed, nth in enumerate(("second", "third"), 1)
    },
)


LONGER = (
    ROOT / "acdc/distance/sides/twenty_epochs",
    {
        "marks too much": "acdc_unet_tversky_over_epoch20_seed0",
        "NACL": "acdc_unet_nacl_epoch20_seed0",
    },
)


def people():
    """{(run, calibrator, score): scores of people, by name}."""
    found = defaultdict(list)
    for row in sorted(rows_of(RESULTS / "people.csv"), key=lambda row: row["person"]):
        for score in SCORES:
            found[row["run"], row["calibrator"], score].append(float(row[score]))
    return {key: np.array(values) for key, values in found.items()}


def shown(columns):
    """The cells of each row of the page's tables with these columns."""
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    for table in page.split(f"| {' | '.join(columns)} |")[1:]:
        for line in table.split("\n\n")[0].splitlines()[2:]:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def text(change):
    """Mean, bootstrap interval, count and p of differences of people."""
    drawn = np.random.default_rng(0).integers(0, len(change), (5000, len(change)))
    low, high = np.quantile(change[drawn].mean(1), [0.025, 0.975])
    return (
        f"{change.mean():+.4f} [{low:+.4f}, {high:+.4f}], lower in {(change < 0).sum()} of "
        f"{len(change)}, p = {wilcoxon(change).pvalue:.2g}"
    )


def test_differences_on_the_page_are_those_of_the_people():
    """Every pair of calibrators that the file has, in people, not cases."""
    known, rows = people(), list(shown(DIFFERENCES))
    pairs = {(run, name) for run, name, _ in known if name != "distance_all"}

    assert {(run, other.strip("`")) for run, other, *_ in rows} == pairs
    for run, other, *cells in rows:
        names = (other.strip("`"), "distance_all")
        compared = [[known[run, name, score] for name in names] for score in SCORES]
        assert cells[:2] == [f"{values.mean():.4f}" for values in compared[0]]
        assert cells[2:] == [text(distance - rest) for rest, distance in compared]


def test_what_leads_behind_a_model_is_that_of_its_bins():
    """Differences have Student's interval of the jackknife's pseudo-values of people."""
    known = led_by(dict(np.load(RESULTS / "people.npz")))
    rows = list(shown(LED))

    assert {f"{model}+{fitted.strip('`')}" for model, fitted, *_ in rows} == {k[1] for k in known}
    for model, fitted, *cells in rows:
        method = f"{model}+{fitted.strip('`')}"
        pairs = {"ece_near": cells[:2], "contour_misses": cells[2:]}
        for name, (value, change) in pairs.items():
            people, number = known[name, method, 0]
            assert value == f"{number:.3f}"
            if method.endswith("+distance_all"):
                assert not change
                continue
            gaps = known[name, f"{model}+distance_all", 0][0] - people
            half = t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5
            low, high = gaps.mean() - half, gaps.mean() + half
            assert change == f"{gaps.mean():.3f} [{low:.3f}, {high:.3f}]"


def test_what_no_contour_reaches_is_that_of_kept_volumes():
    """The share of the expected volume beyond the margin, on the page of metrics."""
    text = (ROOT.parent / "metrics.md").read_text(encoding="utf-8")
    near = []
    for place, sentence in {
        "hippocampus/distance": "it is {} to {} % on hippocampus",
        "hippocampus/distance/three_d": "{} to {} % there in 3-D",
        "acdc/distance": "{} to {} % on ACDC",
    }.items():
        kept = dict(np.load(ROOT / place / "leading.npz"))
        within, everywhere = (
            np.where(kept["predicted"] > 0, kept[name], 0).sum(1)
            for name in ("expected", "expected_everywhere")
        )
        beyond, methods = 100 * (1 - within / everywhere).mean(1), kept["methods"]
        means = {str(name): beyond[methods == name].mean() for name in np.unique(methods)}
        far = [share for name, share in means.items() if name.endswith("distance_all")]
        near += [share for name, share in means.items() if name.endswith("temperature_near")]
        assert sentence.format(f"{min(far):.1f}", f"{max(far):.1f}") in text
    sentence = f"fitted near the prediction, {min(near):.1f} to {max(near):.1f} %."
    assert sentence in " ".join(text.split())


@pytest.mark.parametrize("count", [1, 3])
def test_ensemble_is_the_mean_of_probabilities(count):
    generator = torch.Generator().manual_seed(0)
    logits = [5 * torch.randn(3, 4, 4, generator=generator) for _ in range(count)]
    expected = torch.stack([single.softmax(0) for single in logits]).mean(0)

    torch.testing.assert_close(mean_logits(logits).softmax(0), expected)


def test_gains_of_folds_and_seeds_are_those_of_the_people():
    """Five networks alone and together, by score; and how much more folds gain."""
    folder = RESULTS.parent / "folds"
    scores = defaultdict(dict)
    for row in rows_of(folder / "people.csv"):
        scores[row["run"]][row["person"]] = [float(row[score]) for score in SCORES]
    names = sorted(scores["five folds"])
    known = {run: np.array([people[name] for name in names]) for run, people in scores.items()}
    rows = {"five folds": "five folds, one seed", "five seeds": "one fold, five seeds"}
    page, gains = (folder / "README.md").read_text(encoding="utf-8"), {}
    for together, label in rows.items():
        folds = together == "five folds"
        members = [f"fold {k}, seed 0" if folds else f"fold 0, seed {k}" for k in range(5)]
        alone = np.mean([known[name] for name in members], 0)
        gains[together] = known[together] - alone
        cells = []
        for before, after, gain in zip(alone.T, known[together].T, gains[together].T, strict=True):
            cells += [f"{before.mean():.4f}", f"{after.mean():.4f}"]
            cells.append(text(gain).partition(", lower")[0])
        assert f"| {label} | {' | '.join(cells)} |" in page
    more = (gains["five folds"] - gains["five seeds"])[:, 0]
    assert text(more).startswith("-0.0016 [-0.0020, -0.0011], lower in 33 of 34")


@pytest.mark.parametrize(
    ("data", "number"), [("hippocampus", 3), ("ACDC", 2), ("again", 3), ("longer", 2)]
)
def test_what_two_curves_change_is_that_of_kept_people(data, number):
    """Each row of the page, for each network and for the means over networks, by sums over people."""
    folder, networks = {**SIDES, "again": AGAIN, "longer": LONGER}[data]
    scores = defaultdict(list)
    for row in rows_of(folder / "people.csv"):
        for network in (row["network"], "all networks"):
            key = network, row["fit"], row["calibrator"]
            scores[key].append((row["person"], float(row["nll_all"]), float(row["brier_all"])))
    text = (folder / "README.md").read_text(encoding="utf-8")
    heading = re.search(r"with\sWilcoxon's p, uncorrected:\n\n", text)[0]
    rows = table_behind(text, heading)

    assert len(rows) == number * (len(networks) + 1)
    for network, fit, shown, *cells in rows:
        before, after = (
            scores[networks.get(network, network), fit, calibrator]
            for calibrator in ("distance", "signed_distance")
        )
        people = sorted({person for person, *_ in before})
        one_curve, two_curves = (
            np.array([np.mean([x[1:] for x in part if x[0] == person], 0) for person in people])
            for part in (before, after)
        )
        assert shown == f"{one_curve[:, 0].mean():.4f}"
        for k, cell in enumerate(cells):
            change = (two_curves[:, k] - one_curve[:, k]).round(9)
            assert cell.startswith(f"{change.mean():+.4f} [")
            lower = f"lower in {(change < 0).sum()} of {len(change)}, p = "
            assert cell.endswith(f"{lower}{wilcoxon(change).pvalue:.2g}")


def test_rule_is_that_of_validation_people_whom_others_fit():
    """Changes of NLL by the mean over people, of each network, and over networks."""
    text = (RESULTS / "sides/README.md").read_text(encoding="utf-8")
    shown = table_behind(text, "## The rule", part=2)
    assert len(shown) == 1 + sum(len(networks) for _, networks in SIDES.values())
    changes = []
    for data, network, before, *cells in shown[:-1]:
        folder, networks = SIDES[data]
        of_network = defaultdict(list)
        for row in rows_of(folder / "people.csv"):
            if (row["network"], row["fit"]) == (networks[network], "others"):
                of_network[row["calibrator"]].append(float(row["nll_all"]))
        ridges = [f"signed_distance, ridge {ridge}" for ridge in (0.1, 0.01)]
        nll = [np.mean(of_network[name]) for name in ("distance", "signed_distance", *ridges)]
        changes.append([nll[0], *(100 * (value / nll[0] - 1) for value in nll[1:])])
        assert before == f"{nll[0]:.4f}"
        assert cells[:3] == [f"{change:+.1f}%" for change in changes[-1][1:]]
    means = np.mean(changes, 0)
    assert shown[-1][2:6] == [f"{means[0]:.4f}", *(f"{mean:+.1f}%" for mean in means[1:])]
    default, stronger, weaker = np.array(changes)[:, 1:].T
    assert stronger.max() < 0.2
    assert [(default > 0.2).sum(), round(default.max(), 2)] == [1, 0.22]
    assert [(weaker > 0.25).sum(), round(weaker.max(), 1)] == [3, 0.9]
    errors = np.array([[float(cell) for cell in row[6:]] for row in shown])
    # Errors have four decimals.
    assert errors[-1] == pytest.approx(errors[:-1].mean(0), abs=1e-4)


def test_contours_and_volumes_by_structure_are_those_of_kept_people():
    """Sums over people, by network, who fit, calibrator and structure; a slow loop."""
    with np.load(RESULTS / "sides/people.npz") as file:
        kept = dict(file)
    text = (RESULTS / "sides/README.md").read_text(encoding="utf-8")
    table = text.split("is off, from `people.npz`:\n\n")[1]
    calibrators = table.splitlines()[0].strip("| ").split(" | ")[3:]
    rows, off = table_behind(text, "is off, from `people.npz`:\n\n"), defaultdict(list)

    assert len(rows) == 2 * 2 * len(NETWORKS)
    for network, fit, structure, *cells in rows:
        k = ["anterior", "posterior"].index(structure)
        for calibrator, cell in zip(calibrators, cells, strict=True):
            (place,) = np.flatnonzero(kept["methods"] == f"{NETWORKS[network]}+{fit}+{calibrator}")
            predicted, missed, labeled, expected = (
                kept[name][place, :, k] for name in ("predicted", "missed", "labeled", "expected")
            )
            found = predicted > 0
            misses = missed[found].sum() / labeled[found].sum()
            bias = expected.sum() / labeled.sum() - 1
            assert cell == f"{misses:.1%}, {bias:+.1%}"
            off[calibrator].append(abs(bias))
    lower = np.less(off["signed_distance"], off["distance"]).sum()
    assert f"in {lower} of {len(rows)} rows of the next table" in text
    means = [100 * np.mean(off[name]) for name in ("signed_distance", "distance")]
    assert f"off by {means[0]:.1f} % in the mean" in text
    assert f"leaves {means[1]:.1f} %;" in text
