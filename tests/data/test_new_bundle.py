"""What `nacl-monai new` chooses follows from the data, is a literal, and says why."""

import json
import shutil
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK
import yaml
from monai.bundle import ConfigParser

from nacl_monai.data.__main__ import main
from nacl_monai.data.check import check_dataset
from nacl_monai.data.new_bundle import Statements, new_bundle
from nacl_monai.data.survey import SAMPLED, choose_channels
from nacl_monai.errors import InputError
from nacl_monai.menus import read_dataset
from tests import own_data
from tests.conftest import ROOT, change, put, refused, save_nifti
from tests.own_data import NAMES, voxels, write_json

TURN = "nacl_monai.inference.orientation.TurnAxesd"


@pytest.fixture
def new(tmp_path):
    """Writes a bundle; returns the keys of its ``dataset.yaml``, and all reasons in one text."""

    def write(data, **options):
        folder = tmp_path / "bundles"
        shutil.rmtree(folder, ignore_errors=True)
        found = new_bundle("mine", data, folder, options=Statements(**options))
        assert found.faults == []
        keys = yaml.safe_load((folder / "mine/configs/dataset.yaml").read_text())
        return keys, ". ".join(choice.why for choice in found.choices)

    return write


def scaled(root, spacings):
    """Folders of pairs, the cases having these spacings in turn."""
    for number, spacing in enumerate(spacings):
        affine = np.diag([*spacing, 1.0])
        name = f"case_{number:03d}.nii.gz"
        own_data.write_pair([root / "images" / name], root / "labels" / name, number, affine)
    return root


class TestBundle:
    @pytest.mark.parametrize("name", own_data.FORMATS)
    def test_every_format_ends_in_a_bundle_that_passes_the_check(self, name, tmp_path):
        """It has all keys of our own bundles, no expression but references, and complete metadata."""
        data = own_data.FORMATS[name](tmp_path / "data")
        new_bundle("mine", data, tmp_path / "bundles")
        keys = read_dataset("mine", tmp_path / "bundles")
        ours = read_dataset("hippocampus", ROOT / "bundles")
        summary = check_dataset("mine", data, bundles=tmp_path / "bundles", preprocess=True)

        assert set(ours) <= set(keys)
        assert "$" not in yaml.safe_dump(keys)
        assert summary.faults == []
        assert len(summary.units) == keys["official_cases"] == len(NAMES)
        metadata = json.loads((tmp_path / "bundles/mine/configs/metadata.json").read_text())
        ours = json.loads((ROOT / "bundles/hippocampus/configs/metadata.json").read_text())
        assert set(metadata) == set(ours)
        image, pred = (metadata["network_data_format"][k] for k in ("inputs", "outputs"))
        assert image["image"]["num_channels"] == keys["in_channels"]
        assert list(pred["pred"]["channel_def"].values()) == keys["classes"]
        assert (tmp_path / "bundles/mine/docs/data_license.txt").is_file()

    @pytest.mark.parametrize("ending", [".mha", ".nrrd"])
    def test_images_of_itk_are_the_same_cases(self, tmp_path, ending):
        """The bundle is the same but for the ending, and passes the check on the same numbers."""
        summaries = {}
        for end in (".nii.gz", ending):
            data = own_data.folders(tmp_path / end / "data", ["_0000"])
            for file in sorted(data.glob("*/*")) if end == ending else ():
                image = SimpleITK.ReadImage(str(file))
                SimpleITK.WriteImage(image, str(file).replace(".nii.gz", ending))
                file.unlink()
            new_bundle("mine", data, tmp_path / end)
            summaries[end] = check_dataset("mine", data, bundles=tmp_path / end, preprocess=True)
            assert summaries[end].faults == []
            assert read_dataset("mine", tmp_path / end)["cases"].get("file_ending") == end

        assert summaries[ending].table() == summaries[".nii.gz"].table()

    def test_every_choice_is_a_comment_above_its_keys(self, new, tmp_path):
        """The reasons that are printed are those in the file."""
        _, reasons = new(own_data.folders(tmp_path / "data"))
        text = (tmp_path / "bundles/mine/configs/dataset.yaml").read_text()
        lines = [line for line in text.splitlines() if line.startswith("#")]
        comments = " ".join(line.removeprefix("# ") for line in lines)

        for sentence in reasons.split(". "):
            assert sentence in comments

    @pytest.mark.parametrize(
        ("name", "part"),
        [
            ("my data", "my data: is not a name of a dataset"),
            ("../x", "../x: is not a name of a dataset"),
            ("acdc", "acdc: is the name of another bundle"),
            ("common", "common: is the name of another bundle"),
            ("folder", "folder: is the name of another bundle"),
        ],
    )
    def test_name_that_cannot_be_used_is_refused(self, tmp_path, name, part):
        """Before the data are looked at."""
        assert refused(new_bundle, name, tmp_path / "nowhere", tmp_path).startswith(f"{part}")

    def test_bundle_that_is_there_is_not_overwritten(self, tmp_path):
        """Somebody may have edited it."""
        data = own_data.folders(tmp_path / "data")
        new_bundle("mine", data, tmp_path / "bundles")
        with pytest.raises(InputError, match="mine: is already there; edit or remove it"):
            new_bundle("mine", data, tmp_path / "bundles")

    def test_template_is_a_folder_of_any(self, tmp_path):
        """Whatever ends in .j2 is rendered, the rest copied; a folder without is refused."""
        data = own_data.folders(tmp_path / "data")
        template = tmp_path / "template"
        shutil.copytree(ROOT / "bundles/folder", template)
        (template / "note.txt.j2").write_text("{{ name }} has {{ classes | length }} classes\n")
        new_bundle("mine", data, tmp_path / "bundles", template)

        assert (tmp_path / "bundles/mine/note.txt").read_text() == "mine has 3 classes\n"
        with pytest.raises(InputError, match="is not a template, .*--from bundles/folder$"):
            new_bundle("other", data, tmp_path / "bundles", tmp_path)

    def test_nothing_is_written_where_the_data_have_faults(self, tmp_path, capsys):
        """All faults are named, one a line."""
        data = own_data.folders(tmp_path / "data")
        (data / "images/case_000.nii.gz").unlink()
        (data / "labels/case_003.nii.gz").write_bytes(b"nothing")
        change(data / "labels/case_004.nii.gz", put(1.5))
        args = ["new", "mine", str(data), "--bundles", str(tmp_path / "bundles")]

        assert main(args) == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if "fault: " in line]
        names = [line.split("/")[-1].partition(".nii.gz: ")[0] for line in lines]
        assert names == [f"case_00{number}" for number in (0, 3, 4)]
        assert not (tmp_path / "bundles").exists()


class TestClasses:
    def test_regions_are_structures_of_classes(self, new, tmp_path):
        """Values without a label of their own are classes all the same; names become words."""
        labels = {"background": 0, "whole tumor": [1, 2, 4], "tumor core": [2, 4], "ET": 4}
        data = own_data.nnunet(tmp_path / "data", labels=labels)
        for seed, name in enumerate(NAMES):
            image, label = voxels(seed, values=(0, 1, 2, 4))
            save_nifti(image, data / f"imagesTr/{name}_0000.nii.gz")
            save_nifti(label, data / f"labelsTr/{name}.nii.gz")
        keys, reasons = new(data)

        assert keys["classes"] == ["background", "value_1", "value_2", "ET"]
        assert keys["label_values"] == [[0], [1], [2], [4]]
        assert keys["structures"] == {"whole_tumor": [1, 2, 3], "tumor_core": [2, 3], "ET": [3]}
        assert "which overlap" in reasons

    @pytest.mark.parametrize(
        ("labels", "part"),
        [
            ({"background": 0, "a": 1}, "holds the label value 2, which"),
            ({"background": 0, "a": 1, "b": 2, "c": 3}, "no case holds the value 3"),
        ],
    )
    def test_labels_and_description_that_differ_are_faults(self, tmp_path, labels, part):
        """Whichever has what the other lacks."""
        data = own_data.nnunet(tmp_path / "data", labels=labels)
        found = new_bundle("mine", data, tmp_path / "bundles")

        assert [part in str(fault) for fault in found.faults] == [True]
        assert str(data / "dataset.json") in str(found.faults[0])

    def test_voxels_that_nobody_labeled_are_no_class(self, new, tmp_path):
        """Nor part of the foreground of a CT."""
        data = own_data.nnunet(tmp_path / "data", channel_names={"0": "CT"})
        whole, _ = new(data)
        own_data.ignore_some(data)
        file = data / "dataset.json"
        write_json(file, {**json.loads(file.read_text()), "channel_names": {"0": "CT"}})
        for name in NAMES:  # far outside of what is labeled
            label = nibabel.load(data / f"labelsTr/{name}.nii.gz").get_fdata()
            change(
                data / f"imagesTr/{name}_0000.nii.gz",
                lambda image, hidden=label == own_data.IGNORED: np.where(hidden, 9e3, image),
            )
        keys, reasons = new(data)

        assert keys["classes"] == whole["classes"]
        assert (keys["ignore_index"], "ignore_index" in whole) == (own_data.IGNORED, False)
        assert keys["preprocessing"][-1]["a_max"] < 300
        assert "Voxels of the value 4 are not labeled" in reasons

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.5])
    def test_value_that_is_no_whole_number_is_a_fault_of_the_file(self, tmp_path, value):
        """Infinity among them."""
        data = own_data.folders(tmp_path / "data")
        change(data / "labels/case_004.nii.gz", put(value))
        (fault,) = new_bundle("mine", data, tmp_path / "bundles").faults

        assert str(fault).startswith(f"{data}/labels/case_004.nii.gz: holds {value:g}; a label map")

    def test_images_among_the_labels_are_faults(self, tmp_path):
        """Each intensity would be a class, and hundreds do not fit into a byte."""
        data = own_data.folders(tmp_path / "data")
        rng = np.random.default_rng(0)
        for file in (data / "labels").iterdir():
            change(file, lambda label: rng.integers(-1000, 1000, label.shape).astype(np.int16))
        faults = new_bundle("mine", data, tmp_path / "bundles").faults

        assert len(faults) == len(NAMES)
        assert str(faults[0]).startswith(f"{data}/labels/case_000.nii.gz: holds ")
        assert str(faults[0]).endswith("look whether images and labels are interchanged")

    @pytest.mark.parametrize("modality", ["CT", None])
    def test_labels_of_nothing_are_refused(self, new, tmp_path, modality):
        """There is no class, nor a foreground for the window of a CT."""
        data = own_data.folders(tmp_path / "data")
        for file in (data / "labels").iterdir():
            change(file, np.zeros_like)
        with pytest.raises(InputError, match=f"^{data}: no label holds anything but 0; put label"):
            new(data, modality=modality)

    @pytest.mark.parametrize("names", [("a b", "a_b"), ("?", "b"), ("background", "b")])
    def test_names_that_are_alike_are_refused(self, tmp_path, names):
        """As columns of a table they would be one."""
        labels = {"nothing": 0, names[0]: 1, names[1]: 2}
        data = own_data.nnunet(tmp_path / "data", labels=labels)
        with pytest.raises(InputError, match="give each a name of its own"):
            new_bundle("mine", data, tmp_path / "bundles")


class TestSplit:
    def test_patients_are_by_pattern_or_table(self, new, tmp_path):
        """The rule is in the bundle, a table with all its lines."""
        data = own_data.folders(tmp_path / "data")
        table = tmp_path / "people.csv"
        people = [[name, f"p{number // 2}"] for number, name in enumerate(NAMES)]
        table.write_text("\n".join(["case,patient", *map(",".join, people), ""]))
        keys, reasons = new(data, patients=table)
        assert keys["cases"]["patient_of"]["patients"] == people
        assert "3 patients are those of people.csv" in reasons

        keys, _ = new(data, patient_pattern=r"case_(\d+)")
        config = {"cases": keys["cases"], "dataset_dir": str(data)}
        cases = ConfigParser(config).get_parsed_content("cases")
        assert [case["patient"] for case in cases] == [name[5:] for name in NAMES]

    def test_test_set_is_literal_and_the_rest_is_drawn(self, new, tmp_path):
        """It is the same for every seed."""
        keys, _ = new(own_data.nnunet(tmp_path / "data", test=2))
        config = {**keys, "split_seed": 3}
        split = ConfigParser(config).get_parsed_content("draw_split")(NAMES)

        assert keys["official_sets"] == {"test": NAMES[4:]}
        assert keys["split_proportions"] == {"train": 70, "val": 10}
        assert split["test"] == NAMES[4:]

    def test_official_set_is_not_enlarged_by_its_patients(self, new, tmp_path):
        """A training case of somebody who is tested would be tested, too; the set would be another."""
        names = ["p0_a", "p1_a", "p2_a", "p3_a", "p0_b", "p4_a", "p4_b"]
        data = own_data.nnunet(tmp_path / "data", test=3, names=names)
        assert refused(new, data, patient_pattern=r"(p\d)_") == (
            f"{data}: the patient p0 is in the official set test with the case p0_b, but not with p0_a; "
            "remove one of the cases, or correct the patients"
        )

        for file in data.glob("*Tr/p0_a*"):
            file.unlink()
        file = data / "dataset.json"
        write_json(file, {**json.loads(file.read_text()), "numTraining": 3})
        assert new(data, patient_pattern=r"(p\d)_")[0]["official_sets"] == {"test": ["p0", "p4"]}

    def test_folds_are_of_patients(self, new, tmp_path):
        """Cases of one patient are one entry; a patient in two folds is refused."""
        data = own_data.nnunet(tmp_path / "data")
        folds = [NAMES[:2], NAMES[2:4], NAMES[4:]]
        splits = [{"train": [n for n in NAMES if n not in fold], "val": fold} for fold in folds]
        write_json(data / "splits_final.json", splits)
        keys, _ = new(data)
        assert (keys["folds"], keys["fold"], keys["official_folds"]) == (3, 0, folds)

        with pytest.raises(InputError, match="0: is in two sets of the bundle's split"):
            new(data, patient_pattern=r"case_0(\d)")

    def test_folds_beside_an_official_validation_set_are_left_out_in_words(self, new, tmp_path):
        """Who validates is given; a fold would be another answer."""
        data = own_data.datalist(tmp_path / "data")
        *training, last = json.loads((data / "brain.json").read_text())["training"]
        folds = [{**entry, "fold": number % 2} for number, entry in enumerate(training)]
        write_json(data / "brain.json", {"training": folds, "validation": [last]})
        keys, reasons = new(data)

        assert (keys["official_sets"], "folds" in keys) == ({"val": ["case_005_t1"]}, False)
        assert "The folds are left out, since who validates is given" in reasons

    def test_pattern_that_monai_would_evaluate_is_refused(self, new, tmp_path):
        """With another that means the same."""
        names = [f"p@{number}" for number in range(6)]
        data = own_data.folders(tmp_path / "data", names=names)
        with pytest.raises(InputError, match=r"^--patient-pattern: '@\(.*begin it with \(\?:\)"):
            new(data, patient_pattern=r"@(\d)")

        keys, _ = new(data, patient_pattern=r"(?:)@(\d)")
        assert keys["cases"]["patient_of"]["pattern"] == r"(?:)@(\d)"


class TestImages:
    @pytest.mark.parametrize(
        ("spacings", "options", "pixdim"),
        [
            ([(1, 1, 1)] * 3, {}, None),
            ([(1, 1, 1), (1.001, 1, 1), (1, 1, 1)], {}, None),
            ([(1, 1, 1), (1.2, 1, 1), (1.4, 1, 1.3)], {}, [1.2, 1.0, 1.0]),
            ([(1, 1, 5), (2, 1, 6), (3, 1, 7)], {}, [2.0, 1.0, -1.0]),
            ([(1, 1, 1), (1.2, 1, 1), (1.4, 1, 1.3)], {"spacing": "none"}, None),
            ([(1, 1, 1)] * 3, {"spacing": "2,2,-1"}, [2.0, 2.0, -1.0]),
        ],
    )
    def test_spacing_is_the_median_or_as_given(self, new, tmp_path, spacings, options, pixdim):
        """Equal ones are left; thick slices are not resampled into each other."""
        keys, _ = new(scaled(tmp_path / "data", spacings), **options)
        steps = {step["_target_"]: step for step in keys["preprocessing"] if isinstance(step, dict)}

        assert steps.get("Spacingd", {}).get("pixdim") == pixdim

    @pytest.mark.parametrize("spacing", ["1,1", "0,1,1", "a", "-2,1,1", "nan,1,1", ""])
    def test_spacing_that_is_none_is_refused(self, new, tmp_path, spacing):
        """The message says what to write."""
        data = own_data.folders(tmp_path / "data")
        line = f"--spacing {spacing}: is not a spacing; write median"
        assert refused(new, data, spacing=spacing).startswith(line)

    def test_size_holds_the_largest_slice_as_it_is_preprocessed(self, new, tmp_path):
        """To the voxel, by MONAI's own resampling."""
        data = scaled(tmp_path / "data", [(1.3, 0.7, 1), (0.6, 1.9, 1), (2.1, 0.8, 1)])
        keys, reasons = new(data)
        config = {**keys, "dataset_dir": str(data)}
        parser = ConfigParser({**yaml.safe_load((ROOT / "bundles/common/model.yaml").read_text())})
        parser.update(config)
        steps = parser.get_parsed_content("reading")
        sizes = []
        for case in parser.get_parsed_content("cases"):
            volume = case
            for step in steps:
                volume = step(volume)
            sizes.append(volume["label"].shape[1:])
        height, width, depth = np.max(sizes, axis=0)

        assert f"The largest slices are {height}×{width};" in reasons
        assert keys["spatial_size"] == [max(32, -(-size // 16) * 16) for size in (height, width)]
        padded = [-(-size // 16) * 16 for size in (height, width, depth)]
        assert keys["patch"] == [min(96, size) for size in padded]

    def test_thick_slices_go_last(self, new, tmp_path):
        """Whatever axis they are along; otherwise the shared step turns."""
        sagittal = np.array([[0, 0, 5.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
        keys, reasons = new(own_data.nnunet(tmp_path / "a", affine=sagittal))
        (turn, *_) = keys["preprocessing"]
        assert (turn["_target_"], turn["slices_last"]) == (TURN, True)
        assert keys["spatial_size"] == [32, 32]
        assert "Thick slices" in reasons

        axial, _ = new(own_data.nnunet(tmp_path / "b", affine=np.diag([1.0, 1, 5, 1])))
        assert axial["preprocessing"][0] == "@to_ras"

    def test_window_of_a_ct_is_of_foreground_voxels_of_those_who_train(self, new, tmp_path):
        """The percentiles are those of all its voxels; the official test set has no say."""
        data = own_data.nnunet(tmp_path / "data", test=2, channel_names={"0": "CT"})
        keys, reasons = new(data)
        ends = {"images": "_0000", "labels": ""}.items()
        names = [[f"{folder}Tr/{name}{end}.nii.gz" for folder, end in ends] for name in NAMES[:4]]
        pairs = [[nibabel.load(data / file).get_fdata() for file in pair] for pair in names]
        foreground = np.concatenate([image[label > 0] for image, label in pairs])
        window = keys["preprocessing"][-1]

        assert all((label > 0).sum() < SAMPLED for _, label in pairs)
        ends = [window["a_min"], window["a_max"]]
        # The file has a digit.
        np.testing.assert_allclose(ends, np.percentile(foreground, [0.5, 99.5]), atol=0.05)
        assert (window["b_min"], window["b_max"], window["clip"]) == (0.0, 1.0, True)
        assert "the foreground of 4 cases" in reasons

    def test_ct_whose_foreground_is_constant_is_refused(self, new, tmp_path):
        """Its percentiles are one."""
        data = own_data.nnunet(tmp_path / "data", channel_names={"0": "CT"})
        for name in NAMES:
            label = nibabel.load(data / f"labelsTr/{name}.nii.gz").get_fdata()
            change(
                data / f"imagesTr/{name}_0000.nii.gz",
                lambda voxels, label=label: np.where(label > 0, 0.5, voxels).astype(np.float32),
            )
        assert "nearly all of the CT's foreground is 0.5, which gives" in refused(new, data)

    def test_window_and_modality_may_be_given(self, new, tmp_path):
        """Where no file says it; other modalities are scaled by volume."""
        data = own_data.folders(tmp_path / "data")
        assert new(data)[0]["preprocessing"][-1] == "@scale_by_percentiles"
        assert new(data, modality="MRI")[0]["preprocessing"][-1] == "@scale_by_percentiles"
        step = new(data, window=(-160.0, 240.0))[0]["preprocessing"][-1]
        assert (step["a_min"], step["a_max"]) == (-160.0, 240.0)
        step = new(data, modality="ct")[0]["preprocessing"][-1]
        assert step["_target_"] == "ScaleIntensityRanged"
        assert refused(new, data, window=(3.0, 2.0)).startswith("--window 3 2: is empty")

    def test_ct_beside_another_modality_is_refused_until_somebody_decides(self, new, tmp_path):
        """One step scales all channels; the message says how to decide, and that works."""
        names = {"0": "CT", "1": "MRI"}
        data = own_data.nnunet(tmp_path / "data", channels=2, channel_names=names)
        for options in ({}, {"window": (0.0, 250.0)}):
            with pytest.raises(InputError, match="the channels are CT, MRI, .* --modality mixed"):
                new(data, **options)

        assert new(data, modality="mixed")[0]["preprocessing"][-1] == "@scale_by_percentiles"

    def test_channels_in_folders_of_their_own_are_not_found_by_name(self):
        """A training knows them by the list; inference would take one file for all."""
        described = SimpleNamespace(channels=[], modalities=["", ""])
        why, keys = choose_channels(described, SimpleNamespace(channels=2))

        assert keys == {"modalities": ["", ""], "in_channels": 2}
        assert "so that inference cannot find them by name" in why

    def test_channels_that_differ_are_named(self, tmp_path):
        """Between the cases, and between them and the description."""
        data = own_data.decathlon(tmp_path / "data")
        image, _ = voxels(0)
        save_nifti(image, data / "imagesTr/case_003.nii.gz")
        (fault,) = new_bundle("mine", data, tmp_path / "bundles").faults
        assert "case_003.nii.gz: the image has 1 channel(s), but 2 in" in str(fault)

        for name in NAMES:
            save_nifti(image, data / f"imagesTr/{name}.nii.gz")
        line = "names 2 channel(s), T2, ADC, but the images have 1"
        assert line in refused(new_bundle, "mine", data, tmp_path / "bundles")


class TestCommand:
    def test_reasons_and_the_next_command_are_printed(self, tmp_path, capsys):
        """Both ways of naming the data are one."""
        data = own_data.folders(tmp_path / "data")
        for number, args in enumerate(([str(data)], ["--dataset_dir", str(data)])):
            name = f"mine{number}"
            assert main(["new", name, *args, "--bundles", str(tmp_path / "own")]) == 0
            printed = capsys.readouterr().out
            assert "- 6 labeled cases in two folders of pairs. Nobody says" in printed
            check = f"next: nacl-monai check {name} {data} --bundles {tmp_path}/own --preprocess"
            assert printed.endswith(f"wrote {tmp_path}/own/{name}\n{check}\n")

    def test_values_may_begin_with_a_hyphen(self, tmp_path, capsys):
        """As a spacing of -1, and a pattern, do; no word is taken for an option."""
        data = own_data.folders(tmp_path / "data")
        args = [str(data), "--bundles", str(tmp_path / "own")]
        assert main(["new", "a", *args, "--spacing", "-1,-1,3"]) == 0
        keys = read_dataset("a", tmp_path / "own")
        assert keys["preprocessing"][1]["pixdim"] == [-1, -1, 3]

        assert main(["new", "b", *args, "--patient-pattern", r"-(\d+)"]) == 1
        assert r"does not match --patient-pattern '-(\\d+)'" in capsys.readouterr().err

    @pytest.mark.parametrize("args", [[], ["a", "--dataset_dir", "b"]])
    def test_data_are_named_once(self, capsys, args):
        """Neither none nor two."""
        assert main(["new", "mine", *args]) == 2
        line = "error: --dataset_dir: name the folder of the data, once\n"
        assert capsys.readouterr().err == line
