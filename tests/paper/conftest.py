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
    additions = {
        "train.yaml": """
            losses:
              toy:
                _desc_: {label: Toy, color: green, marker: h, symbols: {strength: s}}
                _target_: toys.ToyLoss
                strength: 2.0
              plain: {_target_: toys.PlainLoss}
            """,
        "model.yaml": "networks: {toynet: {_desc_: {label: ToyNet}, _target_: toys.Net}}",
    }
    for name, text in additions.items():
        file = bundles / "common" / name
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for menu, entries in yaml.safe_load(text).items():
            content[menu] |= entries
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(bundles.parent)
