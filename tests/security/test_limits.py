"""Requests that are too large or not a form get a clear answer and write nothing."""

import io
from urllib.parse import urlencode

import pytest
from flask import Flask
from werkzeug.test import encode_multipart

from console import MAX_FORM_BYTES, MAX_FORM_PARTS
from console.config import Settings, sqlite_path
from console.database import db
from testkit.databases import on_sqlite, rows
from testkit.pages import Browser
from tests.security.visitors import Visitor, World

MULTIPART = "multipart/form-data; boundary="
FORM = "application/x-www-form-urlencoded"
NO_FORMS = (
    *("application/json", "application/xml", "text/plain", "text/html", "application/octet-stream"),
    *("multipart/mixed; boundary=x", f"{FORM}x", "*/*", ";", "\xff", "text/plain; charset=utf-7", f"x{FORM}"),
)


@pytest.fixture
def path(people: World) -> str:
    """Return the address that links Anna's conversation."""
    return f"/links/{people.conversation_id}"


@on_sqlite
def test_a_request_that_is_not_a_form_is_refused_with_a_page(
    app: Flask, operator: Visitor, people: World, path: str
):
    body = urlencode(people.link_form(csrf_token=operator.current_token()))
    for content_type in NO_FORMS:
        answer = operator.ask("POST", path, data=body, content_type=content_type)
        assert "Not a form" in Browser(app).check(answer, 415).text, content_type
    assert nothing_is_linked()
    assert (
        operator.ask("POST", path, data=body, content_type=f"{FORM.upper()}; charset=utf-16").status_code
        == 303
    )


@on_sqlite
def test_a_form_that_cannot_be_read_is_refused(app: Flask, operator: Visitor, path: str):
    for content_type in (FORM, "multipart/form-data", "multipart/form-data; boundary=", f"{MULTIPART}\xff"):
        for body in (
            b"",
            b"\xff\xfe",
            b"--x\r\n\r\nno end",
            b"--x\r\nContent-Disposition: \xff\r\n\r\n--x--",
        ):
            answer = operator.ask("POST", path, data=body, content_type=content_type)
            said = Browser(app).check(answer, 400).text
            assert "This form has expired" in said or "This form is invalid" in said, (content_type, body)
    assert nothing_is_linked()


@on_sqlite
def test_a_long_reason_comes_back_and_a_huge_one_is_refused(
    app: Flask, operator: Visitor, people: World, path: str
):
    token = operator.current_token()
    for length, status in ((MAX_FORM_BYTES - 3000, 422), (MAX_FORM_BYTES, 413), (4_000_000, 413)):
        form = people.link_form(reason="x" * length, csrf_token=token)
        boundary, parts = encode_multipart(form)
        for body, content_type in ((urlencode(form).encode(), FORM), (parts, MULTIPART + boundary)):
            answer = operator.ask("POST", path, data=body, content_type=content_type)
            page = Browser(app).check(answer, status)
            assert ("x" * length in str(page)) == (status == 422)
    assert nothing_is_linked()


@on_sqlite
def test_a_streamed_form_is_refused(app: Flask, operator: Visitor, people: World, path: str):
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    body = urlencode(people.link_form(csrf_token=operator.current_token())).encode()
    for stream in (io.BytesIO(body), io.BytesIO(body + b"&x=" + b"x" * MAX_FORM_BYTES)):
        answer = operator.ask("POST", path, input_stream=stream, content_type=FORM, environ_overrides=chunked)
        assert "how long it is" in Browser(app).check(answer, 411).text
    assert nothing_is_linked()


@on_sqlite
def test_a_form_of_many_parts_is_refused(app: Flask, operator: Visitor, people: World, path: str):
    form = people.link_form(csrf_token=operator.current_token())
    more = {f"more-{number}": "x" for number in range(MAX_FORM_PARTS)}
    answer = operator.ask("POST", path, data={**form, **more}, content_type="multipart/form-data")
    assert "Too large" in Browser(app).check(answer, 413).text
    assert nothing_is_linked()


@on_sqlite
def test_a_huge_form_is_answered_while_the_database_is_away(
    app: Flask, operator: Visitor, settings: Settings, path: str
):
    file = sqlite_path(settings.database_url)
    assert file
    for engine in db.engines.values():
        engine.dispose()
    file.rename(file.with_suffix(".away"))
    answer = operator.ask("POST", path, data={"reason": "x" * 4_000_000})
    assert "The database can’t be used right now" in Browser(app).check(answer, 503).text


@on_sqlite
def test_methods_that_no_address_knows_are_refused_with_those_it_knows(
    app: Flask, operator: Visitor, path: str
):
    for method in ("TRACE", "CONNECT", "PROPFIND", "LINK", "FOO", "POST,GET", "\x00"):
        for at, allowed in (
            ("/conversations", {"GET", "HEAD", "OPTIONS"}),
            (path, {"GET", "HEAD", "OPTIONS", "POST"}),
        ):
            answer = operator.ask(method, at, data={"csrf_token": operator.current_token()})
            Browser(app).check(answer, 405)
            assert set(answer.headers["Allow"].split(", ")) == allowed
    assert nothing_is_linked()


def test_long_addresses_are_answered_alike_on_both_engines(
    app: Flask, operator: Visitor, people: World, path: str
):
    long = "9" * 100_000
    for address, status in (
        (f"/conversations?q={long}", 200),
        (f"/conversations?q={'%25' * 30_000}", 200),
        (f"/conversations/rows?q={long}", 200),
        (f"/conversations?before={long}", 400),
        (f"/conversations?instructor={long}", 404),
        (f"/conversations?{long}={long}", 200),
        (f"/conversations?{'q=1&' * 20_000}", 200),
        (f"/conversations/{people.conversation_id}?q={long}&page={long}", 200),
        (f"/conversations/{long}", 404),
        (f"/badges?id={long}", 400),
        (f"/badges?{'id=1&' * 20_000}", 400),
        (f"/links?q={long}", 200),
        (f"{path}?find={long}", 200),
        (f"{path}/customers?q={long}&customer_id={long}", 200),
        (f"/login?next=/{long}", 200),
        (f"/{long}", 404),
    ):
        assert operator.ask("GET", address).status_code == status, address[:40]


def nothing_is_linked() -> bool:
    """Say whether nothing is linked."""
    return rows("SELECT count(*) FROM conversations WHERE customer_id IS NOT NULL") == [(0,)]
