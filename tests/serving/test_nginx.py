"""The console behind nginx, both as they ship: TLS, headers, limits, logs, an unnoticed restart."""

import contextlib
import itertools
import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from hmac import new as hmac
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from console.config import Settings
from testkit.databases import on_sqlite, rows
from testkit.factories import Desk, link_state, payload
from tests.serving.crowd import crowd
from tests.serving.nginx import Front, in_front_of
from tests.serving.server import SECONDS, Visitor, free_port, serve

SECRET = "of the tests alone"
NUMBER = "393339876543"

pytestmark = on_sqlite


@dataclass
class Stage:
    """nginx, the console behind it, and the socket that stays open while one console follows another."""

    front: Front
    listener: socket.socket
    settings: Settings
    directory: Path
    consoles: contextlib.ExitStack

    @property
    def log(self) -> str:
        """Return what the console wrote."""
        return (self.directory / "console.log").read_text()

    def restart(self) -> None:
        """Stop the console and start it again, as `systemctl restart` does."""
        self.down()
        self.up()

    def down(self) -> None:
        """Stop the console."""
        self.consoles.close()

    def up(self) -> None:
        """Start the console."""
        extra = {
            "CONSOLE_PUBLIC_URL": self.front.url,
            "CONSOLE_TRUSTED_PROXIES": "1",
            "CONSOLE_WHATSAPP_APP_SECRET": SECRET,
            "CONSOLE_METRICS_TOKEN": SECRET,
            "WEB_CONCURRENCY": "1",
        }
        console = serve(
            self.settings, self.directory, listener=self.listener, app="tests.serving.echo:app", extra=extra
        )
        self.consoles.enter_context(console)

    def visitor(self) -> Visitor:
        """Return a visitor at a browser that knows the certificate."""
        return Visitor(self.front.url, verify=self.front.certificate)


@pytest.fixture
def stage(anna: Desk, settings: Settings, tmp_path: Path) -> Iterator[Stage]:
    """Return a console behind nginx."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as listener,
        in_front_of(listener.getsockname()[1], tmp_path, free_port()) as front,
        contextlib.ExitStack() as consoles,
    ):
        ours = Stage(front, listener, settings, tmp_path, consoles)
        ours.up()
        yield ours
        ours.down()
        ours.listener.close()


@pytest.fixture
def visitor(stage: Stage) -> Iterator[Visitor]:
    """Return a visitor at a browser."""
    with stage.visitor() as item:
        yield item


def test_a_visitor_signs_in_links_and_signs_out(visitor: Visitor, anna: Desk):
    conversation_id = anna.conversation(NUMBER)
    answer = visitor.sign_in(anna.operator.email, anna.operator.password)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookies = answer.headers["Set-Cookie"]
    assert "__Host-session=" in cookies
    assert cookies.count("Secure") == cookies.count("HttpOnly") == cookies.count("Path=/") >= 1
    page = visitor.get("/conversations")
    assert page.status_code == 200
    assert page.headers["Strict-Transport-Security"]
    path = f"/links/{conversation_id}"
    made = visitor.submit(path, path, create="1", customer_id="", reason="said so")
    assert (made.status_code, urlsplit(made.headers["Location"]).path) == (303, path)
    assert link_state(conversation_id).link_version == 1
    assert visitor.submit("/conversations", "/logout").status_code == 303
    assert visitor.get("/conversations").status_code == 302


def test_every_visitor_without_tls_is_sent_to_tls(stage: Stage):
    plain = f"http://localhost:{stage.front.plain_port}/conversations?q=39"
    answer = requests.get(plain, allow_redirects=False, timeout=SECONDS)
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"{stage.front.url}/conversations?q=39"


def test_another_name_gets_no_certificate_and_no_console(stage: Stage, visitor: Visitor):
    assert visitor.get("/login", headers={"Host": "evil.example.org"}).status_code == 421
    plain = f"http://localhost:{stage.front.plain_port}/"
    answer = requests.get(plain, headers={"Host": "evil.example.org"}, allow_redirects=False, timeout=SECONDS)
    assert answer.status_code == 421
    context = ssl.create_default_context(cafile=stage.front.certificate)
    with greeting(stage) as connection, pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        context.wrap_socket(connection, server_hostname="evil.example.org")


def greeting(stage: Stage) -> socket.socket:
    """Connect to where TLS is spoken."""
    return socket.create_connection(("127.0.0.1", stage.front.port), timeout=SECONDS)


def test_old_versions_of_tls_are_refused(stage: Stage):
    context = ssl.create_default_context(cafile=stage.front.certificate)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with greeting(stage) as connection, pytest.raises(ssl.SSLError, match="ALERT"):
        context.wrap_socket(connection, server_hostname="localhost")


def test_forwarded_headers_of_a_visitor_are_ignored(stage: Stage, visitor: Visitor):
    lies = {
        "X-Forwarded-For": "192.0.2.1, 127.0.0.1",
        "X-Forwarded-Host": "evil.example.org",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Port": "8080",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Ssl": "off",
        "X-Real-IP": "192.0.2.1",
        "Forwarded": "for=192.0.2.1;host=evil.example.org;proto=http",
        "X-Request-Id": "the-visitors-own-id",
        "Script_Name": "/evil",
        "Path_Info": "/evil",
    }
    seen = visitor.get("/seen", headers=lies).json()
    assert seen["address"] == "127.0.0.1"
    assert seen["url"] == f"{stage.front.url}/seen"
    assert seen["root"] == ""
    assert seen["request_id"] != lies["X-Request-Id"]
    believed = {name for name, value in seen["headers"].items() if value in lies.values()}
    assert believed == {"X-Forwarded-Ssl"}  # which nothing here reads


def test_a_request_has_one_id_from_nginx_to_the_answer(stage: Stage, visitor: Visitor):
    given = visitor.get("/healthz").headers["X-Request-Id"]
    assert len(given) == 32
    deadline = time.monotonic() + 30  # nginx writes its line after the answer
    while given not in stage.front.logs() or given not in stage.log:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for log in (stage.front.logs(), stage.log):
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        assert [line["event"] for line in lines if line.get("request_id") == given] in (
            ["proxied"],
            ["request"],
        )


def test_a_body_over_three_megabytes_is_refused_with_a_page(visitor: Visitor):
    answer = visitor.post("/login", b"x" * 4_000_000)
    assert answer.status_code == 413
    assert "larger than the console takes" in answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    for name in ("Content-Security-Policy", "Strict-Transport-Security", "X-Content-Type-Options"):
        assert answer.headers[name]


def test_an_address_that_signs_in_again_and_again_is_told_to_wait(visitor: Visitor):
    answers = [visitor.post("/login", {"email": "x"}) for _ in range(40)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 10 < len(refused) < 20
    assert "Wait a minute" in refused[0].text
    assert refused[0].headers["Retry-After"] == "60"
    assert refused[0].headers["Content-Security-Policy"]
    assert visitor.get("/login").status_code == 200
    # Pages have a limit of their own; what watches the console has none.
    with ThreadPoolExecutor(8) as pool:
        assert {*pool.map(lambda _: visitor.get("/healthz").status_code, range(300))} == {200}
        pages = pool.map(lambda _: visitor.get("/seen").status_code, range(3000))
        assert 429 in itertools.islice(pages, 1000)
        pool.shutdown(cancel_futures=True)


def test_a_payload_reaches_the_webhook_to_the_byte(visitor: Visitor, anna: Desk):
    proper = payload(anna.phone_number_id, NUMBER).encode()
    for body in (proper, b" " * 3_000_000 + proper, b"\xff\x00\r\n\r\n+%2B \xf0\x9f", b"{}"):
        signature = hmac(SECRET.encode(), body, sha256).hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signature}"}
        assert visitor.post("/webhooks/whatsapp", body, headers=headers).status_code == 200
    assert rows("SELECT count(*) FROM messages") == [(1,)]


def test_an_address_reaches_the_console_as_it_was_sent(visitor: Visitor):
    assert visitor.get("/seen?x=%0D%0A+%2B%F0%9F%99%82//").json()["query"] == "x=%0D%0A+%2B%F0%9F%99%82//"
    assert visitor.get("/conversations//x%2Fy").status_code == 404


def test_metrics_are_not_for_visitors(visitor: Visitor):
    answer = visitor.get("/metrics", headers={"Authorization": f"Bearer {SECRET}"})
    assert answer.status_code == 404
    assert "console_" not in answer.text


def test_metrics_are_for_another_machine_where_nginx_lets_it_through(
    anna: Desk, settings: Settings, tmp_path: Path
):
    metrics = "location = /metrics {\n        return 404;"
    opened = metrics.replace("return 404;", "allow 127.0.0.1; deny all; proxy_pass http://customer_memory;")
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as listener,
        in_front_of(listener.getsockname()[1], tmp_path, free_port(), {metrics: opened}) as front,
        contextlib.ExitStack() as consoles,
    ):
        stage = Stage(front, listener, settings, tmp_path, consoles)
        stage.up()
        with stage.visitor() as prometheus:
            assert prometheus.get("/metrics").status_code == 403  # this machine's nginx is not the client
            answer = prometheus.get("/metrics", headers={"Authorization": f"Bearer {SECRET}"})
            assert answer.status_code == 200
            assert "console_database_usable" in answer.text
        stage.down()


def test_pages_are_compressed_by_the_console_alone(visitor: Visitor, anna: Desk):
    anna.conversation(NUMBER)
    visitor.sign_in(anna.operator.email, anna.operator.password)
    accepting = {"Accept-Encoding": "gzip"}
    assert visitor.get("/conversations", headers=accepting).headers["Content-Encoding"] == "gzip"
    # This one repeats what its address says, so that its length could tell what else is on it.
    assert "Content-Encoding" not in visitor.get("/conversations?q=3933", headers=accepting).headers


def test_static_files_are_kept_for_good_where_their_address_says_which_they_are(visitor: Visitor):
    address = visitor.get("/login").text.partition('href="/static/')[2].partition('"')[0]
    answer = visitor.get(f"/static/{address}")
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]


def test_a_large_cookie_comes_through_in_either_direction(visitor: Visitor):
    assert visitor.get("/seen?cookie=4000").status_code == 200
    assert len(visitor.get("/seen").json()["headers"]["Cookie"]) > 4000
    longest = "&".join([f"id={uuid4()}" for _ in range(100)])
    assert visitor.get(f"/badges?{longest}").status_code == 302


def test_a_page_says_so_while_the_console_is_away(stage: Stage, visitor: Visitor):
    port = stage.listener.getsockname()[1]
    stage.listener.close()
    stage.down()
    answer = visitor.post("/login", {"email": "wilhelmina@example.org"}, params={"q": NUMBER})
    assert answer.status_code == 503
    assert "away for a moment" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert NUMBER not in stage.front.logs()
    stage.listener = socket.create_server(("127.0.0.1", port), backlog=512)
    stage.up()
    assert visitor.get("/login").status_code == 200


def test_nginx_writes_down_nothing_that_was_asked_for(stage: Stage, visitor: Visitor):
    visitor.get(f"/conversations?q={NUMBER}", headers={"User-Agent": "Zanzibar", "Referer": "Zanzibar"})
    visitor.get(f"/{NUMBER}/Zanzibar")
    visitor.request("ZANZIBAR", "/")
    visitor.post(f"/login?q={NUMBER}", b"x" * 4_000_000)
    visitor.post("/login", {"email": "Zanzibar", "password": NUMBER})
    with greeting(stage) as connection:
        connection.sendall(f"GET /{NUMBER} HTTP/1.1\r\n\r\n".encode())
        assert b"400" in connection.recv(1000)
    told = stage.front.logs()
    assert told.count('"event": "proxied"') > 5
    assert NUMBER not in told
    assert "zanzibar" not in told.lower()


def test_no_visitor_notices_a_restart(stage: Stage, anna: Desk):
    def message() -> tuple[str, bytes, dict[str, str]]:
        body = payload(anna.phone_number_id, NUMBER).encode()
        signature = hmac(SECRET.encode(), body, sha256).hexdigest()
        return "/webhooks/whatsapp", body, {"X-Hub-Signature-256": f"sha256={signature}"}

    with crowd(stage.front.port, body=message, cafile=stage.front.certificate) as asking:
        while len(asking.asked) < 10:
            time.sleep(0.01)
        stage.restart()
    assert asking.failures() == []
    assert rows("SELECT count(*) FROM messages") == [(len(asking.asked),)]
