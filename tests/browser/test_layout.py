"""Where things are: small and wide windows, a phone on its side, forced colours and paper."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE, Site, Visit, Visitor
from tests.browser.views import VIEWS
from tests.browser.world import LONG, NEW, OTHER_CUSTOMER, THREAD, UNLINKED

TABLET, WIDE, SIDEWAYS, ZOOMED = (768, 1024), (2560, 1300), (740, 360), (720, 450)
SIZES = {"phone": PHONE, "zoomed": ZOOMED, "tablet": TABLET, "desk": DESK, "wide": WIDE}

every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)


def height(page: Page, selector: str) -> float:
    """Return how high an element is drawn."""
    box = page.locator(selector).first.bounding_box()
    assert box
    return box["height"]


@every_size
@pytest.mark.parametrize("part", ["conversations", "links"])
def test_the_bar_keeps_to_one_line(visitor: Visitor, site: Site, size: tuple[int, int], part: str):
    page = visitor(site.world.operator, size=size).open(f"/{part}")
    assert height(page, ".bar") <= 60
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]


@pytest.mark.parametrize("size", [PHONE, ZOOMED, SIDEWAYS], ids=["phone", "zoomed", "sideways"])
def test_a_small_windows_menu_holds_the_instructors_the_keys_and_the_way_out(
    visitor: Visitor, site: Site, size: tuple[int, int]
):
    page = visitor(site.world.operator, size=size).open("/conversations")
    expect(page.get_by_text("Anna Kofler · times in UTC")).to_be_visible()
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_text(site.world.operator.email)).to_be_in_viewport()
    expect(page.get_by_role("button", name="Sign out")).to_be_in_viewport()
    page.get_by_role("button", name="Keys").click()
    page.get_by_role("checkbox", name="Single keys work").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator(".who:focus")).to_have_count(0)
    page.get_by_role("button", name="Menu").click()
    page.get_by_label("Instructor").select_option("Luca Moser")
    expect(page.get_by_text("Luca Moser · times in UTC")).to_be_visible()


def test_controls_are_large_enough_for_a_finger_also_in_the_menu(visitor: Visitor, site: Site):
    visit = visitor(site.world.operator, size=PHONE)
    for page in (visit.open("/conversations"), visit.open_conversation(NEW)):
        page.get_by_role("button", name="Menu").click()
        for control in page.locator(":is(button, select, input, header a, .back a, .more a):visible").all():
            box = control.bounding_box()
            assert box
            assert box["height"] >= 44, control.inner_text()
            assert box["width"] >= 24, control.inner_text()


def test_a_phone_shows_seven_rows(visitor: Visitor, site: Site):
    page = visitor(site.world.operator, size=PHONE).open("/conversations")
    expect(page.locator("[data-state]")).to_have_count(50)
    bottoms = page.locator(".rows li").evaluate_all(
        "(all) => all.map((row) => row.getBoundingClientRect().bottom)"
    )
    assert len([bottom for bottom in bottoms if bottom <= PHONE[1]]) >= 7


@pytest.mark.parametrize(("size", "least"), [(SIDEWAYS, 200), (PHONE, 500), (ZOOMED, 240)])
def test_a_small_window_leaves_room_for_the_messages(
    visitor: Visitor, site: Site, size: tuple[int, int], least: int
):
    page = visitor(site.world.operator, size=size).open_conversation(THREAD)
    assert height(page, ".scroll") >= least
    assert page.evaluate("document.documentElement.scrollHeight") == size[1]
    expect(page.locator(".messages li").last).to_be_in_viewport(ratio=1)


def test_a_wide_window_shows_more_of_each_message(visitor: Visitor, site: Site):
    page = visitor(site.world.operator, size=WIDE).open("/conversations")
    box = page.locator(".rows").bounding_box()
    assert box
    assert box["width"] > WIDE[0] - 64
    cut = """(all) => all.filter((last) => last.scrollWidth > last.clientWidth)
        .map((last) => last.textContent.trim())"""
    assert [said for said in page.locator(".last").evaluate_all(cut) if not said.startswith("yyy")] == []


@every_size
def test_the_end_of_every_identifier_is_shown(visitor: Visitor, site: Site, size: tuple[int, int]):
    page = visitor(site.world.operator, size=size).open("/conversations")
    hidden = """(all) => all.filter((part) => {
        const around = part.closest(".who").getBoundingClientRect();
        return part.getBoundingClientRect().right > around.right + 1;
    }).map((part) => part.textContent)"""
    assert page.locator(".who .identifier > :last-child").evaluate_all(hidden) == []
    tail = page.locator(".who", has_text=LONG).locator(".identifier > :last-child")
    expect(tail).to_have_text(LONG[-6:])


def marks(page: Page) -> set[str]:
    """Return how the three badges' marks are drawn."""
    drawn = """(all) => all.map((badge) => {
        const style = getComputedStyle(badge, "::before");
        return [style.backgroundColor, style.backgroundImage, style.printColorAdjust].join(" ");
    })"""
    return set(page.locator("[data-state]").evaluate_all(drawn))


def test_paper_shows_rows_and_badges_and_nothing_to_click(operator: Visit):
    page = operator.open("/conversations")
    expect(page.locator("[data-state]")).to_have_count(50)
    page.emulate_media(media="print", color_scheme="dark")
    for hidden in (".skip", ".bar", ".search", ".keys", ".more", "#reload"):
        expect(page.locator(hidden).first).to_be_hidden()
    assert len(marks(page)) == 3
    assert all(mark.endswith("exact") for mark in marks(page))
    assert page.locator(".who").first.evaluate("(row) => getComputedStyle(row).color") == "rgb(22, 27, 36)"


def test_paper_shows_a_whole_conversation_and_both_sides_of_it(operator: Visit):
    page = operator.open_conversation(THREAD)
    page.emulate_media(media="print")
    expect(page.locator(".messages li").first).to_be_visible()
    assert height(page, ".scroll") > 1000
    page.emulate_media(media="screen")
    page = operator.open_conversation(OTHER_CUSTOMER)
    page.emulate_media(media="print")
    style = "(bubble) => [getComputedStyle(bubble).color, getComputedStyle(bubble).borderTopStyle]"
    for part in (".outbound", ".outbound .body", ".outbound time"):
        assert page.locator(part).first.evaluate(style)[0] != "rgb(255, 255, 255)"
    for side in (".inbound", ".outbound"):
        assert page.locator(f".messages {side}").first.evaluate(style)[1] == "solid"


def test_forced_colours_show_marks_edges_and_the_current_row(operator: Visit):
    page = operator.open_conversation(UNLINKED, "links")
    page.emulate_media(forced_colors="active")
    current = page.locator(".queue li:has([aria-current])")
    outline = "(row) => [getComputedStyle(row).outlineStyle, getComputedStyle(row).outlineWidth]"
    assert current.evaluate(outline) == ["solid", "2px"]
    border = "(bubble) => getComputedStyle(bubble).borderTopStyle"
    assert page.locator(".messages li").first.evaluate(border) == "solid"
    page = operator.open("/conversations")
    expect(page.locator("[data-state]")).to_have_count(50)
    assert len(marks(page)) == 3


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize(
    "name", ["sign-in", "conversations", "conversation-whole", "desk", "link", "linked", "not-found"]
)
def test_nothing_shifts_while_a_page_loads(visitor: Visitor, site: Site, name: str, size: tuple[int, int]):
    view = VIEWS[name]
    visit = visitor(site.world.operator if view.signed_in else None, size=size)
    visit.page.add_init_script(
        "window.shifted = []; new PerformanceObserver((list) => list.getEntries().forEach((entry) => {"
        " if (!entry.hadRecentInput) window.shifted.push([entry.value, ...entry.sources.map((moved) =>"
        " [moved.node?.outerHTML, JSON.stringify([moved.previousRect, moved.currentRect])])]); }))"
        ".observe({ type: 'layout-shift', buffered: true })"
    )
    site.slow.set()
    view.lead(visit, site)
    expect(visit.page.locator(".badge:not([data-state])")).to_have_count(0)
    visit.page.wait_for_load_state("networkidle")
    assert visit.page.evaluate("window.shifted") == []


def test_a_first_visit_weighs_at_most_45_kb(operator: Visit):
    weights: dict[str, int] = {}
    operator.page.on(
        "requestfinished", lambda request: weights.update({request.url: request.sizes()["responseBodySize"]})
    )
    operator.open("/conversations").wait_for_load_state("networkidle")
    total = sum(weights.values())
    print(f"first visit: {total / 1000:.1f} KB in {len(weights)} answers")  # noqa: T201 (the figure that is asked for)
    assert total <= 45_000
