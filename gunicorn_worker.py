"""gunicorn's threaded worker, changed so that slow clients, a stop or a hung database delay no other request.

gunicorn gives a thread to a connection that has sent its first byte. Sixteen clients that send half a request
then stop a console of sixteen threads. Here a request gets a thread once it has arrived whole, so no thread
ever waits for the network to bring something (docs/decisions/0024).

This is the one place that overrides methods which gunicorn doesn't promise to keep. pyproject.toml therefore
pins one release of gunicorn, and tests/serving has a test for each method here.
"""

import fcntl
import os
import re
import signal
import socket
import struct
import sys
import termios
import time
from bisect import insort
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from operator import attrgetter
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from threading import Event, Thread
from typing import Any

from gunicorn import http
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import TConn, ThreadWorker

MAX_REQUEST_SECONDS = 15
"""How long a request may take to arrive, from its first byte to its last."""
MAX_SEND_SECONDS = 10
"""How long a client may take nothing of an answer that is larger than SEND_BUFFER."""
LINGER_SECONDS = 2
"""How long a connection that ends stays open for the client to hang up first."""
RETRY_SECONDS = 5

MAX_HEAD_BYTES = 64 * 1024
# The console reads up to 3 MiB and refuses what is larger by its length.
MAX_BODY_BYTES = 4 * 1024 * 1024
SMALL_BYTES = 64 * 1024
MAX_LARGE_BYTES = 64 * 1024 * 1024
"""The memory of a worker for all requests over SMALL_BYTES that are still arriving."""
# The kernel takes over an answer of this size at once, so that its thread is free again.
SEND_BUFFER = 256 * 1024

# These are answered within about a second whatever the databases do, so other requests must not hold them up.
RESERVED = re.compile(rb"(?:GET|HEAD) /(?:healthz|metrics)[ ?]")
RESERVED_THREADS = 4
# All that a worker can answer before it has loaded the console.
HEALTH = re.compile(rb"GET /healthz[ ?]")
UP = b'<!DOCTYPE html>\n<html lang="en"><head><title>Up</title></head><body><h1>Up</h1></body></html>\n'

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]{0,256}\r\n")


class Inbox:
    """What has arrived on a connection and no request has used. gunicorn's parser reads it like a socket."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.begun_at: float | None = None
        self.body_at = self.chunk_at = 0

    def recv(self, size: int) -> bytes:
        """Return what is here, or the end of the stream; never wait."""
        data = bytes(self.data[:size])
        del self.data[:size]
        return data

    def begin(self, ahead: bytes) -> None:
        """Look for a new request, of which the parser has read this much ahead."""
        self.data[:0] = ahead
        self.begun_at = None
        self.body_at = self.chunk_at = 0

    def is_whole(self) -> bool:
        """Say whether a request is here to its end, or as much of it as the parser needs to refuse it."""
        if not self.body_at:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return len(self.data) > MAX_HEAD_BYTES
            self.body_at = self.chunk_at = end + 4
        head = self.data[: self.body_at]
        if len(self.data) - self.body_at > MAX_BODY_BYTES:
            return True
        if _CHUNKED.search(head):
            return self._has_last_chunk()
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        return length > MAX_BODY_BYTES or len(self.data) >= self.body_at + length

    def waits_for_continue(self) -> bool:
        """Say whether the client waits for "100 Continue" before it sends the body."""
        return len(self.data) == self.body_at > 0 and bool(_CONTINUE.search(self.data))

    def _has_last_chunk(self) -> bool:
        while chunk := _CHUNK.match(self.data, self.chunk_at):
            size = int(chunk[1], 16)
            if size == 0:
                return self.data.find(b"\r\n\r\n", chunk.end() - 2) >= 0
            self.chunk_at = chunk.end() + size + 2
        # No chunk begins like this: the parser says what is wrong.
        return len(self.data) - self.chunk_at > SMALL_BYTES or b"\r\n" in self.data[self.chunk_at :]


def say_up(_environ: object, start_response: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
    """Answer /healthz for a console that isn't loaded yet: the process is up."""
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(UP))}
    headers |= {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    start_response("200 OK", list(headers.items()))
    return [UP]


def not_taken(client: socket.socket) -> int:
    """Return how many bytes of earlier answers a client has left untaken."""
    (count,) = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))
    return int(count)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn states no types
    """A worker whose threads wait for no client, and which drops no connection made before it stopped."""

    pending_conns: deque[TConn]

    def init_process(self) -> None:
        """Make the threads that are kept for RESERVED, and begin."""
        self.reserve, self.reserved = ThreadPoolExecutor(RESERVED_THREADS, "reserve"), RESERVED
        self.loaded, self.loading = Event(), Thread(target=self.answer_while_loading, daemon=True)
        super().init_process()

    def enqueue_req(self, connection: TConn) -> None:
        """Take in what has arrived; once that is a request, give it to a thread."""
        connection.sock.setblocking(False)
        if connection.parser is None:
            connection.inbox = Inbox()
            connection.parser = http.get_parser(self.cfg, connection.inbox, connection.client)
            connection.initialized = True
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            limit = struct.pack("ll", MAX_SEND_SECONDS, 0)
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            arrived = self.take_in(connection)
        except OSError:
            self.forget(connection)
            return
        if not arrived:
            self.wait_for_more(connection)
        elif connection.inbox.data and not_taken(connection.sock) < SMALL_BYTES:
            pool = self.reserve if self.reserved.match(connection.inbox.data) else self.tpool
            future = pool.submit(self.handle, connection)
            future.add_done_callback(
                lambda done: self.method_queue.defer(self.finish_request, connection, done)
            )
        else:
            self.forget(connection)

    def take_in(self, connection: TConn) -> bool:
        """Read what is there; say whether it is a request, or the end of the stream."""
        inbox = connection.inbox
        try:
            while not inbox.is_whole():
                data = connection.sock.recv(SMALL_BYTES)
                if not data:
                    return True
                inbox.data += data
                if not inbox.is_whole() and inbox.waits_for_continue():
                    connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        except BlockingIOError:
            return False
        return True

    def wait_for_more(self, connection: TConn) -> None:
        """Wait, without a thread, for the rest of a request or for its beginning."""
        inbox, now = connection.inbox, time.monotonic()
        if inbox.data:
            inbox.begun_at = inbox.begun_at or now
            until = inbox.begun_at + MAX_REQUEST_SECONDS
        else:
            until = now + (self.cfg.keepalive if self.alive else LINGER_SECONDS)
        if len(inbox.data) > SMALL_BYTES:
            sizes = [len(other.inbox.data) for other in self.pending_conns]
            if sum(size for size in sizes if size > SMALL_BYTES) > MAX_LARGE_BYTES:
                self.forget(connection)
                return
        self.wait(connection, self.on_pending_socket_readable, until)
        if self.nr_conns >= self.worker_connections:
            # The connection that would be given up first makes room for the next one.
            self.forget(self.pending_conns.popleft())

    def wait(self, connection: TConn, callback: Any, until: float) -> None:
        """Call back when something arrives; give the connection up at a moment of time.monotonic()."""
        connection.timeout = until
        insort(self.pending_conns, connection, key=attrgetter("timeout"))
        self.poller.register(connection.sock, EVENT_READ, partial(callback, connection))

    def forget(self, connection: TConn) -> None:
        """Close a connection at once."""
        if connection.sock.fileno() in self.poller.get_map():
            self.poller.unregister(connection.sock)
        self.nr_conns -= 1
        connection.close()

    def finish_request(self, connection: TConn, done: "Future[Any]") -> None:
        """Keep the connection for another request, or end it without waiting for the client to hang up.

        gunicorn would wait for that in the thread that accepts connections, and accept none meanwhile.
        """
        if not done.cancelled() and done.exception() is None and done.result():
            connection.inbox.begin(connection.parser.unreader.take_buffered())
            if connection.inbox.data:
                self.enqueue_req(connection)
            else:
                super().finish_request(connection, done)
            return
        try:
            connection.sock.shutdown(socket.SHUT_WR)
            connection.sock.setblocking(False)
        except OSError:
            self.forget(connection)
            return
        connection.inbox.data.clear()
        self.wait(connection, self.discard, time.monotonic() + LINGER_SECONDS)

    def discard(self, connection: TConn, client: Any) -> None:
        """Read and drop what comes after the answer: closing with bytes unread could lose the answer."""
        try:
            more = client.recv(SMALL_BYTES)
        except OSError:
            more = b""
        if not more:
            self.pending_conns.remove(connection)
            self.forget(connection)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections; a worker that ends accepts those that wait, then no more."""
        stopping = not self.alive
        listeners = [listener for listener in self.sockets if listener.sock]
        if stopping:
            for listener in listeners:
                self.accept_waiting(listener)
        super().set_accept_enabled(enabled and not stopping)
        if stopping:
            for listener in listeners:
                listener.close()
            soon = time.monotonic() + LINGER_SECONDS
            for connection in self.pending_conns:
                if not connection.inbox.data:
                    connection.timeout = min(connection.timeout, soon)
            self.pending_conns = deque(sorted(self.pending_conns, key=attrgetter("timeout")))

    def accept_waiting(self, listener: Any) -> None:
        """Accept every connection that was made and not accepted yet."""
        with DefaultSelector() as waiting:
            waiting.register(listener, EVENT_READ)
            while waiting.select(0):
                self.accept(listener)

    def load_wsgi(self) -> None:
        """Load the console; where it refuses to start, end the server, not one worker after the other.

        Workers load by turns, so that the first one answers while the others still load. The first one
        answers HEALTH even before that, as there is no other. The others have no request to finish so early.
        """
        # A server that replaces another one (SIGUSR2) leaves requests to that one until it is loaded.
        if self.age == 1 and "GUNICORN_PID" not in os.environ:
            self.wsgi, self.reserved = say_up, HEALTH
            for _ in range(self.cfg.threads):
                self.tpool.submit(self.loaded.wait)
            self.poller.register(self.method_queue.fileno(), EVENT_READ, self.method_queue.run_callbacks)
            self.loading.start()
        else:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        try:
            with Path(__file__).open("rb") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                super().load_wsgi()
        except SystemExit as refusal:
            if self.age == 1:
                print(refusal, file=sys.stderr, flush=True)  # noqa: T201 (as the interpreter would)
                sys.exit(Arbiter.APP_LOAD_ERROR)
            # The first worker ends the server, and this one with it. After a reload there is no first one,
            # and the fault may be corrected meanwhile.
            time.sleep(RETRY_SECONDS)
            raise
        signal.signal(signal.SIGTERM, self.handle_exit)

    def answer_while_loading(self) -> None:
        """Accept connections, answer HEALTH, and keep all other requests until the console is loaded.

        A worker that is told to stop ends here, unless it has accepted something that it must answer.
        """
        while not self.loaded.is_set():
            self.set_accept_enabled(self.nr_conns < self.worker_connections)
            if not (self.alive or self.nr_conns):
                os._exit(0)
            self.wait_for_and_dispatch_events(timeout=1.0)

    def run(self) -> None:
        """Begin with the requests that came while the console was loaded."""
        if self.reserved is HEALTH:
            self.loaded.set()
            self.method_queue.defer(lambda: None)
            self.loading.join()
            self.poller.unregister(self.method_queue.fileno())
            self.reserved = RESERVED
        super().run()
