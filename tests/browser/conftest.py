"""One headless Chromium and one server for all tests of the page."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from reverie.serve.app import ServeConfig, make_app
from reverie.serve.engine import EngineConfig
from reverie.serve.session import SessionConfig
from tests.support.serve_server import running_server
from tests.support.serve_worlds import make_shift_show

expect.set_options(timeout=10_000)

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NUM_SEATS = 3


def chromium_path() -> str:
    """Find Chromium; without one these tests fail, they are not skipped."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    if Path("/usr/bin/chromium").exists():
        return "/usr/bin/chromium"
    pytest.fail(
        "The tests of the page need Chromium and found none. Install it (Debian: apt-get install "
        "chromium), or leave these tests out with: -m 'not browser'",
        pytrace=False,
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    config = ServeConfig(
        engine=EngineConfig(max_sessions=NUM_SEATS),
        session=SessionConfig(rate_hz=30.0, context_frames=3),
    )
    with running_server(make_app({"shift": make_shift_show(is_calibrated=True)}, config)) as url:
        yield url


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console and scripts complained about."""
    return []


@pytest.fixture
def page(browser: Browser, url: str, complaints: list[str]) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(10_000)
    watch(page, complaints)
    page.goto(url)
    wait_for_dream(page)
    yield page
    page.close()


def watch(page: Page, complaints: list[str]) -> None:
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if message.type in ("error", "warning") else None
        ),
    )


def wait_for_dream(page: Page) -> None:
    # Not wait_for_function: the page's own policy, which stays on here, forbids eval.
    expect(page.locator("#level-text")).to_have_text(re.compile(r"\b[1-9]\d* frames dreamed"))
