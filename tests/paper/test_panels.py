"""Panels: a row per dataset, DSC on the left and ECE on the right."""

from nacl_monai.paper.panels import new_panels


def test_row_per_dataset():
    """Titles say the dataset and the metric."""
    figure, panels = new_panels(["acdc", "mine"], height=3)

    places = {key: panel.get_subplotspec() for key, panel in panels.items()}
    assert {key: (p.rowspan.start, p.colspan.start) for key, p in places.items()} == {
        ("acdc", "dice"): (0, 0),
        ("acdc", "ece_foreground"): (0, 1),
        ("mine", "dice"): (1, 0),
        ("mine", "ece_foreground"): (1, 1),
    }
    assert panels["acdc", "dice"].get_title() == "ACDC: DSC ↑"
    assert panels["mine", "ece_foreground"].get_title() == "mine: ECE ↓"
    assert figure.get_figheight() == 7
