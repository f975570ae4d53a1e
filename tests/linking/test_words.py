"""What the desk says is true in the cases where it could most easily be false."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import event

from console.config import ROOT
from console.conversations.cursors import Cursor
from console.database import db
from console.linking.events import EventName
from testkit.databases import execute
from testkit.factories import Desk
from testkit.pages import Browser

CHANGED = "User Rosa Example changed from 393331234567 to 393339999999"


def said(browser: Browser, path: str, selector: str) -> list[str]:
    """Return the texts of a page's elements, with single spaces."""
    return [" ".join(element.text.split()) for element in browser.get_page(path).select(selector)]


def state_change(anna: Desk, sender: str, at: int) -> UUID:
    """Let WhatsApp state a change of number in a conversation."""
    conversation_id = anna.conversation(sender, text=CHANGED, at=at)
    execute(f"UPDATE messages SET kind = 'system' WHERE body = '{CHANGED}'")
    return conversation_id


def test_a_statement_of_whatsapp_stands_beside_the_links_date_however_old_it_is(marta: Browser, anna: Desk):
    conversation_id = state_change(anna, "393331234567", at=1_790_000_000)
    path = f"/links/{conversation_id}"
    statement = f"WhatsApp, 21 Sep 2026, 14:13: {CHANGED}"
    assert said(marta, path, ".work .statement") == [statement]
    anna.link(conversation_id)
    for number in range(51):
        anna.conversation("393331234567", at=1_790_000_001 + number)
    page = marta.get_page(path)
    assert CHANGED not in page.select_one(".talk").text  # type: ignore[union-attr]  # it is there
    current = page.select_one(".current")
    assert current
    assert current.select_one("time")
    assert "since" in current.text
    assert said(marta, path, ".work .statement") == [statement]
    assert len(page.select("#messages .messages li")) == 50


def test_the_desk_shows_no_statement_and_no_date_that_it_does_not_have(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    execute("ALTER TABLE audit_events RENAME TO away")
    page = marta.get_page(f"/links/{conversation_id}")
    assert not page.select(".statement")
    assert "since" not in page.select_one(".current").text  # type: ignore[union-attr]  # it is there


def test_an_instructor_without_conversations_is_not_told_that_all_is_done(marta: Browser, anna: Desk):
    (text,) = said(marta, "/links", ".queue .empty")
    assert text == "Nothing to link Conversations without a customer show up here."
    anna.link(anna.conversation("393331234567"))
    assert said(marta, "/links", ".queue .empty") == [text]


@pytest.mark.parametrize("q", ["-", "00", "%2B"])
def test_a_search_for_nothing_says_that_the_queue_is_not_filtered(marta: Browser, anna: Desk, q: str):
    conversation_id = anna.conversation("393331234567")
    for path in (f"/links?q={q}", f"/links/{conversation_id}?find={q}"):
        assert len(marta.get_page(path).select(".queue li")) == 1
        (text,) = said(marta, path, ".queue .empty")
        assert text.startswith("Nothing to search for in")
        assert text.endswith("This list is not filtered.")


def test_a_search_of_one_tab_says_nothing_of_the_other(marta: Browser, anna: Desk):
    anna.link(anna.conversation("393331234567"))
    assert said(marta, "/links?q=39333", ".queue .empty") == [
        "Nothing under “Not linked” found for “39333” Type part of a number."
    ]


def test_a_search_says_nothing_of_the_pages_before(marta: Browser, anna: Desk):
    anna.conversation("393331234567")
    before = Cursor(datetime(2020, 1, 1, tzinfo=UTC), UUID(int=0))
    (text,) = said(marta, f"/links?q=39333&before={before}", ".queue .empty")
    assert text == "No older conversations found for “39333”"


def test_a_row_that_next_comes_to_in_the_end_is_not_said_to_be_skipped(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("40404")
    page = marta.get_page("/links")
    assert "comes last" in page.select_one(".queue li").text  # type: ignore[union-attr]  # it is there
    (button,) = page.select(".work a.button")
    assert str(button["href"]) == f"/links/{conversation_id}"


def test_customers_shown_beside_those_that_match_are_not_counted_with_them(marta: Browser, anna: Desk):
    for number in range(19):
        anna.customer(f"447700900{number:03}")
    chosen = anna.customer("393330000000")
    own = anna.conversation("+39 333 123 4567")
    anna.customer("393331234567")

    def told(q: str) -> tuple[str, int]:
        page = marta.get_page(f"/links/{own}?q={q}&customer_id={chosen}")
        (text,) = page.select("#customers-found")
        return text.text.strip(), len(page.select("#choices input[type=radio]"))

    assert told("4477009000") == ("There are more customers than are shown. Type more digits.", 20)
    assert told("44770090001") == ("9 customers found", 11)


def test_a_change_that_the_trail_lacks_is_not_said_never_to_have_happened(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    path = f"/links/{conversation_id}"
    assert "No one has linked this conversation." in said(marta, path, ".history p")
    execute("UPDATE conversations SET link_version = 1")
    assert said(marta, path, ".history p") == ["What was changed is missing from the audit trail."]


def test_the_dialog_names_no_earlier_change_for_one_that_the_trail_lacks(marta: Browser, anna: Desk):
    conversation_id, other = anna.conversation("393331234567"), anna.customer("393330000000")
    anna.link(conversation_id, reason="an earlier change")
    execute("UPDATE conversations SET link_version = 2")
    path = f"/links/{conversation_id}"
    page = marta.get_page(path)
    answer = marta.submit(page, path, customer_id=str(other), reason="another")
    (told,) = marta.check(answer, 409).select("#consequence")
    assert "Who linked it, when and why can’t be read right now." in told.text
    execute("UPDATE conversations SET link_version = 3")
    answer = marta.submit(page, path, customer_id=str(other), reason="another", overwrite="1")
    (told,) = marta.check(answer, 409).select(".work")
    assert "Changed by" not in told.text


def test_no_dialog_asks_about_a_link_that_is_gone_when_it_is_drawn(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    path = f"/links/{conversation_id}"
    form = marta.get_page(path)

    def unlink(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "link_version" in statement:
            execute("UPDATE conversations SET customer_id = NULL, link_version = 2")

    event.listen(db.engines["read"], "before_cursor_execute", unlink)
    page = marta.check(marta.submit(form, f"{path}/unlink", reason="another"), 409)
    assert not page.select("#asking")
    (notice,) = page.select(".problem[role=alert]:not([hidden])")
    assert notice.text.startswith("Someone changed this link after you opened it.")


def test_every_event_has_a_sentence_of_its_own():
    history = (ROOT / "templates" / "linking" / "_history.html").read_text()
    assert [name for name in EventName if f'event.event_name == "{name}"' not in history] == []


def test_the_desks_thread_follows_the_moments_of_its_messages_not_their_arrival(marta: Browser, anna: Desk):
    for text, at in (("second", 1_790_000_060), ("third", 1_790_000_120), ("first", 1_790_000_000)):
        conversation_id = anna.conversation("393331234567", text=text, at=at)
    shown = said(marta, f"/links/{conversation_id}", "#messages .messages li")
    assert [line.split()[1] for line in shown] == ["first", "second", "third"]
