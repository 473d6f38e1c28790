"""Files of an evaluation: the numbers as written, or one line that says what is wrong."""

from contextlib import suppress
from functools import partial

import numpy as np
import pandas as pd
import pytest

from nacl_monai.errors import InputError
from nacl_monai.metrics.record import listed, read_arrays, read_record
from nacl_monai.reports.evaluation_files import read_cases
from nacl_monai.reports.slices import read_map


def refusal(read, path):
    """The line with which reading is refused."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


@pytest.fixture
def cases_file(copies):
    return copies[0] / "evaluation" / "cases.csv"


@pytest.fixture
def bins_file(copies):
    return copies[0] / "evaluation" / "bins.npz"


@pytest.fixture
def map_file(copies):
    return copies[0] / "evaluation" / "maps" / "003.npz"


class TestCases:
    def test_empty_cell_is_undefined(self, copies, cases_file, change_cases):
        """An empty cell is NaN."""
        change_cases(copies[0], lambda table: table.assign(hd95_RV=[None] + [2.0] * 6))

        hd95 = read_cases(cases_file)[0]["hd95_RV"]

        assert np.isnan(hd95.iloc[0])
        assert hd95.iloc[1:].tolist() == [2.0] * 6

    @pytest.mark.parametrize(
        ("edit", "line"),
        [
            *(
                (
                    partial(pd.DataFrame.drop, columns=name),
                    f"no column {name}; evaluate the run again",
                )
                for name in ("case", "dice", "hd95", "ece_foreground", "cece_foreground")
            ),
            (lambda table: table.assign(ece_foreground=["high"] + [0.1] * 6), "'ece_foreground'"),
            (lambda table: table.iloc[:0], "no test case"),
            (lambda table: pd.concat([table, table.iloc[[2]]]), "'003' is there twice"),
            (
                lambda table: table.assign(patient=["p1", "p1", "", "p2", "", "p3", "p3"]),
                "case '003' has no patient",
            ),
        ],
    )
    def test_table_that_no_evaluation_wrote_is_refused(
        self, copies, cases_file, change_cases, edit, line
    ):
        """Text, nothing, a case that counts twice, or cases of nobody; the column or case is named."""
        change_cases(copies[0], edit)

        assert line in refusal(read_cases, cases_file)

    @pytest.mark.parametrize("cells", [1, 4, -1])
    def test_row_that_is_cut_short_is_named(self, cases_file, cells):
        """What it lacks is not what an empty cell says: that a number is undefined."""
        *rows, last = cases_file.read_text().splitlines()
        cases_file.write_text("\n".join([*rows, ",".join(last.split(",")[:cells])]))

        assert f"line {len(rows) + 1} has not the header's cells; evaluate" in refusal(
            read_cases, cases_file
        )


@pytest.mark.parametrize(("name", "read"), [("cases.csv", read_cases), ("bins.npz", read_record)])
class TestUnusableFile:
    def test_missing_file_is_named_with_the_remedy(self, copies, name, read):
        """Whoever forgot to evaluate learns how."""
        path = copies[0] / "evaluation" / name
        path.unlink()

        assert "no such file; run `make evaluate` first" in refusal(read, path)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b'a,b\n"1'])
    def test_damaged_file_is_named(self, copies, name, read, content):
        """Whatever is in it, the message is one line."""
        path = copies[0] / "evaluation" / name
        path.write_bytes(content)

        refusal(read, path)


class TestMaps:
    def test_slice_is_that_of_the_file(self, map_file):
        """All pictures, the position and the classes, background first."""
        shown = read_map(map_file)

        with np.load(map_file) as archive:
            for key in ("image", "label", "prediction", "confidence", "entropy"):
                np.testing.assert_array_equal(getattr(shown, key), archive[key])
            assert shown.slice == archive["slice"]
            assert shown.classes == archive["classes"].tolist()
        assert shown.path == map_file

    def test_pictures_of_unlike_shape_are_refused(self, map_file, change_arrays):
        """Image, label, prediction and confidence must be on one grid."""
        change_arrays(map_file, lambda arrays: arrays.update(label=arrays["label"][1:]))

        assert "(39, 40), (40, 40)" in refusal(read_map, map_file)

    @pytest.mark.parametrize("key", ["label", "prediction"])
    def test_value_without_a_class_is_refused(self, map_file, change_arrays, key):
        """Every value of label and prediction has a class name."""

        def edit(arrays):
            arrays[key][:] = 3
            arrays["label" if key == "prediction" else "prediction"][:] = 0
            arrays["classes"] = arrays["classes"][:3]

        change_arrays(map_file, edit)

        assert "label value 3, but only 3 classes (background, RV, myo" in refusal(
            read_map, map_file
        )


class TestArrays:
    def test_flipped_bit_is_refused_or_changes_nothing(self, tmp_path):
        """Wherever it is: in the data, whose checksum tells, or in what announces them."""
        file, values = tmp_path / "x.npz", np.arange(200)
        np.savez_compressed(file, counts=values)
        whole = file.read_bytes()
        for place in range(len(whole)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
            with suppress(InputError):
                np.testing.assert_array_equal(read_arrays(file, ["counts"], "")["counts"], values)

    def test_remedy_ends_the_message(self, tmp_path):
        """The caller says what can be done about it."""
        with pytest.raises(InputError, match="x.npz: no such file; train again$"):
            read_arrays(tmp_path / "x.npz", ["counts"], "train again")


def test_long_lists_are_cut_and_counted():
    """Eight names are shown; of more it is told how many there are."""
    assert listed([1, 2]) == "1, 2"
    assert listed(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert listed(range(9)) == "0, 1, 2, 3, 4, 5, 6, 7 … (9 in all)"
    assert listed("abc", most=2) == "a, b … (3 in all)"
