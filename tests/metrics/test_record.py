"""What was counted: written and read as it is, or refused in one line that says what is wrong."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric, read_record
from nacl_monai.metrics.columns import ERRORS
from nacl_monai.metrics.record import Measurement
from nacl_monai.metrics.regions import REGIONS
from tests.metrics.oracles import measured
from tests.same import same_bits, same_values

SUMS = ("counts", "positives", "confidences")


def counted(cases=("a", "b"), seed=0, calibrator=(), **options):
    """The record of random cases of three classes."""
    generator = torch.Generator().manual_seed(seed)
    metric = CalibrationMetric(**options)
    for _ in cases:
        probs = torch.rand(1, 3, 6, 5, 4, generator=generator).softmax(1)
        metric(probs, torch.randint(3, (1, 1, 6, 5, 4), generator=generator))
    patients = [f"p_{case}" for case in cases]
    return metric.record(cases, ["background", "RV", "LV"], patients, calibrator=calibrator)


def decided(**options):
    """A record with the volumes of two structures."""
    return counted(decisions={"RV": [1], "any": [1, 2]}, regions=["near", "foreground"], **options)


def refusal(path):
    """The line with which reading and checking are refused."""
    with pytest.raises(InputError) as caught:
        read_record(path).check()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


@pytest.fixture
def bins_file(copies):
    """As an earlier version wrote it, without a definition."""
    return copies[0] / "evaluation" / "bins.npz"


def test_record_is_read_as_it_was_written(tmp_path):
    """Names, sums, fine bins and definition, and the sums of raters; whatever the file is called."""
    probs, labels = torch.rand(1, 2, 8).softmax(1), torch.randint(2, (1, 3, 8))
    raters = measured(probs, labels, num_raters=3, regions=["all"])
    rated = raters.record(["a"], ["background", "organ"], raters=["anna", "ben", "cara"])
    for record in (counted(calibrator=("temperature", "1" * 64)), rated, decided()):
        read = read_record(record.write(tmp_path / "bins"))

        for key in ("cases", "regions", "classes", "patients", "raters", "definition"):
            assert getattr(read, key) == getattr(record, key)
        for key in ("sums", "fine", "scores", "human", "decisions"):
            ours, theirs = getattr(record, key), getattr(read, key)
            assert (ours is None) == (theirs is None)
            if key == "fine" and ours:
                ours, theirs = ours[:, :], theirs[:, :]
            for own, other in zip(ours.tensors(), theirs.tensors(), strict=True) if ours else ():
                same_bits(own, other, "they are read back")
        assert record.counted() == read.counted()
    assert [file.name for file in tmp_path.iterdir()] == ["bins"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda arrays: arrays["confidences"].__imul__(1.01),
        lambda arrays: arrays.update(cases=arrays["cases"][::-1]),
        lambda arrays: arrays.update(definition=np.array(str(arrays["definition"]) + " ")),
        lambda arrays: arrays.pop("patients"),
        lambda arrays: arrays.pop("checksum"),
        lambda arrays: arrays.pop("definition"),
    ],
    ids=["confidences", "cases", "definition", "patients", "checksum", "no definition"],
)
def test_file_that_was_edited_is_refused(tmp_path, change_arrays, edit):
    """However plausible its sums are."""
    path = counted().write(tmp_path / "bins.npz")
    change_arrays(path, edit)

    assert "is not as it was written" in refusal(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boundary_width": 9.0}, "region::boundary::width (3.0, now 9.0)"),
        ({"spacing": "pixdim"}, "region::boundary::unit (voxels, now mm)"),
        ({"spacing": (1, 1, 2)}, "region::boundary::unit (voxels, now mm)"),
        ({"ignore_index": 2}, "ignored (None, now 2)"),
        ({"calibrator": ["temperature", "11"]}, "calibrator (none, now temperature 11)"),
        ({"structures": ["WT"]}, "structures::0 (not set, now WT)"),
        ({"boundary": lambda labels: labels > 0}, "region::boundary::function (not set, now "),
    ],
    ids=["width", "unit", "spacing", "ignored", "calibrator", "structures", "function"],
)
def test_records_of_other_definitions_are_not_joined(options, message):
    """The sums alone would not show it."""
    regions = {"boundary": options.pop("boundary", None)}
    calibrator = options.pop("calibrator", ())
    definition = Measurement(regions=regions, **options).definition(calibrator)
    first = counted(regions=["boundary"])
    other = replace(counted(["c"], regions=["boundary"]), definition=definition)

    with pytest.raises(InputError, match="bins.npz: differs from bins.npz in ") as caught:
        first.joined([other])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shards", "line"),
    [
        ("1/2,2/2", None),
        ("1/2 of ab,2/2 of ab", None),
        ("1/1 of ab,1/1 of cd", None),
        ("1/3,2/3", "is shard 1/3"),
        ("2/2,2/2", "is shard 2/2"),
        ("1/2 of ab,2/2 of cd", "is shard 1/2"),
    ],
)
def test_records_of_shards_are_joined_once_each_and_all_of_a_study(shards, line):
    """The sums of two of three, or of halves of two studies, would pass for those of all."""
    first, other = (
        replace(record, definition={**record.definition, "shard": shard})
        for record, shard in zip((counted(), counted(["c"])), shards.split(","), strict=True)
    )

    with pytest.raises(InputError, match=line) if line else nullcontext():
        whole = first.joined([other])
        assert whole.cases == ["a", "b", "c"]
        assert "shard" not in whole.definition


def test_definition_that_is_not_recorded_is_no_other_one_to_look_at(bins_file):
    """Files of earlier versions are joined with each other and shown beside new ones; not joined."""
    earlier = read_record(bins_file)
    probs, labels = torch.rand(1, 4, 9).softmax(1), torch.randint(4, (1, 9))
    new = measured(probs, labels, regions=earlier.regions).record(["x"], earlier.classes[1:])

    assert earlier.joined([earlier]).cases == earlier.cases * 2
    assert not earlier.difference(new)
    with pytest.raises(InputError, match=r"definition \(not set, now recorded\)"):
        earlier.joined([new])


def test_what_is_shown_side_by_side_may_be_calibrated():
    """But not have other regions."""
    calibrated = counted(calibrator=["temperature"])

    assert not counted().difference(calibrated)
    assert "region::boundary::width" in counted().difference(counted(boundary_width=9.0))


def test_only_regions_with_a_width_or_a_margin_record_it():
    """Another width does not matter to the others."""
    measurement = Measurement(boundary_width=2.0, margin=4.0, margin_spacing="pixdim")
    regions = measurement.definition()["regions"]

    width = {"width": 2.0, "unit": "voxels"}
    assert regions == {name: {} for name in REGIONS} | {
        "boundary": width,
        "predicted_boundary": width,
        "near": {"margin": 4.0, "unit": "mm"},
    }


def test_selection_is_one_region_and_one_class(bins_file):
    """Both are chosen by name."""
    with np.load(bins_file) as archive:
        expected = archive["confidences"][:, 1, 4]

    selected = read_record(bins_file).select("foreground", "LV").confidences

    same_bits(selected[:, 0].numpy(), expected, "they are read back")


@pytest.mark.parametrize(
    ("region", "class_name", "known"),
    [("brain", "top-1", "all, foreground"), ("all", "aorta", "top-1, background, RV")],
)
def test_unknown_region_or_class_is_refused(bins_file, region, class_name, known):
    """An unknown name is refused with the names to choose from."""
    with pytest.raises(InputError, match=rf"bins\.npz: no .*choose from {known}"):
        read_record(bins_file).select(region, class_name)


def test_own_region_with_an_underscore_is_of_no_structure(bins_file):
    """Only a known region that is not there by itself is split by structures."""
    plain = read_record(bins_file)
    own = replace(plain, regions=["foreground", "foreground_core", "near_lesion"])
    overlapping = replace(plain, regions=["union_WT", "union_inner_core", "near_lesion"])

    assert own.whole_regions == own.regions
    assert own.regions_of("foreground") == ["foreground"]
    assert own.region_and_structure("near_lesion") == ("near_lesion", "")
    assert overlapping.whole_regions == ["union", "near_lesion"]
    assert overlapping.regions_of("union") == ["union_WT", "union_inner_core"]
    assert overlapping.region_and_structure("union_inner_core") == ("union", "inner_core")
    recorded = replace(
        plain,
        regions=["near_lesion_core", "near_lesion_inner_core"],
        definition={"structures": ["core", "inner_core"]},
    )
    assert recorded.whole_regions == ["near_lesion"]
    assert recorded.region_and_structure("near_lesion_inner_core") == ("near_lesion", "inner_core")
    with pytest.raises(InputError, match="no region 'near'"):
        own.regions_of("near")


def with_raters(arrays):
    """The model's own bins in place of the raters', who are two."""
    sums = {f"human_{key}": arrays[key] for key in SUMS}
    arrays.update(sums, raters=np.array(["anna", "ben"]))


def short(key, *index):
    """An edit that leaves some of an array out."""
    return lambda arrays: arrays.update({key: arrays[key][index]})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        *(
            (lambda arrays, key=key: arrays.pop(key), f"no array {key}")
            for key in (*SUMS, "cases", "regions", "classes")
        ),
        (short("positives", slice(None), slice(1)), "positives is (7, 1, 5, 15)"),
        (short("confidences", ..., slice(3)), "confidences is (7, 2, 5, 3)"),
        (
            lambda arrays: arrays.update(counts=np.full_like(arrays["counts"], "x", dtype=str)),
            "counts is of the type <U1, not int64",
        ),
        (
            lambda arrays: arrays.update(human_counts=arrays["counts"]),
            "holds human_counts alone of",
        ),
        (
            lambda arrays: [
                with_raters(arrays),
                short("human_counts", slice(None), slice(1))(arrays),
            ],
            "human_counts is (7, 1, 5, 15)",
        ),
        (lambda arrays: arrays["cases"].__setitem__(..., "one"), "case 'one' is there twice"),
        (lambda arrays: arrays["counts"].__isub__(arrays["counts"].max() + 1), "negative"),
        (lambda arrays: arrays["positives"].__isub__(arrays["positives"].max() + 1), "negative"),
        (
            # One voxel too many is enough.
            lambda arrays: arrays["positives"].__iadd__(arrays["counts"] - arrays["positives"] + 1),
            "more voxels are right",
        ),
        (lambda arrays: arrays["confidences"].__imul__(1.5), "a confidence is outside its bin"),
        (lambda arrays: arrays["confidences"].__imul__(np.nan), "a confidence is outside its bin"),
        (
            lambda arrays: [
                arrays[key][:, :, 1].__imul__(2) for key in arrays if arrays[key].ndim > 1
            ],
            "classes have other numbers of voxels",
        ),
        (lambda arrays: arrays["counts"][:, :, 1, 0].__iadd__(1), "classes have other numbers"),
        (lambda arrays: arrays["fine_counts"].__isub__(arrays["fine_counts"] + 1), "cannot be"),
        (
            lambda arrays: arrays["fine_errors"].__iadd__(
                arrays["fine_counts"] - arrays["fine_errors"] + 1
            ),
            "cannot be",
        ),
        (lambda arrays: arrays["fine_counts"].__iadd__(1), "the fine bins are of other voxels"),
        (lambda arrays: arrays["fine_errors"].__imul__(0), "the fine bins are of other voxels"),
    ],
)
def test_what_no_evaluation_wrote_is_refused(bins_file, change_arrays, edit, message):
    """Arrays that are missing or unlike, and sums that no voxels have: each fault alone."""
    change_arrays(bins_file, edit)

    assert message in refusal(bins_file)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_are_read(tmp_path, dtype):
    """Edges are rounded as the probabilities are: 0.6 as float16 is 0.60010, in the bin up to 0.6."""
    tops = torch.arange(0.5, 1.01, 0.1).to(dtype)
    probs = torch.stack([tops, 1 - tops])[None]
    metric = measured(probs, torch.zeros(1, len(tops)), regions=["all"])

    saved = read_record(metric.record(["a"], ["0", "1"]).write(tmp_path / "bins.npz")).check()
    assert saved.sums.confidences[0, 0, 0].sum().item() == tops.double().sum().item()


@pytest.fixture(scope="module")
def many():
    """The record of 150 cases, more than are computed at a time, and that of each."""
    parts = [counted([f"{k:03}"], seed=k, num_bins=4, regions=["all", "union"]) for k in range(150)]
    return parts[0].joined(parts[1:]), parts


def test_numbers_of_many_cases_are_those_of_each(many):
    """In every column that follows from the sums, but for float64's rounding; fine bins are the sum."""
    whole, parts = many

    columns = whole.columns(f"{error}_{region}" for error in ERRORS for region in whole.regions)
    assert {"ece_all", "adaptive_ece_union", "aurc_all", "smooth_ece_all", "nll_all"} <= {*columns}
    for name, values in columns.items():
        of_each = torch.cat([part.columns([name])[name] for part in parts])
        torch.testing.assert_close(values, of_each, rtol=1e-12, atol=1e-12, equal_nan=True)
    fine = whole.check().select_fine("union")
    assert fine.counts.tolist() == sum(part.fine[:, 1].counts[0] for part in parts).tolist()
    assert fine.errors.tolist() == sum(part.fine[:, 1].errors[0] for part in parts).tolist()


def test_fault_of_a_late_case_is_found(many, tmp_path, change_arrays):
    """By its name."""
    path = many[0].write(tmp_path / "bins.npz")
    change_arrays(
        path,
        lambda arrays: (
            [arrays["fine_errors"][100].__iadd__(1)]
            + [arrays.pop(key) for key in ("definition", "checksum")]
        ),
    )

    assert "a count of the fine bins cannot be, in case '100'" in refusal(path)


def test_raters_and_their_bins_are_optional(bins_file, change_arrays):
    """Each voxel counts once for each; the raters are read like a model."""
    plain = read_record(bins_file)
    assert (plain.raters, plain.of_raters, plain.times) == ([], None, 1)

    change_arrays(bins_file, with_raters)
    bins = read_record(bins_file)
    assert (bins.raters, bins.times) == (["anna", "ben"], 2)
    same_values(bins.of_raters.sums.counts, plain.sums.counts)
    turned = bins.ordered(bins.cases[::-1])
    same_values(turned.human.counts, bins.human.counts.flip(0))


def test_joined_bins_keep_what_all_have(bins_file, change_arrays):
    """Cases one after the other; bins of raters only where every part has them."""
    plain = read_record(bins_file)
    change_arrays(bins_file, with_raters)
    rated = read_record(bins_file)

    both = rated.joined([rated])
    assert both.cases == rated.cases * 2
    same_values(both.human.counts[7:], rated.human.counts)
    assert rated.joined([replace(rated, human=None)]).human is None
    assert plain.joined([]).sums.counts.equal(plain.sums.counts)


@pytest.mark.parametrize(
    ("region", "compared"),
    [
        *(("foreground", True), ("boundary_RV", True), ("union", False), ("union_RV", False)),
        *(("predicted", False), ("near_lesion", False)),
    ],
)
def test_voxels_are_compared_where_labels_alone_decide_them(bins_file, region, compared):
    """Two models predict otherwise, and nobody knows what a region of the user's own depends on."""
    bins = replace(read_record(bins_file), regions=["all", region])
    fewer = replace(
        bins, sums=bins.sums[:].from_arrays({k: a.copy() for k, a in bins.sums.arrays().items()})
    )
    fewer.sums.counts[2, 1] += 1

    message = f"number of voxels in the region {region} of case '003'" if compared else ""
    assert bins.unlike_voxels(fewer) == message


def test_voxels_are_compared_by_case_region_and_class(folders, copies, change_arrays):
    """Alike if labels are; moved from one class to another they are not."""
    bins, other = (read_record(folder / "evaluation") for folder in folders)
    assert bins.unlike_voxels(other.ordered(other.cases[::-1])) == ""

    def move(arrays):
        arrays["positives"][2, 1, 2, 0] -= 1

    change_arrays(copies[0] / "evaluation/bins.npz", move)
    moved = read_record(copies[0] / "evaluation")
    assert bins.unlike_voxels(moved) == "number of voxels in the region foreground of case '003'"


@pytest.mark.parametrize(
    "change",
    [
        {"overlap": lambda volumes: 1.5 * volumes.predicted + 1},
        {"missed": lambda volumes: 1.5 * volumes.labeled + 100},
        {"expected": lambda volumes: 1.5 * volumes.expected_everywhere + 100},
        {"expected_overlap": lambda volumes: 1.5 * volumes.predicted + 100},
        {"contour": lambda volumes: -1 - volumes.contour},
        {"labeled": lambda volumes: volumes.labeled * torch.nan},
    ],
    ids=lambda change: next(iter(change)),
)
def test_volumes_that_no_voxels_give_are_refused(tmp_path, change):
    """Whatever the checksum says."""
    record = decided()
    volumes = {name: make(record.decisions) for name, make in change.items()}
    path = replace(record, decisions=replace(record.decisions, **volumes)).write(tmp_path / "b.npz")

    assert "a volume cannot be, in case 'a'" in refusal(path)


def test_volumes_of_other_structures_are_refused(tmp_path):
    """As many as the definition names."""
    record = decided()
    path = replace(record, decisions=record.decisions[:, :1]).write(tmp_path / "bins.npz")

    assert "is (2, 1), not (cases, structures) = (2, 2)" in refusal(path)


def test_margins_are_of_the_definition():
    """Sums within another margin, or in another unit, are not joined; sizes of a voxel are no matter."""
    near = {"margin_spacing": (1.0, 2.0, 1.0)}
    first = decided(**near)
    for options in ({"margin": 2.0, **near}, {}):
        with pytest.raises(InputError, match="region::near::(margin|unit)"):
            first.joined([decided(cases=["c"], **options)])
    other = decided(cases=["c"], margin_spacing=(0.5, 1.0, 3.0))
    joined = first.joined([other])
    assert joined.cases == ["a", "b", "c"]
    expected = torch.cat([first.decisions.missed, other.decisions.missed])
    same_bits(joined.decisions.missed, expected, "they are copied")


def test_pooled_numbers_are_of_all_cases_together():
    """Of the regions in which the label has no say, and of each structure; by hand from the sums."""
    record = decided(cases=["a", "b", "c"])
    found = record.pooled_numbers

    excess = (record.sums.confidences - record.sums.positives)[:, 0, 0].sum(0)
    voxels = record.sums.counts[:, 0, 0].sum()
    assert found["ece_near"].raw == pytest.approx((excess.abs().sum() / voxels).item())
    assert found["confidence_gap_near"].value == pytest.approx((excess.sum() / voxels).item())
    shares = record.decisions.missed.sum(0) / record.decisions.labeled.sum(0)
    for k, name in enumerate(record.decided):
        assert found[f"contour_misses_{name}"].value == pytest.approx(shares[k].item())
    assert found["contour_misses"].value == pytest.approx(shares.mean().item())
    assert found["expected_dice_error"].patients == 3
    assert not {"ece_foreground", "unpredicted"} & found.keys()
    alike = replace(record, patients=["p", "p", "p"]).pooled_numbers["ece_near"]
    assert np.isnan(alike.low)
    assert alike.patients == 1
