"""The site of `make report` in a browser, opened from disk: a word is searched for, the first hit is followed."""

import shutil
import time
from pathlib import Path

import browser
import pytest

from analysis import load, report

pytestmark = pytest.mark.skipif(browser.found() is None, reason="no Chromium: apt-get install chromium")

SOURCES = ("analysis/figure_stability.ipynb", "analysis/preregistration.md", "figures/claims.md")
HERE = "location.pathname.split('/').pop()"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of a repository that holds three of this one's pages."""
    root, out = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("site")
    for source in SOURCES:
        (root / source).parent.mkdir(exist_ok=True)
        shutil.copyfile(load.ROOT / source, root / source)
    report.build(out, root)
    return out


@pytest.fixture
def opened(site, tmp_path):
    made = browser.Browser(tmp_path / "profile")
    made.open(site / "index.html")
    yield made
    made.close()


def arrived(page: browser.Browser, name: str) -> None:
    """Waits until the browser has loaded the page `name`."""
    for _ in range(600):
        if page.run(f"{HERE} === {name!r} && document.readyState === 'complete'"):
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} was not opened: {page.run('location.href')}")


def search(page: browser.Browser, words: str) -> list[str]:
    """Types words into the search box, sends them and returns the pages that are found."""
    page.run("document.querySelector('nav input').focus()")
    page.press(*words, "Enter")
    arrived(page, "search.html")
    return page.run("[...document.querySelectorAll('#found a')].map((one) => one.getAttribute('href'))")


def test_a_word_is_found_and_its_page_opened_without_a_network(opened):
    found = search(opened, "Definitions precede")
    assert found[0] == "analysis-preregistration.md.html", found
    assert opened.run("document.querySelector('#count').textContent") == f"{len(found)} pages"
    opened.run("document.querySelector('#found a').click()")
    arrived(opened, "analysis-preregistration.md.html")
    assert opened.run("document.querySelector('h1').textContent") == "Definitions that precede the runs"
    assert opened.errors == []
    assert opened.requests and all(address.startswith(("file://", "data:")) for address in opened.requests)


def test_a_word_of_no_page_is_said_to_be_on_none(opened):
    assert search(opened, "xyzzy") == []
    assert opened.run("document.querySelector('#count').textContent") == "0 pages"
    assert opened.errors == []
