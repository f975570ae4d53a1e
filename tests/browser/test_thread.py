"""One conversation, read as a thread."""

from collections import Counter

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.browser.conftest import DESK, PHONE, Site, Visit, Visitor, arrived
from tests.browser.world import HEBREW, LINK, LONG, NEW, OTHER_CUSTOMER, START, THREAD, THREAD_MESSAGES


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_older_messages_come_in_above_and_what_one_reads_stays_where_it_is(
    visitor: Visitor, site: Site, size: tuple[int, int]
):
    visit = visitor(site.world.instructor, size=size)
    page = visit.open_conversation(THREAD)
    expect(page.locator(".messages li")).to_have_count(50)
    expect(page.locator(".messages li").last).to_be_in_viewport()
    older = page.get_by_role("link", name="Older messages")
    older.scroll_into_view_if_needed()
    oldest = page.locator(".messages li").first
    said = oldest.locator(".body").inner_text()
    before = oldest.bounding_box()
    older.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".messages li")).to_have_count(100)
    assert page.get_by_text(said, exact=True).locator("xpath=..").bounding_box() == before
    expect(older).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".messages li")).to_have_count(THREAD_MESSAGES + 2)
    expect(page.get_by_text("The first messages")).to_be_focused()
    said_in_order = page.locator(".body").all_inner_texts()
    assert said_in_order == [*(f"Line {number}" for number in range(THREAD_MESSAGES)), "the slope I mean"]
    assert len(visit.asked_for("/badges")) == 1


def test_every_day_is_named_once_however_the_messages_came_in(operator: Visit):
    page = operator.open_conversation(THREAD)
    for shown in (100, THREAD_MESSAGES + 2):
        page.get_by_role("link", name="Older messages").click()
        expect(page.locator(".messages li")).to_have_count(shown)
    days = page.locator("h2.day").all_inner_texts()
    assert set(Counter(days).values()) == {1}
    assert days[0].startswith(f"{START:%A}".replace("Monday", "Tuesday"))
    assert len(days) == 7


def test_a_message_that_is_not_text_shows_its_kind(operator: Visit):
    page = operator.open_conversation(THREAD)
    last_two = page.locator(".messages li").all()[-2:]
    expect(last_two[0].locator(".kind")).to_have_text("Photo")
    expect(last_two[0].locator(".body")).to_have_text("the slope I mean")
    expect(last_two[1].locator(".kind")).to_have_text("Location")


def test_a_message_follows_the_direction_of_what_it_says(operator: Visit):
    page = operator.open_conversation(HEBREW)
    assert page.locator(".body").evaluate("(element) => getComputedStyle(element).direction") == "rtl"


@pytest.mark.parametrize("width", [320, 360, 1440])
def test_a_very_long_identifier_and_message_break_nothing(visitor: Visitor, site: Site, width: int):
    visit = visitor(site.world.operator, size=(width, 740))
    for part in ("conversations", "links"):
        page = visit.open_conversation(LONG, part)
        assert page.evaluate("document.documentElement.scrollWidth") == width
    arrived(page, LONG, level=2)


def test_every_message_says_when_it_was_sent(operator: Visit):
    page = operator.open_conversation(HEBREW)
    time = page.locator(".messages time")
    expect(time).to_have_text("09:03")
    expect(time).to_have_attribute("datetime", "2026-11-12T09:03:00Z")
    expect(page.get_by_text("times in UTC")).to_be_visible()


def test_bubbles_are_grouped_by_author_and_minute_with_the_time_beside_the_words(operator: Visit):
    page = operator.open_conversation(OTHER_CUSTOMER)
    bubbles = page.locator(".messages li")
    grouped = "(all) => all.map((bubble) => bubble.className)"
    assert bubbles.evaluate_all(grouped)[:3] == ["inbound goes-on", "inbound", "outbound"]
    expect(bubbles.nth(0).locator("time")).to_have_css("position", "absolute")
    words, time = bubbles.nth(1).locator(".body"), bubbles.nth(1).locator("time")
    assert abs(middle(words) - middle(time)) < 4


def middle(drawn: Locator) -> float:
    """Return how far down the middle of an element is."""
    box = drawn.bounding_box()
    assert box
    return box["y"] + box["height"] / 2


def test_a_web_address_in_a_message_is_a_link_that_says_nothing_of_the_console(operator: Visit):
    page = operator.open_conversation(OTHER_CUSTOMER)
    link = page.get_by_role("link", name=LINK, exact=True)
    expect(link).to_have_attribute("href", LINK)
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(page.locator(".outbound .body")).to_have_text(f"I am, see {LINK}.")


def test_a_message_without_a_visible_character_says_so(operator: Visit):
    page = operator.open_conversation(OTHER_CUSTOMER)
    expect(page.locator(".messages li").nth(3)).to_contain_text("No visible text")


def test_the_identifier_is_copied_whole(operator: Visit, site: Site):
    operator.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.url)
    page = operator.open_conversation(THREAD)
    page.get_by_role("button", name="Copy the identifier").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == THREAD


def test_older_messages_that_do_not_come_are_said_and_asked_for_again(operator: Visit):
    operator.expected = "status of 503|Failed to fetch|ERR_FAILED"
    page = operator.open_conversation(THREAD)
    answers = iter(["broken", "lost"])

    def answer(route: Route) -> None:
        match next(answers, None):
            case "broken":
                route.fulfill(status=503, body="<p>no</p>")
            case "lost":
                route.abort()
            case None:
                route.continue_()

    page.route("**/messages?*", answer)
    page.get_by_role("link", name="Older messages").click()
    failed = page.get_by_role("alert")
    expect(failed).to_contain_text("could not be loaded")
    failed.get_by_role("button", name="Try again").click()
    expect(failed).to_contain_text("could not be loaded")
    expect(page.locator(".messages li")).to_have_count(50)
    failed.get_by_role("button", name="Try again").click()
    expect(page.locator(".messages li")).to_have_count(100)
    expect(failed).to_be_hidden()


def test_a_conversation_is_left_and_walked_by_key(operator: Visit, site: Site):
    page = operator.open("/conversations?q=4477")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    arrived(page, "+447700900123")
    expect(page.get_by_role("link", name="Previous")).to_be_hidden()
    page.keyboard.press("j")
    arrived(page, "+447700900456")
    page.keyboard.press("k")
    arrived(page, "+447700900123")
    page.keyboard.press("u")
    expect(page).to_have_url(
        f"{site.url}/conversations?instructor={site.world.anna}&q=4477#row-{site.world.conversations[NEW]}"
    )
    expect(page.locator(".rows .who").first).to_be_focused()
