"""docs/calibration.md's picture and table of true probabilities are what the simulation gives."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nacl_monai.reports.style import save_png
from studies.ruler.__main__ import PANELS, PICTURE, curves, draw

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found():
    return curves()


def test_table_of_the_page_is_what_is_computed(found):
    """Each row is a region: its error of all images together, and the mean of their own."""
    page = (ROOT / "docs/calibration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \| ([^|]*) \|$", page, re.MULTILINE)

    computed = {name: (row.error.text(), f"{row.mean_error:.3f}") for name, row in found.items()}
    assert {name: tuple(cells) for name, *cells in rows} == computed


def test_truth_is_on_the_diagonal_over_the_prediction_alone(found):
    """Below it in every bin of the union; near the prediction never far from it."""
    label, prediction = PANELS.values()

    assert (found["union"].accuracy < found["union"].confidence).all()
    for region in label:
        assert found[region].error.low > 0
    for region in prediction:
        assert found[region].error.low == 0
        # Chance.
        np.testing.assert_allclose(found[region].accuracy, found[region].confidence, atol=0.02)


def test_picture_is_drawn_anew(found, tmp_path):
    """The committed file shows these curves; letters may differ by the version of matplotlib."""
    pytest.importorskip("matplotlib", minversion="3.11")  # earlier ones lay figures out otherwise
    save_png(draw(found), tmp_path / "drawn.png")

    drawn, committed = (
        np.asarray(Image.open(file).convert("L"), dtype=float)
        for file in (tmp_path / "drawn.png", ROOT / PICTURE)
    )
    assert drawn.shape == committed.shape
    assert np.abs(drawn - committed).mean() < 1
