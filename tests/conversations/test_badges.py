"""Badges as pages and their own address show them (CM-2.4)."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskCliRunner

from console import create_app
from console.config import Settings
from console.conversations.cursors import Cursor
from console.database import now
from testkit.databases import execute
from testkit.factories import Desk, desk
from testkit.pages import Browser
from tests.conversations.conftest import shown, three


def states(answer_text: str, *ids: UUID) -> list[str]:
    """Return the states of the badges in an answer, which has to hold exactly those asked for, in order."""
    page = Browser.parse(answer_text)
    badges = page.select(".badge[data-state]")
    assert [badge["id"] for badge in badges] == [f"badge-{conversation_id}" for conversation_id in ids]
    return [str(badge["data-state"]) for badge in badges]


def test_badges_come_in_the_order_asked_and_nothing_else_does(reader: Browser, anna: Desk):
    known, new, unlinked = three(anna)
    answer = reader.http.get(f"/badges?id={unlinked}&id={known}&id={new}&id={known}")
    assert states(answer.text, unlinked, known, new) == ["unlinked", "known", "new"]
    assert answer.text.count('<span class="badge"') == 3
    assert "<html" not in answer.text


@pytest.mark.shows("CM-1.3", "Review.Everywhere.1")
def test_badges_of_others_and_of_nothing_are_left_out(reader: Browser, cli: FlaskCliRunner, anna: Desk):
    known, *_ = three(anna)
    foreign = desk(cli, "Bruno Pichler").conversation("393331234567")
    answer = reader.http.get(f"/badges?id={foreign}&id={known}&id={uuid4()}")
    assert states(answer.text, known) == ["known"]
    assert reader.http.get(f"/badges?id={foreign}").status_code == 200


def test_badge_ids_are_read_whatever_else_an_address_holds(reader: Browser, anna: Desk):
    known, new, _ = three(anna)
    encoded = str(known).upper().replace("-", "%2D")
    answer = reader.http.get(f"/badges?grid=1&id={encoded}&x=2&id={new}#end")
    assert states(answer.text, known, new) == ["known", "new"]


def test_an_ampersand_inside_a_value_begins_no_other_id(reader: Browser, anna: Desk):
    known, new, _ = three(anna)
    answer = reader.http.get(f"/badges?id={known}&x=1%26id={new}")
    assert states(answer.text, known) == ["known"]


MALFORMED = {
    "not UTF-8": "id=%ff",
    "none": "",
    "empty": "id=",
    "no id": "id=1",
    "written otherwise": f"id={UUID(int=1).hex}",
    "one of two": f"id={UUID(int=1)}&id=x",
    "too many": "&".join(f"id={UUID(int=number)}" for number in range(101)),
}


@pytest.mark.parametrize("query", MALFORMED.values(), ids=MALFORMED)
def test_malformed_or_too_many_badges_are_refused(reader: Browser, query: str):
    reader.get_page(f"/badges?{query}", 400)


def test_a_hundred_badges_are_answered(reader: Browser, anna: Desk):
    query = "&".join(f"id={uuid4()}" for _ in range(100))
    assert reader.http.get(f"/badges?{query}").status_code == 200


@pytest.mark.shows("CM-2.4.1", "CM-2.4.2", "T6.1", "Review.T6.2", "Review.T6.3")
def test_the_badge_says_exactly_what_the_rule_says(reader: Browser, anna: Desk):
    known, new, unlinked = three(anna)
    page = Browser.parse(reader.http.get(f"/badges?id={known}&id={new}&id={unlinked}").text)
    assert [" ".join(badge.get_text(" ").split()) for badge in page.select(".badge")] == [
        "Known customer Linked to a customer on record",
        "New customer On record, not linked to this conversation",
        "Unlinked Customer not resolved",
    ]
    for badge in page.select(".badge"):
        assert not badge.select("a, button, form, input, [title], [onclick], [tabindex]")


@pytest.mark.parametrize("path", ["/conversations", "/conversations/{known}"])
def test_a_badge_has_no_state_until_it_arrives(reader: Browser, anna: Desk, path: str):
    ids = three(anna)
    page = reader.get_page(path.format(known=ids[0]))
    listed = ids if path == "/conversations" else ids[:1]
    assert {str(badge["id"]) for badge in page.select(".badge")} == {
        f"badge-{conversation_id}" for conversation_id in listed
    }
    assert not page.select("[data-state]")
    (loader,) = page.select("[hx-get^='/badges']")
    assert str(loader["hx-get"]).count("id=") == len(listed)
    assert loader["hx-trigger"] == "load, again"


@pytest.mark.shows("CM-2.4.7", "T6.4")
@pytest.mark.parametrize("path", ["/conversations?q=3933", "/conversations/{known}?q=3933&page={cursor}"])
def test_a_browser_without_scripting_is_sent_to_the_same_page_with_its_badges_in_it(
    reader: Browser, anna: Desk, path: str
):
    ids = three(anna)
    path = path.format(known=ids[0], cursor=Cursor(now(), ids[0]))
    scripted = reader.get_page(path)
    (refresh,) = scripted.select("head noscript meta[http-equiv=refresh]")
    address = str(refresh["content"]).removeprefix("0; url=")
    assert "q=3933" in address
    assert address.startswith(path.split("?")[0])
    plain = reader.get_page(address)
    listed = ids if "page" not in path else ids[:1]
    expected = {
        f"badge-{conversation_id}": state
        for conversation_id, state in zip(ids, ("known", "new", "unlinked"), strict=True)
    }
    told = {str(badge["id"]): badge["data-state"] for badge in plain.select(".badge")}
    assert told == {
        f"badge-{conversation_id}": expected[f"badge-{conversation_id}"] for conversation_id in listed
    }
    assert not plain.select("noscript meta, [hx-get^='/badges']")


@pytest.mark.shows("CM-2.4.5", "T6.2", "Review.T6.5")
def test_a_page_has_no_trace_of_a_badge_with_the_flag_off(
    settings: Settings, cli: FlaskCliRunner, anna: Desk
):
    ids = three(anna)
    off = Browser(create_app(replace(settings, customer_badge=False)))
    off.sign_in(anna.operator.email, anna.operator.password)
    pages = ("/conversations", "/conversations/rows", f"/conversations/{ids[0]}")
    for path in (*pages, *(f"{page}?plain" for page in pages)):
        source = off.http.get(path).text.lower()
        assert "badge" not in source
        assert not any(word in source for word in ("known customer", "new customer", "unlinked"))
    off.get_page(f"/badges?id={ids[0]}", 404)
    assert off.get_page(f"/links/{ids[0]}")


@pytest.mark.shows("CM-2.1.7", "CM-2.2.13")
def test_two_conversations_with_the_same_identifier_have_states_of_their_own(reader: Browser, anna: Desk):
    first = anna.conversation("393331234567")
    anna.link(first)
    execute(f"UPDATE conversations SET status = 'closed' WHERE id = '{first}'")
    second = anna.conversation("393331234567")
    assert states(reader.http.get(f"/badges?id={first}&id={second}").text, first, second) == ["known", "new"]


@pytest.mark.shows("CM-2.1.4", "T3.4")
def test_a_failing_lookup_shows_unlinked_and_the_page_works(reader: Browser, anna: Desk):
    known, new, unlinked = three(anna)
    execute("ALTER TABLE customers RENAME TO mislaid")
    assert len(shown(reader, "/conversations")) == 3
    reader.get_page(f"/conversations/{new}")
    answer = reader.http.get(f"/badges?id={known}&id={new}&id={unlinked}")
    assert states(answer.text, known, new, unlinked) == ["known", "unlinked", "unlinked"]
