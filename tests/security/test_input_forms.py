"""Naughty texts in every field of every form: kept as typed or refused with a page, and only text in it."""

import json
import unicodedata
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import html5lib
import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from console.config import Settings, sqlite_path
from console.database import db
from console.linking import history
from testkit.databases import on_sqlite
from testkit.factories import link_state, run, trail
from testkit.pages import Client
from tests.security.naughty import MARKUP, NAUGHTY, OWN, any_text, sendable, shape, shown
from tests.security.visitors import Visitor, World

TEXTS = sendable(NAUGHTY)
MAX_COOKIE = 4093
# Default_Ignorable_Code_Point of DerivedCoreProperties.txt (Unicode 15.1), and the blank braille pattern.
UNMARKED = "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u3164\ufeff\uffa0\u2800" + "".join(
    chr(point)
    for first, last in (
        (0x180B, 0x180F),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0xFE00, 0xFE0F),
        (0xFFF0, 0xFFF8),
        (0x1BCA0, 0x1BCA3),
        (0x1D173, 0x1D17A),
        (0xE0000, 0xE0FFF),
    )
    for point in range(first, last + 1)
)
UNSEEN = ("customer_id", "create", "overwrite", "confirm", "seen_version", "operation_id")
FIELDS = ("email", "password", "next", "csrf_token", "reason", *UNSEEN)


@pytest.fixture
def linked(app: Flask, people: World) -> UUID:
    """Link Anna's conversation, and return another customer whom it could be linked to."""
    people.anna.link(people.conversation_id)
    return people.customer_id


def acceptable(reason: str) -> bool:
    """Say whether a reason can be kept, by the rules that its form states."""
    odd = any(unicodedata.category(character) == "Cc" and character not in "\t\n\r" for character in reason)
    return seen(reason) and len(reason) <= 500 and not odd


def seen(reason: str) -> bool:
    """Say whether a reason has a character that leaves a mark, by Unicode's own list of those that don't."""
    return any(
        not character.isspace()
        and unicodedata.category(character) not in ("Cc", "Cf")
        and character not in UNMARKED
        for character in reason
    )


def as_sent(text: str) -> bytes:
    """Return a text as a form sends it; a lone surrogate makes it invalid UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def refused(text: str) -> int:
    """Return the status that refuses a text: a form that isn't UTF-8 is refused as a whole."""
    return 422 if sendable([text]) else 400


Send = Callable[..., TestResponse]


@pytest.fixture
def send(operator: Visitor, people: World) -> Send:
    """Return what sends a form of Anna's conversation with changes; `at` says which."""
    token = operator.current_token()

    def send(at: str = "", **changes: Any) -> TestResponse:
        form = {**people.link_form(), "csrf_token": token, **changes}
        data = {name: as_sent(value) if isinstance(value, str) else value for name, value in form.items()}
        return operator.ask("POST", f"/links/{people.conversation_id}{at}", data=data)

    return send


def reasons_on(page: str) -> list[str]:
    """Return the reasons in a page's history, newest first."""
    quotes = html5lib.parse(page, namespaceHTMLElements=False).iterfind(".//section[@class='history']//q")
    return ["".join(text.itertext()) for text in quotes]


def test_a_reason_is_kept_as_typed_or_refused(
    operator: Visitor, send: Send, people: World, linked: UUID, cli: FlaskCliRunner
):
    first = link_state(people.conversation_id).customer_id
    kept = ["said so on the phone"]
    for text in TEXTS:
        other = linked if link_state(people.conversation_id).customer_id == first else first
        answer = send(create="", customer_id=str(other), overwrite="1", reason=text)
        assert answer.status_code == (303 if acceptable(text) else 422), ascii(text)
        kept += [text] if acceptable(text) else []
        if text == TEXTS[-1] or (acceptable(text) and len(kept) % history.MAX_SHOWN == 0):
            page = operator.ask("GET", f"/links/{people.conversation_id}").text
            assert reasons_on(page) == [shown(reason) for reason in kept[: -history.MAX_SHOWN - 1 : -1]]
    assert [event["reason"] for event in trail(people.conversation_id)] == kept
    exported = [json.loads(line) for line in run(cli, "audit", "export").splitlines()]
    assert [
        event["reason"] for event in exported if event["conversation_id"] == str(people.conversation_id)
    ] == kept
    assert run(cli, "audit", "verify").startswith("verified")


@on_sqlite
def test_a_reason_that_comes_back_is_only_text(send: Send, linked: UUID):
    choice = {"create": "", "customer_id": str(linked)}
    cases: list[tuple[int, dict[str, Any]]] = [
        (409, choice),
        (409, {**choice, "seen_version": "0"}),
        (422, {"create": ""}),
        (428, {"seen_version": ""}),
        (400, {"csrf_token": ""}),
    ]
    for status, changes in cases:
        plain = shape(send(reason="zzz", **changes).text)
        for text in filter(acceptable, MARKUP):
            answer = send(reason=text, **changes)
            assert answer.status_code == status, (changes, ascii(text))
            assert shape(answer.text) == plain, (changes, ascii(text))
            assert shown(text) in unescape(answer.text).replace("\r\n", "\n").replace("\r", "\n"), ascii(text)


@on_sqlite
def test_a_changed_hidden_field_is_refused(send: Send, people: World, linked: UUID):
    before = link_state(people.conversation_id)
    for text in NAUGHTY:
        together = dict.fromkeys(UNSEEN, text)
        for at in ("", "/unlink"):
            assert send(at, **together).status_code == (refused(text) if text else 428), ascii(text)
        alone = {"create": "", "overwrite": "1", "customer_id": text}
        assert send(**alone).status_code == refused(text), ascii(text)
    assert link_state(people.conversation_id) == before


@on_sqlite
def test_each_field_alone_is_checked(send: Send, people: World, linked: UUID):
    before = link_state(people.conversation_id)
    right = {"create": "", "customer_id": str(linked)}
    for text in OWN:
        version = text.isascii() and text.isdigit() and len(text) < 10
        assert send(**right, seen_version=text).status_code == (
            409 if version else refused(text) if text else 428
        ), ascii(text)
        is_id = text == "00000000-0000-0000-0000-000000000000"
        assert send(**right, operation_id=text).status_code == (
            409 if is_id else refused(text) if text else 428
        ), ascii(text)
        odd = {as_sent(text or "x").decode("latin-1"): "x"}
        assert send(**right, **odd).status_code == 409, ascii(text)
    assert link_state(people.conversation_id) == before


def test_any_sign_in_is_answered_with_a_page(app: Flask, people: World):
    signed_out = people.enter(app, "signed out")
    token = signed_out.current_token()
    plain = {
        shape(signed_out.ask("POST", "/login", data={"csrf_token": token, "email": email}).text).total()
        for email in ("x", "")
    }
    for text in NAUGHTY:
        data = {"email": as_sent(text), "next": as_sent(text), "password": "", "csrf_token": token}
        answer = signed_out.ask("POST", "/login", data=data)
        assert answer.status_code == refused(text), ascii(text)
        if text in MARKUP and sendable([text]):
            assert shape(answer.text).total() in plain, ascii(text)
            assert shown(text) in unescape(answer.text).replace("\r\n", "\n").replace("\r", "\n"), ascii(text)
        assert signed_out.ask("POST", "/logout", data={"csrf_token": as_sent(text)}).status_code == 400, (
            ascii(text)
        )


def test_any_text_in_a_sign_in_gets_a_page_or_a_wait(app: Flask, people: World):
    texts = ("\x00", "a\x00@b", "\ud800@example.org", "'--@x", "\uffff@\u202e", "%@%", "\U0010ffff" * 200)
    for number, text in enumerate(texts):
        stranger = Visitor(Client(app, app.response_class), "", "/login")
        data = {"email": as_sent(text), "password": as_sent(text), "csrf_token": stranger.current_token()}
        client = {"REMOTE_ADDR": f"192.0.2.{number}"}
        answer = stranger.ask("POST", "/login", data=data, environ_overrides=client)
        assert answer.status_code in (422 if sendable([text]) else 400, 429), ascii(text)


NOT_UTF_8 = [b"%ff", b"\xff", b"a%c3", b"%ed%a0%80", b"%c0%80", b"\xc3"]


def part(disposition: bytes, content: bytes = b"x", *headers: bytes) -> bytes:
    """Return one part of a multipart body."""
    lines = [b"--b", b"Content-Disposition: " + disposition, *headers, b"", content, b""]
    return b"\r\n".join(lines)


@pytest.mark.parametrize("raw", NOT_UTF_8, ids=ascii)
@pytest.mark.parametrize("name", [b"reason", b"x", b"email"])
def test_a_form_that_is_not_utf_8_is_refused(
    operator: Visitor, people: World, linked: UUID, name: bytes, raw: bytes
):
    before = link_state(people.conversation_id)
    fields = urlencode(
        {
            **people.link_form(create="", customer_id=linked, overwrite="1"),
            "csrf_token": operator.current_token(),
        }
    )
    body = fields.encode() + b"&" + name + b"=" + raw
    for path in (*(f"/links/{people.conversation_id}{at}" for at in ("", "/unlink")), "/login", "/logout"):
        answer = operator.ask("POST", path, data=body, content_type="application/x-www-form-urlencoded")
        assert answer.status_code == 400
        assert "Nothing was saved" in answer.text
    assert link_state(people.conversation_id) == before


MULTIPART = {
    "a part without a name": part(b"form-data"),
    "a part that is no form data": part(b"attachment"),
    "a part without a disposition": b"--b\r\n\r\nx\r\n",
    "bytes that are not UTF-8": part(b'form-data; name="x"', b"\xff"),
    "ASCII that is none": part(b'form-data; name="x"', b"\xff", b"Content-Type: text/plain; charset=ascii"),
    "Latin-1": part(b'form-data; name="x"', b"\xe9", b"Content-Type: text/plain; charset=iso-8859-1"),
    "a file without a name": part(b'form-data; name="x"; filename=""'),
    **{
        f"{name} as a file": part(f'form-data; name="{name}"; filename="f"'.encode())
        for name in (*FIELDS, "other")
    },
}


@pytest.mark.parametrize("how", MULTIPART)
def test_a_form_that_no_page_sends_is_refused(operator: Visitor, people: World, linked: UUID, how: str):
    before = link_state(people.conversation_id)
    form = {
        **people.link_form(create="", customer_id=linked, overwrite="1"),
        "csrf_token": operator.current_token(),
    }
    fields = b"".join(
        part(f'form-data; name="{name}"'.encode(), str(value).encode()) for name, value in form.items()
    )
    for path in (*(f"/links/{people.conversation_id}{at}" for at in ("", "/unlink")), "/login", "/logout"):
        body = fields + MULTIPART[how] + b"--b--\r\n"
        answer = operator.ask("POST", path, data=body, content_type="multipart/form-data; boundary=b")
        assert answer.status_code == 400, path
        assert "Nothing was saved" in answer.text
    assert link_state(people.conversation_id) == before


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\xe9"]
)
def test_a_form_without_a_boundary_is_refused(operator: Visitor, people: World, kind: str):
    for path in (*(f"/links/{people.conversation_id}{at}" for at in ("", "/unlink")), "/login", "/logout"):
        assert operator.ask("POST", path, data=b"--b--", content_type=kind).status_code == 400


def test_a_link_form_may_come_in_parts(operator: Visitor, people: World):
    form = people.link_form() | {"csrf_token": operator.current_token(), "reason": "gr\u00fc\u00df \ufffd"}
    path = f"/links/{people.conversation_id}"
    assert operator.ask("POST", path, data=form, content_type="multipart/form-data").status_code == 303
    assert trail(people.conversation_id)[-1]["reason"] == form["reason"]


@on_sqlite
def test_a_form_that_can_be_sent_again_holds_names_and_values_as_text(
    operator: Visitor, people: World, settings: Settings
):
    for engine in db.engines.values():
        engine.dispose()
    file = sqlite_path(settings.database_url)
    assert file
    file.rename(file.with_suffix(".away"))
    plain = shape(
        operator.ask("POST", f"/links/{people.conversation_id}", data={"z": "z", "reason": "z"}).text
    )
    for text in sendable(MARKUP):
        fields = {f"x{text}": text, "reason": text}
        answer = operator.ask("POST", f"/links/{people.conversation_id}", data=fields)
        assert answer.status_code == 503, ascii(text)
        assert shape(answer.text) == plain, ascii(text)


@on_sqlite
def test_the_last_reasons_fit_into_a_cookie(operator: Visitor, send: Send, people: World):
    for number in range(6):
        at = "" if number % 2 == 0 else "/unlink"
        reason = "".join(chr(0x1F300 + (number * 60 + place) * 7) for place in range(60))
        create = {"create": "", "customer_id": str(people.customer_id)}
        answer = send(at, **create, confirm="1", reason=reason)
        assert answer.status_code == 303
        assert all(len(cookie) < MAX_COOKIE for cookie in answer.headers.getlist("Set-Cookie"))


@effort(max_examples=25)
@given(text=any_text, field=st.sampled_from(["reason", *UNSEEN]))
def test_any_text_anywhere_is_an_answer(operator: Visitor, send: Send, people: World, text: str, field: str):
    right = {"create": "", "customer_id": str(people.customer_id), "overwrite": "1", "confirm": "1"}
    answers = (303, 409, 422, 428) if sendable([text]) else (400,)
    assert send(**{**right, field: text}).status_code in answers
    assert send("/unlink", **{**right, field: text}).status_code in answers
    own = str(people.conversation_id)
    raw = quote(as_sent(text), safe="")
    for path in (
        f"/conversations?q={raw}",
        f"/links/{own}?q={raw}&find={raw}",
        f"/links/{own}/customers?q={raw}",
    ):
        assert operator.ask("GET", path).status_code == 200
    for path in (f"/conversations?before={raw}", f"/badges?id={raw}", f"/conversations?instructor={raw}"):
        assert operator.ask("GET", path).status_code in (200, 400, 404)
