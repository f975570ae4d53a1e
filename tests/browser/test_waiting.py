"""What a page shows while it waits for an answer, and when none comes."""

import re
import time

import pytest
from playwright.sync_api import Route, expect

from testkit.factories import PASSWORD
from tests.browser.conftest import DESK, PHONE, Site, Visit, Visitor, arrived
from tests.browser.world import NEW, THREAD

SLOW = re.compile("/login$|/rows|/messages|/logout|conversations.instructor")


@pytest.mark.shows("CM-2.4.6", "T6.3")
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("alone", [False, True], ids=["list", "conversation"])
def test_missing_badges_are_said_in_their_place_and_can_be_asked_for_again(
    visitor: Visitor, site: Site, size: tuple[int, int], alone: bool
):
    visit = visitor(site.world.instructor, size=size)
    visit.expected = "status of 503|ERR_FAILED|Failed to fetch"
    answers = iter(["broken", "lost", "missing"])

    def answer(route: Route) -> None:
        match next(answers, None):
            case "broken":
                route.fulfill(status=503, body='<span class="badge" id="badge-0" data-state="new"></span>')
            case "lost":
                route.abort()
            case "missing":
                route.fulfill(status=200, content_type="text/html", body="")
            case None:
                route.continue_()

    visit.page.route("**/badges?*", answer)
    page = visit.open_conversation(NEW) if alone else visit.open("/conversations")
    again, count = page.get_by_role("button", name="Try again"), 1 if alone else 50
    boxes = "(all) => all.map((element) => JSON.stringify(element.getBoundingClientRect()))"
    places = page.locator(".rows li, time, .stands, .messages li")
    for asked in (1, 2, 3):
        expect(page.get_by_text("Not every badge was loaded.")).to_be_visible()
        expect(page.locator(".badge", has_text="Not loaded")).to_have_count(count)
        expect(page.locator("[data-state]")).to_have_count(0)
        assert len(visit.asked_for("/badges")) == asked
        before = places.evaluate_all(boxes)
        again.click()
    expect(page.locator("[data-state]")).to_have_count(count)
    expect(again).to_be_hidden()
    assert places.evaluate_all(boxes) == before
    expect(page.get_by_text("Not loaded")).to_have_count(0)


def test_each_badges_place_says_that_it_was_not_loaded_without_htmx(instructor: Visit):
    instructor.expected = "ERR_FAILED"
    instructor.page.route("**/htmx.min.js*", lambda route: route.abort())
    page = instructor.open("/conversations")
    expect(page.locator(".badge", has_text="Not loaded")).to_have_count(50)
    instructor.page.unroute("**/htmx.min.js*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("[data-state]")).to_have_count(50)


def test_a_failed_search_leaves_no_list_under_its_term(instructor: Visit):
    instructor.expected = "status of 503"
    page = instructor.open("/conversations")
    page.get_by_role("searchbox").fill("44 770")
    expect(page.locator(".rows li")).to_have_count(2)
    page.route("**/conversations/rows?*", lambda route: route.fulfill(status=503, body="<p>no</p>"))
    page.get_by_role("searchbox").fill("39")
    expect(page.get_by_role("alert")).to_contain_text("Part of this page could not be loaded")
    expect(page.locator(".rows")).to_be_hidden()
    expect(page.locator("#found")).to_have_text("")
    page.unroute("**/conversations/rows?*")
    page.get_by_role("searchbox").fill("44 770")
    expect(page.locator(".rows li")).to_have_count(2)
    expect(page.locator(".rows")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_list_that_does_not_load_again_says_so_and_stays(operator: Visit):
    operator.expected = "Failed to fetch|ERR_FAILED"
    page = operator.open("/conversations")
    expect(page.locator("[data-state]")).to_have_count(50)
    page.route("**/conversations?instructor*", lambda route: route.abort(), times=1)
    page.get_by_role("button", name="Load again").click()
    expect(page.get_by_role("alert")).to_contain_text("could not be loaded")
    expect(page.locator(".rows li")).to_have_count(50)
    page.get_by_role("alert").get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("[data-state]")).to_have_count(50)


def test_an_answer_after_300_ms_shows_that_it_is_under_way(visitor: Visitor, site: Site):
    visit = visitor()
    # A page that is left takes what it said along.
    visit.page.add_init_script(
        "new MutationObserver((changes) => changes.forEach(({ target }) => {"
        " if (target.id === 'busy' && target.textContent)"
        " sessionStorage.said = target.textContent + target.checkVisibility(); }))"
        ".observe(document, { childList: true, subtree: true })"
    )
    page = visit.open("/login")

    def answer_late(route: Route) -> None:
        time.sleep(0.6)
        route.continue_()

    def expect_said(words: str) -> None:
        assert page.evaluate("sessionStorage.said") == f"{words}true"
        page.evaluate("delete sessionStorage.said")
        expect(page.locator("#busy")).to_have_text("")

    page.route(SLOW, answer_late)
    page.get_by_label("E-mail").fill(site.world.operator.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    arrived(page, "Conversations")
    expect_said("Saving…")
    page.get_by_role("searchbox").fill("43664")
    expect(page.locator(".rows li")).to_have_count(1)
    expect_said("Loading…")
    page.get_by_role("button", name="Load again").click()
    expect(page.locator("[data-state]")).to_have_count(1)
    page.wait_for_load_state("networkidle")
    expect_said("Loading…")
    page.locator(".rows .who").click()
    arrived(page, f"+{THREAD}")
    page.get_by_role("link", name="Older messages").click()
    expect(page.locator(".messages li")).to_have_count(100)
    expect_said("Loading…")
    page.get_by_label("Instructor").select_option("Luca Moser")
    expect(page.get_by_text("Ciao Luca").first).to_be_visible()
    page.wait_for_load_state()
    expect_said("Loading…")
    page.get_by_role("button", name="Sign out").click()
    arrived(page, "Sign in")
    expect_said("Loading…")
