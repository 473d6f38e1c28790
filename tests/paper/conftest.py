"""What tests of the paper share: the results of the synthetic grid, and a menu with one more loss."""

import shutil
from pathlib import Path

import pytest
import yaml

from nacl_monai.paper import read_results

BUNDLES = Path(__file__).parents[2] / "bundles"


@pytest.fixture(autouse=True)
def _unpainted(unpainted):
    """Figures without pixels take a tenth of the time."""


@pytest.fixture(scope="session")
def results(grid):
    """The runs of the synthetic grid; read, never changed."""
    return read_results([grid])


@pytest.fixture
def toy_menu(tmp_path, monkeypatch):
    """The working directory has bundles whose menu holds a loss and a network that the paper lacks."""
    bundles = Path(shutil.copytree(BUNDLES, tmp_path / "toy" / "bundles"))
    described = {"label": "Toy", "color": "green", "marker": "h", "symbols": {"strength": "s"}}
    toy = {"_desc_": described, "_target_": "toys.ToyLoss", "strength": 2.0}
    net = {"_desc_": {"label": "ToyNet"}, "_target_": "toys.Net"}
    for name, menu, entries in (
        ("train.yaml", "losses", {"toy": toy, "plain": {"_target_": "toys.PlainLoss"}}),
        ("model.yaml", "networks", {"toynet": net}),
    ):
        file = bundles / "common" / name
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        content[menu] |= entries
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(bundles.parent)
