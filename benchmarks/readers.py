"""Fifty readers who ask for page after page as fast as pages come: the console beside Flask-Admin.

Both run under the same gunicorn, on the same data, one after the other. A page of the console is two
requests: the list, then its badges.
"""

import re
import socket
import statistics
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from html import unescape
from itertools import count
from selectors import EVENT_READ, BaseSelector, DefaultSelector

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
# All at once would go to the worker that happens to have a processor at that moment.
_BETWEEN_READERS_SECONDS = 0.02
_OLDER = re.compile(r'href="(/conversations\?[^"]*before=[^"]*)">Older')
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


@dataclass
class Read:
    """What the readers of one application saw."""

    lists: list[float] = field(default_factory=list)
    requests: int = 0
    memory: int = 0

    def percentile(self, part: int) -> float:
        """Return how many milliseconds a list took."""
        return statistics.quantiles(self.lists, n=100)[part - 1] * 1000

    def describe(self, name: str, seconds: float) -> str:
        """Write it in one line."""
        figures = ", ".join(f"p{part} {self.percentile(part):.0f}" for part in (50, 95, 99))
        pages, requests = len(self.lists) / seconds, self.requests / seconds
        rates = f"{pages:.0f} pages, {requests:.0f} requests a second"
        return f"{name} {rates}, list {figures} ms, {self.memory >> 20} MB"


class Reader:
    """A reader's connection, which is kept. All readers share one thread, so that none waits for another."""

    def __init__(self, port: int, cookies: str, reading: Generator[str, str]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._cookies, self._reading = cookies, reading
        self._answer = b""
        self._address = next(reading)
        self._ask()

    def receive(self) -> None:
        """Take what is there; once an answer is whole, ask for what is read next. Anything but 200 fails."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise RuntimeError("the server hung up")
        self._answer += data
        head, _, body = self._answer.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        if found and len(body) >= int(found[1]):
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{self._address} answered {head[:40]!r}")
            self._answer = b""
            self._address = self._reading.send(body.decode())
            self._ask()

    def _ask(self) -> None:
        head = f"GET {self._address} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {self._cookies}\r\n\r\n"
        self.socket.sendall(head.encode())


Reading = Callable[["Read"], Generator[str, str]]
"""Reads page after page: gives an address, is sent what is there, and notes how long each list took."""


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
            f"{READERS} readers: requests a second, times Flask-Admin",
            ours.requests / other.requests,
            "×",
            at_least=_TIMES,
            made_from=described,
        ),
        Result(
            f"{READERS} readers: pages a second, times Flask-Admin", len(ours.lists) / len(other.lists), "×"
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
    read = Read()
    with serving.served(url, application) as (port, server), DefaultSelector() as selector:
        clients = [Client(port, Tally()) for _ in range(READERS)]
        for number, client in enumerate(clients):
            sign_in(client, number)
        say(f"  {READERS} readers, {seconds} s")
        for client in clients:
            reader = Reader(port, client.cookies, reading(read))
            selector.register(reader.socket, EVENT_READ, reader)
            _go_on(selector, _BETWEEN_READERS_SECONDS)
        read.lists.clear()
        read.requests = 0
        _go_on(selector, seconds)
        read.memory = serving.memory(server)
    return read


def _go_on(selector: BaseSelector, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            key.data.receive()


def _sign_in(client: Client, number: int) -> None:
    client.sign_in(dataset.reader_email(number))


def _sign_in_to_peer(client: Client, number: int) -> None:
    client.send("sign-in", "GET", f"/sign-in/{dataset.reader_id(number)}")


def _read_console(read: Read) -> Generator[str, str]:
    while True:
        address = "/conversations"
        for _ in range(_MAX_PAGES):
            started = time.perf_counter()
            page = yield address
            read.lists.append(time.perf_counter() - started)
            yield badges_address(page)
            read.requests += 2
            older = _OLDER.search(page)
            address = unescape(older[1]) if older else "/conversations"


def _read_peer(read: Read) -> Generator[str, str]:
    for number in count():
        started = time.perf_counter()
        yield f"/admin/conversation/?page={number % _MAX_PAGES}"
        read.lists.append(time.perf_counter() - started)
        read.requests += 1
