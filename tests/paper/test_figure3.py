"""Figure 3: the penalty on logits and on softmax, joined by a line."""

from nacl_monai.paper import EXHIBITS, figure3


def test_line_joins_both_spaces(results):
    """From the point of logits, which has the dataset's name, to that of softmax."""
    figure, means = figure3.draw(EXHIBITS["figure3"].select(results))
    by_key = means.set_index(["column", "method"])["mean"]
    axes = figure.axes[0]

    dotted = next(line for line in axes.lines if line.get_linestyle() == ":")
    assert list(zip(*dotted.get_data(), strict=True)) == [
        (by_key["dice", name], by_key["ece_foreground", name])
        for name in ("nacl", "nacl_space=softmax")
    ]
    assert axes.texts[0].get_text() == "ACDC"
    assert axes.texts[0].xy == (by_key["dice", "nacl"], by_key["ece_foreground", "nacl"])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["penalty on logits", "penalty on softmax"]


def test_one_space_alone_is_a_point(results):
    """A dataset on which the other was not run yet is drawn all the same."""
    figure, _ = figure3.draw(EXHIBITS["table2"].select(results, losses=["nacl"]))

    assert [text.get_text() for text in figure.axes[0].texts] == ["ACDC", "Hippocampus"]
