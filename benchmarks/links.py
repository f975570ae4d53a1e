"""People who link while a database is migrated: as this release does, and as the one before did."""

import multiprocessing
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from uuid import UUID, uuid4

import psycopg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from console import create_app
from console.config import Settings
from console.database import command_scope
from console.linking import service

PER_SECOND = 5
OPERATOR = UUID("01950000-0000-7000-8000-000000000000")

PEOPLE = f"""
INSERT INTO users (id, email, name, password_hash, active, created_at)
    VALUES ('{OPERATOR}', 'operator@example.org', 'Marta', '', true, now());
INSERT INTO memberships SELECT '{OPERATOR}', id, 'operator' FROM instructors
"""  # noqa: S608 (our own id)

EVENTS = """
SELECT (SELECT count(*) FROM audit_events)
    + (SELECT coalesce(sum(jsonb_array_length(audit_outbox)), 0) FROM conversations)
"""

# What the release before the keys with the instructor in them sends: it names rows by their id alone.
STATE = """
SELECT c.instructor_id, c.link_version FROM conversations c
JOIN memberships m ON m.instructor_id = c.instructor_id WHERE c.id = %s AND m.user_id = %s FOR UPDATE OF c
"""
OPERATION = """
INSERT INTO link_operations VALUES (%s, %s, %s, repeat('0', 64)) ON CONFLICT (operation_id) DO NOTHING
"""
LINK = """
UPDATE conversations SET customer_id = NULL, link_version = link_version + 1
WHERE id = %s AND link_version = %s
"""
EVENT = """
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)
VALUES (%s, %s, %s, %s, '{}')
"""


FAILED, WRITTEN, REFUSED = range(3)


@dataclass(frozen=True)
class Link:
    """A link: when it was sent and answered, in seconds, and what became of it."""

    sent: float
    answered: float
    became: int

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.answered - self.sent) * 1000


def summary(links: Sequence[Link]) -> str:
    """Return how many links came, how many failed, and the longest that one took; nothing for none."""
    if not links:
        return ""
    failed, longest = sum(not link.became for link in links), max(link.milliseconds for link in links)
    return f"; {len(links)} links, {failed} failed, longest {longest:.0f} ms"


@contextmanager
def traffic(url: URL, conversations: int, written: list[Link]) -> Iterator[None]:
    """Let people link, PER_SECOND in all; in the end `written` has the links."""
    context = multiprocessing.get_context("spawn")
    ready, stop, results = context.Event(), context.Event(), context.Queue()
    address = url.render_as_string(hide_password=False)
    process = context.Process(target=send, args=(address, conversations, ready, stop, results))
    process.start()
    ready.wait(timeout=120)
    try:
        yield
    finally:
        stop.set()
        written += results.get(timeout=60)
        process.join()


def send(
    address: str, conversations: int, ready: Event, stop: Event, results: "multiprocessing.Queue[list[Link]]"
) -> None:
    """Link until told to stop, each eighth time as the release before does."""
    url, key = make_url(address), "signs nothing: there is no sign-in"
    settings = Settings(database_url=url, read_database_url=url, ingest_database_url=url, secret_key=key)
    links: list[Link] = []
    with create_app(settings).app_context():
        ready.set()
        while not stop.wait(1 / PER_SECOND):
            place = random.randrange(conversations)  # noqa: S311 (no secret)
            conversation_id = UUID(f"01910000-0000-7000-8000-{place:012x}")
            sent = time.monotonic()
            try:
                became = (
                    _link_as_before(url, conversation_id) if len(links) % 8 == 0 else _link(conversation_id)
                )
            except (SQLAlchemyError, psycopg.Error) as error:
                print(f"a link failed: {error}", file=sys.stderr, flush=True)
                became = FAILED
            links.append(Link(sent, time.monotonic(), became))
    results.put(links)


def _link(conversation_id: UUID) -> int:
    try:
        service.change(
            service.LinkRequest(
                conversation_id=conversation_id,
                create=True,
                actor_id=OPERATOR,
                reason="so it is",
                seen_version=0,
                operation_id=uuid4(),
            ),
            command_scope(),
        )
    except service.LinkError:
        return REFUSED
    return WRITTEN


def _link_as_before(url: URL, conversation_id: UUID) -> int:
    operation_id = uuid4()
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        connection.execute("SET LOCAL console.instructors = 'all'")
        state = connection.execute(STATE, (conversation_id, OPERATOR)).fetchone()
        if state is None:
            return FAILED
        instructor_id, version = state
        connection.execute(OPERATION, (operation_id, instructor_id, conversation_id))
        changed = connection.execute(LINK, (conversation_id, version)).rowcount
        connection.execute(EVENT, (operation_id, conversation_id, instructor_id, version + 1))
    return WRITTEN if changed else FAILED
