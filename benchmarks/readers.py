"""Fifty readers who ask for page after page as fast as pages come: the console beside Flask-Admin.

Both run under the same gunicorn, on the same data, one after the other. A page of the console is two
requests: the list, then its badges.
"""

import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from itertools import count

from sqlalchemy.engine import URL

from benchmarks import dataset, serving
from benchmarks.contenders import badges_address
from benchmarks.databases import say
from benchmarks.load import READERS, Client, Tally
from benchmarks.report import Result

SECONDS = 20

_TIMES = 10
_P99_TIMES_MEDIAN = 3
_MAX_PAGES = 30
_OLDER = re.compile(r'href="(/conversations\?[^"]*before=[^"]*)">Older')
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


@dataclass
class Read:
    """What the readers of one application saw."""

    lists: list[float] = field(default_factory=list)
    requests: int = 0
    errors: list[str] = field(default_factory=list)
    memory: int = 0

    def percentile(self, part: int) -> float:
        """Return how many milliseconds a list took."""
        return statistics.quantiles(self.lists, n=100)[part - 1] * 1000

    def describe(self, name: str, seconds: float) -> str:
        """Write it in one line."""
        figures = ", ".join(f"p{part} {self.percentile(part):.0f}" for part in (50, 95, 99))
        pages, requests = len(self.lists) / seconds, self.requests / seconds
        failed = f", {len(self.errors)} errors: {self.errors[0]}" if self.errors else ""
        rates = f"{pages:.0f} pages, {requests:.0f} requests a second"
        return f"{name} {rates}, list {figures} ms, {self.memory >> 20} MB{failed}"


class Connection:
    """A connection that is kept, and costs the client next to nothing."""

    def __init__(self, port: int, cookies: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._cookies = cookies

    def get(self, address: str) -> str:
        """Get a page; anything but 200 is an error."""
        head = f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {self._cookies}\r\n\r\n"
        self._socket.sendall(head.encode())
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._receive()
        found = _LENGTH.search(answer[:end])
        whole = end + 4 + int(found[1] if found else 0)
        while len(answer) < whole:
            answer += self._receive()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{address} answered {answer[:40]!r}")
        return answer[end + 4 :].decode()

    def _receive(self) -> bytes:
        if data := self._socket.recv(1 << 16):
            return data
        raise RuntimeError("the server hung up")


Reading = Callable[[Connection], Iterator[tuple[float, int]]]
"""Reads page after page; gives how long each list took, and the requests that the page was."""


def measure(url: URL, seconds: int = SECONDS) -> list[Result]:
    """Measure both."""
    seen = {
        "console": _read(url, serving.CONSOLE, _sign_in, _read_console, seconds),
        "Flask-Admin": _read(url, serving.FLASK_ADMIN, _sign_in_to_peer, _read_peer, seconds),
    }
    ours, other = seen.values()
    described = "; ".join(read.describe(name, seconds) for name, read in seen.items())
    return [
        Result(
            f"{READERS} readers: pages a second, times Flask-Admin",
            len(ours.lists) / len(other.lists),
            "×",
            at_least=_TIMES,
            made_from=described,
        ),
        Result(
            f"{READERS} readers: p99 of a list, times its median",
            ours.percentile(99) / ours.percentile(50),
            "×",
            at_most=_P99_TIMES_MEDIAN,
        ),
    ]


def _read(
    url: URL,
    application: tuple[str, ...],
    sign_in: Callable[[Client, int], None],
    reading: Reading,
    seconds: int,
) -> Read:
    read, stop = Read(), threading.Event()
    with serving.served(url, application) as (port, server):
        clients = [Client(port, Tally()) for _ in range(READERS)]
        for number, client in enumerate(clients):
            sign_in(client, number)
        say(f"  {READERS} readers, {seconds} s")
        threads = [
            threading.Thread(target=_go_on, args=(reading, Connection(port, client.cookies), stop, read))
            for client in clients
        ]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        read.memory = serving.memory(server)
        stop.set()
        for thread in threads:
            thread.join()
    if len(read.lists) < READERS:
        raise RuntimeError(f"{READERS} readers read {len(read.lists)} pages; {read.errors[:3]}")
    return read


def _go_on(reading: Reading, connection: Connection, stop: threading.Event, read: Read) -> None:
    try:
        for taken, requests in reading(connection):
            if stop.is_set():
                return
            read.lists.append(taken)
            read.requests += requests
    except (OSError, RuntimeError) as error:
        read.errors.append(f"{type(error).__name__}: {error}")


def _sign_in(client: Client, number: int) -> None:
    client.sign_in(dataset.reader_email(number))


def _sign_in_to_peer(client: Client, number: int) -> None:
    client.send("sign-in", "GET", f"/sign-in/{dataset.reader_id(number)}")


def _read_console(connection: Connection) -> Iterator[tuple[float, int]]:
    while True:
        address: str | None = "/conversations"
        for _ in range(_MAX_PAGES):
            started = time.perf_counter()
            page = connection.get(address or "/conversations")
            taken = time.perf_counter() - started
            connection.get(badges_address(page))
            yield taken, 2
            older = _OLDER.search(page)
            address = unescape(older[1]) if older else None


def _read_peer(connection: Connection) -> Iterator[tuple[float, int]]:
    for number in count():
        started = time.perf_counter()
        connection.get(f"/admin/conversation/?page={number % _MAX_PAGES}")
        yield time.perf_counter() - started, 1
