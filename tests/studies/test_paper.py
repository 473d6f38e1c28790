"""What the committed results say of the paper: claims, verdicts, and the archive of small files."""

import hashlib
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from nacl_monai.evaluations import read_run
from nacl_monai.paper import EXHIBITS, read_results, write_exhibit
from nacl_monai.paper.grid import PAPER_LOSSES, method, read_method
from nacl_monai.paper.ranking import RULES
from studies.paper.__main__ import main
from studies.paper.claims import (
    CANNOT_TELL,
    FAILS,
    HOLDS,
    NO_RUN,
    NOT_TESTED,
    Claim,
    claims,
    claims_to_markdown,
    judge_claims,
    judge_comparisons,
)
from studies.paper.verdicts import verdict
from tests.same import same_bits

RIVALS = ["dice_ce", "focal", "svls"]


def comparisons(*decisions, differences=None, trainings=3):
    """Paired tests of NACL against as many others."""
    differences = np.array(differences or [0.01 * k for k in range(len(decisions))])
    table = {"reference": "nacl", "other": RIVALS[: len(decisions)], "difference": differences}
    table |= {"low": differences - 0.01, "high": differences + 0.01, "decision": decisions}
    return pd.DataFrame({**table, "patients": 20, "trainings": trainings})


def judged(decisions, exhibit="table2", trainings=3, rivals=3, **options):
    pairs = (("nacl", tuple(RIVALS[:rivals])),)
    claim = Claim("4.2", "better", exhibit, ("ece_foreground",), pairs, **options)
    return judge_comparisons(claim, comparisons(*decisions, trainings=trainings), -1)["verdict"]


@pytest.mark.parametrize(
    ("decisions", "exceptions", "expected"),
    [
        (("better", "slightly better", "better"), 0, HOLDS),
        (("better", "cannot tell", "better"), 0, CANNOT_TELL),
        (("better", "too few patients", "better"), 0, CANNOT_TELL),
        (("better", "equivalent", "better"), 0, FAILS),
        (("better", "worse", "cannot tell"), 0, FAILS),
        (("better", "slightly worse", "better"), 0, FAILS),
        (("better", "worse", "better"), 1, HOLDS),
        (("better", "cannot tell", "better"), 1, HOLDS),
        (("better", "worse", "cannot tell"), 1, CANNOT_TELL),
        (("better", "worse", "equivalent"), 1, FAILS),
        (("better", "better"), 0, CANNOT_TELL),  # a rival without a run is undecided
        (("worse",), 1, CANNOT_TELL),
        (("better", "better"), 1, HOLDS),
        (("worse",), 0, FAILS),
    ],
)
def test_claim_is_judged_by_all_its_comparisons(decisions, exceptions, expected):
    """What is decided otherwise is against it, what is undecided leaves it open."""
    assert judged(decisions, exceptions=exceptions) == expected


@pytest.mark.parametrize("decision", ["better", "worse", "equivalent"])
def test_ablation_of_fewer_than_three_trainings_decides_nothing(decision):
    """Another training may say the opposite; the main tables speak of their weights."""
    for trainings in (1, 2):
        assert judged([decision], exhibit="table4", trainings=trainings, rivals=1) == CANNOT_TELL
    assert judged([decision], exhibit="table4", trainings=3, rivals=1) != CANNOT_TELL
    assert judged([decision], exhibit="table2", trainings=1, rivals=1) != CANNOT_TELL


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        *(("equivalent", HOLDS), ("slightly worse", HOLDS)),
        *(("cannot tell", CANNOT_TELL), ("worse", FAILS)),
    ],
)
def test_no_loss_is_shown_by_equivalence_and_not_by_a_missing_difference(decision, expected):
    """Else small data would prove it."""
    claim = next(claim for claim in claims() if "no loss" in claim.text)

    assert judge_comparisons(claim, comparisons(decision), 1)["verdict"] == expected


@pytest.mark.parametrize(("direction", "least"), [(1, "focal"), (-1, "svls")])
def test_least_favorable_comparison_is_shown(direction, least):
    """The lowest difference where high is good, the highest where low is good."""
    tests = comparisons("better", "worse", "better", differences=[0.0, -0.02, 0.03])
    claim = Claim("", "", "table2", pairs=(("nacl", tuple(RIVALS)),))
    row = judge_comparisons(claim, tests, direction)

    assert row["other"] == least
    assert row["low"] < row["difference"] < row["high"]
    assert (row["for"], row["against"], row["undecided"]) == (2, 1, 0)


class Chosen:
    """What judging asks of runs: one training of every method, 6 patients and their DSC."""

    folders: ClassVar = {"one": "run"}
    datasets: ClassVar = ["acdc"]
    methods = ()

    def __init__(self, scores):
        self.scores = scores

    def select(self, *_, **__):
        return self

    def cases(self, _):
        frames = [
            pd.DataFrame({"method": name, "patient": range(6), "dice": dice})
            for name, dice in self.scores.items()
        ]
        return pd.concat(frames, ignore_index=True).assign(seed=0, network="unet", fraction=1.0)


def test_comparisons_with_several_references_are_one_family():
    """All 6 patients of one sign are p = 2 / 2⁶ = 0.03, and three times that is above 5 %."""
    mixed = [0.2, -0.2, 0.2, -0.2, 0.2, -0.2]
    gaps = {1: [-0.1, -0.11, -0.12, -0.13, -0.14, -0.15], 2: mixed, 3: mixed}

    def row_of(sigmas):
        scores = {}
        for sigma in sigmas:
            scores[method("svls", sigma=float(sigma)).name] = [0.5] * 6
            name = method("nacl", prior="gaussian", sigma=float(sigma)).name
            scores[name] = [0.5 + gap for gap in gaps[sigma]]
        table = judge_claims(Chosen(scores))
        return table[table["claim"] == "better than SVLS with the same σ"].iloc[0]

    alone, together = row_of([1]), row_of([1, 2, 3])
    assert (alone["against"], alone["undecided"]) == (1, 2)
    assert (together["against"], together["undecided"]) == (0, 3)


@pytest.mark.parametrize(
    ("wins", "expected"), [(1.0, HOLDS), (0.95, CANNOT_TELL), (0.05, CANNOT_TELL), (0.0, FAILS)]
)
def test_first_rank_is_judged_by_the_draws_in_which_it_is_first(grid, monkeypatch, wins, expected):
    """Few draws rule it out, and only nearly all of them make it certain."""
    results = EXHIBITS["figure2"].select(read_results([grid]), datasets=["hippocampus"])
    columns = {"rank": 1.0, "low": 1.0, "high": 2.0, "wins": wins}
    ranks = pd.DataFrame({"method": PAPER_LOSSES, **columns})
    ranks = ranks.assign(metric="global").merge(pd.DataFrame({"rule": RULES}), how="cross")

    def verdicts(ranks):
        monkeypatch.setattr("studies.paper.claims.rank_table", lambda _: ranks)
        judged = judge_claims(results)
        return set(judged.loc[judged["claim"].str.startswith("first by both"), "verdict"])

    assert verdicts(ranks) == {expected}
    of_fewer = ranks[ranks["method"] != "svls"]  # a rival without a run is undecided
    assert verdicts(of_fewer) == {CANNOT_TELL if expected == HOLDS else expected}


def test_every_claim_has_a_row_and_a_line(grid):
    """With runs, without, and those that no test decides; all names are of the menu."""
    results = read_results([grid])
    table = judge_claims(results)
    verdicts = table.set_index("claim")["verdict"]

    assert set(table["claim"]) == {claim.text for claim in claims()}
    for claim in claims():
        assert not claim.exhibit or claim.exhibit in EXHIBITS
        for reference, rivals in claim.pairs:
            assert all(read_method(name).name == name for name in (reference, *rivals))
    assert verdicts["a restricted range of logits (figures 4 and 5, without people)"] == NOT_TESTED
    alone = judge_claims(EXHIBITS["table2"].select(results)).set_index("claim")["verdict"]
    assert alone["L1 is better calibrated than L2"] == NO_RUN
    for text, exhibit in (("whatever the network", "figure8"), ("fewer patients", "figure9")):
        rows = table[table["claim"].str.contains(text) & table["setting"].notna()]
        folders = EXHIBITS[exhibit].select(results).folders
        setups = {(e.setup.network, e.setup.fraction) for e in folders}
        assert 0 < rows["setting"].nunique() <= len(setups)
    lines = claims_to_markdown(table).splitlines()
    assert len([line for line in lines if line.startswith("|")]) == 2 + len(table)
    assert not re.search(r"\bnan\b", "\n".join(lines))
    assert "5 % of the value of the first method, 0.01 of DSC" in lines[-1]


def rewrite(grid, name, **values):
    """Gives a run other means; what they follow from goes."""
    path = grid / "hippocampus" / name / "evaluation" / "cases.csv"
    table = pd.read_csv(path, dtype={"case": str, "patient": str}).assign(**values)
    structures = table.filter(regex="^(dice|hd95)_").columns
    table.assign(patient=table["case"]).drop(columns=structures).to_csv(path, index=False)
    path.with_name("bins.npz").unlink()


SIX = np.arange(1, 7) / 100


@pytest.mark.parametrize(
    ("nacl", "other", "text"),
    [
        (
            {"dice": 0.7, "ece_foreground": 0.05},
            {"dice": 0.8 + SIX, "ece_foreground": 0.1 + SIX},
            "On Hippocampus, NACL's ECE is 0.050, best of 2: better than CE+DSC. Its DSC is 0.700, "
            "second of 2: worse than CE+DSC. The data: 6 test patients, one training per method, so "
            "another training may differ.",
        ),
        (
            {"dice": 0.7, "ece_foreground": 0.05},
            {"dice": 0.7, "ece_foreground": [0.5, 0.0, 0.3, 0.0, 0.3, 0.0]},
            "best of 2: not told apart from CE+DSC. Its DSC is 0.700, best of 2: as good as CE+DSC.",
        ),
    ],
    ids=["decided", "undecided"],
)
def test_verdict_says_what_the_tests_say(grid_copy, nacl, other, text):
    """Six patients of one sign are p = 2/2⁶ < 5 %; scores that scatter decide nothing."""
    rewrite(grid_copy, "unet_nacl_seed0", **nacl)
    rewrite(grid_copy, "unet_dice_ce_seed0", **other)
    chosen = EXHIBITS["table1"].select(read_results([grid_copy]))

    assert text in verdict(chosen, "hippocampus")


def test_verdict_on_a_method_alone_and_on_other_seeds(grid_copy):
    """It is better than nobody; a method without a common seed is named and not among the others."""
    results = read_results([grid_copy])
    for loss, text in (("dice_ce", "no run of NACL to judge."), ("nacl", "nothing beside it")):
        assert text in verdict(EXHIBITS["table1"].select(results, losses=[loss]), "acdc")
    shutil.rmtree(grid_copy / "acdc/unet_nacl_seed0")
    text = verdict(EXHIBITS["table1"].select(read_results([grid_copy])), "acdc")
    assert text.count("CE+DSC, not compared with SVLS.") == 2
    assert "every other method" not in text


@pytest.fixture
def collect(tmp_path):
    """Packs runs; returns the archive, and the names of its runs with their files."""

    def pack(*roots, output="small.tar.xz"):
        archive = tmp_path / output
        assert main(["collect", *map(str, roots), "--output", str(archive)]) == 0
        with tarfile.open(archive) as members:
            return archive, [member.removeprefix("runs/") for member in members.getnames()]

    return pack


@pytest.mark.nightly
def test_packed_files_make_the_same_tables_and_figures(grid, collect, tmp_path):
    """Byte for byte; packed again, they are the same archive."""
    small, _ = collect(grid / "acdc")

    for name in ("table1", "table3", "figure10", "figure4", "figure5", "figure11"):
        write_exhibit(name, [grid / "acdc"], tmp_path / "direct")
        for path in write_exhibit(name, [small], tmp_path / "again"):
            if path.suffix != ".json":
                assert path.read_bytes() == (tmp_path / "direct" / path.name).read_bytes()
    again, _ = collect(small, output="again.tar.xz")
    assert again.read_bytes() == small.read_bytes()
    assert main(["claims", str(small), "--output", str(tmp_path / "claims")]) == 0
    assert {file.name for file in (tmp_path / "claims").iterdir()} == {
        *("claims.csv", "claims.md", "verdicts.md", "same_treatment.md", "same_treatment.csv")
    }


def test_archive_holds_what_tables_and_figures_need(calibrated_grid, collect, tmp_path):
    """Without weights and curves; of other seeds and ablations without bins and maps."""
    copied = Path(shutil.copytree(calibrated_grid / "acdc", tmp_path / "acdc"))
    for folder in copied.glob("*=*_seed?"):  # nothing follows these
        (folder / "model.pt").write_bytes(b"weights")
        file = folder / "evaluation/evaluation.json"
        weights = {"weights": hashlib.sha256(b"weights").hexdigest()}
        file.write_text(json.dumps(json.loads(file.read_text()) | weights))
        (folder / "run.json").write_text('{"finished": true}')
    small, names = collect(copied)

    assert not [name for name in names if name.endswith(".pt")]
    shown = ["unet_dice_ce_seed0", "unet_nacl_seed0", "unet_svls_seed0"]
    assert [name for name in names if name.endswith("bins.npz")] == [
        f"{run}/evaluation/bins.npz" for run in shown
    ]
    assert len([name for name in names if name.startswith(f"{shown[1]}/evaluation/maps/")]) == 3
    assert "unet_nacl_seed1/calibrated/temperature_union/calibrator.json" in names
    cases, again = (read_results([root]).cases("acdc") for root in (calibrated_grid, small))
    same_bits(again, cases, "copies of the same files")
    shutil.unpack_archive(small, tmp_path, filter="data")
    old, new = (read_run(root / "unet_nacl_seed0") for root in (copied, tmp_path / "runs"))
    assert new.bins.regions == ["foreground"]
    for key, array in new.bins.select("foreground", "LV").arrays().items():
        same_bits(array, old.bins.select("foreground", "LV").arrays()[key], "they are copied")


def test_what_is_not_there_is_left_out(grid_copy, collect, tmp_path):
    """An evaluation need not have maps; no figure shows single runs of an ablation."""
    for run in (grid_copy / "acdc").glob("*_seed?"):
        shutil.rmtree(run / "evaluation/maps")
    _, names = collect(grid_copy / "acdc")
    assert len([name for name in names if name.endswith("bins.npz")]) == 3

    run = "unet_nacl_penalty=l2_seed0"
    shutil.copytree(grid_copy / "acdc" / run, tmp_path / "acdc" / run)
    _, names = collect(tmp_path / "acdc", output="ablation.tar.xz")
    files = ("cases.csv", "evaluation.json", "summary.json")
    assert names == [f"{run}/evaluation/{file}" for file in files]


def lack(file):
    return lambda grid: (grid / "acdc/unet_svls_seed0" / file).unlink()


def train_anew(grid):
    (grid / "acdc/unet_nacl_seed1/model.pt").write_bytes(b"trained anew")


@pytest.mark.parametrize(
    ("change", "roots", "output", "line"),
    [
        *(
            (lack(file), "acdc", "x.tar.xz", f"{file}: no such file; train and evaluate the run")
            for file in ("split.json", "logit_histogram.npz", "evaluation/logits.npz")
        ),
        (train_anew, "acdc", "x.tar.xz", "is of another model.pt than the run's"),
        (None, ".", "x.tar.xz", "hold runs of acdc, hippocampus; collect one dataset at a time"),
        (None, "acdc", "x", "is no name of an archive; write --output NAME.tar.xz"),
    ],
)
def test_what_cannot_be_packed_is_one_line(
    grid_copy, tmp_path, capsys, change, roots, output, line
):
    """Nothing is written: missing files, other weights, runs of one name, another ending."""
    if change:
        change(grid_copy)

    assert main(["collect", str(grid_copy / roots), "--output", str(tmp_path / output)]) == 1
    assert line in capsys.readouterr().err
    assert not (tmp_path / output).exists()
