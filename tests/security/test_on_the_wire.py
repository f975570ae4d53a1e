"""Raw bytes sent to the real server, which a test client can't send."""

import contextlib
import hashlib
import hmac
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskCliRunner

from console.config import Settings
from console.ingestion.routes import MAX_PAYLOAD_BYTES
from testkit.databases import on_sqlite, rows
from testkit.factories import channel, instructor, payload
from tests.serving.server import Console, serve

pytestmark = on_sqlite

SECRET = "the app secret of the tests"
SECONDS = 30
WEBHOOK = "/webhooks/whatsapp"

# Each as it is sent, "|" for the end of a line, with the status it gets. What is no HTTP, or too much of it,
# is answered by gunicorn itself.
RAW = {
    "another host": ("GET /login HTTP/1.1|Host: evil.example||", 400),
    "no host": ("GET /login HTTP/1.1||", 200),
    "two hosts": ("GET /login HTTP/1.1|Host: localhost|Host: evil.example||", 400),
    "a host in the target": ("GET http://evil.example/login HTTP/1.1|Host: localhost||", 200),
    "HTTP/1.0": ("GET /login HTTP/1.0||", 200),
    "a long line": (f"GET /{'a' * 9000} HTTP/1.1|Host: localhost||", 414),
    "a long header": (f"GET /login HTTP/1.1|Host: localhost|X: {'a' * 9000}||", 431),
    "many headers": (f"GET /login HTTP/1.1|Host: localhost|{'X: 1|' * 200}|", 431),
    "a header without a name": ("GET /login HTTP/1.1|Host: localhost|: x||", 400),
    "a folded header": ("GET /login HTTP/1.1|Host: localhost|X: a| b||", 400),
    "a header with an underscore": (
        "GET /login HTTP/1.1|Host: localhost|X_Forwarded_Host: evil.example||",
        200,
    ),
    "TRACE": ("TRACE /login HTTP/1.1|Host: localhost||", 405),
    "CONNECT": ("CONNECT evil.example:443 HTTP/1.1|Host: evil.example:443||", 400),
    "OPTIONS of everything": ("OPTIONS * HTTP/1.1|Host: localhost||", 404),
    "no HTTP": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03||", 400),
    "a bad length": ("POST /login HTTP/1.1|Host: localhost|Content-Length: -1||", 400),
    "two lengths": ("POST /login HTTP/1.1|Host: localhost|Content-Length: 1|Content-Length: 2||ab", 400),
    "a length and a stream": (
        "POST /login HTTP/1.1|Host: localhost|Content-Length: 5|Transfer-Encoding: chunked||0||",
        400,
    ),
    "an unknown coding": ("POST /login HTTP/1.1|Host: localhost|Transfer-Encoding: chonked||0||", 501),
    "a path of bytes": ("GET /conversations/\xff%00%ff HTTP/1.1|Host: localhost||", 400),
}


_SIGNED = f"POST {WEBHOOK} HTTP/1.1|Host: localhost|X-Hub-Signature-256: sha256=x"
CHUNKED = f"{_SIGNED}|Transfer-Encoding: chunked||"
# Bodies in chunks that don't follow the grammar.
RAW |= {
    f"chunks: {name}": (CHUNKED + body, 400)
    for name, body in {
        "a negative size": "-1|a|0||",
        "a size with 0x": "0x5|abcde|0||",
        "a size with an underscore": "1_0|abcdefghijklmnop|0||",
        "no size": "|abc|0||",
        "a size that is a word": "five|abcde|0||",
        "more than the size says": "2|abcde|0||",
        "a bad trailer": "2|ab|0|no colon||",
    }.items()
}


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[Console]:
    """Run the console."""
    extra = {"CONSOLE_WHATSAPP_APP_SECRET": SECRET, "WEB_CONCURRENCY": "1"}
    with serve(settings, tmp_path, extra=extra) as console:
        yield console


def status_of(server: Console, text: str) -> int:
    """Send a request as it is written above, and return the status that comes back."""
    raw = text.replace("|", "\r\n").encode("latin-1")
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    protocol, status, _ = answer.split(b" ", 2)
    assert protocol.startswith(b"HTTP/1.")
    assert b"evil.example" not in answer
    return int(status)


def test_any_bytes_are_answered(server: Console):
    for what, (request, expected) in RAW.items():
        assert status_of(server, request) == expected, what
        assert status_of(server, "GET /healthz HTTP/1.1|Host: 10.0.0.1||") == 200, what


def test_a_payload_is_signed_over_its_bytes_however_it_comes(server: Console, cli: FlaskCliRunner):
    raw = payload(channel(cli, instructor(cli)), "393331234567", text="è" * 5000).encode()
    right = sign(raw)
    wrong = {"X-Hub-Signature-256": right["X-Hub-Signature-256"][:-1] + "x"}
    for headers, status in (({}, 401), (wrong, 403)):
        assert post(server, WEBHOOK, in_pieces(raw, 1000), headers) == status
        assert rows("SELECT count(*) FROM messages") == [(0,)]
    for size in (7, 1000, 100_000):
        for content_type in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data"):
            assert post(server, WEBHOOK, in_pieces(raw, size), {**right, "Content-Type": content_type}) == 200
            assert rows("SELECT count(*) FROM messages") == [(1,)]


def test_a_body_that_is_too_large_is_refused_with_and_without_a_length(server: Console):
    huge = b" " * (MAX_PAYLOAD_BYTES + 1)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert post(server, WEBHOOK, huge[1:], sign(huge[1:])) == 200
    assert post(server, WEBHOOK, in_pieces(huge[1:], 100_000), sign(huge[1:])) == 200
    assert post(server, WEBHOOK, huge, sign(huge)) == 413
    assert post(server, WEBHOOK, in_pieces(huge, 100_000), sign(huge)) == 413
    assert post(server, "/login", huge, form) == 413
    assert post(server, "/login", in_pieces(huge, 100_000), form) == 411


def sign(raw: bytes) -> dict[str, str]:
    """Return the header that signs a payload."""
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()}


def in_pieces(body: bytes, size: int) -> Iterator[bytes]:
    """Cut a body into pieces, to be sent as they come."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


def post(server: Console, path: str, body: bytes | Iterator[bytes], headers: dict[str, str]) -> int:
    """Send a body, as a whole with its length or in pieces without, and return the status."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, SECONDS)) as connection:
        with contextlib.suppress(BrokenPipeError):  # the answer may come before all is sent
            connection.request("POST", path, body, headers)
        with connection.getresponse() as response:
            response.read()
            return response.status
