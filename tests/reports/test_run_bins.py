"""The bins of an evaluation: the sums as written, or one line that says what is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationBins
from nacl_monai.metrics.record import read_bins


def refusal(read, path):
    """The line with which reading is refused."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


@pytest.fixture
def bins_file(copies):
    return copies[0] / "evaluation" / "bins.npz"


def test_names_and_sums_are_those_of_the_file(bins_file):
    """Counts are integers, sums of confidences are not."""
    bins = read_bins(bins_file)

    with np.load(bins_file) as archive:
        for key, array in bins.sums.arrays().items():
            np.testing.assert_array_equal(array, archive[key])
        for key in ("cases", "regions", "classes"):
            assert getattr(bins, key) == archive[key].tolist()
    assert bins.path == bins_file
    assert isinstance(bins.sums, CalibrationBins)
    assert bins.sums.counts.dtype == bins.sums.positives.dtype


def test_selection_is_one_region_and_one_class(bins_file):
    """Both are chosen by name."""
    with np.load(bins_file) as archive:
        expected = archive["confidences"][:, 1, 4]

    selected = read_bins(bins_file).select("foreground", "LV").confidences

    np.testing.assert_array_equal(selected[:, 0].numpy(), expected)


@pytest.mark.parametrize(
    ("region", "class_name", "known"),
    [("brain", "top-1", "all, foreground"), ("all", "aorta", "top-1, background, RV")],
)
def test_unknown_region_or_class_is_refused(bins_file, region, class_name, known):
    """An unknown name is refused with the names to choose from."""
    with pytest.raises(InputError, match=rf"bins\.npz: no .*choose from {known}"):
        read_bins(bins_file).select(region, class_name)


def test_own_region_with_an_underscore_is_of_no_structure(bins_file):
    """Only a known region that is not there by itself is split by structures."""
    plain = read_bins(bins_file)
    own = replace(plain, regions=["foreground", "foreground_core", "near_lesion"])
    overlapping = replace(plain, regions=["union_WT", "union_inner_core", "near_lesion"])

    assert own.whole_regions == own.regions
    assert own.regions_of("foreground") == ["foreground"]
    assert own.region_and_structure("near_lesion") == ("near_lesion", "")
    assert overlapping.whole_regions == ["union", "near_lesion"]
    assert overlapping.regions_of("union") == ["union_WT", "union_inner_core"]
    assert overlapping.region_and_structure("union_inner_core") == ("union", "inner_core")
    with pytest.raises(InputError, match="no region 'near'"):
        own.regions_of("near")


def test_reordering_moves_cases_with_their_sums(bins_file):
    """Each case keeps its sums."""
    bins = read_bins(bins_file)

    turned = bins.ordered(bins.cases[::-1])

    assert turned.cases == bins.cases[::-1]
    np.testing.assert_array_equal(turned.sums.counts, bins.sums.counts.flip(0))


@pytest.mark.parametrize("key", ["cases", "regions", "classes", "counts", "confidences"])
def test_missing_array_is_named(bins_file, change_arrays, key):
    """A missing array is named together with its file."""
    change_arrays(bins_file, lambda arrays: arrays.pop(key))

    assert f"no array {key}" in refusal(read_bins, bins_file)


def test_array_of_another_shape_is_refused(bins_file, change_arrays):
    """Sums whose shapes disagree are refused."""
    change_arrays(bins_file, lambda arrays: arrays.update(positives=arrays["positives"][:, :1]))

    assert "positives is (7, 1, 5, 15)" in refusal(read_bins, bins_file)


def test_sums_that_are_no_numbers_are_refused(bins_file, change_arrays):
    """In one line."""
    change_arrays(
        bins_file,
        lambda arrays: arrays.update(counts=np.full_like(arrays["counts"], "x", dtype=str)),
    )

    assert "counts is of the type <U1, not numbers" in refusal(read_bins, bins_file)


def test_other_number_of_bins_is_refused(bins_file, change_arrays):
    """Counts and confidences must be over the same bins."""
    change_arrays(
        bins_file, lambda arrays: arrays.update(confidences=arrays["confidences"][..., :3])
    )

    assert "confidences is (7, 2, 5, 3)" in refusal(read_bins, bins_file)


def with_raters(arrays):
    """The model's own bins in place of the raters', who are two."""
    sums = {f"human_{key}": arrays[key] for key in ("counts", "positives", "confidences")}
    arrays.update(sums, raters=np.array(["anna", "ben"]))


def test_raters_and_their_bins_are_optional(bins_file, change_arrays):
    """Each voxel counts once for each; the raters are read like a model."""
    plain = read_bins(bins_file)
    assert (plain.raters, plain.of_raters, plain.times) == ([], None, 1)

    change_arrays(bins_file, with_raters)
    bins = read_bins(bins_file)
    assert (bins.raters, bins.times) == (["anna", "ben"], 2)
    np.testing.assert_array_equal(bins.of_raters.sums.counts, plain.sums.counts)
    turned = bins.ordered(bins.cases[::-1])
    np.testing.assert_array_equal(turned.human.counts, bins.human.counts.flip(0))


def test_bins_of_raters_are_all_there_or_none(bins_file, change_arrays):
    """As the fine bins are."""
    change_arrays(bins_file, lambda arrays: arrays.update(human_counts=arrays["counts"]))

    assert "holds human_counts alone of" in refusal(read_bins, bins_file)


def test_bins_of_raters_of_another_shape_are_refused(bins_file, change_arrays):
    """They are of the same cases, regions and classes."""
    change_arrays(bins_file, with_raters)
    change_arrays(
        bins_file, lambda arrays: arrays.update(human_counts=arrays["human_counts"][:, :1])
    )

    assert "human_counts is (7, 1, 5, 15)" in refusal(read_bins, bins_file)


def test_joined_bins_keep_what_all_have(bins_file, change_arrays):
    """Cases one after the other; bins of raters only where every part has them."""
    plain = read_bins(bins_file)
    change_arrays(bins_file, with_raters)
    rated = read_bins(bins_file)

    both = rated.joined([rated])
    assert both.cases == rated.cases * 2
    np.testing.assert_array_equal(both.human.counts[7:], rated.human.counts)
    assert rated.joined([plain]).human is None
    assert plain.joined([]).sums.counts.equal(plain.sums.counts)
