"""What pages of lists and threads hold, in which order, and where the next one begins."""

import pytest
from bs4 import BeautifulSoup

from console.conversations.queries import PAGE_SIZE
from console.conversations.resolution import Subject
from console.linking.queries import QUEUE_SIZE
from testkit.databases import execute, rows
from testkit.factories import Desk, link_state, payload, run
from testkit.pages import Browser
from tests.conversations.conftest import shown, subjects, three

AT = 1_790_000_000


def say(anna: Desk, texts: list[str], sender: str = "393331234567", *, at: int = AT, apart: int = 1) -> str:
    """Let a customer write these texts, some seconds apart; return their conversation."""
    lines = [
        payload(anna.phone_number_id, sender, text=text, at=at + apart * place)
        for place, text in enumerate(texts)
    ]
    run(anna.cli, "ingest", "-", stdin="\n".join(lines))
    ((conversation_id,),) = rows(f"SELECT id FROM conversations WHERE customer_identifier = '{sender}'")
    return str(conversation_id)


def older(page: BeautifulSoup) -> str | None:
    """Return where a page says that there is more of its thread."""
    link = page.select_one("#older-messages")
    return str(link["href"]) if link and link.has_attr("href") else None


def said(page: BeautifulSoup) -> list[str]:
    """Return the texts of a thread, from top to bottom."""
    return [body.text for body in page.select(".messages .body")]


def test_a_full_page_leads_no_further_where_there_is_nothing_more(marta: Browser, anna: Desk):
    conversation_id = say(anna, [f"message {number}" for number in range(PAGE_SIZE)])
    for number in range(PAGE_SIZE - 1):
        other = anna.conversation(f"3933300{number:05}")
        if number >= QUEUE_SIZE - 1:
            anna.link(other)
    for path in (
        "/conversations",
        "/links",
        f"/conversations/{conversation_id}",
        f"/links/{conversation_id}",
    ):
        assert "before=" not in str(marta.get_page(path).select_one("main")), path


@pytest.mark.parametrize("path", ["/conversations", "/links"])
@pytest.mark.parametrize("apart", [0, 1])
def test_pages_of_a_thread_follow_one_another_without_gap_or_repeat(
    marta: Browser, anna: Desk, path: str, apart: int
):
    texts = [f"message {number:03}" for number in range(2 * PAGE_SIZE + 10)]
    conversation_id = say(anna, texts, apart=apart)
    execute("DROP INDEX ix_messages_newest")  # the order is asked for, not the index's
    by_id = [body for (body,) in rows("SELECT body FROM messages ORDER BY sent_at, id")]
    pages = [marta.get_page(f"{path}/{conversation_id}")]
    while following := older(pages[-1]):
        pages.append(marta.get_page(following))
    assert [len(said(page)) for page in pages] == [PAGE_SIZE, PAGE_SIZE, 10]
    assert [text for page in reversed(pages) for text in said(page)] == by_id
    assert sorted(by_id) == texts


def test_messages_that_come_late_stand_where_they_were_sent(marta: Browser, anna: Desk):
    texts = [f"message {number}" for number in range(PAGE_SIZE + 9)]
    conversation_id = say(anna, texts[6:])
    say(anna, texts[:6], at=AT - 60)
    for path in (f"/conversations/{conversation_id}", f"/links/{conversation_id}"):
        page = marta.get_page(path)
        assert said(page) == texts[-PAGE_SIZE:]
        assert said(marta.get_page(older(page) or "")) == texts[:-PAGE_SIZE]
    (last,) = marta.get_page("/conversations").select(".rows .last")
    assert last.text == texts[-1]


def test_a_list_shows_the_message_that_the_thread_ends_with(marta: Browser, anna: Desk):
    conversation_id = say(anna, [f"message {number}" for number in range(8)], apart=0)
    execute("DROP INDEX ix_messages_newest")  # the order is asked for, not the index's
    (last,) = marta.get_page("/conversations").select(".rows .last")
    assert last.text == said(marta.get_page(f"/conversations/{conversation_id}"))[-1]


def test_a_list_shows_the_first_160_characters_of_the_last_message(marta: Browser, anna: Desk):
    say(anna, ["0123456789" * 17])
    (last,) = marta.get_page("/conversations").select(".rows .last")
    assert last.text == "0123456789" * 16


def test_a_conversation_without_an_identifier_is_listed_unless_one_is_searched_for(
    marta: Browser, anna: Desk
):
    conversation_id = say(anna, ["Hi"])
    execute("UPDATE conversations SET customer_identifier = NULL")
    assert shown(marta, "/conversations") == shown(marta, "/conversations?q=%2B") == [conversation_id]
    assert shown(marta, "/conversations?q=3") == []


def test_a_list_a_page_and_a_command_draw_a_badge_from_the_same(anna: Desk):
    for conversation_id in three(anna):
        ((identifier,),) = rows(
            f"SELECT customer_identifier FROM conversations WHERE id = '{conversation_id}'"
        )
        linked = link_state(conversation_id).customer_id
        of_anna = (str(anna.instructor_id), "whatsapp", identifier)
        assert subjects(anna, conversation_id) == {
            Subject(str(conversation_id), *of_anna, str(linked) if linked else None)
        }


def test_only_a_missing_column_is_taken_for_a_link_that_cannot_be_read(
    marta: Browser, capfd: pytest.CaptureFixture[str]
):
    execute("ALTER TABLE messages RENAME TO mislaid")
    marta.get_page("/conversations", 503)
    assert "link_not_read" not in capfd.readouterr().err
