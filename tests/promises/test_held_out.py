"""What held-out patients say: in groups, by a promise of each group, and with fewer patients."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from nacl_monai.cli import main
from nacl_monai.promises import fit, read_curves, read_promise
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control, by_patient
from nacl_monai.promises.held_out import held_out_groups, held_out_misses, sizes_by_number

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
    inside = norm.cdf(away).astype(np.float32)
    return curves_of_arrays(np.stack([1 - inside, inside], 1), labels.astype(int), patients=NAMES)


@pytest.mark.parametrize("control", [Control(0.2, miss=MISS), Control(0.2, "mean")])
def test_groups_are_asked_as_all_held_out_patients_are(curves, control):
    """The share of each group's patients of whom a case misses too much, or what they miss."""
    misses = pd.Series(held_out_misses(curves, 0, control, "within")).groupby(NAMES)
    risks = misses.max() > MISS if control.kind == "each" else misses.mean()
    volumes = pd.Series(curves.predicted_volumes[:, 0]).groupby(NAMES).mean()

    table = held_out_groups(curves, [control], {"site": SITES}).query("kind == 'outer'")

    rows = table.set_index(["group", "value"])
    assert rows["patients"].tolist() == [8, 8, 8, 6, 18]
    for site in ("A", "B"):
        members = [name for name in risks.index if SITES[name] == site]
        assert rows.loc[("site", site), "risk"] == pytest.approx(risks[members].mean())
    smallest = volumes.sort_values().index[:8]
    (third,) = (value for _, value in rows.index if value.startswith("smallest"))
    assert third == f"smallest third, to {volumes[smallest[-1]]:.3g} ml"
    assert rows.loc[("predicted volume", third), "risk"] == pytest.approx(risks[smallest].mean())


def wilson(share, n):
    """The interval by its formula."""
    z = norm.isf(0.025)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return [(share + z**2 / (2 * n) + sign * half) / (1 + z**2 / n) for sign in (-1, 1)]


def test_interval_of_a_share_of_patients_is_wilson_s(curves):
    """Which is no point where nobody fails."""
    table = held_out_groups(curves, [Control(0.2, miss=MISS)], {"site": SITES})

    for row in table.to_dict("records"):
        ends = [row["low"], row["high"]]
        assert ends == pytest.approx(wilson(row["risk"], row["patients"]), abs=1e-9)
        assert row["low"] < row["high"]


def test_sizes_by_number_are_those_of_drawn_patients(curves):
    """In a loop over the same draws."""
    control = Control(0.2, miss=MISS)
    people = sorted(set(NAMES))

    found = sizes_by_number(curves, control, draws=3)

    assert [*found] == [4, 9, 12, 19, 23]
    for number, (size,) in found.items():
        rng, parts = np.random.default_rng(0), []
        for order in [rng.permutation(24) for _ in range(3)]:
            drawn = {people[k] for k in order[:number]}
            kept = fit(curves.chosen(drawn), [control], check=False).kept[0]
            rest = curves.chosen({*people} - drawn)
            parts.append((whole(rest, kept), by_patient(rest.volumes[:, 0], rest.patients).sum()))
        outer, labeled = np.sum(parts, 0)
        assert size == pytest.approx(outer / labeled)


def whole(curves, kept):
    """The volume of all contours with the thresholds of a promise, a patient as the mean of cases."""
    thresholds = np.array(curves.definition["logits"])
    grid = np.array([0, *(1 / (1 + np.exp(-np.linspace(*thresholds[:2], int(thresholds[2]))))), 2])
    places = [int(abs(grid - value).argmin()) for value in kept.values]
    shells = np.diff(curves.counts[:, 0], axis=-1, prepend=0)
    voxels = sum(shells[:, place, margin] for margin, place in enumerate(places))
    return by_patient(voxels * curves.voxel_ml[:, 0], curves.patients).sum()


def test_each_group_promises_by_its_own_patients(curves, tmp_path, capsys):
    """As if there were no others; a group of too few promises nothing, and it is said."""
    file = curves.write(tmp_path / "promise.npz")
    table = tmp_path / "groups.csv"
    table.write_text("patient,site\n" + "".join(f"{name},{site}\n" for name, site in SITES.items()))
    args = ["promise", file, "--groups", table, "--by-group", "site", "--no-pictures"]
    output = tmp_path / "promise"

    assert main([*map(str, [*args, "--level", 0.1, "--output", output])]) == 0

    alone = curves.chosen({name for name, site in SITES.items() if site == "B"})
    promised = read_promise(output / "site_B")
    assert [*promised.kept] == [*fit(alone, [Control(0.1)], check=False).kept]
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
    assert "<td>9</td>" in page


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
    file, table = curves.write(tmp_path / "promise.npz"), tmp_path / "groups.csv"
    table.write_text("patient,site\n" + "".join(f"{name},../x\n" for name in SITES))
    args = [str(table) if word == "T" else word for word in args]

    assert main(["promise", str(file), *args, "--output", str(tmp_path / "p")]) in (1, 2)

    assert line in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
