"""The slice shown is chosen by a rule, and shows the arrays that were written."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from nacl_monai.evaluations import read_runs
from nacl_monai.reports import draw_maps, median_case
from nacl_monai.reports.maps import OPACITY, structure_window
from nacl_monai.reports.style import CLASS_COLORS
from tests.conftest import refused
from tests.same import same_bits


def titled(figure):
    """Panels in reading order, with title and the line below it."""
    return [(axes.get_title(), axes.texts[0].get_text(), axes) for axes in panels(figure)]


def panels(figure):
    """Axes that show an image and carry a title."""
    return [axes for axes in figure.axes if axes.images and axes.get_title()]


def with_dice(runs, *columns):
    """The runs with these Dice values."""
    return [
        replace(run, metrics=run.metrics.assign(dice=np.array(dice, float)))
        for run, dice in zip(runs, columns, strict=True)
    ]


class TestMedianCase:
    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            # The median is that of the mean over the methods, not of any one of them.
            ([9, 8, 7, 6, 5, 4, 3], [1, 1, 1, 9, 9, 1, 1], "002"),
            # A case in which one method has no Dice is no candidate; of four, the lower middle.
            ([1, 2, 3, 4, 5, 6, None], [1, None, None, 4, 5, 6, 7], "004"),
        ],
    )
    def test_it_is_the_median_of_the_mean_over_the_methods(self, runs, first, second, expected):
        """Of those cases that all have; the means of the first are 5, 4.5, 4, 7.5, 7, 2.5, 2."""
        assert median_case(with_dice(runs, first, second)) == expected

    def test_without_any_dice_the_user_has_to_choose(self, runs):
        """The message names the option."""
        assert "--case" in refused(median_case, with_dice(runs, [None] * 7, [None] * 7))


class TestFigure:
    def test_reference_stands_beside_the_predictions(self, runs):
        """Image and label to the left; prediction above confidence for each method."""
        assert [title for title, *_ in titled(draw_maps(runs))] == [
            *("Image", "CE + Dice", "NACL"),
            *("Ground truth", "Confidence", "Confidence"),
        ]

    @pytest.mark.parametrize("show", [["entropy"], ["confidence", "entropy"]])
    def test_entropy_is_shown_as_written(self, runs, show):
        """Entropy is alone or below confidence, as written, from 0 to 1."""
        shown = titled(draw_maps(runs, "003", show))
        entropies = [axes.images[0] for title, _, axes in shown if title == "Entropy"]
        maps = [run.read_map("003") for run in runs]
        window = structure_window(
            [maps[0].label > 0, *(case_map.prediction > 0 for case_map in maps)]
        )

        assert [title for title, *_ in shown].count("Confidence") == 2 * ("confidence" in show)
        assert {image.get_clim() for image in entropies} == {(0.0, 1.0)}
        for image, written in zip(entropies, maps, strict=True):
            same_bits(image.get_array(), written.entropy[window], "they are read back")

    def test_scores_are_those_of_the_case(self, runs, folders):
        """Under each name are Dice and ECE of the case shown."""
        scores = {title: text for title, text, _ in titled(draw_maps(runs, "003"))}

        for name, folder in zip(("CE + Dice", "NACL"), folders, strict=True):
            table = pd.read_csv(folder / "evaluation" / "cases.csv", dtype={"case": str})
            (row,) = table[table["case"] == "003"].to_dict("records")
            assert scores[name] == f"Dice {row['dice']:.3f}   ECE {row['ece_foreground']:.3f}"

    def test_pictures_show_the_arrays(self, runs):
        """Confidence is shown as written; the overlay tints a class with its color."""
        maps = [run.read_map("003") for run in runs]
        written = maps[1]
        window = structure_window(
            [written.label > 0, *(case_map.prediction > 0 for case_map in maps)]
        )
        shown = titled(draw_maps(runs, "003"))
        image, labeled, predicted, confident = (
            np.asarray(shown[k][2].images[0].get_array()) for k in (0, 3, 2, 5)
        )

        same_bits(confident, written.confidence[window], "they are read back")
        for picture, classes in ((labeled, written.label), (predicted, written.prediction)):
            for c in range(4):
                at = classes[window] == c
                color = np.array(to_rgb(CLASS_COLORS[c - 1]))
                tinted = OPACITY * color + (1 - OPACITY) * image[at]
                np.testing.assert_allclose(picture[at], tinted if c else image[at], atol=1e-6)

    @pytest.mark.parametrize("chosen", [None, "005"])
    def test_caption_states_the_choice(self, runs, chosen):
        """The caption names case, rule and slice."""
        caption = draw_maps(runs, chosen).get_supxlabel()
        case = chosen or median_case(runs)

        assert f"Case {case}" in caption
        assert ("median Dice" in caption) == (chosen is None)
        assert f"slice {2 + int(case)} " in caption

    def test_slice_without_any_structure_is_shown_whole(self, copies, change_arrays):
        """There is nothing to crop to."""

        def empty(arrays):
            arrays |= {key: 0 * arrays[key] for key in ("label", "prediction")}

        for folder in copies:
            for path in (folder / "evaluation" / "maps").iterdir():
                change_arrays(path, empty)

        image = panels(draw_maps(read_runs(copies)))[0].images[0]

        assert image.get_array().shape[:2] == (40, 40)

    def test_unknown_case_is_refused(self, runs):
        """The message lists the cases to choose from."""
        assert "no test case '9'; choose from 001, 002" in refused(draw_maps, runs, "9")

    def test_runs_on_other_labels_are_refused(self, copies, change_arrays):
        """Runs whose labels differ were not evaluated on the same data."""
        path = copies[1] / "evaluation/maps/003.npz"
        change_arrays(path, lambda arrays: arrays.update(label=arrays["label"].T))

        assert "evaluate both runs on the same data" in refused(draw_maps, read_runs(copies), "003")


class TestWindow:
    def test_stays_inside_and_holds_every_mask(self):
        """The box holds every mask, and ends at the border of the image."""
        mask, other = np.zeros((2, 12, 9), bool)
        mask[0, 4] = other[11, 5] = True

        assert structure_window([mask, other]) == (slice(0, 12), slice(1, 9))
