"""A case with its contours as the pages of a promise and of triage show it, to be scrolled through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nacl_monai.inference.promised import Array, structure_levels
from nacl_monai.inference.records import MARGIN_ONLY, MARGINS, OUTER, WITHIN
from nacl_monai.promises.cases import NewCase
from nacl_monai.promises.record import Guarantee
from nacl_monai.reports.viewer import Layers, viewed


def seen_case(
    case: NewCase, kept: Sequence[Guarantee], image: Array | None, reason: str, first: str
) -> dict[str, Any]:
    """The layers of a case, with the contours and the threshold of its outer one.

    Args:
        case: The case with its contours.
        kept: The promises of the same level.
        image: ``(z, y, x)``, if there is one.
        reason: Why it is shown.
        first: The structure that it opens with.
    """
    reading = case.reading
    channels = reading.channels
    outer = {contour.structure: contour for contour in kept if contour.kind == OUTER}
    levels = structure_levels(
        reading.probs, channels.structures, reading.spacing, channels.overlapping
    )
    seen = {}
    for promised, level in zip(case.structures, levels, strict=True):
        contours = {f"{kind} contour": mask for kind, mask in promised.contours.items()}
        contour = outer.get(promised.structure)
        if contour is None or contour.family == MARGIN_ONLY or contour.values[0] > 1:
            seen[promised.structure] = Layers(contours)
            continue
        within = (
            level.margins <= MARGINS.index(contour.margin) if contour.family == WITHIN else None
        )
        seen[promised.structure] = Layers(
            contours, within, float(contour.values[0]), meaning(contour)
        )
    layers = viewed(reading, image, seen)
    layers["structures"].sort(key=lambda structure: structure["name"] != first)
    return {**layers, "reason": reason}


def meaning(contour: Guarantee) -> str:
    """The promise of an outer contour: "the contour that misses at most 10% in 9 of 10 patients"."""
    often = "on average" if contour.miss is None else f"in {contour.often}{contour.who}"
    return f"the contour that misses at most {contour.miss or contour.level:.0%} {often}"
