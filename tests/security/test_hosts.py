"""The hosts under which the console answers, and the forwarded headers that it trusts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import event
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from console import create_app
from console.config import Settings
from console.database import db
from console.permissions import public
from testkit.databases import on_sqlite
from testkit.pages import Browser, Client

pytestmark = on_sqlite

LOOPBACK = (
    *("localhost", "localhost:8000", "LocalHost", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:65535"),
    "localhost:99999",
    None,  # as HTTP/1.0 asks, of an address of this machine
)
# Another host, a host of no one, or no host at all.
STRANGE = (
    *("evil.example", "localhost.evil.example", "evil.localhost", "localhost.", "127.0.0.1.evil.example"),
    *("127.0.0.2", "0.0.0.0", "10.0.0.1", "[::]", "[::ffff:127.0.0.1]", "[::1%25lo]", "::1", "2130706433"),
    *("localhost@evil.example", "evil.example/localhost", "localhost#evil", "localhost:80:80", "localhost:"),
    *("localhost:0", "localhost:\xb2", "localhost, evil.example", "localhost evil", "", " "),
    *("localhost\t", "l\u00f6calhost", "\xff\xfe", "xn--", "<script>", "localhost\\evil", "a" * 9000),
)
# Asked by address from inside, or signed.
EXEMPT = {"/healthz": 200, "/readyz": 200, "/metrics": 200, "/webhooks/whatsapp": 404}

PUBLIC = "https://console.example.org"
AS_PUBLIC = ("console.example.org", "Console.Example.org", "console.example.org:443")
NOT_PUBLIC = (
    *("example.org", "www.console.example.org", "console.example.org.", "console.example.org:80"),
    *("console.example.org:8443", "localhost", "127.0.0.1:8000", "evil.example", "", None),
)


def ask(app: Flask, path: str, host: str | None, **environ: str) -> TestResponse:
    """Ask for a path at a host."""
    built = EnvironBuilder(
        path, environ_overrides={"HTTP_HOST": host or "", "REMOTE_ADDR": "127.0.0.1", **environ}
    ).get_environ()
    if host is None:
        del built["HTTP_HOST"]
    body, status, headers = run_wsgi_app(app, built, buffered=True)
    return TestResponse(body, status, headers, app.request_class(built))


@pytest.mark.shows("CM-2.3.1")
def test_only_this_machine_is_answered_without_a_public_address(app: Flask):
    assert {host: ask(app, "/login", host).status_code for host in LOOPBACK} == dict.fromkeys(LOOPBACK, 200)
    for host in STRANGE:
        page = Browser(app).check(ask(app, "/login", host), 400)
        assert "Not the console’s address" in page.text, host
        assert not host.strip() or len(host) < 6 or host not in page.text


def test_only_the_public_address_is_answered(settings: Settings):
    app = create_app(replace(settings, public_url=PUBLIC))
    assert {host: ask(app, "/login", host).status_code for host in AS_PUBLIC} == dict.fromkeys(AS_PUBLIC, 200)
    for host in NOT_PUBLIC:
        Browser(app).check(ask(app, "/login", host), 400)


def test_a_public_address_may_have_a_port_and_go_without_tls(settings: Settings):
    app = create_app(replace(settings, public_url="http://console.example.org:8080"))
    assert ask(app, "/login", "console.example.org:8080").status_code == 200
    for host in ("console.example.org", "console.example.org:80", "localhost:8080"):
        Browser(app).check(ask(app, "/login", host), 400)


@pytest.mark.parametrize("public_url", [None, PUBLIC])
def test_internal_and_signed_requests_are_answered_under_any_host(settings: Settings, public_url: str | None):
    app = create_app(replace(settings, public_url=public_url))
    for path, status in EXEMPT.items():
        for host in (*STRANGE, *LOOPBACK):
            assert ask(app, path, host).status_code == status, (path, host)


def test_every_other_address_is_refused_before_anything_is_looked_up(app: Flask):
    seen: list[Any] = []
    for engine in db.engines.values():
        event.listen(engine, "before_cursor_execute", lambda *call: seen.append(call))
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<id:conversation_id>", "1").replace("<path:filename>", "console.css")
        if rule.rule in EXEMPT:
            continue
        method = "POST" if "POST" in (rule.methods or ()) else "GET"
        answer = ask(app, path, "evil.example", REQUEST_METHOD=method)
        assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (400, []), rule
    assert seen == []


@pytest.fixture
def told(settings: Settings) -> Callable[..., TestResponse]:
    """Return what asks a console, behind so many proxies, what it makes of a request."""

    @public
    def tell() -> ResponseReturnValue:
        return jsonify(
            client=request.remote_addr, scheme=request.scheme, host=request.host, root=request.script_root
        )

    def ask(proxies: int, **headers: str) -> TestResponse:
        app = create_app(replace(settings, trusted_proxies=proxies))
        app.add_url_rule("/told", "told", tell)
        return Client(app, app.response_class).get(
            "/told", headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return ask


FORWARDED = {
    "X_Forwarded_For": "192.0.2.1, 192.0.2.2, 192.0.2.3",
    "X_Forwarded_Proto": "ftp, https, https",
    "X_Forwarded_Host": "evil.example, localhost:2, localhost:3",
    "X_Forwarded_Prefix": "/evil, /2, /3",
    "Forwarded": "for=192.0.2.9;host=evil.example;proto=https",
    "X_Real_Ip": "192.0.2.9",
}
DIRECTLY = {"client": "127.0.0.1", "scheme": "http", "host": "localhost", "root": ""}


def test_forwarded_headers_are_ignored_without_proxies(told: Callable[..., TestResponse]):
    assert told(0, **FORWARDED, X_Forwarded_Port="9").json == DIRECTLY


@pytest.mark.parametrize(("proxies", "client", "port"), [(1, "192.0.2.3", 3), (2, "192.0.2.2", 2)])
def test_only_the_headers_of_trusted_proxies_count(
    told: Callable[..., TestResponse], proxies: int, client: str, port: int
):
    expected = {"client": client, "scheme": "https", "host": f"localhost:{port}", "root": ""}
    assert told(proxies, **FORWARDED).json == expected


def test_headers_of_fewer_proxies_than_configured_are_ignored(told: Callable[..., TestResponse]):
    assert told(4, **FORWARDED).json == DIRECTLY
    assert told(1, X_Forwarded_Port="8080").json == {**DIRECTLY, "host": "localhost:8080"}


def test_a_forwarded_host_is_checked_like_any_other(settings: Settings):
    for proxies, status in ((0, 200), (1, 400)):
        app = create_app(replace(settings, trusted_proxies=proxies))
        assert ask(app, "/login", "localhost", HTTP_X_FORWARDED_HOST="evil.example").status_code == status


@pytest.mark.parametrize("said", ["", "unknown", "192.0.2.1, ", "[::1]:80", "<script>", "\xff", "a" * 9000])
def test_any_forwarded_header_gets_an_answer(settings: Settings, said: str):
    app = create_app(replace(settings, trusted_proxies=1))
    for path, expected in {"/login": 200, "/conversations": 302, "/metrics": 403}.items():
        assert ask(app, path, "localhost", HTTP_X_FORWARDED_FOR=said).status_code == expected


@pytest.mark.parametrize("proxies", [0, 1])
def test_metrics_ignore_a_forwarded_loopback_address(settings: Settings, proxies: int):
    app = create_app(replace(settings, trusted_proxies=proxies))
    here, there = {"REMOTE_ADDR": "127.0.0.1"}, {"REMOTE_ADDR": "192.0.2.1"}
    assert ask(app, "/metrics", "localhost", **here).status_code == 200
    assert ask(app, "/metrics", "localhost", **there).status_code == 403
    for client in ("127.0.0.1", "192.0.2.1", "::1", "127.0.0.1, 127.0.0.1"):
        for sender in (here, there):
            answer = ask(app, "/metrics", "localhost", HTTP_X_FORWARDED_FOR=client, **sender)
            assert answer.status_code == 403, (client, sender)
