"""The curves' names of before: they are in `nacl_monai.metrics.curves`."""

from nacl_monai.metrics.curves import (
    CURVES_FILE,
    NO_MARGIN,
    NO_THRESHOLD,
    THRESHOLDS,
    Array,
    Curves,
    counted,
    definition_of,
    read_curves,
)

__all__ = [
    "CURVES_FILE",
    "NO_MARGIN",
    "NO_THRESHOLD",
    "THRESHOLDS",
    "Array",
    "Curves",
    "counted",
    "definition_of",
    "read_curves",
]
