"""The conversation list, as instructors and operators use it."""

import re
from dataclasses import replace

import pytest
from playwright.sync_api import Page, Route, expect

from console.config import Settings
from testkit.factories import PASSWORD
from tests.browser.conftest import DESK, PHONE, Site, Visit, Visitor, arrived
from tests.browser.world import HEBREW, NEW, UNLINKED, USER_ID

WORDS = {
    "known": "Known customer Linked to a customer on record",
    "new": "New customer On record, not linked to this conversation",
    "unlinked": "Unlinked Customer not resolved",
}


def row(page: Page, sender: str):
    """Return the list's row of a conversation by what it shows of its identifier."""
    return page.get_by_role("listitem").filter(has=named(page, sender))


def named(page: Page, sender: str):
    """Return a row's link, whose name is the identifier and then the badge."""
    return page.get_by_role("link", name=re.compile(rf"^{re.escape(sender)}(?!\d)"))


def test_signing_in_leads_to_the_page_that_was_asked_for(visitor: Visitor, site: Site):
    page = visitor().open("/conversations?q=447")
    expect(page).to_have_title("Sign in · Customer Memory")
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.keyboard.type(site.world.instructor.email)
    page.get_by_label("Password").fill("something else")
    page.keyboard.press("Enter")
    expect(page.get_by_text("is wrong")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{site.url}/conversations?q=447")
    page.get_by_role("button", name="Sign out").click()
    arrived(page, "Sign in")


@pytest.mark.shows("CM-2.4.1")
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_each_conversation_has_one_badge_after_one_request(
    visitor: Visitor, site: Site, size: tuple[int, int]
):
    visit = visitor(site.world.instructor, size=size)
    page = visit.open("/conversations")
    for sender, state in ((("+393331234567"), "known"), ("+447700900123", "new"), (UNLINKED, "unlinked")):
        badge = row(page, sender).locator(".badge")
        expect(badge).to_have_attribute("data-state", state)
        expect(badge).to_have_text(WORDS[state])
    expect(page.locator(".badge")).to_have_count(50)
    expect(page.locator("[data-state]")).to_have_count(50)
    assert len(visit.asked_for("/badges")) == 1


@pytest.mark.shows("CM-2.4.1", "T6.1")
def test_the_conversation_view_has_the_same_badge(operator: Visit):
    page = operator.open_conversation(NEW)
    expect(page.locator(".badge")).to_have_text(WORDS["new"])
    expect(page.locator("[data-state]")).to_have_count(1)
    assert len(operator.asked_for("/badges")) == 1


@pytest.mark.shows("CM-2.4.4", "Review.T6.4")
@pytest.mark.parametrize("path", ["/conversations", "conversation"])
def test_nothing_is_asked_for_again_by_itself(visitor: Visitor, site: Site, path: str):
    visit = visitor(site.world.operator)
    visit.page.clock.install()
    visit.open(
        path.replace("conversation", f"/conversations/{site.world.conversations[NEW]}", path[0] != "/")
    )
    expect(visit.page.locator(".badge").first).to_have_attribute("data-state", re.compile("."))
    before = list(visit.requests)
    visit.page.clock.fast_forward(31_000)
    visit.page.wait_for_timeout(300)
    assert visit.requests == before


class TestWithTheFlagOff:
    """CONSOLE_CUSTOMER_BADGE=false."""

    @pytest.fixture
    def site_settings(self, site_settings: Settings) -> Settings:
        """Turn the badge off."""
        return replace(site_settings, customer_badge=False)

    def test_a_page_has_no_badge_no_placeholder_and_no_request(self, instructor: Visit):
        page = instructor.open("/conversations")
        expect(page.locator(".badge, [hx-get*=badges]")).to_have_count(0)
        row(page, "+447700900123").click()
        expect(page.get_by_text("See you at the chairlift at 9:30")).to_be_visible()
        expect(page.locator(".badge, [hx-get*=badges]")).to_have_count(0)
        assert instructor.asked_for("/badges") == []


@pytest.mark.parametrize("size", [DESK, PHONE, (320, 640)], ids=["desk", "phone", "narrow"])
@pytest.mark.parametrize("alone", [False, True], ids=["list", "conversation"])
def test_nothing_moves_when_the_badges_arrive(
    visitor: Visitor, site: Site, size: tuple[int, int], alone: bool
):
    visit = visitor(site.world.instructor, size=size)
    waiting: list[Route] = []
    visit.page.route("**/badges?*", lambda route: waiting.append(route))
    visit.open_conversation(NEW) if alone else visit.open("/conversations")
    visit.page.wait_for_function("document.querySelector('[data-htmx-powered]')")
    boxes = "(all) => all.map((element) => JSON.stringify(element.getBoundingClientRect()))"
    places = visit.page.locator(".rows li, time, .stands, .messages li")
    before = places.evaluate_all(boxes)
    expect(visit.page.locator("[data-state]")).to_have_count(0)
    waiting[0].continue_()
    expect(visit.page.locator("[data-state]")).to_have_count(1 if alone else 50)
    assert places.evaluate_all(boxes) == before


@pytest.mark.shows("CM-2.4.3", "Review.T6.4")
def test_the_whole_row_opens_the_conversation_and_its_badge_does_not(operator: Visit):
    page = operator.open("/conversations")
    badge = row(page, "+447700900123").locator(".badge")
    badge.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Conversations")
    expect(badge).to_have_css("cursor", "default")
    row(page, "+447700900123").locator("time").click(force=True)
    arrived(page, "+447700900123")


def test_a_search_shows_what_matches_as_one_types_and_one_step_back_undoes_it(operator: Visit, site: Site):
    page = operator.open("/conversations")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search a number")).to_be_focused()
    page.keyboard.type("44 770")
    expect(page.locator(".rows li")).to_have_count(2)
    expect(page).to_have_url(f"{site.url}/conversations?instructor={site.world.anna}&q=44+770")
    page.keyboard.type("0900123")
    expect(page.locator(".rows li")).to_have_count(1)
    expect(page.locator(".badge")).to_have_text(WORDS["new"])
    expect(page.locator("#found")).to_have_text("1 conversation found")
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("")
    expect(page.locator(".rows li")).to_have_count(50)
    expect(page.locator("[data-state]")).to_have_count(50)
    expect(page).to_have_url(f"{site.url}/conversations")
    page.go_forward()
    expect(page.get_by_role("searchbox")).to_have_value("44 7700900123")
    expect(page.locator(".rows li")).to_have_count(1)


def test_a_search_that_finds_nothing_says_so(instructor: Visit):
    page = instructor.open("/conversations")
    page.get_by_role("searchbox").fill("999 999")
    expect(page.get_by_text("Nothing found for “999 999”")).to_be_visible()
    page.get_by_role("link", name="All conversations").click()
    expect(page.locator(".rows li")).to_have_count(50)


def test_a_search_after_the_session_ended_leads_to_the_sign_in_and_back(operator: Visit, site: Site):
    page = operator.open("/conversations")
    expect(page.locator("[data-state]")).to_have_count(50)
    operator.expected = "status of 401"
    page.context.clear_cookies()
    page.get_by_role("searchbox").fill("44")
    arrived(page, "Sign in")
    expect(page).to_have_url(f"{site.url}/login?next=%2Fconversations")


def test_older_pages_keep_their_place_when_one_comes_back(instructor: Visit):
    page = instructor.open("/conversations")
    page.get_by_role("link", name="Older conversations").click()
    expect(page).to_have_title("Older conversations · Anna Kofler · Customer Memory")
    opened = named(page, "+4915100000001")
    opened.click()
    expect(page.get_by_text("Hello 1", exact=True)).to_be_visible()
    page.get_by_role("link", name="← Conversations").click()
    expect(opened).to_be_in_viewport()
    page.get_by_role("link", name="← Newer").click()
    expect(named(page, "+393331234567")).to_be_visible()


def test_choosing_an_instructor_shows_their_conversations(operator: Visit):
    page = operator.open("/conversations")
    page.get_by_label(re.compile("Instructor")).select_option("Luca Moser")
    expect(page).to_have_title("Conversations · Luca Moser · Customer Memory")
    page.wait_for_load_state()
    expect(page.locator(".rows li")).to_have_count(2)
    page.get_by_label(re.compile("Instructor")).select_option("Emma Pichler")
    expect(page.get_by_text("No conversations yet")).to_be_visible()


def test_rows_are_walked_by_key_unless_keys_are_turned_off(operator: Visit):
    page = operator.open("/conversations")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(named(page, "+447700900123")).to_be_focused()
    page.keyboard.press("k")
    expect(named(page, "+393331234567")).to_be_focused()
    page.keyboard.press("?")
    page.get_by_role("checkbox", name="Single keys work").uncheck()
    page.keyboard.press("Escape")
    page.reload()
    page.get_by_role("button", name="Keys").click()
    expect(page.get_by_role("checkbox", name="Single keys work")).not_to_be_checked()
    page.keyboard.press("Escape")
    expect(page.get_by_text("move", exact=True)).to_be_hidden()
    page.keyboard.press("j")
    expect(page.locator(".who:focus")).to_have_count(0)


def test_identifiers_are_grouped_for_the_eye_and_copied_whole(operator: Visit):
    page = operator.open("/conversations")
    shown = named(page, "+393331234567")
    copied = "(element) => { getSelection().selectAllChildren(element); return String(getSelection()); }"
    assert shown.evaluate(copied) == "+393331234567"
    groups = shown.locator(".identifier > span")
    expect(groups).to_have_count(4)
    assert groups.nth(1).evaluate("(element) => parseFloat(getComputedStyle(element).marginInlineStart)") > 2
    expect(named(page, "US.13491208655302").filter(has_text="741918")).to_be_visible()
    operator.open_conversation(USER_ID)
    arrived(page, USER_ID)


def test_a_rows_link_is_named_for_the_identifier_and_the_badge(operator: Visit):
    page = operator.open("/conversations")
    for sender, state in (("+393331234567", "known"), ("+447700900123", "new"), (UNLINKED, "unlinked")):
        expect(page.get_by_role("link", name=f"{sender} {WORDS[state]}", exact=True)).to_be_visible()


def test_every_key_is_listed_and_pages_turn_by_key(operator: Visit, instructor: Visit):
    page = operator.open("/conversations")
    page.keyboard.press("?")
    listed = page.get_by_role("dialog", name="Keys")
    for key in ("j", "k", "Enter", "u", "l", "h", "/", "Esc", "n", "c", "r", "Ctrl Enter", "?"):
        expect(listed.locator("kbd").filter(has_text=re.compile(f"^{re.escape(key)}$"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(listed).to_be_hidden()
    page.keyboard.press("l")
    expect(page).to_have_title("Older conversations · Anna Kofler · Customer Memory")
    page.wait_for_load_state()
    page.keyboard.press("h")
    expect(page).to_have_title("Conversations · Anna Kofler · Customer Memory")
    reader = instructor.open("/conversations")
    reader.keyboard.press("?")
    expect(reader.get_by_role("dialog", name="Keys")).to_be_visible()
    expect(reader.get_by_text("Create the customer")).to_have_count(0)


@pytest.mark.parametrize(
    ("part", "field", "found"),
    [
        ("conversations", "#q", "#list .rows li"),
        ("links", "#customer-search", "#choices [type=radio]:visible"),
    ],
)
def test_what_is_typed_before_the_scripts_have_come_is_searched(
    operator: Visit, part: str, field: str, found: str
):
    held: list[Route] = []
    page = operator.page
    page.route("**/htmx.min.js*", lambda route: held.append(route))
    page.goto(
        f"/{part}/{operator.world.conversations[NEW]}" if part == "links" else f"/{part}", wait_until="commit"
    )
    page.locator(field).fill("900456")
    held[0].continue_()
    expect(page.locator(found)).to_have_count(1)


def test_escape_leaves_the_search_for_the_rows_that_it_found(operator: Visit):
    page = operator.open("/conversations")
    page.keyboard.press("/")
    page.keyboard.type("4477")
    expect(page.locator(".rows li")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.get_by_role("searchbox")).to_have_value("4477")
    page.keyboard.press("j")
    expect(named(page, "+447700900123")).to_be_focused()


def test_a_refused_sign_in_puts_the_focus_on_what_to_type_again(visitor: Visitor, site: Site):
    page = visitor().open("/login")
    page.get_by_label("E-mail").fill(site.world.instructor.email)
    page.get_by_label("Password").fill("something else")
    page.keyboard.press("Enter")
    password = page.get_by_label("Password")
    expect(password).to_be_focused()
    expect(password).to_have_attribute("aria-invalid", "true")
    expect(password).to_have_accessible_description(re.compile("is wrong, or the account is disabled"))
    expect(page.get_by_label("E-mail")).to_have_value(site.world.instructor.email)


def test_an_error_page_leads_on(operator: Visit):
    operator.expected = "status of 404"
    page = operator.open("/conversations/nothing")
    page.get_by_role("navigation", name="Parts").get_by_role("link", name="Conversations").click()
    expect(page.locator(".rows li")).to_have_count(50)


def test_the_parts_keep_the_instructor_that_is_shown(operator: Visit, site: Site):
    page = operator.open(f"/conversations?instructor={site.world.luca}")
    page.get_by_role("link", name="Linking").click()
    expect(page).to_have_title("Linking desk · Luca Moser · Customer Memory")
    page.get_by_role("link", name="Conversations", exact=True).click()
    expect(page).to_have_title("Conversations · Luca Moser · Customer Memory")
    expect(page.get_by_label("Instructor")).to_have_value(str(site.world.luca))
    expect(page.locator(".head .in-menu")).to_be_hidden()


def test_last_messages_follow_the_direction_of_what_they_say(operator: Visit):
    page = operator.open("/conversations")
    direction = "(element) => getComputedStyle(element).direction"
    assert row(page, f"+{HEBREW}").locator(".last").evaluate(direction) == "rtl"
    assert row(page, "+393331234567").locator(".last").evaluate(direction) == "ltr"


@pytest.mark.shows("CM-2.4.3", "T6.5")
def test_nothing_an_instructor_sees_offers_or_hints_at_linking(instructor: Visit):
    for path in ("/conversations", f"/conversations/{instructor.world.conversations[NEW]}"):
        page = instructor.open(path)
        for role in ("link", "button", "checkbox", "radio"):
            # A row's link is named for its badge as well, which says "Unlinked" and "not linked".
            hints = page.get_by_role(role, name=re.compile("link(?!ed to a customer)", re.I))
            expect(hints.and_(page.locator(":not(.who)"))).to_have_count(0)
        expect(page.locator("main form[method=post], a[href*='/links']")).to_have_count(0)
        expect(page.locator(".badge :is(a, button, input, [title], [tabindex])")).to_have_count(0)
