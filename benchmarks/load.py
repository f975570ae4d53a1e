"""Many at once: gunicorn as shipped, people browsing and linking, messages coming in, for some minutes."""

import hashlib
import hmac
import http.client
import random
import re
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from itertools import count
from urllib.parse import urlencode

from sqlalchemy.engine import URL

from benchmarks import dataset
from benchmarks.contenders import badges_address
from benchmarks.databases import say
from benchmarks.serving import memory, served
from testkit.factories import payload

READERS = 50
OPERATORS = dataset.OPERATORS
MESSAGES_A_SECOND = 200

_SENDERS = 8
_TELL_SECONDS = 10
_ARRIVAL = (0.0, 3.0)
_READER_PAUSE = (1.0, 3.0)
_OPERATOR_PAUSE = (2.0, 4.0)

_INPUT = re.compile(r"<input\b[^>]*>")
_ATTRIBUTE = re.compile(r'\b(name|value)="([^"]*)"')
_DETAIL = re.compile(r'href="(/conversations/[0-9a-f-]{36}[^"]*)"')


@dataclass
class Tally:
    """What all visitors saw: how long each answer took, by kind, and which were wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


class Client:
    """One browser, or WhatsApp: a connection that is made anew for each visit, and cookies."""

    def __init__(self, port: int, tally: Tally) -> None:
        self._port, self._tally = port, tally
        self._cookies: dict[str, str] = {}
        self._connection: http.client.HTTPConnection | None = None

    @property
    def cookies(self) -> str:
        """Return the cookies as a header."""
        return "; ".join(f"{name}={value}" for name, value in self._cookies.items())

    def visit(self) -> http.client.HTTPConnection:
        """Come back after a pause, in which the server has let go of the connection."""
        if self._connection:
            self._connection.close()
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        return self._connection

    def send(
        self,
        kind: str,
        method: str,
        address: str,
        body: bytes | None = None,
        *,
        expect: int = 200,
        **headers: str,
    ) -> str:
        """Send a request and time it; an answer other than expected is an error."""
        connection = self._connection or self.visit()
        headers["Cookie"] = self.cookies
        started = time.perf_counter()
        connection.request(
            method, address, body, {key.replace("_", "-"): value for key, value in headers.items()}
        )
        answer = connection.getresponse()
        content = answer.read().decode()
        self._tally.seconds[kind].append(time.perf_counter() - started)
        if answer.status != expect:
            self._tally.errors.append(f"{kind}: {answer.status}")
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                self._cookies.update({key: cookie.value for key, cookie in SimpleCookie(value).items()})
        return content

    def submit(self, kind: str, address: str, page: str, **fields: str) -> None:
        """Send a form of a page, with what is hidden in it."""
        hidden = {
            name: value for name, value in _fields(page) if name not in ("next", "customer_id", "create")
        }
        body = urlencode({**hidden, **fields}).encode()
        self.send(kind, "POST", address, body, expect=303, Content_Type="application/x-www-form-urlencoded")

    def sign_in(self, email: str) -> None:
        """Open a session."""
        page = self.send("sign-in form", "GET", "/login")
        self.submit("sign-in", "/login", page, email=email, password=dataset.PASSWORD)


Life = Callable[[Client], Iterator[None]]
"""What a visitor does, step by step; the first step is to sign in."""


def run(url: URL, conversations: int, seconds: int) -> str:
    """Serve that database, send it visitors for so many seconds, and return the table."""
    tally = Tally()
    with served(url) as (port, server):
        lives = [life(Client(port, tally)) for life in _people(conversations)]
        say(f"Signing in {READERS + OPERATORS} people.")
        for life in lives:
            next(life)
        tally.seconds.clear()
        say(f"{READERS} readers, {OPERATORS} operators, {MESSAGES_A_SECOND} messages a second, {seconds} s.")
        stop = threading.Event()
        threads = [threading.Thread(target=_live, args=(life, stop, tally)) for life in lives]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        while (passed := time.monotonic() - started) < seconds:
            time.sleep(min(_TELL_SECONDS, seconds - passed))
            tally.memory.append(memory(server))
            passed = time.monotonic() - started
            say(f"  {passed:.0f} s, {len(tally.errors)} errors, {tally.memory[-1] >> 20} MB")
        stop.set()
        for thread in threads:
            thread.join()
    return _table(tally, seconds)


def _people(conversations: int) -> list[Life]:
    return [
        *(_reader(number) for number in range(READERS)),
        *(_operator(number, conversations) for number in range(OPERATORS)),
        *(_sender(number) for number in range(_SENDERS)),
    ]


def _live(life: Iterator[None], stop: threading.Event, tally: Tally) -> None:
    try:
        while not stop.is_set():
            next(life)
    except (OSError, http.client.HTTPException, RuntimeError, StopIteration) as error:
        tally.errors.append(f"{type(error).__name__}: {error}")


def _reader(number: int) -> Life:
    def browse(client: Client) -> Iterator[None]:
        dice = random.Random(number)  # noqa: S311 (no secret)
        client.sign_in(dataset.reader_email(number))
        yield
        yield from _pause(dice, _ARRIVAL)
        while True:
            client.visit()
            page = client.send("list", "GET", "/conversations")
            client.send("badges", "GET", badges_address(page))
            yield from _pause(dice, _READER_PAUSE)
            client.visit()
            client.send("detail", "GET", unescape(dice.choice(_DETAIL.findall(page))))
            yield from _pause(dice, _READER_PAUSE)

    return browse


def _operator(number: int, conversations: int) -> Life:
    def work(client: Client) -> Iterator[None]:
        dice = random.Random(number)  # noqa: S311 (no secret)
        client.sign_in(dataset.operator_email(number))
        yield
        yield from _pause(dice, _ARRIVAL)
        for row in dataset.matching(conversations, number, OPERATORS):
            client.visit()
            address = f"/links/{dataset.conversation_id(row)}"
            client.send("desk", "GET", "/links?linked=no")
            form = client.send("link form", "GET", address)
            yield from _pause(dice, _OPERATOR_PAUSE)
            client.visit()
            customer_id = str(dataset.customer_id(row))
            client.submit("link", address, form, customer_id=customer_id, reason="said so on the phone")
            yield

    return work


def _sender(number: int) -> Life:
    def send(client: Client) -> Iterator[None]:
        yield
        step = _SENDERS / MESSAGES_A_SECOND
        started = time.monotonic() + step * number / _SENDERS
        for turn in count():
            # Where the server falls behind, what is late is sent at once.
            time.sleep(max(0.0, started + turn * step - time.monotonic()))
            sender = f"39350{(turn * _SENDERS + number) % 50_000:07}"
            instructor = (turn * _SENDERS + number) % dataset.INSTRUCTORS
            body = payload(dataset.phone_number_id(instructor), sender, at=int(time.time())).encode()
            signature = hmac.new(dataset.APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
            client.send(
                "message", "POST", "/webhooks/whatsapp", body, X_Hub_Signature_256=f"sha256={signature}"
            )
            yield

    return send


def _pause(dice: random.Random, between: tuple[float, float]) -> Iterator[None]:
    time.sleep(dice.uniform(*between))
    yield


def _fields(page: str) -> Iterator[tuple[str, str]]:
    for tag in _INPUT.findall(page):
        attributes = dict(_ATTRIBUTE.findall(tag))
        if "name" in attributes:
            yield attributes["name"], unescape(attributes.get("value", ""))


def _table(tally: Tally, seconds: int) -> str:
    lines = [f"{'':14}{'requests':>10}{'a second':>10}{'p50':>9}{'p95':>9}{'p99':>9}  ms"]
    for kind, taken in sorted(tally.seconds.items()):
        cuts = statistics.quantiles(taken, n=100) if len(taken) > 1 else taken * 99
        figures = "".join(f"{cuts[part - 1] * 1000:9.1f}" for part in (50, 95, 99))
        lines.append(f"{kind:14}{len(taken):>10,}{len(taken) / seconds:>10.1f}{figures}")
    half = tally.memory[len(tally.memory) // 2]
    lines.append(
        f"errors: {len(tally.errors)}; {sorted(set(tally.errors))[:5]}" if tally.errors else "errors: 0"
    )
    lines.append(f"memory: {half >> 20} MB half-way, {tally.memory[-1] >> 20} MB at the end")
    return "\n".join(lines)
