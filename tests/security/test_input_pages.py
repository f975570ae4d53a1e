"""Naughty texts in every query, form field, header, cookie and path: an answer, and only text in it."""

from base64 import urlsafe_b64encode
from html import unescape
from urllib.parse import quote, unquote_plus
from uuid import UUID

from flask import Flask
from werkzeug.test import TestResponse

from testkit.databases import on_sqlite
from tests.security.naughty import MARKUP, NAUGHTY, sendable, shape, shown
from tests.security.visitors import Visitor, World

TEXTS = sendable(NAUGHTY)

# {text} is the text, {own} Anna's conversation. What is asked for reaches a database here,
SEARCHES = (
    "/conversations?q={text}&page={text}&linked={text}&find={text}",
    "/links/{own}?q={text}&find={text}&linked={text}",
    "/links/{own}/customers?q={text}&customer_id={text}",
)
# and is only said again here.
PAGES = (
    *SEARCHES,
    "/conversations/rows?q={text}",
    "/conversations/{own}?q={text}&page={text}",
    "/links?q={text}&linked={text}",
    "/login?next={text}",
)
# A page is as it is for one of these, but for the text: searched for, found or not, or taken for nothing.
PLAIN = ("zzz", "", " ", "39333")

# All but those by which a request is refused.
HEADERS = (
    *("ACCEPT", "ACCEPT_ENCODING", "ACCEPT_LANGUAGE", "AUTHORIZATION", "CACHE_CONTROL", "FORWARDED"),
    *("HX_CURRENT_URL", "HX_TARGET", "IF_MATCH", "IF_MODIFIED_SINCE", "IF_NONE_MATCH", "IF_RANGE", "RANGE"),
    *(
        "TE",
        "UPGRADE",
        "USER_AGENT",
        "X_CSRFTOKEN",
        "X_FORWARDED_FOR",
        "X_FORWARDED_HOST",
        "X_FORWARDED_PORT",
    ),
    *("X_FORWARDED_PROTO", "X_HTTP_METHOD_OVERRIDE", "X_REAL_IP", "X_REQUEST_ID"),
)


def cursor(moment: str, row_id: object = UUID(int=0)) -> str:
    """Write a cursor as the console does."""
    return urlsafe_b64encode(f"{moment} {row_id}".encode()).decode().rstrip("=")


# Well made, and none that a page ever said.
CURSORS = (
    cursor("0001-01-01T00:00:00+14:00"),
    cursor("9999-12-31T23:59:59-14:00"),
    cursor("2026-01-01T00:00:00"),
    cursor("2026-01-01"),
    cursor("2026-01-01T00:00:00+00:00", "x"),
    cursor("2026-01-01T00:00:00+00:00")[:-1],
)


def get(visitor: Visitor, people: World, address: str, text: str) -> TestResponse:
    """Ask for an address with a text in it."""
    raw = quote(text.encode("utf-8", "surrogatepass"), safe="")
    return visitor.ask("GET", address.format(text=raw, own=people.conversation_id))


def says(answer: TestResponse, text: str) -> bool:
    """Say whether a page has a text in it, as text or in an address."""
    said = unescape(answer.text).replace("\r\n", "\n").replace("\r", "\n")
    return shown(text) in said or text in unquote_plus(said)


def test_any_search_is_answered_with_a_page(operator: Visitor, people: World):
    for address in SEARCHES:
        for text in TEXTS:
            assert get(operator, people, address, text).status_code == 200, (address, ascii(text))


@on_sqlite
def test_query_parameters_are_shown_as_text(operator: Visitor, people: World):
    for address in PAGES:
        plain = [get(operator, people, address, text) for text in PLAIN]
        shapes = [shape(answer.text) for answer in plain]
        for text in MARKUP:
            answer = get(operator, people, address, text)
            assert answer.status_code == 200, (address, ascii(text))
            assert shape(answer.text) in shapes, (address, ascii(text))
            assert says(answer, text) or not says(plain[0], PLAIN[0]), (address, ascii(text))


def is_id(text: str) -> bool:
    """Say whether a text is an id as the console writes it."""
    try:
        return len(text) == 36 and bool(UUID(text))
    except ValueError:
        return False


def test_the_first_and_last_moments_there_are_can_be_asked_for(operator: Visitor, people: World):
    for moment in ("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"):
        for path in ("/conversations", f"/conversations/{people.conversation_id}/messages", "/links"):
            assert operator.ask("GET", f"{path}?before={cursor(moment)}").status_code == 200, (path, moment)


@on_sqlite
def test_an_invalid_id_or_cursor_is_refused(operator: Visitor, people: World):
    bad, missing = (operator.ask("GET", path).text for path in ("/badges?id=x", "/nothing"))
    for text in (*NAUGHTY, *CURSORS):
        for address, status, page in (
            ("/badges?id={text}", 200 if is_id(text) else 400, bad),
            ("/conversations?before={text}", 400 if text else 200, bad),
            ("/conversations/{own}/messages?before={text}", 400 if text else 200, bad),
            ("/links?before={text}", 400 if text else 200, bad),
            ("/links/{own}?before={text}", 400 if text else 200, bad),
            ("/conversations?instructor={text}", 404 if text else 200, missing),
            ("/links?instructor={text}", 404 if text else 200, missing),
        ):
            answer = get(operator, people, address, text)
            assert answer.status_code == status, (address, ascii(text))
            assert status == 200 or answer.text == page, (address, ascii(text))


@on_sqlite
def test_any_path_is_answered_with_a_page(operator: Visitor, people: World):
    missing = operator.ask("GET", "/nothing").text
    paths = (
        "/{}",
        "/conversations/{}",
        "/conversations/{}/messages",
        "/links/{}",
        "/links/{}/customers",
        "/static/{}",
    )
    for text in NAUGHTY:
        raw = text.encode("utf-8", "surrogatepass").decode("latin-1")
        for path in paths:
            answer = operator.ask("GET", "/", environ_overrides={"PATH_INFO": path.format(raw)})
            if answer.status_code == 308:  # slashes beside each other are made one
                assert answer.location.startswith("http://localhost/"), (path, ascii(text))
            elif path != "/{}" or text.strip("/"):
                assert answer.status_code == 404, (path, ascii(text))
                assert answer.text == missing, (path, ascii(text))


@on_sqlite
def test_headers_and_cookies_are_never_more_than_looked_at(app: Flask, operator: Visitor, people: World):
    signed_out = people.enter(app, "signed out")
    for text in NAUGHTY:
        raw = text.encode("utf-8", "surrogatepass").decode("latin-1").translate({10: None, 13: None})
        said = {f"HTTP_{name}": raw for name in HEADERS}
        for visitor, path, status in (
            (operator, "/links", 200),
            (signed_out, "/login", 200),
            (signed_out, "/metrics", 403),
            (signed_out, "/webhooks/whatsapp", 404),
        ):
            assert visitor.ask("GET", path, environ_overrides=said).status_code == status, (path, ascii(text))
        assert signed_out.ask("GET", "/static/console.css", environ_overrides=said).status_code in (
            200,
            206,
            304,
            412,
            416,
        )
        for method, path, name in (
            ("GET", "/links", "HX_REQUEST"),
            ("GET", "/links", "HOST"),
            ("POST", "/logout", "ORIGIN"),
            ("POST", "/logout", "REFERER"),
            ("POST", "/logout", "SEC_FETCH_SITE"),
        ):
            answer = signed_out.ask(method, path, environ_overrides={**said, f"HTTP_{name}": raw})
            assert answer.status_code in (302, 400, 401, 403), (name, ascii(text))
        cookies = "; ".join(
            f"{name}={raw}" for name in ("session", "session", "__Host-session", "device", raw)
        )
        answer = signed_out.ask("GET", "/links", environ_overrides={"HTTP_COOKIE": cookies})
        assert answer.status_code == 302, ascii(text)
