"""The pages instructors read: lists, one conversation, and who sees what."""

from dataclasses import replace
from urllib.parse import quote, unquote
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from console import create_app
from console.config import Settings
from console.database import db
from testkit.databases import execute, on_postgresql, on_sqlite, server_content
from testkit.factories import Desk, desk, link_state, user
from testkit.pages import Browser
from testkit.statements import statements, without_control
from tests.conversations.conftest import shown, three


def test_the_newest_message_comes_first(reader: Browser, anna: Desk):
    old = anna.conversation("393330000001", at=1_790_000_000)
    new = anna.conversation("393330000002", at=1_790_000_500)
    middle = anna.conversation("393330000003", at=1_790_000_100)
    assert shown(reader, "/conversations") == [str(new), str(middle), str(old)]
    anna.conversation("393330000001", at=1_790_000_900)
    assert shown(reader, "/conversations") == [str(old), str(new), str(middle)]


def test_pages_of_fifty_follow_one_another_without_gap_or_repeat(reader: Browser, anna: Desk):
    ids = [
        str(anna.conversation(f"3933300{number:05}", at=1_790_000_000 + number // 3)) for number in range(120)
    ]
    seen: list[str] = []
    path: str | None = "/conversations"
    pages = 0
    while path:
        page = reader.get_page(path)
        found = [
            str(a["href"]).split("/")[-1].split("?")[0]
            for a in page.select("main a[href^='/conversations/']")
        ]
        older = page.select("main a[href*='before=']")
        assert len(found) == 50 or not older
        seen += found
        path = str(older[0]["href"]) if older else None
        pages += 1
    assert pages == 3
    assert len(seen) == 120
    assert set(seen) == set(ids)


def test_search_finds_identifiers_by_their_digits(reader: Browser, anna: Desk):
    number = anna.conversation("393331234567")
    written = anna.conversation("+39 333 999-0000")
    slashed = anna.conversation("0664/98765")
    user_id = anna.conversation("US.13491208655302741918")
    for q, found in {
        "1234567": [number],
        "%2B39 333 123": [number],
        "0039 333 123": [number],
        "333-123.45": [number],
        "999-00": [written],
        "999%00-00": [written],
        "4/98": [slashed],
        "us.1349": [user_id],
        "134912": [user_id],
        "77": [],
        "%25": [],
        "_": [],
        "' OR 1=1 --": [],
        "%00": [user_id, slashed, written, number],
        "x" * 5000: [],
    }.items():
        assert sorted(shown(reader, f"/conversations?q={q}")) == sorted(str(row) for row in found), q


@pytest.mark.parametrize(
    "before", ["garbage", "AAAA", "%00", "é", "MjAyNi0wMS0wMVQwMDowMDowMCB4", "x" * 3000]
)
def test_a_garbage_cursor_gets_a_clear_answer(reader: Browser, anna: Desk, before: str):
    conversation_id = anna.conversation("393331234567")
    for path in ("/conversations", f"/conversations/{conversation_id}"):
        reader.get_page(f"{path}?before={before}", 400)


def test_a_user_without_an_instructor_gets_a_page_that_says_so(
    client: Browser, cli: FlaskCliRunner, anna: Desk
):
    execute("DELETE FROM memberships")
    client.sign_in(anna.operator.email, anna.operator.password)
    assert "no instructor" in client.get_page("/conversations").text


def test_a_reader_sees_one_instructor_at_a_time_and_only_their_own(
    client: Browser, cli: FlaskCliRunner, anna: Desk
):
    bruno, clara = desk(cli, "Bruno Pichler"), desk(cli, "Clara Rossi")
    user(cli, bruno.instructor_id, "instructor", anna.operator.email)
    theirs = {item.instructor_id: item.conversation("393331234567") for item in (anna, bruno, clara)}
    client.sign_in(anna.operator.email, anna.operator.password)
    assert shown(client, "/conversations") == [str(theirs[anna.instructor_id])]
    assert shown(client, f"/conversations?instructor={bruno.instructor_id}") == [
        str(theirs[bruno.instructor_id])
    ]
    answers = {
        client.http.get(path).data
        for path in (
            f"/conversations?instructor={clara.instructor_id}",
            f"/conversations?instructor={uuid4()}",
            "/conversations?instructor=garbage",
            f"/conversations/{theirs[clara.instructor_id]}",
            f"/conversations/{uuid4()}",
            "/conversations/garbage",
            f"/conversations/{theirs[clara.instructor_id]}/messages",
            f"/conversations/{uuid4()}/messages",
        )
        if client.http.get(path).status_code == 404
    }
    assert len(answers) == 1


def test_the_switcher_offers_the_instructors_whom_the_part_of_the_console_is_for(
    client: Browser, cli: FlaskCliRunner, anna: Desk
):
    bruno, clara = desk(cli, "Bruno Pichler"), desk(cli, "Clara Rossi")
    user(cli, bruno.instructor_id, "operator", anna.operator.email)
    user(cli, clara.instructor_id, "instructor", anna.operator.email)
    client.sign_in(anna.operator.email, anna.operator.password)
    for path, names in (
        ("/conversations", ["Anna Kofler", "Bruno Pichler", "Clara Rossi"]),
        ("/links", ["Anna Kofler", "Bruno Pichler"]),
    ):
        assert [choice.text for choice in client.get_page(path).select("#instructor option")] == names


def test_a_conversation_shows_who_where_and_the_newest_fifty_messages(reader: Browser, anna: Desk):
    for number in range(60):
        conversation_id = anna.conversation(
            "393331234567", text=f"message {number:02}", at=1_790_000_000 + number
        )
    page = reader.get_page(f"/conversations/{conversation_id}")
    said = [body.text for body in page.select(".messages .body")]
    assert said == [f"message {number:02}" for number in range(10, 60)]
    assert "WhatsApp" in page.text
    assert "open" in page.text
    older = reader.get_page(str(page.select("main a[href*='before=']")[0]["href"]))
    assert [body.text for body in older.select(".messages .body")] == [f"message {n:02}" for n in range(10)]


def test_messages_of_customers_are_shown_as_text(reader: Browser, anna: Desk):
    nasty = "<script>alert(1)</script> ' \" & {{ 7*7 }} \x01 \u202e end"
    conversation_id = anna.conversation("<b>393331234567</b>", text=nasty)
    for path in ("/conversations", f"/conversations/{conversation_id}"):
        page = reader.get_page(path)
        assert "<script>alert(1)</script>" in page.select_one("main").text  # type: ignore[union-attr]  # it is there
        assert "<b>393331234567</b>" in page.text
        assert not page.select("main script")


@pytest.mark.shows("CM-2.1.5", "Review.T3.2")
@on_postgresql
def test_reading_writes_nothing_on_a_server(reader: Browser, anna: Desk):
    ids = three(anna)
    before = server_content()
    for path in ("/conversations", f"/conversations/{ids[0]}", f"/badges?id={ids[0]}"):
        assert reader.http.get(path).status_code == 200
    assert server_content() == before


@pytest.mark.shows("CM-2.1.5", "Review.T3.2")
@on_sqlite
def test_reading_writes_nothing(reader: Browser, anna: Desk, settings: Settings):
    ids = three(anna)
    before = [link_state(conversation_id) for conversation_id in ids]
    with db.engine.connect() as connection:
        changes = connection.exec_driver_sql("PRAGMA data_version").scalar()
        for path in ("/conversations", f"/conversations/{ids[0]}", f"/badges?id={ids[0]}"):
            assert reader.http.get(path).status_code == 200
        assert connection.exec_driver_sql("PRAGMA data_version").scalar() == changes
    assert [link_state(conversation_id) for conversation_id in ids] == before


@pytest.mark.shows("CM-2.4.3", "T6.5", "Review.T6.1", "Review.T6.4")
def test_nothing_on_the_instructors_pages_hints_at_linking(reader: Browser, anna: Desk):
    ids = three(anna)
    for path in ("/conversations", f"/conversations/{ids[2]}"):
        page = reader.get_page(path)
        assert not page.select("a[href^='/links'], form[action^='/links']")
        assert not page.select("main form[method=post], main button[name]")


def test_the_zone_decides_what_day_it_is_and_pages_name_it_once(
    settings: Settings, cli: FlaskCliRunner, anna: Desk
):
    conversation_id = anna.conversation("393331234567", at=1_790_288_100)  # 24 Sept 2026, 22:15 UTC
    rome = Browser(create_app(replace(settings, time_zone=ZoneInfo("Europe/Rome"))))
    rome.sign_in(anna.operator.email, anna.operator.password)
    for path in (
        "/conversations",
        f"/conversations/{conversation_id}",
        "/links",
        f"/links/{conversation_id}",
    ):
        page = rome.get_page(path)
        assert page.text.count("times in Europe/Rome") == 1
        assert "UTC" not in str(page)
        assert "25 Sep 2026, 00:15" in {str(time.get("title")) for time in page.select("time")}
    thread = rome.get_page(f"/conversations/{conversation_id}")
    assert [day.text for day in thread.select(".day")] == ["Friday 25 September"]
    assert [time.text for time in thread.select(".messages time")] == ["00:15"]


def test_statements_of_whatsapp_are_shown_in_its_words(reader: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    said = "User Anna changed from 393331234567 to 393339999999"
    execute(
        f"UPDATE messages SET kind = 'system', body = '{said}' WHERE conversation_id = '{conversation_id}'"
    )
    thread = reader.get_page(f"/conversations/{conversation_id}")
    (line,) = thread.select(".messages li")
    assert line["class"] == ["system"]
    assert " ".join(line.text.split()).startswith(f"WhatsApp: {said}")
    (preview,) = reader.get_page("/conversations").select(".rows .last")
    assert preview.text == f"WhatsApp: {said}"


def test_messages_of_the_instructor_bear_their_name_for_every_reader(
    client: Browser, cli: FlaskCliRunner, anna: Desk
):
    conversation_id = anna.conversation("393331234567")
    reply = anna.conversation("393331234567", text="Yes", at=1_790_000_500)
    assert reply == conversation_id
    execute("UPDATE messages SET direction = 'outbound' WHERE body = 'Yes'")
    for person in (anna.operator, user(cli, anna.instructor_id, "instructor")):
        browser = Browser(client.http.application)
        browser.sign_in(person.email, person.password)
        thread = browser.get_page(f"/conversations/{conversation_id}")
        assert [said.text for said in thread.select(".messages .hidden")] == [
            "Customer:",
            "Anna Kofler:",
        ]
        assert browser.get_page("/conversations").select(".rows .last")[0].text == "Anna Kofler: Yes"


@pytest.mark.parametrize("q", ["+", "-", "00", "( )", " ", "%00"])
def test_a_search_without_a_term_lists_everything(reader: Browser, anna: Desk, q: str):
    anna.conversation("393331234567")
    page = reader.get_page(f"/conversations?q={quote(unquote(q))}")
    assert len(page.select(".rows li")) == 1
    assert "Nothing to search for" in page.select_one("#list").text  # type: ignore[union-attr]  # it is there
    assert "found" not in page.text
    assert str(page.title.string).startswith("Conversations")  # type: ignore[union-attr]  # it is there


def test_a_search_shows_an_exact_count_or_says_that_there_are_more(reader: Browser, anna: Desk):
    def found(path: str) -> str:
        page = reader.get_page(path)
        return " ".join(page.select_one("#found").text.split())  # type: ignore[union-attr]  # it is there

    for number in range(51):
        anna.conversation(f"3933300{number:05}", at=1_790_000_000 + number)
    assert found("/conversations") == ""
    assert found("/conversations?q=393330000050") == "1 conversation found"
    assert found("/conversations?q=3933300000") == "More than 50 conversations found"
    assert found("/conversations?q=77") == "0 conversations found"
    page = reader.get_page("/conversations?q=3933300000")
    older = str(page.select("main a[href*='before=']")[0]["href"])
    assert len(reader.get_page(older).select(".rows li")) == 1
    assert found(older) == ""
    beyond = reader.get_page(older.replace("q=3933300000", "q=7777"))
    assert "No older conversations found for “7777”" in beyond.text


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/conversations", 2),
        ("/conversations?plain=1", 3),
        ("/badges?{ids}", 3),
        ("/conversations/{conversation_id}", 3),
        ("/conversations/{conversation_id}?plain=1", 4),
        ("/links/{conversation_id}", 6),
        ("/links", 6),
    ],
)
@pytest.mark.parametrize("count", [1, 50])
def test_the_number_of_statements_does_not_grow_with_the_rows(
    app: Flask, client: Browser, anna: Desk, path: str, most: int, count: int
):
    ids = [anna.conversation(f"3933300{number:05}") for number in range(count)]
    client.sign_in(anna.operator.email, anna.operator.password)
    query = "&".join(f"id={conversation_id}" for conversation_id in ids)
    with statements() as seen:
        assert client.http.get(path.format(conversation_id=ids[0], ids=query)).status_code == 200
    assert len(without_control(seen)) <= most


def test_the_rows_of_a_search_bring_the_title_of_their_page(reader: Browser, anna: Desk):
    anna.conversation("393331234567")
    for q in ("", "39", "77"):
        rows = Browser.parse(reader.http.get(f"/conversations/rows?q={q}").text)
        assert rows.title == reader.get_page(f"/conversations?q={q}").title
