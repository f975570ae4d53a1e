"""Several people who ask without a pause, and what became of each of their requests."""

import contextlib
import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

SECONDS = 60


Post = tuple[str, bytes, dict[str, str]]
"""A path, a body and headers."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: when it was under way to the server, and the answer's status or what came instead."""

    sent_at: float
    status: int
    failure: str = ""


@dataclass
class Crowd:
    """People at work. Some keep their connection, some open one for every request."""

    port: int
    body: Callable[[], Post] | None = None
    cafile: str | None = None
    asked: list[Asked] = field(default_factory=list)
    at_work: threading.Event = field(default_factory=threading.Event)

    def work(self, keeps_connection: bool) -> None:
        """Ask again and again."""
        connection = self._connection()
        while self.at_work.is_set():
            if not keeps_connection:
                connection.close()
                connection = self._connection()
            self.asked.append(self._ask(connection))
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self.cafile:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        context = ssl.create_default_context(cafile=self.cafile)
        return http.client.HTTPSConnection("localhost", self.port, timeout=SECONDS, context=context)

    def _ask(self, connection: http.client.HTTPConnection) -> Asked:
        sent_at = float("inf")  # while there is no connection, nothing is under way
        try:
            if connection.sock is None:
                connection.connect()
            sent_at = time.monotonic()
            if self.body:
                path, body, headers = self.body()
                connection.request("POST", path, body, headers)
            else:
                connection.request("GET", "/healthz")
            with connection.getresponse() as response:
                response.read()
            return Asked(sent_at, response.status)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            time.sleep(0.01)
            return Asked(sent_at, 0, type(error).__name__)

    def failures(self, before: float | None = None) -> list[Asked]:
        """Return the requests that weren't answered with 200, of all or of those sent before a moment."""
        failed = [answer for answer in self.asked if answer.status != 200]
        return failed if before is None else [item for item in failed if item.sent_at < before]


@contextlib.contextmanager
def crowd(
    port: int, people: int = 4, body: Callable[[], Post] | None = None, cafile: str | None = None
) -> Iterator[Crowd]:
    """Let people ask, every other one on a connection they keep, until the block ends.

    Over TLS where a certificate to check with is given.
    """
    ours = Crowd(port, body, cafile)
    ours.at_work.set()
    threads = [threading.Thread(target=ours.work, args=(bool(person % 2),)) for person in range(people)]
    for thread in threads:
        thread.start()
    try:
        yield ours
    finally:
        ours.at_work.clear()
        for thread in threads:
            thread.join()
