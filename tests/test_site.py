"""The site of docs/ builds strictly and works from disk; its links work, and its reference matches conf/."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from omegaconf import OmegaConf
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import visibility_of_element_located
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import chromium, open_page, requested

ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """A page's links, the files it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        address = given.get("href", given.get("src"))
        if address is not None:
            (self.links if tag == "a" else self.loads).append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The pages of the site by their paths."""
    folder = tmp_path_factory.mktemp("site").resolve()
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    built = subprocess.run(
        line, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return {path: Page(path) for path in folder.rglob("*.html") if path.name != "404.html"}


def test_links_lead_somewhere(site: dict[Path, Page]) -> None:
    for path, page in site.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), (path, link)
            assert not parts.fragment or parts.fragment in site[target].anchors | {"__top"}, (path, link)


def test_nothing_is_loaded_from_elsewhere(site: dict[Path, Page]) -> None:
    assert len(site) > 10
    for path, page in site.items():
        assert not [address for address in page.loads if urlsplit(address).netloc], path
        assert not re.search(r"url\([\"']?(https?:)?//", path.read_text(encoding="utf-8")), path


@pytest.mark.slow
def test_the_search_works_from_disk(site: dict[Path, Page]) -> None:
    (home,) = (path for path in site if path.name == "tutorial.html")
    with chromium() as browser:
        open_page(browser, home)
        browser.find_element(By.NAME, "query").send_keys("jackknife")
        found = visibility_of_element_located((By.CSS_SELECTOR, ".md-search-result__link[href*='report.html']"))
        WebDriverWait(browser, 10).until(found).click()
        WebDriverWait(browser, 10).until(lambda driver: "/report.html" in driver.current_url)
        assert not browser.get_log("browser")
        assert requested(browser) <= {"file", "data"}


@pytest.mark.slow
def test_the_reference_fits_a_laptop_and_a_phone(site: dict[Path, Page]) -> None:
    (page,) = (path for path in site if path.name == "configuration.html")
    cut = "return [...document.querySelectorAll('.md-typeset__scrollwrap')].filter(t => t.scrollWidth > t.clientWidth)"
    keys = "[...document.querySelectorAll('td:first-child code')].filter(key => key.textContent.length < 45)"
    broken = f"return {keys}.filter(key => key.getClientRects().length > 1)"
    with chromium() as browser:
        for width in (1280, 390):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            open_page(browser, page)
            assert len(browser.find_elements(By.CSS_SELECTOR, ".md-typeset__scrollwrap")) > 50
            assert not browser.execute_script(cut)
            assert not browser.execute_script(broken)


def test_code_and_experiments_that_documents_link_to_are_pages(site: dict[Path, Page]) -> None:
    (folder,) = {path.parent for path in site if path.name == "tutorial.html"}
    shown = (folder / "src/dmp_lightning/methods/base.py.html").read_text(encoding="utf-8")
    assert "class" in shown
    assert folder / "experiments/digits_patching/index.html" in site
    assert (folder / "experiments/digits_patching/figures/samples.png").is_file()


def test_formulas_are_mathml(site: dict[Path, Page]) -> None:
    (text,) = (path.read_text(encoding="utf-8") for path in site if path.name == "method.html")
    source = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    assert text.count('display="block"') == source.count("$$") // 2 >= 4
    assert "arithmatex" not in text
    assert "<merror" not in text
    assert not re.search(r"\\[a-z]+", re.sub(r"<(script|code|pre).*?</\1>", "", text, flags=re.DOTALL))


def value(text: str) -> object:
    """The value that Hydra reads from a piece of YAML."""
    content = OmegaConf.to_container(OmegaConf.create(f"it: {text}"))
    assert isinstance(content, dict)
    return content["it"]


def keys(node: object, prefix: str = "") -> dict[str, object]:
    """The leaves of nested mappings, by dotted keys."""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    return {
        key: value for name, part in node.items() for key, value in keys(part, f"{prefix}.{name}".lstrip(".")).items()
    }


def test_the_reference_has_every_key_with_its_default_and_every_comment(site: dict[Path, Page]) -> None:
    from docs.hooks.reference import read, reference

    page = reference(ROOT / "conf").replace("`", "")
    for path in [*(ROOT / "conf").glob("*.yaml"), *(ROOT / "conf").glob("*/*.yaml")]:
        content = OmegaConf.to_container(OmegaConf.load(path)) or {}
        assert isinstance(content, dict)
        content.pop("defaults", None)
        found = {entry.key: value(entry.default) for entry in read(path).entries if entry.default}
        assert found == keys(content) if content else not found, path
        for comment in re.findall(r"(?<=# )[^@\n].*", path.read_text(encoding="utf-8")):
            assert comment.strip().replace("|", "\\|").replace("`", "") in page, (path, comment)
    (shown,) = (path.read_text(encoding="utf-8") for path in site if path.name == "configuration.html")
    assert all(f'id="{group.name}"' in shown for group in (ROOT / "conf").iterdir() if any(group.glob("*.yaml")))
