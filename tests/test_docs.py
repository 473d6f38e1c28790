"""Every block of code in the README and on the site's pages runs: here, or in the test that is named."""

import re
import shlex
import subprocess
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from unittest.mock import Mock
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from scipy import ndimage

from nacl_monai import audit
from nacl_monai.bundles.command_line import check_run
from nacl_monai.cli import COMMANDS, main
from nacl_monai.inference.maps import label_tables
from nacl_monai.menus import read_dataset
from tests.dicom_series import AFFINES, write_series
from tests.dicom_series import SHAPE as DICOM_SHAPE
from tests.predictions.conftest import SHAPE, Study, save, softmax_cases, undrawn  # noqa: F401

ROOT = Path(__file__).parents[1]
TEXTS = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/api").glob("*.md")]
PAGES = ["README.md", *sorted(f"{page.relative_to(ROOT)}" for page in TEXTS)]
RESULTS = [f"{page.relative_to(ROOT)}" for page in (ROOT / "docs/results").rglob("README.md")]
#: What is executed where: it needs a trained run, a package that is not installed here, or a network.
ELSEWHERE = {
    ("docs/infer.md", "python"): "tests/demo/test_quick.py",
    ("docs/nnunet.md", "python"): "tests/nnunet/test_docs.py",
    ("docs/nnunet.md", "bash"): "tests/nnunet/test_docs.py",
    ("docs/own_data.md", "bash"): "tests/test_own_data_docs.py",
    ("docs/own_network.md", "python"): "tests/configurations/test_own_network.py",
    ("docs/own_network.md", "bash"): "tests/configurations/test_own_network.py",
}
#: Lines that no test executes, by their first words, and why.
NOT_EXECUTED = {
    "make demo": "takes minutes; .github/workflows runs it",
    "make test": "is what runs this test",
    "nacl-monai demo": "takes minutes; tests/test_wheel.py runs it from a wheel",
    "make reproduce": "takes an hour; .github/workflows runs it with PROFILE=smoke",
    "nacl-monai reproduce": "trains for hours; tests/test_wheel.py plans and runs it from a wheel",
    "nacl-monai export acdc --run": "needs a training; tests/configurations/test_export.py has runs",
    "nacl-monai check acdc": "needs the whole dataset; tests/data/test_check.py writes one",
    "nacl-monai calibrate runs/": "tests/configurations/test_calibrating.py has a run",
    "nacl-monai promise --check": "tests/promises/test_check.py has new labels",
    "nacl-monai promise --mean": "tests/promises/test_mean.py has new patients",
    "nacl-monai promise PREDICTIONS LABELS --patient-pattern '(p": "test_measure.py has phases",
    "nacl-monai watch": "tests/promises/test_watch.py has patients who come one after the other",
    "python -m studies.promises": "tests/studies/test_families.py makes the table",
    "pip install": "changes the environment; tests/test_wheel.py installs into another",
    "mlflow ui": "serves pages until it is stopped",
    "chromium": "is not part of the project",
    "docker ": "cannot run everywhere; tests/test_containers.py runs its install line",
    "apptainer ": "cannot run everywhere, either",
}


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def of_language(language):
    """The pages whose blocks are executed in this module."""
    return [page for page in PAGES if blocks(page, language) and (page, language) not in ELSEWHERE]


class Knows(torch.nn.Module):
    """Logits by the gray value."""

    def forward(self, image):
        return torch.cat([-2 * image, 1 - (image - 1) ** 2, image - 2], dim=1)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the pages speak of, before the first line of code: three cases and whatever has them."""
    monkeypatch.chdir(tmp_path)
    cases = softmax_cases().values()
    probs = torch.tensor(np.stack([probs for probs, _ in cases]))
    labels = torch.tensor(np.stack([label for _, label in cases]))[:, None]
    masks = torch.cat([labels > 0, labels == 2], 1)
    data = [{"image": label.float(), "label": label} for label in labels]
    return {
        "probs": probs,
        "labels": labels,
        "new_probs": next(iter(softmax_cases(1).values()))[0],
        "logits": probs.log().requires_grad_(),
        "validation": [
            (inside - 0.5 + torch.randn(inside.shape), inside, str(k))
            for k, inside in enumerate(masks.int())
        ],
        "classes": ["background", "left", "right"],
        "device": torch.device("cpu"),
        "loader": DataLoader(Dataset(data), batch_size=2),
        "network": Knows(),
    }


@pytest.mark.parametrize("page", of_language("python"))
def test_lines_of_python_run_in_their_order(page, names):
    """Those of one page share their names, as in a session of a reader who copies them."""
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)


def test_each_archive_of_evidence_is_in_the_manifest():
    """Each once, with what made it."""
    kept = [
        path.relative_to(ROOT / "docs/results").as_posix()
        for path in (ROOT / "docs/results").rglob("*")
        if path.suffix in (".xz", ".npz")
    ]
    manifest = (ROOT / "docs/results/README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\S+)` \| .* \| .*`.* \|$", manifest, re.MULTILINE)

    assert sorted(listed) == sorted(kept)


def commands(page):
    """The commands of a page, without their comments."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    stripped = (line.partition(" #")[0].strip().removeprefix(".venv/bin/") for line in lines)
    return [
        line
        for line in stripped
        if re.match(r"(nacl-monai|make|python|pip|for|mlflow|chrom|docker|apptainer)", line)
    ]


PRINTED = [(page, line) for page in of_language("bash") for line in commands(page)]


def is_executed(line):
    return not line.startswith(tuple(NOT_EXECUTED))


@pytest.mark.parametrize(
    "line",
    dict.fromkeys(line for _, line in PRINTED if line.startswith("make ") and is_executed(line)),
)
def test_line_of_make_is_taken(line, tmp_path):
    """Make knows its target and variables, and the command that it prints passes the strict check."""
    args = [word.replace("…", f"{tmp_path}") for word in shlex.split(line)]
    printed = subprocess.run(
        [args[0], "--dry-run", "--no-print-directory", "--old-file=.venv/runtime", *args[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    started = [shlex.split(line) for line in printed.replace("\\\n", " ").splitlines()]

    assert started
    for command in started:
        if "monai.bundle" in command:
            run_arguments = command[command.index("run") + 1 :]
            (tmp_path / "prior.yaml").write_text("losses::nacl::prior: blur\n")
            check_run(
                [word.replace("prior.yaml", f"{tmp_path}/prior.yaml") for word in run_arguments]
            )
        elif "nacl-monai" in command:
            assert command[command.index("nacl-monai") + 1] in COMMANDS


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with everything that the pages name, in the order in which a reader would make it."""
    root = tmp_path_factory.mktemp("reader")
    patients = enumerate(softmax_cases(cases=12).values())
    cases = {f"patient{k}_scan0": volumes for k, volumes in patients}
    study = Study(root, cases)
    for folder in ("PREDICTIONS", "nnunet_2d", "nnunet_3d", "mine"):
        study.nnunet(folder)
    for k in range(5):
        sharper = {case: (probs ** (1 + k / 9), label) for case, (probs, label) in cases.items()}
        fold = {case: (probs / probs.sum(0), label) for case, (probs, label) in sharper.items()}
        Study(root, fold).nnunet(f"FOLD_{k}")
    label_folders = ["LABELS", *(f"LABELS_{name}" for name in "ABC")]
    label_folders += [f"{name}/labels" for name in ("anna", "ben", "cara")]
    raters = [f"raters/{name}" for name in ("anna", "ben")]
    rng = np.random.default_rng(1)
    for folder in label_folders:
        for case, (_, label) in cases.items():
            doubtful = rng.random(SHAPE) < 0.05
            save(root / folder / f"{case}.nii.gz", np.where(doubtful, 0, label).astype(np.uint8))
    grid = np.hypot(*(np.mgrid[:24, :24] - 11.5))[..., None]
    for folder in raters:
        for case in cases:
            disk = grid < 7 + rng.normal(0, 1, (1, 1, 3))
            save(root / folder / f"{case}.nii.gz", disk.astype(np.uint8), np.diag([1.4, 1.4, 5, 1]))
    drawn = softmax_cases(seed=1, cases=4).items()
    tested = {case.replace("patient", "patient9"): volumes for case, volumes in drawn}
    Study(root / "test", tested).nnunet("../TEST_PREDICTIONS")
    for case, (_, label) in tested.items():
        save(root / "TEST_LABELS" / f"{case}.nii.gz", label.astype(np.uint8))
    for case in [*cases, *tested]:
        save(root / "IMAGES" / f"{case}_0000.nii.gz", np.zeros(SHAPE, np.int16))
    for site, names in (("hospital_a", list(cases)[:6]), ("hospital_b", list(cases)[6:])):
        audited = audit(*zip(*(cases[name] for name in names), strict=True), cases=names)
        (root / site).mkdir()
        audited.save(root / site / "bins.npz")
    (root / "verdicts.csv").write_text("case,verdict,note\npatient90_scan0,reject,\n")
    (root / "docs").symlink_to(ROOT / "docs")
    write_inferred_series(root / "new/ct", root / "runs/acdc/unet_nacl_seed0/predictions")
    return root


def write_inferred_series(series, predictions):
    """A DICOM series, and what inference makes of it."""
    write_series(series, np.zeros(DICOM_SHAPE))
    classes = read_dataset("acdc")["classes"]
    probs = np.random.default_rng(1).dirichlet([1] * len(classes), DICOM_SHAPE)
    save(predictions / "ct_probabilities.nii.gz", probs.astype(np.float32), AFFINES["axial"])
    save(predictions / "ct_label.nii.gz", probs.argmax(-1).astype(np.uint8), AFFINES["axial"])
    for kind, least in (("outer", 0.1), ("inner", 0.5)):
        contour = series.parent / f"contours/ct_{kind}_LV.nii.gz"
        save(contour, (probs[..., -1] > least).astype(np.uint8), AFFINES["axial"])
    text = label_tables(dict(enumerate(classes)))["labels.txt"]
    (predictions / "labels.txt").write_text(text, encoding="utf-8")


def executed(page):
    return [line for line in commands(page) if line.startswith("nacl-monai ") and is_executed(line)]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "page",
    [
        # Its page of a whole grid takes half a minute.
        pytest.param(page, marks=pytest.mark.nightly if page == "docs/reproduce.md" else ())
        for page in of_language("bash")
        if executed(page)
    ],
)
@pytest.mark.slow
def test_lines_of_nacl_monai_run_in_their_order(page, place, monkeypatch):
    """On small cases in a folder whose names are those of the page."""
    monkeypatch.chdir(place)
    for line in executed(page):
        command = line.partition(" > ")[0]
        args = [word.replace("/data/", f"{place}/") for word in shlex.split(command)[1:]]
        assert main(args) == 0, line


def test_numbers_that_a_tutorial_prints_in_two_pieces_stay_whole():
    """As `%%bash` hands them over; needs what builds the site."""
    render = pytest.importorskip("myst_nb.core.render")
    pytest.importorskip("ziamath")
    nothing = SimpleNamespace(connect=Mock(), add_html_math_renderer=Mock())
    run_path(str(ROOT / "docs" / "conf.py"))["setup"](nothing)
    stream = {"output_type": "stream", "name": "stdout"}
    pieces = [
        {**stream, "text": "DSC 0.3"},
        {**stream, "text": "43\nHD95"},
        {**stream, "text": " 2"},
    ]

    (joined,) = render.coalesce_streams(pieces)
    assert joined["text"] == "DSC 0.343\nHD95 2\n"


@pytest.mark.parametrize(("kind", "display"), [("math", "inline"), ("math_block", "block")])
def test_formulas_are_mathml_that_browsers_draw_without_a_network(kind, display):
    """What a formula says is in its elements, and nothing of TeX is left."""
    nodes = pytest.importorskip("docutils.nodes")
    pytest.importorskip("latex2mathml")
    pytest.importorskip("ziamath")
    writer = SimpleNamespace(body=[])
    formula = getattr(nodes, kind)(text=r"\frac{\lambda}{K}")
    with pytest.raises(nodes.SkipNode):
        run_path(str(ROOT / "docs" / "conf.py"))["write_formula"](writer, formula)

    (written,) = ElementTree.fromstring("".join(writer.body)).findall("{*}math")
    assert written.get("display") == display
    assert [part.text for part in written.findall(".//{*}mfrac//{*}mi")] == ["λ", "K"]


@pytest.mark.parametrize("page", [*PAGES, *sorted(RESULTS)])
def test_page_has_one_folder_for_a_dataset(page):
    """Where ``DATA_DIR=/data`` stands for a folder per dataset, ``DATASET_DIR=`` names the same one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if re.search(r"\bDATA_DIR=/data(?![/\w])", text):
        for dataset, folder in re.findall(r"\bDATASET=(\w+) DATASET_DIR=(/\S+)", text):
            assert folder == f"/data/{dataset}"


def test_every_line_is_executed_or_excused():
    """Nothing is excused that no page shows any more, and nothing is excused by a test that is gone."""
    lines = [line for _, line in PRINTED]

    for excuse in NOT_EXECUTED:
        assert any(line.startswith(excuse) for line in lines), excuse
    for (page, language), test in ELSEWHERE.items():
        assert blocks(page, language), page
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), test
    for line in lines:
        if is_executed(line):
            assert line.startswith(("make ", "nacl-monai ", "python -m monai.bundle run ")), line


def test_blocks_of_python_or_commands_say_what_they_are():
    """A block without a language would be executed by nobody."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        opened = re.findall(r"^```(.*)$", text, re.MULTILINE)[::2]
        known = {"python", "bash", "text", "yaml", "toml", "json", "markdown", "mermaid"}
        for language in (line.partition(" ")[0] for line in opened):
            assert language in known or language.startswith("{"), f"{page}: {language!r}"


def test_lesion_case_is_small_cited_and_as_its_page_says():
    """Its islands are counted from its files, 26-connected."""
    folder = ROOT / "docs/lesions"
    text = (folder / "README.md").read_text("utf-8")
    assert all(phrase in text for phrase in ("Lesjak", "CC BY", "synthetic"))
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 1e6
    maps, label = (
        np.asarray(nibabel.load(folder / kind / "patient26.nii.gz").dataobj)
        for kind in ("maps", "labels")
    )
    masks = {"labeled": label > 0, "predicted": maps.argmax(-1) > 0}
    islands = {name: ndimage.label(mask, np.ones((3, 3, 3))) for name, mask in masks.items()}
    alone = {
        name: count - len({*numbers[masks[other]].ravel()} - {0})
        for (name, (numbers, count)), other in zip(islands.items(), [*masks][::-1], strict=True)
    }
    assert f"{alone['labeled']} of {islands['labeled'][1]} lesions" in text
    assert f"{alone['predicted']} of {islands['predicted'][1]} predicted" in text
