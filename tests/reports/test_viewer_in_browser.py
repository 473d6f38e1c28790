"""The cases of a page in a real browser: what a person presses, slides and reads."""

import csv
import re

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from nacl_monai.cli import main
from tests.predictions.conftest import CLASSES, Study
from tests.promises.test_commands import PATIENTS, blobs, run
from tests.reports.conftest import new_page
from tests.reports.test_viewer import audited, cases_of, layer, write_case
from tests.same import same_bits

pytestmark = pytest.mark.slow
CODES = {"case_0": "RAS", "case_1": "LPS", "case_2": "SAR", "case_3": "PIR", "case_4": "ILP"}
#: The first case and the number of those who calibrate a promise, and of those whom it is of.
CASES = {"old": (0, 16), "new": (16, 4)}


def watched(browser, **how):
    """An empty page, and what it says in the console or asks for from then on."""
    page, messages = new_page(browser, viewport={"width": 1000, "height": 900}, **how), []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: messages.append(request.url))
    return page, messages


@pytest.fixture(scope="module")
def opened(browser):
    """Opens a page; whatever it says in the console, or asks for, is a fault in the end."""
    pages = []

    def open_page(file, **how):
        page, messages = watched(browser, **how)
        page.goto(file.as_uri())
        page.wait_for_selector("body.seen")
        pages.append((page, messages, file))
        return page

    yield open_page
    for page, messages, file in pages:
        assert messages == [file.as_uri()]
        page.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Five cases, each with axes of its own, of voxels that are not cubes."""
    folder = tmp_path_factory.mktemp("browsed")
    for k, (name, codes) in enumerate(CODES.items()):
        write_case(folder, name, codes, (1 + k / 4, 1.5, 3 - k / 2), seed=k)
    return folder


@pytest.fixture(scope="module")
def file(study, tmp_path_factory):
    return audited(
        study, tmp_path_factory.mktemp("audit") / "audit", "--images", f"{study / 'images'}"
    )


@pytest.fixture(scope="module")
def page(opened, file):
    """One for all tests, each of which takes it as the one before has left it."""
    return opened(file)


@pytest.fixture
def first(page):
    """The name of the first case, which is shown."""
    page.locator("#cases button").first.click()
    name = page.locator("#cases strong").first.text_content()
    wait_for(page, "#judged", f"{name}: ")
    page.locator("#planes").scroll_into_view_if_needed()
    return name


def wait_for(page, place, text):
    """The policy of the page lets nobody evaluate a text in it, and so it is asked from outside."""
    page.locator(place, has_text=text).wait_for()


def save_verdicts(page, folder):
    """What the page downloads, as ``verdicts.csv`` of a folder."""
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(folder / "verdicts.csv")


def state_of(page):
    """What the page says of the voxel under the cursor."""
    page.evaluate("new Promise((done) => requestAnimationFrame(done))")
    text = page.text_content("#value")
    numbers = r"probability of class_(\d) ([\d.]+) · label (yes|no) · prediction (yes|no) · "
    numbers += r"confidence ([\d.]+) · image ([-\d.]+) · at ([LR] \S+), ([PA] \S+), ([IS] \S+) mm"
    name, probability, label, predicted, confidence, image, *places = re.fullmatch(
        numbers, text
    ).groups()
    place = [float(mm) * (-1 if letter in "LPI" else 1) for letter, mm in map(str.split, places)]
    return {
        "structure": int(name),
        "probability": float(probability),
        "label": label == "yes",
        "prediction": predicted == "yes",
        "confidence": float(confidence),
        "image": float(image),
        "place": np.array(place, float),
    }


def in_files(study, case, place):
    """The voxel of each file that is at a place in mm."""
    found = {}
    for kind in ("maps", "labels", "images"):
        stored = nibabel.load(study / kind / f"{case}.nii.gz")
        voxel = nibabel.affines.apply_affine(np.linalg.inv(stored.affine), place)
        assert np.abs(voxel - voxel.round()).max() < 0.1  # the page says tenths of a mm
        found[kind] = np.asarray(stored.dataobj)[tuple(voxel.round().astype(int))]
    return found


def check_said(study, case, value):
    """What the page says is what the files hold."""
    found = in_files(study, case, value["place"])
    probs, k = found["maps"], value["structure"]
    images = np.asarray(nibabel.load(study / f"images/{case}.nii.gz").dataobj)
    low, high = np.percentile(images, (0.5, 99.5))
    # Half a step of a byte; three digits.
    assert value["probability"] == pytest.approx(probs[k], abs=0.5 / 255 + 6e-4)
    # Half a step of a byte; three digits.
    assert value["confidence"] == pytest.approx(probs.max(), abs=0.5 / 255 + 6e-4)
    assert value["label"] == (found["labels"] == k)
    assert value["prediction"] == (probs.argmax() == k)
    assert value["image"] == pytest.approx(
        # Half a step of a byte; a digit.
        found["images"].clip(low, high),
        abs=(high - low) / 510 + 0.06,
    )


def test_value_under_the_cursor_is_that_of_the_files_in_all_orientations(page, study):
    """Moved there by keys and by clicks in each plane, with left on the left and on the right."""
    rng = np.random.default_rng(0)
    seen = set()
    for button in page.locator("#cases button").all():
        button.click()
        case = button.locator("strong").text_content()
        wait_for(page, "#judged", f"{case}: ")
        page.click("#mirror")
        page.locator("#planes").scroll_into_view_if_needed()
        box = page.locator("#planes").bounding_box()
        for _ in range(6):
            x, y = rng.uniform(0.3, 0.7, 2) * (box["width"], box["height"])
            if x < box["width"] / 2 or y < box["height"] / 2:  # the corner turns the solid
                page.mouse.click(box["x"] + x, box["y"] + y)
            page.keyboard.press(str(rng.choice(["ArrowLeft", "ArrowUp", "[", "]", "ArrowDown"])))
            value = state_of(page)
            check_said(study, case, value)
            seen.add((case, *value["place"]))
    assert len(seen) > 20


@pytest.mark.usefixtures("first")
def test_keys_move_the_cursor_by_a_voxel_along_an_axis(page, file):
    """To the right of the patient, forward, up and back, whatever the file's axes are."""
    (case, *_) = cases_of(file)
    spacing = np.linalg.norm(np.array(case["affine"])[:3, :3], axis=0)
    for axis, pair in enumerate([("ArrowRight", "ArrowLeft"), ("ArrowUp", "ArrowDown"), "]["]):
        for key, by in zip(pair, (1, -1), strict=True):
            before = state_of(page)["place"]
            page.keyboard.press(key)
            moved = state_of(page)["place"] - before
            # The page has one digit.
            np.testing.assert_allclose(moved, by * spacing[axis] * np.eye(3)[axis], atol=0.11)


def drawn(page):
    """What is seen of the planes, of the outlines above them and of the solid in the corner."""
    page.locator("#planes").scroll_into_view_if_needed()
    found = None
    while found != (found := parts(page)):  # the solid is made anew, which takes a while
        page.wait_for_timeout(300)
    return found


def parts(page):
    """A picture of each."""
    outlines = page.evaluate("document.getElementById('outlines').toDataURL()")
    page.evaluate("document.getElementById('outlines').style.visibility = 'hidden'")
    box = page.locator("#planes").bounding_box()
    planes = page.screenshot(clip={**box, "height": box["height"] / 2})
    page.evaluate("document.getElementById('outlines').style.visibility = ''")
    solid = page.locator("#solid").bounding_box()
    inner = {
        "x": solid["x"] + 2,
        "y": solid["y"] + 2,
        "width": 300,
        "height": 300,
    }  # no neighbor's pixel
    return {"planes": planes, "outlines": outlines, "solid": page.screenshot(clip=inner)}


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


@pytest.mark.usefixtures("first")
def test_every_button_switches_what_it_names_and_back(page):
    """By a click and by its digit; a screen reader is told, and the keyboard stays where it is."""
    switched = {
        **{name: {"planes"} for name in ("image", "probability", "confidence")},
        **{name: {"outlines", "solid"} for name in ("label", "prediction", "threshold")},
    }
    assert page.locator("#layers button").all_text_contents() == list(switched)
    page.locator("#threshold").fill("0.1")  # some of it is neither labeled nor predicted
    page.click("#layers button:text-is('threshold')")
    for k, (name, parts) in enumerate(switched.items(), 1):
        button = page.locator(f"#layers button:text-is('{name}')")
        pressed, before = button.get_attribute("aria-pressed"), drawn(page)
        button.click()
        after = drawn(page)
        assert changed(before, after) == parts, name
        assert button.get_attribute("aria-pressed") != pressed
        assert page.evaluate("document.activeElement.textContent") == name
        page.keyboard.press(f"{k}")
        assert changed(before, drawn(page)) == set()
        assert button.get_attribute("aria-pressed") == pressed


def test_threshold_says_how_much_it_holds(page, study, first):
    """The volume of the voxels of the page that reach it; lowered, it is larger, and another outline."""
    stored = nibabel.load(study / f"maps/{first}.nii.gz")
    steps = np.rint(np.asarray(stored.dataobj)[..., 1] * 255) / 255
    ml = abs(np.linalg.det(stored.affine[:3, :3])) / 1000
    before = drawn(page)
    for share in (0.9, 0.3, 0.05):
        page.locator("#threshold").fill(str(share))
        text = page.text_content("#meaning")
        what, volume = text.removesuffix(" ml").split(": ")
        assert what == f"where class_1 has at least {share:.3f}"
        # The page has two digits.
        assert float(volume) == pytest.approx((steps >= share - 1e-6).sum() * ml, abs=0.006)
        assert page.get_attribute("#layers button:text-is('threshold')", "aria-pressed") == "true"
        after = drawn(page)
        assert "outlines" in changed(before, after)
        before = after


def test_structure_and_planes_are_chosen(page, study, first):
    """The cursor stays where it is."""
    place = state_of(page)["place"]
    page.select_option("#structure", label="class_2")
    wait_for(page, "#value", "probability of class_2")
    same_bits(np.asarray(state_of(page)["place"]), np.asarray(place), "nothing moved the place")
    check_said(study, first, state_of(page))
    before = drawn(page)
    for view in ("axial", "coronal", "sagittal", "three planes"):
        page.select_option("#view", label=view)
        after = drawn(page)
        assert {"planes", "outlines"} <= changed(before, after)
        before = after


def test_wheel_scrolls_through_the_slices(page, study, first):
    """Of the plane below the pointer."""
    box = page.locator("#planes").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.7 * box["height"])
    for key in "[[[]":  # away from both ends
        page.keyboard.press(key)
    before = state_of(page)["place"]
    page.mouse.wheel(0, 100)
    page.wait_for_timeout(300)
    assert (np.abs(state_of(page)["place"] - before) > 0.2).tolist() == [False, False, True]
    check_said(study, first, state_of(page))


@pytest.mark.usefixtures("first")
def test_verdicts_are_given_by_keys_and_buttons_and_downloaded(page, tmp_path):
    """A note may hold anything; a verdict is taken back by giving it again."""
    cases = page.locator("#cases strong").all_text_contents()
    page.keyboard.press("r")
    page.locator("#note").fill('the tail, "posterior",\nis missing; jar')
    page.focus("#download")
    page.keyboard.press("j")
    wait_for(page, "#judged", f"{cases[1]}: ")
    assert page.input_value("#note") == ""
    page.click("#edit")
    page.keyboard.press("j")
    wait_for(page, "#judged", f"{cases[2]}: ")
    page.keyboard.press("a")
    page.keyboard.press("a")
    assert page.text_content("#judged") == f"{cases[2]}: no verdict yet"
    page.keyboard.press("k")
    wait_for(page, "#judged", f"{cases[1]}: edit")
    save_verdicts(page, tmp_path)
    with (tmp_path / "verdicts.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["case"] for row in rows] == cases
    assert [row["verdict"] for row in rows] == ["reject", "edit", *[""] * (len(cases) - 2)]
    assert rows[0]["note"].startswith('the tail, "posterior",')
    assert page.locator("#cases em").all_text_contents() == [row["verdict"] for row in rows]


def test_tables_are_sorted_by_a_click_and_by_the_keyboard(page):
    """By number; then the other way round."""
    heading = page.locator("thead th:text('DSC')").last
    column = heading.evaluate("(cell) => cell.cellIndex")
    table = heading.locator("xpath=ancestor::table")
    cells = table.locator(f"tbody td:nth-child({column + 1})")
    heading.click()
    numbers = [*map(float, cells.all_text_contents())]
    assert numbers == sorted(numbers)
    heading.press("Enter")
    assert [*map(float, cells.all_text_contents())] == numbers[::-1]
    assert heading.get_attribute("aria-sort") == "descending"


def test_without_webgl_there_are_the_pictures(browser, file):
    """And in print, where nobody scrolls."""
    page, messages = watched(browser)
    page.add_init_script("HTMLCanvasElement.prototype.getContext = function () { return null; };")
    page.goto(file.as_uri())
    assert page.locator("#viewer").is_hidden()
    assert page.locator(".pictures img").count() == 3
    assert page.locator(".pictures").is_visible()
    page.locator("thead th:text('DSC')").last.click()
    page.wait_for_load_state("networkidle")
    assert messages == [file.as_uri()]
    page.close()


def test_in_print_there_are_the_pictures(page):
    """The cases are for the screen."""
    assert page.locator(".pictures").is_hidden()
    page.emulate_media(media="print")
    assert page.locator("#viewer").is_hidden()
    assert page.locator(".pictures").is_visible()
    page.emulate_media(media="screen")


def test_page_is_dark_where_the_reader_wants_it(page):
    """As the system says."""
    colors = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colors.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colors == ["rgb(255, 255, 255)", "rgb(22, 24, 27)"]


def test_everything_has_a_name_for_a_screen_reader(page):
    """Buttons, fields and pictures."""
    names = page.evaluate(
        """[...document.querySelectorAll('#viewer :is(button, input, select, canvas[role])')].map(
            (one) => one.ariaLabel || one.textContent.trim() || one.labels[0]?.textContent.trim() || ''
        )"""
    )
    hidden = page.evaluate("document.getElementById('mark').hidden")
    assert [name for name in names if not name] == [""] * hidden


def test_dragging_with_shift_moves_the_zoomed_picture(counted_page, study):
    """It follows the pointer; the cursor keeps its voxel, and a click takes the voxel that is seen."""
    page = counted_page
    name = page.text_content("#cases strong >> nth=0")
    page.select_option("#view", label="axial")
    page.locator("#planes").scroll_into_view_if_needed()
    for _ in range(4):
        page.click("[data-key='+']")
    box = page.locator("#planes").bounding_box()
    start, by = (box["x"] + 0.45 * box["width"], box["y"] + 0.4 * box["height"]), (40, 25)
    end = tuple(place + step for place, step in zip(start, by, strict=True))
    page.mouse.click(*start)
    before, picture = state_of(page), drawn(page)
    page.keyboard.down("Shift")
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert {"planes", "outlines"} <= changed(picture, drawn(page))
    same_bits(state_of(page)["place"], before["place"], "a dragged picture leaves the cursor")
    check_said(study, name, state_of(page))
    page.mouse.click(*end)
    same_bits(state_of(page)["place"], before["place"], "what was under the pointer still is")
    page.mouse.click(*start)
    assert (state_of(page)["place"] != before["place"]).any()
    check_said(study, name, state_of(page))


def test_mark_is_the_contour_of_the_promise_and_verdicts_go_back(opened, tmp_path, capsys):
    """Its volume is that of the set which was promised; what is downloaded is counted."""
    old, new = (Study(tmp_path / name, blobs(*cases)) for name, cases in CASES.items())
    promised, triaged = tmp_path / "promise", tmp_path / "triage"
    run(promised, "promise", old.nnunet(), old.labels, "--level", "0.2", *PATIENTS)
    run(triaged, "triage", promised, new.nnunet(), *PATIENTS, "--budget", "2")
    page = opened(triaged / "page.html")
    first, *_ = cases_of(triaged / "page.html")
    structure = first["structures"][0]
    (outer,) = (mask for mask in structure["masks"] if mask["name"] == "outer contour")
    shown = layer(outer["voxels"])
    ml = np.asarray(shown.dataobj).sum() * abs(np.linalg.det(shown.affine[:3, :3])) / 1000

    (worst, *_), names = (
        pd.read_csv(triaged / "triage.csv")["structure"],
        set(CLASSES) - {"background"},
    )
    (other,) = names - {worst}
    assert page.input_value("#structure") == worst
    keys = {key: page.locator(f"kbd:text-is('{key}')").is_visible() for key in "adl"}
    assert keys == {"a": True, "d": True, "l": False}  # nobody has labeled it
    page.select_option("#structure", label=other)
    page.wait_for_selector("#loading", state="hidden")
    page.keyboard.press("Tab")
    page.keyboard.press("j")
    page.wait_for_selector("#loading", state="hidden")
    wait_for(page, "#value", f"probability of {other}")  # as long as nobody chooses another
    page.keyboard.press("k")
    page.wait_for_selector("#loading", state="hidden")
    page.select_option("#structure", label=worst)
    wait_for(page, "#value", f"probability of {worst}")
    page.wait_for_selector("#loading", state="hidden")
    page.keyboard.press("Tab")

    page.click("#mark")
    what, volume = page.text_content("#meaning").removesuffix(" ml").split(": ")
    assert what == structure["meaning"] == "the contour that misses at most 10% in 4 of 5 patients"
    assert float(volume) == pytest.approx(ml, abs=0.006)  # the page has two digits
    assert page.text_content("#mark") == what
    page.keyboard.press("r")
    save_verdicts(page, tmp_path)
    capsys.readouterr()
    assert main(["triage", f"{triaged}", "--verdicts", f"{tmp_path / 'verdicts.csv'}"]) == 0
    said_of_it = "1 of 4 cases are judged: 0 accept, 0 edit, 1 reject."
    assert capsys.readouterr().out.startswith(said_of_it)


UPLOADS = """
window.uploads = 0;
for (const name of ["texImage3D", "texSubImage3D"]) {
  const upload = WebGL2RenderingContext.prototype[name];
  WebGL2RenderingContext.prototype[name] = function (...all) {
    window.uploads += all.includes(36244); // the voxels of a volume: RED_INTEGER
    return upload.apply(this, all);
  };
}
"""


@pytest.fixture
def counted_page(browser, file):
    """A page of its own that counts what it uploads to the graphics card."""
    page = new_page(browser, viewport={"width": 1000, "height": 900})
    page.add_init_script(UPLOADS)
    page.goto(file.as_uri())
    page.wait_for_selector("body.seen")
    page.wait_for_timeout(500)
    yield page
    page.close()


def test_volumes_are_uploaded_only_where_others_are_shown(counted_page):
    """Once at most for an event of the slider; for a verdict, a letter and a step, never."""

    def uploads(act):
        before = counted_page.evaluate("window.uploads")
        act()
        counted_page.wait_for_timeout(400)
        return counted_page.evaluate("window.uploads") - before

    page = counted_page
    assert page.evaluate("window.uploads") > 0
    assert uploads(lambda: page.locator("#threshold").fill("0.3")) <= 1
    assert uploads(lambda: page.click("#accept")) == 0
    assert uploads(lambda: page.locator("#note").press_sequentially("abc")) == 0
    page.click("#accept")
    assert uploads(lambda: page.keyboard.press("ArrowLeft")) == 0
    assert uploads(lambda: page.click("#mirror")) == 0


def test_planes_are_radiological_and_a_button_turns_them(counted_page):
    """It is said; the letters change sides, and a click to the left moves the cursor to the right."""
    page = counted_page
    assert page.text_content("#mirror") == "radiological: left on the right"
    page.select_option("#view", label="axial")
    box = page.locator("#planes").bounding_box()

    def place(share):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.4 * box["height"])
        return state_of(page)["place"][0]

    page.locator("#planes").scroll_into_view_if_needed()
    box = page.locator("#planes").bounding_box()
    assert place(0.4) > place(0.6)
    before = drawn(page)["outlines"]
    page.click("#mirror")
    assert page.text_content("#mirror") == "neurological: left on the left"
    assert place(0.4) < place(0.6)
    assert drawn(page)["outlines"] != before


def luminance(rgb):
    """Of the WCAG, relative."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("paper", [0.0, 0.5, 1.0])
def test_letters_are_read_on_black_gray_and_white(counted_page, paper):
    """White with a dark rim: one of the two has a contrast of 4.5 or more."""
    counted_page.select_option("#view", label="axial")
    width, height, values = counted_page.evaluate(
        """() => { const one = document.getElementById('outlines');
          const size = [30, 30], middle = one.height / 2;
          return [...size, [...one.getContext('2d').getImageData(0, middle - 15, ...size).data]]; }"""
    )
    pixels = np.reshape(values, (height, width, 4)) / 255
    alpha = pixels[..., 3:]
    seen = luminance(pixels[..., :3] * alpha + paper * (1 - alpha))
    whole = seen[alpha[..., 0] > 0.99]
    ground = luminance(np.full(3, paper))
    contrast = [(max(pixel, ground) + 0.05) / (min(pixel, ground) + 0.05) for pixel in whole]
    assert max(contrast) >= 4.5


def test_verdicts_survive_a_reload_and_are_read_in_again(counted_page, tmp_path):
    """With reader and date; what a spreadsheet would compute is quoted, and read as it was."""
    page = counted_page
    page.fill("#reader", "A. Reader")
    page.click("#edit")
    page.fill("#note", '=1+1, "so"')
    name = page.text_content("#cases strong >> nth=0")
    page.reload()
    page.wait_for_selector("body.seen")
    assert page.input_value("#note") == '=1+1, "so"'
    assert page.input_value("#reader") == "A. Reader"
    save_verdicts(page, tmp_path)
    row = pd.read_csv(tmp_path / "verdicts.csv").iloc[0]
    assert row[["case", "verdict", "note", "reader"]].tolist() == [
        name,
        "edit",
        '\'=1+1, "so"',
        "A. Reader",
    ]
    assert pd.Timestamp(row["date"]) > pd.Timestamp("2026-01-01", tz="UTC")
    page.evaluate("localStorage.clear()")
    page.reload()
    page.wait_for_selector("body.seen")
    assert page.input_value("#note") == ""
    page.set_input_files("#verdicts", tmp_path / "verdicts.csv")
    wait_for(page, "#judged", "1 verdict read")
    assert page.input_value("#note") == '=1+1, "so"'
    assert page.text_content("#cases em >> nth=0") == "edit"


def test_next_island_goes_through_the_islands_by_size(counted_page, study):
    """As SciPy counts them, 26-connected; each place is within one, and a difference is one."""
    page = counted_page
    name = page.text_content("#cases strong >> nth=0")
    probs = np.asarray(nibabel.load(study / f"maps/{name}.nii.gz").dataobj)
    label = np.asarray(nibabel.load(study / f"labels/{name}.nii.gz").dataobj) == 1
    predicted = probs.argmax(-1) == 1
    for button, mask in (("#island", predicted), ("#difference", predicted != label)):
        _, count = ndimage.label(mask, np.ones((3, 3, 3)))
        for k in range(1, min(count, 3) + 1):
            page.click(button)
            assert page.text_content(button).endswith(f"({k} of {count})")
            value = state_of(page)
            assert (
                value["prediction"]
                if button == "#island"
                else (value["prediction"] != value["label"])
            )


def test_next_doubtful_plane_is_that_with_most_expected_errors(counted_page, study):
    """Near the prediction, 1 − the probability of the predicted class is the chance of an error."""
    page = counted_page
    name = page.text_content("#cases strong >> nth=0")
    stored = nibabel.as_closest_canonical(nibabel.load(study / f"maps/{name}.nii.gz"))
    probs, spacing = np.asarray(stored.dataobj), nibabel.affines.voxel_sizes(stored.affine)
    away = ndimage.distance_transform_edt(probs.argmax(-1) == 0, sampling=spacing)
    doubt = np.where(away <= 3, 1 - probs.max(-1), 0)
    sums = doubt.sum((0, 1))
    order = np.argsort(-sums)
    page.focus("#doubtful")
    for k, plane in enumerate(order[:4], 1):
        page.keyboard.press("p")
        assert page.text_content("#doubtful") == (
            f"next doubtful plane ({k} of {np.count_nonzero(sums)})"
        )
        voxel = nibabel.affines.apply_affine(
            np.linalg.inv(stored.affine), state_of(page)["place"]
        ).round()
        assert voxel[2] == plane
        assert doubt[tuple(voxel.astype(int))] == doubt[..., plane].max()


def test_zoom_keeps_the_cursor_and_the_places(counted_page, study):
    """A click after it is still in the voxel that the files have there."""
    page = counted_page
    name = page.text_content("#cases strong >> nth=0")
    page.locator("#planes").scroll_into_view_if_needed()
    before = drawn(page)
    for _ in range(4):
        page.click("[data-key='+']")
    assert {"planes", "outlines"} <= changed(before, drawn(page))
    box = page.locator("#planes").bounding_box()
    for x, y in ((0.2, 0.2), (0.3, 0.25), (0.7, 0.3), (0.2, 0.8)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        check_said(study, name, state_of(page))
    page.click("[data-key='0']")


def orange(page):
    """How many pixels of the lines above the planes have the color of the cursor."""
    return page.evaluate(
        """() => { const one = document.getElementById('outlines');
          const { data } = one.getContext('2d').getImageData(0, 0, one.width, one.height);
          let count = 0;
          for (let k = 0; k < data.length; k += 4)
            count += data[k] > 220 && data[k + 1] > 110 && data[k + 1] < 170 && data[k + 2] < 90;
          return count; }"""
    )


def test_cursor_is_seen_at_every_zoom_and_with_every_layer_hidden(counted_page):
    """Its lines are as thick as ever, where a voxel is a dot and where it fills the plane."""
    page = counted_page
    page.locator("#planes").scroll_into_view_if_needed()
    pressed = page.locator("#layers button[aria-pressed=true]")
    while pressed.count():
        pressed.first.click()
    counts = [orange(page)]
    for _ in range(15):
        page.click("[data-key='+']")
    counts.append(orange(page))
    page.select_option("#view", label="sagittal")
    counts.append(orange(page))
    assert min(counts) > 300


def test_loading_is_said_while_a_case_is_read(counted_page):
    """By its name, and no longer than that."""
    page = counted_page
    page.evaluate(
        """() => { window.loading = [];
          const line = document.getElementById('loading');
          const watch = () => line.hidden || window.loading.push(line.textContent);
          new MutationObserver(watch).observe(line, { attributes: true, childList: true }); }"""
    )
    name = page.text_content("#cases strong >> nth=1")
    page.click("#cases button >> nth=1")
    wait_for(page, "#judged", f"{name}: ")
    page.wait_for_selector("#loading", state="hidden")
    assert {*page.evaluate("window.loading")} == {f"loading {name} …"}


def test_all_structures_are_drawn_with_their_names(counted_page):
    """Beside the chosen one; a canvas that is read often changes its renderer, so not at once."""

    def switched():
        counted_page.click("#every")
        counted_page.wait_for_selector("#loading", state="hidden")
        return drawn(counted_page)

    _, before, every, after = switched(), switched(), switched(), switched()

    assert "outlines" in changed(before, every)
    assert changed(before, after) == set()


def test_names_in_tables_lead_to_the_case(counted_page):
    """By a link, which the address keeps."""
    names = counted_page.locator("#cases strong").all_text_contents()
    counted_page.click(f"tbody a:text-is('{names[2]}')")
    wait_for(counted_page, "#judged", f"{names[2]}: ")
    assert counted_page.url.endswith(f"#case={names[2]}")
    counted_page.reload()
    wait_for(counted_page, "#judged", f"{names[2]}: ")


def test_thick_slices_and_blank_and_oblique_images_are_seen(opened, tmp_path):
    """Axial first; a voxel without a value says so, and the others are seen; the angle is said."""
    write_case(tmp_path, "thick", "LPS", (1, 1, 6))
    file = tmp_path / "images/thick.nii.gz"
    image = nibabel.load(file)
    voxels = np.asarray(image.dataobj).copy()
    voxels[5:9, 4:8] = np.nan
    voxels[0, 0, 0] = np.inf
    turn = np.eye(4)
    angle = np.deg2rad(10)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for kind in ("maps", "labels", "images"):
        stored = nibabel.load(tmp_path / f"{kind}/thick.nii.gz")
        data = voxels if kind == "images" else np.asarray(stored.dataobj)
        nibabel.save(nibabel.Nifti1Image(data, turn @ stored.affine), stored.get_filename())
    page = opened(audited(tmp_path, tmp_path / "audit", "--images", f"{tmp_path / 'images'}"))
    assert page.input_value("#view") == "0"
    assert "up to 10° off the letters" in page.text_content("#oblique")
    wait_for(page, "#value", "image without a value")
    (case,) = cases_of(tmp_path / "audit/page.html")
    shown = np.asarray(layer(case["image"]).dataobj)
    assert len(np.unique(shown)) > 50  # not all black


def test_link_leads_to_the_place(counted_page, browser, study):
    """In a page that is opened by it, too."""
    page = counted_page
    page.click("#cases button >> nth=1")
    name = page.text_content("#cases strong >> nth=1")
    wait_for(page, "#judged", f"{name}: ")
    page.wait_for_selector("#loading", state="hidden")
    page.focus("#island")
    for key in ("ArrowLeft", "ArrowUp", "]", "]"):
        page.keyboard.press(key)
    place = state_of(page)["place"]
    address = page.evaluate("document.getElementById('place').href")
    other = new_page(browser, viewport={"width": 1000, "height": 900})
    other.goto(address)
    other.wait_for_selector("body.seen")
    wait_for(other, "#judged", f"{name}: ")
    same_bits(state_of(other)["place"], place, "the link has the digits that the page shows")
    check_said(study, name, state_of(other))
    other.close()


def test_image_is_smooth_on_request_and_fills_the_screen(counted_page):
    """Voxels are seen otherwise; the planes fill the screen."""
    page = counted_page
    page.locator("#planes").scroll_into_view_if_needed()
    before = drawn(page)
    page.click("#smooth")
    assert page.get_attribute("#smooth", "aria-pressed") == "true"
    assert "planes" in changed(before, drawn(page))
    page.click("#full")
    page.locator(".stack:fullscreen").wait_for()


def test_windows_are_of_the_image_of_ct_and_by_numbers(counted_page):
    """A preset stays for the next case, and its numbers are shown; without a width it is the crop's."""
    page = counted_page
    page.locator("#planes").scroll_into_view_if_needed()
    before, of_image = drawn(page), (page.input_value("#center"), page.input_value("#width"))
    page.select_option("#window", label="CT bone")
    assert "planes" in changed(before, drawn(page))
    page.click("#cases button >> nth=1")
    wait_for(page, "#judged", f"{page.text_content('#cases strong >> nth=1')}: ")
    assert (page.input_value("#center"), page.input_value("#width")) == ("400", "1800")
    page.click("#cases button >> nth=0")
    wait_for(page, "#judged", f"{page.text_content('#cases strong >> nth=0')}: ")
    page.fill("#width", "20")
    page.press("#width", "Enter")
    assert page.input_value("#window") == "own"
    page.fill("#width", "")
    page.press("#width", "Enter")
    assert (page.input_value("#center"), page.input_value("#width")) == of_image
    assert page.input_value("#window") == ""


def test_label_is_called_wrong_where_there_is_one(counted_page, tmp_path):
    """By the button and its key; it is downloaded, and read in again."""
    page = counted_page
    assert page.locator("kbd:text-is('l')").is_visible()
    page.click("#wrong")
    assert page.text_content("#cases em >> nth=0") == "label is wrong"
    save_verdicts(page, tmp_path)
    assert pd.read_csv(tmp_path / "verdicts.csv")["verdict"][0] == "label is wrong"
    page.keyboard.press("l")
    assert page.text_content("#cases em >> nth=0") == ""
    page.evaluate("localStorage.clear()")
    page.reload()
    page.wait_for_selector("body.seen")
    page.set_input_files("#verdicts", tmp_path / "verdicts.csv")
    wait_for(page, "#judged", "1 verdict read")
    assert page.get_attribute("#wrong", "aria-pressed") == "true"


def test_case_opens_at_the_same_place_with_the_prediction_hidden(counted_page):
    """What is hidden still says where to look; the keys of slices go through the plane."""
    page = counted_page

    def opened_at(case):
        page.click(f"#cases button >> nth={case}")
        wait_for(page, "#judged", f"{page.text_content(f'#cases strong >> nth={case}')}: ")
        page.wait_for_selector("#loading", state="hidden")
        return state_of(page)["place"]

    expected = opened_at(1)
    opened_at(0)
    page.click("#layers button:text-is('prediction')")
    same_bits(opened_at(1), expected, "the same file is read")
    page.focus("#island")
    page.keyboard.press(".")
    assert (np.abs(state_of(page)["place"] - expected) > 0.2).tolist() == [False, False, True]
