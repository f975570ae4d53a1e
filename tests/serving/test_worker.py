"""The server's own threads: no client holds one up, whatever it sends, leaves out or doesn't take."""

import contextlib
import http.client
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from hmac import new as hmac
from pathlib import Path

import pytest

from console.config import Settings
from gunicorn_worker import MAX_REQUEST_SECONDS
from testkit.databases import locked, on_sqlite, rows
from testkit.factories import Desk, payload
from tests.serving.server import SECONDS, Console, Visitor, serve

SECRET = "of the tests alone"
CLIENTS = 16
MAX_ANSWER = 1.0

pytestmark = on_sqlite

Drip = Callable[[socket.socket], object]

HEAD = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"

# What each kind of slow client sends at once, and what it goes on to send, a piece at a time.
SLOW: dict[str, tuple[bytes, bytes]] = {
    "says nothing": (b"", b""),
    "half a head": (HEAD, b"X: x\r\n"),
    "half a body": (HEAD + b"Content-Length: 1000\r\n\r\n", b"x"),
    "half a large body": (HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 200_000, b"x"),
    "half a stream": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a body that is too large": (HEAD + b"Content-Length: 9000000\r\n\r\n", b"x"),
    "takes no answer": (b"GET /static/vendor/htmx.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200, b""),
}


@pytest.fixture
def console(anna: Desk, settings: Settings, tmp_path: Path) -> Iterator[Console]:
    """Run the console with one worker."""
    extra = {"CONSOLE_WHATSAPP_APP_SECRET": SECRET, "WEB_CONCURRENCY": "1"}
    with serve(settings, tmp_path, extra=extra) as running:
        yield running


def connect(console: Console) -> socket.socket:
    """Connect to the console's own port."""
    return socket.create_connection(("127.0.0.1", console.port), timeout=SECONDS)


def signed(anna: Desk, number: str = "393331234567", text: str = "hello") -> tuple[bytes, dict[str, str]]:
    """Return a message as WhatsApp sends it, and its signature."""
    body = payload(anna.phone_number_id, number, text=text).encode()
    return body, {"X-Hub-Signature-256": f"sha256={hmac(SECRET.encode(), body, sha256).hexdigest()}"}


@contextlib.contextmanager
def slow_clients(console: Console, kind: str) -> Iterator[None]:
    """Let clients be slow in one way, and come again whenever they are cut off."""
    begins, goes_on = SLOW[kind]
    over = threading.Event()

    def be_slow() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), connect(console) as visitor:
                visitor.sendall(begins)
                while not over.wait(0.2):
                    visitor.sendall(goes_on)
                    if goes_on and visitor in _readable(visitor):
                        break

    threads = [threading.Thread(target=be_slow) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _readable(item: socket.socket) -> list[socket.socket]:
    item.setblocking(False)
    try:
        return [item] if item.recv(1, socket.MSG_PEEK) is not None else []
    except BlockingIOError:
        return []
    finally:
        item.settimeout(SECONDS)


def slowest_answer(console: Console, seconds: float) -> float:
    """Ask for /healthz and a page all the while, each on a connection of its own; return the longest wait."""
    longest, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        for path in ("/healthz", "/login"):
            begun = time.monotonic()
            with Visitor(console.url) as visitor:
                assert visitor.get(path).status_code == 200
            longest = max(longest, time.monotonic() - begun)
        time.sleep(0.05)
    return longest


@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_hold_up_no_other(console: Console, kind: str):
    with slow_clients(console, kind):
        time.sleep(0.5)
        assert slowest_answer(console, seconds=2) < MAX_ANSWER


@pytest.mark.faults
@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_hold_up_no_other_for_two_minutes(
    console: Console, kind: str, capsys: pytest.CaptureFixture[str]
):
    with slow_clients(console, kind):
        longest = slowest_answer(console, seconds=120)
    with capsys.disabled():
        print(f"\n16 clients, {kind}, 120 s: the slowest answer took {longest * 1000:.0f} ms")  # noqa: T201
    assert longest < MAX_ANSWER


def test_a_request_that_does_not_arrive_in_time_is_cut_off(console: Console):
    begun = time.monotonic()
    with connect(console) as connection:
        connection.sendall(HEAD)
        with contextlib.suppress(OSError):
            while not _readable(connection):
                connection.sendall(b"X: x\r\n")
                time.sleep(0.5)
    took = time.monotonic() - begun
    assert MAX_REQUEST_SECONDS - 1 < took < MAX_REQUEST_SECONDS + 5


def test_health_and_metrics_have_threads_of_their_own(console: Console, anna: Desk, settings: Settings):
    body, headers = signed(anna)
    with Visitor(console.url) as visitor, ThreadPoolExecutor(24) as pool, locked(settings):
        waiting = [pool.submit(visitor.post, "/webhooks/whatsapp", body, headers=headers) for _ in range(24)]
        time.sleep(0.5)
        for path in ("/healthz", "/metrics", "/healthz?x"):
            begun = time.monotonic()
            with Visitor(console.url) as another:
                assert another.get(path).status_code == 200
            assert time.monotonic() - begun < MAX_ANSWER, path
        assert not any(item.done() for item in waiting)


def test_a_request_in_pieces_is_answered_like_a_whole_one(console: Console, anna: Desk):
    body, headers = signed(anna, text="è" * 40_000)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /webhooks/whatsapp HTTP/1.1\r\nHost: localhost\r\n{lines}"
    whole = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    pieces = b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in cut(body, 977))
    stream = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + pieces + b"0\r\nX: x\r\n\r\n"
    for request in (whole, stream):
        for size in (501, len(request)):
            with connect(console) as connection:
                for piece in cut(request, size):
                    connection.sendall(piece)
                answer = connection.recv(65536)
                assert b" 200 OK" in answer, answer
    assert rows("SELECT count(*) FROM messages") == [(1,)]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Cut bytes into pieces."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def test_requests_sent_at_once_are_answered_in_their_order(console: Console):
    requests = [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", HEAD + b"Content-Length: 3\r\n\r\nx=y"]
    last = b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with connect(console) as connection:
        connection.sendall(b"".join(requests * 3) + last)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    statuses = re.findall(rb"HTTP/1\.1 ([0-9]+) ", answer)
    assert statuses == [b"200", b"400"] * 3 + [b"200"]


def test_a_client_that_expects_100_continue_gets_it(console: Console, anna: Desk):
    body, headers = signed(anna)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /webhooks/whatsapp HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n{lines}"
    with connect(console) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        answer = b""
        while b"200 OK" not in answer:
            answer += connection.recv(65536)


def test_a_refused_unread_body_ends_the_connection_and_says_so(console: Console):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", console.port, SECONDS)) as connection:
        for size in (60_000, 65_535, 65_536, 65_537, 200_000):
            connection.request("POST", "/webhooks/whatsapp", b" " * size, {"X-Other": "unsigned"})
            with connection.getresponse() as response:
                response.read()
            assert response.status == 401
            assert (response.headers["Connection"] == "close") == (size >= 65_536), size


def test_more_connections_than_a_worker_keeps_keep_no_visitor_out(
    anna: Desk, settings: Settings, tmp_path: Path
):
    options = ("--worker-connections", "40")
    with (
        serve(settings, tmp_path, options=options, extra={"WEB_CONCURRENCY": "1"}) as console,
        contextlib.ExitStack() as connections,
    ):
        for _ in range(120):
            connections.enter_context(connect(console)).sendall(b"GET /")
        assert slowest_answer(console, seconds=1) < MAX_ANSWER


def test_a_worker_holds_only_so_much_of_bodies_that_do_not_end(console: Console):
    (worker,) = console.workers()
    with contextlib.ExitStack() as connections:
        for _ in range(40):
            connection = connections.enter_context(connect(console))
            with contextlib.suppress(OSError):
                connection.sendall(HEAD + b"Content-Length: 4000000\r\n\r\n" + b"x" * 3_900_000)
        assert slowest_answer(console, seconds=0.5) < MAX_ANSWER
        held = int((Path("/proc") / str(worker) / "statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    assert held < 350_000_000
