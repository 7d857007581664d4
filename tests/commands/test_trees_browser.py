"""The pages of `make trees` in a browser, opened from disk: a branch is followed, shading switches, text stays text."""

import browser
import pytest
from records import HOSTILE, hostile, saved

from reproduce.commands.trees import cli

pytestmark = pytest.mark.skipif(browser.found() is None, reason="no Chromium: apt-get install chromium")

CHOSEN = "document.querySelectorAll('[aria-current=true]')[{side}].getAttribute('aria-label')"
DETAIL = "document.querySelectorAll('.detail')[0].textContent"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    made = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def page(opened, tmp_path):
    """Makes a page by the command and opens it; in the end nothing was complained of or asked of a network."""

    def show(*words: str):
        assert cli.main([*words, "--out", str(tmp_path / "page.html")]) == 0
        opened.errors.clear()
        opened.requests.clear()
        opened.open(tmp_path / "page.html")
        return opened

    yield show
    assert opened.errors == []
    assert opened.requests and all(address.startswith("file://") for address in opened.requests)


def test_a_branch_is_followed_by_keys(page):
    shown = page("aepo", "--step", "1")
    assert shown.run(CHOSEN.format(side=0)).startswith("branch 8, turn 2:"), "the first fork is chosen at first"
    assert "#8 is a fork of #0, before turn 2. Branch test: h " in shown.run(DETAIL)
    shown.press("ArrowLeft")
    assert shown.run(CHOSEN.format(side=0)).startswith("branch 0, turn 1:"), "it goes on in the parent"
    shown.press("f")
    assert shown.run(CHOSEN.format(side=0)).startswith("branch 8, turn 2:")
    shown.press("f", "End")
    assert shown.run(CHOSEN.format(side=0)).startswith("branch 9, turn 6: answer")
    assert shown.run("document.querySelectorAll('.node.path').length") == 6, "from the question to the leaf"
    assert shown.run("document.querySelectorAll('path.fork').length") == 8
    shown.press("p")
    assert shown.run(CHOSEN.format(side=0)).startswith("branch 1, turn 2:")


def test_a_click_chooses_a_turn_with_text_call_and_result(page):
    shown = page("aepo", "--step", "1")
    shown.run("document.querySelector('.node').click()")
    said = shown.run(DETAIL)
    assert "<search> vuros museum </search>" in said and "1 vuros 2 vuros 3 vuros 4 selex" in said


def test_shading_switches_and_shows_numbers_per_token(page):
    shown = page("aepo", "--step", "1")
    shades = "[...document.querySelectorAll('.detail .token')].map((one) => one.style.backgroundColor).join(' ')"
    seen = [shown.run(shades)]
    for kind in ("logp", "advantage", "ratio"):
        shown.run(f"document.querySelector('input[value={kind}]').click()")
        seen.append(shown.run(shades))
    assert len(set(seen)) == 4
    shown.press("s")
    assert shown.run(shades).strip() == "", "no shading"
    shown.press("s", ".", ".")
    assert shown.run(shades) == seen[0]
    read = shown.run("document.querySelector('.readout').textContent")
    assert read.startswith("token 2 of turn 2") and "advantage" in read and "ratio" in read
    few = shown.run("document.querySelectorAll('.detail .token').length")
    shown.press("b")
    assert shown.run("document.querySelectorAll('.detail .token').length") > few, "the whole branch"


def test_two_methods_stand_side_by_side_on_one_question(page):
    shown = page("aepo", "--step", "1", "--and", "arpo")
    sides = "[...document.querySelectorAll('section')].map((one) => one.getBoundingClientRect())"
    left, right = shown.run(f"{sides}.map((one) => [one.left, one.right, one.top])")
    assert left[1] <= right[0] and left[2] == right[2]
    assert len(set(shown.run("[...document.querySelectorAll('.question')].map((one) => one.textContent)"))) == 1
    shown.run("document.querySelectorAll('section')[1].querySelector('.node').click()")
    before = shown.run(CHOSEN.format(side=0))
    shown.press("ArrowRight")
    assert ", turn 2:" in shown.run(CHOSEN.format(side=1)) and shown.run(CHOSEN.format(side=0)) == before


def test_an_episode_is_a_strip_of_turns(page):
    shown = page("minihouse")
    said = shown.run(DETAIL)
    assert "turn 1 of" in said and shown.run("document.querySelectorAll('path.fork').length") == 0
    shown.press("ArrowRight", "ArrowDown")
    assert shown.run(CHOSEN.format(side=0)).startswith("branch 1, turn 2:")


def test_no_text_is_below_12_px_and_all_is_dark_on_light(page):
    shown = page("aepo", "--step", "1")
    measured = shown.run(
        """[...document.querySelectorAll("body *")].filter((one) => [...one.childNodes].some((node) =>
        node.nodeType === 3 && node.textContent.trim()) && !["SCRIPT", "STYLE", "NOSCRIPT"].includes(one.tagName))
        .map((one) => { const style = getComputedStyle(one); return [parseFloat(style.fontSize), style.color]; })"""
    )
    assert len(measured) > 100
    assert min(size for size, _ in measured) >= 12
    for colour in {colour for _, colour in measured}:
        red, green, blue = (int(part) for part in colour[4:-1].split(","))
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 100, colour


def test_hostile_text_is_text(page, tmp_path):
    shown = page(str(saved(tmp_path / "run", hostile())))
    shown.press("Home", "ArrowLeft", "b")
    assert shown.run("window.hacked") is None
    assert shown.run(
        "[document.scripts.length, document.images.length, document.querySelectorAll('b').length > 0]"
    ) == [2, 0, True]
    assert shown.run("[...document.querySelectorAll('b')].every((one) => /^#\\d+$/.test(one.textContent))")
    tokens = shown.run("[...document.querySelectorAll('.detail .token')].slice(0, 8).map((one) => one.textContent)")
    assert tokens[:4] == HOSTILE[:4]
    assert tokens[4] == "␀␇␛[31m␡␍↵\n␉"
    assert tokens[5] == "⟨U+202E⟩gnihtemos⟨U+2066⟩⟨U+200B⟩" and tokens[6] == "⟨U+2028⟩⟨U+2029⟩"
    assert tokens[7] == HOSTILE[7]
    assert shown.run("document.documentElement.scrollWidth <= innerWidth"), "a long token does not widen the page"
    assert shown.run("document.querySelector('.question').textContent") == HOSTILE[0]
    assert shown.run("document.querySelector('h1').textContent").startswith(HOSTILE[1])
