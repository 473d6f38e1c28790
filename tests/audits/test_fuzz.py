"""Whatever is typed over whatever folder: 0, 1 or 2, one line a fault, and every number is NumPy's.

Each line draws a study, a layout, what is damaged in it, and the options. What must come of that is
written down here by hand.
"""

import io
import os
import re
import secrets
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from nacl_monai.cli import main
from tests.predictions.conftest import Study, exit_code, moved, save

pytestmark = pytest.mark.nightly

LINES = int(os.environ.get("FUZZ_LINES", "2000"))
REGIONS = ("foreground", "union", "all")


@dataclass
class Line:
    """A command, and what is to come of it."""

    args: list = field(default_factory=list)
    audit: Path = Path()  # where the table is to be
    damaged: set = field(default_factory=set)
    refused: str = ""  # why the whole command is
    num_bins: int = 15
    regions: tuple = REGIONS


def small_cases(rng):
    return {f"p{k // 2}_s{k}": other_case(rng) for k in range(rng.integers(1, 4))}


def other_case(rng):
    label = rng.choice(3, (6, 5, 4), p=rng.dirichlet([5, 1, 1]))
    logits = rng.normal(0, 1, (3, 6, 5, 4)) + 2 * (label == np.arange(3)[:, None, None, None])
    exponentials = np.exp(rng.choice([0.3, 1, 4]) * logits)
    return (exponentials / exponentials.sum(0)).astype(np.float32), label


# Layouts, with the files of a case.
LAYOUTS = {
    "nnunet": (Study.nnunet, "{case}.npz"),
    "training": (Study.training, "fold_*/validation/{case}.npz"),
    "channels": (Study.channels, "{case}.nii.gz"),
    "per_class": (Study.per_class, "{case}_anterior.nii.gz"),
}


def rewritten(file, change):
    """Changes the probabilities that a file holds."""
    if file.suffix == ".npz":
        with np.load(file) as archive:
            probs = archive["probabilities"]
        np.savez(file, probabilities=change(probs))
    else:
        image = nibabel.load(file)
        voxels = change(np.asarray(image.dataobj))
        nibabel.save(nibabel.Nifti1Image(voxels, image.affine), file)


def one_voxel(value):
    def change(voxels):
        voxels = voxels.copy()
        voxels.flat[17] = value
        return voxels

    return change


PREDICTION_FAULTS = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("hello\n"),
    "nan": lambda file: rewritten(file, one_voxel(np.nan)),
    "infinite": lambda file: rewritten(file, one_voxel(np.inf)),
    "negative": lambda file: rewritten(file, one_voxel(-0.2)),
    "above one": lambda file: rewritten(file, one_voxel(1.7)),
    "logits": lambda file: rewritten(file, lambda voxels: 9 * voxels - 4),
    "smaller": lambda file: rewritten(file, lambda voxels: voxels[:, :-1]),
    "complex": lambda file: rewritten(file, lambda voxels: voxels.astype(np.complex64)),
}
LABEL_FAULTS = {
    "cut": PREDICTION_FAULTS["cut"],
    "empty": PREDICTION_FAULTS["empty"],
    "value": lambda file: rewritten(file, one_voxel(7)),
    "half": lambda file: rewritten(file, lambda voxels: voxels.astype(np.float32) / 2 + 0.25),
    "nan": lambda file: rewritten(file, lambda voxels: one_voxel(np.nan)(voxels.astype(float))),
    "smaller": lambda file: rewritten(file, lambda voxels: voxels[:, :-1]),
    "moved": lambda file: save(file, np.asarray(nibabel.load(file).dataobj), moved(5)),
    "gone": lambda file: file.unlink(),
}
HARMLESS = {
    "notes": lambda folder, _: (folder / "notes.txt").write_text("of a user"),
    "finder": lambda folder, _: (folder / ".DS_Store").write_bytes(b"\0\1"),
    "integers": lambda _, label: rewritten(label, lambda voxels: voxels.astype(np.int16)),
    "floats": lambda _, label: rewritten(label, lambda voxels: voxels.astype(np.float32)),
}
#: What another tool may leave in the same folder: npz files are read, unless a case has two, or all of
#: its classes in files of their own.
MIXED = {
    "nnunet": [(Study.per_class, "two layouts"), (Study.training, "two files of a case")],
    "training": [
        (Study.channels, ""),
        (Study.per_class, "two layouts"),
        (Study.nnunet, "two files of a case"),
    ],
}
WRONG_OPTIONS = [
    ["--num-bins", "0"],
    ["--num-bins", "-3"],
    ["--num-bins", "ten"],
    ["--num-bins", "1000000000"],
    ["--regions", "nowhere"],
    ["--nmu-bins", "5"],
    ["--activation", "relu"],
    ["--activation", "sigmoid"],
    ["--affine_tolerance", "-1"],
    ["--affine_tolerance", "nan"],
    ["--patient-pattern", "("],
    ["--patient-pattern", "no group"],
    ["--patient-pattern", "(nobody)"],
    ["--patients", "nowhere.csv"],
    ["--dataset", "nowhere.json"],
    ["--names", "one", "two"],
    ["--structures", "heart=9"],
    ["--structures", "heart"],
    ["--calibrator", "nowhere.json"],
    ["--write", "pdf"],
    ["--jobs", "0"],
    ["--jobs", "many"],
    ["stray"],
    ["--"],
]


def draw(rng, root):
    """A study on disk, and the line that is typed."""
    line, study = Line(), Study(root, small_cases(rng))
    layout = str(rng.choice(list(LAYOUTS)))
    write, pattern = LAYOUTS[layout]
    folder, labels = write(study), study.labels
    if layout in MIXED and rng.random() < 0.2:
        also, line.refused = MIXED[layout][rng.integers(len(MIXED[layout]))]
        also(Study(root, {case: other_case(rng) for case in study.cases}), folder.name)
    for case in study.cases:
        label = labels / f"{case}.nii.gz"
        kind = rng.choice(["sound", "harmless", "prediction", "label"], p=[0.55, 0.15, 0.15, 0.15])
        if kind == "harmless":
            HARMLESS[str(rng.choice(list(HARMLESS)))](folder, label)
        elif kind == "prediction":
            file = next(folder.glob(pattern.format(case=case)))
            PREDICTION_FAULTS[str(rng.choice(list(PREDICTION_FAULTS)))](file)
        elif kind == "label":
            fault = str(rng.choice(list(LABEL_FAULTS)))
            LABEL_FAULTS[fault](label)
            if (layout, fault) == ("per_class", "gone"):  # whose files then have no case
                line.refused = "no label"
        if kind in ("prediction", "label"):
            line.damaged.add(case)
    sound = {case[:2] for case in study.cases if case not in line.damaged}  # patients
    calibrated = len(sound) > 1 and rng.random() < 0.2
    line.audit = root / ("audit/before" if calibrated else "audit")
    word = "calibrate" if calibrated else "audit"
    line.args = [word, str(folder), str(labels), "--output", str(root / "audit")]
    draw_options(rng, line)
    if rng.random() < 0.25:
        wrong = WRONG_OPTIONS[rng.integers(len(WRONG_OPTIONS))]
        line.args += wrong
        line.refused = " ".join(wrong)
    elif rng.random() < 0.1:
        (root / "audit").write_text("a file of a user")
        line.refused = "a file"
    elif rng.random() < 0.1:
        (root / "audit").mkdir()
        (root / "audit" / "thesis.txt").write_text("of a user")
        line.refused = "a folder"
    return study, line


def draw_options(rng, line):
    """Options that change the numbers, or what is known of the patients."""
    if rng.random() < 0.3:
        line.num_bins = int(rng.choice([1, 2, 7, 100]))
        line.args += ["--num-bins", str(line.num_bins)]
    if rng.random() < 0.3:
        line.regions = ("foreground", "all")
        line.args += ["--regions", "all"]
    if line.args[0] == "calibrate" or rng.random() < 0.3:
        line.args += ["--patient-pattern", r"(p\d)_"]


def typed(args):
    """Exit code, output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        code = exit_code(main, args)
    return code, output.getvalue(), errors.getvalue()


def slow_numbers(probs, label, num_bins, regions):
    """What the table says of a case, by NumPy alone."""
    shown, confidence = probs.argmax(0), probs.max(0)
    masks = {"foreground": label > 0, "union": (label > 0) | (shown > 0), "all": label >= 0}
    numbers = {}
    for k, name in ((1, "anterior"), (2, "posterior")):
        both, sizes = ((shown == k) & (label == k)).sum(), (shown == k).sum() + (label == k).sum()
        numbers[f"dice_{name}"] = 2 * both / sizes if (label == k).any() else np.nan
    upper = np.array([np.float32((k + 1) / num_bins) for k in range(num_bins)], np.float64)
    for region in regions:
        mask = masks[region]
        if not mask.any():
            numbers |= dict.fromkeys((f"ece_{region}", f"confidence_gap_{region}"), np.nan)
            continue
        sure, right = confidence[mask].astype(np.float64), (shown == label)[mask]
        gaps = np.bincount(np.searchsorted(upper, sure), sure - right, num_bins)
        numbers[f"ece_{region}"] = np.abs(gaps).sum() / mask.sum()
        numbers[f"confidence_gap_{region}"] = gaps.sum() / mask.sum()
        one_hot = label[mask] == np.arange(3)[:, None]
        numbers[f"brier_{region}"] = ((probs[:, mask] - one_hot) ** 2).sum(0).mean()
    return numbers


def check_table(folder, study, line):
    table = pd.read_csv(folder / "cases.csv", index_col="case")
    assert set(table.index) == set(study.cases) - line.damaged
    for case in table.index:
        expected = slow_numbers(*study.cases[case], line.num_bins, line.regions)
        for name, number in expected.items():
            assert table.loc[case, name] == pytest.approx(number, abs=2e-6, nan_ok=True), name


def check_errors(errors, line, sound):
    """One line of a refusal, or one a fault; beside them bars of progress, warnings and the usage."""
    lines = [text for text in errors.replace("\r", "\n").splitlines() if text.strip()]
    usage = [text for text in lines if text.startswith(("usage: ", "  "))]
    bars = [text for text in lines if re.search(r"\d+/\d+ \[", text)]
    warned = [text for text in lines if text.startswith("warning: ")]
    reported = [text for text in lines if text not in (*usage, *bars, *warned)]
    if line.refused:
        assert len(reported) == 1
        assert re.match(r"(nacl-monai( audit| calibrate)?: )?error: .", reported[0])
    else:
        assert all(re.match("(error|fault): .", text) for text in reported)
        text = "\n".join(reported)
        named = {case for case in line.damaged if re.search(rf"{case}(_|\b)", text)}
        assert len(reported) == (len(named) if sound else 1)
        assert named == line.damaged or not sound


def check_merged(rng, audit):
    """The bins alone give the errors of the table, or a changed byte is refused."""
    bins, table = audit / "bins.npz", pd.read_csv(audit / "cases.csv", index_col="case")
    merged_folder = audit.parent / "merged"
    if rng.random() < 0.5:
        content = bytearray(bins.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        bins.write_bytes(content)
    code, _, errors = typed(["merge", str(bins), "--output", str(merged_folder)])
    if code:
        assert len(errors.splitlines()) == 1
        assert not merged_folder.exists()
    else:
        merged = pd.read_csv(merged_folder / "cases.csv", index_col="case")
        columns = [name for name in merged if name.startswith("ece_")]
        pd.testing.assert_frame_equal(merged[columns], table[columns])


@pytest.mark.usefixtures("undrawn")
def test_whatever_is_typed_over_a_folder_is_refused_or_has_the_numbers_of_numpy(tmp_path):
    """Refused, or measured as NumPy measures it; nothing of a user's is lost."""
    seed = int(os.environ.get("FUZZ_SEED", secrets.randbits(32)))
    for number in range(LINES):
        rng = np.random.default_rng([seed, number])
        root = tmp_path / str(number)
        study, line = draw(rng, root)
        code, output, errors = typed(line.args)
        context = f"FUZZ_SEED={seed}, line {number}: {line}\n{code}\n{output}\n{errors}"
        sound = set(study.cases) - line.damaged
        try:
            check_errors(errors, line, sound)
            assert code in ((1, 2) if line.refused else (bool(line.damaged),))
            assert bool(line.refused or not sound) != (line.audit / "cases.csv").is_file()
            if not line.refused and sound:
                check_table(line.audit, study, line)
                check_merged(rng, line.audit)
            if line.refused == "a file":
                assert (root / "audit").read_text() == "a file of a user"
            if line.refused == "a folder":
                assert (root / "audit/thesis.txt").read_text() == "of a user"
        except AssertionError as wrong:
            raise AssertionError(context) from wrong
