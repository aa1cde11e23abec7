"""The report's page in headless Chromium: it needs no network, filters act, the slider moves, phone and print."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from dmp_lightning.commands.report import make_report
from tests.browser import chromium, open_page, requested
from tests.configs import config
from tests.reports.made import make_runs

TOPK, LINEAR = "mixture of prompts (DMP) · gate topk", "mixture of prompts (DMP) · gate linear"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = make_runs(tmp_path_factory.mktemp("page") / "runs")
    return make_report(config(f"dir={runs}", name="report")) / "report.html"


@pytest.fixture(scope="module")
def shared(page: Path) -> Iterator[webdriver.Chrome]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(shared: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    """A fresh page on a wide screen."""
    shared.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    shared.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    return ready(shared, page)


def ready(browser: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    open_page(browser, page)
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return document.documentElement.dataset.ready"))
    return browser


def emulate(browser: webdriver.Chrome, **media: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def visible(browser: webdriver.Chrome, selector: str) -> list[str]:
    """Texts of the elements that can be seen."""
    found = browser.find_elements(By.CSS_SELECTOR, selector)
    return [element.text.splitlines()[0] for element in found if element.is_displayed() and element.text]


def marks(browser: webdriver.Chrome, plot: str) -> int:
    """How many points a plot draws."""
    return len(browser.find_elements(By.CSS_SELECTOR, f"#{plot} .mark-symbol path"))


def uncheck(browser: webdriver.Chrome, value: str) -> None:
    details = browser.find_element(By.CSS_SELECTOR, ".filters")
    if details.get_attribute("open") is None:
        details.find_element(By.TAG_NAME, "summary").click()
    box = browser.find_element(By.CSS_SELECTOR, f".filters input[value='{value}']")
    box.find_element(By.XPATH, "..").click()
    assert not box.is_selected()


def test_it_renders_without_errors_and_asks_for_no_other_file(browser: webdriver.Chrome) -> None:
    assert requested(browser) <= {"file", "data"}
    assert browser.get_log("browser") == []
    plots = browser.find_elements(By.CSS_SELECTOR, ".plot")
    assert len(plots) == 8  # an axis and a cost twice, four lines over timesteps
    for plot in plots:
        assert plot.find_elements(By.CSS_SELECTOR, "svg .mark-symbol path"), plot.get_attribute("id")
    assert len(visible(browser, "#table tbody tr")) == 5
    assert "Out of <memory>." in browser.find_element(By.ID, "failed").text
    assert "15.25" in browser.find_element(By.ID, "evaluations").text


def test_filters_change_table_plots_and_pictures(browser: webdriver.Chrome) -> None:
    (axis,) = [e.get_attribute("id") for e in browser.find_elements(By.CSS_SELECTOR, "#axes .plot[id$=gate-distance]")]
    assert marks(browser, axis) == 8  # two means, six seeds
    uncheck(browser, "topk")
    WebDriverWait(browser, 10).until(lambda b: marks(b, axis) == 4)
    assert TOPK not in visible(browser, "#table tbody th")
    assert LINEAR in visible(browser, "#table tbody th")
    assert visible(browser, ".filters summary") == ["Filter 3 of 4 lines shown"]
    assert len(visible(browser, "#gains .small-title")) == 3
    chosen = Select(browser.find_element(By.CSS_SELECTOR, "#gates select"))
    assert [option.text for option in chosen.options if option.is_enabled()] == [f"{LINEAR} – small"]
    uncheck(browser, "mixture of prompts (DMP)")
    WebDriverWait(browser, 10).until(lambda b: not b.find_element(By.ID, axis).is_displayed())
    assert not browser.find_element(By.ID, "gates").is_displayed()  # nobody else has one
    assert "mixture of prompts (DMP)" not in visible(browser, "#cost .legend li")
    assert "full fine-tuning" in visible(browser, "#cost .legend li")
    browser.find_element(By.CSS_SELECTOR, ".filters button").click()
    WebDriverWait(browser, 10).until(lambda b: marks(b, axis) == 8)
    assert len(visible(browser, "#table tbody tr")) == 5
    assert browser.find_element(By.ID, "gates").is_displayed()
    assert browser.get_log("browser") == []


def test_the_front_is_drawn_anew_for_what_is_left(browser: webdriver.Chrome) -> None:
    def front() -> str | None:
        return browser.find_element(By.CSS_SELECTOR, "#cost-1-parameters .mark-line path").get_attribute("d")

    whole = front()
    uncheck(browser, "linear")
    WebDriverWait(browser, 10).until(lambda _: front() != whole)


def test_captions_are_listed_as_they_are_written(browser: webdriver.Chrome) -> None:
    found = browser.find_elements(By.CSS_SELECTOR, ".captions li")
    assert [each.get_attribute("textContent") for each in found[:6]] == [f"{number} <apples>" for number in range(6)]


def test_the_slider_moves_the_cut_by_mouse_and_keys(browser: webdriver.Chrome) -> None:
    compare = next(e for e in browser.find_elements(By.CSS_SELECTOR, ".compare") if e.is_displayed())
    after = compare.find_element(By.CSS_SELECTOR, ".after")
    slider = compare.find_element(By.TAG_NAME, "input")
    assert after.value_of_css_property("clip-path") == "inset(0px 0px 0px 50%)"
    slider.send_keys(Keys.ARROW_RIGHT)
    assert after.value_of_css_property("clip-path") == "inset(0px 0px 0px 51%)"
    slider.send_keys(Keys.HOME)
    assert brightness(compare) > 130  # all of it trained, whose samples are 150 lighter
    slider.send_keys(Keys.END)
    assert brightness(compare) < 110
    assert slider.get_attribute("aria-label")


def brightness(element: Any) -> float:
    picture = Image.open(io.BytesIO(element.screenshot_as_png)).convert("L")
    pixels = np.asarray(picture)
    return float(np.median(pixels[pixels < 250]))


def test_tables_are_sorted_within_their_base(browser: webdriver.Chrome) -> None:
    header = browser.find_elements(By.CSS_SELECTOR, "#table thead button")[2]
    header.click()
    order = visible(browser, "#table tbody th")
    assert order[0] == "small"
    assert order[1:] == [LINEAR, "plain prompt tuning", TOPK, "full fine-tuning"]
    header.click()
    assert visible(browser, "#table tbody th")[1:] == order[:0:-1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_no_sideways_scroll(shared: webdriver.Chrome, page: Path, scheme: str) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    shared.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    emulate(shared, features=[{"name": "prefers-color-scheme", "value": scheme}])
    ready(shared, page)
    assert shared.execute_script("return document.documentElement.scrollWidth") == 390
    wide = shared.execute_script(
        "return [...document.querySelectorAll('.plot svg')].filter(e => e.getBoundingClientRect().right > 390).length"
    )
    assert wide == 0
    paper, ink = (
        shared.find_element(By.TAG_NAME, "body").value_of_css_property(name) for name in ("background-color", "color")
    )
    assert (_light(paper) > _light(ink)) == (scheme == "light")
    label = shared.find_element(By.CSS_SELECTOR, ".plot text")
    assert label.value_of_css_property("fill").removeprefix("rgb(") in ink.replace("rgba(", "").replace(", 1)", ")")


def _light(colour: str) -> float:
    return sum(float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3])


def test_print_shows_everything_twice_and_no_controls(browser: webdriver.Chrome) -> None:
    emulate(browser, media="print")
    assert not browser.find_element(By.CSS_SELECTOR, ".filters").is_displayed()
    compared = browser.find_elements(By.CSS_SELECTOR, ".compare")
    assert len(compared) == 4
    for compare in compared:
        before, after = (compare.find_element(By.CSS_SELECTOR, name) for name in (".before", ".after"))
        assert after.value_of_css_property("clip-path") == before.value_of_css_property("clip-path") == "none"
        assert before.rect["x"] + before.rect["width"] <= after.rect["x"]
        assert not compare.find_element(By.TAG_NAME, "input").is_displayed()
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000
