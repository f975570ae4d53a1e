"""Messages that are stored at a steady rate, and where the time of each of them goes."""

import json
import multiprocessing
import random
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from threading import Thread
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url

from console import create_app
from console.config import Settings
from console.database import db
from console.ingestion.service import NotStored, ingest_payload
from testkit import postgres

# A process for each sender: threads would also wait for one another.
SENDERS = 8
MESSAGES = 5
"""How many messages a payload has: under load they come together."""
INSTRUCTORS = 100
SAMPLE_SECONDS = 0.025
"""How often the server is asked what its processes wait for."""
ACTIVE = """
SELECT pid, coalesce(wait_event_type || ' ' || wait_event, 'none') FROM pg_stat_activity
WHERE usename = 'console_ingest' AND state = 'active'
"""
Sample = tuple[float, int, str]
"""When the server was asked, and what one of its processes waited for then."""


@dataclass(frozen=True)
class Payload:
    """What became of a payload: when it was due, sent and answered, in seconds, and where the time went."""

    due: float
    sent: float
    answered: float
    stored: bool
    client: float
    """Seconds that the client worked or waited for a processor."""
    server: float
    """Seconds that the server's process worked or waited for a processor."""
    pid: int

    def cause(self, samples: list[Sample]) -> str:
        """Return where the time went. The rest is the disk's and locks', by what the server waited for."""
        rest = self.answered - self.sent - self.client - self.server
        waits = [name for at, pid, name in samples if pid == self.pid and self.sent <= at <= self.answered]
        named = ", ".join(f"{name} ×{count}" for name, count in Counter(waits).most_common(3))
        parts = (("client's processor", self.client), ("server's processor", self.server), ("rest", rest))
        return " + ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in parts) + f" ({named})"


def payload(conversations: int) -> bytes:
    """Return a webhook payload to one account, in which every other message begins a conversation."""
    account = random.randrange(INSTRUCTORS)  # noqa: S311 (no secret, here and below)
    known, new = (0, conversations), (10**10, 10**11)
    messages = [
        {
            "from": str(390_000_000_000 + random.randrange(*among) // INSTRUCTORS * INSTRUCTORS + account),  # noqa: S311
            "id": f"wamid.{random.getrandbits(96):x}",
            "timestamp": str(int(time.time())),
            "type": "text",
            "text": {"body": "Is the lesson at nine?"},
        }
        for among in ([known, new] * MESSAGES)[:MESSAGES]
    ]
    metadata = {"display_phone_number": "0", "phone_number_id": str(account)}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "messages": messages}
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def processor_seconds(of: str) -> float:
    """Return how long a thread or process has worked, or waited for a processor, since it began."""
    worked, waited, _ = Path(f"/proc/{of}/schedstat").read_text().split()
    return (int(worked) + int(waited)) / 1e9


def send(
    url: str,
    rate: float,
    place: int,
    conversations: int,
    ready: Barrier,
    stop: Event,
    results: "multiprocessing.Queue[bytes]",
) -> None:
    """Store this sender's part of `rate` payloads a second until told to stop, and time each."""
    database = make_url(url)
    key = "signs nothing: there is no sign-in"
    settings = Settings(
        database_url=database, read_database_url=database, ingest_database_url=database, secret_key=key
    )
    app = create_app(settings)
    timed = array("d")
    connected: dict[str, Any] = {}
    with app.app_context():
        engine = db.engines["ingest"]

        @event.listens_for(engine, "checkout")
        def on_checkout(connection: Any, *_: object) -> None:
            connected["pid"] = connection.info.backend_pid

        with engine.connect():
            ready.wait()
        due = time.monotonic() + place / rate
        while not stop.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            raw, pid = payload(conversations), connected["pid"]
            client, server = processor_seconds("thread-self"), processor_seconds(str(pid))
            sent = time.monotonic()
            try:
                stored = ingest_payload(raw).stored == MESSAGES
            except NotStored:
                stored = False
            answered = time.monotonic()
            client = processor_seconds("thread-self") - client
            # Another connection than the last time is counted as no work.
            server = processor_seconds(str(pid)) - server if connected["pid"] == pid else 0.0
            timed.extend((due, sent, answered, stored, client, server, pid))
            due += SENDERS / rate
    results.put(timed.tobytes())


@contextmanager
def traffic(url: URL, rate: float, conversations: int, sent: list[Payload]) -> Iterator[None]:
    """Send messages, `rate` a second, from processes of their own; in the end `sent` has the payloads."""
    context = multiprocessing.get_context("spawn")
    ready, stop, results = context.Barrier(SENDERS + 1), context.Event(), context.Queue()
    address = url.render_as_string(hide_password=False)
    rest = (conversations, ready, stop, results)
    senders = [
        context.Process(target=send, args=(address, rate / MESSAGES, place, *rest))
        for place in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    ready.wait(timeout=120)
    try:
        yield
    finally:
        stop.set()
        for _ in senders:
            timed = array("d", results.get(timeout=60))
            rows = zip(*(iter(timed),) * 7, strict=True)
            sent += [
                Payload(due, begun, answered, bool(stored), client, server, int(pid))
                for due, begun, answered, stored, client, server, pid in rows
            ]
        for sender in senders:
            sender.join()


@contextmanager
def sampled(server: postgres.Cluster, samples: list[Sample]) -> Iterator[None]:
    """Ask the server again and again what each process that stores messages waits for."""
    over = threading.Event()

    def sample() -> None:
        with server.connect() as connection:
            while not over.wait(SAMPLE_SECONDS):
                at = time.monotonic()
                samples.extend((at, pid, name) for pid, name in connection.execute(ACTIVE).fetchall())

    thread = Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
