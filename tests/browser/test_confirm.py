"""Replacing and removing a link: asked about in a dialog, refused when someone else was quicker."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from testkit.factories import link_state
from tests.browser.conftest import Site, Visit, Visitor
from tests.browser.test_desk import reason, saved
from tests.browser.world import KNOWN, NEW, THREAD


def ask_to_replace(page: Page) -> None:
    """Choose another customer for a conversation that has one."""
    page.get_by_text("Replace the customer").click()
    page.get_by_role("searchbox").fill("456")
    expect(page.locator("#customers-found")).to_contain_text("found")
    page.get_by_role("radio", name="+447700900456").check()
    reason(page).fill("Her brother's phone")
    page.get_by_role("button", name="Replace customer").click()


def test_the_dialog_says_what_is_replaced_by_what_and_who_linked_it_when_and_why(operator: Visit):
    page = operator.open_conversation(KNOWN, "links")
    ask_to_replace(page)
    dialog = page.get_by_role("dialog", name="Replace the linked customer?")
    expect(dialog).to_have_accessible_description(
        re.compile(
            r"\+447700900456 replaces \+393331234567\. Marta Rossi linked \+393331234567 "
            r"on \d+ \w+ \d{4}, \d\d:\d\d: .?said so on the phone"
        )
    )
    expect(dialog).to_contain_text("Her brother's phone")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert dialog.evaluate("(dialog) => dialog.matches(':modal')")


@pytest.mark.parametrize("cancel", ["Escape", "Enter"])
def test_cancelling_changes_nothing_and_keeps_what_was_typed(operator: Visit, site: Site, cancel: str):
    page = operator.open_conversation(KNOWN, "links")
    ask_to_replace(page)
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press(cancel)
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("radio", name="+447700900456")).to_be_checked()
    expect(reason(page)).to_have_value("Her brother's phone")
    expect(reason(page)).to_be_focused()
    with site.app.app_context():
        assert link_state(site.world.conversations[KNOWN]).link_version == 1


def test_the_dialog_is_modal_before_a_key_can_reach_it(operator: Visit):
    page = operator.open_conversation(KNOWN, "links")
    page.evaluate("""() => {
      const next = new MessageChannel();
      const isModal = () => document.querySelector("#asking")?.matches(":modal");
      next.port1.onmessage = () => { window.modal ??= isModal(); };
      new MutationObserver(() => next.port2.postMessage("")).observe(document, {
        subtree: true, childList: true,
      });
    }""")
    ask_to_replace(page)
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    assert page.evaluate("window.modal") is True


def test_a_dialog_that_was_closed_before_the_scripts_came_stays_closed(operator: Visit):
    operator.expected = "ERR_FAILED"
    page = operator.page
    page.route("**/htmx.min.js*", lambda route: route.abort())
    operator.open_conversation(KNOWN, "links")
    held: list[Route] = []
    page.get_by_text("Remove the link").click()
    reason(page).fill("It was someone else")
    page.route("**/desk.js*", lambda route: held.append(route))
    page.get_by_role("button", name="Remove link").click(no_wait_after=True)
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    held[0].continue_()
    page.wait_for_load_state()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_nothing_behind_the_dialog_can_be_reached(operator: Visit):
    page = operator.open_conversation(KNOWN, "links")
    ask_to_replace(page)
    expect(page.locator("dialog:modal")).to_be_visible()
    for _ in range(6):
        page.keyboard.press("Tab")
        outside = "!document.activeElement.closest('dialog') && document.activeElement !== document.body"
        assert not page.evaluate(outside)
    page.keyboard.press("n")
    expect(page.get_by_role("dialog")).to_be_visible()


def test_only_the_explicit_button_replaces(operator: Visit):
    page = operator.open_conversation(KNOWN, "links")
    ask_to_replace(page)
    page.get_by_role("dialog").get_by_role("button", name="Replace customer").click()
    expect(saved(page)).to_contain_text("Replaced ")
    expect(page.locator(".history li").first).to_contain_text(
        "Marta Rossi replaced +393331234567 with +447700900456"
    )
    page.reload()
    expect(saved(page)).to_have_count(0)


def test_a_link_is_removed_after_the_same_question(operator: Visit):
    page = operator.open_conversation(KNOWN, "links")
    page.get_by_text("Remove the link").click()
    reason(page).fill("It was someone else")
    page.get_by_role("button", name="Remove link").click()
    dialog = page.get_by_role("dialog", name="Remove the link?")
    expect(dialog).to_contain_text("Not linked")
    dialog.get_by_role("button", name="Remove link").click()
    expect(saved(page)).to_contain_text("Removed the link to")
    expect(page.locator(".history li").first).to_contain_text("Marta Rossi removed the link to +393331234567")
    expect(page.get_by_role("button", name="Link customer")).to_be_visible()


def test_a_double_click_has_the_effect_of_one(operator: Visit, site: Site):
    page = operator.open_conversation(NEW, "links")
    page.get_by_role("radio", name="+447700900123").check()
    reason(page).fill("Clicked twice")
    page.get_by_role("button", name="Link customer").dblclick()
    expect(saved(page)).to_contain_text("Linked ")
    with site.app.app_context():
        assert link_state(site.world.conversations[NEW]).link_version == 3


def test_a_conflict_is_shown_side_by_side_and_keeps_what_was_typed(operator: Visit, site: Site):
    page = operator.open_conversation(NEW, "links")
    page.get_by_role("searchbox").fill("447700")
    page.get_by_role("radio", name="+447700900456").check()
    reason(page).fill("Her brother's phone")
    with site.app.app_context():
        desk = site.world.desk(site.cli)
        desk.link(site.world.conversations[NEW], site.world.customer_ids[NEW], reason="Confirmed by mail")
    page.get_by_role("button", name="Link customer").click()
    expect(page.get_by_role("alert").and_(page.locator(":visible"))).to_contain_text(
        "Someone changed this link"
    )
    for term, shown in (
        ("When you opened it", "Not linked"),
        ("Now", "+447700900123"),
        ("You chose", "+447700900456"),
    ):
        expect(page.locator("dl.change > div", has_text=term).locator("dd")).to_have_text(shown)
    expect(page.locator(".work")).to_contain_text(
        re.compile("Changed by Marta Rossi.*Confirmed by mail", re.DOTALL)
    )
    expect(reason(page)).to_have_value("Her brother's phone")
    expect(page.get_by_role("radio", name="+447700900456")).to_be_checked()
    page.get_by_role("button", name="Replace customer").click()
    page.get_by_role("dialog").get_by_role("button", name="Replace customer").click()
    expect(saved(page)).to_contain_text("Replaced ")


def test_a_confirmation_that_comes_too_late_overwrites_nothing(operator: Visit, site: Site):
    page = operator.open_conversation(KNOWN, "links")
    ask_to_replace(page)
    expect(page.get_by_role("dialog")).to_be_visible()
    with site.app.app_context():
        site.world.desk(site.cli).unlink(site.world.conversations[KNOWN])
        site.world.desk(site.cli).link(
            site.world.conversations[KNOWN], site.world.customer_ids[KNOWN], reason="Back again"
        )
    page.get_by_role("dialog").get_by_role("button", name="Replace customer").click()
    expect(page.get_by_role("alert").and_(page.locator(":visible"))).to_contain_text(
        "Someone changed this link"
    )
    expect(page.get_by_role("dialog")).to_have_count(0)
    with site.app.app_context():
        assert link_state(site.world.conversations[KNOWN]).customer_id == site.world.customer_ids[KNOWN]


class TestWithoutScripting:
    """Every flow again, in a browser that runs no scripts."""

    @pytest.fixture
    def page(self, visitor: Visitor, site: Site) -> Page:
        """Open a window without scripting."""
        return visitor(site.world.operator, scripting=False).page

    def test_every_badge_is_there(self, page: Page):
        page.goto("/conversations")
        expect(page.locator("[data-state]")).to_have_count(50)
        expect(page.locator(".rows li").first.locator("[data-state]")).to_have_text(
            re.compile("Known customer")
        )

    def test_lists_are_searched_and_instructors_chosen(self, page: Page):
        page.goto("/conversations")
        page.get_by_role("searchbox").fill("447700")
        page.get_by_role("button", name="Search").click()
        expect(page.locator(".rows li")).to_have_count(2)
        page.get_by_label(re.compile("Instructor")).select_option("Luca Moser")
        page.get_by_role("button", name="Show").click()
        expect(page).to_have_title("Conversations · Luca Moser · Customer Memory")

    def test_no_keys_are_shown(self, page: Page, site: Site):
        page.goto(f"/links/{site.world.conversations[NEW]}")
        expect(page.locator("kbd:visible, .keys:visible")).to_have_count(0)

    def test_a_conversation_is_linked_replaced_and_unlinked(self, page: Page, site: Site):
        page.goto(f"/links/{site.world.conversations[NEW]}")
        page.get_by_role("radio", name="+447700900123").check()
        reason(page).fill("Same number")
        page.get_by_role("button", name="Link customer").click()
        expect(saved(page)).to_contain_text("Linked ")
        page.get_by_text("Replace the customer").click()
        page.get_by_role("searchbox").fill("456")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("radio", name="+447700900456").check()
        reason(page).fill("Her brother's phone")
        page.get_by_role("button", name="Replace customer").click()
        dialog = page.get_by_role("dialog", name="Replace the linked customer?")
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_have_count(0)
        expect(reason(page)).to_have_value("Her brother's phone")
        page.get_by_role("button", name="Replace customer").click()
        dialog.get_by_role("button", name="Replace customer").click()
        expect(page.locator(".history li").first).to_contain_text("replaced +447700900123 with +447700900456")
        page.get_by_text("Remove the link").click()
        reason(page).fill("It was someone else")
        page.get_by_role("button", name="Remove link").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove link").click()
        expect(page.locator(".done")).to_contain_text("Removed the link to")

    def test_older_messages_are_a_page_of_their_own(self, page: Page, site: Site):
        page.goto(f"/conversations/{site.world.conversations[THREAD]}")
        page.get_by_role("link", name="Older messages").click()
        expect(page.locator(".messages li")).to_have_count(50)
        page.get_by_role("link", name="Newest messages").click()
        expect(page.get_by_text("the slope I mean")).to_be_visible()
