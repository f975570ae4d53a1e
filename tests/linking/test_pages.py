"""The linking desk over HTTP: every answer that the interface names, and nothing typed is ever lost."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from bs4 import BeautifulSoup
from flask import Flask
from flask.testing import FlaskCliRunner
from werkzeug.test import TestResponse

from testkit.databases import execute
from testkit.factories import Desk, desk, link_state, trail, user
from testkit.pages import Browser, fields_of
from testkit.statements import statements, without_control

TYPED = "said <so> & “so”"


def send(browser: Browser, conversation_id: UUID, to: str = "", **changes: Any) -> TestResponse:
    """Open the form and send it."""
    path = f"/links/{conversation_id}"
    page = browser.get_page(path)
    return browser.submit(page, path + to, **{"reason": TYPED, **changes})


def typed(page: BeautifulSoup, conversation_id: UUID, to: str = "") -> dict[str, str]:
    """Return what a form on a page would send."""
    form = page.select_one(f'form[method=post][action="/links/{conversation_id}{to}"]')
    assert form
    return fields_of(form)


def dialog_form(page: BeautifulSoup) -> dict[str, str]:
    """Return what the confirm dialog's explicit button would send."""
    dialog = page.select_one("dialog")
    assert dialog
    form = dialog.select_one("form[method=post]")
    assert form
    return fields_of(form)


def test_linking_creates_on_explicit_choice_and_says_so(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("+39 333 123 4567")
    answer = send(marta, conversation_id, create="1")
    assert (answer.status_code, answer.location) == (303, f"/links/{conversation_id}")
    page = marta.get_page(f"/links/{conversation_id}")
    assert page.select_one("[role=status]")
    assert TYPED in page.text
    assert not marta.get_page(f"/links/{conversation_id}").select("[role=status] .done, p.done")
    assert trail(conversation_id)[0]["reason"] == TYPED
    assert trail(conversation_id)[0]["context"]["request_id"] == answer.headers["X-Request-Id"]


def test_linking_to_a_customer_of_the_list(marta: Browser, anna: Desk):
    customer_id = anna.customer("393331234567")
    conversation_id = anna.conversation("+393331234567")
    (choice,) = marta.get_page(f"/links/{conversation_id}").select("input[name=customer_id][type=radio]")
    assert choice["value"] == str(customer_id)
    assert send(marta, conversation_id, customer_id=str(customer_id)).status_code == 303
    assert link_state(conversation_id).customer_id == customer_id


@pytest.mark.shows("CM-2.3.7")
def test_creating_is_offered_only_where_it_can_be_done(marta: Browser, anna: Desk):
    anna.customer("393331234567")
    for identifier, offered in (
        ("+393331234567", False),
        ("40404", False),
        ("US.abc", True),
        ("393330000000", True),
    ):
        page = marta.get_page(f"/links/{anna.conversation(identifier)}")
        assert bool(page.select("[name=create]")) == offered, identifier


@pytest.mark.shows("CM-2.2.14", "CM-1.3", "Review.Everywhere.1")
def test_customer_search_is_within_the_instructor_and_at_most_twenty(marta: Browser, anna: Desk, bruno: Desk):
    conversation_id = anna.conversation("40404")
    wanted = anna.customer("393331234567")
    bruno.customer("393331234567")
    for number in range(25):
        anna.customer(f"4477009001{number:02}")

    def found(q: str) -> list[str]:
        answer = marta.http.get(f"/links/{conversation_id}/customers", query_string={"q": q})
        assert answer.status_code == 200
        return [str(field["value"]) for field in Browser.parse(answer.text).select("input[name=customer_id]")]

    for q in ("1234567", "+39 333 123", "0039-333", "(333) 123", " 39333123 "):
        assert found(q) == [str(wanted)], q
    assert len(found("4477")) == 20
    assert len(found("")) == 20
    for q in ("999999", "%", "_", "\x00", "x" * 5000, "<b>"):
        assert found(q) == [], q


@pytest.mark.shows("CM-2.3.5", "T4.5", "Review.T4.3")
def test_a_linked_conversation_asks_before_it_is_overwritten(marta: Browser, anna: Desk):
    conversation_id, other = anna.conversation("393331234567"), anna.customer("393330000000")
    anna.link(conversation_id, reason="first reason")
    answer = send(marta, conversation_id, customer_id=str(other))
    page = marta.check(answer, 409)
    dialog = page.select_one("dialog")
    assert dialog
    said = dialog.text.replace(" ", "")
    for part in ("+393331234567", "+393330000000", "MartaRossi", "firstreason", TYPED.replace(" ", "")):
        assert part in said, part
    assert link_state(conversation_id).link_version == 1
    assert typed(page, conversation_id)["reason"] == TYPED
    confirmed = marta.http.post(f"/links/{conversation_id}", data=dialog_form(page))
    assert confirmed.status_code == 303
    assert link_state(conversation_id).customer_id == other
    assert [event["reason"] for event in trail(conversation_id)] == ["first reason", TYPED]


@pytest.mark.shows("CM-2.5.6", "CM-2.2.15")
def test_the_dialog_and_the_form_work_without_the_trail(marta: Browser, anna: Desk):
    conversation_id, other = anna.conversation("393331234567"), anna.customer("393330000000")
    anna.link(conversation_id)
    execute("ALTER TABLE audit_events RENAME TO mislaid")
    assert "can’t be read right now" in marta.get_page(f"/links/{conversation_id}").text
    page = marta.check(send(marta, conversation_id, customer_id=str(other)), 409)
    answer = marta.http.post(f"/links/{conversation_id}", data=dialog_form(page))
    assert answer.status_code == 303
    assert link_state(conversation_id).customer_id == other


@pytest.mark.parametrize(("dropped", "status"), [({}, 409), ({"seen_version": None}, 428)])
def test_a_reason_to_unlink_is_kept_if_the_link_is_gone_by_now(
    marta: Browser, anna: Desk, dropped: dict[str, None], status: int
):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    path = f"/links/{conversation_id}"
    opened = marta.get_page(path)
    anna.unlink(conversation_id)
    page = marta.check(marta.submit(opened, f"{path}/unlink", reason=TYPED, **dropped), status)
    assert typed(page, conversation_id)["reason"] == TYPED
    assert link_state(conversation_id).link_version == 2


@pytest.mark.shows("CM-2.3.5", "T4.5", "Review.T4.3")
def test_unlinking_asks_first(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    page = marta.check(send(marta, conversation_id, "/unlink"), 409)
    assert link_state(conversation_id).link_version == 1
    answer = marta.http.post(f"/links/{conversation_id}/unlink", data=dialog_form(page))
    assert (answer.status_code, answer.location) == (303, f"/links/{conversation_id}")
    assert link_state(conversation_id).customer_id is None


@pytest.mark.shows("CM-2.3.4")
@pytest.mark.parametrize("to", ["", "/unlink"])
def test_a_missing_precondition_is_428_and_keeps_what_was_typed(marta: Browser, anna: Desk, to: str):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    for missing in ("seen_version", "operation_id"):
        for value in (None, ""):
            answer = send(marta, conversation_id, to, **{missing: value, "overwrite": "1", "confirm": "1"})
            page = marta.check(answer, 428)
            assert typed(page, conversation_id, to)["reason"] == TYPED
    assert link_state(conversation_id).link_version == 1


@pytest.mark.shows("CM-2.3.4", "T4.4")
def test_a_link_that_changed_meanwhile_shows_what_it_is_now(marta: Browser, anna: Desk):
    conversation_id, other = anna.conversation("393331234567"), anna.customer("393330000000")
    path = f"/links/{conversation_id}"
    opened = marta.get_page(path)
    anna.link(conversation_id, reason="while you looked")
    answer = marta.submit(opened, path, reason=TYPED, customer_id=str(other), overwrite="1")
    page = marta.check(answer, 409)
    assert "Nothing was saved" in page.text
    assert "while you looked" in page.text
    assert "+393331234567" in page.text.replace(" ", "")
    kept = typed(page, conversation_id)
    assert (kept["reason"], kept["customer_id"], kept["seen_version"]) == (TYPED, str(other), "1")
    assert kept["operation_id"] != typed(opened, conversation_id)["operation_id"]
    assert link_state(conversation_id).link_version == 1
    again = marta.check(marta.submit(page, path), 409)
    assert marta.http.post(path, data=dialog_form(again)).status_code == 303


BAD_FIELDS: dict[str, dict[str, Any]] = {
    "no choice": {"customer_id": None},
    "both choices": {"create": "1"},
    "no customer's id": {"customer_id": "1"},
    "a customer of nothing": {"customer_id": str(uuid4())},
    "no reason": {"reason": ""},
    "a blank reason": {"reason": " \u00a0 "},
    "a huge reason": {"reason": "x" * 100_000},
    "a reason of zero-width spaces": {"reason": "\u200b\u200c\u200d"},
    "a reason of Hangul fillers": {"reason": "\u3164\u115f\u1160\uffa0"},
    "a reason of blank braille": {"reason": "\u2800"},
    "a reason of direction marks": {"reason": "\u202e\u2066"},
    "a reason of selectors and joiners": {"reason": "\ufe0f\u034f\u180b\u17b4\U000e0041"},
    "a control character": {"reason": "a\x00b"},
    "an escape": {"reason": "a\x1bb"},
    "a version that is none": {"seen_version": "one"},
    "a negative version": {"seen_version": "-1"},
    "a huge version": {"seen_version": "9" * 40},
    "another script's digit": {"seen_version": "\u0660"},
    "an operation id that is none": {"operation_id": "DROP TABLE customers"},
    "an operation id in braces": {"operation_id": "{00000000-0000-4000-8000-000000000000}"},
    "an operation id without hyphens": {"operation_id": "0" * 32},
    "an operation id with misplaced hyphens": {"operation_id": "000000000000-0000-0000-0000-00000000"},
    "an operation id in Arabic digits": {"operation_id": "\u0660" * 8 + "-0000-0000-0000-000000000000"},
    "HTML": {"customer_id": "<script>"},
}


@pytest.mark.shows("CM-2.3.3", "CM-2.3.7", "T4.3")
@pytest.mark.parametrize("how", BAD_FIELDS)
def test_a_bad_field_is_422_with_the_form_and_its_error(marta: Browser, anna: Desk, how: str):
    conversation_id = anna.conversation("393331234567")
    changes = {"customer_id": str(anna.customer("393330000000")), **BAD_FIELDS[how]}
    page = marta.check(send(marta, conversation_id, **changes), 422)
    assert page.select(".error, [role=alert]")
    assert link_state(conversation_id).link_version == 0
    kept = typed(page, conversation_id)
    if how not in ("a control character", "an escape"):
        assert kept["reason"] == changes.get("reason", TYPED)


NOT_YES = [
    "no",
    "off",
    "False",
    "false",
    "true",
    "on",
    "yes",
    "2",
    "01",
    " 1",
    "\u0661",
    ["1", "no"],
    ["1", "0"],
    ["0", "1"],
]


@pytest.mark.shows("CM-2.3.5")
@pytest.mark.parametrize("value", NOT_YES, ids=ascii)
@pytest.mark.parametrize("field", ["create", "overwrite", "confirm"])
def test_only_1_confirms_and_any_other_word_writes_nothing(
    marta: Browser, anna: Desk, field: str, value: str | list[str]
):
    conversation_id = anna.conversation("393331234567")
    changes: dict[str, Any] = {}
    if field != "create":
        anna.link(conversation_id)
        changes = {"customer_id": str(anna.customer("393330000000"))} if field == "overwrite" else {}
    before = link_state(conversation_id)
    to = "/unlink" if field == "confirm" else ""
    answer = send(marta, conversation_id, to, **changes, **{field: value})
    page = marta.check(answer, 422)
    assert "Nothing was saved" in page.text
    assert typed(page, conversation_id, to)["reason"] == TYPED
    assert link_state(conversation_id) == before


@pytest.mark.shows("CM-2.3.5")
@pytest.mark.parametrize(("to", "field"), [("", "confirm"), ("/unlink", "overwrite"), ("/unlink", "create")])
def test_an_intent_of_the_other_form_is_read_as_strictly(marta: Browser, anna: Desk, to: str, field: str):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    asked = {"customer_id": str(anna.customer("393330000000")), "overwrite": "1", "confirm": "1"}
    answer = send(marta, conversation_id, to, **{**asked, field: "yes"})
    assert answer.status_code == 422
    assert link_state(conversation_id).link_version == 1


@pytest.mark.parametrize("value", [None, "", "0", ["0", "0"]], ids=ascii)
def test_zero_empty_and_absent_mean_no(marta: Browser, anna: Desk, value: str | None):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    other = str(anna.customer("393330000000"))
    assert send(marta, conversation_id, customer_id=other, overwrite=value).status_code == 409
    assert send(marta, conversation_id, "/unlink", confirm=value).status_code == 409
    assert send(marta, conversation_id, customer_id=other, create=value, overwrite="1").status_code == 303


@pytest.mark.shows("CM-2.3.5")
@pytest.mark.parametrize("field", ["reason", "customer_id", "operation_id", "seen_version"])
def test_a_field_with_two_values_writes_nothing(marta: Browser, anna: Desk, field: str):
    conversation_id = anna.conversation("393331234567")
    first, second = str(anna.customer("393330000000")), str(anna.customer("393330000001"))
    values: dict[str, Any] = {
        "reason": [TYPED, "something else"],
        "customer_id": [first, second],
        "operation_id": [str(uuid4()), str(uuid4())],
        "seen_version": ["0", "1"],
    }
    changes: dict[str, Any] = {"customer_id": first, field: values[field]}
    page = marta.check(send(marta, conversation_id, **changes), 422)
    assert "Nothing was saved" in page.text
    assert link_state(conversation_id).link_version == 0


@pytest.mark.shows("CM-2.3.2", "T4.2")
def test_another_instructors_customer_is_refused_like_one_of_nothing(marta: Browser, anna: Desk, bruno: Desk):
    conversation_id, foreign = anna.conversation("393331234567"), bruno.customer("393331234567")
    page = marta.check(send(marta, conversation_id, customer_id=str(foreign)), 422)
    assert "one of this instructor’s customers" in page.text
    assert str(foreign) not in str(page.select("input[name=customer_id]"))
    assert link_state(conversation_id).customer_id is None


@pytest.mark.shows("CM-2.3.8", "T4.8")
def test_a_double_click_is_one_write_and_two_same_answers(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    path = f"/links/{conversation_id}"
    page = marta.get_page(path)
    answers = [marta.submit(page, path, reason=TYPED, create="1") for _ in range(2)]
    assert [(answer.status_code, answer.location) for answer in answers] == [(303, path)] * 2
    assert len(trail(conversation_id)) == 1


@pytest.mark.shows("CM-2.3.8", "T4.8")
def test_a_form_sent_again_with_something_else_is_refused(marta: Browser, anna: Desk):
    conversation_id, other = anna.conversation("393331234567"), anna.customer("393330000000")
    path = f"/links/{conversation_id}"
    page = marta.get_page(path)
    marta.submit(page, path, reason=TYPED, create="1")
    refused = marta.check(marta.submit(page, path, reason=TYPED, customer_id=str(other), overwrite="1"), 409)
    assert "already used" in refused.text
    assert len(trail(conversation_id)) == 1


@pytest.mark.shows("CM-2.3.6", "T4.6")
def test_linking_to_the_customer_it_has_says_so(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    answer = send(marta, conversation_id, customer_id=str(link_state(conversation_id).customer_id))
    assert answer.status_code == 303
    assert "Nothing was changed" in marta.get_page(f"/links/{conversation_id}").text
    assert link_state(conversation_id).link_version == 1


@pytest.mark.shows("CM-2.3.1", "T4.1")
def test_every_page_under_links_is_403_for_who_is_no_operator(
    client: Browser, cli: FlaskCliRunner, anna: Desk, bruno: Desk
):
    reader = user(cli, anna.instructor_id, "instructor")
    ids = [anna.conversation("393331234567"), bruno.conversation("393331234567"), uuid4(), "garbage"]
    client.sign_in(reader.email, reader.password)
    answers = {client.http.get(f"/links/{id_}{more}").data for id_ in ids for more in ("", "/customers")}
    answers.add(client.http.get("/links").data)
    client.get_page(f"/links/{ids[0]}", 403)
    assert len(answers) == 1


@pytest.mark.shows("CM-2.3.1", "T4.1")
def test_readers_get_403_and_strangers_404(marta: Browser, cli: FlaskCliRunner, anna: Desk, bruno: Desk):
    clara = desk(cli, "Clara Rossi")
    user(cli, bruno.instructor_id, "instructor", anna.operator.email)
    read, foreign = bruno.conversation("393331234567"), clara.conversation("393331234567")
    marta.get_page(f"/links/{read}", 403)
    marta.get_page(f"/links/{read}/customers", 403)
    marta.get_page(f"/links?instructor={bruno.instructor_id}", 403)
    own = marta.get_page(f"/links/{anna.conversation('393331234567')}")
    token = typed(own, anna.conversation("393331234567"))
    for to in ("", "/unlink"):
        data = {**token, "reason": TYPED, "create": "1", "confirm": "1"}
        assert marta.http.post(f"/links/{read}{to}", data=data).status_code == 403
        answers = {
            (answer.status_code, answer.data)
            for id_ in (foreign, uuid4(), "garbage")
            for answer in (marta.http.post(f"/links/{id_}{to}", data=data), marta.http.get(f"/links/{id_}"))
        }
        assert len(answers) == 1
        assert answers.pop()[0] == 404
    assert link_state(read).customer_id is None
    assert link_state(foreign).customer_id is None


def test_a_link_write_takes_six_statements(app: Flask, marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    page = marta.get_page(f"/links/{conversation_id}")
    with statements() as seen:
        marta.submit(page, f"/links/{conversation_id}", reason=TYPED, create="1")
    assert len(without_control(seen)) == 6
