"""Draws the pictures of pages, in Chromium.

They are of what ``nacl-monai demo --quick`` wrote::

python docs/page_pictures.py runs/demo/quick docs/images
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

#: Picture → page of the report, colors, size of the window, and its part, or None for the first screen.
PICTURES = {
    "audit_page": ("audit", "light", (1000, 1130), None),
    "view_audit": ("audit", "light", (1000, 900), "#viewer"),
    "view_promise": ("promise", "dark", (1200, 1000), "#viewer"),
    "triage": ("triage", "light", (1000, 1240), None),
}
# A browser without a graphics card.
WORDS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def main(demo: Path, images: Path) -> None:
    """Draws each, and prints what its cursor reads."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=WORDS)
        for name, (step, colors, (width, height), part) in PICTURES.items():
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=colors
            )
            page.set_default_timeout(300_000)
            page.goto((demo / "report" / step / "page.html").resolve().as_uri())
            page.wait_for_selector("body.seen")
            shown = page.locator(part) if part else page
            shown.screenshot(path=images / f"{name}.png")
            print(f"{name}: {page.locator('#value').inner_text()}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
