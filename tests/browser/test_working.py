"""The desk in long use: the thread beside the form, choosing by key, save and next, waiting and failing."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from testkit.factories import PASSWORD, Desk, channel
from tests.browser.conftest import PHONE, Site, Visit, Visitor, arrived, lose_session
from tests.browser.test_confirm import ask_to_replace
from tests.browser.test_desk import reason, saved
from tests.browser.test_going_on import TYPED, expect_everything, sign_in_again, type_everything
from tests.browser.world import KNOWN, NEW, THREAD, UNLINKED, USER_ID

CREATE = re.compile("Create customer")


def refuse_link(page: Page) -> None:
    """Send a form without a choice."""
    reason(page).fill(TYPED)
    page.get_by_role("button", name="Link customer").click()
    expect(page.get_by_text("Choose a customer or create one.")).to_be_visible()


def refuse_sign_in(page: Page) -> None:
    """Sign in with a wrong password."""
    page.get_by_label("E-mail").fill("unknown@example.org")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("The e-mail or password is wrong")).to_be_visible()


def test_the_thread_is_beside_the_form_and_older_messages_come_without_losing_it(operator: Visit):
    page = operator.open_conversation(THREAD, "links")
    expect(page.get_by_text("the slope I mean")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Link customer")).to_be_in_viewport()
    expect(page.locator(".messages li")).to_have_count(50)
    reason(page).fill(TYPED)
    page.get_by_role("link", name="Older messages").click()
    expect(page.locator(".messages li")).to_have_count(100)
    expect(reason(page)).to_have_value(TYPED)
    assert "/links/" in page.url


def test_older_messages_that_fail_are_asked_for_again_beside_the_draft(operator: Visit):
    operator.expected = "status of 503"
    page = operator.open_conversation(THREAD, "links")
    reason(page).fill(TYPED)
    page.route("**/messages?*", lambda route: route.fulfill(status=503), times=1)
    page.get_by_role("link", name="Older messages").click()
    notice = page.locator(".talk").get_by_role("alert")
    expect(notice).to_contain_text("could not be loaded")
    notice.get_by_role("button", name="Try again").click()
    expect(page.locator(".messages li")).to_have_count(100)
    expect(reason(page)).to_have_value(TYPED)


def test_a_search_for_a_customer_that_fails_is_tried_again_and_loses_no_draft(operator: Visit):
    operator.expected = "status of 503"
    page = operator.open_conversation(NEW, "links")
    reason(page).fill(TYPED)
    page.get_by_role("radio", name="+447700900123").check()
    page.route("**/customers?*", lambda route: route.fulfill(status=503), times=1)
    page.get_by_role("searchbox").fill("456")
    notice = page.locator(".work").get_by_role("alert")
    expect(notice).to_be_in_viewport()
    notice.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("radio", name="+447700900456")).to_be_visible()
    expect(page.get_by_role("radio", name="+447700900123")).to_be_checked()
    expect(reason(page)).to_have_value(TYPED)


def test_a_slow_answer_shows_that_it_is_under_way(operator: Visit):
    page = operator.open_conversation(NEW, "links")
    busy = page.locator("#busy")
    type_everything(page)
    held: list[Route] = []
    page.route(re.compile("/links/[^/]+$"), lambda route: held.append(route), times=1)
    page.get_by_role("button", name="Link customer").click()
    expect(busy).to_have_text("Saving…")
    held[0].continue_()
    expect(saved(page)).to_be_visible()
    expect(busy).to_have_text("")
    page.evaluate("document.querySelector('.account').addEventListener('submit', (e) => e.preventDefault())")
    page.get_by_role("button", name="Sign out").click()
    expect(busy).to_have_text("Loading…")


def test_an_empty_search_offers_customers_and_the_arrow_keys_choose(operator: Visit):
    page = operator.open_conversation(NEW, "links")
    radios = page.locator("#choices [type=radio]")
    expect(radios).to_have_count(3)
    expect(page.locator("#choices .choice").first).to_contain_text("+447700900123")
    expect(page.locator("#choices .choice").first).to_contain_text("this conversation’s number")
    expect(page.get_by_role("radio", checked=True)).to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    expect(radios.nth(0)).to_be_checked()
    page.keyboard.press("ArrowDown")
    expect(radios.nth(1)).to_be_checked()
    page.keyboard.press("3")
    expect(radios.nth(2)).to_be_focused()
    expect(radios.nth(2)).to_be_checked()


def test_more_customers_than_are_shown_are_said_to_be_there(operator: Visit, site: Site):
    with site.app.app_context():
        account = channel(site.cli, site.world.anna)
        desk = Desk(site.cli, site.world.anna, account, site.world.operator)
        for number in range(20):
            desk.customer(f"4366000000{number:02}")
    page = operator.open_conversation(NEW, "links")
    expect(page.get_by_role("radio")).to_have_count(20)
    expect(page.locator("#choices")).to_contain_text("Type more digits.")
    page.get_by_role("searchbox").fill("43660000000")
    expect(page.get_by_role("radio")).to_have_count(10)
    expect(page.locator("#choices")).not_to_contain_text("Type more digits.")


def test_a_save_opens_the_next_says_what_it_did_and_leads_back_to_change_it(operator: Visit, site: Site):
    page = operator.open_conversation(NEW, "links")
    page.get_by_role("checkbox", name="Then open the next").check()
    type_everything(page)
    page.get_by_role("button", name="Link customer").click()
    arrived(page, USER_ID, level=2)
    expect(saved(page)).to_contain_text("Linked +447700900123 to +447700900456.")
    expect(saved(page)).to_be_focused()
    expect(page.get_by_role("checkbox", name="Then open the next")).to_be_checked()
    page.get_by_role("button", name="Sign out").click()
    sign_in_again(page, site)
    page.get_by_role("link", name="Linking").click()
    arrived(page, "Linking desk")
    page.keyboard.press("n")
    expect(page.get_by_role("checkbox", name="Then open the next")).to_be_checked()
    page.go_back()


def test_the_link_in_the_confirmation_leads_to_the_conversation_that_was_linked(operator: Visit):
    page = operator.open_conversation(NEW, "links")
    page.get_by_role("checkbox", name="Then open the next").check()
    type_everything(page)
    page.get_by_role("button", name="Link customer").click()
    saved(page).get_by_role("link", name="Change").click()
    arrived(page, "+447700900123", level=2)
    expect(page.get_by_text("Replace the customer")).to_be_visible()


def test_rows_say_what_is_not_a_customers_number_and_next_passes_over_it(operator: Visit):
    page = operator.open_conversation(NEW, "links")
    row = page.locator(".queue li", has=page.locator(f"text={UNLINKED}"))
    expect(row).to_contain_text("Not a customer’s number")
    expect(row.locator(".badge")).to_contain_text("Unlinked")
    page.keyboard.press("n")
    arrived(page, USER_ID, level=2)


@pytest.mark.parametrize("size", [(1440, 900), (768, 900), PHONE], ids=["desk", "tablet", "phone"])
def test_the_count_of_what_is_left_is_always_there(visitor: Visitor, site: Site, size: tuple[int, int]):
    page = visitor(site.world.operator, size=size).open("/links")
    count = page.get_by_text(re.compile(r"^(· )?(Not linked )?(\d+|more than \d+)( not linked)?$"))
    expect(count.and_(page.locator(":visible")).first).to_be_in_viewport()
    page.locator(".queue .who").first.click()
    expect(page.locator("form.link")).to_be_visible()
    expect(count.and_(page.locator(":visible")).first).to_be_in_viewport()


def test_a_conflict_on_create_still_offers_to_create(operator: Visit, site: Site):
    page = operator.open_conversation(THREAD, "links")
    page.get_by_role("checkbox", name=CREATE).check()
    reason(page).fill(TYPED)
    with site.app.app_context():
        site.world.desk(site.cli).link(site.world.conversations[THREAD], site.world.customer_ids[NEW])
    page.get_by_role("button", name="Link customer").click()
    expect(page.get_by_text("Compare below, then save again.")).to_be_focused()
    expect(page.get_by_role("checkbox", name=CREATE)).to_be_checked()
    expect(reason(page)).to_have_value(TYPED)
    expect(page.locator("dl.change")).to_contain_text("Create")


def test_the_focus_after_an_answer_is_on_what_matters_next_and_is_heard(operator: Visit):
    page = operator.open_conversation(UNLINKED, "links")
    refuse_link(page)
    search = page.get_by_role("searchbox")
    expect(search).to_be_focused()
    expect(search).to_have_accessible_description("Choose a customer or create one.")
    page.get_by_role("radio").first.check()
    page.get_by_role("button", name="Link customer").click()
    expect(saved(page)).to_be_focused()
    lose_session(page)
    page.goto("/login")
    refuse_sign_in(page)
    password = page.get_by_label("Password")
    expect(password).to_be_focused()
    expect(password).to_have_accessible_description(re.compile("The e-mail or password is wrong"))


@pytest.mark.parametrize("answer", ["refused", "question", "conflict", "sign-in"])
def test_a_page_that_answers_a_form_is_reloaded_and_left_without_sending_it_again(
    operator: Visit, site: Site, answer: str
):
    page = operator.open("/conversations")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    if answer == "refused":
        refuse_link(operator.open_conversation(UNLINKED, "links"))
    elif answer == "question":
        ask_to_replace(operator.open_conversation(KNOWN, "links"))
        expect(page.get_by_role("dialog")).to_be_visible()
    elif answer == "conflict":
        type_everything(operator.open_conversation(NEW, "links"))
        with site.app.app_context():
            site.world.desk(site.cli).link(site.world.conversations[NEW], site.world.customer_ids[NEW])
        page.get_by_role("button", name="Link customer").click()
        expect(page.get_by_text("Compare below, then save again.")).to_be_visible()
    else:
        lose_session(page)
        operator.open("/login")
        refuse_sign_in(page)
    posts = sent.count("POST")
    page.reload()
    page.go_back()
    expect(page).to_have_url(f"{site.url}/conversations" if answer != "sign-in" else re.compile("/login"))
    page.go_forward()
    expect(page.locator("[name=password], #work").first).to_be_visible()
    assert posts == 1
    assert sent.count("POST") == 1


def test_ctrl_enter_on_a_link_beside_the_form_opens_a_tab_and_saves_nothing(operator: Visit):
    page = operator.open_conversation(NEW, "links")
    type_everything(page)
    for name in ("Open conversation", "Next"):
        page.get_by_role("link", name=name).focus()
        with page.context.expect_page() as opened:
            page.keyboard.press("Control+Enter")
        opened.value.close()
    expect_everything(page)
    expect(saved(page)).to_have_count(0)


def test_a_draft_is_shown_only_to_the_person_who_typed_it(operator: Visit, site: Site):
    page = operator.open_conversation(NEW, "links")
    type_everything(page)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").fill(site.world.colleague.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text(site.world.colleague.email)).to_be_visible()
    operator.open_conversation(NEW, "links")
    expect(reason(page)).to_have_value("")
    page.get_by_role("button", name="Sign out").click()
    sign_in_again(page, site)
    arrived(page, "Conversations")
    operator.open_conversation(NEW, "links")
    expect_everything(page)
