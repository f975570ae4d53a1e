"""One conversation, read as a thread."""

from collections import Counter

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESK, PHONE, Site, Visit, Visitor
from tests.browser.world import HEBREW, LONG, START, THREAD, THREAD_MESSAGES


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


def test_what_is_no_text_is_named_for_what_it_is(operator: Visit):
    page = operator.open_conversation(THREAD)
    last_two = page.locator(".messages li").all()[-2:]
    expect(last_two[0].locator(".kind")).to_have_text("Photo")
    expect(last_two[0].locator(".body")).to_have_text("the slope I mean")
    expect(last_two[1].locator(".kind")).to_have_text("Location")


def test_a_message_follows_the_direction_of_what_it_says(operator: Visit):
    page = operator.open_conversation(HEBREW)
    assert page.locator(".body").evaluate("(one) => getComputedStyle(one).direction") == "rtl"


@pytest.mark.parametrize("width", [320, 360, 1440])
def test_a_very_long_identifier_and_message_break_nothing(visitor: Visitor, site: Site, width: int):
    visit = visitor(site.world.operator, size=(width, 740))
    for part in ("conversations", "links"):
        page = visit.open_conversation(LONG, part)
        assert page.evaluate("document.documentElement.scrollWidth") == width
    expect(page.get_by_role("heading", name=LONG)).to_be_visible()


def test_every_message_says_when_it_was_sent(operator: Visit):
    page = operator.open_conversation(HEBREW)
    time = page.locator(".messages time")
    expect(time).to_have_text("09:03")
    expect(time).to_have_attribute("datetime", "2026-11-12T09:03:00Z")
    expect(page.get_by_text("times in UTC")).to_be_visible()
