"""Every format is recognized by what is there, read in the same words, and refused in one line."""

import json

import pytest
from monai.bundle import ConfigParser

from nacl_monai.data.cases import image_files
from nacl_monai.data.formats import FORMATS, describe, read_ignored, read_label_values
from nacl_monai.errors import InputError
from tests import own_data
from tests.conftest import refused
from tests.own_data import NAMES, write_json

TWO = {"background": 0, "a": 1, "b": 2}
FOLD = {"train": ["b"], "val": ["a"]}


def cases_of(description, root):
    config = {"cases": {**description.cases, "_mode_": "callable"}, "dataset_dir": str(root)}
    return ConfigParser(config).get_parsed_content("cases")()


def refusal(root):
    """The one line by which a folder is refused."""
    return refused(lambda: cases_of(describe(root), root))


@pytest.mark.parametrize("name", FORMATS)
class TestEveryFormat:
    def test_is_recognized_and_its_cases_are_found(self, name, tmp_path):
        """By what is there alone; the cases are those that were written, in order."""
        root = own_data.FORMATS[name](tmp_path / "data")
        description = describe(root)
        cases = cases_of(description, root)

        assert description == FORMATS[name].describe(root)
        assert [format_.is_there(root) for key, format_ in FORMATS.items() if key == name] == [True]
        assert [case["case"].removesuffix("_t1") for case in cases] == NAMES
        assert all("patient" not in case for case in cases)
        assert len(description.modalities) == len(image_files(cases[0]))

    def test_missing_file_is_named(self, name, tmp_path):
        """A label, and an image, without its partner."""
        for number, part in enumerate(("image", "label")):
            root = own_data.FORMATS[name](tmp_path / f"data{number}")
            case = cases_of(describe(root), root)[1]
            file = image_files(case)[-1] if part == "image" else case["label"]
            (tmp_path / file).unlink()

            assert file in refusal(root)


def test_folder_of_no_format_says_what_would_be_one(tmp_path):
    """All formats are listed; a folder that is missing is another fault."""
    assert refusal(tmp_path).startswith(f"dataset_dir {tmp_path}: is of no known format; put there")
    for format_ in FORMATS.values():
        assert format_.shape in refusal(tmp_path)
    assert "no such folder" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("write", "file", "part"),
    [
        (own_data.nnunet, "imagesTr/case_000_0001.nii.gz", "_0000.nii.gz; dataset.json names 1 ch"),
        (own_data.nnunet, "imagesTr/x.nrrd", "_0000.nii.gz; dataset.json names 1 channel(s)"),
        (own_data.nnunet, "labelsTr/x.nii", ".nii.gz; which dataset.json has as file_ending"),
        (own_data.folders, "images/x.png", ".nii.gz or .nii or .mha or .nrrd; no other file can"),
        (own_data.folders, "labels/x.nii", ".nii.gz; as case_000"),
    ],
)
def test_file_that_would_be_left_out_is_named(tmp_path, write, file, part):
    """Of a channel that nothing declares, and with another ending than the others."""
    root = write(tmp_path)
    (root / file).touch()

    assert refusal(root).startswith(f"{root}/{file}: does not end in {part}")


@pytest.mark.parametrize(
    ("write", "folder"), [(own_data.nnunet, "imagesTr"), (own_data.folders, "labels")]
)
def test_folder_among_the_files_is_named(tmp_path, write, folder):
    """With some of the files, or with all of them."""
    root = write(tmp_path)
    below = root / folder / "site_a"
    below.mkdir()
    for file in sorted((root / folder).glob("*.nii.gz")):
        file.rename(below / file.name)
        assert refusal(root).startswith(f"{below}: is a folder, whose files would be left out;")


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "part"),
        [
            ({"background": 0, "a": "1"}, "the value of a is 1; write a whole number"),
            ({"background": 0, "a": 1.5}, "the value of a is 1.5"),
            ({"background": 0, "a": []}, "the value of a is []"),
            ({"background": 0, "a": True}, "the value of a is True"),
            ({"a": 1}, "the value 0 must be the background"),
            ({"background": 0}, "the value 0 must be the background"),
            ({"background": 0, "a": [0, 1]}, "the value 0 must be the background"),
            ({"background": 0, "nothing": 0, "a": 1}, "the value 0 must be the background"),
            ({"0": "background", "1": "a", "2": "a"}, "2 values are called a; give each a name"),
        ],
    )
    def test_what_cannot_be_meant_is_one_line(self, labels, part):
        """It names the file and the label."""
        with pytest.raises(InputError, match="^dataset.json: labels: ") as caught:
            read_label_values("dataset.json", labels)
        assert part in str(caught.value)


class TestIgnored:
    def test_label_of_that_name_is_no_class(self, tmp_path):
        """As nnU-Net has it, with regions as well."""
        labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 4}
        found = describe(own_data.nnunet(tmp_path / "data", labels=labels))

        assert found.labels == {"whole": [1, 2], "core": [2]}
        assert found.ignored == 4
        assert describe(own_data.nnunet(tmp_path / "all")).ignored is None
        labels = {"0": "background", "1": "a", "2": "ignore"}
        assert describe(own_data.datalist(tmp_path / "list", labels=labels)).ignored == 2

    @pytest.mark.parametrize(
        ("labels", "part"),
        [
            ({"a": 3, "ignore": 2}, "ignore is 2, but must be one value above .* others, 3"),
            ({"a": 1, "ignore": 1}, "ignore is 1, but"),
            ({"a": [1, 4], "ignore": 4}, "ignore is 4, but"),
            ({"a": 1, "ignore": [2, 3]}, "ignore is 2, 3, but must be one value"),
            ({"a": 1, "ignore": 256}, "ignore is 256, .* and at most 255"),
            ({"a": 1, "ignore": "4"}, "the value of ignore is 4; write a whole number"),
        ],
    )
    def test_what_cannot_be_ignored_is_one_line(self, labels, part):
        """It names the file and the value."""
        with pytest.raises(InputError, match=f"^dataset.json: labels: .*{part}"):
            read_ignored("dataset.json", {"background": 0, **labels})


class TestNnunet:
    @pytest.mark.parametrize(
        ("keys", "part"),
        [
            ({"labels": None}, "has no labels; add it"),
            ({"channel_names": {}}, "has no channel_names; add it"),
            ({"file_ending": ".png"}, "file_ending is '.png', which cannot be read"),
            ({"file_ending": None}, "file_ending is None"),
            ({"channel_names": {"1": "MRI"}}, "channel_names must be of 0, not 1"),
            ({"dataset": {}}, "lists its files under `dataset`"),
        ],
    )
    def test_key_that_cannot_be_meant_is_named(self, tmp_path, keys, part):
        """With the file in which it is."""
        root = own_data.nnunet(tmp_path, **keys)

        assert refusal(root).startswith(f"{root}/dataset.json: ")
        assert part in refusal(root)

    def test_official_test_set_counts_if_it_has_labels(self, tmp_path):
        """Without labels nobody could say how good a prediction is."""
        root = own_data.nnunet(tmp_path, test=2)
        assert describe(root).sets == {"test": NAMES[4:]}
        assert len(cases_of(describe(root), root)) == 6

        for label in (root / "labelsTs").iterdir():
            label.unlink()
        (root / "labelsTs").rmdir()
        assert describe(root).sets == {}
        assert [case["case"] for case in cases_of(describe(root), root)] == NAMES[:4]

    @pytest.mark.parametrize(
        ("declared", "missing"), [(6, 1), (5, 0), ("six", 0)], ids=["fewer", "more", "no number"]
    )
    def test_other_number_of_cases_than_declared_is_refused(self, tmp_path, declared, missing):
        """A copy that was interrupted between two cases would train on the others, without a word."""
        root = own_data.nnunet(tmp_path, numTraining=declared)
        for name in NAMES[:missing]:
            for file in root.glob(f"*Tr/{name}*"):
                file.unlink()

        line = f"numTraining is {declared!r}, but imagesTr and labelsTr hold {6 - missing} case(s)"
        assert f"{root}/dataset.json: {line}" in refusal(root)

    def test_folds_are_those_of_the_file(self, tmp_path):
        """Each case validates in one and trains in the others."""
        root = own_data.nnunet(tmp_path)
        folds = [NAMES[:2], NAMES[2:4], NAMES[4:]]
        splits = [{"train": [n for n in NAMES if n not in fold], "val": fold} for fold in folds]
        write_json(root / "splits_final.json", splits)
        assert describe(root).folds == folds

        text = (root / "splits_final.json").read_text()
        (root / "splits_final.json").write_text(text, encoding="utf-8-sig")
        assert describe(root).folds == folds
        write_json(root / "splits_final.json", {})
        assert describe(root).folds == []

    @pytest.mark.parametrize(
        ("splits", "part"),
        [
            ([{"val": ["a"]}], "is not a list of folds"),
            ("[", "is not a list of folds"),
            ([{"train": ["a"], "val": ["a"]}], "is not a cross-validation"),
            ([FOLD, FOLD], "is not a cross-validation"),
            ([FOLD, {"train": [], "val": ["b"]}], "is not a cross-validation"),
        ],
    )
    def test_other_folds_are_refused(self, tmp_path, splits, part):
        """A case that is left out, or validates twice, would change who is tested."""
        root = own_data.nnunet(tmp_path)
        text = splits if isinstance(splits, str) else json.dumps(splits)
        (root / "splits_final.json").write_text(text)

        assert refusal(root).startswith(f"{root}/splits_final.json: {part}")


class TestDecathlon:
    def test_modalities_of_one_file_are_channels(self, tmp_path):
        """In the order of their numbers; unlabeled test cases do not count."""
        description = describe(own_data.decathlon(tmp_path))

        assert description.channels == ["T2", "ADC"]
        assert description.modalities == [""]
        assert description.title == "Brain"
        assert description.sets == {}


class TestDatalist:
    def test_sets_and_folds_are_official(self, tmp_path):
        """Cases are called after their folders where files are called alike."""
        root = own_data.datalist(tmp_path)
        content = json.loads((root / "brain.json").read_text())
        *training, validation, testing = content["training"]
        for number, entry in enumerate(training):
            entry["fold"] = number % 2
        lists = {"training": training, "validation": [validation], "testing": [testing]}
        labels = {"0": "background", "1": "a", "2": "b"}
        write_json(root / "brain.json", {**lists, "labels": labels})
        description = describe(root)

        assert description.sets == {"val": ["case_004_t1"], "test": ["case_005_t1"]}
        assert description.folds == [
            ["case_000_t1", "case_002_t1"],
            ["case_001_t1", "case_003_t1"],
        ]
        assert description.labels == {"a": [1], "b": [2]}
        assert description.modalities == ["t1", "t2"]
        assert len(cases_of(description, root)) == 6

    @pytest.mark.parametrize(
        "folds", [[0, 1, 3], [0, 1, None], [0, 1, "2"], [1, 2, 3], [[0], [1], [2]]]
    )
    def test_folds_that_have_gaps_are_refused(self, tmp_path, folds):
        """Nobody could say which number means which."""
        root = own_data.datalist(tmp_path)
        content = json.loads((root / "brain.json").read_text())
        for number, entry in enumerate(content["training"]):
            entry |= {"fold": folds[number % 3]}
        write_json(root / "brain.json", content)

        assert "the folds must be 0, 1, 2" in refusal(root)

    def test_labels_are_names_and_modality_may_be_anything(self, tmp_path):
        """A word for the modality names no channel."""
        assert describe(own_data.datalist(tmp_path / "a", modality="MR")).channels == []
        assert "brain.json: has no labels" in refusal(own_data.datalist(tmp_path / "b", labels=3))

    @pytest.mark.parametrize("name", ["training", "validation"])
    def test_channels_in_another_order_are_refused(self, tmp_path, name):
        """A network would be given T2 for T1 in one of the cases, without a word."""
        root = own_data.datalist(tmp_path)
        *training, last = json.loads((root / "brain.json").read_text())["training"]
        last["image"].reverse()
        content = {"training": training}
        content.setdefault(name, []).append(last)
        write_json(root / "brain.json", content)

        assert refusal(root) == (
            f"{root}/brain.json: the channels of case_005/t2.nii.gz are t2, t1, but t1, t2 elsewhere; "
            "list them in one order, in files that are called alike"
        )

    @pytest.mark.parametrize(
        ("names", "modalities"),
        [
            ("{case}_{channel}_brain", ["t1_brain", "t1ce_brain"]),
            ("{case}-{channel}", ["t1", "t1ce"]),
            ("{case}/{channel}", ["t1", "t1ce"]),
            ("{channel}/{case}", ["", ""]),
            ("{case}/{channel}/image", ["", ""]),
        ],
    )
    def test_names_or_folders_tell_channels_apart(self, tmp_path, names, modalities):
        """In a list that swaps those of one case they are noticed; folders are not the end of a name."""
        entries = []
        for case in NAMES:
            channels = (names.format(case=case, channel=channel) for channel in ("t1", "t1ce"))
            images = [f"{name}.nii.gz" for name in channels]
            entries.append({"image": images, "label": f"{case}_seg.nii.gz"})
        write_json(tmp_path / "list.json", {"training": entries})
        assert describe(tmp_path).modalities == modalities

        entries[3]["image"].reverse()
        write_json(tmp_path / "list.json", {"training": entries})
        line = r"case_003.* are t1ce.*, t1.*, but t1.*, t1ce.* elsewhere"
        with pytest.raises(InputError, match=line):
            describe(tmp_path)

    def test_files_that_nothing_tells_apart_are_refused(self, tmp_path):
        """Names of which some are alike are neither a channel's nor a folder's."""
        images = ["a/x.nii.gz", "b/x.nii.gz", "a/y.nii.gz"]
        write_json(tmp_path / "list.json", {"training": [{"image": images, "label": "seg.nii.gz"}]})

        assert "neither names nor folders tell the files of a/x.nii.gz apart" in refusal(tmp_path)

    def test_two_datalists_are_refused(self, tmp_path):
        """Both are named."""
        root = own_data.datalist(tmp_path)
        write_json(root / "other.json", {"training": []})

        assert "has several datalists, brain.json, other.json; move all but one" in refusal(root)


class TestFolders:
    def test_dataset_json_of_no_known_format_is_not_left_out(self, tmp_path):
        """It says something that would be lost."""
        root = own_data.nnunet(tmp_path)
        write_json(root / "dataset.json", {"labels": TWO})

        assert refusal(root).startswith(f"{root}/dataset.json: has neither channel_names")

    def test_channels_are_the_ends_of_names(self, tmp_path):
        """Unless labels end so, too: then they are numbers of cases."""
        assert describe(own_data.folders(tmp_path / "a")).modalities == [""]
        several = describe(own_data.folders(tmp_path / "b", ["_0000", "_0001"]))
        assert several.modalities == ["_0000", "_0001"]
        numbered = own_data.folders(tmp_path / "c")
        for folder in ("images", "labels"):
            for file in (numbered / folder).iterdir():
                file.rename(file.with_name(file.name.replace("case_", "case_0")))
        assert describe(numbered).modalities == [""]
        assert len(cases_of(describe(numbered), numbered)) == 6

    def test_image_without_channel_among_others_is_named(self, tmp_path):
        """It would be left out."""
        root = own_data.folders(tmp_path, ["_0000"])
        (root / "images/case_001_0000.nii.gz").rename(root / "images/odd.nii.gz")

        assert f"{root}/images/odd.nii.gz: has no channel in its name" in refusal(root)

    def test_empty_folder_is_refused(self, tmp_path):
        """There is nothing to look at."""
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir()

        assert refusal(tmp_path).startswith(f"{tmp_path}/images: holds no images")
