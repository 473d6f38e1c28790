"""The script that shows a case in 3D Slicer, with a stand-in for Slicer that reads each file."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import nibabel
import numpy as np
import pytest

from tests.conftest import save_nifti

SCRIPT = Path(__file__).parents[1] / "docs/slicer_case.py"
FILES = ["image", "label", "confidence", "case_outer_LV", "case_inner_LV"]


@pytest.fixture
def case(tmp_path):
    """The files of a case, each with a number of its own in it."""
    for number, name in enumerate(FILES):
        save_nifti(np.full((2, 2, 2), number, np.uint8), tmp_path / f"{name}.nii.gz")
    return [str(tmp_path / f"{name}.nii.gz") for name in FILES]


@pytest.fixture
def slicer(monkeypatch):
    """Slicer's functions as its documentation has them; nodes know the number of their file."""

    def node(file, properties=None):
        mock = MagicMock(properties=properties or {})
        mock.number = int(nibabel.load(file).dataobj[0, 0, 0])
        mock.GetSegmentation().GetSegmentIDs.return_value = ["Segment_1"]
        nodes.append(mock)
        return mock

    def layers(*, background, foreground, foregroundOpacity, fit):
        shown.update(back=background.number, front=foreground.number, fit=fit)
        shown["opacity"] = foregroundOpacity

    nodes, shown = [], {}
    table = MagicMock()
    table.GetID.return_value = "names"
    util = SimpleNamespace(
        loadVolume=node,
        loadSegmentation=node,
        loadColorTable=lambda file: table if Path(file).read_text() else None,
        setSliceViewerLayers=layers,
    )
    monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace(util=util))
    return SimpleNamespace(nodes=nodes, shown=shown)


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *args])
    runpy.run_path(str(SCRIPT))


def test_case_is_shown_with_its_contours(monkeypatch, slicer, case, tmp_path):
    """Confidence over the image; label and contours as lines, in colors of their own."""
    (tmp_path / "labels.ctbl").write_text("1 LV 255 0 0 255\n")
    run(monkeypatch, *case)

    assert 0 < slicer.shown.pop("opacity") < 1
    assert slicer.shown == {"back": 0, "front": 2, "fit": True}
    lines = {node.number: node for node in slicer.nodes if node.GetDisplayNode().mock_calls}
    assert set(lines) == {1, 3, 4}
    for node in lines.values():
        node.GetDisplayNode().SetVisibility2DFill.assert_called_once_with(False)
    assert lines[1].properties == {"colorNodeID": "names"}
    outer, inner = (
        lines[number].GetSegmentation().GetSegment("Segment_1").SetColor.call_args
        for number in (3, 4)
    )
    assert outer != inner


@pytest.mark.parametrize(
    ("key", "line"), [(slice(2), "too few files"), (slice(3), "there is no such file")]
)
def test_missing_file_is_one_line(monkeypatch, slicer, case, key, line):
    """Before anything is loaded."""
    Path(case[2]).unlink()
    with pytest.raises(SystemExit, match=line):
        run(monkeypatch, *case[key])
    assert slicer.nodes == []
