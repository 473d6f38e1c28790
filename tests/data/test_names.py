"""Names from data are data: no code of theirs runs, and nothing is written elsewhere."""

import json
from itertools import cycle

import numpy as np
import pytest
import yaml
from monai.bundle import ConfigParser

from nacl_monai.cli import main
from nacl_monai.data.check import check_dataset
from nacl_monai.data.new_bundle import Statements, new_bundle
from nacl_monai.errors import InputError
from nacl_monai.menus import read_dataset
from tests import own_data
from tests.conftest import save_nifti
from tests.own_data import NAMES, write_json

BREAK = "MRI\u2028cases: {_target_: subprocess.call, args: touch ran, shell: true}"
#: What MONAI, YAML, HTML and a shell each take for something else than a name.
NASTY = [
    *("_target_", "_requires_", "_mode_", "_disabled_", "_desc_", BREAK, "a: b"),
    *("<script>open(1)<", "'", '"', "{{ name }}", "a $(touch ran)"),
]
CODE = ["$open('ran', 'w')", "@seed", "%c", "a#b"]
FORMULAS = ["=1+1", "+imports", "- a", "@seed"]


def with_table(root, people):
    """Folders of pairs, and a table of the patient of each case."""
    quoted = ((text.replace('"', '""') for text in pair) for pair in people.items())
    rows = "".join('"{}","{}"\n'.format(*pair) for pair in quoted)
    (root / "people.csv").write_text(f"case,patient\n{rows}", encoding="utf-8")
    data = own_data.folders(root / "data", names=[*people])
    return data, {"patients": root / "people.csv"}


def label(root, names):
    labels = {"background": 0, names[-1]: 1, "edema": 2}
    return own_data.nnunet(root / "data", labels=labels), {}


def named_folder(root, names):
    own_data.folders(root / names[0])
    return names[0], {}


#: Where a dataset has names from, the last of which is to be refused or not.
PLACES = {
    "case": lambda root, names: (own_data.folders(root / "data", names=[*NAMES, *names]), {}),
    "official case": lambda root, names: (
        own_data.nnunet(root / "data", test=2, names=[*NAMES[:5], *names]),
        {},
    ),
    "case of a table": lambda root, names: with_table(
        root, {name: f"p{number}" for number, name in enumerate([*NAMES, *names])}
    ),
    "patient of a table": lambda root, names: with_table(
        root,
        dict(zip([f"case{k}" for k in range(len(names) + 5)], [*NAMES[:5], *names], strict=True)),
    ),
    "label": label,
    "channel": lambda root, names: (
        own_data.nnunet(root / "data", channel_names={"0": names[-1]}),
        {},
    ),
    "title": lambda root, names: (own_data.nnunet(root / "data", name=names[-1]), {}),
    "modality": lambda root, names: (
        own_data.folders(root / "data"),
        {"modality": names[-1]},
    ),
    "datalist": lambda root, names: (own_data.datalist(root / "data", f"{names[-1]}.json"), {}),
    "folder": named_folder,
}
#: They hold as many names as one likes.
OF_MANY = ("case", "case of a table", "patient of a table")


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("case", NASTY),
        *((place, [name for name in NASTY if name != BREAK]) for place in OF_MANY[1:]),
        ("case", [name for name in CODE if name not in FORMULAS]),
        *(
            (place, [code])
            for place, code in zip(PLACES, cycle(CODE), strict=False)
            if code not in FORMULAS
        ),
        *(("title", [code]) for code in CODE),
        *((place, ["_target_"]) for place in (*PLACES,)[3:]),
        *((place, [BREAK]) for place in (*PLACES,)[3:] if place not in OF_MANY),
    ],
)
def test_name_in_a_dataset_is_data_or_refused(place, names, tmp_path, monkeypatch):
    """The bundle of `new` has the keys that it has with any other names, and `check` passes."""
    monkeypatch.chdir(tmp_path)
    data, options = PLACES[place](tmp_path, names)
    before = set(tmp_path.rglob("*"))
    refused = names[0] in CODE and place not in ("case", "label", "channel", "modality")
    if refused:
        with pytest.raises(InputError, match=r"^[^\n]* MONAI (evaluates|reads) [^\n]*rename it$"):
            new_bundle("mine", data, "bundles", options=Statements(**options))
    else:
        assert new_bundle("mine", data, "bundles", options=Statements(**options)).faults == []
        file = tmp_path / "bundles/mine/configs/dataset.yaml"
        keys = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert keys["cases"]["_target_"].startswith("nacl_monai.data.")
        assert keys["classes"][0] == "background"
        config = {**read_dataset("mine", "bundles"), "dataset_dir": str(data)}
        cases = ConfigParser(config).get_parsed_content("cases")
        if place in OF_MANY:
            known = {case["patient" if "patient" in place else "case"] for case in cases}
            assert set(names) <= known
        assert check_dataset("mine", data, bundles="bundles").faults == []
        json.loads(file.with_name("metadata.json").read_text(encoding="utf-8"))
    assert {path for path in tmp_path.rglob("*") if "bundles" not in path.parts} == before


@pytest.mark.parametrize("place", OF_MANY[1:])
def test_name_in_a_table_that_no_screen_shows_is_refused(place, tmp_path):
    """Before a bundle is written."""
    data, options = PLACES[place](tmp_path, [BREAK])

    with pytest.raises(InputError, match="people.csv: has an invisible character in 'MRI"):
        new_bundle("mine", data, tmp_path / "bundles", options=Statements(**options))
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("place", ["case", "patient of a table"])
def test_name_that_a_spreadsheet_computes_is_refused(place, name, tmp_path, monkeypatch):
    """By the check, or before a bundle is written."""
    monkeypatch.chdir(tmp_path)
    data, options = PLACES[place](tmp_path, [name])
    try:
        faults = new_bundle("mine", data, "bundles", options=Statements(**options)).faults
    except InputError as error:
        faults = [error]

    (line,) = map(str, faults)
    assert (
        f"{name!r} begins with {name[0]}, which a spreadsheet takes for a formula; rename" in line
    )


@pytest.mark.usefixtures("unpainted")
def test_names_in_an_audit_are_text(tmp_path, monkeypatch):
    """Of cases, labels and raters: pages escape them, and files stay in the folder that is asked for."""
    monkeypatch.chdir(tmp_path)
    markup = "<script>open(1)<"
    rng = np.random.default_rng(0)
    for name in (markup, "_target_"):
        probs = rng.dirichlet([1, 1, 1], (6, 5, 4)).astype(np.float32)
        save_nifti(probs, tmp_path / f"predictions/{name}.nii.gz")
        for rater in ("a", "b"):
            label = rng.integers(0, 3, (6, 5, 4)).astype(np.uint8)
            save_nifti(label, tmp_path / f"{rater}/{name}.nii.gz")
    write_json("elsewhere.json", {"labels": {"background": 0, markup: 1, "../x": 2}})
    write_json("labels.json", {"labels": {"background": 0, markup: 1, "..x": 2}})
    before = set(tmp_path.rglob("*"))
    args = ["audit", "predictions", "--no-pictures", "--jobs", "1", "--dataset", "labels.json"]

    assert main([*args, "--raters", "a", "b", "--rater-names", markup, "../y"]) == 2
    save_nifti(label, tmp_path / "b/=1+1.nii.gz")
    assert main([*args[:2], "b", *args[2:], "--names", markup, "--output", "out"]) == 1
    (tmp_path / "b/=1+1.nii.gz").unlink()
    assert main([*args[:2], "a", *args[2:], "--names", markup, "--output", "out"]) == 0
    assert main(["audit", "predictions", "a", "--dataset", "elsewhere.json"]) == 1
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} == before
    pages = list((tmp_path / "out").rglob("*.html"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert markup not in text
        assert "&lt;script&gt;open(1)&lt;" in text
