"""What tests of reports share: figures without pixels, true probabilities."""

import os
import shutil

import pytest
import torch

# A headless browser without a graphics card, which asks nobody whether it is up to date.
WORDS = [
    *("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(autouse=True)
def _unpainted(unpainted):
    """Figures without pixels take a tenth of the time."""


def predicted(temperature, *, cases=12, size=12, seed=1, shift=0.0):
    """Probabilities of two classes and labels: of temperature 1 they are true, below too sure."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(cases, 2, size, size, generator=generator)
    logits[:, 1] += shift
    labels = torch.rand(cases, size, size, generator=generator) < logits.softmax(1)[:, 1]
    return (logits / temperature).softmax(1).numpy(), labels.long().numpy()


def unavailable(reason):
    """Skips, but where the browser was promised, as in .ci/run."""
    if os.environ.get("BROWSER_TESTS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def new_page(browser, **how):
    """An empty page that waits for a slow machine, where the browser's half a minute is too little."""
    page = browser.new_page(**how)
    page.set_default_timeout(300_000)
    return page


@pytest.fixture(scope="session")
def browser():
    """The distribution's Chromium; no browser is downloaded."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        unavailable("no Chromium is installed: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("playwright is not installed: pip install playwright")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=WORDS)
        yield chromium
        chromium.close()
