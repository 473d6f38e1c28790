"""What is shown beside a promise: who fails in groups, a promise of each group, and fewer patients."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, norm

from nacl_monai.promises import applied, fit, read_curves, read_promise
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control, by_patient
from nacl_monai.promises.rules import by_group, by_number, p_of_group
from tests.promises.test_commands import chances, refusal, run

NAMES = [f"p{max(k - 2, 0):02d}" for k in range(26)]  # three scans of the first
SITES = {name: "A" if int(name[1:]) < 6 else "B" for name in NAMES}
MISS = 0.04


@pytest.fixture(scope="module")
def curves():
    """Discs with a label whose border is drawn nearby, farther away in site A."""
    rng = np.random.default_rng(4)
    place = np.stack(np.meshgrid(*[np.arange(20)] * 2, indexing="ij"), -1) - 9.5
    away = rng.uniform(3, 8, (26, 1, 1)) - np.linalg.norm(place, axis=-1)
    spread = np.array([3 if SITES[name] == "A" else 1 for name in NAMES])
    labels = away + spread[:, None, None] * rng.normal(0, 1, (26, 1, 1)) > 0
    labels[:, 9:11, 9:11] = True  # everybody has it
    inside = norm.cdf(away).astype(np.float32)
    return curves_of_arrays(np.stack([1 - inside, inside], 1), labels.astype(int), patients=NAMES)


@pytest.mark.parametrize("control", [Control(0.2, miss=MISS), Control(0.2, "mean")])
def test_groups_are_asked_by_the_promise_as_it_was_made(curves, control):
    """The share of each group's patients of whom a case misses too much, or what they miss."""
    kept = next(k for k in fit(curves, [control]).kept if k.kind == "outer")
    hits = of_contour(curves, kept, curves.hits) / curves.hits[:, 0, 0, -1]
    misses = pd.Series(1 - hits).groupby(NAMES)
    risks = misses.max() > MISS if control.kind == "each" else misses.mean()
    volumes = pd.Series(curves.predicted_volumes[:, 0]).groupby(NAMES).mean()

    table = by_group(curves, [control], {"site": SITES}).query("kind == 'outer'")

    rows = table.set_index(["group", "value"])
    assert rows["patients"].tolist() == [8, 8, 8, 6, 18]
    for site in ("A", "B"):
        members = [name for name in risks.index if SITES[name] == site]
        assert rows.loc[("site", site), "risk"] == pytest.approx(risks[members].mean())
    smallest = volumes.sort_values().index[:8]
    (third,) = (value for _, value in rows.index if value.startswith("smallest"))
    assert third == f"smallest third, to {volumes[smallest[-1]]:.3g} ml"
    assert rows.loc[("predicted volume", third), "risk"] == pytest.approx(risks[smallest].mean())
    if control.kind == "each":  # who fails is asked, and how many is known
        assert rows.loc["site", "fail"].sum() == control.may_fail(24) == risks.sum()


def test_p_of_a_group_is_that_of_all_divisions_in_a_loop():
    """As many failures or more, or as much loss; the least p is what the sum allows."""
    losses = np.array([1.0, 1, 0, 0, 0, 1, 0])
    members = np.array([1, 1, 0, 0, 1, 0, 0], bool)
    sums = [losses[list(part)].sum() for part in combinations(range(7), 3)]

    assert p_of_group(losses, members) == pytest.approx(np.mean(np.array(sums) >= 2))
    smooth = losses * 0.5 + np.arange(7) / 20
    sums = [smooth[list(part)].sum() for part in combinations(range(7), 3)]
    expected = np.mean(np.array(sums) >= smooth[members].sum() - 1e-9)
    # Chance, of drawn permutations.
    assert p_of_group(smooth, members) == pytest.approx(expected, abs=0.02)
    assert p_of_group(losses, np.ones(7, bool)) == pytest.approx(1)


@pytest.mark.parametrize("number", [19, 39, 60])
def test_p_of_a_group_is_small_as_often_as_it_says(number):
    """By construction over random groups; and small where all who fail are in one group."""
    rng, control = np.random.default_rng(0), Control(0.1)
    losses = (np.arange(number) < control.may_fail(number)).astype(float)
    members = np.arange(number) < number // 3

    p = [p_of_group(rng.permutation(losses), members) for _ in range(1000)]

    for level in (0.05, 0.2):
        assert binomtest(int((np.array(p) <= level).sum()), 1000, level, "greater").pvalue > 0.001
    assert (p_of_group(losses, members) < 0.05) == (number >= 39)  # one who fails says nothing


def test_sizes_by_number_are_those_of_drawn_patients(curves):
    """In a loop over the same draws; 7 of 24 is between 4, that it takes, and 9, when one may fail."""
    control = Control(0.2, miss=MISS)
    people = sorted(set(NAMES))

    rows = by_number(curves, control, draws=3)

    assert [row[0] for row in rows] == ["4", "7", "9", "12", "19", "23", "24"]
    assert [row[1] for row in rows[:3]] == ["0", "0", "1"]
    assert rows[-1][-1] == "–"
    for number, _, law, size in rows[:-1]:
        rng, parts = np.random.default_rng(0), []
        for order in [rng.permutation(24) for _ in range(3)]:
            drawn = {people[k] for k in order[: int(number)]}
            kept = fit(curves.chosen(drawn), [control], compare=False).kept[0]
            rest = curves.chosen({*people} - drawn)
            parts += [*whole(rest, kept) / by_patient(rest.volumes[:, 0], rest.patients)]
        assert size == f"{np.mean(parts):.2f}"
        low, high = control.law(int(number))
        assert law == f"{round(100 * low)} to {round(100 * high)}%"


def of_contour(curves, kept, counts):
    """What is counted in each contour with the thresholds of a promise."""
    thresholds = np.array(curves.definition["logits"])
    grid = np.array([0, *(1 / (1 + np.exp(-np.linspace(*thresholds[:2], int(thresholds[2]))))), 2])
    places = [int(abs(grid - value).argmin()) for value in kept.values]
    shells = np.diff(counts[:, 0], axis=-1, prepend=0)
    return sum(shells[:, place, margin] for margin, place in enumerate(places))


def whole(curves, kept):
    """The volume of each patient's contours, the mean over their cases."""
    voxels = of_contour(curves, kept, curves.counts)
    return by_patient(voxels * curves.voxel_ml[:, 0], curves.patients)


def by_site(curves, root, sites=SITES):
    """The words by which each site is promised its own, by sums and a table below a folder."""
    file, table = curves.write(root / "promise.npz"), root / "groups.csv"
    table.write_text("patient,site\n" + "".join(f"{name},{sites[name]}\n" for name in sites))
    return ["promise", file, "--no-pictures", "--groups", table, "--by-group", "site"]


def test_each_group_promises_by_its_own_patients(curves, tmp_path, capsys):
    """As if there were no others; a group of too few promises nothing, and it is said."""
    output = run(tmp_path / "promise", *by_site(curves, tmp_path), "--level", 0.1)

    alone = curves.chosen({name for name, site in SITES.items() if site == "B"})
    promised = read_promise(output / "site_B")
    assert [*promised.kept] == [*fit(alone, [Control(0.1)], compare=False).kept]
    assert (promised.group, len(promised.patients)) == ("site B", 18)
    assert read_curves(output / "site_B").patients == alone.patients
    assert not (output / "site_A").exists()
    text = capsys.readouterr().out
    assert "note: site A: 6 patients are too few to promise 0.1; it takes 9, and 19" in text
    assert "site B, 18 patients:\n- In 9 of 10 patients at most 10% of class_1" in text
    groups = pd.read_csv(output / "groups.csv")
    assert set(groups["group"]) == {"predicted volume", "site"}
    page = (output / "page.html").read_text(encoding="utf-8")
    assert page.count("<td>site: ") == 2
    assert '<th scope="row">9</th>' in page


def test_group_in_which_nobody_has_the_structure_promises_what_needs_none(tmp_path):
    """It is read as it was written, and applied; the other group has its outer contour."""
    probs, labels = chances(24, 6, 6, low=0.1, high=0.9)
    labels[:12] = 0
    sites = {f"p{k:02d}": "AB"[k // 12] for k in range(24)}
    halves = curves_of_arrays(probs, labels, patients=list(sites))
    run(tmp_path / "promise", *by_site(halves, tmp_path, sites), "--level", "0.2")

    for site, kinds in {"A": set(), "B": {"outer"}}.items():
        promised = read_promise(tmp_path / f"promise/site_{site}")
        assert {kept.kind for kept in promised.kept} == {"inner", "volume", "dice"} | kinds
        text = (tmp_path / f"promise/site_{site}/promise.json").read_text()
        assert not {"nan", "Infinity"} & {*text.split()}
        (result,) = applied(promised, 0.9 * probs[0] + 0.05, (1.0, 1.0))
        assert {*result.contours} == {"inner"} | kinds


def test_group_must_be_enough_for_every_level(curves, tmp_path, capsys):
    """Six patients are, for 0.3 alone."""
    args = [*by_site(curves, tmp_path), "--level"]
    for levels, promised in (([0.1, 0.3], ["site_B"]), ([0.3], ["site_A", "site_B"])):
        output = run(tmp_path / str(levels), *args, *levels)
        assert sorted(folder.name for folder in output.glob("site_*")) == promised
        few = "site A: 6 patients are too few to promise 0.1; it takes 9"
        assert (few in capsys.readouterr().out) == (len(promised) == 1)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--by-group", "site"], "--by-group: 'site' is no column; give its table with --groups"),
        (["--groups", "T", "--by-group", "sex"], "'sex' is no column; choose from site"),
        (["--groups", "T", "--by-group", "site"], "'../x' leads to another folder"),
    ],
)
def test_column_that_names_no_folders_is_refused(curves, tmp_path, capsys, args, line):
    """Before anything is written."""
    command = by_site(curves, tmp_path, dict.fromkeys(SITES, "../x"))
    args = [command[4] if word == "T" else word for word in args]

    assert line in refusal([*command[:2], *args, "--output", tmp_path / "p"], capsys)
    assert not (tmp_path / "p").exists()
