from .calibrated import Answer, answers, draw_temperatures, verdicts, write_calibrated
from .compare import comparison_markdown, comparison_table, comparison_text, write_comparison
from .logits import draw_class_logits, draw_epoch_logits, write_logits
from .maps import draw_maps, median_case, ranked_cases
from .page import drawn_regions, write_page, write_pages
from .reliability import (
    ReliabilityCurve,
    RiskCurve,
    draw_reliability,
    draw_selective,
    reliability_curve,
    risk_curve,
    write_reliability,
    write_selective,
)
from .style import house_style, new_figure, page_template, png_source, save_figure, save_png

__all__ = [
    "Answer",
    "ReliabilityCurve",
    "RiskCurve",
    "answers",
    "comparison_markdown",
    "comparison_table",
    "comparison_text",
    "draw_class_logits",
    "draw_epoch_logits",
    "draw_maps",
    "draw_reliability",
    "draw_selective",
    "draw_temperatures",
    "drawn_regions",
    "house_style",
    "median_case",
    "new_figure",
    "page_template",
    "png_source",
    "ranked_cases",
    "reliability_curve",
    "risk_curve",
    "save_figure",
    "save_png",
    "verdicts",
    "write_calibrated",
    "write_comparison",
    "write_logits",
    "write_page",
    "write_pages",
    "write_reliability",
    "write_selective",
]
