"""Headless Chromium for tests of pages."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",  # what is still on its way cannot be clicked
)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own; where none is installed the test is skipped, and on CI it fails."""
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        reason = "the page is tested in Chromium: install chromium and chromium-driver (Debian's names)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with TemporaryDirectory() as profile:
        options = Options()
        options.binary_location = program
        for switch in (*SWITCHES, f"--user-data-dir={profile}", "--window-size=1200,900"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        browser = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield browser
        finally:
            browser.quit()


def requested(browser: webdriver.Chrome) -> set[str]:
    """Schemes of all that the page has asked for; what the browser shows at its start is no business of ours."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return {each["request"]["url"].partition(":")[0] for each in sent if each["documentURL"].startswith("file:")}


def open_page(browser: webdriver.Chrome, path: Path) -> None:
    """Open a file, and forget what was logged before."""
    for kind in ("performance", "browser"):
        browser.get_log(kind)
    browser.get(path.resolve().as_uri())
