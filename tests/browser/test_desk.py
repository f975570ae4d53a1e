"""The linking desk, as operators clear it."""

import re

from playwright.sync_api import Page, expect

from testkit.factories import PASSWORD, link_state
from tests.browser.conftest import PHONE, Site, Visit, Visitor, arrived
from tests.browser.world import NEW, UNLINKED, USER_ID


def reason(page: Page, name: str = "Reason"):
    """Return the reason's field that can be seen."""
    return page.get_by_label(re.compile(name)).and_(page.locator(":visible"))


def saved(page: Page):
    """Return what says, once, that something was saved."""
    return page.get_by_role("status").and_(page.locator(".done"))


def test_the_queue_is_cleared_by_keyboard_alone(operator: Visit, site: Site):
    page = operator.open("/links")
    keys = page.keyboard
    keys.press("n")
    arrived(page, "+447700900123", level=2)
    keys.press("/")
    expect(page.get_by_role("searchbox", name="Search a customer’s number")).to_be_focused()
    keys.type("447700")
    expect(page.get_by_role("radio")).to_have_count(2)
    keys.press("Tab")
    keys.press("Space")
    expect(page.get_by_role("radio", name="+447700900123")).to_be_checked()
    keys.press("Tab")
    expect(reason(page)).to_be_focused()
    keys.type("Same number, said her name")
    keys.press("Control+Enter")
    expect(saved(page)).to_contain_text("Linked ")
    expect(page.get_by_text("Linked to +447700900123")).to_be_visible()
    told = page.locator(".history li").first
    expect(told).to_contain_text("Marta Rossi linked this conversation to +447700900123 on")
    expect(told).to_contain_text("Same number, said her name")
    keys.press("n")
    arrived(page, USER_ID, level=2)  # a short code is passed over
    expect(saved(page)).to_have_count(0)
    with site.app.app_context():
        assert link_state(site.world.conversations[NEW]).link_version == 3


def test_the_queue_is_walked_by_key_and_says_where_one_is(operator: Visit):
    page = operator.open_conversation(UNLINKED, "links")
    expect(
        page.get_by_role("navigation", name="Conversations to work on").locator("[aria-current=page]")
    ).to_have_text(re.compile(UNLINKED))
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    arrived(page, USER_ID, level=2)
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    arrived(page, UNLINKED, level=2)


def test_the_queue_keeps_its_place_after_a_save(operator: Visit):
    page = operator.open("/links")
    page.get_by_role("link", name="+4915100000040").click()
    queue = page.locator(".queue")
    expect(page.locator(".queue [aria-current=page]")).to_be_in_viewport()
    queue.evaluate("(queue) => { queue.scrollTop -= 100; }")
    before = queue.evaluate("(queue) => queue.scrollTop")
    page.get_by_role("checkbox", name="Create customer").check()
    reason(page).fill("New this winter")
    page.get_by_role("button", name="Link customer").click()
    expect(saved(page)).to_contain_text("Linked ")
    assert before > 500
    assert queue.evaluate("(queue) => queue.scrollTop") == before
    expect(page.locator(".queue li").first).to_be_attached()


def test_place_in_an_older_page_of_the_queue_goes_with_every_step(operator: Visit, site: Site):
    page = operator.open("/links")
    page.get_by_role("link", name="Older →").click()
    page.locator(".queue li a").first.click()
    place = "before="
    assert place in page.url
    page.get_by_role("checkbox", name="Create customer").check()
    reason(page).fill("New this winter")
    page.get_by_role("button", name="Link customer").click()
    expect(saved(page)).to_contain_text("Linked ")
    assert place in page.url
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_role("button", name="Link customer")).to_be_visible()
    assert place in page.url
    assert site.url in page.url


def test_next_goes_on_to_the_next_page_and_then_begins_again(operator: Visit):
    page = operator.open("/links")
    for _ in range(2):
        page.locator(".queue .who").last.click()
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_role("button", name="Link customer")).to_be_visible()
        expect(page.locator(".queue .who").first).to_have_attribute("aria-current", "page")
        assert "before=" in page.url
    page.locator(".queue .who").last.click()
    page.get_by_role("link", name="Next").click()
    arrived(page, "+447700900123", level=2)
    assert "before=" not in page.url


def test_a_customer_is_chosen_or_created_and_never_both(operator: Visit):
    page = operator.open_conversation(USER_ID, "links")
    create = page.get_by_role("checkbox", name="Create customer")
    create.check()
    page.get_by_role("searchbox").fill("4477")
    page.get_by_role("radio", name="+447700900456").check()
    expect(create).not_to_be_checked()
    create.check()
    expect(page.get_by_role("radio", checked=True)).to_have_count(0)


def test_a_choice_survives_a_further_search_and_what_was_typed_too(operator: Visit):
    page = operator.open_conversation(UNLINKED, "links")
    reason(page).fill("Says so himself")
    search = page.get_by_role("searchbox")
    search.fill("456")
    page.get_by_role("radio", name="+447700900456").check()
    search.fill("393331234567")
    expect(page.get_by_role("radio")).to_have_count(2)
    expect(page.get_by_role("radio", name="+447700900456")).to_be_checked()
    search.fill("0000000")
    search.press("Enter")
    expect(page.get_by_role("radio")).to_have_count(1)
    expect(reason(page)).to_have_value("Says so himself")


def test_a_search_that_finds_no_customer_says_so(operator: Visit):
    page = operator.open_conversation(UNLINKED, "links")
    expect(page.get_by_role("radio")).to_have_count(3)
    page.get_by_role("searchbox").fill("999")
    expect(page.get_by_text("No customer on record has that in the number.")).to_be_visible()
    expect(page.locator("#customers-found")).to_have_text("0 customers found")


def test_a_form_that_lacks_something_comes_back_with_what_was_typed(operator: Visit):
    page = operator.open_conversation(UNLINKED, "links")
    reason(page).fill("No customer chosen")
    page.get_by_role("button", name="Link customer").click()
    expect(page.get_by_text("Choose a customer or create one.")).to_be_visible()
    expect(reason(page)).to_have_value("No customer chosen")


def test_recent_reasons_are_offered_only_to_the_person_who_gave_them(operator: Visit, site: Site):
    page = operator.open_conversation(NEW, "links")
    for said in ("first reason", "second reason"):
        page.get_by_role("radio", name="+447700900123").check()
        reason(page).fill(said)
        page.get_by_role("button", name="Link customer").click()
        page.get_by_text("Remove the link").click()
        reason(page).fill(f"undo {said}")
        page.get_by_role("button", name="Remove link").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove link").click()
        expect(saved(page)).to_contain_text("Removed the link to")
    offered = [option.get_attribute("value") for option in page.locator("datalist option").all()]
    # The last is from before: the history of the conversation is where they come from.
    assert offered == [
        "undo second reason",
        "second reason",
        "undo first reason",
        "first reason",
        "was another",
    ]
    expect(reason(page)).to_have_attribute("list", "reasons")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").fill(site.world.colleague.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page = operator.open_conversation(NEW, "links")
    expect(page.get_by_text(site.world.colleague.email)).to_be_visible()
    expect(page.locator("datalist option")).to_have_count(0)


def test_the_queue_is_searched_and_split_by_what_is_linked(operator: Visit):
    page = operator.open("/links")
    page.keyboard.press("/")
    page.keyboard.type("4477")
    page.keyboard.press("Enter")
    expect(page.locator(".queue li")).to_have_count(2)
    page.get_by_role("link", name="Linked", exact=True).click()
    expect(page.get_by_text("Nothing under “Linked” found for “4477”")).to_be_visible()
    page.get_by_role("link", name="All", exact=True).click()
    expect(page.locator(".queue li")).to_have_count(1)
    expect(page.locator(".queue li")).to_contain_text("+393331234567")


def test_an_operator_links_on_the_phone_with_one_thing_at_a_time(visitor: Visitor, site: Site):
    visit = visitor(site.world.operator, size=PHONE)
    page = visit.open("/links")
    expect(page.get_by_text("Choose a conversation")).to_be_hidden()
    page.get_by_role("link", name="+447700900123").tap()
    expect(page.locator(".queue")).to_be_hidden()
    page.get_by_role("radio", name="+447700900123").tap()
    reason(page).fill("Same number")
    page.get_by_role("button", name="Link customer").tap()
    expect(saved(page)).to_contain_text("Linked ")
    page.get_by_role("link", name="← Queue").tap()
    expect(page.get_by_role("link", name="+447700900123")).to_have_count(0)


def test_keys_are_shown_only_where_they_work(operator: Visit, visitor: Visitor, site: Site):
    page = operator.open("/links")
    expect(page.locator("main kbd", has_text="Ctrl Enter")).to_have_count(0)
    page = operator.open_conversation(NEW, "links")
    for key in ("j", "k", "/", "Ctrl Enter"):
        expect(page.locator("main kbd", has_text=re.compile(f"^{key}$")).first).to_be_visible()
    phone = visitor(site.world.operator, size=PHONE).open_conversation(NEW, "links")
    expect(phone.locator("kbd:visible")).to_have_count(0)


def test_a_failed_search_leaves_no_customers_under_its_term_but_the_one_that_is_chosen(operator: Visit):
    operator.expected = "status of 503"
    page = operator.open_conversation(UNLINKED, "links")
    page.get_by_role("radio", name="+447700900456").check()
    page.route("**/customers?*", lambda route: route.fulfill(status=503, body="<p>no</p>"))
    page.get_by_role("searchbox").fill("39333")
    expect(page.get_by_role("alert")).to_contain_text("Part of this page could not be loaded")
    expect(page.get_by_role("radio")).to_have_count(1)
    expect(page.get_by_role("radio", name="+447700900456")).to_be_checked()
    expect(page.locator("#customers-found")).to_have_text("")
    page.unroute("**/customers?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("radio", name="+393331234567")).to_be_visible()
