"""The headers of every answer, by route, status and visitor."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from console import create_app
from console.config import Settings, sqlite_path
from console.database import db
from console.permissions import public
from testkit.databases import on_sqlite
from testkit.pages import Client
from tests.security.visitors import Visitor, World

pytestmark = on_sqlite

PUBLIC = "https://console.example.org"
EXPECTED = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HSTS = "max-age=63072000; includeSubDomains"
STATUSES = {
    *(200, 302, 303, 304, 308),
    *(400, 401, 403, 404, 405, 409, 411, 413, 415, 422, 428, 429),
    *(500, 503),
}


@pytest.fixture(params=[None, PUBLIC], ids=["plain", "tls"])
def console(request: pytest.FixtureRequest, settings: Settings) -> Flask:
    """Return a console that is reached with or without TLS, and has an address that fails."""
    app = create_app(
        replace(settings, public_url=request.param, whatsapp_app_secret="s", whatsapp_verify_token="t")
    )
    if request.param:
        app.config["SERVER_NAME"] = "console.example.org"  # which the test client then asks for
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @public
    def fail() -> str:
        raise RuntimeError

    app.add_url_rule("/failing", "failing", fail)
    return app


def answers(app: Flask, people: World, settings: Settings) -> Iterator[tuple[str, TestResponse]]:
    """Ask for every address with every method as two people, then for every status there is."""
    operator = people.enter(app, "links it")
    signed_out = people.enter(app, "signed out")
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<id:conversation_id>", str(people.conversation_id))
        path = path.replace("<path:filename>", "console.css")
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE"):
            for who, visitor in (("operator", operator), ("signed out", signed_out)):
                yield f"{method} {rule.rule} by {who}", visitor.ask(method, path)
    yield from pages_of_forms(operator, people)
    yield from refusals(app, operator, signed_out, people)
    file = sqlite_path(settings.database_url)
    assert file
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()
    file.rename(file.with_suffix(".away"))
    for path in ("/conversations", f"/links/{people.conversation_id}", "/readyz", "/badges?id=1"):
        yield f"without a database {path}", operator.ask("GET", path)


def pages_of_forms(operator: Visitor, people: World) -> Iterator[tuple[str, TestResponse]]:
    """Link, and be asked to confirm, to correct it and to say what was seen."""
    path = f"/links/{people.conversation_id}"
    other = {"create": "", "customer_id": people.customer_id}
    for changes in ({}, {"reason": ""}, {"seen_version": ""}, {"seen_version": "0", **other}, other):
        form = people.link_form(**changes, csrf_token=operator.current_token())
        yield f"link {changes}", operator.ask("POST", path, data=form)


def refusals(
    app: Flask, operator: Visitor, signed_out: Visitor, people: World
) -> Iterator[tuple[str, TestResponse]]:
    """Ask for what is refused, not there, unchanged, or fails."""
    form = "application/x-www-form-urlencoded"
    yield "htmx", signed_out.ask("GET", "/badges?id=1", headers={"HX-Request": "true"})
    yield "badges", operator.ask("GET", f"/badges?id={people.conversation_id}")
    yield "another host", operator.ask("GET", "/conversations", headers={"Host": "evil.example"})
    yield "another site", operator.ask("POST", "/logout", headers={"Sec-Fetch-Site": "cross-site"})
    yield "another's", operator.ask("GET", f"/conversations/{people.others_conversation_id}")
    yield "nothing", signed_out.ask("GET", "/nothing")
    yield "no file", signed_out.ask("GET", "/static/nothing.css?v=1")
    yield "two slashes", signed_out.ask("GET", "/conversations//1")
    yield "a file", signed_out.ask("GET", "/static/console.css?v=1", headers={"Accept-Encoding": "gzip"})
    tag = signed_out.ask("GET", "/static/console.css").headers["ETag"]
    yield "an unchanged file", signed_out.ask("GET", "/static/console.css", headers={"If-None-Match": tag})
    yield "part of a file", signed_out.ask("GET", "/static/console.css", headers={"Range": "bytes=0-9"})
    yield "JSON", operator.ask("POST", "/logout", json={})
    yield "too much", operator.ask("POST", "/logout", data={"x": "x" * 4_000_000})
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    yield "a stream", operator.ask("POST", "/logout", content_type=form, environ_overrides=chunked)
    yield "a failure", signed_out.ask("GET", "/failing")
    yield (
        "metrics from afar",
        signed_out.ask("GET", "/metrics", environ_overrides={"REMOTE_ADDR": "192.0.2.1"}),
    )
    yield (
        "a webhook's check",
        signed_out.ask("GET", "/webhooks/whatsapp?hub.mode=subscribe&hub.verify_token=t"),
    )
    signature = {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    yield (
        "a payload signed wrongly",
        signed_out.ask("POST", "/webhooks/whatsapp", data=b"{}", headers=signature),
    )
    yield (
        "a payload too large",
        signed_out.ask("POST", "/webhooks/whatsapp", data=b" " * 4_000_000, headers=signature),
    )
    for number in range(7):
        stranger = Visitor(Client(app, app.response_class), "", "/login")
        wrong = {"email": "unknown@example.org", "password": "wrong", "csrf_token": stranger.current_token()}
        yield f"sign-in {number}", stranger.ask("POST", "/login", data=wrong)


def test_every_answer_is_guarded(console: Flask, people: World, settings: Settings):
    tls = console.config["CONSOLE"].behind_tls
    seen = set()
    for what, answer in answers(console, people, settings):
        seen.add(answer.status_code)
        for name, value in EXPECTED.items():
            assert answer.headers.getlist(name) == [value], what
        assert answer.headers.getlist("Strict-Transport-Security") == ([HSTS] if tls else []), what
        assert not {"Server", "X-Powered-By", "Access-Control-Allow-Origin"} & set(answer.headers.keys()), (
            what
        )
        if answer.request.path.startswith("/static/") and answer.status_code < 400:
            assert "no-store" not in answer.headers["Cache-Control"], what
            assert "Set-Cookie" not in answer.headers, what
            assert "Cookie" not in answer.headers.get("Vary", ""), what
        else:
            assert answer.headers.getlist("Cache-Control") == ["no-store"], what
        if (answer.mimetype or "").startswith("text/"):
            assert answer.headers["Content-Type"].endswith("charset=utf-8"), what
    assert seen == STATUSES | {206}


def test_answers_vary_by_cookie(console: Flask, people: World):
    signed_out = people.enter(console, "signed out")
    assert {"Cookie", "HX-Request"} <= set(signed_out.ask("GET", "/conversations").vary)
    assert "Cookie" in people.enter(console, "links it").ask("GET", "/conversations").vary
