"""Shows a case in 3D Slicer 5: confidence over the image, label and contours as outlines.

Slicer --python-script slicer_case.py IMAGE LABEL CONFIDENCE [CONTOUR ...]
"""

import sys
from pathlib import Path
from typing import Any

import slicer  # which 3D Slicer alone has

OUTER, INNER = (1.0, 0.6, 0.0), (0.0, 0.6, 1.0)  # orange and blue

files = [Path(word) for word in sys.argv[1:]]
if len(files) < 3:
    sys.exit("slicer_case.py: too few files; name IMAGE LABEL CONFIDENCE [CONTOUR ...]")
for file in files:
    if not file.is_file():
        sys.exit(f"{file}: there is no such file; name IMAGE LABEL CONFIDENCE [CONTOUR ...]")
image, label, confidence, *contours = files


def outlined(file: Path, **properties: str) -> Any:
    """A segmentation, as lines that leave the image free."""
    node = slicer.util.loadSegmentation(str(file), properties)
    node.GetDisplayNode().SetVisibility2DFill(False)
    node.GetDisplayNode().SetVisibility2DOutline(True)
    return node.GetSegmentation()


names = label.with_name("labels.ctbl")  # which inference and audits write beside their maps
colors = {"colorNodeID": slicer.util.loadColorTable(str(names)).GetID()} if names.is_file() else {}
outlined(label, **colors)
for file in contours:
    segments = outlined(file)
    for segment in segments.GetSegmentIDs():
        segments.GetSegment(segment).SetColor(*(INNER if "_inner_" in file.name else OUTER))
slicer.util.setSliceViewerLayers(
    background=slicer.util.loadVolume(str(image)),
    foreground=slicer.util.loadVolume(
        str(confidence), {"colorNodeID": "vtkMRMLColorTableNodeRainbow"}
    ),
    foregroundOpacity=0.3,
    fit=True,
)
